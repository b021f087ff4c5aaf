"""`nnunet_phys train_prior`: learn a spin prior from digital hearts or from maps on disk."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-i", required=True, metavar="MAPS", help="folder of *_PDmap, *_T1map, *_T2map; or: phantom")
    parser.add_argument("-o", required=True, type=Path, metavar="PRIOR", help="folder for the prior; a rerun goes on")
    parser.add_argument("-init", metavar="PRIOR", help="a prior to start from (folder or name of a shipped one)")
    parser.add_argument("-steps", type=int, default=6400, help="optimiser steps (default %(default)s)")
    parser.add_argument("-hearts", type=int, default=2000, help="digital hearts of 4 slices (default %(default)s)")
    parser.add_argument("-pixel_mm", type=float, default=2.5, help="pixel size of the maps (default %(default)s)")
    parser.add_argument("-seed", type=int, default=0)
    parser.add_argument("-device", default="cpu", help="cpu, cuda or mps (default %(default)s)")
    parser.add_argument("-np", type=int, default=2, help="processes that draw digital hearts (default %(default)s)")


def run(args: argparse.Namespace) -> None:
    from functools import partial

    from nnunet_phys.devices import torch_device
    from nnunet_phys.precomputed_spin.prior import SpinPrior
    from nnunet_phys.precomputed_spin.prior_maps import folder_maps, phantom_maps
    from nnunet_phys.precomputed_spin.prior_training import Schedule, train_prior

    if args.i == "phantom":
        hearts = partial(phantom_maps, pixel_mm=args.pixel_mm, processes=args.np)
        pool, held_out = partial(hearts, args.hearts, first_seed=1000 + args.seed), partial(hearts, 8)
    else:
        maps = folder_maps(Path(args.i), args.pixel_mm)
        pool, held_out = (lambda: maps[0]), (lambda: maps[1])
    chosen = ("i", "init", "steps", "hearts", "pixel_mm", "seed")
    options = [f"-{name} {getattr(args, name)}" for name in chosen if getattr(args, name) is not None]
    command = " ".join(["nnunet_phys train_prior -o PRIOR", *options])
    init = SpinPrior.load(args.init, torch_device(args.device)) if args.init else None
    prior = train_prior(
        pool,
        held_out,
        folder=args.o,
        pixel_mm=args.pixel_mm,
        schedule=Schedule(steps=args.steps),
        device=str(torch_device(args.device)),
        seed=args.seed,
        record={"command": command},
        init=init,
    )
    print(f"prior written to {args.o}, final loss {prior.record['final_loss']:.4f}")
