"""A digital heart: random short-axis anatomy with labels and PD, T1, T2 maps.

Lengths are in mm around the heart: the anterior chest wall lies towards -x, the diaphragm towards +y; the whole is then
turned by a random angle and mirrored, since short-axis planes reach a file in any orientation. Sizes are assumptions
within adult ranges.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from nnunet_phys.heart_anatomy import Anatomy, HeartShape, HeartStack, draw_anatomy, draw_ends
from nnunet_phys.heart_scanner import smooth_field
from nnunet_phys.spin import SpinMaps
from nnunet_phys.tissues import TISSUE_NAMES, TissueValue, draw_tissue_values

LABELS = {"background": 0, "RV": 1, "MYO": 2, "LV": 3}
_ID = {name: i for i, name in enumerate(TISSUE_NAMES)}


@dataclass(frozen=True)
class DigitalHeart:
    """A stack of short-axis slices, base first.

    Attributes:
        labels: uint8 (slices, rows, columns), ACDC codes: 1 RV cavity, 2 LV myocardium, 3 LV cavity (with papillary
            muscles, as the ACDC readers drew it).
        tissue: uint8 (slices, rows, columns), index into `tissues.TISSUE_NAMES`.
        maps: PD (relative), T1, T2 (ms), float32 (slices, rows, columns).
        values: this person's tissue values before texture.
        spacing_mm: slice distance, row and column spacing.
        centre_mm: the heart's position (row, column) relative to the image centre.
    """

    labels: np.ndarray
    tissue: np.ndarray
    maps: SpinMaps
    values: dict[str, TissueValue]
    spacing_mm: tuple[float, float, float]
    centre_mm: tuple[float, float]

    @property
    def r2_prime_hz(self) -> np.ndarray:
        """R2' of each voxel's tissue, 1/s, float64 (slices, rows, columns)."""
        values = [self.values[name] for name in TISSUE_NAMES]
        return np.array([1e3 / value.t2_star_ms - 1e3 / value.t2_ms for value in values])[self.tissue]


class _Canvas:
    """Paints tissues and labels into one slice, later strokes over earlier ones."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self.x, self.y = x, y
        self.tissue = np.zeros(x.shape, np.uint8)
        self.labels = np.zeros(x.shape, np.uint8)

    def inside(self, x0: float, y0: float, rx: float, ry: float, turn: float = 0.0, wave: tuple = ()) -> np.ndarray:
        """Mask of an ellipse whose radius is modulated by `wave`: (order, amplitude, phase) harmonics."""
        c, s = np.cos(turn), np.sin(turn)
        x, y = self.x - x0, self.y - y0
        u, v = (c * x + s * y) / rx, (c * y - s * x) / ry
        if not wave:
            return u * u + v * v < 1
        angle = np.arctan2(v, u)
        return np.hypot(u, v) < 1 + sum(a * np.cos(k * angle + p) for k, a, p in wave)

    def paint(self, mask: np.ndarray, tissue: str, label: str | None = None) -> None:
        """Set the tissue, and unless it is None the label, of the pixels in a mask."""
        self.tissue[mask] = _ID[tissue]
        if label is not None:
            self.labels[mask] = LABELS[label]


def _trunk(c: _Canvas, a: Anatomy, rng: np.random.Generator) -> None:
    """Body wall, lungs, abdomen, spine and vessels."""
    (bx, by), (rx, ry) = a.body_centre, a.body_radii
    turn = rng.normal(0, 0.03)

    def shell(depth: float) -> np.ndarray:
        return c.inside(bx, by, max(rx - depth, 20), max(ry - depth, 20), turn, a.body_wave)

    body, inner, cavity = shell(0.0), shell(a.fat), shell(a.fat + a.chest_muscle)
    c.paint(body, "fat")
    c.paint(inner, "muscle")
    angle = np.arctan2(c.y - by, c.x - bx)
    ring = np.cos(a.ribs * angle + a.rib_phase)
    middle = shell(a.fat + 0.35 * a.chest_muscle) & ~shell(a.fat + 0.85 * a.chest_muscle)
    c.paint(middle & (ring > 0.35), "marrow")
    c.paint(inner & ~cavity & (ring < -0.8), "fat")
    c.paint(cavity, "lung")

    y0, slope, bend = a.diaphragm
    below = c.y - (y0 + rng.normal(0, 2) + slope * c.x + bend * (c.x - 20) ** 2)
    abdomen = cavity & (below > 0)
    c.paint(abdomen, a.left_abdomen)
    c.paint(abdomen & (c.x + 0.35 * c.y < a.liver_edge), "liver")
    for x, y, r1, r2, kind in a.bowel:
        bowel = abdomen & c.inside(x, y, r1, r2, rng.uniform(0, np.pi))
        c.paint(bowel, ("muscle", "fluid", "air", "fat")[int(kind)])
    sx, sy, r1, r2, content = a.stomach
    c.paint(abdomen & c.inside(sx, sy, r1 + 4, r2 + 4, 0.4, a.rv_wave), "muscle")
    c.paint(abdomen & c.inside(sx, sy, r1, r2, 0.4, a.rv_wave), content)
    c.paint(cavity & (np.abs(below) < 1.6), "muscle")
    organs = abdomen & ((c.tissue == _ID["liver"]) | (c.tissue == _ID["spleen"]))
    for x, y, r in a.organ_vessels:
        c.paint(organs & c.inside(x, y, r * rng.uniform(1, 2.5), r, rng.uniform(0, np.pi)), "venous blood")
    lung = cavity & (below < 0)
    for x, y, r in a.lung_vessels:
        shift = rng.normal(0, 6, 2)
        vessel = lung & c.inside(x + shift[0], y + shift[1], r * rng.uniform(1, 2), r, rng.uniform(0, np.pi))
        c.paint(vessel, str(rng.choice(["blood", "venous blood"])))

    vx, vy, r = a.spine
    column = body & c.inside(vx, vy, 2.6 * r, 2.2 * r)
    c.paint(column & inner, "muscle")
    c.paint(body & c.inside(vx, vy, r, 0.85 * r), "marrow")
    c.paint(body & c.inside(vx + 1.35 * r, vy + 0.5 * r, 0.35 * r, 0.45 * r), "fluid")
    c.paint(body & c.inside(vx - 1.2 * r, vy - 0.6 * r, 0.75 * r, 0.75 * r), "muscle")
    c.paint(body & c.inside(vx - 1.2 * r, vy - 0.6 * r, 0.62 * r, 0.62 * r), "blood")


