"""Physics-driven contrast randomisation for nnU-Net v2: train on bSSFP cine, segment contrasts never seen."""

from pathlib import Path

_PARENT = Path(__file__).resolve().parent.parent
_SETUP = _PARENT / "setup.cfg"
if _SETUP.is_file() and "name = nnunet_phys\n" in _SETUP.read_text():
    # In a clone, precomputed_spin, augmentations and trainers lie beside this folder. Python started at the root of the
    # clone imports this folder instead of the installed package, and finds these sub-packages here.
    __path__.append(str(_PARENT))
