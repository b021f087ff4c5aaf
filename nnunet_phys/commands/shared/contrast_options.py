"""Which contrasts a command makes: a sequence by options or a protocol, the draws of a recipe, or recorded ones."""

from __future__ import annotations

import argparse
import json
import math
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_phys.commands.shared.scan_options import read_description
from nnunet_phys.errors import InputError

if TYPE_CHECKING:
    import torch

    from nnunet_phys.augmentations.draw import ContrastDraw
    from nnunet_phys.spin import SpinMaps
    from nnunet_phys.tissue_state import ContrastAgent

MUSCLE_T1_MS, MUSCLE_T2_MS = 1000.0, 50.0
"""Myocardium that --null makes black, before contrast agent."""

_PARAMETERS = {
    "fa": "flip_angle_deg",
    "tr": "tr_ms",
    "te": "te_ms",
    "ti": "inversion_time_ms",
    "ts": "ts_ms",
    "t2_prep": "t2_prep_ms",
}
_TI_OF = {"molli": "inversion_times_ms", "looklocker": "time_ms"}  # elsewhere as above
_BY_SEQUENCE = (*_PARAMETERS, "null", "gd", "noise", "breathing")
_SOURCES = {
    "sequence": (*_BY_SEQUENCE, "seed"),
    "protocol": (*_BY_SEQUENCE, "seed"),
    "recipe": ("n", "seed"),
    "draw": (),
}
"""Options that go with each source of contrasts."""


def number(text: str) -> float:
    """A number of the command line, infinity included.

    Raises:
        ValueError: it is none.
    """
    value = float(text)
    if math.isnan(value):
        raise ValueError
    return value


def finite(text: str) -> float:
    """A finite number of the command line.

    Raises:
        ValueError: it is none.
    """
    value = number(text)
    if math.isinf(value):
        raise ValueError
    return value


def add_contrast_arguments(parser: argparse.ArgumentParser) -> None:
    """One of four sources, and the options of each."""
    one = parser.add_argument_group("what to make, one of")
    one.add_argument("-sequence", metavar="SEQUENCE", help="bssfp, gre, molli, sasha, t2prep, lge_gre, ...")
    one.add_argument("-protocol", type=Path, metavar="JSON", help='{"sequence": ..., parameters}')
    one.add_argument("-recipe", metavar="NAME", help="draws of a recipe: default, molli, gre, lge, paper or a file")
    one.add_argument("-draw", type=Path, metavar="JSON", help="again, bit for bit, what such a CASE.json tells")
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
    of_sequence.add_argument("-ts", type=number, nargs="+", metavar="MS", help="saturation time; inf: no saturation")
    of_sequence.add_argument("-t2_prep", type=finite, nargs="+", metavar="MS", help="T2 preparation")
    of_sequence.add_argument("--null", action="store_true", default=None, help="lge: the -ti that blackens myocardium")
    of_sequence.add_argument(
        "-gd", type=finite, nargs=2, metavar=("BLOOD", "TISSUE"), help="contrast agent, mmol/l (0.5 0.25: 15 min after)"
    )
    of_sequence.add_argument("-noise", type=finite, metavar="F", help="standard deviation, of the bright signal (0.02)")
    of_sequence.add_argument(
        "-breathing", type=finite, metavar="MM", help="shift each image of a series along the rows, at most so far"
    )
    of_recipe = parser.add_argument_group("with -recipe")
    of_recipe.add_argument("-n", type=int, metavar="N", help="draws a case (default 8)")
    parser.add_argument("-seed", type=int, help="of draws, noise and breathing (default 0)")


@dataclass(frozen=True)
class OneImage:
    """One image to make.

    Attributes:
        draw: its contrast.
        shift_mm: how far breathing moved it from row to row.
    """

    draw: ContrastDraw
    shift_mm: float = 0.0

    def make(self, maps: SpinMaps, voxel_mm: tuple[float, float, float]) -> torch.Tensor:
        """The image, in the signal's unit.

        Args:
            maps: of shape (slices, rows, columns).
            voxel_mm: slice, row and column spacing.

        Returns:
            (slices, rows, columns): magnitude, or signed where phase-sensitive.
        """
        from nnunet_phys.augmentations.draw import noise_reference
        from nnunet_phys.scanner import displace

        if self.shift_mm == 0:
            return self.draw.scan(maps.stack(), voxel_mm)
        still = replace(self.draw, noise=None).scan(maps.stack(), voxel_mm)
        moved = displace(still, self.shift_mm / voxel_mm[1], along_rows=True)
        return self.draw.shown(moved, noise_reference(moved))  # noise does not move, nor is it smoothed

    def describe(self) -> dict:
        """Plain JSON."""
        return {"draw": self.draw.describe(), "shift_mm": self.shift_mm}


