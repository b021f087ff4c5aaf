"""A data set of digital hearts in nnU-Net's raw format.

The training images come from the closed-form bSSFP equation, the test images from the Bloch simulation, with protocols
outside what training sees, off-resonance, receive bias and noise: training and test share no formula. All T1 are 40 %
longer and all T2 25 % shorter than the training hearts', beyond the recipe's random factors.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

CONTRASTS = ("cine", "molli", "gre")
_TRAIN_SEED, _TEST_SEED = 2_000_000, 4_000_000  # the shipped prior learned from seeds below a million


def write_heart_dataset(folder: Path, train: int, test: int, slices: int, processes: int = 2) -> None:
    """Write the whole data set, or nothing.

    Args:
        folder: its folder in nnUNet_raw; replaced if it is there. Gets imagesTr and labelsTr (cine),
            imagesTs_<contrast> (MOLLI with one case a readout) and labelsTs_<contrast>, and trueTr with the true maps
            of the training cases, named as `reverse` names its maps.
        train: training cases, diastole and systole in turn.
        test: test anatomies.
        slices: short-axis slices a case.
        processes: worker processes.
    """
    from multiprocessing import get_context

    from nnunetv2.dataset_conversion.generate_dataset_json import generate_dataset_json
    from tqdm import tqdm

    from nnunet_phys.digital_heart import LABELS

    work = folder.with_name(f".{folder.name}.{os.getpid()}")
    for name in ("imagesTr", "labelsTr", "trueTr", *(f"{k}Ts_{c}" for k in ("images", "labels") for c in CONTRASTS)):
        (work / name).mkdir(parents=True)
    jobs: list[tuple[Callable, int]] = [(_write_training_case, i) for i in range(train)]
    jobs += [(_write_test_anatomy, i) for i in range(test)]
    try:
        with get_context("spawn").Pool(processes, initializer=_one_thread) as pool:
            results = [pool.apply_async(job, (work, i, slices)) for job, i in jobs]
            for result in tqdm(results, desc="digital hearts"):
                result.get()
        generate_dataset_json(
            str(work),
            {0: "bSSFP"},
            LABELS,
            train,
            ".nii.gz",
            dataset_name=folder.name,
            description="Digital hearts made by nnunet_phys; no patient data.",
            overwrite_image_reader_writer="SimpleITKIO",
        )
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _write_training_case(folder: Path, index: int, slices: int) -> None:
    from nnunet_phys.digital_heart import digital_heart
    from nnunet_phys.heart_scanner import noisy_magnitude, receive_bias
    from nnunet_phys.sequences import BSSFP

    rng = np.random.default_rng([_TRAIN_SEED, index])
    heart = digital_heart(_TRAIN_SEED + index, slices, systole=bool(index % 2))
    case = f"heart{index:03d}"
    signal = BSSFP(flip_angle_deg=rng.uniform(40, 60))(heart.maps).numpy()
    bias = receive_bias(rng, signal.shape[1:], heart.spacing_mm[1], centre_mm=heart.centre_mm)
    _write(folder / "imagesTr" / f"{case}_0000.nii.gz", 1000 * noisy_magnitude(rng, signal * bias, 0.005), heart)
    _write(folder / "labelsTr" / f"{case}.nii.gz", heart.labels, heart)
    for name, values in (("PDmap", heart.maps.pd * bias), ("T1map", heart.maps.t1), ("T2map", heart.maps.t2)):
        _write(folder / "trueTr" / f"{case}_{name}.nii.gz", np.asarray(values, np.float32), heart)


def _write_test_anatomy(folder: Path, index: int, slices: int) -> None:
    from nnunet_phys import bloch
    from nnunet_phys.digital_heart import digital_heart
    from nnunet_phys.heart_scanner import noisy_magnitude, off_resonance_hz, receive_bias
    from nnunet_phys.tissues import TISSUE_NAMES

    rng = np.random.default_rng([_TEST_SEED, index])
    heart = digital_heart(_TEST_SEED + index, slices, systole=bool(index % 2), t1_factor=1.4, t2_factor=0.75)
    shape, pixel = heart.labels.shape[1:], heart.spacing_mm[1]
    bias = receive_bias(rng, shape, pixel, centre_mm=heart.centre_mm)
    field = np.stack([off_resonance_hz(rng, shape, rng.uniform(20, 50)) for _ in range(slices)])
    pd, t1, t2 = (np.asarray(m, np.float64) for m in (heart.maps.pd, heart.maps.t1, heart.maps.t2))
    r2_prime = np.array([1e3 / v.t2_star_ms - 1e3 / v.t2_ms for v in (heart.values[n] for n in TISSUE_NAMES)])
    r2_prime = r2_prime[heart.tissue]
    blood = np.isin(heart.tissue, [TISSUE_NAMES.index(n) for n in ("blood", "venous blood")])

    def series() -> dict[str, dict[str, np.ndarray]]:
        """Signals of each contrast, per unit PD, one array a case."""
        beat = rng.uniform(1250, 1400)
        molli = bloch.molli(
            t1, t2, "3(3)3(3)5", 20.0, 3.2, 80, 34, beat, (140.0, 230.0, 320.0), 0.85, off_resonance_hz=field
        )
        gre = bloch.spoiled_gre(t1, t2, 28.0, 2.8, 1.1, r2_prime_hz=r2_prime)
        gre[blood] = bloch.spoiled_gre(t1[blood], t2[blood], 28.0, 2.8, 1.1, r2_prime[blood], pulses_seen=24)
        return {
            "cine": {"": bloch.steady_state_bssfp(t1, t2, 32.0, 4.3, field)},
            "molli": {f"_ti{k:02d}": readout for k, readout in enumerate(molli)},
            "gre": {"": gre},
        }

    for contrast, images in series().items():
        for suffix, signal in images.items():
            case = f"heart{index:03d}{suffix}"
            image = 1000 * noisy_magnitude(rng, pd * bias * signal, 0.004)
            _write(folder / f"imagesTs_{contrast}" / f"{case}_0000.nii.gz", image, heart)
            _write(folder / f"labelsTs_{contrast}" / f"{case}.nii.gz", heart.labels, heart)


def _write(path: Path, array: np.ndarray, heart) -> None:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(array)
    image.SetSpacing([float(s) for s in heart.spacing_mm[::-1]])
    sitk.WriteImage(image, str(path))
