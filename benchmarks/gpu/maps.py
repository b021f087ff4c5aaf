"""Do maps and translated images agree with the CPU's?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from gpu.cine import CINE, PIXEL_MM, cine_scan
from gpu.stages import Report, Settings
from nnunet_phys.commands import main
from nnunet_phys.devices import computes_in_bfloat16
from nnunet_phys.errors import InputError
from nnunet_phys.image_files import Geometry, read_image, write_volume
from nnunet_phys.precomputed_spin.prior import SpinPrior
from nnunet_phys.precomputed_spin.reverse_imaging import ReverseImager
from nnunet_phys.precomputed_spin.samplers import ProximalMean, ProximalSampler
from nnunet_phys.precomputed_spin.scan import Scan
from nnunet_phys.spin import SpinMaps

COLUMNS = ("Compared with the CPU", "Median, %", "99th percentile, %", "At most, %", "Agrees")
MOST_PERCENT = {"fp32": 0.5, "bf16": 5.0}
"""Largest 99th percentile of the difference. An H100 in fp32 had 0.05 %; bfloat16 keeps 8 bits."""
BODY = 0.1
"""Least PD of the pixels that are compared: elsewhere there is no signal that determines T1 and T2."""


def measure(settings: Settings, report: Report, folder: Path, seconds: float) -> None:
    """Compare maps by each sampler and number format, and the images that `nnunet_phys translate` writes."""
    scan = cine_scan(settings.quick)
    on_cpu = replace(SpinPrior.load(settings.prior), bf16=False)
    prior = SpinPrior.load(settings.prior, settings.device)
    formats = ["fp32", "bf16"] if computes_in_bfloat16(prior.device) else ["fp32"]
    for sampler in (ProximalMean(), ProximalSampler()):
        (expected,) = ReverseImager(on_cpu, sampler)([scan])
        for number_format in formats:
            (inferred,) = ReverseImager(replace(prior, bf16=number_format == "bf16"), sampler)([scan])
            for name in ("PD", "T1", "T2"):
                compare(
                    report,
                    f"{name}, {type(sampler).__name__}, {number_format}",
                    getattr(inferred.maps, name.lower()),
                    getattr(expected.maps, name.lower()),
                    expected.maps,
                    MOST_PERCENT[number_format],
                )
    images = [translated(scan, folder, device, settings.prior) for device in ("cpu", settings.device)]
    compare(report, "bSSFP to GRE, `translate`", images[1], images[0], expected.maps, MOST_PERCENT[formats[-1]])


def compare(
    report: Report, what: str, values: torch.Tensor, expected: torch.Tensor, maps: SpinMaps, most: float
) -> None:
    """Report the relative difference of positive values in the body, in percent.

    Args:
        report: gets the row.
        what: its first cell.
        values, expected: any shape.
        maps: of that shape; tell where the body is.
        most: the largest 99th percentile that counts as agreement.
    """
    percent = 100 * (values / expected).log().abs().expm1()[maps.pd > BODY]
    report.compare(what, float(percent.median()), percent=float(percent.quantile(0.99)), most=most)


def translated(scan: Scan, folder: Path, device: str, prior: str) -> torch.Tensor:
    """The GRE image that the command makes of a cine image, (slices, rows, columns).

    Raises:
        InputError: the command failed.
    """
    cine, output = folder / "cine", folder / f"gre_{device.replace(':', '')}_{len(list(folder.iterdir()))}"
    slices, rows, columns = scan.shape
    grid = Geometry((columns, rows, slices), (PIXEL_MM, PIXEL_MM, 8.0), (0.0,) * 3, (1.0, 0, 0, 0, 1, 0, 0, 0, 1))
    if not cine.is_dir():
        cine.mkdir()
        write_volume(cine / "heart_0000.nii.gz", scan.series[0].images[0], grid)
    command = f"translate -fa {CINE.flip_angle_deg} -to gre --disable_progress_bar -q".split()
    if main([*command, "-i", str(cine), "-o", str(output), "-device", device, "-prior", prior]):
        raise InputError(f"nnunet_phys translate -device {device} failed: see above.")
    return torch.from_numpy(read_image(next(output.glob("*.nii.gz"))))