def _heart(c: _Canvas, a: Anatomy, level: float, rng: np.random.Generator) -> None:
    """Heart at `level` between base (0) and apex (1); below 0 the atria, above 1 little or nothing."""
    ends, above_base, labelled_rv = a.ends, level < 0, level >= a.ends.outflow
    level = max(level, 0.0)
    size = np.sqrt(max(1 - (0.96 * level) ** 2.4, 0.02))
    cavity = a.lv_radius * size * (1 - 0.25 * level)
    if level > ends.closing:
        cavity *= np.sqrt(max(1 - (level - ends.closing) / (1 - ends.closing), 0))
    wall = 2.0 if above_base else a.wall * (1 - 0.2 * level) * (max(1 - (level - 1) / 0.08, 0) if level > 1 else 1)
    epi = cavity + wall
    cos, sin = np.cos(a.septum_angle), np.sin(a.septum_angle)
    jitter_x, jitter_y = rng.normal(0, 0.6, 2)

    rv_size = max(1 - level**ends.rv_taper, 0.0) * (0.6 if above_base else 1)
    rv_x, rv_y = (a.rv_radii[i] * rv_size ** (0.6, 0.8)[i] for i in (0, 1))
    centre = (epi + 0.1 * rv_x) * cos, (epi + 0.1 * rv_x) * sin
    has_rv = min(rv_x, rv_y) > 5

    def lv(radius: float, away_from_septum: float = 0.0) -> np.ndarray:
        x0, y0 = jitter_x - away_from_septum * cos, jitter_y - away_from_septum * sin
        mask = c.inside(x0, y0, radius * a.lv_ratio, radius / a.lv_ratio, a.lv_turn, a.lv_wave)
        if has_rv and a.flattening > 0:
            mask &= (c.x - x0) * cos + (c.y - y0) * sin < (1 - a.flattening) * radius
        return mask

    def rv(margin: float) -> np.ndarray:
        return c.inside(*centre, rv_x + margin, rv_y + margin, a.septum_angle, a.rv_wave)

    heart = lv(epi + 2.0) | (rv(4.5) if has_rv else False)
    c.paint(heart, "muscle" if a.fat_pad < 2 else "fat")
    if has_rv:  # fat fills the grooves around the right ventricle and thins out towards the lateral wall
        groove = lv(epi + 2.0 + 1.5 * a.fat_pad) & (cos * c.x + sin * c.y > -0.3 * epi)
        c.paint(groove | rv(3.0 + a.fat_pad), "fat")
    if a.fat_pad >= 2:
        c.paint(lv(epi + rng.uniform(0.8, 2.0)) & ~lv(epi), "muscle")
    if level < 0.12 and rng.random() < 0.5:
        distance = epi + rng.uniform(8, 20)
        c.paint(
            c.inside(-distance * cos, -distance * sin + rng.normal(0, 8), rng.uniform(10, 18), rng.uniform(12, 24)),
            "blood",
        )
    if level < ends.vessels_to:
        for angle, gap, r1, r2, content in ends.vessels:
            turned, distance = a.septum_angle + angle, epi + gap + r1
            place = distance * np.cos(turned), distance * np.sin(turned)
            c.paint(c.inside(*place, r1 + 1.5, r2 + 1.5, turned), "muscle")
            c.paint(c.inside(*place, r1, r2, turned), content)
    if has_rv:
        c.paint(rv(rng.uniform(*a.rv_wall_mm)), "myocardium")
        c.paint(rv(0.0), "venous blood", "RV" if labelled_rv else "background")
    c.paint(lv(epi), "myocardium", "background" if above_base else "MYO")
    if cavity > 3:
        pool = lv(cavity, a.septal_excess * wall)
        c.paint(pool, "blood", "background" if above_base else "LV")
        for angle, depth, radius in a.papillary:
            if 0.2 < level < 0.8:
                r, t = depth * cavity, angle + rng.normal(0, 0.1)
                muscle = c.inside(r * np.cos(t), r * np.sin(t), radius * size, 0.7 * radius * size, t)
                c.paint(muscle & pool, "myocardium")
        for _ in range(a.trabeculae):
            t, r = rng.uniform(0, 2 * np.pi), rng.uniform(0.65, 1.0) * cavity
            strand = c.inside(r * np.cos(t), r * np.sin(t), rng.uniform(1, 5), rng.uniform(0.8, 2.0), t)
            c.paint(strand & pool, "myocardium")
    if has_rv:  # trabeculae of the right ventricle
        for _ in range(rng.integers(0, 5 + a.trabeculae)):
            t, r = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.9)
            x, y = centre[0] + r * rv_x * np.cos(t), centre[1] + r * rv_y * np.sin(t)
            c.paint(
                (c.labels == LABELS["RV"]) & c.inside(x, y, rng.uniform(1, 5), 1.2, rng.uniform(0, np.pi)), "myocardium"
            )


