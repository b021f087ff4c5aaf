"""One image of a DICOM folder: where it lies, how and when it was made, and from which attribute each time comes.

Times are those that scanners state. Which attribute holds them depends on the vendor; docs/dicom.md lists the sources
of what is read here, and what is an assumption.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from nnunet_phys.precomputed_spin.dicom.header import Header, as_number

_PHILIPS = (0x2001, "Philips Imaging DD 001")
_PHILIPS_MR = (0x2005, "Philips MR Imaging DD 001")
_GE = (0x0043, "GEMS_PARM_01")
_GE_PULSE = (0x0019, "GEMS_ACQU_01")
_GE_PARTS = ("magnitude", "phase", "real", "imaginary")
"""Meanings of 0 to 3 in GE's (0043,102F), in the order of dcm2niix; pydicom's dictionary names the attribute."""

_TI_COMMENT = re.compile(r"\bTI(?:eff)?\s*[=:]?\s*(\d+(?:\.\d+)?)\s*ms\b", re.IGNORECASE)
"""`TIeff 100 ms`: seen in a Siemens ShMOLLI."""
_TS_COMMENT = re.compile(r"\b(?:TS|saturation time|TSAT)\s*[=:]?\s*(\d+(?:\.\d+)?)\s*ms\b", re.IGNORECASE)
"""Assumed to be written like the others."""
_T2_COMMENT = re.compile(r"T2[ _-]?prep\w*\.?(?:\s*duration)?\s*[=:]?\s*(\d+(?:\.\d+)?)\s*ms\b", re.IGNORECASE)
"""`T2 prep. duration = 25 ms`: Siemens, as github.com/MRKonrad/tomato reads it."""
_DATES = ("AcquisitionDate", "ContentDate", "SeriesDate", "StudyDate")
_QUANTITIES = (
    ("T1starmap", r"T1 ?(star|\*)[ _]?map"),
    ("Amap", r"\bA ?map\b"),
    ("Bmap", r"\bB ?map\b"),
    ("Rsquaremap", r"R ?square"),
    ("SDmap", r"\b(SD|error)[ _]?map\b"),
    ("T2starmap", r"T2 ?(star|\*)[ _]?map"),
    ("T1map", r"\bT1[ _]?map\b"),
    ("T2map", r"\bT2[ _]?map\b"),
    ("ECVmap", r"\bECV\b"),
    ("map", r"\bMAP\b"),
)
"""Names of maps, and what comments and image types say of them."""
_COMPUTED = re.compile(r"T[12](star|\*)?[ _-]?map\b|fit ?param|\bECV\b|\bR2\b|\bSD\b", re.IGNORECASE)
"""Names of series of maps. Only where the image states no time: readouts of a T1 map may be named the same."""


class Stated(NamedTuple):
    """A number that a header states, and where."""

    value: float
    where: str


@dataclass(frozen=True, eq=False)
class Frame:
    """One image.

    Attributes:
        path: its file.
        index: its number in the file, from 0.
        instance: its UID, which no other image has.
        patient: name and id of the patient, to tell patients apart: without capitals and trailing delimiters.
        study: UID of the examination.
        series: UID of the series.
        frame_of_reference: UID of the frame that positions refer to; another one after the patient was positioned anew.
        number: number of the series; 0 if it has none.
        description: description of the series, or else the protocol's name.
        names: description, protocol, sequence and technique, separated by spaces; underscores are spaces, too.
        acquired: date and time of acquisition as digits, which sort; empty if unknown.
        order: number of the image in its series, and its number in the file.
        part: magnitude, phase, real or imaginary; or a map of `_QUANTITIES`, which the scanner computed.
        grid: rows, columns.
        position: position of the first pixel, mm. This and the next three are None if the header does not state them.
        orientation: direction of the rows, then of the columns.
        pixel_mm: spacing of rows and of columns.
        slice_mm: thickness of the slice.
        inversion: inversion or saturation time, ms. 0, which GE writes where there is none, is left out.
        t2_preparation: echo time of the T2 preparation, ms.
        echo_ms, repetition_ms, flip_angle_deg, trigger_ms, rr_ms, field_t: as stated; ms, degrees, T.
        scanning: upper-case words on the sequence: ScanningSequence, SequenceVariant, ScanOptions and their enhanced
            counterparts.
        prepulse: Philips's type of preparation.
        vendor, model: the scanner.
        slope, intercept: turn stored values into image values that can be compared within the series.
        colour: its pixels have several values.
        patient_name, patient_id, study_date: these three identify the patient, and go nowhere unless asked.
    """

    path: Path
    index: int
    instance: str
    patient: str
    study: str
    series: str
    frame_of_reference: str
    number: int
    description: str
    names: str
    acquired: str
    order: tuple[int, int]
    part: str
    grid: tuple[int, int]
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_mm: tuple[float, ...] | None
    slice_mm: float | None
    inversion: Stated | None
    t2_preparation: Stated | None
    echo_ms: float | None
    repetition_ms: float | None
    flip_angle_deg: float | None
    trigger_ms: float | None
    rr_ms: float | None
    field_t: float | None
    scanning: frozenset[str]
    prepulse: str
    vendor: str
    model: str
    slope: float
    intercept: float
    colour: bool
    patient_name: str
    patient_id: str
    study_date: str

    @property
    def file(self) -> str:
        """The file, and the number of the image in it unless it is the first."""
        return f"{self.path}, image {self.index + 1}" if self.index else str(self.path)

    @property
    def series_title(self) -> str:
        """How messages call its series."""
        return f"series {self.number} ({self.description or 'without description'})"

    @classmethod
    def of(cls, header: Header, path: Path, index: int) -> Frame:
        """Read a header.

        Args:
            header: the header.
            path: the file.
            index: number of the image in it, from 0.
        """
        comments, description = header.text("ImageComments"), header.text("SeriesDescription")
        inversion = _inversion(header, comments)
        t2_preparation = _commented(_T2_COMMENT, comments)
        names = " ".join((description, header.text("ProtocolName"), header.text("SequenceName"), _technique(header)))
        names = names.replace("_", " ")
        echo_ms = header.number("EchoTime")
        timed = inversion is not None or t2_preparation is not None or bool(echo_ms)
        part = _part(header, comments, names, timed)
        slope, intercept = _rescaling(header, is_map=part.endswith("map"))
        return cls(
            path=path,
            index=index,
            instance=f"{header.text('SOPInstanceUID') or path} {index}",
            patient=f"{header.text('PatientID')} {header.text('PatientName').rstrip(' ^=').casefold()}",
            study=header.text("StudyInstanceUID"),
            series=header.text("SeriesInstanceUID"),
            frame_of_reference=header.text("FrameOfReferenceUID"),
            number=int(header.number("SeriesNumber") or 0),
            description=description or header.text("ProtocolName"),
            names=names,
            acquired=_acquired(header),
            order=(int(header.number("InstanceNumber") or 0), index),
            part=part,
            grid=(int(header.number("Rows") or 0), int(header.number("Columns") or 0)),
            position=header.numbers("ImagePositionPatient", 3),
            orientation=header.numbers("ImageOrientationPatient", 6),
            pixel_mm=header.numbers("PixelSpacing", 2),
            slice_mm=header.number("SliceThickness"),
            inversion=inversion,
            t2_preparation=t2_preparation,
            echo_ms=echo_ms,
            repetition_ms=header.number("RepetitionTime"),
            flip_angle_deg=header.number("FlipAngle"),
            trigger_ms=header.number("TriggerTime"),
            rr_ms=_rr_interval(header),
            field_t=header.number("MagneticFieldStrength"),
            scanning=_scanning(header),
            prepulse=str(header.private(*_PHILIPS, 0x1C) or "").upper(),
            vendor=header.text("Manufacturer"),
            model=header.text("ManufacturerModelName"),
            slope=slope,
            intercept=intercept,
            colour=(header.number("SamplesPerPixel") or 1) > 1,
            patient_name=header.text("PatientName"),
            patient_id=header.text("PatientID"),
            study_date=header.text("StudyDate"),
        )


def _commented(pattern: re.Pattern[str], comments: str) -> Stated | None:
    found = pattern.search(comments)
    return Stated(float(found[1]), "ImageComments (0020,4000) or FrameComments (0020,9158)") if found else None


def _inversion(header: Header, comments: str) -> Stated | None:
    """The time from inversion or saturation, from the most specific place that states it."""
    commented = _commented(_TI_COMMENT, comments) or _commented(_TS_COMMENT, comments)
    if commented is not None:
        return commented
    candidates = (
        (header.number("InversionTime"), "InversionTime (0018,0082) or InversionTimes (0018,9079)"),
        (as_number(header.private(*_PHILIPS, 0x84)), "Philips Inversion Time (2001,1084)"),
        (as_number(header.private(*_PHILIPS, 0x1B)), "Philips Prepulse Delay (2001,101B)"),
    )
    return next((Stated(value, where) for value, where in candidates if value is not None and value > 0), None)


def _technique(header: Header) -> str:
    """What private attributes name the sequence: Philips's technique, GE's pulse sequence."""
    values = (header.private(*_PHILIPS, 0x20), header.private(*_GE_PULSE, 0x9C), header.private(*_GE_PULSE, 0x9E))
    return " ".join(str(value) for value in values if value is not None)


def _acquired(header: Header) -> str:
    """Date and time as digits and a point. An enhanced file states both in one attribute.

    Where the date of acquisition was removed, another one takes its place, so that all images have one.
    """
    time = header.text("AcquisitionTime")
    if len(time.partition(".")[0]) < 8 and time:
        time = next(filter(None, map(header.text, _DATES)), "") + time
    return time


def _rr_interval(header: Header) -> float | None:
    """The nominal R-R interval, or that of the heart rate; a value of 0 is none."""
    interval, rate = header.number("NominalInterval"), header.number("HeartRate")
    return interval or (60_000 / rate if rate else None)


def _scanning(header: Header) -> frozenset[str]:
    """Words on the sequence. Of the attributes of enhanced files, which say YES, their own name is the word."""
    words = {
        word.upper()
        for keyword in ("ScanningSequence", "SequenceVariant", "ScanOptions", "EchoPulseSequence")
        for word in header.words(keyword)
    }
    words |= {name for name in ("InversionRecovery", "SaturationRecovery", "T2Preparation") if _yes(header, name)}
    if header.text("SteadyStatePulseSequence").upper() == "FREE_PRECESSION":
        words.add("FREE_PRECESSION")
    if "RF" in header.text("Spoiling").upper():
        words.add("SP")
    return frozenset(words)


def _yes(header: Header, keyword: str) -> bool:
    return header.text(keyword).upper() == "YES"


def _part(header: Header, comments: str, names: str, timed: bool) -> str:
    """Whether the image is a magnitude, another part of the complex image, or a map.

    `P` in the image type is a phase image, but Siemens writes it for maps, too: those state no time.
    """
    words = tuple(word.upper() for word in header.words("ImageType"))
    for text in (*words, *(() if timed and words[:1] != ("DERIVED",) else (comments.replace("_", " "),))):
        for name, pattern in _QUANTITIES:
            if re.search(pattern, text, re.IGNORECASE) and not text.startswith(("PHASE", "VELOCITY")):
                return name
    if not timed and (_COMPUTED.search(names) or words[:1] == ("DERIVED",)):
        named = (name for name, pattern in _QUANTITIES if re.search(pattern, names.replace("-", " "), re.IGNORECASE))
        return "map" if comments else next(named, "map")  # a comment tells images of one series apart
    component = header.text("ComplexImageComponent").lower()
    if component in _GE_PARTS:
        return component
    ge_part = as_number(header.private(*_GE, 0x2F))
    if ge_part in range(4):
        return _GE_PARTS[int(ge_part or 0)]
    for part, marks in (
        ("phase", {"P", "PHASE", "PHASE MAP", "VELOCITY MAP"}),
        ("real", {"R", "REAL"}),
        ("imaginary", {"I", "IMAGINARY"}),
    ):
        if marks & set(words[2:]):
            return part
    return "magnitude"


def _rescaling(header: Header, is_map: bool) -> tuple[float, float]:
    """Slope and intercept of the stored values; Philips's images of a series may each have another scale.

    For Philips, value = (stored RS + RI) / (RS SS), which can be compared between images (Chenevert et al., Transl
    Oncol 7:65, 2014); SS is (2005,100E). A map has a unit, which the rescaled value stored RS + RI is in. Assumed.
    """
    slope, intercept = header.number("RescaleSlope"), header.number("RescaleIntercept") or 0.0
    scale = as_number(header.private(*_PHILIPS_MR, 0x0E))
    if slope and scale and not is_map:
        return 1 / scale, intercept / (slope * scale)
    return slope or 1.0, intercept
