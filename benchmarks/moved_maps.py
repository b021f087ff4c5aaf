"""May nnU-Net's spatial transform move the maps instead of the signal made from them?

If it may, workers can deliver moved maps, and a GPU computes the contrasts of a whole batch. Signals mix where voxels
mix, so the right image is the moved signal. It is compared with the signal of maps that were moved by the same
transform, linearly and to the nearest voxel, over contrasts that the default recipe draws, on digital hearts. Printed
are the root mean square difference, in standard deviations of the image, and the share of pixels that differ by more
than half a standard deviation: in the whole patch, and within two pixels of an outline of RV, myocardium or LV. For
comparison, what the recipe's noise changes is printed likewise.

    OMP_NUM_THREADS=1 python benchmarks/moved_maps.py
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import torch
from batchgeneratorsv2.helpers.scalar_type import RandomScalar
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from scipy.ndimage import binary_dilation, binary_erosion

from nnunet_phys.augmentations.contrast_draw import ContrastDraw, noise_reference
from nnunet_phys.augmentations.recipe_files import load_recipe
from nnunet_phys.digital_heart import digital_heart
from nnunet_phys.forward import image_of, signals
from nnunet_phys.spin import SpinMaps

SHAPE, PATCH, PIXEL_MM, SEED = (224, 224), (160, 160), 1.5, 7_200_000
ANGLES: RandomScalar = (-np.pi, np.pi)
"""As nnU-Net rotates and scales square 2-D patches, but in every sample instead of in a fifth."""
SCALES: RandomScalar = (0.7, 1.4)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=200, help="contrasts (default %(default)s)")
    args = parser.parse_args()
    rng = np.random.RandomState(SEED)
    np.random.seed(SEED)
    recipe = load_recipe("default")
    noise = next(effect for effect in recipe.scanner if effect.name == "noise")
    recipe = replace(recipe, scanner=(noise,))
    linear, nearest = _transform("bilinear"), _transform("nearest")
    errors: dict[str, list[tuple[float, ...]]] = {}
    for k in range(args.n):
        heart = digital_heart(SEED + k, 1, SHAPE, PIXEL_MM)
        maps, labels = heart.maps.stack()[:, 0], torch.from_numpy(heart.labels.astype(np.int16))
        draw = recipe.draw_contrast(rng)
        signal = _signal(draw, maps)
        sample = {"image": torch.cat((signal[None], maps)), "segmentation": labels}
        parameters = linear.get_parameters(**sample)
        moved = linear.apply(dict(sample), **parameters)
        coarse = nearest.apply(dict(sample), **parameters)["image"][0]
        inside = moved["image"][1] > 0  # padding has no PD
        right = image_of(draw.sequence, moved["image"][0])
        deviation = right[inside].std()
        outline = _outline(moved["segmentation"][0].numpy())
        ways = {
            "maps moved linearly": image_of(draw.sequence, _signal(draw, moved["image"][1:])),
            "maps moved to the nearest voxel": image_of(draw.sequence, coarse),
            "noise of the recipe": draw.detected(moved["image"][0].clone(), noise_reference(signal)),
        }
        for name, image in ways.items():
            difference = ((image - right) / deviation).abs()
            errors.setdefault(name, []).append((*_of(difference, inside), *_of(difference, outline & inside)))
    print(f"{args.n} contrasts; SD of the difference, share of pixels that differ by more than 0.5 SD")
    for name, rows in errors.items():
        patch_rms, patch_share, outline_rms, outline_share = np.nanmean(rows, axis=0)
        print(
            f"{name:32s} patch {patch_rms:.3f} {100 * patch_share:5.2f} %   "
            f"outlines {outline_rms:.3f} {100 * outline_share:5.2f} %"
        )


def _signal(draw: ContrastDraw, maps: torch.Tensor) -> torch.Tensor:
    """Signed signal of a draw's tissue, 0 where PD is 0."""
    pd, t1, t2 = maps
    tissue = SpinMaps(pd, t1.clamp_min(1.0), t2.clamp_min(1.0))
    return signals(draw.sequence, tissue, draw.tissue)[0]


def _transform(mode: str) -> SpatialTransform:
    """nnU-Net's transform, which interpolates images in this way."""
    return SpatialTransform(
        PATCH,
        patch_center_dist_from_border=0,
        random_crop=False,
        p_rotation=1.0,
        rotation=ANGLES,
        p_scaling=1.0,
        scaling=SCALES,
        p_synchronize_scaling_across_axes=1.0,
        mode_image=mode,
        mode_seg="nearest",
        bg_style_seg_sampling=False,
    )


def _outline(labels: np.ndarray) -> torch.Tensor:
    """Pixels within two of the outline of a structure."""
    near = np.zeros(labels.shape, bool)
    for code in (1, 2, 3):
        structure = labels == code
        near |= binary_dilation(structure, iterations=2) & ~binary_erosion(structure, iterations=2)
    return torch.from_numpy(near)


def _of(difference: torch.Tensor, where: torch.Tensor) -> tuple[float, float]:
    """Root mean square, and the share above 0.5."""
    values = difference[where]
    return float(values.square().mean().sqrt()), float((values > 0.5).float().mean())


if __name__ == "__main__":
    main()