def digital_heart(
    seed: int,
    slices: int = 8,
    shape: tuple[int, int] = (128, 128),
    pixel_mm: float = 2.5,
    systole: bool = False,
    t1_factor: float = 1.0,
    t2_factor: float = 1.0,
    hidden_walls: bool = False,
    heart_shape: HeartShape = HeartShape(),
    stack: HeartStack = HeartStack(),
) -> DigitalHeart:
    """Draw one person's heart.

    Args:
        seed: the same seed gives the same anatomy, values and texture.
        slices: number of short-axis slices from base to apex.
        shape: rows and columns.
        pixel_mm: in-plane pixel size.
        systole: end systole instead of end diastole.
        t1_factor: scales every T1 away from the reference values.
        t2_factor: scales every T2 and T2*.
        hidden_walls: the wall of the right ventricle and the muscle of the chest may be too thin to be seen, as in many
            cine images, where the right cavity seems to touch fat or lung.
        heart_shape: how the heart differs from a healthy one.
        stack: which part of the heart the slices show.

    Returns:
        The heart, at 1.5 T or 3 T by chance.
    """
    rng = np.random.default_rng(seed)
    anatomy = draw_anatomy(rng, systole, hidden_walls, heart_shape)
    values = draw_tissue_values(rng, float(rng.choice([1.5, 3.0])), t1_factor, t2_factor)
    centre = rng.uniform(-0.12, 0.12, 2) * np.array(shape) * pixel_mm
    angle, mirror = rng.uniform(0, 2 * np.pi), rng.choice([-1.0, 1.0])
    rows, columns = ((np.arange(n, dtype=np.float32) - (n - 1) / 2) * pixel_mm for n in shape)
    rows, columns = rows[:, None] - np.float32(centre[0]), (columns[None] - np.float32(centre[1])) * np.float32(mirror)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x, y = cos * columns + sin * rows, cos * rows - sin * columns

    table = np.array([[getattr(values[n], k) for k in ("pd", "t1_ms", "t2_ms")] for n in TISSUE_NAMES], np.float32)
    labels, tissue, maps = [], [], []
    if stack.ends:
        anatomy = replace(anatomy, ends=draw_ends(rng))
    levels = rng.uniform(*stack.first), rng.uniform(*stack.last)
    for level in np.linspace(*levels, slices):
        canvas = _Canvas(x, y)
        _trunk(canvas, anatomy, rng)
        _heart(canvas, anatomy, level, rng)
        texture = np.stack(
            [
                rng.uniform(0.02, 0.06) * (smooth_field(rng, shape, 12) + 1.5 * smooth_field(rng, shape, 40)),
                0.03 * smooth_field(rng, shape, 20),
                0.05 * smooth_field(rng, shape, 20),
            ]
        )
        labels.append(canvas.labels)
        tissue.append(canvas.tissue)
        maps.append(np.moveaxis(table[canvas.tissue], -1, 0) * np.exp(texture))
    return DigitalHeart(
        labels=np.stack(labels),
        tissue=np.stack(tissue),
        maps=SpinMaps.unstack(torch.from_numpy(np.stack(maps)).float(), dim=1),
        values=values,
        spacing_mm=(10.0, pixel_mm, pixel_mm),
        centre_mm=(float(centre[0]), float(centre[1])),
    )
