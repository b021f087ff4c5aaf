"""`nnunet_phys report`: one self-contained page to look through a folder of maps, suspicious cases first."""

from __future__ import annotations

import argparse
import html
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_phys.commands.shared.pages import MAP_WINDOWS, picture, write_page
from nnunet_phys.commands.shared.targets import check_file_target
from nnunet_phys.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from nnunet_phys.precomputed_spin.raw_dataset import RawDataset
    from nnunet_phys.spin import SpinMaps


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-d", required=True, metavar="DATASET", help="id or name of a data set in nnUNet_raw")
    parser.add_argument("-maps", type=Path, metavar="FOLDER", help="default: its spinTr/")
    parser.add_argument("-o", type=Path, default=Path("report.html"), metavar="HTML", help="default %(default)s")
    parser.add_argument(
        "-cases", type=int, default=40, help="at most this many pictures, worst first (default %(default)s)"
    )
    parser.add_argument("--disable_progress_bar", action="store_true")


def run(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from nnunet_phys.map_files import load_maps, load_record
    from nnunet_phys.precomputed_spin.raw_dataset import open_raw_dataset

    check_file_target(args.o)
    dataset = open_raw_dataset(args.d)
    folder = args.maps or dataset.maps_folder
    records = {case: load_record(folder, case) for case in dataset.images}
    records = {case: r for case, r in records.items() if r is not None and "quality" in r}
    if not records:
        example = next(iter(dataset.images), "CASE")
        raise InputError(
            f"{folder} holds no maps of {dataset.name} made by nnunet_phys reverse, such as {example}.json. Run: "
            f"nnunet_phys reverse -d {args.d}, or give their folder with -maps."
        )
    quality = {case: r["quality"] for case, r in records.items()}
    worst = sorted(quality, key=lambda c: (len(quality[c]["flags"]), quality[c]["residual_rms"]), reverse=True)
    rows, values, faults = [], Histograms(), []
    for case in tqdm(worst, unit="case", disable=args.disable_progress_bar):
        try:
            maps = load_maps(folder, case, dataset.ending, dataset.images[case])
        except InputError as fault:
            faults.append(f"<div class=flag>{html.escape(str(fault))}</div>")
            continue
        values.add(maps, dataset, case)
        if len(rows) < args.cases:
            rows.append(_case_row(case, records[case], maps, dataset))
    flagged = sum(bool(q["flags"]) for q in quality.values())
    parts = [
        f"<h1>{html.escape(dataset.name)}: PD, T1 and T2 maps</h1>",
        f"<p>{len(records)} of {len(dataset.images)} cases have maps in {html.escape(str(folder))}; {flagged} are "
        f"flagged. Shown: {len(rows)}, flagged and worst explained first.</p>",
        *faults,
        values.page(),
        *rows,
    ]
    write_page(args.o, dataset.name, parts)
    print(f"{args.o}: {len(rows)} of {len(records)} cases, {flagged} flagged, {len(faults)} cannot be read")


_RANGES = {"t1": (0, 2500), "t2": (0, 320)}
_BINS = 500


class Histograms:
    """T1 and T2 by labelled structure, over cases."""

    def __init__(self) -> None:
        self.counts: dict[str, dict[str, np.ndarray]] = {}
        self.cases: Counter[str] = Counter()

    def add(self, maps: SpinMaps, dataset: RawDataset, case: str) -> None:
        """Count a case's voxels, where it has labels on its grid."""
        import numpy as np

        from nnunet_phys.image_files import Geometry, read_image

        path = dataset.labels[case]
        if not path.is_file() or not Geometry.read(path).agrees(Geometry.read(dataset.images[case])):
            return
        mask = read_image(path)
        for name, code in json.loads((dataset.folder / "dataset.json").read_text())["labels"].items():
            if not isinstance(code, int) or code == 0 or not (mask == code).any():
                continue
            self.cases[name] += 1
            of_structure = self.counts.setdefault(name, {key: np.zeros(_BINS) for key in _RANGES})
            for key, edges in _RANGES.items():
                values = getattr(maps, key).numpy()[mask == code]
                of_structure[key] += np.histogram(values.clip(*edges), _BINS, edges)[0]

    def page(self) -> str:
        """A table of medians, and the histograms."""
        import numpy as np
        from matplotlib.figure import Figure

        if not self.counts:
            return "<p>No labels, so no histograms.</p>"
        figure = Figure(figsize=(9, 2.6), layout="constrained")
        axes = dict(zip(_RANGES, figure.subplots(1, 2), strict=True))
        table = "<table><tr><th>structure<th>T1, ms (5 - 95 %)<th>T2, ms (5 - 95 %)<th>cases"
        for name, of_structure in self.counts.items():
            cells = []
            for key, counts in of_structure.items():
                edges = np.linspace(*_RANGES[key], _BINS + 1)
                axes[key].stairs(counts.reshape(100, -1).sum(1) / counts.sum(), edges[:: _BINS // 100], label=name)
                axes[key].set_xlabel(f"{key.upper()}, ms")
                axes[key].set_yticks([])
                low, mid, high = np.interp((0.05, 0.5, 0.95), counts.cumsum() / counts.sum(), edges[1:])
                cells.append(f"{mid:.0f} ({low:.0f} - {high:.0f})")
            table += f"<tr><td>{html.escape(name)}<td>{cells[0]}<td>{cells[1]}<td>{self.cases[name]}"
        axes["t1"].legend()
        return f"{table}</table>{picture(figure)}"


def _case_row(case: str, record: dict, maps: SpinMaps, dataset: RawDataset) -> str:
    """Heading, flags and one row of pictures: the flagged slice, or the middle one."""
    import numpy as np
    from matplotlib.figure import Figure

    from nnunet_phys.forward import shown, signals
    from nnunet_phys.image_files import read_image
    from nnunet_phys.sequences.description import make_sequence

    flags = record["quality"]["flags"]
    image = read_image(dataset.images[case])
    z = flags[0]["slice"] if flags else len(image) // 2
    sequence = make_sequence(record["sequences"][0])
    synthesised = shown(sequence, signals(sequence, maps.map(lambda m: m[z])))[0].numpy()
    gain = (image[z] * synthesised).sum() / np.square(synthesised).sum()
    pictures = [("image", image[z], "gray", np.quantile(image[z], 0.995))]
    pictures.append(("made from the maps", gain * synthesised, "gray", pictures[0][3]))
    for (title, top), values in zip(MAP_WINDOWS.items(), maps.map(lambda m: m[z]).stack().numpy(), strict=True):
        pictures.append((title, values, "viridis", top))
    figure = Figure(figsize=(11, 2.5), layout="constrained")
    for axis, (title, values, colours, top) in zip(figure.subplots(1, len(pictures)), pictures, strict=True):
        axis.imshow(values, cmap=colours, vmin=0, vmax=top)
        axis.set_title(title, fontsize=8)
        axis.axis("off")
    quality = record["quality"]
    told = "".join(f"<div class=flag>slice {f['slice']}: {html.escape(f['reason'])}</div>" for f in flags)
    heading = f"{html.escape(case)}, slice {z}: residual {100 * quality['residual_rms']:.2f} %"
    return f"<h2>{heading}</h2>{told}{picture(figure)}"
