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
    """One contrast for each channel, of one patient: T1, T2 and infarcts are the same in all channels.

    What would differ from channel to channel by chance alone (slow flow, random regions, a device) is left out.
    Protocol, contrast agent and the scanner's other effects belong to each channel.

    Args:
        recipe: where the scanner's effects and the factors of T1 and T2 come from.
        entries: its entries for the channels.
        rng: random generator.
    """
    t1_factor, t2_factor = float(rng.uniform(*recipe.t1_factor)), float(rng.uniform(*recipe.t2_factor))
    patient = replace(
        recipe,
        t1_factor=(t1_factor, t1_factor),
        t2_factor=(t2_factor, t2_factor),
        scanner=tuple(effect for effect in recipe.scanner if effect.name != "device"),
    )
    plain = [replace(entry, slow_flow=None, region=None, infarct=None) for entry in entries]
    draws = [replace(patient, sequences=(entry,)).draw_contrast(rng) for entry in plain]
    ranges = [entry.infarct for entry in entries if entry.infarct is not None]
    if not ranges or rng.random() >= INFARCTED:
        return draws
    most_uptake = max(ranges, key=lambda infarcts: infarcts.uptake)
    infarct, tissue = replace(most_uptake, probability=1.0).draw_infarct(rng, draws[0].tissue)
    assert tissue is not None  # as its probability is 1
    return [replace(draw, infarct=infarct, infarct_tissue=replace(tissue, agent=draw.tissue.agent)) for draw in draws]


def synthetic_slices(
    folder: Path, sequences: Sequence[str], draws: int, pixel_mm: float, size: int, seed: int
) -> ChannelSlices:
    """Slices of all channels from maps on disk.

    Args:
        folder: holds CASE_PDmap, CASE_T1map and CASE_T2map of each case, as `nnunet_phys reverse` writes them.
        sequences: short name of each channel's sequence, in the default recipe.
        draws: examinations drawn for each case.
        pixel_mm: pixel size of the slices.
        size: rows and columns to which they are cut or padded about their centre.
        seed: of the draws.

    Returns:
        Slices without regions.

    Raises:
        InputError: no such sequence; no maps; maps that cannot be used.
    """
    recipe = load_recipe(RECIPE)
    entries = entries_of(recipe, sequences)
    volumes = []
    for number, (case, ending) in enumerate(ProgressBar(find_maps(folder).items(), desc="synthetic slices")):
        maps = load_maps(folder, case, ending, None)
        geometry = Geometry.read(next(iter(map_paths(folder, case, ending).values())))
        own_size = resampled_size((maps.pd.shape[1], maps.pd.shape[2]), geometry.pixel_mm, pixel_mm)
        rng = np.random.default_rng([seed, number])
        for _ in range(draws):
            signals = [draw.scan(maps.stack(), geometry.voxel_mm) for draw in draw_examination(recipe, entries, rng)]
            brightness = [Brightness.of(volume.numpy()) for volume in signals]
            if any(of_channel.is_flat for of_channel in brightness):
                raise InputError(f"{case}: its maps in {folder} make images without contrast. Leave the case out.")
            scaled = [b.to_network(volume) for volume, b in zip(signals, brightness, strict=True)]
            images = resample(torch.stack(scaled, 1), own_size)
            volumes.append((images.half(), torch.zeros(len(images), 0, *own_size, dtype=torch.bool)))
    return ChannelSlices.join(volumes, size)
