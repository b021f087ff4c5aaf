"""Which contrasts a command makes: a sequence by options or a protocol, a recipe's draws, or recorded draws."""

from __future__ import annotations

import argparse
import math
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from nnunet_phys.commands.shared.numbers import SEED, finite, number, whole_number
from nnunet_phys.commands.shared.scan_options import SEQUENCE_EXAMPLES, read_description
from nnunet_phys.commands.shared.targets import named_path
from nnunet_phys.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from nnunet_phys.augmentations.synthetic_image import SyntheticImage
    from nnunet_phys.sequences.pulse_sequence import PulseSequence
    from nnunet_phys.spin import SpinMaps
    from nnunet_phys.tissue_state import ContrastAgent

MOST_DRAWS = 1000
"""Draws of a recipe per case. Assumed: more images than a network needs of one heart."""
MOST_BREATHING_MM = 100.0
"""Displacement. Assumed: several times as far as breathing moves a heart."""
NULLED_T1_MS, NULLED_T2_MS = 1000.0, 50.0
"""T1 and T2, before contrast agent, of the myocardium that --null makes black. Assumed: about those at 1.5 T."""

_PARAMETERS = {
    "fa": "flip_angle_deg",
    "tr": "tr_ms",
    "te": "te_ms",
    "ti": "inversion_time_ms",
    "ts": "ts_ms",
    "t2_prep": "t2_prep_ms",
}
"""The attribute that each option sets."""
_TI_OF = {"molli": "inversion_times_ms", "looklocker": "time_ms"}
"""What -ti sets instead, by sequence."""
_BY_SEQUENCE = (*_PARAMETERS, "null", "gd", "noise", "breathing")
_SOURCES = {
    "sequence": (*_BY_SEQUENCE, "seed"),
    "protocol": (*_BY_SEQUENCE, "seed"),
    "recipe": ("n", "seed"),
    "draw": (),
}
"""Options that go with each source of contrasts."""


def saturation_time(text: str) -> float:
    """An argparse type: a finite number, or infinity for no saturation."""
    return math.inf if text.strip().lower() in ("inf", "infinity") else finite(text)


def add_contrast_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the four sources of contrasts, of which one must be given, and the options of each."""
    source = parser.add_argument_group("what to make: one of")
    source.add_argument("-sequence", metavar="SEQUENCE", help=SEQUENCE_EXAMPLES)
    source.add_argument("-protocol", type=named_path, metavar="JSON", help='{"sequence": ..., parameters}')
    source.add_argument(
        "-recipe", metavar="NAME", help="draws of a recipe: a name that `nnunet_phys recipe` lists, or a file"
    )
    source.add_argument(
        "-draw", type=named_path, metavar="JSON", help="what a CASE.json records, again and bit for bit"
    )
    of_sequence = parser.add_argument_group("with -sequence or -protocol; several values make a series")
    of_sequence.add_argument("-fa", type=finite, metavar="DEG", help="flip angle, degrees")
    of_sequence.add_argument("-tr", type=finite, metavar="MS", help="TR; the echo spacing of single shots")
    of_sequence.add_argument("-te", type=finite, nargs="+", metavar="MS", help="TE")
    of_sequence.add_argument(
        "-ti",
        type=finite,
        nargs="+",
        metavar="MS",
        help="inversion time; molli: one image, or a series in acquisition order, from which RR follows",
    )
    of_sequence.add_argument("-ts", type=saturation_time, nargs="+", metavar="MS", help="saturation time; inf: none")
    of_sequence.add_argument("-t2_prep", type=finite, nargs="+", metavar="MS", help="T2 preparation")
    of_sequence.add_argument(
        "--null", action="store_true", default=None, help="lge: the -ti at which myocardium is black"
    )
    of_sequence.add_argument(
        "-gd",
        type=finite,
        nargs=2,
        metavar=("BLOOD", "TISSUE"),
        help="contrast agent, mmol/l (0.5 0.25: 15 min after injection)",
    )
    of_sequence.add_argument(
        "-noise", type=number(0, 1), metavar="F", help="standard deviation of noise, as a share of the bright signal"
    )
    of_sequence.add_argument(
        "-breathing",
        type=number(0, MOST_BREATHING_MM),
        metavar="MM",
        help="random shift of each image of a series along the row axis, up to MM",
    )
    of_recipe = parser.add_argument_group("with -recipe")
    of_recipe.add_argument("-n", type=whole_number(1, MOST_DRAWS), metavar="N", help="draws per case (default 8)")
    parser.add_argument("-seed", type=SEED, help="seed of draws, noise and breathing (default 0)")


@dataclass(frozen=True)
class Contrasts:
    """What to make of every case.

    Attributes:
        settings: what the arguments ask for, as plain JSON.
        per_case: sets of images per case, which are numbered; None: a single set, which has the case's name.
        count: images per set.
        images: makes a set: case, number of the set, maps and voxel_mm -> its images in order.
        times_ms: inversion times of the set if it is a MOLLI series.
    """

    settings: dict
    per_case: int | None
    count: int
    images: Callable[[str, int, SpinMaps, tuple[float, float, float]], list[SyntheticImage]]
    times_ms: tuple[float, ...] | None = None

    def names(self, case: str) -> list[str]:
        """Names of a case's sets of images."""
        return [case] if self.per_case is None else [f"{case}_{k:03d}" for k in range(self.per_case)]


