"""Masks and maps as DICOM objects that refer to the images they were made from (DICOM PS3.3, A.51 and A.75).

Patient and study are those of the images; manufacturer and version are this package's.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import highdicom
import numpy as np
from highdicom.pm import ParametricMap, RealWorldValueMapping
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

import nnunet_phys
from nnunet_phys.errors import InputError, last_line
from nnunet_phys.image_files import SLICE_OF_2D_MM
from nnunet_phys.pictures import ECV_WINDOW, MAP_WINDOWS
from nnunet_phys.precomputed_spin.dicom.frame import Frame
from nnunet_phys.precomputed_spin.dicom.source import SourceImages
from nnunet_phys.precomputed_spin.dicom.stack import are_even, same_plane

_SERIAL_NUMBER = "0"
"""DICOM wants one; a program has none."""
_DIGITS = 6
"""After the point: a decimal string of DICOM has 16 characters."""
_SERIES_STEP = 100
"""Our series have the numbers 100 N + 1, 100 N + 2, ... where N is that of the images."""
_BLOOD = codes.SCT.BodySubstance, codes.SCT.Blood
_SEGMENTS: dict[str, tuple[str, tuple[Code, Code], list[Code]]] = {
    "RV": ("RV blood pool", _BLOOD, [codes.SCT.RightVentricle]),
    "MYO": ("LV myocardium", (codes.SCT.AnatomicalStructure, codes.SCT.LeftVentricleMyocardium), []),
    "LV": ("LV blood pool", _BLOOD, [codes.SCT.LeftVentricle]),
}
"""Structure to label, to category and type of the property, and to the anatomic region: SNOMED CT, by pydicom's
dictionary. Blood pool has no code of its own there: it is the blood in a ventricle."""


@dataclass(frozen=True)
class MaskMaker:
    """What made a mask.

    Attributes:
        version: of nnunet_phys.
        model: name of the network's trainer, plans and configuration.
        corrected: the mask was corrected by hand since.
    """

    version: str
    model: str
    corrected: bool


@dataclass(frozen=True)
class Quantity:
    """What a map holds.

    Attributes:
        title: in plain words.
        label: for DICOM, capitals and digits.
        code: of the quantity.
        unit: UCUM.
        top: greatest value that a viewer shows at first.
        greatest: values above have no meaning and are not written.
    """

    title: str
    label: str
    code: Code
    unit: Code
    top: float
    greatest: float

    def written(self, values: np.ndarray) -> np.ndarray:
        """The values that are written, float32; 0 where there is none."""
        return np.where((values > 0) & (values <= self.greatest), values, 0).astype(np.float32)


T1 = Quantity("T1", "T1", codes.DCM.T1, codes.UCUM.Millisecond, MAP_WINDOWS["T1, ms"], np.inf)
ECV = Quantity(
    "Extracellular volume",
    "ECV",
    Code("ECV", "99NNUNETPHYS", "Extracellular volume fraction"),  # no code in DICOM's or pydicom's dictionaries
    codes.UCUM.Percent,
    ECV_WINDOW,
    100.0,
)


def segmentation(source: SourceImages, masks: Mapping[str, np.ndarray], maker: MaskMaker) -> Dataset:
    """A Segmentation object: one binary segment per structure, numbered from 1 in the order of RV, MYO, LV.

    Args:
        source: the images.
        masks: RV, MYO and LV, as far as there are any, bool (slices, rows, columns); they do not overlap.
        maker: what made them.

    Raises:
        InputError: the images' headers do not allow for such an object.
    """
    algorithm = highdicom.AlgorithmIdentificationSequence(
        "nnunet_phys segment", codes.DCM.ArtificialIntelligence, maker.version, parameters={"model": maker.model}
    )
    kind = SegmentAlgorithmTypeValues.SEMIAUTOMATIC if maker.corrected else SegmentAlgorithmTypeValues.AUTOMATIC
    there = [name for name in _SEGMENTS if name in masks]
    descriptions, numbers = [], np.zeros(masks[there[0]].shape, np.uint8)
    for number, name in enumerate(there, 1):
        label, (category, structure), region = _SEGMENTS[name]
        description = SegmentDescription(
            number, label, category, structure, kind, algorithm, anatomic_regions=region or None
        )
        descriptions.append(description)
        numbers[masks[name]] = number
    return _made(
        highdicom.seg.Segmentation,
        source,
        numbers,
        codes.cid7203.SegmentationImageDerivation,
        1,
        "Segmentation of the heart",
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
        content_label="HEART",
        content_description=f"nnunet_phys segment{', corrected by hand' if maker.corrected else ''}",
    )


def parametric_map(
    source: SourceImages,
    values: np.ndarray,
    quantity: Quantity,
    method: str,
    further: Sequence[SourceImages] = (),
    offset: int = 2,
) -> Dataset:
    """A Parametric Map of float32 values; 0, which its mapping to real-world values leaves out, means none.

    Args:
        source: the images on whose grid it lies.
        values: (slices, rows, columns), 0 where there is none; some are above 0.
        quantity: what they are.
        method: how they were measured, in a few words.
        further: images of other series that it was made from.
        offset: tells the series of one source apart, from 2 on.

    Raises:
        InputError: the images' headers do not allow for such an object.
    """
    stored = quantity.written(values)
    there = stored[stored > 0]
    mapping = RealWorldValueMapping(
        lut_label=quantity.label,
        lut_explanation=f"{quantity.title} ({quantity.unit.value}), 0: no value",
        unit=quantity.unit,
        value_range=(float(there.min()), float(there.max())),
        slope=1.0,
        intercept=0.0,
        quantity_definition=quantity.code,
    )
    made = _made(
        ParametricMap,
        source,
        stored,
        codes.DCM.UnspecifiedMethodOfCalculation,
        offset,
        f"{quantity.title} map ({method})",
        further,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[
            highdicom.VOILUTTransformation(window_center=quantity.top / 2, window_width=quantity.top)
        ],
        content_label=f"{quantity.label}MAP",
        content_description=f"nnunet_phys quantify, {method}",
    )
    made.FloatPixelPaddingValue = made.FloatPixelPaddingRangeLimit = 0.0  # a range of this value: dciodvfy wants both
    return made


def _made(
    kind: type,
    source: SourceImages,
    pixels: np.ndarray,
    derivation: Code,
    offset: int,
    description: str,
    further: Sequence[SourceImages] = (),
    **more: Any,
) -> Dataset:
    """An object of highdicom.

    Raises:
        InputError: highdicom refuses the images.
    """
    headers = [*source.headers.values()]
    # highdicom takes one multi-frame file, or any number of classic ones, to place the pixels
    main = headers[:1] if "PerFrameFunctionalGroupsSequence" in headers[0] else headers
    others = [*headers[len(main) :], *(header for images in further for header in images.headers.values())]
    positions = [highdicom.PlanePositionSequence("PATIENT", position) for position in source.positions]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about names of patients, which it would print
            made = kind(
                source_images=main,
                further_source_images=others,
                pixel_array=pixels,
                plane_positions=positions,
                series_instance_uid=highdicom.UID(),
                series_number=_SERIES_STEP * source.series.number + offset,
                series_description=description,
                sop_instance_uid=highdicom.UID(),
                instance_number=1,
                manufacturer="nnunet_phys",
                manufacturer_model_name="nnunet_phys export_dicom",
                software_versions=nnunet_phys.__version__,
                device_serial_number=_SERIAL_NUMBER,
                **more,
            )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise InputError(
            f"{source.series.title}: highdicom makes no object that refers to these images ({last_line(error)}). "
            f"Correct the header of {source.slices[0][0].path}."
        ) from None
    (measures,) = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    _measure_slices(measures, source)
    _refer(made, (source, *further), source, derivation)
    made.BodyPartExamined = "HEART"  # no paired organ, so that no laterality is missing
    return made


def _measure_slices(measures: Dataset, source: SourceImages) -> None:
    """Write thickness and distance of the slices as they lie; headers may state 0, or nothing, or another distance."""
    gaps = np.linalg.norm(np.diff(source.positions, axis=0), axis=1)
    thickness = source.slices[0][0].slice_mm or (float(gaps.min()) if len(gaps) else SLICE_OF_2D_MM)
    measures.SliceThickness = round(thickness, _DIGITS)
    if not are_even(gaps):
        measures.pop("SpacingBetweenSlices", None)  # enhanced files need not state it
    else:
        measures.SpacingBetweenSlices = round(float(gaps.mean()) if len(gaps) else thickness, _DIGITS)


def _refer(made: Dataset, images: Sequence[SourceImages], source: SourceImages, derivation: Code) -> None:
    """Let each frame of an object refer to all images at its place.

    highdicom does so for positions that agree to the last digit, and for a single multi-frame file.
    """
    at_place = [
        [
            _reference(of, frame)
            for of in images
            for frames in of.slices
            if same_plane(frames[0], here[0])
            for frame in frames
        ]
        for here in source.slices
    ]
    for group in made.PerFrameFunctionalGroupsSequence:
        position = group.PlanePositionSequence[0].ImagePositionPatient
        distances = np.linalg.norm(np.subtract(source.positions, np.array(position, float)), axis=1)
        item = Dataset()
        item.DerivationCodeSequence = [CodedConcept.from_code(derivation)]
        item.SourceImageSequence = deepcopy(at_place[int(distances.argmin())])
        group.DerivationImageSequence = [item]


def _reference(images: SourceImages, frame: Frame) -> Dataset:
    header, item = images.headers[frame.path], Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    if "PerFrameFunctionalGroupsSequence" in header:
        item.ReferencedFrameNumber = frame.index + 1
    item.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(codes.DCM.SourceImageForImageProcessingOperation)]
    item.SpatialLocationsPreserved = "YES"
    return item
