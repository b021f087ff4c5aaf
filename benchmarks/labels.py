"""Does using labels leave their outline in synthetic images? Trainings on digital hearts, whose true maps are known.

If synthetic images contained the outline, a network would rely on it and do worse on test images, which lack it. All
trainings have the same schedule and test sets. Three kinds differ in their maps (made without labels, made with labels,
and true maps), with recipes/three_sequences.json. Two more, on the true maps, draw cine with blood at rest and GRE with
inflow, either where T1 and T2 are like blood's or in the labelled cavities. Prints the mean Dice over structures, in
a line per training:

    python benchmarks/labels.py -work FOLDER
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from generalization.processes import run_command
from nnunet_phys.experiments.heart_dataset import write_heart_dataset
from nnunet_phys.experiments.heart_scans import CONTRASTS
from nnunet_phys.experiments.small_training import (
    DEMO_TRAINERS,
    own_folders,
    plan_and_preprocess,
    predict_and_score,
    train,
)

DATASET = 900
TRAIN, TEST, SLICES = 24, 6, 5  # cases, anatomies and slices a case, as in `nnunet_phys demo`
TRAININGS = {
    "without": ("without", "nnUNetTrainerThreeSequences"),
    "labels": ("labels", "nnUNetTrainerThreeSequences"),
    "true": ("true", "nnUNetTrainerThreeSequences"),
    "inflow by tissue": ("true", "nnUNetTrainerTissueInflow"),
    "inflow by labels": ("true", "nnUNetTrainerLabelInflow"),
}
"""Maps and trainer of each kind of training."""


def main() -> None:
    """Run the trainings that are not finished, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-work", type=Path, required=True, help="folder for all files; a rerun continues")
    parser.add_argument("-repeat", type=int, default=3, help="trainings of each kind (default %(default)s)")
    parser.add_argument("-only", nargs="+", default=list(TRAININGS), choices=tuple(TRAININGS))
    parser.add_argument("-device", default="cpu")
    args = parser.parse_args()
    work = args.work.resolve()
    own_folders(work, DEMO_TRAINERS)
    os.environ["nnUNet_extTrainer"] += os.pathsep + str(Path(__file__).parent / "labels_trainers")
    raw = work / "nnUNet_raw" / f"Dataset{DATASET}_DigitalHeart"
    if not (work / "preprocessed").exists():
        write_heart_dataset(raw, TRAIN, TEST, SLICES)
        plan_and_preprocess(DATASET, patch_size=(96, 96))
        (work / "preprocessed").touch()
    maps = {"true": raw / "trueTr", "without": raw / "spinTr", "labels": raw / "spinTr_labels"}
    reverse = ["nnunet_phys", "reverse", "-d", str(DATASET), "-device", args.device]
    if "without" in args.only:
        run_command(*reverse, "-o", str(maps["without"]))
    if "labels" in args.only:
        run_command(*reverse, "-o", str(maps["labels"]), "--labels")

    results = work / "labels.json"
    scores = json.loads(results.read_text()) if results.is_file() else {}
    for repetition in range(args.repeat):
        for kind in args.only:
            name, (source, trainer) = f"{kind} {repetition}", TRAININGS[kind]
            if name not in scores:
                scores[name] = train_and_score(work, raw, maps[source], trainer, name.replace(" ", "_"), args.device)
                results.write_text(json.dumps(scores, indent=1) + "\n")
    print(f"\n{'Dice':<20}" + "".join(f"{c:>10}" for c in CONTRASTS))
    for name, score in scores.items():
        means = (sum(score[c].values()) / len(score[c]) for c in CONTRASTS)
        print(f"{name:<20}" + "".join(f"{m:>10.3f}" for m in means))


def train_and_score(
    work: Path, raw: Path, maps: Path, trainer: str, name: str, device: str
) -> dict[str, dict[str, float]]:
    """Train on these maps, in a separate results folder, and score all contrasts."""
    results = work / "results" / name
    results.mkdir(parents=True, exist_ok=True)
    os.environ["nnUNet_results"] = str(results)
    run_command("nnunet_phys", "preprocess", "-d", str(DATASET), "-c", "2d", "-np", "2", "-maps", str(maps))
    train(DATASET, trainer, device)
    return predict_and_score(raw, CONTRASTS, trainer, work / name / "predictions" / trainer, device)


if __name__ == "__main__":
    main()
