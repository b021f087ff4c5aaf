"""Progress bars that are silent where the messages of the logger `nnunet_phys` are."""

from __future__ import annotations

import logging
from typing import Any

from tqdm import tqdm


def silenced() -> bool:
    """Whether the logger `nnunet_phys` was told to leave out what is no warning, as by `nnunet_phys COMMAND -q`."""
    return logging.getLogger("nnunet_phys").level > logging.INFO


class ProgressBar(tqdm):
    """tqdm's bar on stderr, hidden where messages are `silenced`; its arguments are tqdm's."""

    def __init__(self, *args: Any, disable: bool = False, **options: Any) -> None:
        super().__init__(*args, disable=disable or silenced(), **options)
