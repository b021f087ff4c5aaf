"""The table of all methods, over all folds that are there."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from missing_channels.image_scores import mean_scores
from missing_channels.methods import METHODS
from missing_channels.protocol import TASKS, TEST, Task
from missing_channels.segment import ACQUIRED
from nnunet_phys.errors import InputError

COLUMNS = {
    "psnr": ("PSNR", 1),
    "ssim": ("SSIM", 2),
    "box_psnr": ("PSNR, heart", 1),
    "box_psnr_fitted": ("PSNR, heart, brightness fitted", 1),
    "box_ssim": ("SSIM, heart", 2),
    "myocardium_rmse": ("error in myocardium", 3),
    "lesions_rmse": ("error in lesions", 3),
    "sharpness": ("sharpness", 2),
}
"""Score to heading and digits after the point."""

Records = list[dict[str, Any]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the scores lie."""
    parser.add_argument("-work", type=Path, required=True)


def run(args: argparse.Namespace) -> None:
    """Print the tables in Markdown.

    Raises:
        InputError: there are scores of different patients, or images of other folds than their masks.
    """
    scores, segmentations = (
        [json.loads(path.read_text()) for path in sorted((args.work / folder).glob("*.json"))]
        for folder in ("scores", "segmentations")
    )
    headings = ["method", "folds", *(heading for heading, _ in COLUMNS.values()), "flicker", "s per slice"]
    headings.append("Dice of RV, MYO, LV, %")
    if {record["part"] == TEST for record in (*scores, *segmentations)} == {True, False}:
        raise InputError(f"{args.work} holds folds and other test patients. Give each a -work of its own.")
    for method in METHODS:
        of_images, of_masks = (_parts(records, method) for records in (scores, segmentations))
        if of_images and of_masks and of_images != of_masks:
            raise InputError(
                f"{method}: scores of {', '.join(of_images)}, but masks of {', '.join(of_masks)}. Run "
                "`missing_channels segment` for the same folds."
            )
    titles = {ACQUIRED: "acquired image", **{name: method.title for name, method in METHODS.items()}}
    for task in TASKS:
        print(f"\n**{task.name}**\n\n| {' | '.join(headings)} |\n{'|---' * len(headings)}|")
        for method, title in titles.items():
            own = [record for record in scores if record["method"] == method]
            masks = [record for record in segmentations if record["method"] == method]
            if own or masks:
                names = ", ".join(part.removeprefix("fold") for part in _parts(own or masks, method))
                cells = [title, names, *_image_cells(own, task), _dice(masks, task)]
                print(f"| {' | '.join(cells)} |")


def _parts(records: Records, method: str) -> list[str]:
    """Names of the parts that a method has records of."""
    return sorted({record["part"] for record in records if record["method"] == method})


def _image_cells(records: Records, task: Task) -> list[str]:
    """A method's scores against the acquired images."""
    slices = [entry for record in records for entry in record["slices"] if entry["task"] == task.name]
    if not slices:
        return [""] * (len(COLUMNS) + 2)
    volumes = [entry for record in records for entry in record["volumes"] if entry["task"] == task.name]
    means = mean_scores([{k: v for k, v in entry.items() if k in COLUMNS} for entry in slices])
    cells = [f"{means[name]:.{digits}f}" if name in means else "" for name, (_, digits) in COLUMNS.items()]
    flickers = [entry["flicker"] for entry in volumes if entry["flicker"] is not None]
    seconds = sum(entry["seconds"] for entry in volumes) / len(slices)
    return [*cells, f"{np.mean(flickers):.2f}" if flickers else "", f"{seconds:.2f}"]


def _dice(records: Records, task: Task) -> str:
    """Mean Dice of RV, MYO and LV over the folds."""
    if not records:
        return ""
    means = [np.mean([record["dice"][task.name][name] for record in records]) for name in ("RV", "MYO", "LV")]
    return " / ".join(f"{100 * mean:.1f}" for mean in means)
