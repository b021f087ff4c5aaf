"""Refine a spin prior on images: sample the maps of the images, let the prior learn from them, and again.

This is expectation maximisation, as Rozet et al. learn a diffusion prior from indirect observations (NeurIPS 2024),
from a prior that is trained already. It learns from samples and not from means, whose smoothness it would pass on from
round to round. Against learning its own mistakes, half of what it learns from are digital hearts, whose maps are true;
slices that look wrong are left out; and a round only counts if other images, inverted without their labels, show that
the prior has improved.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import interpolate

from nnunet_phys.digital_heart import LABELS
from nnunet_phys.errors import InputError
from nnunet_phys.file_identity import files_sha256
from nnunet_phys.json_files import read_json
from nnunet_phys.precomputed_spin.case_labels import CaseLabels
from nnunet_phys.precomputed_spin.label_names import structure_codes
from nnunet_phys.precomputed_spin.labels import TissueLabels, tissue_weights
from nnunet_phys.precomputed_spin.map_inference import save_inferred
from nnunet_phys.precomputed_spin.map_work import MapWork, remove_interrupted
from nnunet_phys.precomputed_spin.prior import SpinPrior
from nnunet_phys.precomputed_spin.prior_maps import (
    FIRST_SEED,
    HELD_OUT_HEARTS,
    MAP_SIZE,
    SLICES_PER_HEART,
    TrainingMaps,
    case_maps,
    centred,
    join,
    phantom_maps,
    shape_on_prior,
)
from nnunet_phys.precomputed_spin.prior_schedule import Schedule, Stage
from nnunet_phys.precomputed_spin.prior_training import train_prior
from nnunet_phys.precomputed_spin.quality import quality
from nnunet_phys.precomputed_spin.quality_record import load_inferred_record
from nnunet_phys.precomputed_spin.samplers import ProximalMean, ProximalSampler
from nnunet_phys.precomputed_spin.scan import Inferred
from nnunet_phys.precomputed_spin.scan_loading import ImageReader
from nnunet_phys.precomputed_spin.scan_protocol import ScanJob
from nnunet_phys.precomputed_spin.spin_scaling import SpinScaling
from nnunet_phys.whole_files import write_json

_CODES = structure_codes(dict(LABELS))
STAGES = (Stage(1.0, 128, 6),)
"""Crops of a round: large ones, as at the end of a prior's training."""
LEARNING_RATE = 2e-4
"""A third of a training's from scratch. Assumed."""
_LEAST_GAIN = 0.02
"""A figure has improved if it falls by more than this share. Assumed: less is noise of few held-out images."""
_MOST_LOSS = 0.1
"""The residual may grow by this share: it lies far below what is flagged. Assumed."""


@dataclass(frozen=True)
class HeldOutFigures:
    """How well a prior inverts held-out images without their labels.

    Attributes:
        residual: root mean square residual over the body, as a share of the bright level; mean over cases.
        flagged: share of slices that look wrong (`quality.quality`).
        impossible: share of pixels, well inside of labelled structures, whose T1 or T2 no tissue of the structure has;
            None without labels.
    """

    residual: float
    flagged: float
    impossible: float | None

    def improves_on(self, before: HeldOutFigures) -> bool:
        """Whether fewer values are impossible, or without labels fewer slices flagged, and nothing is lost for it."""
        if self.flagged > before.flagged or self.residual > (1 + _MOST_LOSS) * before.residual:
            return False
        if self.impossible is None or before.impossible is None:
            return self.flagged < (1 - _LEAST_GAIN) * before.flagged
        return self.impossible < (1 - _LEAST_GAIN) * before.impossible

    def __str__(self) -> str:
        text = f"residual {100 * self.residual:.2f} %, {100 * self.flagged:.1f} % of slices flagged"
        return (
            text if self.impossible is None else f"{text}, {100 * self.impossible:.2f} % of labelled pixels impossible"
        )


@dataclass(frozen=True)
class _Settings:
    """What all rounds depend on; plain JSON."""

    prior_sha256: str
    learning: dict[str, list[dict]]
    held_out: dict[str, list[dict]]
    files_sha256: str
    labels: dict[str, int]
    steps: int
    seed: int


