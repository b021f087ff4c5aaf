"""Data of the commands' tests: series, DICOM files, a trained model, a study to quantify; what a refusal looks like."""

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from known_segments import Patient, write_study

import nnunet_phys.trainers
from nnunet_phys.augmentations.recipe_files import CHECKPOINT_ENTRY
from nnunet_phys.commands import main
from nnunet_phys.map_files import load_maps
from nnunet_phys.sequences import MOLLI

QUICKLY = ("-device", "cpu", "-steps", "3", "--disable_progress_bar")


@pytest.fixture
def fresh(tiny):
    """The tiny data set without maps."""
    for path in tiny.maps.iterdir():
        path.unlink()
    return tiny


@pytest.fixture
def series(tiny, tmp_path):
    """MOLLI readouts of two cases, one file each, and their inversion times."""
    folder, sequence = tmp_path / "series", MOLLI(rr_ms=750.0)
    folder.mkdir()
    for case in tiny.cases[:2]:
        maps = load_maps(tiny.maps, case, ".nii.gz", tiny.image(case))
        for i, readout in enumerate(sequence(maps)):
            image = sitk.GetImageFromArray(300 * readout.abs().numpy())
            image.CopyInformation(sitk.ReadImage(str(tiny.image(case))))
            sitk.WriteImage(image, str(folder / f"{case}_ti{i:02d}_0000.nii.gz"))
        (folder / f"{case}.json").write_text(json.dumps({"inversion_times_ms": sequence.inversion_times_ms}))
    return folder


@pytest.fixture
def reverse(prior):
    """Makes arguments of `nnunet_phys reverse` for the tiny data set."""
    return lambda *options: ["reverse", "-d", "900", *QUICKLY, "-prior", prior, *options]


@pytest.fixture
def reverse_folder(prior):
    """Makes arguments of `nnunet_phys reverse` for a folder of images."""
    return lambda folder, out, *options: [
        *("reverse", "-i", str(folder), "-o", str(out), *QUICKLY, "-prior", prior),
        *options,
    ]


@pytest.fixture
def refused(capsys):
    """Asserts that a command is refused, and that every expected text stands in one of the lines on stderr."""

    def check(arguments, *expected):
        capsys.readouterr()
        assert main(["-q", *arguments]) == 1
        lines = capsys.readouterr().err.splitlines()
        assert all(line.startswith("nnunet_phys: ") for line in lines)
        for text in expected:
            assert any(text in line for line in lines), lines

    return check


