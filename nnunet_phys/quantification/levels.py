"""Levels of the left ventricle's short-axis slices: Cerqueira et al., Circulation 105:539 (2002)."""

from typing import Literal

Level = Literal["basal", "mid", "apical", "apex"]
LEVELS: tuple[Level, ...] = ("basal", "mid", "apical")
"""Levels with a cavity, from the base on."""