@dataclass(frozen=True)
class Refinement:
    """Rounds of sampling and learning, kept in a folder from which a rerun goes on.

    FOLDER/settings.json            what all rounds depend on
    FOLDER/round0/held_out.json     figures of the prior that is refined
    FOLDER/round1_maps/             samples of the images to learn from, drawn with the prior of the round before
    FOLDER/round1/NAME/             the prior that learned from them; NAME is that of FOLDER without its ending
    FOLDER/round1/held_out.json     its figures

    Attributes:
        folder: the folder.
        command: the command that refines, for the record of the prior.
        learning: cases whose maps the prior learns from.
        held_out: cases that judge it.
        ending: file ending of maps.
        labels: labels of all cases. They may decide about tissue in the cases to learn from; in the held-out ones they
            only judge.
        rounds: most rounds.
        steps: optimiser steps of a round.
        seed: random seed.
        batch: slices that pass through the network together.
        processes: worker processes.
        bf16: train in bfloat16.
        show_progress: progress bars on stderr.
    """

    folder: Path
    command: str
    learning: list[ScanJob]
    held_out: list[ScanJob]
    ending: str
    labels: CaseLabels
    rounds: int = 3
    steps: int = 600
    seed: int = 0
    batch: int = 8
    processes: int = 2
    bf16: bool = False
    show_progress: bool = False

    def __call__(self, prior: SpinPrior, name: str, report: Callable[[str], None]) -> Path | None:
        """Refine a prior until held-out images no longer show that it improves.

        Args:
            prior: the prior, on its device.
            name: its name.
            report: called with a line per round.

        Returns:
            folder of the best prior, with the figures of all rounds in held_out.json; None if no round has improved on
            `prior`.

        Raises:
            InputError: images or labels that cannot be used; the folder belongs to a refinement with other settings;
                all slices look wrong; what `train_prior` raises.
        """
        for work in (self._sampling(prior, name, 1), self._judging(prior, name)):
            work.check(work.jobs, ImageReader())
        faults = self.labels.faults(self.held_out) if self.labels.decide else []
        if faults:
            raise InputError(*faults)
        self._begin(prior)
        figures = {0: self._judge(0, prior, name)}
        report(f"{name}: {figures[0]}")
        best = None
        for number in range(1, self.rounds + 1):
            folder = self._learn(number, prior, name)
            prior, name = SpinPrior.load(folder, prior.device), f"round {number}"
            figures[number] = self._judge(number, prior, name)
            report(f"{name}: {figures[number]}")
            if not figures[number].improves_on(figures[number - 1]):
                break
            best = folder
        if best is not None:
            write_json(best / "held_out.json", {f"round {n}": asdict(of_round) for n, of_round in figures.items()})
        return best

    def _begin(self, prior: SpinPrior) -> None:
        """Make the folder, or check that it belongs to the same refinement.

        Raises:
            InputError: it belongs to another, or cannot be written.
        """
        path, codes = self.folder / "settings.json", self.labels.deciding_codes()
        learning, held_out = ({job.case: job.described() for job in jobs} for jobs in (self.learning, self.held_out))
        settings = _Settings(prior.sha256(), learning, held_out, self._files_sha256(), codes, self.steps, self.seed)
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(path, asdict(settings))
            return
        remedy = f"Remove {self.folder}, or choose another -o."
        before = read_json(path, _Settings, remedy)
        now = json.loads(json.dumps(asdict(settings)))
        differing = [key for key, value in asdict(before).items() if value != now[key]]
        if differing:
            raise InputError(
                f"{self.folder} holds rounds that began with other settings ({', '.join(differing)}). {remedy}"
            )

    def _files_sha256(self) -> str:
        """Hash of all images and of the labels that are there."""
        files: dict[str, Path] = {}
        for job in (*self.learning, *self.held_out):
            files |= {f"{job.case} {number}": path for number, path in enumerate(job.files.paths)}
            label = self.labels.paths.get(job.case)
            if label is not None and label.is_file():
                files[f"{job.case} labels"] = label
        return files_sha256(files)

    def _sampling(self, prior: SpinPrior, name: str, number: int) -> MapWork:
        """The maps that a round learns from, samples of the posterior."""
        folder, sampler = self.folder / f"round{number}_maps", ProximalSampler()
        return MapWork(self.learning, folder, prior, name, sampler, self.seed, self.batch, labels=self.labels)

    def _judging(self, prior: SpinPrior, name: str) -> MapWork:
        """The maps that judge a prior, made without labels; they are not kept."""
        labels = replace(self.labels, decide=False)
        return MapWork(self.held_out, self.folder, prior, name, ProximalMean(), self.seed, self.batch, labels=labels)

    def _judge(self, number: int, prior: SpinPrior, name: str) -> HeldOutFigures:
        """The figures of a round's prior, which are measured once."""
        path = self.folder / f"round{number}" / "held_out.json"
        if path.is_file():
            return read_json(path, HeldOutFigures, "Remove it.")
        work = self._judging(prior, name)
        residuals: list[float] = []
        slices = flagged = impossible = certain = 0
        for job, inferred in work.infer(work.jobs, ImageReader(), self.show_progress):
            structures = self.labels.structures(job.files)
            judgement = quality(inferred, prior.scaling, structures)
            residuals.append(judgement.residual_rms)
            slices += len(inferred.error)
            flagged += len(judgement.flagged_slices)
            if structures:
                in_case = impossible_pixels(inferred, structures, prior.scaling)
                impossible, certain = impossible + in_case[0], certain + in_case[1]
        figures = HeldOutFigures(float(np.mean(residuals)), flagged / slices, impossible / certain if certain else None)
        path.parent.mkdir(exist_ok=True)
        write_json(path, asdict(figures))
        return figures

    def _learn(self, number: int, prior: SpinPrior, name: str) -> Path:
        """The folder of a prior that has learned from samples of the last one."""
        folder = self.folder / f"round{number}" / self.folder.stem
        if (folder / "prior.json").is_file():
            return folder
        work = self._sampling(prior, name, number)
        remove_interrupted(work.folder)
        for job, inferred in work.infer(work.unfinished({}, lambda job: {}), ImageReader(), self.show_progress):
            judgement = quality(inferred, prior.scaling, self.labels.structures(job.files))
            record = {**work.settings, "sequences": job.described(), "quality": asdict(judgement)}
            save_inferred(inferred, job.files, work.folder, self.ending, record)
        folder.parent.mkdir(exist_ok=True)
        pool = learning_maps(work, self.ending)
        hearts = partial(phantom_maps, pixel_mm=prior.pixel_mm, processes=self.processes)
        count = math.ceil(len(pool.maps) / SLICES_PER_HEART)
        train_prior(
            make_pool=lambda: join((pool, hearts(count, first_seed=FIRST_SEED + self.seed))),
            held_out=partial(hearts, HELD_OUT_HEARTS),
            folder=folder,
            pixel_mm=prior.pixel_mm,
            schedule=Schedule(self.steps, STAGES, LEARNING_RATE),
            device=prior.device,
            seed=self.seed + number,
            record={
                "command": self.command,
                "refined": f"round {number}, on {len(pool.maps)} slices of {len(self.learning)} cases",
            },
            init=prior,
            processes=0 if prior.device.type == "cpu" else self.processes,
            bf16=self.bf16,
        )
        return folder