def read_contrasts(args: argparse.Namespace) -> Contrasts:
    """The contrasts that the arguments ask for.

    Raises:
        InputError: none or several of the four sources, options of another source, or faults of the source itself.
    """
    sources = [name for name in _SOURCES if getattr(args, name) is not None]
    if len(sources) != 1:
        clash = f", not {' and '.join(f'-{name}' for name in sources)}" if sources else ""
        raise InputError(f"Give one of {', '.join(f'-{name}' for name in _SOURCES)}{clash}.")
    source = sources[0]
    foreign = {option for options in _SOURCES.values() for option in options} - set(_SOURCES[source])
    for option in sorted(foreign):
        if getattr(args, option) is not None:
            dashes = "--" if option == "null" else "-"
            belongs = [f"-{name}" for name, options in _SOURCES.items() if option in options]
            raise InputError(f"{dashes}{option} goes with {' or '.join(belongs)}, not with -{source}.")
    return {"recipe": _of_recipe, "draw": _of_record}.get(source, _of_sequence)(args)


def _of_sequence(args: argparse.Namespace) -> Contrasts:
    from nnunet_phys.augmentations.contrast_draw import ContrastDraw
    from nnunet_phys.augmentations.synthetic_image import SyntheticImage
    from nnunet_phys.scanner import Noise
    from nnunet_phys.sequences import MOLLI
    from nnunet_phys.sequences.description import describe_sequence, make_sequence
    from nnunet_phys.tissue_state import ContrastAgent, TissueState

    if args.protocol is not None:
        description = read_description(args.protocol, "-protocol")
    else:
        description = {"sequence": args.sequence}
    try:
        agent = ContrastAgent(*(args.gd or (0.0, 0.0)))
    except ValueError as error:
        raise InputError(f"-gd {args.gd[0]:g} {args.gd[1]:g}: {error}. Give mmol/l.") from None
    configured = [make_sequence(with_options) for with_options in _with_options(description, args)]
    if args.null:
        configured = [_nulled(sequence, agent) for sequence in configured]
    sequences = [single for sequence in configured for single in sequence.single_images()]
    if args.breathing is not None and len(sequences) == 1:
        raise InputError("-breathing moves the images of a series against each other, but this is one image.")
    seed, noise, breathing = args.seed or 0, args.noise or 0.0, args.breathing or 0.0

    def images(case: str, number: int, maps: SpinMaps, voxel_mm: tuple[float, float, float]) -> list[SyntheticImage]:
        rng = _rng(seed, case, number)
        series = []
        for sequence in sequences:
            of_image = Noise(noise, int(rng.integers(2**31))) if noise else None
            draw = ContrastDraw(sequence, TissueState(agent=agent), noise=of_image)
            series.append(SyntheticImage(draw, float(rng.uniform(-breathing, breathing)) if breathing else 0.0))
        return series

    settings = {
        "sequences": [describe_sequence(sequence) for sequence in sequences],
        "agent": asdict(agent),
        "noise": noise,
        "breathing_mm": breathing,
        "seed": seed if noise or breathing else None,
    }
    first, *others = configured
    times_ms = first.inversion_times_ms if isinstance(first, MOLLI) and first.is_series and not others else None
    return Contrasts(settings, None, len(sequences), images, times_ms)


