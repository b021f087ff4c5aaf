"""For mkdocs: mkdocstrings gets the package as one tree, as its sub-packages lie beside `nnunet_phys/` in a clone."""

import shutil
from configparser import ConfigParser
from pathlib import Path
from tempfile import TemporaryDirectory

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority

_ROOT = Path(__file__).parents[1]
_TREE = TemporaryDirectory()  # removed when mkdocs ends


@event_priority(100)  # before mkdocstrings reads its paths
def on_config(config: MkDocsConfig) -> None:
    """Copy the code into a temporary folder, and name this folder to mkdocstrings."""
    setup = ConfigParser()
    setup.read(_ROOT / "setup.cfg")
    for line in setup["options"]["package_dir"].split("\n")[1:]:
        name, folder = line.split(" = ")
        target = Path(_TREE.name, *name.split("."))
        ignored = shutil.ignore_patterns("priors", "__pycache__")
        shutil.copytree(_ROOT / folder, target, ignore=ignored, dirs_exist_ok=True)
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [_TREE.name]
