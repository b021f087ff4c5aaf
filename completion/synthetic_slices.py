"""Slices of all channels made from PD, T1 and T2 maps: what physics knows about how sequences look together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from nnunet_phys.augmentations.contrast_draw import ContrastDraw
from nnunet_phys.augmentations.recipe import ContrastRecipe, SequenceEntry
from nnunet_phys.augmentations.recipe_files import load_recipe
from nnunet_phys.completion.slices import Brightness, ChannelSlices, resample, resampled_size
from nnunet_phys.errors import InputError, did_you_mean
from nnunet_phys.image_files import Geometry
from nnunet_phys.map_files import find_maps, load_maps, map_paths
from nnunet_phys.progress import ProgressBar
from nnunet_phys.tissue_state import TissueState

RECIPE = "default"
"""The recipe that channels are drawn by."""
INFARCTED = 0.5
"""Share of the examinations with an infarct. A choice: patients whose scar is looked for."""


def entries_of(recipe: ContrastRecipe, sequences: Sequence[str]) -> list[SequenceEntry]:
    """A recipe's entries for these sequences.

    Args:
        recipe: the recipe.
        sequences: short names, one for each channel.

    Raises:
        InputError: the recipe has no such sequence.
    """
    known = {entry.name: entry for entry in recipe.sequences}
    unknown = [name for name in sequences if name not in known]
    if unknown:
        raise InputError(
            f"-sequences: {unknown[0]} is not in the recipe {recipe.name}{did_you_mean(unknown[0], known)}. It has "
            f"{', '.join(known)}."
        )
    return [known[name] for name in sequences]


def draw_examination(
    recipe: ContrastRecipe, entries: Sequence[SequenceEntry], rng: np.random.Generator
) -> list[ContrastDraw]:
    """One contrast for each channel, of one patient: an infarct lies where it lies in all of them.

    What would differ from channel to channel by chance alone, such as slow flow and random regions, is left out.

    Args:
        recipe: where the scanner's effects and the factors of T1 and T2 come from.
        entries: its entries for the channels.
        rng: random generator.
    """
    plain = [replace(entry, slow_flow=None, region=None, infarct=None) for entry in entries]
    draws = [replace(recipe, sequences=(entry,)).draw_contrast(rng) for entry in plain]
    ranges = [entry.infarct and replace(entry.infarct, probability=1.0) for entry in entries]
    known = [drawn for drawn in ranges if drawn is not None]
    if not known or rng.random() >= INFARCTED:
        return draws
    infarct, _ = known[0].draw_infarct(rng, TissueState())
    infarcted = []
    for draw, own in zip(draws, ranges, strict=True):
        _, tissue = (own or known[0]).draw_infarct(rng, draw.tissue)
        infarcted.append(replace(draw, infarct=infarct, infarct_tissue=tissue))
    return infarcted


def synthetic_slices(
    folder: Path, sequences: Sequence[str], draws: int, pixel_mm: float, size: int, seed: int, progress: bool = True
) -> ChannelSlices:
    """Slices of all channels from maps on disk.

    Args:
        folder: holds CASE_PDmap, CASE_T1map and CASE_T2map of each case, as `nnunet_phys reverse` writes them.
        sequences: short name of each channel's sequence, in the default recipe.
        draws: examinations drawn for each case.
        pixel_mm: pixel size of the slices.
        size: rows and columns to which they are cut or padded about their centre.
        seed: of the draws.
        progress: show a progress bar.

    Returns:
        Slices without regions.

    Raises:
        InputError: no such sequence; no maps; maps that cannot be used.
    """
    recipe = load_recipe(RECIPE)
    entries = entries_of(recipe, sequences)
    volumes = []
    for number, (case, ending) in enumerate(
        ProgressBar(find_maps(folder).items(), desc="synthetic slices", disable=not progress)
    ):
        maps = load_maps(folder, case, ending, None)
        geometry = Geometry.read(next(iter(map_paths(folder, case, ending).values())))
        own_size = resampled_size((maps.pd.shape[1], maps.pd.shape[2]), geometry.pixel_mm, pixel_mm)
        rng = np.random.default_rng([seed, number])
        for _ in range(draws):
            signals = [draw.scan(maps.stack(), geometry.voxel_mm) for draw in draw_examination(recipe, entries, rng)]
            scaled = [Brightness.of(volume.numpy()).to_network(volume) for volume in signals]
            images = resample(torch.stack(scaled, 1), own_size)
            volumes.append((images.half(), torch.zeros(len(images), 0, *own_size, dtype=torch.bool)))
    return ChannelSlices.join(volumes, size)