def _with_options(description: dict[str, Any], args: argparse.Namespace) -> list[dict[str, Any]]:
    """A description with the parameters set by options; several descriptions if options have several values.

    Raises:
        InputError: an option that the sequence lacks, or options with different numbers of values.
    """
    from nnunet_phys.sequences.description import make_sequence
    from nnunet_phys.sequences.late_enhancement import InversionRecovery

    sequence = make_sequence(description)
    name, attributes = sequence.name, vars(sequence)
    keys = {**_PARAMETERS, "ti": _TI_OF.get(name, _PARAMETERS["ti"])}
    known = [option for option, key in keys.items() if key in attributes or key == "inversion_times_ms"]
    if args.null and (not isinstance(sequence, InversionRecovery) or args.ti):
        raise InputError("--null sets the inversion time of lge_gre or lge_bssfp: use it with these, without -ti.")
    described, varied = dict(description), {}
    for option in _PARAMETERS:
        argument = getattr(args, option)
        if argument is None:
            continue
        if option not in known:
            options = ", ".join(f"-{other}" for other in known) or "none of these"
            raise InputError(f"-{option}: {name} has no such parameter; it has {options}.")
        values = argument if isinstance(argument, list) else [argument]
        if option == "ts":
            values = [None if math.isinf(value) else value for value in values]
        if name == "molli" and option == "ti":
            for implied in ("scheme", "readout", "first_inversion_times_ms", "rr_intervals_ms", "inversion_times_ms"):
                described.pop(implied, None)
            single = {"scheme": "1", "first_inversion_times_ms": values}
            described.update(single if len(values) == 1 else {"inversion_times_ms": values})
        elif isinstance(attributes[keys[option]], tuple):
            described[keys[option]] = values
        elif len(values) == 1:
            described[keys[option]] = values[0]
        else:
            varied[option] = values
    counts = {option: len(values) for option, values in varied.items()}
    if len(set(counts.values())) > 1:
        numbers = " and ".join(f"{count} of -{option}" for option, count in counts.items())
        raise InputError(f"{numbers}: options with several values form one series. Give as many values of each.")
    count = max(counts.values(), default=1)
    return [
        {**described, **{keys[option]: values[number] for option, values in varied.items()}} for number in range(count)
    ]


def _nulled(sequence: PulseSequence, agent: ContrastAgent) -> PulseSequence:
    from nnunet_phys.sequences.late_enhancement import InversionRecovery
    from nnunet_phys.tissue_state import TissueState

    assert isinstance(sequence, InversionRecovery), "checked with the options"
    try:
        return sequence.at_null(TissueState(agent=agent), NULLED_T1_MS, NULLED_T2_MS)
    except ValueError as error:
        raise InputError(f"--null: {error}.") from None


def _of_recipe(args: argparse.Namespace) -> Contrasts:
    from nnunet_phys.augmentations.recipe_files import load_recipe
    from nnunet_phys.augmentations.synthetic_image import SyntheticImage
    from nnunet_phys.reservoir import Reservoir, draw_reservoir

    count, seed = 8 if args.n is None else args.n, args.seed or 0
    recipe = load_recipe(args.recipe)

    latest: dict[str, Reservoir] = {}  # the images of a case are made one after the other

    def images(case: str, number: int, maps: SpinMaps, voxel_mm: tuple[float, float, float]) -> list[SyntheticImage]:
        if case not in latest:
            latest.clear()
            latest[case] = draw_reservoir(maps.stack().numpy(), None, voxel_mm, seed=0)
        return [SyntheticImage(recipe.draw_contrast(_rng(seed, case, number), latest[case]))]

    return Contrasts({"recipe": recipe.describe(), "seed": seed}, count, 1, images)


def _of_record(args: argparse.Namespace) -> Contrasts:
    from nnunet_phys.augmentations.synthetic_image import SyntheticImage
    from nnunet_phys.json_files import load_json

    where = f"-draw {args.draw}"
    try:
        record = load_json(args.draw, "Give a record of draws, as nnunet_phys synthesize writes it.")
        images = SyntheticImage.from_record(record, where)
    except InputError as error:
        raise error.prefixed("" if str(error).startswith(where) else f"{where}: ") from None
    return Contrasts({"draws": [image.describe() for image in images]}, None, len(images), lambda *_: images)


def _rng(seed: int, case: str, number: int) -> np.random.Generator:
    """Random generator for one set of images, independent of other cases and sets."""
    import numpy as np

    return np.random.default_rng([seed, zlib.crc32(case.encode()), number])
