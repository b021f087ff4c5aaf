"""Do labels paint the answer's outline into the images? Trainings on digital hearts, whose true maps are known.

If an outline were painted in, a network would lean on it and lose on test images, which have none. Same schedule and
test sets for maps made without labels, with labels, and the true ones, all on recipes/three_sequences.json; and, on the
true maps, for cine at rest with GRE whose inflow goes into what looks like blood by T1 and T2, or into the labelled
cavities. Dice, mean over structures, a line per training:

    python benchmarks/labels.py -work FOLDER
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from nnunet_phys.experiments.heart_dataset import write_heart_dataset
from nnunet_phys.experiments.heart_scans import CONTRASTS
from nnunet_phys.experiments.small_training import (
    DEMO_TRAINERS,
    own_folders,
    plan_and_preprocess,
    predict_and_score,
    run_command,
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
"""Maps, and trainer."""


def main() -> None:
    """Train what is not trained yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-work", type=Path, required=True, help="folder for everything it makes; a rerun goes on")
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
    """Train on these maps, in a results folder of its own, and score all contrasts."""
    results = work / "results" / name
    results.mkdir(parents=True, exist_ok=True)
    os.environ["nnUNet_results"] = str(results)
    run_command("nnunet_phys", "preprocess", "-d", str(DATASET), "-c", "2d", "-np", "2", "-maps", str(maps))
    train(DATASET, trainer, device)
    return predict_and_score(raw, CONTRASTS, trainer, work / name / "predictions" / trainer, device)


if __name__ == "__main__":
    main()
