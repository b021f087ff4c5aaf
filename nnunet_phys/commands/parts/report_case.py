"""What a report shows of one case: T1 and T2 of its structures, and figures of its slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nnunet_phys.commands.parts.report_figures import SliceView, colours_of, slice_figure
from nnunet_phys.commands.shared.heart_view import HeartView
from nnunet_phys.errors import InputError
from nnunet_phys.heart_location import find_heart
from nnunet_phys.image_files import Geometry, read_image
from nnunet_phys.map_files import load_maps
from nnunet_phys.pictures import webp
from nnunet_phys.precomputed_spin.quality_record import InferredRecord
from nnunet_phys.sequences.description import make_sequence
from nnunet_phys.spin import SpinMaps
from nnunet_phys.tissue_kinds import TissueKinds

FOUND_BLOOD, FOUND_MUSCLE = "blood found by the maps", "muscle found by the maps"
"""Structures of a case without labels."""
EDGES_MS = {"t1": np.linspace(0, 2500, 101), "t2": np.linspace(0, 320, 101)}
"""Edges of the histograms' bins, ms."""
_DPI = 90


@dataclass(frozen=True)
class ReportJob:
    """A case and what is to be shown of it.

    Attributes:
        case: its name.
        record: the record of its maps.
        folder: folder of its maps.
        ending: their file ending, with the dot.
        image: its image, the first one of a series.
        frame: index of the volume in a 4-D image.
        labels: its label image; None without.
        codes: structure to its code in the label image.
        figures: where figures go.
        name: beginning of their file names; None: no figures.
    """

    case: str
    record: InferredRecord
    folder: Path
    ending: str
    image: Path
    frame: int
    labels: Path | None
    codes: Mapping[str, int]
    figures: Path
    name: str | None


@dataclass(frozen=True)
class StructureTimes:
    """T1 and T2 of a structure in a case.

    Attributes:
        pixels: how many pixels it has.
        medians: "t1" and "t2" to their medians, ms.
        counts: "t1" and "t2" to their histograms over `EDGES_MS`; what is beyond counts in the last bin.
    """

    pixels: int
    medians: dict[str, float]
    counts: dict[str, np.ndarray]

    @classmethod
    def of(cls, maps: SpinMaps, mask: np.ndarray) -> StructureTimes:
        """T1 and T2 of the pixels of a mask, bool of the maps' shape."""
        values = {key: getattr(maps, key).numpy()[mask] for key in EDGES_MS}
        counts = {key: np.histogram(values[key].clip(edges[0], edges[-1]), edges)[0] for key, edges in EDGES_MS.items()}
        return cls(int(mask.sum()), {key: float(np.median(of)) for key, of in values.items()}, counts)


@dataclass(frozen=True)
class CaseResult:
    """What was found in a case.

    Attributes:
        times: structure to its T1 and T2.
        figures: drawn slice to its figure's file name.
        faults: lines about files that cannot be used.
    """

    times: dict[str, StructureTimes] = field(default_factory=dict)
    figures: dict[int, str] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


def case_result(job: ReportJob) -> CaseResult:
    """Read a case's maps, image and labels, and draw its flagged slices, or the one with most of the heart."""
    faults: list[str] = []
    masks: dict[str, np.ndarray] = {}
    try:
        geometry = Geometry.read(job.image)
        maps = load_maps(job.folder, job.case, job.ending, job.image)
    except InputError as error:
        return CaseResult(faults=error.of_case(job.case).faults)
    try:
        masks = _masks(job, geometry)
    except InputError as error:
        faults += error.of_case(job.case).faults
    heart = np.any(list(masks.values()), axis=0) if masks else find_heart(maps, geometry.pixel_mm)
    view = HeartView(heart, geometry.pixel_mm, labelled=bool(masks))
    regions = masks or _found(maps, view)
    times = {name: StructureTimes.of(maps, mask) for name, mask in regions.items() if mask.any()}
    figures: dict[int, str] = {}
    if job.name is not None:
        try:
            figures = _draw(job, maps, geometry, masks or {FOUND_BLOOD: heart}, view)
        except InputError as error:
            faults += error.of_case(job.case).faults
    return CaseResult(times, figures, tuple(faults))


def _masks(job: ReportJob, geometry: Geometry) -> dict[str, np.ndarray]:
    """Masks of the labelled structures; none without labels on the image's grid.

    Raises:
        InputError: the label image cannot be read.
    """
    if job.labels is None or not job.labels.is_file() or not Geometry.read(job.labels).agrees(geometry):
        return {}
    labels = read_image(job.labels)
    masks = {name: labels == code for name, code in job.codes.items()}
    return masks if any(mask.any() for mask in masks.values()) else {}


def _found(maps: SpinMaps, view: HeartView) -> dict[str, np.ndarray]:
    """Masks of the heart's blood and of the muscle around it, in the slices that show the blood."""
    around = np.zeros_like(view.mask)
    around[(view.mask.any((1, 2)), *view.window)] = True
    return {FOUND_BLOOD: view.mask, FOUND_MUSCLE: around & (TissueKinds.of(maps).muscle.numpy() > 0.5)}


def _draw(
    job: ReportJob,
    maps: SpinMaps,
    geometry: Geometry,
    masks: Mapping[str, np.ndarray],
    view: HeartView,
) -> dict[int, str]:
    """Write the figures of the flagged slices, or without flags of the slice that shows most of the heart.

    Raises:
        InputError: the image cannot be read, or the record names a slice or a sequence that does not exist.
    """
    image = read_image(job.image, job.frame)
    slices = job.record.quality.flagged_slices or [view.fullest_slice]
    beyond = [z for z in slices if not 0 <= z < len(image)]
    if beyond or not job.record.sequences:
        what = f"flags slice {beyond[0]} of {len(image)}" if beyond else "names no sequence"
        raise InputError(f"{job.case}: its record {what}. Make its maps again.")
    sequence = make_sequence(dict(job.record.sequences[0]), record=True)
    colours = colours_of((*job.codes, FOUND_BLOOD))
    drawn, window = {}, view.window
    for z in slices:
        shown = SliceView(
            image[z][window],
            SpinMaps(*(values[(z, *window)] for values in (maps.pd, maps.t1, maps.t2))),
            [(mask[z][window], colours[name]) for name, mask in masks.items()],
            geometry.voxel_mm,
        )
        drawn[z] = f"{job.name}_{z:03d}.webp"
        (job.figures / drawn[z]).write_bytes(webp(slice_figure(shown, sequence), _DPI))
    return drawn
