"""One contrast: everything that was drawn for one synthetic image, and how it is applied to maps."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch

from nnunet_phys.augmentations.signal_table import SignalTable
from nnunet_phys.errors import InputError
from nnunet_phys.fields import (
    Device,
    OffResonance,
    Positions,
    ReceiveBias,
    Region,
    SlowFlow,
    TransmitField,
    grid_positions,
    on_coarse_grid,
)
from nnunet_phys.forward import image_of, signals
from nnunet_phys.infarct import Infarct, blood_distance
from nnunet_phys.json_files import structure
from nnunet_phys.scanner import Ghost, Noise, PartialVolume, ZeroFilling, displace
from nnunet_phys.sequences.description import describe_sequence, make_sequence
from nnunet_phys.sequences.pulse_sequence import PulseSequence
from nnunet_phys.spin import NumberOrMap, SpinMaps
from nnunet_phys.tissue_state import TissueState

SMALLEST_DEVIATION = 1e-8
"""Least standard deviation by which a z-score divides, as in nnU-Net's ZScoreNormalization."""

Effect = TransmitField | OffResonance | Device | ReceiveBias | PartialVolume | ZeroFilling | Ghost | Noise
"""An effect of the scanner."""


@dataclass(frozen=True)
class ContrastDraw:
    """What was drawn for one image; `describe` and `from_description` record and replay it.

    Attributes:
        sequence: the pulse sequence, which makes one image.
        tissue: state of all tissue.
        slow_flow: where a part of the blood is at rest, for sequences that depend on its flow; None: nowhere.
        region, region_tissue: a region where the tissue is in another state, and that state; None: no region.
        infarct, infarct_tissue: infarcts, in the region or outside, and the state of their tissue; None: no infarct.
        transmit, off_resonance, device, receive_bias: fields over the case; None: ideal.
        partial_volume, zero_filling, ghost, noise: effects on the image; None: without the effect.

    Raises:
        ValueError: the sequence makes several images; a place without the state of its tissue, or a state without its
            place.
    """

    sequence: PulseSequence
    tissue: TissueState = field(default_factory=TissueState)
    slow_flow: SlowFlow | None = None
    region: Region | None = None
    region_tissue: TissueState | None = None
    infarct: Infarct | None = None
    infarct_tissue: TissueState | None = None
    transmit: TransmitField | None = None
    off_resonance: OffResonance | None = None
    device: Device | None = None
    receive_bias: ReceiveBias | None = None
    partial_volume: PartialVolume | None = None
    zero_filling: ZeroFilling | None = None
    ghost: Ghost | None = None
    noise: Noise | None = None

    def __post_init__(self) -> None:
        if self.sequence.image_count > 1:
            raise ValueError("A draw is of one image, but its sequence makes a series: name one readout or one time")
        for place, state in (("region", "region_tissue"), ("infarct", "infarct_tissue")):
            if (getattr(self, place) is None) != (getattr(self, state) is None):
                raise ValueError(f"A draw with {place} needs {state}, and vice versa")

    def describe(self) -> dict[str, Any]:
        """Plain JSON."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)[1:]}
        described = {name: asdict(part) for name, part in parts.items() if part is not None}
        return {"sequence": describe_sequence(self.sequence), **described}

    @classmethod
    def from_description(cls, description: Any) -> ContrastDraw:
        """The reverse of `describe`.

        Raises:
            InputError: unknown parts or parameters, or values that they cannot have, one line each.
        """
        if not isinstance(description, dict) or not isinstance(description.get("sequence"), dict):
            raise InputError('A draw is an object with a sequence: {"sequence": {...}, "tissue": {...}, ...}.')
        parts: dict[str, Any] = {}
        faults: list[str] = []
        for name, values in description.items():
            if name != "sequence" and name not in _PARTS:
                faults.append(f"A draw has no part '{name}'; it has sequence, {', '.join(_PARTS)}.")
                continue
            try:
                if name == "sequence":
                    parts[name] = make_sequence(values, record=True)
                else:
                    parts[name] = structure(values, _PARTS[name], name, "")
            except InputError as error:
                faults.extend(f"Draw, {fault}" for fault in error.faults)
        if faults:
            raise InputError(*faults)
        try:
            return cls(**parts)
        except ValueError as error:
            raise InputError(f"{error}.") from None

    @property
    def _states(self) -> list[tuple[PulseSequence, TissueState]]:
        """Sequence and state of all tissue, and where there are such parts, of a region and of an infarct.

        With slow flow, each is followed by its state with blood that does not flow.
        """
        sequences = [self.sequence] if self.slow_flow is None else [self.sequence, self.sequence.varying(blood=0.0)]
        tissues = [t for t in (self.tissue, self.region_tissue, self.infarct_tissue) if t is not None]
        return [(sequence, tissue) for tissue in tissues for sequence in sequences]

    def flip_angles(self, positions: Positions) -> torch.Tensor | None:
        """Effective flip angles (degrees) at the positions; None where they do not vary.

        Off-resonance tilts a bSSFP train's axis of rotation as a larger flip angle would.
        """
        nominal = self.sequence.flip_angle_deg
        detuned = self.sequence.balanced and (self.off_resonance is not None or self.device is not None)
        if nominal is None or (self.transmit is None and not detuned):
            return None

        flip: NumberOrMap = nominal
        if self.transmit is not None:
            flip = on_coarse_grid(self.transmit, positions).mul_(nominal).clamp_(2, 180)
        if not detuned:
            return torch.as_tensor(flip)
        # only the frequency is smooth: the effective flip angle has a cusp at the edge of each band
        shifts = [] if self.off_resonance is None else [on_coarse_grid(self.off_resonance, positions, step_mm=4.0)]
        if self.device is not None:
            shifts.append(self.device(positions))
        return torch.as_tensor(self.sequence.effective_flip_angle(flip, sum(shifts)))

    def table(self, flip_angles: torch.Tensor | None) -> SignalTable:
        """Table of the signals of this draw's tissue states, over the range of these flip angles."""
        ends = None
        if flip_angles is not None:
            least, greatest = float(flip_angles.amin()), float(flip_angles.amax())
            ends = (min(least, greatest - 1e-3), greatest)
        return SignalTable(self._states, ends)

    def tabulated_signal(
        self,
        table: SignalTable,
        maps: torch.Tensor,
        positions: Positions,
        flip_angles: torch.Tensor | None,
        voxel_mm: tuple[float, float, float],
        blood_mm: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Signed signal, looked up in a table, with all effects on single voxels but without those on the image.

        Args:
            table: table of this draw.
            maps: PD, T1 (ms), T2 (ms), (3, ...).
            positions: positions of the voxels, which broadcast to the maps' shape.
            flip_angles: flip angles at these positions.
            voxel_mm: size of a voxel.
            blood_mm: distance of the voxels to blood; needed if the draw has an infarct.

        Returns:
            tensor of the maps' shape.
        """
        pd, t1, t2 = maps
        by_state = table(t1, t2, flip_angles)
        return self._received(self._mixed(by_state, positions, blood_mm) * pd, positions, voxel_mm)

    def _mixed(
        self, by_state: torch.Tensor | list[torch.Tensor], positions: Positions, blood_mm: torch.Tensor | None
    ) -> torch.Tensor:
        """Signals of all states (`_states`), mixed by the weights of slow flow, of the region and of the infarcts."""
        remaining = iter(by_state)
        slow = None if self.slow_flow is None else self.slow_flow(positions)

        def of_next_tissue() -> torch.Tensor:
            flowing = next(remaining)
            return flowing if slow is None else torch.lerp(flowing, next(remaining), slow)

        signal = of_next_tissue()
        if self.region is not None:
            signal = torch.lerp(signal, of_next_tissue(), self.region(positions))
        if self.infarct is not None:
            if blood_mm is None:
                raise ValueError("the draw has an infarct: give blood_mm")
            signal = torch.lerp(signal, of_next_tissue(), self.infarct(positions, blood_mm))
        return signal

    def _received(
        self, signal: torch.Tensor, positions: Positions, voxel_mm: tuple[float, float, float]
    ) -> torch.Tensor:
        """A signal after the coils' sensitivity and the dephasing by a device's field; changes `signal`."""
        if self.receive_bias is not None:
            signal *= on_coarse_grid(self.receive_bias, positions)
        if self.device is not None:
            signal *= self.device.remaining(positions, voxel_mm, self.sequence.dephasing_ms)
        return signal

    def displaced(self, signal: torch.Tensor, positions: Positions) -> torch.Tensor:
        """A signal (slices, rows, columns), displaced from column to column by the device's field, if there is one."""
        if self.device is None:
            return signal
        return displace(signal, self.device.displacement(positions), along_rows=False)

    def scan(self, maps: torch.Tensor, spacing_mm: tuple[float, float, float]) -> torch.Tensor:
        """The image of a whole volume, in the signal's own unit, from the signal equation itself.

        Args:
            maps: PD, T1 (ms), T2 (ms), (3, slices, rows, columns).
            spacing_mm: spacing of slices, rows and columns.

        Returns:
            tensor (slices, rows, columns): magnitude, or the signed signal where phase-sensitive.
        """
        return self.detected(*self.signal(maps, spacing_mm))

    def signal(self, maps: torch.Tensor, spacing_mm: tuple[float, float, float]) -> tuple[torch.Tensor, float]:
        """What `scan` detects: the signed signal of a volume, and the signal relative to which noise is given.

        Args:
            maps, spacing_mm: as for `scan`.

        Returns:
            tensor (slices, rows, columns), and `noise_reference` of it before the effects on the image.
        """
        shape = tuple(maps.shape[1:])
        positions = grid_positions((0, 0, 0), shape, shape, spacing_mm)
        flip_angles, tissue = self.flip_angles(positions), SpinMaps(*maps)
        blood_mm = None if self.infarct is None else blood_distance(tissue, spacing_mm, self.infarct.depth_mm)
        by_state = [signals(sequence, tissue, state, flip_angle_deg=flip_angles)[0] for sequence, state in self._states]
        mixed = self._mixed(by_state, positions, blood_mm).clone()  # a sequence may return the map of PD itself
        signal = self._received(mixed, positions, spacing_mm)
        bright = noise_reference(signal)
        return self.with_image_effects(self.displaced(signal, positions)), bright

    def detected(self, signal: torch.Tensor, bright: float) -> torch.Tensor:
        """Magnitude with noise, or if phase-sensitive the signed signal with noise.

        Args:
            signal: signed, of any shape; may be changed.
            bright: the signal relative to which noise is given (`noise_reference`).

        Returns:
            tensor of that shape.
        """
        if self.noise is not None:
            return self.noise(signal, bright, self.sequence.phase_sensitive)
        return image_of(self.sequence, signal)

    def with_image_effects(self, signal: torch.Tensor) -> torch.Tensor:
        """Apply the effects on the image (blur, cut k-space, ghosts) to a signed signal (slices, rows, columns)."""
        for effect in (self.partial_volume, self.zero_filling, self.ghost):
            if effect is not None:
                signal = effect(signal)
        return signal


def noise_reference(signal: torch.Tensor) -> float:
    """The bright signal of a case, relative to which noise is given: the 95th percentile of the magnitude.

    Args:
        signal: of any shape.
    """
    magnitude = signal.abs().reshape(-1)
    return float(magnitude.kthvalue(max(1, round(0.95 * len(magnitude)))).values)


EFFECTS: dict[str, type[Effect]] = {
    "transmit": TransmitField,
    "off_resonance": OffResonance,
    "device": Device,
    "receive_bias": ReceiveBias,
    "partial_volume": PartialVolume,
    "zero_filling": ZeroFilling,
    "ghost": Ghost,
    "noise": Noise,
}
"""Class of each scanner effect, by its name in draws and recipes."""

_PARTS: dict[str, type] = {
    "tissue": TissueState,
    "slow_flow": SlowFlow,
    "region": Region,
    "region_tissue": TissueState,
    "infarct": Infarct,
    "infarct_tissue": TissueState,
    **EFFECTS,
}
