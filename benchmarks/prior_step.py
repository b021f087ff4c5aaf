"""What bfloat16 brings for a training step of the spin prior's network: seconds per step, with and without autocast.

A step is the network forward and backward on one batch and AdamW's update, without drawing the batch. Float32 and
bfloat16 take turns, and the fastest step of each counts, as other processes only make steps slower.

    OMP_NUM_THREADS=1 python benchmarks/prior_step.py
"""

from __future__ import annotations

import argparse
import time

import torch

from nnunet_phys.devices import computes_in_bfloat16, torch_device
from nnunet_phys.precomputed_spin.prior import new_unet
from nnunet_phys.precomputed_spin.prior_files import FOLD, IN_CHANNELS
from nnunet_phys.precomputed_spin.prior_schedule import Schedule


def step_seconds(unet: torch.nn.Module, optimiser: torch.optim.Optimizer, crop: int, batch: int, bf16: bool) -> float:
    """Seconds of one training step on `batch` crops of crop x crop pixels."""
    device = next(unet.parameters()).device
    folded = torch.randn(batch, IN_CHANNELS, crop // FOLD, crop // FOLD, device=device)
    timesteps = torch.randint(1000, (batch,), device=device)
    start = time.perf_counter()
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        velocity = unet(folded, timesteps).sample
    optimiser.zero_grad(set_to_none=True)
    velocity.float().square().mean().backward()
    optimiser.step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def main() -> None:
    """Print a line per stage of the default schedule."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-device", default="cpu")
    parser.add_argument("-repeat", type=int, default=5, help="steps per number format (default %(default)s)")
    args = parser.parse_args()
    device = torch_device(args.device)
    torch.manual_seed(0)
    unet = new_unet().to(device)
    optimiser = torch.optim.AdamW(unet.parameters(), lr=0.0)
    print(f"{args.device}, {torch.get_num_threads()} threads, bfloat16 in hardware: {computes_in_bfloat16(device)}")
    for stage in Schedule().stages:
        seconds: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(args.repeat + 1):  # the first step of each is a warm-up
            for bf16, times in seconds.items():
                times.append(step_seconds(unet, optimiser, stage.crop, stage.batch, bf16))
        exact, half = min(seconds[False][1:]), min(seconds[True][1:])
        print(
            f"{stage.batch} crops of {stage.crop} pixels: float32 {exact:.3f} s, bfloat16 {half:.3f} s a step, "
            f"{exact / half:.2f} times faster"
        )


if __name__ == "__main__":
    main()
