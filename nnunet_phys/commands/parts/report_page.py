"""The page of `report`, as HTML: how the maps were made and judged, a table of all cases, and figures of slices.

All text from records and file names is escaped.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import to_hex
from matplotlib.typing import ColorType

from nnunet_phys.case_records import package_versions
from nnunet_phys.commands.parts.report_case import EDGES_MS, FOUND_BLOOD, FOUND_MUSCLE, CaseResult
from nnunet_phys.commands.parts.report_figures import colours_of, histogram_figure
from nnunet_phys.commands.shared.pages import fault_lines, picture
from nnunet_phys.commands.shared.record_text import made_how, residual_text, versions_text
from nnunet_phys.errors import counted
from nnunet_phys.precomputed_spin.label_names import structure_of
from nnunet_phys.precomputed_spin.labels import main_tissue
from nnunet_phys.precomputed_spin.quality import KINDS
from nnunet_phys.precomputed_spin.quality_record import InferredRecord, count_kinds
from nnunet_phys.tissues import TISSUES, normal_range

STYLE = """
body{max-width:1400px}
table.cases{border-collapse:collapse;white-space:nowrap}
.cases td,.cases th,.kinds td,.kinds th{border-bottom:1px solid #ddd;padding:.15em .6em}
.cases td:first-child,.cases th:first-child,.kinds td,.kinds th{text-align:left}
.cases thead{position:sticky;top:0;background:#fff}.cases th button{all:unset;cursor:pointer;font-weight:bold}
.cases th[aria-sort=ascending] button::after{content:" \\25b2"}
.cases th[aria-sort=descending] button::after{content:" \\25bc"}
.range{font:11px sans-serif;color:#555;white-space:nowrap}.out{color:#b00;font-weight:bold}
.wide{overflow:auto;max-height:75vh}.case .wide{max-height:none}.case img{height:auto;min-width:760px}
.case{content-visibility:auto;contain-intrinsic-size:auto 560px}[hidden]{display:none}
.swatch{display:inline-block;width:.8em;height:.8em;margin:0 .3em 0 1em}
.cases td:first-child,.cases th:first-child{position:sticky;left:0;background:#fff}.kinds{margin-top:1em}
@media(max-width:700px){.kinds tr,.kinds td{display:block}.kinds th{display:none}.kinds tr{margin-bottom:.8em}
.kinds td:first-child{font-weight:bold}.kinds td[title]::before{content:attr(title) ": "}
.cases td:first-child{max-width:40vw;overflow:hidden;text-overflow:ellipsis}}
"""
_SCRIPT = """<script>
const table = document.querySelector("table.cases"), rows = [...table.tBodies[0].rows];
const text = document.getElementById("text"), kind = document.getElementById("kind");
function filter() {
  let shown = 0;
  for (const row of rows) {
    const kinds = row.dataset.kinds.split(" ");
    const wanted = kind.value === "" || (kind.value === "any" ? row.dataset.kinds !== "" : kinds.includes(kind.value));
    row.hidden = !(wanted && row.cells[0].textContent.toLowerCase().includes(text.value.toLowerCase()));
    shown += !row.hidden;
    const section = document.getElementById(row.dataset.section);
    if (section) section.hidden = row.hidden;
  }
  document.getElementById("count").textContent = `${shown} of ${rows.length} shown`;
}
function sort(column) {
  const head = table.tHead.rows[0].cells[column];
  const direction = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
  for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
  const value = row => row.cells[column].textContent;
  rows.sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === "" || y === "") return (x === "") - (y === "");
    const order = column > 0 && !isNaN(x) && !isNaN(y) ? x - y : x.localeCompare(y, undefined, {numeric: true});
    return direction * order;
  });
  table.tBodies[0].append(...rows);
}
[...table.tHead.rows[0].cells].forEach((cell, column) => cell.firstChild.addEventListener("click", () => sort(column)));
text.addEventListener("input", filter);
kind.addEventListener("input", filter);
filter();
</script>"""
_NO_KIND = "other"
_FOUND = {FOUND_BLOOD: ("blood", "venous blood"), FOUND_MUSCLE: ("myocardium",)}


@dataclass(frozen=True)
class ReportPage:
    """What a page shows.

    Attributes:
        title: name of the data set or the folder.
        folder: folder of the maps.
        cases: number of images whose maps are looked for; None: only maps are counted.
        records: case to its record, the worst case first.
        results: case to what was found in its maps.
        labelled: the structures that labels may show.
        sources: name of a figure's file to what an HTML image refers to.
        faults: lines about records that cannot be read.
    """

    title: str
    folder: str
    cases: int | None
    records: Mapping[str, InferredRecord]
    results: Mapping[str, CaseResult]
    labelled: Sequence[str]
    sources: Mapping[str, str]
    faults: Sequence[str]

    def parts(self) -> list[str]:
        """The page's parts, one below the other."""
        sections = [
            self._section(number, case) for number, (case, result) in enumerate(self.results.items()) if result.figures
        ]
        return [
            f"<h1>{html.escape(self.title)}: PD, T1 and T2 maps</h1>",
            self._summary(),
            fault_lines(
                sorted([*self.faults, *(fault for result in self.results.values() for fault in result.faults)])
            ),
            self._kinds(),
            "<h1>All cases</h1>",
            self._filter(),
            self._table(),
            self._histograms(),
            "<h1>Slices</h1>",
            self._legend(),
            *sections,
            _SCRIPT,
        ]

    @property
    def structures(self) -> list[str]:
        """All structures that were found, those of labels first."""
        found = {name for result in self.results.values() for name in result.times}
        return [name for name in self._colours if name in found]

    @property
    def _colours(self) -> dict[str, ColorType]:
        """The colours of all structures in figures."""
        return colours_of((*self.labelled, *_FOUND))

    @property
    def _sampled(self) -> bool:
        """Whether there are cases with several samples."""
        return any(record.quality.t1_spread is not None for record in self.records.values())

    def _summary(self) -> str:
        """How many cases there are, and how their maps were made."""
        flagged = sum(bool(record.quality.flags) for record in self.records.values())
        of_all = "" if self.cases is None else f" of {counted(self.cases, 'image')}"
        lines = (
            f"<p>{counted(len(self.records), 'case')}{of_all} with maps in {html.escape(self.folder)}, {flagged} of "
            "them flagged.</p>"
        )
        if _FOUND.keys() & self.structures:
            lines += (
                "<p>Where labels are missing, blood and muscle are guesses from T1 and T2: red values of theirs may be "
                "those of other tissue.</p>"
            )
        versions = html.escape(versions_text(package_versions()))
        return lines + made_how(self.records.values()) + f"<div>This page: {versions}</div>"

    def _kinds(self) -> str:
        """What is flagged, how often, and what to do about it; nothing if no slice is."""
        counts = count_kinds({case: record.quality.flags for case, record in self.records.items()})
        lines = ["<tr><th>flag<th>what is flagged<th>slices<th>cases<th>what to do"]
        if not counts:
            return ""
        for name, kind in KINDS.items():
            if name not in counts:
                continue
            slices, cases = counts[name]
            counted_cells = _counts(slices, cases)
            lines.append(f"<tr><td>{name}<td>{kind.finding}{counted_cells}<td title='what to do'>{kind.remedy}")
        others = [counted_kind for name, counted_kind in counts.items() if name not in KINDS]
        if others:
            slices, cases = (sum(numbers) for numbers in zip(*others, strict=True))
            lines.append(f"<tr><td>{_NO_KIND}<td>by an earlier version{_counts(slices, cases)}<td>make the maps again")
        return f"<div class=wide><table class=kinds>{''.join(lines)}</table></div>"

    def _filter(self) -> str:
        """Inputs that choose which rows and figures are shown."""
        options = "".join(f"<option>{name}</option>" for name in (*KINDS, _NO_KIND))
        return (
            '<p><input id=text type=search placeholder="part of a case\'s name" aria-label="part of a case\'s name"> '
            "<select id=kind aria-label=flags><option value=''>all cases</option>"
            f"<option value=any>flagged</option>{options}</select> <span id=count></span></p>"
        )

    def _table(self) -> str:
        """All cases with the figures of their quality and the times of their structures."""
        structures = self.structures
        heads = ["case", "flags", "kinds", "residual, %", "at a bound, %"]
        if self._sampled:
            heads.append("spread of T1, %")
        ranges = [""] * len(heads)
        for structure in structures:
            for key in EDGES_MS:
                heads.append(f"{structure}: {key.upper()}, ms")
                ranges.append("<br>".join(_range_lines(structure, key)))
        head = "".join(f"<th><button>{html.escape(name)}</button>" for name in heads)
        below = "".join(f"<th class=range>{text}" for text in ranges)
        rows = [self._row(number, case, structures) for number, case in enumerate(self.records)]
        return (
            "<p>Times are medians over each structure. Below its name stand normal values of native tissue: mean "
            "&plusmn; 2 standard deviations, from nnunet_phys/tissues.py, which names their sources. Red: normal at "
            "neither field strength.</p><div class=wide><table class=cases>"
            f"<thead><tr>{head}<tr>{below}</thead><tbody>{''.join(rows)}</tbody></table></div>"
        )

    def _row(self, number: int, case: str, structures: Sequence[str]) -> str:
        quality, result = self.records[case].quality, self.results[case]
        kinds = dict.fromkeys(flag.kind if flag.kind in KINDS else _NO_KIND for flag in quality.flags)
        spread = "" if quality.t1_spread is None else f"{100 * quality.t1_spread:.1f}"
        name = html.escape(case)
        cells = [
            f"<td><a href=#case{number}>{name}</a>" if result.figures else f"<td>{name}",
            f"<td>{len(quality.flags)}<td>{' '.join(kinds)}",
            f"<td>{100 * quality.residual_rms:.2f}<td>{100 * quality.share_at_bound:.1f}",
            f"<td>{spread}" if self._sampled else "",
        ]
        for structure in structures:
            times = result.times.get(structure)
            for key in EDGES_MS:
                value = None if times is None else times.medians[key]
                normal = value is None or _is_normal(structure, key, value)
                cells.append(f"<td{'' if normal else ' class=out'}>{'' if value is None else f'{value:.0f}'}")
        return f"<tr data-section=case{number} data-kinds='{' '.join(kinds)}'>{''.join(cells)}"

    def _histograms(self) -> str:
        counts = {
            structure: {
                key: np.sum([r.times[structure].counts[key] for r in self.results.values() if structure in r.times], 0)
                for key in EDGES_MS
            }
            for structure in self.structures
        }
        if not counts:
            return ""
        figure = histogram_figure(
            counts, EDGES_MS, {name: _widest(name) for name in counts if _tissues(name)}, self._colours
        )
        return f"<h1>All pixels</h1><p>Shaded: normal at 1.5 T or 3 T.</p>{picture(figure)}"

    def _legend(self) -> str:
        drawn = sum(len(result.figures) for result in self.results.values())
        swatches = "".join(
            f"<span class=swatch style='background:{to_hex(self._colours[name])}'></span>{html.escape(name)}"
            for name in self.structures
            if name != FOUND_MUSCLE
        )
        return (
            f"<p>{counted(drawn, 'slice')}: every flagged slice, and of cases without flags the one with most of the "
            "heart. Above, the image, the same made from the maps, and the maps; below, what training may make of "
            "them. "
            f"Contours:{swatches}</p>"
        )

    def _section(self, number: int, case: str) -> str:
        """The figures of a case, each with its slice's own residual and flags."""
        quality = self.records[case].quality
        lines = []
        for z, name in self.results[case].figures.items():
            heading = f"{case}, slice {z}: {residual_text(quality, z)}"
            lines.append(f"<h2>{html.escape(heading)}</h2>")
            lines.append(fault_lines(str(flag) for flag in quality.flags if flag.slice == z))
            lines.append(
                f"<div class=wide><img loading=lazy decoding=async alt='maps of {html.escape(case)}, slice {z}' "
                f"src='{self.sources[name]}'></div>"
            )
        return f"<section class=case id=case{number}>{''.join(lines)}</section>"


def _tissues(structure: str) -> tuple[str, ...]:
    """The tissues that a structure may consist of; none where its name is not known."""
    if structure in _FOUND:
        return _FOUND[structure]
    known = structure_of(structure)
    return () if known is None else (main_tissue(known),)


def _range(structure: str, key: str, field_strength_t: float) -> tuple[float, float]:
    """Least and greatest normal value of a structure of known tissues, ms."""
    ranges = [normal_range(tissue, field_strength_t)[key] for tissue in _tissues(structure)]
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def _range_lines(structure: str, key: str) -> list[str]:
    """Normal values at each field strength, as text; none where they are not known."""
    if not _tissues(structure):
        return []
    ranges = {field: _range(structure, key, field) for field in TISSUES}
    return [f"{field:g} T: {low:.0f}-{high:.0f}" for field, (low, high) in ranges.items()]


def _widest(structure: str) -> dict[str, tuple[float, float]]:
    """Normal values at either field strength."""
    widest = {}
    for key in EDGES_MS:
        ranges = [_range(structure, key, field) for field in TISSUES]
        widest[key] = min(low for low, _ in ranges), max(high for _, high in ranges)
    return widest


def _is_normal(structure: str, key: str, value: float) -> bool:
    """Whether a value is normal at one of the field strengths, or normal values are not known."""
    if not _tissues(structure):
        return True
    return any(low <= value <= high for low, high in (_range(structure, key, field) for field in TISSUES))


def _counts(slices: int, cases: int) -> str:
    """Two cells, which a narrow screen shows below each other with what they count."""
    return f"<td title=slices>{slices}<td title=cases>{cases}"
