"""Images that are cut short, of another kind, in other units, or no images at all; and maps of the same sorts."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

REVERSE = "reverse -i {images} -o {out} -device cpu -steps 2 -prior {prior} --disable_progress_bar"
TRANSLATE = "translate -i {images} -o {out} -device cpu -steps 2 -prior {prior} --disable_progress_bar"
DATA_SET = "reverse -d 900 -o {out} -device cpu -steps 2 -prior {prior} --disable_progress_bar"
SYNTHESIZE = "synthesize -i {maps} -o {out} -sequence bssfp --disable_progress_bar"
GALLERY = "gallery -i {maps}/case0 -o page.html --disable_progress_bar"
TRAIN = "train_prior -i {maps} -o {out} -steps 1 -device cpu"
PREPROCESS = "preprocess -d 900 -c 2d -np 1"


def values(change):
    """Change the values of an image."""
    return lambda ground: ground.edit_image(change)


def spacing(*mm):
    """Change the spacing of an image: column, row, slice."""
    return lambda ground: ground.edit_header(lambda image: image.SetSpacing(mm))


def cut_short(*names):
    """Keep the first half of files, relative to the raw data set or the images."""

    def damage(ground):
        for name in names:
            path = ground.images / name if (ground.images / name).exists() else ground.raw / name
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return damage


def in_place_of_image(make):
    """Put something else in the place of an image."""

    def damage(ground):
        ground.image.unlink()
        make(ground.image)

    return damage


def nan_at(index):
    """One voxel that is NaN, which SimpleITK would read as 0."""

    def change(array):
        array = array.astype(np.float32)
        array[index] = np.nan
        return array

    return change


def peak(value):
    """One voxel of a huge value."""

    def change(array):
        array = array.astype(np.float64)
        array[1, 20, 20] = value
        return array

    return change


def maps(name, change, kind=np.float32):
    """Change the values of one of case0's maps, which have no record."""

    def damage(ground):
        (ground.maps / "case0.json").unlink()
        path = ground.maps / f"case0_{name}.nii.gz"
        before = sitk.ReadImage(str(path))
        after = sitk.GetImageFromArray(change(sitk.GetArrayFromImage(before).astype(kind)))
        after.CopyInformation(before)
        sitk.WriteImage(after, str(path))

    return damage


def rgb(path):
    """Write a colour image."""
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 40, 48, 3), np.uint8), isVector=True), str(path))


def five_axes(path):
    """Write an image of five axes."""
    import nibabel

    nibabel.save(nibabel.Nifti1Image(np.ones((48, 40, 3, 2, 2), np.float32), np.eye(4)), path)


def slices_first(image):
    """The slices on the first axis."""
    return sitk.PermuteAxes(image, (2, 0, 1))


def beside(name, of="case0_0000.nii.gz"):
    """Another image, converted to another format by its ending."""
    return lambda ground: sitk.WriteImage(sitk.ReadImage(str(ground.images / of)), str(ground.images / name))


def macos_files(ground):
    """What macOS leaves on foreign disks, beside images and maps."""
    for folder in (ground.images, ground.raw / "imagesTr", ground.maps):
        for path in list(folder.iterdir()):
            (folder / f"._{path.name}").write_bytes(b"\0\5\x16\7")


def pipe_for_json(ground):
    """A pipe that nobody writes to."""
    os.mkfifo(ground.file)


def pipe_for_record(ground):
    """A pipe for the record of a case's maps."""
    (ground.maps / "case0.json").unlink()
    os.mkfifo(ground.maps / "case0.json")


def link_to_itself(path):
    """A link that leads nowhere."""
    path.symlink_to(path)


