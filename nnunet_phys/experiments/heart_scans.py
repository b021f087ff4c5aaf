"""Digital hearts as a scanner shows them: cine to train on, and other contrasts to test on.

The training images come from the closed-form bSSFP equation, the test images from the Bloch simulation, with protocols
outside what training sees, off-resonance, receive bias and noise: training and test share no formula. All T1 are 40 %
longer and all T2 25 % shorter than the training hearts', beyond the recipe's random factors.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from scipy.optimize import brentq

from nnunet_phys import bloch
from nnunet_phys.digital_heart import DigitalHeart, digital_heart
from nnunet_phys.heart_anatomy import HeartStack, draw_shape
from nnunet_phys.heart_enhancement import agent_concentration, draw_scar
from nnunet_phys.heart_scanner import noisy_magnitude, off_resonance_hz, receive_bias
from nnunet_phys.sequences import BSSFP, MOLLI
from nnunet_phys.tissue_state import with_agent
from nnunet_phys.tissues import TISSUE_NAMES

SEGMENTED_LGE = partial(
    bloch.late_enhancement_gre,
    tr_ms=4.2,
    te_ms=1.2,
    pulses=40,
    centre_pulse=12,
    beats=1,
    inversion_efficiency=0.85,
)
"""Segmented inversion-recovery GRE, with an inversion in every heartbeat, as in bradycardia; takes T1 and T2 (ms),
`inversion_time_ms`, `flip_angle_deg`, `rr_ms` and optionally `r2_prime_hz`."""

_WHOLE = HeartStack((-0.15, 0.1), (0.85, 1.08), ends=True)
CONTRASTS = ("cine", "molli", "gre", "lge")
_TRAIN_SEED, _TEST_SEED = 2_000_000, 4_000_000  # the shipped prior learned from seeds below a million
_LGE_STREAM = 1  # makes LGE's random numbers independent of those of the other contrasts
_NOISE, _LGE_NOISE = 0.004, 0.0015
"""Standard deviation of the noise in test images, per unit PD. In LGE it makes the contrast-to-noise ratio of blood and
myocardium about 10, as in healthy subjects (Han et al., JMRI 2009, PMC2862561); in the others it is assumed."""


@dataclass(frozen=True, eq=False)
class TrainingScan:
    """A labelled cine image.

    Attributes:
        heart: the anatomy; its labels and spacing hold for the image.
        image: bSSFP magnitude, float32 (slices, rows, columns).
        pd: PD as the scanner receives it, with the receive bias, float32 of that shape.
    """

    heart: DigitalHeart
    image: np.ndarray
    pd: np.ndarray


@dataclass(frozen=True, eq=False)
class HeartScans:
    """One anatomy in all test contrasts.

    Attributes:
        heart: the anatomy; its labels and spacing hold for all images.
        images: magnitudes by contrast, then by the suffix of the case's name: "", or for a MOLLI readout such as
            "_ti03"; float32 (slices, rows, columns).
        molli: the MOLLI's protocol.
    """

    heart: DigitalHeart
    images: dict[str, dict[str, np.ndarray]]
    molli: MOLLI


def scan_training_heart(index: int, slices: int, varied: bool = False) -> TrainingScan:
    """Scan training heart number `index`, in diastole if it is even, in systole if it is odd.

    Args:
        index: the number.
        slices: short-axis slices.
        varied: a heart of any shape, from above the base to below the apex, in pixels of 2.0 instead of 2.5 mm.
    """
    rng = np.random.default_rng([_TRAIN_SEED, index])
    systole = bool(index % 2)
    if varied:
        shape = draw_shape(rng, systole)
        hidden_walls = bool(rng.random() < 0.5)
        heart = digital_heart(
            _TRAIN_SEED + index,
            slices,
            (160, 160),
            2.0,
            systole=systole,
            hidden_walls=hidden_walls,
            heart_shape=shape,
            stack=_WHOLE,
        )
    else:
        heart = digital_heart(_TRAIN_SEED + index, slices, systole=systole)
    signal = BSSFP(flip_angle_deg=rng.uniform(40, 60))(heart.maps).numpy()
    bias = receive_bias(rng, _plane(heart), heart.spacing_mm[1], centre_mm=heart.centre_mm)
    image = 1000 * noisy_magnitude(rng, signal * bias, 0.005)
    return TrainingScan(heart, image, np.asarray(heart.maps.pd) * bias)


def scan_test_heart(index: int, slices: int) -> HeartScans:
    """Scan test heart number `index` in all `CONTRASTS`, in diastole if it is even, in systole if it is odd.

    LGE shows a scar in two of three hearts.
    """
    rng = np.random.default_rng([_TEST_SEED, index])
    heart = digital_heart(_TEST_SEED + index, slices, systole=bool(index % 2), t1_factor=1.4, t2_factor=0.75)
    bias = receive_bias(rng, _plane(heart), heart.spacing_mm[1], centre_mm=heart.centre_mm)
    field = np.stack([off_resonance_hz(rng, _plane(heart), rng.uniform(20, 50)) for _ in range(slices)])
    t1, t2 = (np.asarray(m, np.float64) for m in (heart.maps.t1, heart.maps.t2))
    protocol = MOLLI(
        scheme="3(3)3(3)5",
        flip_angle_deg=20.0,
        tr_ms=3.2,
        pulses=80,
        centre_pulse=34,
        rr_ms=rng.uniform(1250, 1400),
        first_inversion_times_ms=(140.0, 230.0, 320.0),
        inversion_efficiency=0.85,
    )
    simulated = {name: value for name, value in asdict(protocol).items() if name not in ("readout", "rr_intervals_ms")}
    molli = bloch.molli(t1, t2, **simulated, off_resonance_hz=field)
    signals = {
        "cine": {"": bloch.steady_state_bssfp(t1, t2, flip_angle_deg=32.0, tr_ms=4.3, off_resonance_hz=field)},
        "molli": {f"_ti{k:02d}": readout for k, readout in enumerate(molli)},
        "gre": {"": _gradient_echo(heart, t1, t2)},
    }
    coil = np.asarray(heart.maps.pd, np.float64) * bias
    images = {
        contrast: {case: 1000 * noisy_magnitude(rng, coil * signal, _NOISE) for case, signal in cases.items()}
        for contrast, cases in signals.items()
    }
    lge_rng = np.random.default_rng([_TEST_SEED, index, _LGE_STREAM])
    images["lge"] = {"": 1000 * noisy_magnitude(lge_rng, coil * _late_enhancement(lge_rng, heart, t1, t2), _LGE_NOISE)}
    return HeartScans(heart, images, protocol)


def _plane(heart: DigitalHeart) -> tuple[int, int]:
    rows, columns = heart.labels.shape[1:]
    return rows, columns


def _gradient_echo(heart: DigitalHeart, t1: np.ndarray, t2: np.ndarray) -> np.ndarray:
    """GRE cine with inflowing blood, of the labels' shape, per unit PD."""
    r2_prime = heart.r2_prime_hz
    blood = np.isin(heart.tissue, [TISSUE_NAMES.index(name) for name in ("blood", "venous blood")])
    signal = bloch.spoiled_gre(t1, t2, flip_angle_deg=28.0, tr_ms=2.8, te_ms=1.1, r2_prime_hz=r2_prime)
    signal[blood] = bloch.spoiled_gre(t1[blood], t2[blood], 28.0, 2.8, 1.1, r2_prime[blood], pulses_seen=24)
    return signal


