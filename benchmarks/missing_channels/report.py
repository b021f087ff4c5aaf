"""The table of all methods, over all folds that are there."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from missing_channels.image_scores import mean_scores
from missing_channels.methods import METHODS
from missing_channels.protocol import TASKS

COLUMNS = {
    "psnr": ("PSNR", 1),
    "ssim": ("SSIM", 2),
    "box_psnr": ("PSNR, heart", 1),
    "box_ssim": ("SSIM, heart", 2),
    "myocardium_rmse": ("error in myocardium", 3),
    "lesions_rmse": ("error in lesions", 3),
    "sharpness": ("sharpness", 2),
}
"""Score to heading and digits after the point."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the scores lie."""
    parser.add_argument("-work", type=Path, required=True)


def run(args: argparse.Namespace) -> None:
    """Print the tables in Markdown."""
    records = [json.loads(path.read_text()) for path in sorted((args.work / "scores").glob("*.json"))]
    for task in TASKS:
        headings = [heading for heading, _ in COLUMNS.values()]
        print(f"\n**{task.name}**\n\n| method | folds | {' | '.join(headings)} | flicker | s per slice |")
        print("|---" * (len(COLUMNS) + 4) + "|")
        for method, (title, *_) in METHODS.items():
            own = [record for record in records if record["method"] == method]
            slices = [entry for record in own for entry in record["slices"] if entry["task"] == task.name]
            if not slices:
                continue
            volumes = [entry for record in own for entry in record["volumes"] if entry["task"] == task.name]
            means = mean_scores([{k: v for k, v in entry.items() if k in COLUMNS} for entry in slices])
            cells = [f"{means[name]:.{digits}f}" if name in means else "" for name, (_, digits) in COLUMNS.items()]
            flickers = [entry["flicker"] for entry in volumes if entry["flicker"] is not None]
            seconds = sum(entry["seconds"] for entry in volumes) / len(slices)
            print(f"| {title} | {len(own)} | {' | '.join(cells)} | {np.mean(flickers):.2f} | {seconds:.2f} |")
