"""Rows of the gallery: every sequence over its main parameter, every scanner effect over its strength."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from inspect import getdoc
from operator import itemgetter
from typing import Any

import numpy as np

from nnunet_phys.augmentations.contrast_draw import ContrastDraw
from nnunet_phys.fields import Device, OffResonance, ReceiveBias, TransmitField
from nnunet_phys.infarct import Infarct
from nnunet_phys.scanner import Ghost, Noise, PartialVolume, ZeroFilling
from nnunet_phys.sequences import (
    BSSFP,
    MOLLI,
    MSASHA,
    SASHA,
    BlackBloodTSE,
    InversionRecoveryBSSFP,
    InversionRecoveryGRE,
    LookLocker,
    SaturationRecoveryGRE,
    SpoiledGRE,
    T2PreparedBSSFP,
    T2PreparedGRE,
)
from nnunet_phys.sequences.description import describe_sequence, make_sequence
from nnunet_phys.sequences.ernst import Ernst
from nnunet_phys.sequences.multi_echo_gre import MultiEchoGRE
from nnunet_phys.sequences.plugins import all_ranges, all_sequences
from nnunet_phys.sequences.pulse_sequence import PulseSequence
from nnunet_phys.tissue_state import ContrastAgent, TissueState

NATIVE, LATE = ContrastAgent(0.0, 0.0), ContrastAgent(0.5, 0.25)
"""Before contrast agent, and about 15 minutes after it, mmol/l."""

_FIRST_PASS = ((0.0, 0.0), (0.5, 0.0), (2.0, 0.0), (4.0, 0.2), (3.0, 0.6), (1.5, 0.7))
_INFLOW = (None, 400.0, 100.0, 50.0, 25.0)
_DRAWN = 6  # images in a row of draws
_DEPTHS_MM = (4.0, 8.0, 12.0, 16.0)
_OF_NULL = (0.5, 0.75, 1.0, 1.25, 1.6, 2.2)
_CINE = BSSFP(flip_angle_deg=50.0, tr_ms=3.6)
_STIR = BlackBloodTSE(inversion_time_ms=180.0)


@dataclass(frozen=True)
class Row:
    """Images side by side.

    Attributes:
        title: names the sequence or effect, fixed parameters and what changes.
        notice: what to notice, in a sentence.
        images: captions and draws.
        one_scale: whether all images share a grey scale, as where the level of the signal is what changes.
    """

    title: str
    notice: str
    images: list[tuple[str, ContrastDraw]]
    one_scale: bool = False


def sequence_rows(t1_ms: float, t2_ms: float, seed: int) -> list[Row]:
    """A row for each sequence, or several rows where contrast agent or inflow changes the picture.

    Args:
        t1_ms, t2_ms: T1 and T2 of the myocardium around whose null late enhancement is shown.
        seed: decides the places of infarcts.
    """
    infarct = _infarct(seed)
    timed = zip(MOLLI().inversion_times_ms, MOLLI().single_images(), strict=True)
    readouts = [(f"TI {time:.0f} ms", readout) for time, readout in sorted(timed, key=itemgetter(0))]
    null = InversionRecoveryGRE().at_null(TissueState(agent=LATE), t1_ms, t2_ms).inversion_time_ms
    null_bssfp = InversionRecoveryBSSFP().at_null(TissueState(agent=LATE), t1_ms, t2_ms).inversion_time_ms
    nulled = f"TI {{:.0f}} ms nulls muscle of native T1 {t1_ms:.0f} and T2 {t2_ms:.0f} ms"

    def late(kind: type, null_ms: float, infarcted: bool, **fixed: Any) -> list[tuple[str, ContrastDraw]]:
        images = []
        for factor in _OF_NULL:
            sequence = kind(inversion_time_ms=factor * null_ms, **fixed)
            caption = f"TI {factor * null_ms:.0f} ms" + (" (null)" if factor == 1 else "")
            images.append((caption, _draw(sequence, LATE, infarct if infarcted else None)))
        return images

    rows = [
        Row(
            "bssfp: cine, over flip angle",
            "The larger the flip angle, the darker muscle becomes beside blood and fat.",
            _over(BSSFP, "flip_angle_deg", (20, 35, 50, 65, 80), "{:.0f}°"),
            one_scale=True,
        ),
        Row(
            "bssfp: 50°, over the pulses that inflowing blood sees",
            "Blood that has just flowed in is brighter than blood at rest; muscle stays as it is.",
            _over(BSSFP, "inflow_pulses", _INFLOW, "{:.0f} pulses", "at rest", flip_angle_deg=50.0),
            one_scale=True,
        ),
        Row(
            "gre: TR 6, TE 2.5 ms, 50 pulses of inflow, over flip angle",
            "Muscle only darkens with the flip angle; blood that flows in gains up to about 15°.",
            _over(SpoiledGRE, "flip_angle_deg", (5, 10, 15, 20, 30), "{:.0f}°", inflow_pulses=50.0),
            one_scale=True,
        ),
        Row(
            "gre: 15°, over the pulses that inflowing blood sees",
            "At rest, blood is as dark as muscle or darker; only inflow makes the cavities bright.",
            _over(SpoiledGRE, "inflow_pulses", _INFLOW, "{:.0f} pulses", "at rest"),
            one_scale=True,
        ),
        Row(
            "molli: 5(3)3, 35°, before contrast agent",
            "Soon after an inversion, fat is near its null; blood and muscle are inverted, which the magnitude hides.",
            [(caption, _draw(readout)) for caption, readout in readouts],
            one_scale=True,
        ),
        Row(
            "molli: the same, 15 min after contrast agent",
            "T1 is short: blood and muscle are near their null at 200 ms, and have recovered a heartbeat later.",
            [(caption, _draw(readout, LATE)) for caption, readout in readouts],
            one_scale=True,
        ),
        Row(
            "looklocker: 35°, over the time since the inversion",
            "The read-out drives all tissues through zero early, into a steady state far below equilibrium.",
            _over(LookLocker, "time_ms", (100, 300, 500, 800, 1200, 2500), "{:.0f} ms"),
            one_scale=True,
        ),
        Row(
            "sasha: 70°, over saturation time",
            "No tissue passes zero: all recover from black, fat first and blood last.",
            _over(SASHA, "ts_ms", (50, 150, 300, 600, 900, None), "TS {:.0f} ms", "no saturation"),
            one_scale=True,
        ),
        Row(
            "msasha: TS 600 ms, over T2 preparation",
            "Blood, with its long T2, hardly loses signal; muscle fades.",
            _over(MSASHA, "t2_prep_ms", (0, 25, 40, 55, 80), "{:.0f} ms"),
            one_scale=True,
        ),
        Row(
            "t2prep: bSSFP 70°, over T2 preparation",
            "Muscle fades with the preparation; where it stays bright, T2 is long, as in oedema.",
            _over(T2PreparedBSSFP, "t2_prep_ms", ((0,), (25,), (40,), (55,), (80,)), "{:.0f} ms"),
            one_scale=True,
        ),
        Row(
            "t2prep_gre: GRE 12°, over T2 preparation",
            "The decay of T2 as with bSSFP.",
            _over(T2PreparedGRE, "t2_prep_ms", ((0,), (25,), (40,), (55,), (80,)), "{:.0f} ms"),
            one_scale=True,
        ),
        Row(
            f"lge_gre: 15 min after contrast agent; {nulled.format(null)}",
            "Muscle is inverted, and bright in the magnitude, before its null; black at it; and grey after it.",
            late(InversionRecoveryGRE, null, False),
            one_scale=True,
        ),
        Row(
            "lge_gre: the same with infarcts at random",
            "Infarcts hold more agent and recover first: darker than muscle before its null, bright from it on.",
            late(InversionRecoveryGRE, null, True),
        ),
        Row(
            "lge_gre: the same, phase-sensitive (PSIR): signed",
            "With the sign, infarcts are brighter than muscle at every inversion time.",
            late(InversionRecoveryGRE, null, True, phase_sensitive=True),
        ),
        Row(
            f"lge_bssfp: with these infarcts; {nulled.format(null_bssfp)}",
            "As with GRE, in another null and with brighter blood, since the read-out is weighted by T2 as well.",
            late(InversionRecoveryBSSFP, null_bssfp, True),
        ),
        Row(
            "lge_gre: at the null, over the infarcts' greatest depth",
            "Infarcts begin at the cavity: a rim under the endocardium, then through the wall.",
            [
                (f"{depth:g} mm", _draw(InversionRecoveryGRE(null), LATE, replace(infarct, depth_mm=depth)))
                for depth in _DEPTHS_MM
            ],
            one_scale=True,
        ),
        Row(
            "perfusion: saturation time 100 ms, over contrast agent in the first pass",
            "The cavities brighten before muscle; both at once, since all blood has one concentration.",
            [
                (
                    f"blood {blood:g}, tissue {tissue:g} mmol/l",
                    _draw(SaturationRecoveryGRE(), ContrastAgent(blood, tissue)),
                )
                for blood, tissue in _FIRST_PASS
            ],
            one_scale=True,
        ),
        Row(
            "black_blood: turbo spin echo, TR 1.8 s, over TE",
            "The cavities are black at every echo time; what has a short T2, such as muscle, fades first.",
            _over(BlackBloodTSE, "te_ms", (6, 18, 36, 60, 90), "TE {:.0f} ms"),
            one_scale=True,
        ),
        Row(
            "black_blood: TE 60 ms, over STIR's inversion time",
            "Fat is darkest near its null, about 180 ms.",
            _over(BlackBloodTSE, "inversion_time_ms", (None, 150, 180, 210, 240), "TI {:.0f} ms", "no inversion"),
            one_scale=True,
        ),
        Row(
            "black_blood: STIR, TE 60 ms, over T2 of infarcts",
            "Oedema: the longer its T2, the brighter it stands out from muscle, beside black blood.",
            [
                (f"{factor:g} times other myocardium's", _draw(_STIR, infarct=infarct, infarct_t2=factor))
                for factor in (1.0, 1.2, 1.4, 1.7)
            ],
            one_scale=True,
        ),
        Row(
            "multi_echo_gre: a series over TE, blood at rest",
            "Muscle fades faster than blood, by T2* instead of T2; iron makes it fade faster still.",
            _over(MultiEchoGRE, "te_ms", [(time,) for time in MultiEchoGRE().te_ms], "TE {:.1f} ms"),
            one_scale=True,
        ),
        Row(
            "ernst: TR 50, TE 10 ms, over flip angle",
            "For comparison: eq. (6) of Zhao et al. (MICCAI 2025) knows no inflow, which makes real cine bright.",
            _over(Ernst, "flip_angle_deg", (3, 6, 9, 12, 15), "{:.0f}°"),
            one_scale=True,
        ),
    ]
    pictured = {draw.sequence.name for row in rows for _, draw in row.images}
    return rows + [_plugin_row(name, seed) for name in sorted(set(all_sequences()) - pictured)]


def _plugin_row(name: str, seed: int) -> Row:
    """Another package's sequence: the images of a series, or draws from its ranges, with captions of what varies.

    What to notice is the first line of its class's docstring.
    """
    sequences = make_sequence({"sequence": name}).single_images()
    is_series = len(sequences) > 1
    if not is_series:
        rng = np.random.default_rng(seed)
        sequences = [all_ranges()[name]().draw_sequence(rng, TissueState()) for _ in range(_DRAWN)]
    described = [describe_sequence(sequence) for sequence in sequences]
    varying = [key for key in described[0] if len({str(values[key]) for values in described}) > 1]
    images = [
        (", ".join(f"{key} {_short(values[key])}" for key in varying[:2]), _draw(sequence))
        for sequence, values in zip(sequences, described, strict=True)
    ]
    summary, *_ = (getdoc(type(sequences[0])) or "").splitlines() or [""]
    return Row(f"{name}: {'a series' if is_series else 'draws of its protocol'}", summary, images, one_scale=is_series)


def _short(value: Any) -> str:
    single = value[0] if isinstance(value, tuple) else value
    return f"{single:.3g}" if isinstance(single, float) else str(single)


def effect_rows(seed: int) -> list[Row]:
    """A row for each scanner effect, on a bSSFP cine of 50 degrees; the seed decides all places and the noise."""

    def over(part: str, kind: Callable[..., Any], strengths: Iterable[float], caption: str) -> list:
        images = [("ideal", ContrastDraw(_CINE))]
        for strength in strengths:
            images.append((caption.format(strength), replace(ContrastDraw(_CINE), **{part: kind(strength)})))
        return images

    return [
        Row(
            "transmit: B1+, over its mean",
            "With less of the flip angle, muscle is brighter and stands out less from blood; it also varies in space.",
            over("transmit", lambda x: TransmitField(x, 0.15, seed), (1.2, 1.0, 0.8, 0.6), "{:.0%} of the flip angle"),
            one_scale=True,
        ),
        Row(
            "off_resonance: bands of bSSFP, TR 3.6 ms",
            "Dark bands where spins turn by half a cycle per TR, 139 Hz off resonance.",
            over("off_resonance", lambda x: OffResonance(x, seed), (60, 120, 180, 240), "±{:.0f} Hz"),
            one_scale=True,
        ),
        Row(
            "device: a defibrillator or pacemaker, by its field at 100 mm",
            "Bands crowd around the device; near it the image is black, and displaced to the sides.",
            over("device", lambda x: Device(x, 100.0, 800.0, seed), (50, 100, 200, 400), "{:.0f} Hz"),
            one_scale=True,
        ),
        Row(
            "receive_bias: over the coil element's sensitivity",
            "One side of the image is brighter; neighbouring tissues keep their ratio.",
            over("receive_bias", lambda x: ReceiveBias(x, 110.0, 0.1, seed), (1.5, 2, 3, 4), "{:g} times the middle's"),
        ),
        Row(
            "partial_volume: blur, standard deviation",
            "Edges widen, and thin walls and trabeculae fade.",
            over("partial_volume", PartialVolume, (0.5, 1, 1.5, 2.5), "{:g} pixels"),
        ),
        Row(
            "zero_filling: k-space acquired",
            "Blur, and ringing beside sharp edges.",
            over("zero_filling", ZeroFilling, (0.8, 0.6, 0.4, 0.3), "{:.0%}"),
        ),
        Row(
            "ghost: respiration",
            "Copies of what is bright, displaced up and down.",
            over("ghost", lambda x: Ghost(x, 0.15, True), (0.03, 0.06, 0.1, 0.2), "{:.0%} of the image"),
        ),
        Row(
            "noise: of the bright signal",
            "What has no signal turns grey rather than black, since the magnitude of noise is never negative.",
            over("noise", lambda x: Noise(x, seed), (0.02, 0.05, 0.1, 0.2), "{:.0%}"),
        ),
    ]


def characteristic(t1_ms: float, t2_ms: float, seed: int) -> list[tuple[str, ContrastDraw]]:
    """Nine contrasts that represent all others, with short captions; arguments as for `sequence_rows`."""
    early, _, late_readout, *_ = MOLLI().single_images()
    null = InversionRecoveryGRE().at_null(TissueState(agent=LATE), t1_ms, t2_ms)
    return [
        ("bSSFP cine", _draw(_CINE)),
        ("GRE, inflow", _GRE),
        ("MOLLI, TI 120 ms", _draw(early)),
        ("MOLLI, TI 2120 ms", _draw(late_readout)),
        ("SASHA 150 ms, Gd", _draw(SASHA(ts_ms=150.0), LATE)),
        ("T2-prepared, 55 ms", _draw(T2PreparedBSSFP(t2_prep_ms=(55.0,)))),
        ("LGE, infarct", _draw(replace(null, inversion_time_ms=1.1 * null.inversion_time_ms), LATE, _infarct(seed))),
        ("first-pass perfusion", _draw(SaturationRecoveryGRE(), ContrastAgent(4.0, 0.2))),
        ("black blood, STIR", _draw(_STIR)),
    ]


def trained_contrasts(t1_ms: float, t2_ms: float) -> list[tuple[str, ContrastDraw]]:
    """Three MOLLI readouts, a GRE and an LGE at the null of muscle, with captions: what maps are made for.

    Args:
        t1_ms, t2_ms: native T1 and T2 of the muscle.
    """
    null = InversionRecoveryGRE().at_null(TissueState(agent=LATE), t1_ms, t2_ms)
    readouts = MOLLI().single_images()[:3]
    times = MOLLI().inversion_times_ms
    molli = [(f"MOLLI, TI {time:.0f} ms", _draw(one)) for time, one in zip(times, readouts, strict=False)]
    return [*molli, ("GRE, inflow", _GRE), ("LGE, null of muscle", _draw(null, LATE))]


def _infarct(seed: int) -> Infarct:
    """Infarcts in a large enough share of the heart that most seeds show one in a slice."""
    return Infarct(depth_mm=12.0, share=0.4, scale_mm=50.0, seed=seed)


def _draw(
    sequence: PulseSequence, agent: ContrastAgent = NATIVE, infarct: Infarct | None = None, infarct_t2: float = 1.0
) -> ContrastDraw:
    """A draw without scanner effects; infarcts have 1.2 times the T1, and take up twice the agent, of other tissue."""
    tissue = TissueState(agent=agent)
    if infarct is None:
        return ContrastDraw(sequence, tissue)
    infarct_tissue = replace(tissue, muscle_t1_factor=1.2, muscle_t2_factor=infarct_t2, muscle_uptake=2.0)
    return ContrastDraw(sequence, tissue, infarct=infarct, infarct_tissue=infarct_tissue)


def _over(kind: type, name: str, values: Iterable[Any], caption: str, without: str = "", **fixed: Any) -> list:
    """Captions and draws of one sequence for several values of one parameter; `without` is the caption of None."""
    images = []
    for value in values:
        number = value[0] if isinstance(value, tuple) else value
        sequence = kind(**{name: value, **fixed})
        images.append((without if number is None else caption.format(number), _draw(sequence)))
    return images


_GRE = _draw(SpoiledGRE(inflow_pulses=50.0))
"""Cine with inflowing blood."""