@dataclass(frozen=True)
class Contrasts:
    """What to make of every case.

    Attributes:
        settings: what was asked for, plain JSON.
        per_case: sets of images a case; None: one, which bears the case's name alone.
        count: images of a set.
        images: of a set: case, number of the set, maps and voxel_mm -> images in order.
        times_ms: inversion times of the set, where it is a MOLLI series.
    """

    settings: dict
    per_case: int | None
    count: int
    images: Callable[[str, int, SpinMaps, tuple[float, float, float]], list[OneImage]]
    times_ms: tuple[float, ...] | None = None

    def names(self, case: str) -> list[str]:
        """Names of a case's sets of images."""
        return [case] if self.per_case is None else [f"{case}_{k:03d}" for k in range(self.per_case)]


def read_contrasts(args: argparse.Namespace) -> Contrasts:
    """What the arguments ask for.

    Raises:
        InputError: none or several of the four sources, options of another one, or what the source itself refuses.
    """
    given = [name for name in _SOURCES if getattr(args, name) is not None]
    if len(given) != 1:
        found = f", not {' and '.join(f'-{name}' for name in given)}" if given else ""
        raise InputError(f"Give one of {', '.join(f'-{name}' for name in _SOURCES)}{found}.")
    others = {option for options in _SOURCES.values() for option in options} - set(_SOURCES[given[0]])
    for option in sorted(others):
        if getattr(args, option) is not None:
            dashes = "--" if option == "null" else "-"
            belongs = [f"-{name}" for name, options in _SOURCES.items() if option in options]
            raise InputError(f"{dashes}{option} goes with {' or '.join(belongs)}, not with -{given[0]}.")
    if args.noise is not None and not 0 <= args.noise <= 1:
        raise InputError(f"-noise {args.noise:g}: give 0 to 1, such as 0.02 for 2 % of the bright signal.")
    if args.breathing is not None and not 0 <= args.breathing < math.inf:
        raise InputError(f"-breathing {args.breathing:g}: give 0 mm or more.")
    if args.seed is not None and args.seed < 0:
        raise InputError(f"-seed {args.seed}: give 0 or more.")
    return {"recipe": _of_recipe, "draw": _of_record}.get(given[0], _of_sequence)(args)


def at_null(sequence: object, agent: ContrastAgent, t1_ms: float = MUSCLE_T1_MS, t2_ms: float = MUSCLE_T2_MS) -> object:
    """A late-enhancement sequence with the inversion time at which a tissue is black under contrast agent.

    Args:
        sequence: InversionRecoveryGRE or InversionRecoveryBSSFP.
        agent: concentrations at the time.
        t1_ms, t2_ms: of the tissue before contrast agent.

    Raises:
        ValueError: its cycle has no such time.
    """
    import torch

    from nnunet_phys.spin import SpinMaps
    from nnunet_phys.tissue_state import TissueState

    now, _ = TissueState(agent=agent)(SpinMaps(*torch.tensor([[1.0], [t1_ms], [t2_ms]])))
    return replace(sequence, inversion_time_ms=sequence.null_inversion_time_ms(float(now.t1), float(now.t2)))


def _of_sequence(args: argparse.Namespace) -> Contrasts:
    from nnunet_phys.augmentations.draw import ContrastDraw
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
    made = [make_sequence(one) for one in _with_options(description, args)]
    if args.null:
        made = [_nulled(one, agent) for one in made]
    sequences = [one for sequence in made for one in sequence.single_images()]
    if args.breathing is not None and len(sequences) == 1:
        raise InputError("-breathing moves the images of a series against each other, but this is one image.")
    seed, noise, breathing = args.seed or 0, args.noise or 0.0, args.breathing or 0.0

    def images(case: str, number: int, maps: SpinMaps, voxel_mm: tuple[float, float, float]) -> list[OneImage]:
        rng = _rng(seed, case, number)
        found = []
        for sequence in sequences:
            faults = {"noise": Noise(noise, int(rng.integers(2**31)))} if noise else {}
            draw = ContrastDraw(sequence, TissueState(agent=agent), **faults)
            found.append(OneImage(draw, float(rng.uniform(-breathing, breathing)) if breathing else 0.0))
        return found

    settings = {
        "sequences": [describe_sequence(one) for one in sequences],
        "agent": asdict(agent),
        "noise": noise,
        "breathing_mm": breathing,
        "seed": seed if noise or breathing else None,
    }
    is_series = len(made) == 1 and isinstance(made[0], MOLLI) and len(sequences) > 1
    return Contrasts(settings, None, len(sequences), images, made[0].inversion_times_ms if is_series else None)


