"""Plain nnU-Net against nnUNetTrainerPhys on real scans: cine of other patients, LGE, and MOLLI readouts.

Phys is trained with the default recipe, with the three sequences of recipes/three_sequences.json, with the published
plugin's contrasts (recipe `paper`), and with more MOLLI and fewer real images than in the default recipe, all on the
same maps.

Reads the folder in NNUNET_PHYS_DATA (Dataset027_ACDC, mscmr_lge, molli_t1net; not part of the project). Stages that are
finished in the work folder are skipped, so a rerun continues. Prints one table, and what the maps hold:

    NNUNET_PHYS_DATA=... python benchmarks/real_scans.py -work FOLDER
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path

import numpy as np

from nnunet_phys.experiments.small_training import own_folders, plan_and_preprocess, run_command
from nnunet_phys.image_files import read_image

NAMES = {1: "RV", 2: "MYO", 3: "LV"}
DATASET = "Dataset027_ACDC"
TRAINERS = {
    "plain": "nnUNetTrainerReal",
    "phys": "nnUNetTrainerPhysReal",
    "three": "nnUNetTrainerPhysThreeReal",
    "paper": "nnUNetTrainerPhysPaperReal",
    "more_molli": "nnUNetTrainerPhysMoreMOLLIReal",
}


def main() -> None:
    """Run the stages that are not finished, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-work", type=Path, required=True, help="folder for all files")
    parser.add_argument("-patients", type=int, default=30, help="training patients (default %(default)s)")
    parser.add_argument("-left_out", type=int, default=15, help="test patients (default %(default)s)")
    parser.add_argument("-frames", default="ED", choices=("ED", "both"), help="default %(default)s")
    parser.add_argument("-iterations", type=int, default=6000, help="of each training (default %(default)s)")
    parser.add_argument("-only", nargs="+", default=list(TRAINERS), choices=tuple(TRAINERS))
    parser.add_argument("--no_labels", action="store_true", help="make the maps without labels")
    parser.add_argument("-prior", default="digital_heart")
    parser.add_argument("-device", default="cpu")
    args = parser.parse_args()
    data, work = Path(os.environ["NNUNET_PHYS_DATA"]), args.work.resolve()
    own_folders(work, Path(__file__).parent / "real_scans_trainers")
    os.environ["NNUNET_PHYS_ITERATIONS"] = str(args.iterations)
    raw, pre = work / "nnUNet_raw" / DATASET, work / "nnUNet_preprocessed" / DATASET

    if not (raw / "dataset.json").is_file():
        copy_patients(data / DATASET, raw, args.patients, args.left_out, args.frames)
    if not (pre / "splits_final.json").is_file():
        plan_and_preprocess(27, patch_size=(160, 160))
        split_by_patient(pre)
    if set(args.only) != {"plain"}:
        labels = [] if args.no_labels else ["--labels"]
        run_command("nnunet_phys", "reverse", "-d", "27", "-device", args.device, "-prior", args.prior, *labels)
        run_command("nnunet_phys", "preprocess", "-d", "27", "-c", "2d", "-np", "2")
    for method in args.only:
        model = work / "nnUNet_results" / DATASET / f"{TRAINERS[method]}__nnUNetPlans__2d" / "fold_0"
        if not (model / "checkpoint_final.pth").is_file():
            go_on = ["--c"] if (model / "checkpoint_latest.pth").is_file() else []
            run_command("nnUNetv2_train", "27", "2d", "0", "-tr", TRAINERS[method], "-device", args.device, *go_on)
        sources = {"cine": raw / "imagesTs", "lge": data / "mscmr_lge/images", "molli": data / "molli_t1net/images"}
        for name, images in sources.items():
            output = work / "predictions" / method / name
            if not output.is_dir():
                unfinished = output.with_name(f"{name}_unfinished")
                model_arguments = ("-d", "27", "-c", "2d", "-f", "0", "-tr", TRAINERS[method])
                processes = ("-npp", "1", "-nps", "1", "-device", args.device)
                run_command("nnUNetv2_predict", "-i", str(images), "-o", str(unfinished), *model_arguments, *processes)
                unfinished.rename(output)
    print(table(work, data, raw, args.only))
    if set(args.only) != {"plain"}:
        print(describe_maps(raw))


def copy_patients(source: Path, raw: Path, train: int, test: int, frames: str) -> None:
    """Copy every second patient for training, and the last of the others for testing."""
    cases = sorted(p.name.removesuffix("_0000.nii.gz") for p in (source / "imagesTr").iterdir())
    if frames == "ED":
        cases = [c for c in cases if c.endswith("frame01")]
    patients = sorted({c[:10] for c in cases})
    chosen = {"Tr": patients[: 2 * train : 2] if 2 * train < len(patients) else patients[:train]}
    chosen["Ts"] = [p for p in patients if p not in chosen["Tr"]][-test:]
    for part, members in chosen.items():
        for kind in ("images", "labels"):
            (raw / f"{kind}{part}").mkdir(parents=True, exist_ok=True)
        for case in (c for c in cases if c[:10] in members):
            shutil.copy(source / "imagesTr" / f"{case}_0000.nii.gz", raw / f"images{part}")
            shutil.copy(source / "labelsTr" / f"{case}.nii.gz", raw / f"labels{part}")
    description = json.loads((source / "dataset.json").read_text())
    description["numTraining"] = len(list((raw / "imagesTr").iterdir()))
    (raw / "dataset.json").write_text(json.dumps(description, indent=2))