class Scanner:
    """Writes small MR images as scanners export them. What is written again has the same UIDs.

    Attributes:
        folder: where the files go.
    """

    shape = (40, 48)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def pixels(self, seed: float = 0) -> np.ndarray:
        """Stored values of an image, (rows, columns)."""
        return np.random.default_rng(int(seed)).integers(100, 2000, self.shape).astype(np.uint16)

    def image(self, name: str, pixels: np.ndarray | None = None, private: dict | None = None, **attributes) -> Path:
        """Write a classic file.

        Args:
            name: the file's name.
            pixels: stored values.
            private: (group, creator, element) to (VR, value).
            attributes: by keyword, beside or instead of usual ones; None leaves one out.
        """
        dataset = self._dataset("MRImageStorage", name, attributes)
        for (group, creator, element), (kind, value) in (private or {}).items():
            dataset.private_block(group, creator, create=True).add_new(element, kind, value)
        return self._save(dataset, name, self.pixels() if pixels is None else pixels)

    def series(self, count: int, **attributes) -> list[Path]:
        """Write classic files. A list has one value per image, a tuple holds the several values of each."""
        number = attributes.get("SeriesNumber", 1)
        return [
            self.image(
                f"{number}_{k}.dcm",
                self.pixels(k),
                **{
                    "InstanceNumber": k + 1,
                    "AcquisitionTime": f"1015{k:02d}.500",
                    **{key: value[k] if isinstance(value, list) else value for key, value in attributes.items()},
                },
            )
            for k in range(count)
        ]

    def enhanced(self, name: str, groups: list[dict], **attributes) -> Path:
        """Write a multi-frame file.

        Args:
            name: the file's name.
            groups: per frame, keyword of a functional group to its attributes; positions have a default.
            attributes: as for `image`.
        """
        from pydicom.dataset import Dataset
        from pydicom.sequence import Sequence

        def item(values: dict) -> Dataset:
            made = Dataset()
            for keyword, value in values.items():
                setattr(made, keyword, Sequence([item(value)]) if isinstance(value, dict) else value)
            return made

        dataset = self._dataset("EnhancedMRImageStorage", name, attributes)
        shared = {
            "PixelMeasuresSequence": {"PixelSpacing": dataset.PixelSpacing, "SliceThickness": 8},
            "PlaneOrientationSequence": {"ImageOrientationPatient": dataset.ImageOrientationPatient},
        }
        position = {"PlanePositionSequence": {"ImagePositionPatient": dataset.ImagePositionPatient}}
        for keyword in ("PixelSpacing", "SliceThickness", "ImageOrientationPatient", "ImagePositionPatient"):
            delattr(dataset, keyword)
        dataset.SharedFunctionalGroupsSequence = Sequence([item(shared)])
        dataset.PerFrameFunctionalGroupsSequence = Sequence([item({**position, **group}) for group in groups])
        dataset.NumberOfFrames = len(groups)
        return self._save(dataset, name, np.stack([self.pixels(k) for k in range(len(groups))]))

    def _dataset(self, kind: str, name: str, attributes: dict):
        from pydicom import uid
        from pydicom.dataset import Dataset, FileMetaDataset

        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = getattr(uid, kind)
        number = attributes.get("SeriesNumber", 1)
        usual = {
            "PatientName": "Doe^Jane",
            "PatientID": "HOSP4711",
            "StudyDate": "20180709",
            "StudyInstanceUID": "1.2.3",
            "SeriesInstanceUID": f"1.2.3.{number}",
            "SOPInstanceUID": uid.generate_uid(entropy_srcs=[name]),
            "SeriesNumber": number,
            "Modality": "MR",
            "Manufacturer": "SIEMENS",
            "MagneticFieldStrength": 1.5,
            "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"],
            "InstanceNumber": 1,
            "EchoTime": 1.1,
            "RepetitionTime": 2.6,
            "FlipAngle": 35,
            "PixelSpacing": [4, 5],
            "SliceThickness": 8,
            "ImageOrientationPatient": [0.8, 0.6, 0, 0, 0, -1],
            "ImagePositionPatient": [10, 20, 30],
        }
        for keyword, value in {**usual, **attributes}.items():
            if value is not None:
                setattr(dataset, keyword, list(value) if isinstance(value, tuple) else value)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        return dataset

    def _save(self, dataset, name: str, pixels: np.ndarray) -> Path:
        dataset.Rows, dataset.Columns = self.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, 0
        dataset.PixelData = pixels.astype(np.uint16).tobytes()
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path, enforce_file_format=True)
        return path


@pytest.fixture
def scanner(tmp_path) -> Scanner:
    """Writes DICOM files into a folder."""
    return Scanner(tmp_path / "dicom")


@pytest.fixture
def import_folder(scanner, tmp_path):
    """Makes arguments of `nnunet_phys import` for what a scanner wrote."""
    return lambda out, *options: [
        *("import", "-i", str(scanner.folder), "-o", str(tmp_path / out), "--disable_progress_bar"),
        *options,
    ]


@pytest.fixture
def imported(import_folder, tmp_path):
    """Imports what a scanner wrote; returns the new folder."""

    def run(*options: str) -> Path:
        assert main(import_folder("scans", *options)) == 0
        return tmp_path / "scans"

    return run


@pytest.fixture
def export(scanner, tmp_path):
    """Makes arguments of `nnunet_phys export_dicom` for what a scanner wrote."""
    return lambda *options: [
        *("export_dicom", "-i", str(tmp_path / "results"), "-dicom", str(scanner.folder)),
        *("-o", str(tmp_path / "out"), *map(str, options)),
    ]


