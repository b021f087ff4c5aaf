"""Physics-driven contrast randomisation for nnU-Net v2: train on bSSFP cine, segment contrasts never seen."""

from pathlib import Path

_PARENT = Path(__file__).resolve().parent.parent
_SETUP = _PARENT / "setup.cfg"
if _SETUP.is_file() and "name = nnunet_phys\n" in _SETUP.read_text():
    # In a clone, precomputed_spin, augmentations, completion and trainers lie beside this folder. Python started at the
    # root of the clone imports this folder instead of the installed package, and finds these sub-packages here.
    __path__.append(str(_PARENT))


def __getattr__(name: str) -> str:
    """`__version__`, read from the installed package when it is asked for, as a clone can be imported uninstalled."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    return version(__name__)
