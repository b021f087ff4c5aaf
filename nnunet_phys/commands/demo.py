"""`nnunet_phys demo`: the main job on digital hearts, from images to a table and a picture.

A self-consistency check, not evidence about patients: training and test hearts are drawn by one program, though the
test contrasts come from a Bloch simulation with protocols that training does not see.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from nnunet_phys.errors import InputError

_DATASET = 900
_PLANS = "nnUNetPlans"


@dataclass(frozen=True)
class DemoSize:
    """How much the demo does: cases, slices a case, network evaluations of reverse imaging, and the trainers."""

    train: int
    test: int
    slices: int
    steps: int
    trainers: tuple[str, str]


FULL = DemoSize(24, 6, 5, 12, ("nnUNetTrainerDemo", "nnUNetTrainerPhysDemo"))
QUICK = DemoSize(5, 1, 2, 6, ("nnUNetTrainerQuick", "nnUNetTrainerPhysQuick"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", type=Path, default=Path("nnunet_phys_demo"), metavar="FOLDER", help="default %(default)s")
    parser.add_argument("-prior", default="digital_heart", help="folder or name of a spin prior (default %(default)s)")
    parser.add_argument("-device", default="cpu", help="cpu, cuda or mps (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a smoke run: everything runs, nothing is learned")


def run(args: argparse.Namespace) -> None:
    size = QUICK if args.quick else FULL
    folder = args.o.resolve()
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"-o {folder} is not empty. Choose another folder or remove it.")
    start = time.monotonic()
    isolate(folder)
    from nnunet_phys.commands import main
    from nnunet_phys.experiments.heart_dataset import CONTRASTS, write_heart_dataset

    raw = folder / "nnUNet_raw" / f"Dataset{_DATASET}_DigitalHeart"
    _stage(1, "digital hearts")
    write_heart_dataset(raw, size.train, size.test, size.slices)
    _stage(2, "PD, T1 and T2 maps by reverse imaging")
    _must(
        main(["reverse", "-d", str(_DATASET), "-device", args.device, "-steps", str(size.steps), "-prior", args.prior])
    )
    _stage(3, "nnU-Net's plan and preprocessing, then the maps'")
    plan_and_preprocess()
    _must(main(f"preprocess -d {_DATASET} -c 2d -np 2".split()))
    scores = {}
    for number, (trainer, title) in enumerate(zip(size.trainers, ("plain nnU-Net", "Phys"), strict=True), start=4):
        _stage(number, f"{title}: training, prediction, Dice")
        train(trainer, args.device)
        scores[trainer] = predict_and_score(folder, raw, trainer, args.device)
    table = _table(scores, size.trainers, CONTRASTS)
    minutes = (time.monotonic() - start) / 60
    (folder / "scores.json").write_text(json.dumps({"dice": scores, "minutes": round(minutes, 2)}, indent=1) + "\n")
    _picture(folder, raw, size.trainers, size.slices // 2)
    print(f"\n{table}\n\n{minutes:.1f} min. Table: {folder / 'scores.json'}, picture: {folder / 'demo.png'}")
    folders = " ".join(f"{name}={folder / name}" for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"))
    print(f"To go on with its data set {_DATASET}: export {folders}")
    if args.quick:
        print("--quick shows that the chain runs. These networks have learned nothing: the numbers mean nothing.")


def _stage(number: int, title: str) -> None:
    print(f"\n== {number} of 5: {title}", flush=True)


def shrink_plan(plans_file: Path, patch_size: tuple[int, int], batch_size: int, features: tuple[int, ...]) -> None:
    """Cut the 2d configuration of a plan down to what a CPU can train.

    Args:
        plans_file: nnU-Net's plans, edited in place.
        patch_size: rows and columns of a patch; multiples of 2 ** (len(features) - 1).
        batch_size: patches an iteration.
        features: channels of each stage of the U-Net.
    """
    plans = json.loads(plans_file.read_text())
    configuration = plans["configurations"]["2d"]
    configuration["patch_size"], configuration["batch_size"] = list(patch_size), batch_size
    architecture, stages = configuration["architecture"]["arch_kwargs"], len(features)
    architecture.update(
        n_stages=stages,
        features_per_stage=list(features),
        kernel_sizes=[[3, 3]] * stages,
        strides=[[1, 1]] + [[2, 2]] * (stages - 1),
        n_conv_per_stage=[2] * stages,
        n_conv_per_stage_decoder=[2] * (stages - 1),
    )
    plans_file.write_text(json.dumps(plans, indent=4))


def isolate(folder: Path) -> None:
    """The demo's own nnU-Net folders and trainers, for this process and those it starts."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        os.environ[name] = str(folder / name)
    os.environ["nnUNet_extTrainer"] = str(Path(__file__).parent / "demo_trainers")
    os.environ.setdefault("nnUNet_def_n_proc", "2")
    os.environ.setdefault("nnUNet_n_proc_DA", "1")
    for variable in ("nnUNet_compile", "nnUNet_phys_recipe"):
        os.environ.pop(variable, None)


def _must(status: int) -> None:
    if status:
        raise SystemExit(status)


def plan_and_preprocess() -> None:
    """nnU-Net's plan of the demo's data set, shrunk, and its preprocessing."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        plan_experiments,
        preprocess,
    )
    from nnunetv2.paths import nnUNet_preprocessed

    extract_fingerprints([_DATASET], num_processes=2, verbose=False)
    plan_experiments([_DATASET])
    plans = Path(nnUNet_preprocessed) / f"Dataset{_DATASET}_DigitalHeart" / f"{_PLANS}.json"
    shrink_plan(plans, (96, 96), 6, (16, 32, 64, 128, 128))
    preprocess([_DATASET], _PLANS, ("2d",), (2,))


def train(trainer: str, device: str) -> None:
    """Train on all cases of the demo's data set."""
    import torch
    from nnunetv2.run.run_training import run_training

    run_training(str(_DATASET), "2d", "all", trainer, _PLANS, device=torch.device(device))