def _late_enhancement(rng: np.random.Generator, heart: DigitalHeart, t1: np.ndarray, t2: np.ndarray) -> np.ndarray:
    """Segmented inversion-recovery GRE, 0-12 % after the null of the myocardium; of the labels' shape, per unit PD.

    Contrast agent is as about 15 minutes after the injection (`tissue_state.ContrastAgent`). Every heartbeat has an
    inversion, as in bradycardia.
    """
    agent = {"blood_mmol_l": rng.uniform(0.4, 0.8), "tissue_of_blood": rng.uniform(0.42, 0.56)}
    agent["scar_of_tissue"] = rng.uniform(1.8, 2.4)
    rr_ms, past_null = rng.uniform(1250, 1400), rng.uniform(1.0, 1.12)
    scar = draw_scar(rng, heart.labels) if rng.uniform() < 2 / 3 else np.zeros(heart.labels.shape, bool)

    def signal(
        t1: np.ndarray, t2: np.ndarray, inversion_time_ms: float, r2_prime_hz: np.ndarray | float = 0.0
    ) -> np.ndarray:
        return SEGMENTED_LGE(t1, t2, inversion_time_ms, flip_angle_deg=30.0, rr_ms=rr_ms, r2_prime_hz=r2_prime_hz)

    myocardium = heart.values["myocardium"]
    in_wall = agent["blood_mmol_l"] * agent["tissue_of_blood"]
    wall = with_agent(np.array(myocardium.t1_ms), np.array(myocardium.t2_ms), np.array(in_wall))
    null_ms = brentq(lambda time_ms: signal(*wall, time_ms), 60.0, 0.8 * rr_ms, xtol=0.1)
    after = with_agent(t1, t2, agent_concentration(heart.tissue, scar, **agent))
    return signal(*after, past_null * null_ms, heart.r2_prime_hz)
