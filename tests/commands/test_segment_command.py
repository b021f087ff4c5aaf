"""`nnunet_phys segment`: what it writes, that `quantify` reads it, how it goes on, and how it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from nnunet_phys.commands import main
from nnunet_phys.commands.shared.segmentation_model import SegmentationModel
from nnunet_phys.digital_heart import LABELS, digital_heart
from nnunet_phys.image_files import Geometry, read_image, write_volume
from nnunet_phys.sequences import MOLLI

SHAPE = (80, 72)
GEOMETRY = Geometry((SHAPE[1], SHAPE[0], 2), (2.5, 2.5, 10.0), (10.0, -20.0, 30.0), (1.0, 0, 0, 0, 1, 0, 0, 0, 1))
CASE = "012_MOLLI"


class Study:
    """A folder of `import` with a MOLLI series whose readout 2 was displaced, and a stand-in for its model.

    Attributes:
        scans: the folder.
        still: the readouts as they were before, (readouts, slices, rows, columns).
        labels: where the heart lies in most of them, (slices, rows, columns).
        calls: how many images were segmented.
    """

    moved, by = 2, (3.0, -4.0)

    def __init__(self, folder: Path) -> None:
        self.scans, self.calls = folder / "scans", 0
        heart = digital_heart(seed=5, slices=3, shape=SHAPE)
        self.labels = heart.labels[:2]
        sequence = MOLLI(rr_ms=900.0)
        self.still = 500 * sequence(heart.maps).abs().numpy()[:, :2]
        times = list(sequence.inversion_times_ms)
        for k, image in enumerate(self.readouts()):
            write(self.scans / "molli" / f"{CASE}_ti{k:02d}_0000.nii.gz", image)
        protocol = [{"sequence": "molli", "flip_angle_deg": 35.0, "inversion_times_ms": times}]
        content = {"inversion_times_ms": times, "protocol": protocol}
        (self.scans / "molli" / f"{CASE}.json").write_text(json.dumps(content))
        write(self.scans / "references" / f"{CASE}_T1map.nii.gz", heart.maps.t1.numpy()[:2])

    def readouts(self) -> list[np.ndarray]:
        images = list(self.still)
        images[self.moved] = np.abs(shift(images[self.moved], (0, *self.by), order=3, mode="nearest"))
        return images

    def image(self, readout: int) -> Path:
        return self.scans / "molli" / f"{CASE}_ti{readout:02d}_0000.nii.gz"

    def probabilities(self, image: np.ndarray, voxel_mm: tuple[float, ...]) -> np.ndarray:
        """What a good network says of readout 0, 1, ...; and of whatever comes after them, such as a translation."""
        assert image.shape == self.labels.shape and voxel_mm == (10.0, 2.5, 2.5)
        by = self.by if self.calls == self.moved else (0, 0)
        self.calls += 1
        found = np.stack([gaussian_filter((self.labels == c).astype(np.float32), (0, 0.5, 0.5)) for c in range(4)])
        sharp = shift(found, (0, 0, *by), order=1, mode="nearest") ** 4 + 1e-6
        return sharp / sharp.sum(0)

    def model(self, record: str = "stand-in") -> SegmentationModel:
        """The stand-in."""
        study = self

        class StandIn(SegmentationModel):
            description = {"channel_names": {"0": "MRI"}, "labels": LABELS}  # noqa: RUF012

            def probabilities(self, image, voxel_mm):
                return study.probabilities(image, voxel_mm)

        return StandIn(None, LABELS, {"model": record})


def write(path: Path, values: np.ndarray, geometry: Geometry = GEOMETRY) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, values, geometry)


@pytest.fixture
def study(tmp_path, monkeypatch) -> Study:
    study = Study(tmp_path)
    monkeypatch.setattr(SegmentationModel, "open", lambda *_: study.model())
    return study


@pytest.fixture
def results(tmp_path) -> Path:
    return tmp_path / "results"


def segment(scans: Path, results: Path, *more, model: Path | str = "model") -> list[str]:
    arguments = ["segment", "-i", scans, "-o", results, "-model", model, "-device", "cpu", "--disable_progress_bar"]
    return [*map(str, arguments), *map(str, more)]


def record(results: Path) -> dict:
    return json.loads((results / "segment.json").read_text())


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def dice(mask: np.ndarray, labels: np.ndarray) -> float:
    return float(
        np.mean(
            [2 * ((mask == c) & (labels == c)).sum() / ((mask == c).sum() + (labels == c).sum()) for c in (1, 2, 3)]
        )
    )


def test_quantify_reads_what_is_written(study, results, tmp_path, capsys):
    assert main(segment(study.scans, results, "--readouts_only")) == 0
    assert "1 case made" in capsys.readouterr().err
    readouts = [f"images/{CASE}_ti{k:02d}_0000.nii.gz" for k in range(8)]
    assert names(results) == sorted(
        [
            *readouts,
            f"images/{CASE}.json",
            f"masks/{CASE}.nii.gz",
            f"references/{CASE}_T1map.nii.gz",
            "dataset.json",
            "segment.json",
        ]
    )
    mask = read_image(results / "masks" / f"{CASE}.nii.gz")
    assert dice(mask, study.labels) > 0.97
    assert json.loads((results / "dataset.json").read_text())["labels"] == LABELS
    assert main(["quantify", "-i", str(results), "-o", str(tmp_path / "report"), "--disable_progress_bar"]) == 0
    methods = {row["method"] for row in json.loads((tmp_path / "report" / "study.json").read_text())["segments"]}
    assert methods == {"fit", "scanner"}


def test_the_readout_that_moved_is_registered_and_no_other(study, results):
    assert main(segment(study.scans, results, "--readouts_only")) == 0
    entry = record(results)["cases"][CASE]
    for k in range(8):
        written = results / "images" / study.image(k).name
        readout = entry["readouts"][f"{CASE}_ti{k:02d}_0000"]
        by = np.multiply(study.by, -2.5) if k == study.moved else (0, 0)
        np.testing.assert_allclose(readout["shift_mm"], [by, by], atol=0.4)
        assert readout["registered_slices"] == ([0, 1] if k == study.moved else [])
        assert (written.read_bytes() == study.image(k).read_bytes()) == (k != study.moved)
    heart, still = study.labels > 0, study.still[study.moved]
    before = np.abs(read_image(study.image(study.moved)) - still)[heart].mean()
    after = np.abs(read_image(results / "images" / study.image(study.moved).name) - still)[heart].mean()
    assert after < 0.3 * before
    assert not entry["flags"] and min(entry["agreement"]) > 0.95


def test_the_translated_image_counts_too(study, results, prior):
    assert main(segment(study.scans, results, "-prior", prior, "--keep_readouts")) == 0
    content = record(results)
    assert study.calls == 9 and content["settings"]["translation"]["sequence"] == "bssfp"
    readouts = content["cases"][CASE]["readouts"]
    assert [*readouts][-1] == "translated"
    assert sum(readout["weight"][0] for readout in readouts.values()) == pytest.approx(1, abs=0.01)
    kept = [f"{CASE}_ti{k:02d}.nii.gz" for k in range(8)]
    assert names(results / "readouts") == sorted([*kept, f"{CASE}_translated.nii.gz"])


def test_what_is_finished_is_skipped_and_a_corrected_mask_stays(study, results, edit_image, capsys):
    assert main(segment(study.scans, results, "--readouts_only")) == 0
    edit_image(results / "masks" / f"{CASE}.nii.gz", lambda mask: np.where(mask == 3, 0, mask))
    corrected = (results / "masks" / f"{CASE}.nii.gz").read_bytes()
    assert main(segment(study.scans, results, "--readouts_only")) == 0
    assert "1 of 1 case is finished and skipped" in capsys.readouterr().err and study.calls == 8
    assert (results / "masks" / f"{CASE}.nii.gz").read_bytes() == corrected
    (results / "masks" / f"{CASE}.nii.gz").unlink()  # as after a kill
    study.calls = 0
    assert main(segment(study.scans, results, "--readouts_only")) == 0 and study.calls == 8
    assert (results / "masks" / f"{CASE}.nii.gz").is_file()


def test_what_a_map_was_computed_from_can_be_corrected_on_either_side(study, results):
    """In the imported folder, the next call takes it over; in the results, it stays."""
    beside, other = study.scans / "references" / f"{CASE}.json", '{"readouts": ["other"]}'
    copy = results / "references" / beside.name
    for said in ('{"readouts": []}', other):
        beside.write_text(said)
        assert main(segment(study.scans, results, "--readouts_only")) == 0
        assert copy.read_text() == said
    assert study.calls == 8
    copy.write_text('{"readouts": ["mine"]}')
    beside.write_text('{"readouts": []}')
    _second_case(study)
    for _ in range(2):
        assert main(segment(study.scans, results, "--readouts_only")) == 0
        assert copy.read_text() == '{"readouts": ["mine"]}'


def test_a_corrected_mask_is_not_undone_because_another_file_is_gone(study, results, edit_image, refused):
    assert main(segment(study.scans, results, "--readouts_only")) == 0
    edit_image(results / "masks" / f"{CASE}.nii.gz", lambda mask: np.where(mask == 3, 0, mask))
    (results / "images" / study.image(3).name).unlink()
    refused(segment(study.scans, results, "--readouts_only"), "is gone, and ", f"{CASE}.nii.gz was corrected")


def test_a_mask_that_is_cut_short_is_not_a_corrected_one(study, results, refused):
    assert main(segment(study.scans, results, "--readouts_only")) == 0
    mask = results / "masks" / f"{CASE}.nii.gz"
    mask.write_bytes(mask.read_bytes()[:100])
    refused(segment(study.scans, results, "--readouts_only"), f"{CASE}: {mask}", "Remove it to make it again.")
    mask.unlink()
    assert main(segment(study.scans, results, "--readouts_only")) == 0


def test_other_times_make_other_results(study, results, refused):
    assert main(segment(study.scans, results, "--readouts_only")) == 0
    path = study.scans / "molli" / f"{CASE}.json"
    path.write_text(path.read_text().replace("[", "[ ", 1))
    refused(segment(study.scans, results, "--readouts_only"), f"from other images or another {CASE}.json")
    assert main(segment(study.scans, results, "--readouts_only", "--overwrite")) == 0


def _second_case(study) -> None:
    for path in [study.image(k) for k in range(8)]:
        shutil.copyfile(path, path.with_name(path.name.replace("012", "031")))
    shutil.copyfile(study.scans / "molli" / f"{CASE}.json", study.scans / "molli" / "031_MOLLI.json")


def test_overwriting_chosen_cases_leaves_the_others(study, results, edit_image, refused):
    _second_case(study)
    assert main(segment(study.scans, results, "--readouts_only")) == 0
    other = results / "masks" / "031_MOLLI.nii.gz"
    edit_image(other, lambda mask: np.where(mask == 3, 0, mask))
    corrected, study.calls = other.read_bytes(), 0
    assert main(segment(study.scans, results, "--readouts_only", "--overwrite", "-only", "012*")) == 0
    assert study.calls == 8 and other.read_bytes() == corrected
    assert sorted(record(results)["cases"]) == [CASE, "031_MOLLI"]
    refused(
        segment(study.scans, results, "--readouts_only", "--overwrite", "-only", "012*", "--keep_readouts"),
        "holds results of 031_MOLLI of other settings (keep_readouts)",
    )


def test_overwriting_all_replaces_another_study(study, results):
    assert main(segment(study.scans, results, "--readouts_only")) == 0
    _second_case(study)
    for path in (study.scans / "molli").glob(f"{CASE}*"):
        path.unlink()
    (study.scans / "references" / f"{CASE}_T1map.nii.gz").unlink()
    assert main(segment(study.scans, results, "--readouts_only", "--overwrite")) == 0
    assert list(record(results)["cases"]) == ["031_MOLLI"] and not any(CASE in name for name in names(results))


def test_a_new_case_is_added_to_those_that_are_there(study, results):
    assert main(segment(study.scans, results, "--readouts_only", "-only", "012*")) == 0
    _second_case(study)
    study.calls = 0
    assert main(segment(study.scans, results, "--readouts_only")) == 0
    assert study.calls == 8 and sorted(record(results)["cases"]) == [CASE, "031_MOLLI"]


def test_files_that_are_gone_are_written_again(study, results):
    assert main(segment(study.scans, results, "--readouts_only")) == 0
    before = names(results)
    for gone in ("dataset.json", f"references/{CASE}_T1map.nii.gz"):
        (results / gone).unlink()
        assert main(segment(study.scans, results, "--readouts_only")) == 0
        assert names(results) == before


def test_series_are_added_to_single_images_though_only_they_are_translated(study, results, prior):
    write(study.scans / "molli" / "lge_0000.nii.gz", study.still[0])
    assert main(segment(study.scans, results, "-prior", prior, "-only", "lge")) == 0
    assert main(segment(study.scans, results, "-prior", prior)) == 0
    cases = record(results)["cases"]
    assert sorted(cases) == [CASE, "lge"] and "translated" in cases[CASE]["readouts"]


def test_other_settings_are_refused_until_overwritten(study, results, refused):
    assert main(segment(study.scans, results, "--readouts_only", "--keep_readouts")) == 0
    before = names(results)
    refused(segment(study.scans, results, "--readouts_only"), "holds results of other settings (keep_readouts)")
    assert names(results) == before
    study.calls = 0
    assert main(segment(study.scans, results, "--readouts_only", "--overwrite")) == 0
    assert study.calls == 8 and not any(name.startswith("readouts/") for name in names(results))


def test_frames_of_a_cine_and_single_images_get_a_mask_each(study, results, tmp_path):
    cine = Geometry(GEOMETRY.size, GEOMETRY.spacing, GEOMETRY.origin, GEOMETRY.direction, 3)
    write(tmp_path / "cine" / "beat_0000.nii.gz", study.still[:3], cine)
    write(tmp_path / "cine" / "lge_0000.nii.gz", study.still[0])
    assert main(segment(tmp_path / "cine", results)) == 0
    masks = results / "masks"
    assert Geometry.read(masks / "beat.nii.gz").volumes == 3 and Geometry.read(masks / "lge.nii.gz").volumes == 1
    centres = [np.argwhere(read_image(masks / "beat.nii.gz", t) == 3).mean(0)[1:] for t in range(3)]
    np.testing.assert_allclose(centres[2] - centres[0], study.by, atol=0.3)
    assert dice(read_image(masks / "lge.nii.gz"), study.labels) > 0.97
    assert record(results)["cases"]["beat"].keys() == {"images", "files", "flags"}


def test_a_heart_that_is_not_found_is_flagged(study, results, monkeypatch, capsys):
    study.labels = np.where(study.labels == 2, 0, study.labels)
    assert main(segment(study.scans, results, "--readouts_only")) == 0
    (first, *_) = record(results)["cases"][CASE]["flags"]
    assert first == f"{CASE}, slice 0: a cavity without myocardium" and first in capsys.readouterr().err


def remove_readout(study):
    study.image(3).unlink()


def remove_readout_and_times(study):
    remove_readout(study)
    (study.scans / "molli" / f"{CASE}.json").unlink()


def other_grid(study):
    write(study.image(3), study.still[3][:, :-2], Geometry((SHAPE[1], SHAPE[0] - 2, 2), *GEOMETRY_REST))


def blank(study):
    write(study.image(3), np.zeros_like(study.still[3]))


def in_one_file(study):
    for k in range(8):
        study.image(k).unlink()
    write(study.scans / "molli" / f"{CASE}_0000.nii.gz", study.still, Geometry(GEOMETRY.size, *GEOMETRY_REST, 8))


def no_images(study):
    shutil.rmtree(study.scans)
    study.scans.mkdir()


def broken_description(study):
    (study.scans / "molli" / f"{CASE}.json").write_text("[]")


GEOMETRY_REST = (GEOMETRY.spacing, GEOMETRY.origin, GEOMETRY.direction)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (remove_readout, "8 inversion_times_ms in"),
        (remove_readout_and_times, "numbered from _ti00 without a gap"),
        (other_grid, "differs in geometry from"),
        (blank, "has no signal above 0"),
        (in_one_file, "Write each readout as a file"),
        (no_images, "holds no image"),
        (broken_description, "is not an object"),
    ],
)
def test_refused_scans(study, results, refused, damage, expected):
    damage(study)
    refused(segment(study.scans, results, "--readouts_only"), expected)
    assert not results.exists() and study.calls == 0


def test_no_case_of_that_name(study, results, refused):
    refused(segment(study.scans, results, "-only", "013_MOLLI"), "no case has this name (did you mean '012_MOLLI'?)")


def test_a_folder_of_others_is_refused(study, results, refused):
    write(results / "masks" / "mine.nii.gz", study.labels)
    refused(segment(study.scans, results), "is not empty, and nnunet_phys segment did not fill it")
    refused(segment(study.scans, study.scans), "is a folder that is read from")


def test_a_file_in_the_way_and_changed_images_are_refused(study, results, refused):
    assert main(segment(study.scans, results, "--readouts_only", "-only", "012*")) == 0
    write(results / "masks" / "031_MOLLI.nii.gz", study.labels)
    for path in [study.image(k) for k in range(8)]:
        shutil.copyfile(path, path.with_name(path.name.replace("012", "031")))
    refused(segment(study.scans, results, "--readouts_only"), "masks/031_MOLLI.nii.gz is there, and segment did not")
    write(study.image(0), study.still[1])
    refused(segment(study.scans, results, "--readouts_only", "-only", "012*"), "were made from other images")


def test_quantify_says_which_labels_it_needs(study, results, tmp_path, refused):
    assert main(segment(study.scans, results, "--readouts_only")) == 0
    description = json.loads((results / "dataset.json").read_text())
    labels = {"background": 0, "blood": 1, "myocardium": 2, "other": 3}
    (results / "dataset.json").write_text(json.dumps(description | {"labels": labels}))
    refused(["quantify", "-i", str(results), "-o", str(tmp_path / "report")], "names no LV")
