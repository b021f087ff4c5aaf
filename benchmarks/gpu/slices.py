"""Slices per second of reverse imaging by number format and batch size, and the time for ACDC."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch

from gpu.cine import cine_scan
from gpu.stages import Report, Settings
from nnunet_phys.devices import computes_in_bfloat16
from nnunet_phys.precomputed_spin.prior import SpinPrior
from nnunet_phys.precomputed_spin.reverse_imaging import ReverseImager
from nnunet_phys.precomputed_spin.scan import Scan

COLUMNS = ("Number format", "Batch", "Slices measured", "Slices/s", "Memory, GiB", "1,902 slices of ACDC, min")
ACDC_SLICES = 1902
_LEAST_SLICES = 128
"""Slices that a setting is measured on, or two batches if they are more."""
_QUICK_SLICES = 4
_SHARE = 0.9
"""Of the stage's time, after which the run over all slices of ACDC ends early and its time is extrapolated."""


def measure(settings: Settings, report: Report, folder: Path, seconds: float) -> None:
    """Measure each setting on some slices, then the fastest on as many as ACDC has."""
    ends = time.monotonic() + _SHARE * seconds
    scan = cine_scan(settings.quick)
    prior = SpinPrior.load(settings.prior, settings.device)
    formats = ["fp32", "bf16"] if computes_in_bfloat16(prior.device) else ["fp32"]
    fastest = 0.0, "", 0
    for number_format in formats:
        for batch in settings.batches:
            few = _QUICK_SLICES if settings.quick else max(_LEAST_SLICES, 2 * batch)
            per_second = run(prior, number_format, batch, scan, few, report)
            fastest = max(fastest, (per_second, number_format, batch))
    run(prior, *fastest[1:], scan, 2 * _QUICK_SLICES if settings.quick else ACDC_SLICES, report, ends)


def run(
    prior: SpinPrior, number_format: str, batch: int, scan: Scan, count: int, report: Report, ends: float | None = None
) -> float:
    """Make maps of copies of a scan, report how fast that was, and return the slices per second.

    Args:
        prior: on its device.
        number_format: fp32 or bf16.
        batch: slices per network call.
        scan: the scan.
        count: number of slices, rounded up to whole copies.
        report: gets the row.
        ends: time (`time.monotonic`) at which no more maps are made; None: all are.
    """
    imager = ReverseImager(replace(prior, bf16=number_format == "bf16"), batch=batch)
    list(imager([scan]))  # warms up
    cuda = prior.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(prior.device)
    start, done = time.perf_counter(), 0
    for inferred in imager(islice(_copies(scan), -(-count // scan.shape[0]))):
        done += inferred.scan.shape[0]
        if ends is not None and time.monotonic() > ends:
            break
    per_second = done / (time.perf_counter() - start)
    memory = torch.cuda.max_memory_allocated(prior.device) / 2**30 if cuda else "-"
    report.add(number_format, batch, done, per_second, memory, ACDC_SLICES / per_second / 60)
    return per_second


def _copies(scan: Scan) -> Iterator[Scan]:
    k = 0
    while True:
        yield replace(scan, case=f"{scan.case}/{k}")
        k += 1