def predict_and_score(folder: Path, raw: Path, trainer: str, device: str) -> dict[str, dict[str, float]]:
    """Dice by contrast and structure, from nnU-Net's own evaluation."""
    import torch
    from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder2
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.paths import nnUNet_results

    from nnunet_phys.digital_heart import LABELS
    from nnunet_phys.experiments.heart_dataset import CONTRASTS

    model = Path(nnUNet_results) / raw.name / f"{trainer}__{_PLANS}__2d"
    predictor = nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=device != "cpu", device=torch.device(device), verbose=False
    )
    predictor.initialize_from_trained_model_folder(str(model), ("all",))
    scores = {}
    for contrast in CONTRASTS:
        output = folder / "predictions" / trainer / contrast
        predictor.predict_from_files(
            str(raw / f"imagesTs_{contrast}"),
            str(output),
            num_processes_preprocessing=1,
            num_processes_segmentation_export=1,
        )
        compute_metrics_on_folder2(
            str(raw / f"labelsTs_{contrast}"),
            str(output),
            str(model / "dataset.json"),
            str(model / "plans.json"),
            num_processes=2,
        )
        summary = json.loads((output / "summary.json").read_text())
        scores[contrast] = {name: summary["mean"][str(code)]["Dice"] for name, code in LABELS.items() if code}
    return scores


def _table(scores: dict, trainers: tuple[str, str], contrasts: tuple[str, ...]) -> str:
    """Dice as text: a row per contrast and structure, a column per trainer, and the means."""
    rows = [f"{'Dice':<12}{'plain nnU-Net':>16}{'Phys':>10}"]
    for contrast in contrasts:
        plain, phys = (scores[t][contrast] for t in trainers)
        for structure in plain:
            rows.append(f"{contrast + ' ' + structure:<12}{plain[structure]:>16.3f}{phys[structure]:>10.3f}")
        means = [sum(s.values()) / len(s) for s in (plain, phys)]
        rows.append(f"{contrast + ' mean':<12}{means[0]:>16.3f}{means[1]:>10.3f}")
    return "\n".join(rows)


def _picture(folder: Path, raw: Path, trainers: tuple[str, str], z: int) -> None:
    """One PNG: a training image, its maps and contrasts drawn from them; test images with both segmentations."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    import numpy as np
    import torch

    from nnunet_phys.augmentations.recipe_files import load_recipe
    from nnunet_phys.image_files import Geometry, read_image
    from nnunet_phys.map_files import load_maps

    case = "heart000"
    image_path = raw / "imagesTr" / f"{case}_0000.nii.gz"
    maps = load_maps(raw / "spinTr", case, ".nii.gz", image_path).map(lambda m: m[z])
    stack = maps.stack()
    plt.rcdefaults()  # nnU-Net's progress plot leaves large type behind
    figure, axes = plt.subplots(4, 6, figsize=(18, 12.4), layout="constrained")

    def show(axis, array, title: str, **options) -> None:
        axis.imshow(array, **{"cmap": "gray", **options})
        axis.set_title(title, fontsize=10)

    show(axes[0, 0], read_image(image_path)[z], "training image (bSSFP cine)")
    for axis, values, title, top in zip(
        axes[0, 1:4], stack, ("PD, 0-1.5", "T1, 0-2000 ms", "T2, 0-250 ms"), (1.5, 2000, 250), strict=True
    ):
        show(axis, values, title, cmap="viridis", vmin=0, vmax=top)
    rng, recipe = np.random.RandomState(0), load_recipe("default")
    for axis in axes[[0, 0, 1, 1, 1, 1, 1, 1], [4, 5, 0, 1, 2, 3, 4, 5]]:
        draw = recipe.draw_contrast(rng)
        contrast = draw.scan(stack[:, None], Geometry.read(image_path).spacing[::-1])[0]
        low, high = torch.quantile(contrast, torch.tensor([0.01, 0.99])).tolist()
        show(axis, contrast, f"drawn: {type(draw.sequence).__name__}", vmin=low, vmax=high)

    tests = [("cine", "heart000"), ("gre", "heart000"), ("molli", "heart000_ti00"), ("molli", "heart000_ti04")]
    for row, picks in zip(axes[2:], (tests[:2], tests[2:]), strict=True):
        for place, (contrast, name) in enumerate(picks):
            image = read_image(raw / f"imagesTs_{contrast}" / f"{name}_0000.nii.gz")[z]
            truth = read_image(raw / f"labelsTs_{contrast}" / f"{name}.nii.gz")[z]
            shown = [(truth, "truth")]
            for trainer, title in zip(trainers, ("plain nnU-Net", "Phys"), strict=True):
                shown.append((read_image(folder / "predictions" / trainer / contrast / f"{name}.nii.gz")[z], title))
            for axis, (mask, title) in zip(row[3 * place :], shown, strict=False):
                show(axis, image, f"{contrast}: {title}", vmax=float(np.quantile(image, 0.99)))
                overlay = np.ma.masked_equal(mask, 0)
                axis.imshow(overlay, cmap="prism", vmin=0, vmax=4, alpha=0.35, interpolation="nearest")
    for axis in axes.flat:
        axis.axis("off")
    figure.savefig(folder / "demo.png", dpi=70)
    plt.close(figure)
