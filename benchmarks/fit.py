"""Accuracy and speed of conventional fits (`nnunet_phys fit`) on simulated series with Rician noise.

Bias and spread of T1 and T2 in valid pixels stand next to the Cramer-Rao bound; also the bias where the last image of a
fifth of the pixels shows another place, as after motion.

If NNUNET_PHYS_DATA names a folder of real series (not part of the project), the fit is compared with the scanner's: its
T1 map over a ring of myocardium, and its parameters in a gel phantom (ShMOLLI, from github.com/MRKonrad/tomato):

    OMP_NUM_THREADS=1 NNUNET_PHYS_DATA=... python benchmarks/fit.py
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from nnunet_phys.image_files import read_image
from nnunet_phys.precomputed_spin.shmolli_fit import fit_shmolli, shmolli_order
from nnunet_phys.relaxation_fit import fit_series
from nnunet_phys.relaxation_models import (
    InversionRecovery,
    PreparedSaturationRecovery,
    Recovery,
    SaturationRecovery,
    T2Preparation,
)
from nnunet_phys.separable_fit import robust_fit, standard_errors
from nnunet_phys.separable_model import SeparableModel
from nnunet_phys.sequences import MOLLI
from nnunet_phys.spin import SpinMaps

_SATURATION = (math.inf, *range(100, 1001, 100))
_MODELS: dict[str, SeparableModel] = {
    "MOLLI 5(3)3, 8 images": InversionRecovery((100, 1100, 2100, 3100, 4100, 180, 1180, 2180)),
    "MOLLI 4(1)3(1)4, 11 images": InversionRecovery((100, 1100, 2100, 3100, 180, 1180, 2180, 260, 1260, 2260, 3260)),
    "SASHA, three parameters, 11 images": Recovery(_SATURATION),
    "SASHA, two parameters, 11 images": SaturationRecovery(_SATURATION),
    "T2 preparation, 3 images": T2Preparation((0, 25, 55)),
    "T2 preparation, 11 images": T2Preparation(tuple(range(0, 101, 10))),
    "mSASHA, 11 images": PreparedSaturationRecovery(
        (math.inf, 600, 600, 600, 600, 600, 600, 300, 900, 300, 900), (0, 0, 0, 25, 40, 55, 80, 0, 0, 55, 55), 10.0
    ),
}
_TISSUES = {"muscle": {"T1": 1100.0, "T2": 48.0}, "blood": {"T1": 1600.0, "T2": 180.0}}
_FIT_PARAMETERS = {
    "A": "[___AMap___]-B*exp(-TI/T1star)",
    "B": "A-[___BMap___]*exp(-TI/T1star)",
    "T1*": "A-B*exp(-TI/[___T1starMap___])",
}
"""How the scanner comments its maps of parameters, after "Signal(TI)="."""
_SIMULATED_MOLLI = (("5(3)3", 1000.0, 8), ("4(1)3(1)2", 800.0, 9), ("3(3)3(3)5", 900.0, 11))
"""Scheme, heartbeat in ms, read-outs."""
_PIXELS = 20_000
_MOVED = 5
"""One in this many pixels shows another place in one image."""


def _rician(signal: torch.Tensor, noise: float, generator: torch.Generator) -> torch.Tensor:
    real, imaginary = noise * torch.randn(2, *signal.shape, generator=generator, dtype=torch.float64)
    return torch.hypot(signal + real, imaginary)


def _parameters(model: SeparableModel, tissue: dict[str, float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Linear and nonlinear parameters of a tissue with PD 1; T1* is taken to be T1."""
    linear = torch.tensor(model.typical[0], dtype=torch.float64)[:, None]
    names = [name for name in model.quantities(linear, torch.ones(2, 1)) if name != "PD"]
    return linear, torch.tensor([tissue[name] for name in names], dtype=torch.float64)[:, None]