def impossible_pixels(inferred: Inferred, structures: dict[str, np.ndarray], scaling: SpinScaling) -> tuple[int, int]:
    """Number of pixels whose T1 or T2 no tissue of their structure has, and of all pixels that are judged.

    Args:
        inferred: the maps.
        structures: masks (slices, rows, columns) of RV, MYO and LV, as far as they are labelled; only pixels well
            inside count (`TissueLabels.bounds`).
        scaling: scaling of the maps.
    """
    weights = tissue_weights(_codes(structures), _CODES, inferred.scan.pixel_mm)
    labels = TissueLabels(torch.from_numpy(weights), scaling)
    least, greatest = labels.bounds
    times = scaling.encode(inferred.maps)[:, 1:]
    outside = ((times < least) | (times > greatest)).any(1) & labels.certain
    return int(outside.sum()), int(labels.certain.sum())


def learning_maps(work: MapWork, ending: str) -> TrainingMaps:
    """The slices of a round's maps that do not look wrong, with their labels, on the prior's grid.

    Args:
        work: the round's maps, which are finished.
        ending: file ending of the maps.

    Raises:
        InputError: all slices look wrong.
    """
    parts = []
    for job in work.jobs:
        maps = case_maps(work.folder, job.case, ending, work.prior.pixel_mm, MAP_SIZE)
        record = load_inferred_record(work.folder, job.case)
        wrong = set() if record is None else {flag.slice for flag in record.quality.flags}
        kept = [z for z in range(len(maps)) if z not in wrong]
        codes = torch.zeros_like(maps[:, 0], dtype=torch.uint8)
        structures = work.labels.structures(job.files)
        if structures:
            shape = shape_on_prior(job.case, job.files.geometry, work.prior.pixel_mm, MAP_SIZE)
            on_prior = interpolate(torch.from_numpy(_codes(structures))[:, None].float(), shape, mode="nearest-exact")
            codes = centred(on_prior, MAP_SIZE, "constant")[:, 0].byte()
        parts.append(TrainingMaps(maps[kept], codes[kept]))
    if not sum(len(part.maps) for part in parts):
        raise InputError(f"All slices of the {len(parts)} cases in {work.folder} look wrong. Is the sequence right?")
    return join(parts)


def _codes(structures: dict[str, np.ndarray]) -> np.ndarray:
    """Masks of structures as one label image, in the codes of digital hearts."""
    return np.select(list(structures.values()), [np.uint8(LABELS[name]) for name in structures], np.uint8(0))
