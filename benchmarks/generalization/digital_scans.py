"""Test hearts of the bed: other hearts than in training, scanned by the Bloch simulation with protocols outside the
default recipe, off-resonance, B1, slice profile, inflow, breathing and noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.optimize import brentq

from generalization.digital_scanner import (
    breathing_ghosts,
    dephasing,
    device_frequency_hz,
    shifted,
    through_slice,
    transmit_field,
)
from nnunet_phys import bloch
from nnunet_phys.digital_heart import DigitalHeart, digital_heart
from nnunet_phys.experiments.heart_scans import SEGMENTED_LGE
from nnunet_phys.heart_anatomy import HeartShape
from nnunet_phys.heart_enhancement import agent_concentration, draw_scar
from nnunet_phys.heart_scanner import noisy_magnitude, off_resonance_hz, receive_bias
from nnunet_phys.tissue_state import with_agent
from nnunet_phys.tissues import TISSUE_NAMES

FAMILIES = {
    "dilated": HeartShape(cavity=1.3, wall=0.75),
    "hypertrophic": HeartShape(cavity=0.8, wall=1.5, septum=1.6),
    "scarred": HeartShape(cavity=1.15, wall=0.9),
    "rv_overload": HeartShape(rv=1.35, flattening=0.3),
}
"""Shapes of the test hearts. Assumed: the changes of size are those of moderate to severe disease."""
TITLES = {
    "cine": "cine",
    "cine_other": "cine of another protocol, degraded",
    "molli": "MOLLI, per readout",
    "molli_post": "MOLLI after contrast agent, per readout",
    "gre_device": "GRE cine with a device",
    "t2prep": "T2-prepared",
    "lge": "LGE",
}
"""Title of each test set of digital hearts."""
_SEED = 7_000_000  # away from the seeds of the prior, of `heart_scans` and of the other benchmarks
_SCAR_T1, _SCAR_T2 = 1.3, 1.1
"""Factors in scar without contrast agent; see `tissue_state.TissueState` for measured values."""
_FIRST_INVERSION_TIMES_MS = (140.0, 230.0, 320.0)
_molli = partial(
    bloch.molli,
    scheme="3(3)3(3)5",
    tr_ms=3.2,
    pulses=80,
    centre_pulse=34,
    first_inversion_times_ms=_FIRST_INVERSION_TIMES_MS,
    inversion_efficiency=0.85,
)
_MOLLI_SETS = (3, 3, 5)
"""Readouts of each set of that scheme."""


@dataclass(frozen=True, eq=False)
class TestScan:
    """One test heart in one contrast.

    Attributes:
        images: magnitudes by the suffix of the case's name: "", or "_ti03" for a MOLLI readout; float32 (slices, rows,
            columns).
        protocol: what `nnunet_phys translate -protocol` is told of it.
        inversion_times_ms: by suffix, of a MOLLI's readouts.
    """

    images: dict[str, np.ndarray]
    protocol: dict
    inversion_times_ms: dict[str, float]


@dataclass(frozen=True, eq=False)
class ScannedHeart:
    """A test heart in all contrasts.

    Attributes:
        family: key of `FAMILIES`.
        heart: the anatomy; its labels and spacing hold for all images.
        scans: by name of the test set (`TITLES`).
    """

    family: str
    heart: DigitalHeart
    scans: dict[str, TestScan]


def scan_heart(index: int, slices: int, shape: tuple[int, int] = (128, 128), pixel_mm: float = 2.5) -> ScannedHeart:
    """Scan test heart number `index`. Families alternate; of every eight hearts the second four are in systole.

    T1 is 10 % shorter to 25 % longer and T2 20 % shorter to 10 % longer than that person's reference (assumed).
    """
    rng = np.random.default_rng([_SEED, index])
    family = list(FAMILIES)[index % len(FAMILIES)]
    heart = digital_heart(
        _SEED + index,
        slices,
        shape,
        pixel_mm,
        systole=bool(index // len(FAMILIES) % 2),
        t1_factor=rng.uniform(0.9, 1.25),
        t2_factor=rng.uniform(0.8, 1.1),
        heart_shape=FAMILIES[family],
    )
    scarred = family == "scarred"
    scar = draw_scar(rng, heart.labels) if scarred else np.zeros(heart.labels.shape, bool)
    scanner = _Scanner.draw(rng, heart, scar)
    scans = {
        "cine": scanner.cine(),
        "cine_other": scanner.cine_other(),
        "molli": scanner.molli(after_agent=False),
        "molli_post": scanner.molli(after_agent=True),
        "gre_device": scanner.gre_device(),
        "t2prep": scanner.t2prep(),
        "lge": scanner.lge(),
    }
    return ScannedHeart(family, heart, scans)


@dataclass(frozen=True, eq=False)
class _Scanner:
    """A heart in a scanner; arrays are of the labels' shape.

    Attributes:
        rng: source of all draws.
        heart, scar: the heart, and where its wall is scarred.
        t1, t2: ms.
        coil: PD with the receive bias.
        transmit: actual over nominal flip angle.
        off_resonance: Hz.
    """

    rng: np.random.Generator
    heart: DigitalHeart
    scar: np.ndarray
    t1: np.ndarray
    t2: np.ndarray
    coil: np.ndarray
    transmit: np.ndarray
    off_resonance: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, heart: DigitalHeart, scar: np.ndarray) -> _Scanner:
        slices, rows, columns = heart.labels.shape
        plane = rows, columns
        bias = receive_bias(rng, plane, heart.spacing_mm[1], centre_mm=heart.centre_mm)
        t1, t2 = (np.asarray(values, np.float64) for values in (heart.maps.t1, heart.maps.t2))
        return cls(
            rng,
            heart,
            scar,
            np.where(scar, _SCAR_T1 * t1, t1),
            np.where(scar, _SCAR_T2 * t2, t2),
            np.asarray(heart.maps.pd, np.float64) * bias,
            transmit_field(rng, heart.labels.shape),
            np.stack([off_resonance_hz(rng, plane, rng.uniform(20, 60)) for _ in range(slices)]),
        )

    @property
    def blood(self) -> np.ndarray:
        """Where blood flows."""
        return np.isin(self.heart.tissue, [TISSUE_NAMES.index(name) for name in ("blood", "venous blood")])

    def profiled(self, signal: Callable[[np.ndarray], np.ndarray], flip_angle_deg: float) -> np.ndarray:
        """A signal over the slice profile, at the actual flip angles."""
        return through_slice(signal, flip_angle_deg * self.transmit)

    def image(self, signal: np.ndarray, noise: float) -> np.ndarray:
        """The magnitude image of a signal per unit PD. `noise` is the standard deviation per unit PD (assumed)."""
        return 1000 * noisy_magnitude(self.rng, self.coil * signal, noise)

    def cine(self) -> TestScan:
        """bSSFP as in training (flip angle, no motion, little noise), of other hearts and by the other simulation."""
        angle = self.rng.uniform(40, 60)
        signal = bloch.steady_state_bssfp(self.t1, self.t2, angle, tr_ms=3.2)
        return TestScan({"": self.image(signal, 0.005)}, {}, {})

    def cine_other(self) -> TestScan:
        """bSSFP with a small angle and a long TR, hence dark bands; inflow, breathing and three times the noise."""
        field = 2 * self.off_resonance

        def signal(angle: np.ndarray) -> np.ndarray:
            simulate = partial(bloch.steady_state_bssfp, tr_ms=4.6)
            steady = simulate(self.t1, self.t2, angle, off_resonance_hz=field)
            steady[self.blood] = simulate(
                *(values[self.blood] for values in (self.t1, self.t2, angle)),
                off_resonance_hz=field[self.blood],
                pulses_seen=40,
            )
            return steady

        moved = breathing_ghosts(
            self.rng, self.coil * self.profiled(signal, 27.0), self.rng.uniform(0.3, 1.0), int(self.rng.integers(2, 6))
        )
        return TestScan({"": 1000 * noisy_magnitude(self.rng, moved, 0.015)}, {"sequence": "bssfp"}, {})

    def molli(self, after_agent: bool) -> TestScan:
        """MOLLI by a scheme, echo spacing, heart rate and inversion outside the recipe. The heart drifts between
        readouts by 0.7 pixels (standard deviation, assumed), and its contours do not follow."""
        rr_ms = self.rng.uniform(1250, 1400)
        t1, t2 = self._after_agent(self.rng.uniform(0.3, 0.8)) if after_agent else (self.t1, self.t2)
        angle = 35.0

        def signal(angles: np.ndarray) -> np.ndarray:
            return _molli(t1, t2, flip_angle_deg=angles, rr_ms=rr_ms, off_resonance_hz=self.off_resonance)

        images, times = {}, {}
        first_times = zip(_MOLLI_SETS, _FIRST_INVERSION_TIMES_MS, strict=True)
        readout_times = [first + beat * rr_ms for count, first in first_times for beat in range(count)]
        for k, (readout, time_ms) in enumerate(zip(self.profiled(signal, angle), readout_times, strict=True)):
            drift = self.rng.normal(0, 0.7, 2)
            moved = shifted(self.coil * readout, *drift)
            images[f"_ti{k:02d}"] = 1000 * noisy_magnitude(self.rng, moved, 0.006)
            times[f"_ti{k:02d}"] = round(time_ms, 1)
        return TestScan(images, {"sequence": "molli", "flip_angle_deg": angle}, times)

    def gre_device(self) -> TestScan:
        """GRE cine with inflowing blood, and the signal that is left near a device."""
        te_ms = 1.1
        simulate = partial(bloch.spoiled_gre, tr_ms=2.7, te_ms=te_ms)

        def signal(angle: np.ndarray) -> np.ndarray:
            still = simulate(self.t1, self.t2, angle, r2_prime_hz=self.heart.r2_prime_hz)
            blood = self.blood
            still[blood] = simulate(
                *(values[blood] for values in (self.t1, self.t2, angle)),
                r2_prime_hz=self.heart.r2_prime_hz[blood],
                pulses_seen=24,
            )
            return still

        heart = self.heart
        field = device_frequency_hz(self.rng, heart.labels.shape, heart.spacing_mm, heart.centre_mm)
        left = self.coil * self.profiled(signal, 28.0) * dephasing(field, te_ms)
        moved = breathing_ghosts(self.rng, left, self.rng.uniform(0.2, 0.7), int(self.rng.integers(2, 6)))
        return TestScan({"": 1000 * noisy_magnitude(self.rng, moved, 0.004)}, {"sequence": "gre"}, {})

    def t2prep(self) -> TestScan:
        """A single bSSFP shot after a long T2 preparation, with an echo spacing outside the recipe."""
        preparation_ms = self.rng.uniform(70, 90)

        def signal(angle: np.ndarray) -> np.ndarray:
            return bloch.single_shot_bssfp(
                self.t1, self.t2, angle, 3.4, 80, 34, t2_prep_ms=preparation_ms, off_resonance_hz=self.off_resonance
            )[0]

        images = {"": self.image(self.profiled(signal, 35.0), 0.004)}
        return TestScan(images, {"sequence": "t2prep", "t2_prep_ms": [round(preparation_ms)]}, {})

    def lge(self) -> TestScan:
        """Segmented inversion-recovery GRE, 0-12 % after the null of myocardium, an inversion in every heartbeat."""
        blood_mmol_l = self.rng.uniform(0.4, 0.8)
        rr_ms, past_null = self.rng.uniform(1250, 1400), self.rng.uniform(1.0, 1.12)
        simulate = partial(SEGMENTED_LGE, rr_ms=rr_ms)
        t1, t2 = self._after_agent(blood_mmol_l)
        wall = (self.heart.labels == 2) & ~self.scar
        remote = np.median(t1[wall]), np.median(t2[wall])
        null_ms = brentq(
            lambda time_ms: float(simulate(*remote, inversion_time_ms=time_ms, flip_angle_deg=30.0)), 60.0, 0.8 * rr_ms
        )

        def signal(angle: np.ndarray) -> np.ndarray:
            return simulate(
                t1, t2, inversion_time_ms=past_null * null_ms, flip_angle_deg=angle, r2_prime_hz=self.heart.r2_prime_hz
            )

        moved = breathing_ghosts(
            self.rng, self.coil * self.profiled(signal, 30.0), self.rng.uniform(0.0, 0.6), int(self.rng.integers(2, 6))
        )
        return TestScan({"": 1000 * noisy_magnitude(self.rng, moved, 0.0015)}, {"sequence": "lge_gre"}, {})

    def _after_agent(self, blood_mmol_l: float) -> tuple[np.ndarray, np.ndarray]:
        """T1 and T2 in ms after contrast agent, with ratios as in `heart_scans`."""
        concentration = agent_concentration(
            self.heart.tissue,
            self.scar,
            blood_mmol_l,
            tissue_of_blood=self.rng.uniform(0.42, 0.56),
            scar_of_tissue=self.rng.uniform(1.8, 2.4),
        )
        return with_agent(self.t1, self.t2, concentration)