def accuracy(snr: float) -> None:
    """Print bias, spread and bound of all series at one signal-to-noise ratio (of the equilibrium signal)."""
    generator = torch.Generator().manual_seed(0)
    print(f"\n| SNR {snr:g} | | bias, % | spread, % | Cramer-Rao bound, % | bias after motion, % | valid, % |")
    print("|---|---|---|---|---|---|---|")
    for title, model in _MODELS.items():
        for tissue, times in _TISSUES.items():
            linear, nonlinear = _parameters(model, times)
            signal = (linear[:, None] * model.columns(nonlinear)).sum(0).expand(-1, _PIXELS)
            images = _rician(signal, 1 / snr, generator)
            moved, part = images.clone(), slice(0, _PIXELS // _MOVED)
            magnitude = signal[-1, part].abs()
            elsewhere = torch.where(magnitude > 0.5, 0.5 * magnitude, magnitude + 0.4)
            moved[-1, part] = _rician(elsewhere, 1 / snr, generator)
            bounds, truth = standard_errors(model, linear, nonlinear, 1 / snr), model.quantities(linear, nonlinear)
            maps, moved_maps = fit_series(model, images).maps, fit_series(model, moved).maps
            for name in ("T1", "T2"):
                if name in maps:
                    true, values = float(truth[name]), maps[name][maps[name] > 0]
                    low, mid, high = np.quantile(values.numpy(), (0.159, 0.5, 0.841)) / true
                    off = moved_maps[name][part]
                    figures = (
                        mid - 1,
                        (high - low) / 2,
                        float(bounds[name]) / true,
                        float(off[off > 0].median()) / true - 1,
                        len(values) / _PIXELS,
                    )
                    row = " | ".join(f"{round(100 * float(figure), 1) + 0.0:.1f}" for figure in figures)
                    print(f"| {title} | {name} of {tissue} | {row} |")


def lost_signs(snr: float) -> None:
    """Print how far T1 of magnitudes lies from that of signed read-outs, also where the middle one is of another pixel.

    The signal-to-noise ratio is that of the brightest read-out.
    """
    generator = torch.Generator().manual_seed(0)
    t1 = torch.arange(250, 2300, 2, dtype=torch.float64).repeat(4)
    maps = SpinMaps(torch.ones_like(t1), t1, torch.where(t1 > 1200, 200.0, 45.0))
    print(f"\n| SNR {snr:g} | | mean difference of T1, % | off by more than a tenth, % |")
    print("|---|---|---|---|")
    for scheme, rr_ms, count in _SIMULATED_MOLLI:
        molli = MOLLI(scheme, tr_ms=2.3, centre_pulse=20, rr_ms=rr_ms, first_inversion_times_ms=(100.0, 180.0, 260.0))
        signal, times = molli(maps)[:count], molli.inversion_times_ms[:count]
        still = _rician(signal, float(signal.abs().max()) / snr, generator)
        moved = still.clone()
        moved[count // 2] = still[count // 2][torch.randperm(len(t1), generator=generator)]
        for title, images in (("still", still), ("moved", moved)):
            values = []
            for model, series in (
                (InversionRecovery(times), images),
                (InversionRecovery(times, magnitude=False), images * signal.sign()),
            ):
                fit = robust_fit(model, series)
                values.append(model.quantities(fit.linear, fit.nonlinear)["T1"])
            off = (values[0] / values[1] - 1).abs().clamp(max=1)
            shares = f"{100 * float(off.mean()):.2f} | {100 * float((off > 0.1).double().mean()):.1f}"
            print(f"| MOLLI {scheme}, {count} images, RR {rr_ms:g} ms | {title} | {shares} |")


def speed(size: int) -> None:
    """Print the processor's seconds for one slice of each series."""
    generator = torch.Generator().manual_seed(1)
    print(f"\n{size}x{size} pixels, seconds of process time:")
    for title, model in _MODELS.items():
        pixels = size * size
        linear, _ = _parameters(model, _TISSUES["muscle"])
        nonlinear = torch.stack(
            [
                torch.linspace(0.3 * float(t), 2 * float(t), pixels, dtype=torch.float64)
                for t in _parameters(model, _TISSUES["muscle"])[1]
            ]
        )
        images = _rician((linear[:, None] * model.columns(nonlinear)).sum(0), 1 / 30, generator).float()
        start = time.process_time()
        fit_series(model, images.reshape(len(images), size, size))
        print(f"  {title:<36}{time.process_time() - start:5.2f}")


def real(folder: Path) -> None:
    """Print T1 of the ring of each real series, and how far it is from the scanner's map."""
    for reference in sorted((folder / "reference").glob("*.json")):
        case = reference.stem
        times = tuple(json.loads(reference.read_text())["inversion_times_ms"])
        images = np.stack([read_image(folder / "images" / f"{case}_ti{i:02d}_0000.nii.gz") for i in range(len(times))])
        fit = fit_series(InversionRecovery(times), torch.from_numpy(images))
        ring = read_image(folder / "reference" / f"{case}_ring.nii.gz") > 0
        scanner, t1 = read_image(folder / "reference" / f"{case}_T1map.nii.gz")[ring], fit.maps["T1"].numpy()[ring]
        share = 100 * float(fit.valid.numpy()[ring].mean())
        misfit = 100 * float(fit.misfit[torch.from_numpy(ring) & fit.valid].median())
        ratio = np.quantile(t1 / scanner - 1, (0.1, 0.5, 0.9)) * 100
        print(
            f"{case}, ring: scanner's map {np.median(scanner):.0f} ms, fit {np.median(t1):.0f} ms; difference, 10th, "
            f"50th and 90th percentile of pixels: {ratio[0]:.1f}, {ratio[1]:.1f}, {ratio[2]:.1f} %; {share:.0f} % "
            f"valid, with a median residual of {misfit:.1f} % of PD"
        )


def phantom(folder: Path) -> None:
    """Print how far the parameters of a ShMOLLI series are from the scanner's, in pixels of the gel by ranges of T1."""
    series = {part.name.rpartition("_")[2]: sorted(part.iterdir()) for part in folder.iterdir() if part.is_dir()}
    magnitudes = [_dicom(path) for path in series["12"]]
    parameters = {comment: image for image, comment, _ in map(_dicom, series["15"])}
    found = {name: parameters[f"Signal(TI)={text}"] for name, text in _FIT_PARAMETERS.items()}
    found["T1"], _, _ = _dicom(series["14"][1])
    gel = (parameters["Rsquare*4000 Map"] > 0.99 * 4000) & (found["A"] > 100)
    times = tuple(ti for _, _, ti in magnitudes)
    images = torch.from_numpy(np.stack([image for image, _, _ in magnitudes]))
    model = InversionRecovery(times[:5])
    fit = robust_fit(model, images[:5].flatten(1))
    of_five = {"A": fit.linear[0], "B": fit.linear[1], "T1*": fit.nonlinear[0]}
    order = shmolli_order(times)
    assert order is not None
    t1 = {
        "by its rule": fit_shmolli(times, order, images, magnitude=True).maps["T1"],
        "all seven images": fit_series(InversionRecovery(times), images).maps["T1"],
    }
    for least, greatest in ((50, 300), (300, 700), (700, 1000), (1000, 2500), (2500, 4000)):
        inside = gel & (found["T1"] > least) & (found["T1"] < greatest)
        by = ", ".join(f"T1 {how} {_difference(values, found['T1'], inside)}" for how, values in t1.items())
        row = ", ".join(f"{name} {_difference(values, found[name], inside)}" for name, values in of_five.items())
        print(f"phantom, T1 {least}-{greatest} ms, {inside.sum()} pixels, median difference, %: {by}; of five: {row}")


def _difference(values: torch.Tensor, reference: np.ndarray, inside: np.ndarray) -> str:
    """Median difference in percent, signed."""
    ratio = values.numpy().reshape(reference.shape)[inside] / reference[inside]
    return f"{100 * np.median(ratio - 1):+.2f}"


def _dicom(path: Path) -> tuple[np.ndarray, str, float]:
    """An image, its comment and its inversion time (0 if it has none)."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    image = reader.Execute()
    comment, time_ms = (
        image.GetMetaData(tag) if image.HasMetaDataKey(tag) else "" for tag in ("0020|4000", "0018|0082")
    )
    return sitk.GetArrayFromImage(image)[0].astype(np.float32), comment.strip(), float(time_ms or 0)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-snr", type=float, nargs="+", default=[20.0, 50.0], help="default 20 50")
    parser.add_argument(
        "-size", type=int, default=256, help="rows and columns of the slice that is timed (default 256)"
    )
    args = parser.parse_args()
    for snr in args.snr:
        accuracy(snr)
    lost_signs(50)
    speed(args.size)
    if "NNUNET_PHYS_DATA" in os.environ:
        data = Path(os.environ["NNUNET_PHYS_DATA"])
        real(data / "molli_t1net")
        phantom(data / "dicom_shmolli_phantom" / "Konrad_Shmolli")


if __name__ == "__main__":
    main()
