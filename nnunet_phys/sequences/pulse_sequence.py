"""What every pulse sequence is: parameters, and a call that turns maps of tissue into signal."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import torch

from nnunet_phys.quantities import Bounded
from nnunet_phys.sequences.blocks import effective_flip_angle
from nnunet_phys.spin import NumberOrMap, SpinMaps

if TYPE_CHECKING:
    from typing_extensions import Self

SEQUENCES: dict[str, type[PulseSequence]] = {}
"""Every imported sequence by its short name, as commands, recipes and records use it. A class with a name registers
itself; `plugins.all_sequences` first imports those of other packages."""

_RADIANS = 2.0
"""Flip angles below this are taken for radians. Assumed: no image is made with so few degrees."""
_Class = TypeVar("_Class", bound=type)


def register(classes: dict[str, _Class], name: str, new: _Class) -> None:
    """Enter a class by the name of its sequence.

    Raises:
        TypeError: the name is taken. A class may replace itself, when its module is imported again.
    """
    taken = classes.get(name, new)
    if (taken.__module__, taken.__qualname__) != (new.__module__, new.__qualname__):
        raise TypeError(f"the sequence name '{name}' is taken by {taken.__module__}.{taken.__qualname__}")
    classes[name] = new


class PulseSequence(Bounded, ABC):
    """A pulse sequence with its parameters; subclasses are frozen dataclasses.

    A new sequence is one file in this folder, or in another package (docs/own_sequence.md): a subclass with a `name`,
    its parameters, `__call__`, and the ranges of its protocol (`protocol_ranges.ProtocolRanges`). Every command and
    recipe then finds it.

    Attributes:
        name: short name.
        balanced: the read-out is bSSFP of a known TR, where off-resonance acts as a larger flip angle; so not that of
            `LookLocker`.
        flip_angle_deg: flip angle of the read-out, degrees, a number or a map; None where the sequence has none.
        blood: share of flowing blood in each voxel, 0 to 1, for sequences that depend on flow; None: by T1 and T2.
        phase_sensitive: its images show the signed signal; otherwise, the magnitude.

    Raises:
        ValueError: a parameter is out of the bounds of its quantity, or the flip angle looks like radians.
    """

    name: ClassVar[str]
    balanced: ClassVar[bool] = False

    flip_angle_deg: NumberOrMap | None = None
    blood: NumberOrMap | None = None
    phase_sensitive: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in vars(cls):
            register(SEQUENCES, cls.name, cls)

    def __post_init__(self) -> None:
        super().__post_init__()
        angle = self.flip_angle_deg
        largest = float(angle.detach().amax()) if isinstance(angle, torch.Tensor) else angle
        if largest is not None and 0 < largest < _RADIANS:
            raise ValueError(
                f"flip_angle_deg = {largest:g} looks like radians: give degrees ({math.degrees(largest):.4g}?)"
            )

    @abstractmethod
    def __call__(self, maps: SpinMaps) -> torch.Tensor:
        """Signed signal of maps: of the maps' shape, or with the images of a series first, (images, *maps.shape)."""

    @property
    def is_series(self) -> bool:
        """Whether the signal has an axis of images, which comes first."""
        return False

    @property
    def image_count(self) -> int:
        """How many images the sequence makes."""
        return 1

    @property
    def dephasing_ms(self) -> float:
        """How long a gradient echo dephases before it is read: TE; 0 where the echo is refocused."""
        return 0.0

    def single_images(self) -> list[Self]:
        """One sequence per image of a series, in its order; the sequence itself if it makes one image."""
        return [self]

    def varying(self, flip_angle_deg: NumberOrMap | None = None, blood: NumberOrMap | None = None) -> Self:
        """This sequence with values that vary from voxel to voxel; those that it does not depend on are ignored.

        Args:
            flip_angle_deg: actual flip angles, broadcastable to the maps.
            blood: share of flowing blood, broadcastable to the maps; a share that the sequence already has is kept.
        """
        names = {field.name for field in fields(self)}  # type: ignore[arg-type]
        changes: dict[str, NumberOrMap] = {}
        if flip_angle_deg is not None and "flip_angle_deg" in names:
            changes["flip_angle_deg"] = flip_angle_deg
        if blood is not None and "blood" in names and self.blood is None:
            changes["blood"] = blood
        return replace(self, **changes) if changes else self  # type: ignore[type-var]

    def effective_flip_angle(self, flip_angle_deg: NumberOrMap, off_resonance_hz: NumberOrMap) -> NumberOrMap:
        """The flip angle (degrees) that acts as both together; without a bSSFP read-out, the flip angle itself."""
        return flip_angle_deg


class BalancedSequence(PulseSequence):
    """A pulse sequence that is read out by bSSFP with echoes at TR/2.

    Attributes:
        flip_angle_deg: flip angle of the read-out, degrees, a number or broadcastable to the maps.
        tr_ms: TR, or the echo spacing of a shot.
    """

    balanced = True

    flip_angle_deg: NumberOrMap
    tr_ms: float

    def effective_flip_angle(self, flip_angle_deg: NumberOrMap, off_resonance_hz: NumberOrMap) -> NumberOrMap:
        """See `blocks.effective_flip_angle`."""
        return effective_flip_angle(flip_angle_deg, self.tr_ms, off_resonance_hz)


class TimeSeries(PulseSequence):
    """A pulse sequence that makes one image for each of several times.

    Attributes:
        times: name of the field that holds them, a tuple in ms.
    """

    times: ClassVar[str]

    @property
    def is_series(self) -> bool:
        return True

    @property
    def image_count(self) -> int:
        return len(getattr(self, self.times))

    def single_images(self) -> list[Self]:
        """One sequence per time."""
        return [replace(self, **{self.times: (time_ms,)}) for time_ms in getattr(self, self.times)]  # type: ignore[type-var]
