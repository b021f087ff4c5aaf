"""What a GPU makes of this package, in one call: do its results agree with a CPU's, and how fast is it.

    python benchmarks/gpu                           # all stages, 8 minutes at most
    python benchmarks/gpu -only maps slices -minutes 4
    python benchmarks/gpu -device cpu --quick       # tries the benchmark itself; its figures mean nothing

maps            maps by both samplers, and a translation, against the CPU's
prior_step      a training step of the spin prior: loss and gradient norm, against the CPU's
network_step    a training step of a small nnU-Net on patches of nnUNetTrainerPhys, likewise
slices          slices per second by number format and batch size, memory, minutes for the 1,902 slices of ACDC
epochs          minutes of an nnU-Net epoch, plain and with Phys, with 4, 8 and 12 workers, and the share of waiting

Each stage is a process of its own. Its lines are printed as soon as they are known, and kept in the JSON file with the
versions and the device. A stage that fails, differs or takes longer than its share of the time does not stop the
others; the exit status is then 1. Digital hearts only, so that no data are needed.

On a GPU machine without a network that has torch and the common packages (scipy, scikit-image, scikit-learn, pandas,
seaborn, matplotlib, Pillow, requests, tqdm, accelerate, huggingface_hub, safetensors, timm, einops, attrs, msgpack,
tifffile, rich), these are missing:

    nnunetv2 batchgenerators batchgeneratorsv2 acvl_utils dynamic_network_architectures blosc2 ndindex numexpr
    connected-components-3d nibabel SimpleITK diffusers cattrs

As wheels they take 76 MB, 53 of which are SimpleITK's, which nnU-Net cannot be imported without. Packed more tightly,
they take 41 MB. With the wheels for that machine's Python in the folder `wheels`:

    for wheel in wheels/*.whl; do python -m zipfile -e $wheel packages; done
    tar -c packages | xz --x86 --lzma2=preset=6,dict=64MiB >packages.tar.xz
    # there: the folder goes into PYTHONPATH, and this package is installed, as records hold its version
    tar -xf packages.tar.xz && export PYTHONPATH=$PWD/packages
    pip install --no-deps --no-build-isolation -e .
"""

from __future__ import annotations

import argparse
import platform
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpu.stages import Settings

FOLDER = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != FOLDER]  # its files are no top modules
if str(FOLDER.parent) not in sys.path:
    sys.path.insert(0, str(FOLDER.parent))

STAGES = {"maps": 1.5, "prior_step": 1.0, "network_step": 1.0, "slices": 3.5, "epochs": 4.5}
"""The stages in their order, with their weights in the time. Time that a stage leaves goes to those that follow."""


def main(arguments: list[str] | None = None) -> int:
    """Run the stages.

    Returns:
        0; 1 if a stage failed, or with one line per fault on stderr; 130 after Ctrl-C.
    """
    from gpu.stages import Settings, run_stage
    from nnunet_phys.commands import INTERRUPTED
    from nnunet_phys.commands.shared.numbers import number, whole_number
    from nnunet_phys.commands.shared.targets import check_new_file, named_path
    from nnunet_phys.errors import InputError
    from nnunet_phys.whole_files import write_json

    parser = argparse.ArgumentParser(
        prog="gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-device", default="cuda", help="cuda, cuda:1, mps or cpu (default %(default)s)")
    parser.add_argument("-prior", default="digital_heart", help="folder or name of a spin prior (default %(default)s)")
    parser.add_argument("-only", nargs="+", choices=STAGES, default=list(STAGES), metavar="STAGE", help="these stages")
    parser.add_argument("-minutes", type=number(0.1, 600), default=8.0, help="time for all (default %(default)s)")
    parser.add_argument(
        "-batches",
        type=whole_number(1, 1024),
        nargs="+",
        default=[8, 32, 128],
        help="slices per network call, to compare (default 8 32 128)",
    )
    parser.add_argument("-o", type=named_path, default=Path("gpu.json"), help="new file (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="tiny images, a few steps: try the benchmark itself")
    args = parser.parse_args(arguments)
    settings = Settings(args.device, args.prior, tuple(args.batches), args.quick)
    ends = time.monotonic() + 60 * args.minutes
    outcomes: dict[str, dict[str, Any]] = {}
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends the stage and its workers
    try:
        check_new_file(args.o, (".json",))
        record = {"machine": _machine(settings), "quick": args.quick, "minutes": args.minutes, "stages": outcomes}
        left = [name for name in STAGES if name in args.only]
        with tempfile.TemporaryDirectory() as scratch:
            while left:
                share = STAGES[left[0]] / sum(STAGES[name] for name in left)
                name, seconds = left.pop(0), max(0.0, share * (ends - time.monotonic()))
                print(f"\n## {name}\n", flush=True)
                outcomes[name] = run_stage(f"gpu.{name}", settings, seconds, Path(scratch) / name)
                print(f"\n{name}: {outcomes[name]['problem'] or 'done'}, {outcomes[name]['seconds']} s", flush=True)
                write_json(args.o, record)
    except InputError as error:
        for line in error.faults:
            print(f"gpu: {line}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"gpu: Interrupted; {args.o} holds the stages that are done", file=sys.stderr)
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)
    return int(any(outcome["problem"] for outcome in outcomes.values()))


def _machine(settings: Settings) -> dict[str, str | int]:
    """The device, its machine and the versions, which are printed, too.

    Raises:
        InputError: no such device, or no such prior.
    """
    import torch

    from nnunet_phys.case_records import package_versions
    from nnunet_phys.devices import torch_device
    from nnunet_phys.precomputed_spin.prior_files import find_prior

    find_prior(settings.prior)
    device = torch_device(settings.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or device.type
    machine = {"device": name, "threads": torch.get_num_threads(), **package_versions()}
    print(", ".join(f"{key} {value}" for key, value in machine.items()), flush=True)
    return machine


if __name__ == "__main__":
    sys.exit(main())
