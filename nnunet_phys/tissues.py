"""Reference relaxation times of the tissues in a cardiac field of view, at 1.5 T and 3 T.

Sources, by the short names that `Tissue.source` holds:

- ``debazelaire``: de Bazelaire et al., Radiology 230:652 (2004), abdomen and pelvis at 3 T, means as in its abstract.
- ``between``: within what studies report of these tissues, which differ by tens of per cent (Bojorquez et al., Magn
  Reson Imaging 35:69, 2017); at 1.5 T about 0.8 of the T1 at 3 T (21 % longer at 3 T, de Bazelaire et al.). Where in
  between is an assumption.
- ``mapping``: ranges over published MOLLI, SASHA and T2-mapping normal values. T1 of the same myocardium differs by
  200-300 ms between MOLLI and SASHA, so the spread covers methods as well as people.
- ``li``: Li et al., MRM 39:685 (1998), T2* of blood in large arteries and veins at 1.5 T, as in its abstract.
- ``assumed``: no measurement was at hand; the value is an assumption of this project. So are PD, the T2* of all but
  blood at 1.5 T, and spreads wider than the source's.

Venous blood, which fills the right ventricle, shares T1 and density with arterial blood. Its T2 is shorter: 0.84 of it
by T2 preparation at 3 T (80 against 95 ms; Ventricular blood T2 in asymptomatic adults at 3T, 156 adults, means of
women and men as in its abstract), its T2* 0.54 at 1.5 T (``li``: 108 against 199 ms). The spread of `VENOUS_T2`
around that is an assumption. The difference shows in cine: over 30 ACDC volumes in diastole the right cavity has 0.80
of the left cavity's signal (5th to 95th percentile 0.63-0.93; medians within the labels).

Proton density is relative to water in blood (about 0.9), as signal-bearing density: fat shows brighter in bSSFP than
its proton density, lung and marrow darker.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Tissue:
    """One tissue at one field strength.

    Attributes:
        t1_ms: mean and standard deviation of T1 over people and methods, ms.
        t2_ms: mean and standard deviation of T2, ms.
        t2_star_ms: mean T2*, ms.
        pd: lower and upper proton density, relative.
        source: short names of the sources (see the module).
    """

    t1_ms: tuple[float, float]
    t2_ms: tuple[float, float]
    t2_star_ms: float
    pd: tuple[float, float]
    source: str


@dataclass(frozen=True)
class TissueValue:
    """T1, T2, T2* in ms and relative proton density of one tissue in one person."""

    t1_ms: float
    t2_ms: float
    t2_star_ms: float
    pd: float


# T1 and T2 of air have no effect (its PD is 0). Mid-range values avoid needless steps in the maps.
_AIR = Tissue((1000.0, 0.0), (60.0, 0.0), 50.0, (0.0, 0.01), "assumed")
_FLUID = Tissue((3000.0, 400.0), (450.0, 100.0), 200.0, (0.9, 1.0), "assumed")

TISSUES: dict[float, dict[str, Tissue]] = {
    1.5: {
        "air": _AIR,
        "blood": Tissue((1550.0, 100.0), (235.0, 30.0), 199.0, (0.85, 0.95), "mapping, T2 assumed, T2* li"),
        "myocardium": Tissue((1060.0, 70.0), (51.0, 3.5), 33.0, (0.78, 0.86), "mapping"),
        "muscle": Tissue((1008.0, 60.0), (38.0, 4.0), 30.0, (0.76, 0.84), "between"),
        "fat": Tissue((305.0, 35.0), (64.0, 5.0), 40.0, (0.7, 1.0), "between"),
        "liver": Tissue((610.0, 40.0), (50.0, 5.0), 25.0, (0.82, 0.9), "between"),
        "spleen": Tissue((1057.0, 60.0), (79.0, 8.0), 50.0, (0.76, 0.84), "between"),
        "lung": Tissue((1171.0, 80.0), (61.0, 9.0), 2.1, (0.05, 0.3), "mapping"),
        "marrow": Tissue((549.0, 52.0), (49.0, 8.0), 15.0, (0.35, 0.75), "between"),
        "fluid": _FLUID,
    },
    3.0: {
        "air": _AIR,
        "blood": Tissue((1850.0, 105.0), (180.0, 30.0), 80.0, (0.85, 0.95), "mapping"),
        "myocardium": Tissue((1280.0, 100.0), (43.0, 3.5), 24.0, (0.78, 0.86), "mapping"),
        "muscle": Tissue((1250.0, 110.0), (34.0, 4.0), 22.0, (0.76, 0.84), "between"),
        "fat": Tissue((382.0, 25.0), (68.0, 5.0), 30.0, (0.7, 1.0), "debazelaire"),
        "liver": Tissue((809.0, 65.0), (34.0, 4.0), 17.0, (0.82, 0.9), "debazelaire"),
        "spleen": Tissue((1328.0, 45.0), (61.0, 8.0), 30.0, (0.76, 0.84), "debazelaire"),
        "lung": Tissue((1300.0, 80.0), (50.0, 9.0), 0.74, (0.05, 0.3), "mapping, T1 and T2 assumed"),
        "marrow": Tissue((586.0, 73.0), (49.0, 8.0), 12.0, (0.35, 0.75), "debazelaire"),
        "fluid": _FLUID,
    },
}

TISSUE_NAMES: tuple[str, ...] = (*TISSUES[1.5], "venous blood")
VENOUS_T2 = (0.62, 0.92)
VENOUS_T2_STAR = 0.54


def draw_tissue_values(
    rng: np.random.Generator, field_strength_t: float, t1_factor: float = 1.0, t2_factor: float = 1.0
) -> dict[str, TissueValue]:
    """Draw one person's tissue values.

    Args:
        rng: source of the draw.
        field_strength_t: 1.5 or 3.0, tesla.
        t1_factor: scales every T1 (a test set outside the training spread).
        t2_factor: scales every T2 and T2*.

    Returns:
        Tissue name to its values; T1 and T2 are Gaussian, cut at 2.5 standard deviations.
    """
    values = {}
    for name, tissue in TISSUES[field_strength_t].items():
        z1, z2 = np.clip(rng.standard_normal(2), -2.5, 2.5)
        t2 = (tissue.t2_ms[0] + z2 * tissue.t2_ms[1]) * t2_factor
        values[name] = TissueValue(
            t1_ms=float((tissue.t1_ms[0] + z1 * tissue.t1_ms[1]) * t1_factor),
            t2_ms=float(t2),
            t2_star_ms=float(min(tissue.t2_star_ms * t2_factor, 0.95 * t2)),
            pd=float(rng.uniform(*tissue.pd)),
        )
    arterial = values["blood"]
    t2 = arterial.t2_ms * rng.uniform(*VENOUS_T2)
    t2_star = min(VENOUS_T2_STAR * arterial.t2_star_ms, 0.95 * t2)
    values["venous blood"] = replace(arterial, t2_ms=float(t2), t2_star_ms=t2_star)
    return values


def normal_range(tissue: str, field_strength_t: float) -> dict[str, tuple[float, float]]:
    """Least and greatest normal T1 and T2 of a tissue: two standard deviations about the mean.

    Args:
        tissue: one of `TISSUE_NAMES`. Venous blood has the T1 of blood, and its T2 times `VENOUS_T2`.
        field_strength_t: 1.5 or 3.0, tesla.

    Returns:
        "t1" and "t2" to least and greatest value, ms.
    """
    reference = TISSUES[field_strength_t]["blood" if tissue == "venous blood" else tissue]
    (t1, t1_sd), (t2, t2_sd) = reference.t1_ms, reference.t2_ms
    shares = VENOUS_T2 if tissue == "venous blood" else (1.0, 1.0)
    return {"t1": (t1 - 2 * t1_sd, t1 + 2 * t1_sd), "t2": (shares[0] * (t2 - 2 * t2_sd), shares[1] * (t2 + 2 * t2_sd))}
