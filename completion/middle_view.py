"""A slice in two parts, the whole and its middle, since networks do best in fields as large as those they learned from.

They normalise over all they see, and a larger field holds another mixture of body and air. So where a slice is larger
than a view of the training, its middle, where hearts usually lie, is made once more in a field of a view's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

FADE = 1 / 8
"""Share of a view, at each of its borders, over which the middle gives way to the whole. A choice."""


@dataclass(frozen=True)
class MiddleView:
    """Where the middle of a slice lies.

    Attributes:
        shape: rows and columns of the slice, at least those of a view.
        view: rows and columns of the middle.
    """

    shape: tuple[int, int]
    view: int

    def reduced(self, factor: int) -> MiddleView:
        """The same on a grid that is coarser by a factor."""
        rows, columns = self.shape
        return MiddleView((rows // factor, columns // factor), self.view // factor)

    def parts(self, planes: torch.Tensor) -> list[torch.Tensor]:
        """Planes (..., rows, columns) as they are, and their middle if they are larger than it."""
        return [planes] if self._is_whole else [planes, planes[(..., *self._box)]]

    def joined(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """The reverse of `parts`: the first with the second in its middle."""
        if self._is_whole:
            return parts[0]
        whole, middle = parts
        ramp = torch.arange(1.0, self.view + 1, device=whole.device) / (FADE * self.view)
        weight = torch.minimum(ramp, ramp.flip(0)).clamp(max=1)
        place, joined = (..., *self._box), whole.clone()
        joined[place] = torch.lerp(whole[place], middle, weight[:, None] * weight)
        return joined

    @property
    def _is_whole(self) -> bool:
        return self.shape == (self.view, self.view)

    @property
    def _box(self) -> tuple[slice, slice]:
        rows, columns = (slice((length - self.view) // 2, (length + self.view) // 2) for length in self.shape)
        return rows, columns