class Model:
    """A made-up model of two folds, of which the first also has a best checkpoint and a validation."""

    trainer = "nnUNetTrainerPhys"
    recipe: ClassVar = {"probability": 0.7}

    def __init__(self, tiny, channels: int = 1):
        from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        self.tiny = tiny
        self.results = tiny.root / "nnUNet_results"
        self.folder = self.results / "Dataset900_Tiny" / f"{self.trainer}__nnUNetPlans__2d"
        self.zip = tiny.root / "model.zip"
        plans, description = tiny.plans(), json.loads((tiny.preprocessed / "dataset.json").read_text())
        description["channel_names"] = {str(channel): "MRI" for channel in range(channels)}
        manager = PlansManager(plans)
        configuration = manager.get_configuration("2d")
        for fold in (0, 1):
            path = self.checkpoint(fold)
            (path.parent / "validation").mkdir(parents=True, exist_ok=True)
            torch.manual_seed(fold)
            network = nnUNetTrainer.build_network_architecture(manager, configuration, channels, 3)
            recipe = {CHECKPOINT_ENTRY: self.recipe}
            arguments = {"plans": plans, "configuration": "2d", "fold": fold, "dataset_json": description}
            checkpoint = {
                "network_weights": network.state_dict(),
                "optimizer_state": {},
                "logging": {"train_losses": [-0.5]},
                "current_epoch": 7,
                "init_args": {**arguments, "device": torch.device("cuda")} | ({} if fold else recipe),
                "trainer_name": self.trainer,
                "inference_allowed_mirroring_axes": (1,),
            }
            torch.save(checkpoint, path)
        torch.save(checkpoint, self.checkpoint(0, "best"))
        first = self.checkpoint(0).parent
        (first / "debug.json").write_text(json.dumps({"hostname": "my-computer"}))
        (first / "validation" / "summary.json").write_text("{}")
        validated = self.folder / "crossval_results_folds_0_1"
        validated.mkdir(exist_ok=True)
        for name in ("postprocessing.json", "case0.nii.gz"):
            (validated / name).touch()
        (self.folder / "plans.json").write_text(json.dumps(plans))
        (self.folder / "dataset.json").write_text(json.dumps(description))

    def checkpoint(self, fold: int, name: str = "final") -> Path:
        return self.folder / f"fold_{fold}" / f"checkpoint_{name}.pth"

    def edit(self, change, fold: int = 0) -> None:
        """Change the dictionary of a final checkpoint in place."""
        checkpoint = torch.load(self.checkpoint(fold), weights_only=False)
        change(checkpoint)
        torch.save(checkpoint, self.checkpoint(fold))

    def export(self, *options: str) -> int:
        return main(["export", "-d", "900", "-c", "2d", "-f", "0", "1", "-o", str(self.zip), *options])


@pytest.fixture
def model(tiny, monkeypatch) -> Model:
    monkeypatch.setenv("nnUNet_extTrainer", str(Path(nnunet_phys.trainers.__file__).parent))
    return Model(tiny)


@pytest.fixture
def cascade(tiny, model) -> Model:
    """The second stage of a cascade, which sees the image and the two labels of the first stage."""
    second = Model(tiny, channels=3)
    description, plans = (json.loads((second.folder / name).read_text()) for name in ("dataset.json", "plans.json"))
    description["channel_names"] = {"0": "MRI"}
    plans["configurations"]["2d"]["previous_stage"] = "3d_lowres"
    (second.folder / "dataset.json").write_text(json.dumps(description))
    (second.folder / "plans.json").write_text(json.dumps(plans))
    return second


@pytest.fixture
def study(tmp_path) -> Path:
    """Input of `nnunet_phys quantify` before contrast agent."""
    patient = Patient()
    write_study(tmp_path / "pre", patient.readouts(), patient.labels, patient.geometry)
    return tmp_path / "pre"


@pytest.fixture
def post(tmp_path) -> Path:
    """The same patient after contrast agent."""
    patient = Patient()
    write_study(tmp_path / "post", patient.readouts(post=True), patient.labels, patient.geometry, case="031_MOLLI_post")
    return tmp_path / "post"