def split_by_patient(pre: Path) -> None:
    """Write nnU-Net's split, with all frames of a patient on the same side."""
    cases = sorted(p.name[: -len(".nii.gz")] for p in (pre / "gt_segmentations").iterdir())
    patients = sorted({c[:10] for c in cases})
    validation = set(patients[:: max(2, len(patients) // 3)])
    split = {
        "train": [c for c in cases if c[:10] not in validation],
        "val": [c for c in cases if c[:10] in validation],
    }
    (pre / "splits_final.json").write_text(json.dumps([split] * 5))


def table(work: Path, data: Path, raw: Path, methods: list[str]) -> str:
    """Mean Dice over cases for cine and LGE; for MOLLI the share of ring pixels called myocardium, per readout.

    "Least of best" is the smallest share of a series over its largest. "Dice" of a readout is the mean of RV, MYO and
    LV against the segmentation of the readout with the largest share.
    """
    rows: dict[str, dict[str, float]] = {}
    for method in methods:
        predictions = work / "predictions" / method
        for name, labels in (("cine", raw / "labelsTs"), ("lge", data / "mscmr_lge/labels")):
            scores = dice(predictions / name, labels)
            rows.setdefault(f"{name} mean Dice", {})[method] = sum(scores.values()) / len(scores)
            for code, value in scores.items():
                rows.setdefault(f"{name} {NAMES[code]}", {})[method] = value
        shares = ring_shares(predictions / "molli", data / "molli_t1net")
        every = [share for series in shares.values() for _, share in series.values()]
        rows.setdefault("molli ring share, mean", {})[method] = sum(every) / len(every)
        for name, series in shares.items():
            best, share = max(series.values(), key=lambda reading: reading[1])
            rows.setdefault(f"molli {name} least of best", {})[method] = min(s for _, s in series.values()) / share
            for readout, (_, value) in series.items():
                rows.setdefault(f"molli {name} {readout}", {})[method] = value
            for readout, (path, _) in series.items():
                rows.setdefault(f"molli {name} {readout}, Dice", {})[method] = agreement(path, best)
    lines = [f"{'':<34}" + "".join(f"{m:>8}" for m in methods)]
    for name, values in rows.items():
        lines.append(f"{name:<34}" + "".join(f"{100 * values[m]:>8.1f}" for m in methods))
    return "\n".join(lines)


def describe_maps(raw: Path) -> str:
    """Median T1 and T2 (ms) of each structure over the training volumes, their order, and the image's RV/LV signal."""
    times, ratios = [], []
    for labels_path in sorted((raw / "labelsTr").glob("*.nii.gz")):
        case = labels_path.name.removesuffix(".nii.gz")
        labels, image = read_image(labels_path), read_image(raw / "imagesTr" / f"{case}_0000.nii.gz")
        maps = [read_image(raw / "spinTr" / f"{case}_{name}.nii.gz") for name in ("T1map", "T2map")]
        times.append([[np.median(values[labels == code]) for code in NAMES] for values in maps])
        ratios.append(np.median(image[labels == 1]) / np.median(image[labels == 3]))
    t1, t2 = np.moveaxis(np.array(times), 1, 0)
    middle = zip(NAMES.values(), np.median(t1, 0), np.median(t2, 0), strict=True)
    low, mid, high = np.quantile(ratios, (0.05, 0.5, 0.95))
    return "\n".join(
        [
            f"maps of {len(t1)} volumes, median T1/T2 in ms: {', '.join(f'{n} {a:.0f}/{b:.0f}' for n, a, b in middle)}",
            f"T1 above myocardium's: LV in {sum(t1[:, 2] > t1[:, 1])}, RV in {sum(t1[:, 0] > t1[:, 1])}",
            f"RV's T2 below 100 ms, as fat's: in {sum(t2[:, 0] < 100)}",
            f"RV/LV signal of the images: {mid:.2f} (5th to 95th percentile {low:.2f}-{high:.2f})",
        ]
    )


def dice(predictions: Path, labels: Path) -> dict[int, float]:
    """Dice of each structure, mean over cases (nnU-Net's evaluation)."""
    from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder_simple

    summary = predictions / "summary.json"
    compute_metrics_on_folder_simple(str(labels), str(predictions), tuple(NAMES), str(summary), 2)
    mean = json.loads(summary.read_text())["mean"]
    return {code: mean[str(code)]["Dice"] for code in NAMES}


def agreement(path: Path, reference: Path) -> float:
    """Mean Dice of RV, MYO and LV between two segmentations, over the structures that are in either."""
    mask, best = read_image(path), read_image(reference)
    sizes = {code: (mask == code).sum() + (best == code).sum() for code in NAMES}
    scores = [2 * ((mask == code) & (best == code)).sum() / size for code, size in sizes.items() if size]
    return float(np.mean(scores)) if scores else 0.0


def ring_shares(predictions: Path, molli: Path) -> dict[str, dict[str, tuple[Path, float]]]:
    """By series and inversion time: the file of the segmentation, and the share of the ring called myocardium."""
    shares: dict[str, dict[str, tuple[Path, float]]] = {}
    for description in sorted((molli / "reference").glob("*.json")):
        series = description.stem
        ring = read_image(molli / "reference" / f"{series}_ring.nii.gz") > 0
        times = json.loads(description.read_text())["inversion_times_ms"]
        for k in np.argsort(times):
            path = predictions / f"{series}_ti{k:02d}.nii.gz"
            share = float((read_image(path)[ring] == 2).mean())
            shares.setdefault(series, {})[f"TI {times[k]:.0f} ms"] = path, share
    return shares


if __name__ == "__main__":
    main()