IMAGES = {
    "a pipe": (REVERSE, "is not a regular file", in_place_of_image(os.mkfifo)),
    "a folder": (REVERSE, "is not a regular file", in_place_of_image(os.mkdir)),
    "a link to itself": (REVERSE, "is not a regular file", in_place_of_image(link_to_itself)),
    "an empty file": (REVERSE, "case0", in_place_of_image(lambda path: path.touch())),
    "text": (TRANSLATE, "case0", in_place_of_image(lambda path: path.write_text("hello"))),
    "an image cut short": (REVERSE, "cut short?", cut_short("case0_0000.nii.gz")),
    "two images cut short": (REVERSE, "case1", cut_short("case0_0000.nii.gz", "case1_0000.nii.gz")),
    "a data set's image cut short": (DATA_SET, "cut short?", cut_short("imagesTr/case0_0000.nii.gz")),
    "colours": (REVERSE, "case0", in_place_of_image(rgb)),
    "five axes": (REVERSE, "case0", in_place_of_image(five_axes)),
    "NaN": (REVERSE, "holds NaN", values(nan_at((1, 20, 20)))),
    "all NaN": (TRANSLATE, "holds NaN", values(nan_at(...))),
    "infinite": (REVERSE, "infinite values", values(peak(np.inf))),
    "1e22": (REVERSE, "holds values up to 1e+22", values(peak(1e22))),
    "1e300": (REVERSE, "case0", values(peak(1e300))),
    "z-scored": (REVERSE, "clearly negative", values(lambda a: (a - a.mean()) / a.std())),
    "all zero": (REVERSE, "no signal", values(lambda a: a * 0)),
    "all negative": (TRANSLATE, "no signal", values(lambda a: -1 - abs(a))),
    "labels": (REVERSE, "as label images do", values(lambda a: (a > np.median(a)).astype(np.uint8))),
    "tiny values": (REVERSE, "expected 1e-09 to 1e+09", values(lambda a: a * 1e-20)),
    "pixels of 25 mm": (REVERSE, "spacing is 25 mm", spacing(25, 25, 8)),
    "pixels of a micrometre": (REVERSE, "Fix its header", spacing(0.0014, 0.0014, 8)),
    "pixels in micrometres": (REVERSE, "Fix its header", spacing(1400, 1400, 8000)),
    "slices of a kilometre": (REVERSE, "slice spacing", spacing(1.4, 1.4, 1e6)),
    "slices on the first axis": (REVERSE, "along a row or column", lambda ground: ground.edit_header(slices_first)),
    "a crop of the heart": (REVERSE, "the prior needs", lambda ground: ground.edit_header(lambda i: i[:8, :8])),
    ".nii beside .nii.gz": (REVERSE, "end in .nii, .nii.gz", beside("other.nii")),
    "one case twice": (REVERSE, "have names of the same case", beside("case0.nii.gz")),
    "a format without floats": (REVERSE, "holds images that end in", beside("other.nrrd")),
    "a pipe for a protocol": (REVERSE + " -protocol {file}", "is not a regular file", pipe_for_json),
    "a pipe for a recipe": (SYNTHESIZE.replace("-sequence bssfp", "-recipe {file}"), "regular file", pipe_for_json),
    "a pipe for a record": (SYNTHESIZE, "is not a regular file", pipe_for_record),
}
MAPS = {
    "a map cut short": (SYNTHESIZE, "case0", cut_short("spinTr/case0_T1map.nii.gz")),
    "a map cut short in a gallery": (GALLERY, "case0", cut_short("spinTr/case0_T1map.nii.gz")),
    "a map cut short for nnU-Net": (PREPROCESS, "case0", cut_short("spinTr/case0_T1map.nii.gz")),
    "T1 is NaN": (SYNTHESIZE, "holds NaN", maps("T1map", lambda a: a * np.nan)),
    "T1 is NaN, for a prior": (TRAIN, "holds NaN", maps("T1map", lambda a: a * np.nan)),
    "T1 in seconds": (TRAIN, "case0", maps("T1map", lambda a: a / 1000)),
    "T1 in microseconds": (SYNTHESIZE, "case0", maps("T1map", lambda a: a * 1000)),
    "PD beyond float32": (SYNTHESIZE, "holds NaN or infinite", maps("PDmap", lambda a: a * 1e300, np.float64)),
    "R2 for T2": (PREPROCESS, "case0", maps("T2map", lambda a: 1000 / a)),
    "T2 above T1": (GALLERY, "case0", maps("T2map", lambda a: a * 0 + 5000)),
    "no PD": (PREPROCESS, "case0", maps("PDmap", lambda a: a * 0)),
    "a missing map": (SYNTHESIZE, "is missing", lambda ground: (ground.maps / "case0_PDmap.nii.gz").unlink()),
    "maps of two formats": (
        SYNTHESIZE,
        "end in",
        lambda ground: shutil.copy(ground.maps / "case0_T1map.nii.gz", ground.maps / "case0_T1map.nrrd"),
    ),
}
SKIPPED = {
    "macOS's files beside images": (REVERSE + " -fa 50", "2 cases made", macos_files),
    "macOS's files beside maps": (SYNTHESIZE, "from the maps of 6 cases", macos_files),
    "macOS's files in a data set": (PREPROCESS, "6 cases", macos_files),
}


@pytest.mark.parametrize("attack", [*IMAGES.values(), *MAPS.values()], ids=[*IMAGES, *MAPS])
def test_image(withstand, attack):
    withstand(*attack)


@pytest.mark.parametrize("attack", SKIPPED.values(), ids=SKIPPED)
def test_files_that_are_skipped(withstand, attack):
    withstand(*attack, status=0)
