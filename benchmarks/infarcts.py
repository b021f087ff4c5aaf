"""Do drawn infarcts look like real ones? Brightness in LGE, share of the wall and depth, drawn and real.

Draws are made from the maps of a data set (`nnunet_phys reverse`), whose labels define blood and myocardium. Real
values come from MyoPS 2020 in the folder in NNUNET_PHYS_DATA (not part of the project), with its labels of scar.
Brightness is the ratio of median magnitudes in a volume, drawn without scanner effects; share and depth are those of a
slice that shows an infarct.

    NNUNET_PHYS_DATA=... python benchmarks/infarcts.py -d 27
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from nnunetv2.paths import nnUNet_raw
from nnunetv2.utilities.dataset_name_id_conversion import convert_id_to_dataset_name
from scipy.ndimage import distance_transform_edt

from nnunet_phys.augmentations.recipe import ContrastRecipe
from nnunet_phys.augmentations.recipe_files import load_recipe
from nnunet_phys.fields import grid_positions
from nnunet_phys.image_files import Geometry, read_image
from nnunet_phys.infarct import blood_distance
from nnunet_phys.map_files import find_maps, load_maps, map_paths

MYO, LV = 2, 3
MYOPS_MYO, MYOPS_LV, MYOPS_OEDEMA, MYOPS_SCAR = 200, 500, 1220, 2221
FEWEST_PIXELS = 15
"""A smaller infarct does not count as seen."""


@dataclass(frozen=True)
class Volume:
    """An image of an infarcted heart: (slices, rows, columns), masks of that shape, and the spacing of a slice."""

    image: np.ndarray
    blood: np.ndarray
    wall: np.ndarray
    scar: np.ndarray
    pixel_mm: tuple[float, float]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", type=int, default=27, help="data set with maps (default %(default)s)")
    parser.add_argument("-recipe", default="lge")
    parser.add_argument("-n", type=int, default=200, help="draws (default %(default)s)")
    args = parser.parse_args()
    raw = Path(nnUNet_raw) / convert_id_to_dataset_name(args.d)
    drawn = list(drawn_volumes(load_recipe(args.recipe), raw, args.n))
    seen = np.mean([volume.scar.sum() >= FEWEST_PIXELS for volume in drawn])
    print(f"{seen:.0%} of {args.n} drawn infarcts show in the wall of the left ventricle\n")
    print(f"{'':<34}{'5 %':>7}{'25 %':>7}{'50 %':>7}{'75 %':>7}{'95 %':>7}")
    real = list(real_volumes(Path(os.environ["NNUNET_PHYS_DATA"]) / "myops2020" / "train"))
    for kind, volumes in (("drawn", drawn), ("real", real)):
        for name, values in measured(volumes).items():
            print(
                f"{kind + ' ' + name:<34}"
                + "".join(f"{q:7.2f}" for q in np.quantile(values, (5e-2, 0.25, 0.5, 0.75, 0.95)))
            )


def measured(volumes: list[Volume]) -> dict[str, list[float]]:
    """Values of all volumes, or of all their slices, by their names."""
    values: dict[str, list[float]] = {}
    for volume in volumes:
        scar, remote = volume.scar, volume.wall & ~volume.scar
        if scar.sum() < FEWEST_PIXELS or not remote.any():
            continue
        level = {name: np.median(volume.image[mask]) for name, mask in (("scar", scar), ("remote", remote))}
        values.setdefault("scar / remote", []).append(level["scar"] / level["remote"])
        values.setdefault("scar / blood", []).append(level["scar"] / np.median(volume.image[volume.blood]))
        for in_slice, wall, blood in zip(scar, volume.wall, volume.blood, strict=True):
            if in_slice.sum() >= FEWEST_PIXELS and blood.any():
                depth = distance_transform_edt(~blood, sampling=volume.pixel_mm)[in_slice]
                values.setdefault("share of a slice's wall", []).append(in_slice.sum() / wall.sum())
                values.setdefault("greatest depth, mm", []).append(np.quantile(depth, 0.95))
    return values


def drawn_volumes(recipe: ContrastRecipe, raw: Path, count: int) -> Iterator[Volume]:
    """LGE of a data set's maps, each with an infarct."""
    entries = (
        replace(e, region=None, infarct=replace(e.infarct, probability=1.0)) for e in recipe.sequences if e.infarct
    )
    recipe, rng = replace(recipe, sequences=tuple(entries), scanner=()), np.random.default_rng(0)
    cases = sorted(find_maps(raw / "spinTr").items())
    for index in range(count):
        case, ending = cases[index % len(cases)]
        maps = load_maps(raw / "spinTr", case, ending, None)
        spacing_mm = Geometry.read(map_paths(raw / "spinTr", case, ending)["PDmap"]).voxel_mm
        labels, shape, draw = (
            read_image(raw / "labelsTr" / f"{case}{ending}"),
            tuple(maps.shape),
            recipe.draw_contrast(rng),
        )
        assert draw.infarct is not None
        places = grid_positions((0, 0, 0), shape, shape, spacing_mm)
        scar = draw.infarct(places, blood_distance(maps, spacing_mm)).numpy() > 0
        image = draw.scan(maps.stack(), spacing_mm).abs().numpy()
        yield Volume(image, labels == LV, labels == MYO, scar & (labels == MYO), spacing_mm[1:])


def real_volumes(folder: Path) -> Iterator[Volume]:
    """The LGE of MyoPS 2020."""
    for file in sorted((folder / "pathology").glob("*.nii.gz")):
        codes = read_image(file)
        image = read_image(folder / "LGE" / file.name.replace(".nii", "_0000.nii"))
        wall = np.isin(codes, (MYOPS_MYO, MYOPS_OEDEMA, MYOPS_SCAR))
        yield Volume(image, codes == MYOPS_LV, wall, codes == MYOPS_SCAR, Geometry.read(file).voxel_mm[1:])


if __name__ == "__main__":
    main()
