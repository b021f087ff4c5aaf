"""For mkdocs: mkdocstrings gets the package as one tree, as its sub-packages lie beside `nnunet_phys/` in a clone."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority

_ROOT = Path(__file__).parents[1]
_TREE = TemporaryDirectory()  # removed when mkdocs ends


@event_priority(100)  # before mkdocstrings reads its paths
def on_config(config: MkDocsConfig) -> None:
    """Copy the code into a temporary folder, and name this folder to mkdocstrings."""
    package = Path(_TREE.name) / "nnunet_phys"
    for name in ("nnunet_phys", "precomputed_spin", "augmentations", "trainers"):
        target = package if name == "nnunet_phys" else package / name
        shutil.copytree(
            _ROOT / name, target, ignore=shutil.ignore_patterns("priors", "__pycache__"), dirs_exist_ok=True
        )
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [_TREE.name]