def _with_options(description: dict, args: argparse.Namespace) -> list[dict]:
    """A description with the parameters given as options; several where one of them has several values.

    Raises:
        InputError: an option that the sequence has not, or several values of two options.
    """
    from nnunet_phys.sequences.description import make_sequence

    plain = make_sequence(description)
    name, described, varied = description["sequence"], dict(description), None
    keys = {**_PARAMETERS, "ti": _TI_OF.get(name, _PARAMETERS["ti"])}
    has = {option: key for option, key in keys.items() if hasattr(plain, key)}
    if args.null and (not hasattr(plain, "null_inversion_time_ms") or args.ti):
        raise InputError("--null sets the inversion time of lge_gre or lge_bssfp: give it with these, without -ti.")
    for option in _PARAMETERS:
        given = getattr(args, option)
        if given is None:
            continue
        if option not in has:
            options = ", ".join(f"-{one}" for one in has) or "none of these"
            raise InputError(f"-{option}: {name} has no such parameter; it has {options}.")
        key = has[option]
        values = [None if option == "ts" and math.isinf(one) else one for one in _listed(given)]
        if name == "molli" and option == "ti":
            for told in ("scheme", "readout", "first_inversion_times_ms", "rr_intervals_ms"):
                described.pop(told, None)
            one_image = {"scheme": "1", "first_inversion_times_ms": values}
            described.update(one_image if len(values) == 1 else {"inversion_times_ms": values})
        elif isinstance(getattr(plain, key), tuple):
            described[key] = values
        elif len(values) == 1:
            described[key] = values[0]
        elif varied is None:
            varied = option, [{key: value} for value in values]
        else:
            raise InputError(f"-{varied[0]} and -{option} have several values: give one of them so many.")
    return [described] if varied is None else [{**described, **one} for one in varied[1]]


def _listed(given: float | list[float]) -> list[float]:
    return given if isinstance(given, list) else [given]


def _nulled(sequence: object, agent: ContrastAgent) -> object:
    try:
        return at_null(sequence, agent)
    except ValueError as error:
        raise InputError(f"--null: {error}.") from None


def _of_recipe(args: argparse.Namespace) -> Contrasts:
    from nnunet_phys.augmentations.recipe_files import load_recipe
    from nnunet_phys.reservoir import draw_reservoir

    count, seed = 8 if args.n is None else args.n, args.seed or 0
    if not 1 <= count <= 1000:
        raise InputError(f"-n {count}: give 1 to 1000.")
    recipe = load_recipe(args.recipe)

    def images(case: str, number: int, maps: SpinMaps, voxel_mm: tuple[float, float, float]) -> list[OneImage]:
        reservoir = draw_reservoir(maps.stack().numpy(), None, voxel_mm, seed=0)
        return [OneImage(recipe.draw_contrast(_rng(seed, case, number), reservoir))]

    return Contrasts({"recipe": recipe.describe(), "seed": seed}, count, 1, images)


def _of_record(args: argparse.Namespace) -> Contrasts:
    from nnunet_phys.augmentations.draw import ContrastDraw

    try:
        content = json.loads(args.draw.read_text())
        entries = content.get("images", [{"draw": content, "shift_mm": 0.0}])
        if not entries:
            raise ValueError("it holds no image")
        images = [OneImage(ContrastDraw.from_description(e["draw"]), float(e["shift_mm"])) for e in entries]
    except InputError as error:
        raise InputError(f"-draw {args.draw}: {error}") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"-draw {args.draw} is no record of draws, as nnunet_phys synthesize writes it ({error})."
        ) from None
    return Contrasts({"draws": [one.describe() for one in images]}, None, len(images), lambda *_: images)


def _rng(seed: int, case: str, number: int):
    """Generator of one set of images, which depends on no other case or set."""
    import numpy as np

    return np.random.default_rng([seed, zlib.crc32(case.encode()), number])
