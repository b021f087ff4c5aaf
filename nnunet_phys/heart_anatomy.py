"""The anatomy behind a digital heart: what all slices of one person share, and how disease changes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class HeartShape:
    """How a heart differs from a healthy one, as factors of what is drawn for it. The defaults change nothing.

    Attributes:
        cavity: factor of the radius of the left ventricle's cavity.
        wall: factor of the thickness of its wall.
        rv: factor of the radii of the right ventricle, beside that which follows from the left one's size.
        septum: thickness of the septum relative to the lateral wall.
        flattening: share of the left ventricle's radius that is missing on the septum's side, where the wall is
            straight, as under pressure from the right ventricle; 0 to below 0.8.
        trabeculae: muscle strands in every slice of the left cavity, which belong to the cavity; the right one has, on
            average, half as many beside its usual ones.
    """

    cavity: float = 1.0
    wall: float = 1.0
    rv: float = 1.0
    septum: float = 1.0
    flattening: float = 0.0
    trabeculae: int = 0

    def __post_init__(self) -> None:
        if min(self.cavity, self.wall, self.rv, self.septum) <= 0:
            raise ValueError(f"cavity, wall, rv and septum must be above 0: {self}")
        if not 0 <= self.flattening < 0.8:
            raise ValueError(f"flattening is 0 to below 0.8, got {self.flattening:g}")
        if self.trabeculae < 0:
            raise ValueError(f"trabeculae must not be negative, got {self.trabeculae}")


@dataclass(frozen=True)
class HeartStack:
    """Which part of the heart a stack of slices shows; 0 is the base of the ventricles, 1 the apex.

    Attributes:
        first, last: least and greatest level of the first and of the last slice.
        ends: draw what real stacks show at their ends: great vessels and atria at the base, cavities that close towards
            the apex. The levels may then be below 0 and above 1.

    Raises:
        ValueError: levels beyond the heart without `ends`.
    """

    first: tuple[float, float] = (0.0, 0.1)
    last: tuple[float, float] = (0.85, 0.97)
    ends: bool = False

    def __post_init__(self) -> None:
        if not self.ends and not all(0 <= level <= 1 for level in (*self.first, *self.last)):
            raise ValueError(f"levels below 0 or above 1 need ends=True: {self}")


@dataclass(frozen=True)
class HeartEnds:
    """What lies at the two ends of a heart. Sizes, angles and levels are assumptions within adult ranges.

    Attributes:
        closing: level from which the left cavity closes.
        rv_taper: exponent by which the right ventricle shrinks towards the apex.
        outflow: level down to which its outflow tract is labelled.
        vessels_to: level up to which vessels are seen.
        vessels: angle from the septum (radians), gap to the left ventricle (mm), two radii (mm), and tissue.
    """

    closing: float = 1.0
    rv_taper: float = 1.7
    outflow: float = 0.0
    vessels_to: float = -1.0
    vessels: tuple[tuple[float, float, float, float, str], ...] = ()


@dataclass(frozen=True)
class Anatomy:
    """What all slices of one person share.

    Lengths are in mm and angles in radians. x and y count from the middle of the left ventricle (`digital_heart`). A
    wave is what an ellipse's outline deviates by: (order, share of the radius, phase) of each of its cosines.

    Attributes:
        body_centre: x and y.
        body_radii: radii along x and y.
        body_wave: wave of the body's outline.
        fat: thickness below the skin.
        chest_muscle: thickness of the layer that holds the ribs.
        rv_wall_mm: least and greatest thickness of the right ventricle's wall; each slice draws its own.
        ribs: number around the body.
        rib_phase: where they are.
        diaphragm: y at x = 0, slope, and bend (1/mm).
        liver_edge: x at y = 0 up to which the abdomen is liver.
        left_abdomen: tissue of the rest.
        stomach: x, y, two radii, and what it holds.
        spine: x, y, and radius of a vertebra.
        lv_radius: radius of the left cavity at the base.
        lv_ratio: by which one of its axes is longer, and the other shorter.
        lv_turn: angle of the first axis.
        wall: thickness of the left ventricle's wall at the base.
        rv_radii: radii of the right cavity at the base, along `septum_angle` and across.
        septum_angle: where the right ventricle lies, seen from the left one.
        lv_wave, rv_wave: waves of both cavities' outlines.
        fat_pad: thickness of the fat around the heart.
        septal_excess: share by which the septum is thicker, and the lateral wall thinner, than `wall`.
        flattening, trabeculae: as in `HeartShape`.
        papillary: of each muscle, its angle, distance from the middle as a share of the cavity's radius, and radius.
        lung_vessels, organ_vessels: x, y and radius of each, (vessels, 3).
        bowel: x, y, two radii, and the number of what it holds, (loops, 5).
        ends: what the slices beyond base and apex show.
    """

    body_centre: tuple[float, float]
    body_radii: tuple[float, float]
    body_wave: tuple
    fat: float
    chest_muscle: float
    rv_wall_mm: tuple[float, float]
    ribs: int
    rib_phase: float
    diaphragm: tuple[float, float, float]
    liver_edge: float
    left_abdomen: str
    stomach: tuple[float, float, float, float, str]
    spine: tuple[float, float, float]
    lv_radius: float
    lv_ratio: float
    lv_turn: float
    wall: float
    rv_radii: tuple[float, float]
    septum_angle: float
    lv_wave: tuple
    rv_wave: tuple
    fat_pad: float
    septal_excess: float
    flattening: float
    trabeculae: int
    papillary: tuple
    lung_vessels: np.ndarray
    organ_vessels: np.ndarray
    bowel: np.ndarray
    ends: HeartEnds = HeartEnds()


def draw_shape(rng: np.random.Generator, systole: bool) -> HeartShape:
    """Draw a shape, healthy or diseased.

    Assumed: spreads that reach what moderate to severe disease does; in systole, cavities that are squeezed further
    than `draw_anatomy` does, with a wall that thickens, since muscle keeps its volume.

    Args:
        rng: random generator.
        systole: the heart is drawn in end systole.
    """
    cavity, wall, rv = np.exp(rng.normal(0, (0.2, 0.25, 0.2)))
    if systole:
        squeeze = rng.uniform(0.55, 1.0)
        cavity, wall, rv = cavity * squeeze, wall / np.sqrt(squeeze), rv * rng.uniform(0.65, 1.0)
    septum = np.exp(rng.normal(0.1, 0.25))
    flattening = rng.uniform(0, 0.4) if rng.random() < 0.3 else 0.0
    return HeartShape(
        float(np.clip(cavity, 0.4, 1.6)),
        float(np.clip(wall, 0.55, 2.4)),
        float(np.clip(rv, 0.5, 1.6)),
        float(np.clip(septum, 0.8, 2.0)),
        float(flattening),
        int(rng.integers(0, 16)),
    )


def draw_ends(rng: np.random.Generator) -> HeartEnds:
    """Draw the ends of a heart."""
    side, blood = rng.choice([-1.0, 1.0]), ("blood", "venous blood", "venous blood")
    # aorta, pulmonary trunk and right atrium, each not in all hearts
    angles = side * rng.uniform((0.8, 0.3, -1.3), (1.5, 1.0, -0.5))
    gaps, radii = rng.uniform((0, 8, 15), (8, 25, 40)), rng.uniform((11, 10, 15), (17, 16, 28), (2, 3))
    there = rng.random(3) < (0.8, 0.6, 0.6)
    vessels = tuple(
        (float(angles[k]), float(gaps[k]), float(radii[0, k]), float(radii[1, k]), blood[k])
        for k in range(3)
        if there[k]
    )
    return HeartEnds(
        rng.uniform(0.75, 0.97), rng.uniform(1.2, 2.6), rng.uniform(-0.12, 0.02), rng.uniform(0.0, 0.2), vessels
    )


def _wave(rng: np.random.Generator, amplitude: float, orders: range) -> tuple:
    return tuple((k, rng.normal(0, amplitude / k), rng.uniform(0, 2 * np.pi)) for k in orders)


def draw_anatomy(rng: np.random.Generator, systole: bool, hidden_walls: bool, shape: HeartShape) -> Anatomy:
    """Draw one person's anatomy; see `digital_heart.digital_heart` for the arguments."""
    radii = rng.uniform(95, 150), rng.uniform(120, 195)
    lv = rng.uniform(19, 30) * (rng.uniform(0.6, 0.8) if systole else 1.0) * shape.cavity
    wall = rng.uniform(6.0, 11.5) * (rng.uniform(1.2, 1.5) if systole else 1.0) * shape.wall
    rv = np.array((rng.uniform(0.75, 1.15), rng.uniform(1.1, 1.6))) * (lv + wall) * (0.9 if systole else 1.0) * shape.rv
    n_lung, n_organ, n_bowel = rng.integers(10, 45), rng.integers(6, 20), rng.integers(0, 14)
    return Anatomy(
        body_centre=(radii[0] - rng.uniform(65, 95) - rv[0] * 0.3, rng.uniform(-10, 50)),
        body_radii=radii,
        body_wave=_wave(rng, 0.06, range(2, 6)),
        fat=rng.gamma(3.0, 4.5) + 3.0,
        chest_muscle=rng.uniform(3 if hidden_walls else 8, 20),
        rv_wall_mm=(0.3 if hidden_walls else 2.0, 4.0),
        ribs=int(rng.integers(14, 26)),
        rib_phase=rng.uniform(0, 2 * np.pi),
        diaphragm=(lv + wall + rng.uniform(-4, 18), rng.uniform(-0.25, 0.35), rng.uniform(0.0, 0.004)),
        liver_edge=rng.uniform(-20, 90),
        left_abdomen=str(rng.choice(["spleen", "fat", "fat", "muscle", "liver"])),
        stomach=(
            rng.uniform(20, 90),
            rng.uniform(70, 110),
            rng.uniform(15, 40),
            rng.uniform(15, 32),
            str(rng.choice(["air", "fluid", "spleen", "muscle"])),
        ),
        spine=(rng.uniform(60, 130), rng.uniform(40, 120), rng.uniform(16, 22)),
        lv_radius=lv,
        lv_ratio=rng.uniform(0.88, 1.12),
        lv_turn=rng.uniform(0, np.pi),
        wall=wall,
        rv_radii=(rv[0], rv[1]),
        septum_angle=np.pi + rng.normal(0, 0.35),
        lv_wave=_wave(rng, 0.03, range(2, 6)),
        rv_wave=_wave(rng, 0.1, range(2, 5)),
        fat_pad=rng.gamma(2.0, 2.5),
        septal_excess=(shape.septum - 1) / (shape.septum + 1),
        flattening=shape.flattening,
        trabeculae=shape.trabeculae,
        papillary=tuple((rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 0.78), rng.uniform(2.0, 5.5)) for _ in range(3)),
        lung_vessels=np.stack(
            [rng.uniform(-60, 170, n_lung), rng.uniform(-150, 90, n_lung), rng.gamma(3.0, 0.6, n_lung) + 0.6], -1
        ),
        organ_vessels=np.stack(
            [rng.uniform(-80, 120, n_organ), rng.uniform(30, 170, n_organ), rng.gamma(3.0, 1.1, n_organ) + 1.0], -1
        ),
        bowel=np.stack(
            [
                rng.uniform(-60, 130, n_bowel),
                rng.uniform(70, 190, n_bowel),
                rng.uniform(7, 20, n_bowel),
                rng.uniform(7, 20, n_bowel),
                rng.integers(0, 4, n_bowel),
            ],
            -1,
        ),
    )
