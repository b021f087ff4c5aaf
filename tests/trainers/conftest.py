"""A tiny data set that is ready for training."""

from __future__ import annotations

import pytest

from nnunet_phys.commands import main


@pytest.fixture
def ready(tiny):
    """The tiny data set with preprocessed maps."""
    assert main(["preprocess", "-d", "900", "-c", "2d", "3d_fullres", "-np", "1"]) == 0
    return tiny
