"""Infer maps of scans, and save them with a record of how they were made; docs/maps.md shows how to call it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_phys.case_records import begin_case, record_path, save_record
from nnunet_phys.forward import image_of, signals
from nnunet_phys.image_files import Geometry, write_volume
from nnunet_phys.map_files import map_paths, save_maps
from nnunet_phys.precomputed_spin.reverse_imaging import ReverseImager
from nnunet_phys.precomputed_spin.samplers import new_sampler
from nnunet_phys.precomputed_spin.scan_files import image_paths
from nnunet_phys.sequences import MOLLI
from nnunet_phys.whole_files import writing_alone

if TYPE_CHECKING:
    from nnunet_phys.precomputed_spin.prior import SpinPrior
    from nnunet_phys.precomputed_spin.samplers import Sampler
    from nnunet_phys.precomputed_spin.scan import Inferred, Scan
    from nnunet_phys.precomputed_spin.scan_files import ScanFiles
    from nnunet_phys.sequences.pulse_sequence import PulseSequence

SPREAD_NAMES = ("PDsd", "T1sd", "T2sd")
"""Names of the standard deviations over samples in file names, like `MAP_NAMES` of the maps."""


def infer_maps(
    scans: Iterable[Scan],
    prior: SpinPrior,
    sampler: Sampler | None = None,
    *,
    seed: int = 0,
    batch: int = 8,
    samples: int = 1,
    advance: Callable[[int], object] | None = None,
) -> Iterator[Inferred]:
    """Infer PD, T1 and T2 maps.

    Args:
        scans: read one by one, as they are needed (`scan_loading.load_scan`, or made from arrays).
        prior: the prior, on its device.
        sampler: draws the maps; by default `ProximalMean`, or `ProximalSampler` for several samples.
        seed: random seed of the noise. The same seed and case give the same maps, whatever the other scans are.
        batch: slices that pass through the network together; halved if the device runs out of memory.
        samples: posterior samples per scan; the maps are the mean of several.
        advance: called after each batch with the number of slices that were sampled, for a progress bar.

    Yields:
        the maps of each scan, in the order of the scans.

    Raises:
        ValueError: a field of view too small for the prior, or several samples from a sampler that averages.
        InputError: maps of a scan are not finite.
    """
    sampler = sampler or new_sampler("proximal", samples)
    return ReverseImager(prior, sampler, seed, batch, samples=samples, advance=advance)(scans)


def map_result_paths(folder: Path, case: str, ending: str, samples: int = 1, save_samples: bool = False) -> list[Path]:
    """The files that `save_inferred` writes for a case, except its record."""
    paths = [*map_paths(folder, case, ending).values()]
    if samples > 1:
        paths.extend(folder / f"{case}_{name}{ending}" for name in SPREAD_NAMES)
    for k in range(samples if save_samples else 0):
        sample = _sample_folder(folder, k)
        paths.extend((*map_paths(sample, case, ending).values(), record_path(sample, case)))
    return paths


def save_inferred(
    inferred: Inferred,
    files: ScanFiles,
    folder: Path,
    ending: str,
    record: dict[str, Any],
    save_samples: bool = False,
) -> None:
    """Write the maps of a case in the geometry of its images. The record, which marks it as finished, is written last.

    Args:
        inferred: the maps; standard deviations over several samples are written, too.
        files: the images that the maps were made from.
        folder: where the files go, made if absent. Earlier results that the case's record names are removed first.
        ending: file ending with the dot.
        record: how the maps were made, plain JSON.
        save_samples: also write every sample, into `samples/K`.

    Raises:
        InputError: a file cannot be written.
    """
    case = inferred.scan.case
    image_path, *more_images = files.paths
    written: list[Path] = []
    with writing_alone(folder):
        begin_case(folder, case, map_result_paths(folder, case, ending, len(inferred.samples), save_samples), record)
        if inferred.samples:
            for name, values in zip(SPREAD_NAMES, inferred.spread.stack(), strict=True):
                written.append(folder / f"{case}_{name}{ending}")
                write_volume(written[-1], values, Geometry.read(image_path))
            for k, maps in enumerate(inferred.samples if save_samples else ()):
                sample = _sample_folder(folder, k)
                save_maps(sample, case, maps, image_path, ending, record, tuple(more_images))
                written.extend((*map_paths(sample, case, ending).values(), record_path(sample, case)))
        save_maps(folder, case, inferred.maps, image_path, ending, record, tuple(more_images), tuple(written))


def _sample_folder(folder: Path, sample: int) -> Path:
    return folder / "samples" / str(sample)


def save_translation(
    inferred: Inferred,
    sequence: PulseSequence,
    files: ScanFiles,
    folder: Path,
    ending: str,
    record: dict[str, Any],
) -> None:
    """Write the images that a sequence would make of a case's maps (`image_paths`). The record is written last.

    Args:
        inferred: the maps.
        sequence: makes the images: magnitudes, or signed images if it is phase-sensitive.
        files: the images that the maps were made from.
        folder: where the files go, made if absent. Earlier results that the case's record names are removed first.
        ending: file ending with the dot.
        record: how the images were made, plain JSON. The inversion times of a MOLLI series are added, where `reverse`
            and `fit` look for them.

    Raises:
        InputError: a file cannot be written.
    """
    case = inferred.scan.case
    images = image_of(sequence, signals(sequence, inferred.maps))
    paths = image_paths(folder, case, len(images), ending)
    if isinstance(sequence, MOLLI) and sequence.is_series:
        record = {**record, "inversion_times_ms": list(sequence.inversion_times_ms)}
    with writing_alone(folder):
        begin_case(folder, case, paths, record)
        for path, image in zip(paths, images, strict=True):
            write_volume(path, image, files.geometry)
        save_record(folder, case, record, files.paths, tuple(paths))
