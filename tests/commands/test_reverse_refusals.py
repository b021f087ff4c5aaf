"""What `nnunet_phys reverse` refuses before it starts: arguments, images, and folders for the results."""

import json
import os
import shutil
from collections import namedtuple

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunet_phys.commands import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-d", "901"], "901"),
        ([], "Give either -d DATASET or -i FOLDER"),
        (["-i", "nowhere"], "needs -o"),
        (["-i", "nowhere", "-o", "out"], "nowhere: no such folder"),
        (["-d", "900", "-num_parts", "2", "-part_id", "2"], "-part_id 2 of -num_parts 2"),
        (["-d", "900", "-device", "cpu", "-prior", "nothing"], "Prior 'nothing' has no prior.json"),
        (["-d", "900", "-device", "nodevice"], "-device nodevice is not available"),
        (["-d", "900", "-device", "cpu", "-fa", "0.6"], "radians"),
        (["-d", "900", "-device", "cpu", "-sequence", "bsfp"], "No sequence 'bsfp' (did you mean 'bssfp'?"),
        (["-d", "900", "-device", "cpu", "-sequence", "BSSFP"], "No sequence 'BSSFP' (did you mean 'bssfp'?"),
        (["-d", "900", "-device", "cpu", "-prior", "digital_hart"], "(did you mean 'digital_heart'?)"),
        (["-d", "900", "-device", "cpu", "--single"], "--single is for the readouts of one MOLLI"),
        (
            ["-d", "900", "-device", "cpu", "-protocol", "nowhere.json"],
            "-protocol nowhere.json is not readable JSON",
        ),
        (["-d", "900", "-device", "cpu", "-sequence", "molli"], "A data set (-d) has one image a case"),
    ],
)
def test_bad_arguments(fresh, refused, arguments, message):
    refused(["reverse", *arguments], message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-steps", "1"], "argument -steps: 1 is less than 2"),
        (["-batch", "0"], "argument -batch: 0 is less than 1"),
        (["-batch", "1000000"], "argument -batch: 1000000 is more than 256"),
        (["-samples", "0"], "argument -samples: 0 is less than 1"),
        (["-seed", "-1"], "argument -seed: -1 is less than 0"),
        (["-num_parts", "0"], "argument -num_parts: 0 is less than 1"),
        (["-o", ""], "argument -o: it is empty: name a file or folder"),
        (["-single"], "-single (did you mean '--single'?)"),
    ],
)
def test_arguments_that_the_parser_refuses(arguments, message, capsys):
    with pytest.raises(SystemExit):
        main(["reverse", "-d", "900", *arguments])
    printed = capsys.readouterr().err
    assert "usage: nnunet_phys reverse" in printed and message in printed


def test_options_that_contradict_each_other(fresh, refused, tmp_path, reverse):
    protocol = tmp_path / "protocol.json"
    protocol.write_text('{"sequence": "gre"}')
    refused(reverse("-sequence", "bssfp", "-protocol", str(protocol)), "-sequence bssfp and -protocol")
    refused(reverse("--save_samples"), "--save_samples with -samples 1")
    assert not list(fresh.maps.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_no_gpu(fresh, refused):
    refused(["reverse", "-d", "900", "-device", "cuda"], "-device cuda is not available", "Use -device cpu")


def test_unset_path_variables(monkeypatch, refused):
    monkeypatch.delenv("nnUNet_raw", raising=False)
    refused(["reverse", "-d", "900"], "nnUNet_raw is not set")
    refused(["phantom", "-d", "900"], "nnUNet_raw is not set")


def test_all_faulty_images_are_reported_before_work_starts(fresh, refused, reverse, edit_image):
    edit_image(fresh.image("case1"), lambda a: np.full_like(a, np.nan))
    edit_image(fresh.image("case2"), np.zeros_like)
    fresh.image("case3").write_bytes(fresh.image("case3").read_bytes()[:200])
    small = sitk.ReadImage(str(fresh.image("case4")))[:20]
    sitk.WriteImage(small, str(fresh.image("case4")))
    refused(
        reverse(),
        f"case1: {fresh.image('case1')} holds NaN",
        f"case2: {fresh.image('case2')} has no signal",
        "case3: ",
        "mm in plane, the prior needs 40 mm",
    )
    assert not list(fresh.maps.iterdir())


def test_labels_in_place_of_images(fresh, refused, tmp_path, reverse_folder):
    arguments = reverse_folder(fresh.raw / "labelsTr", tmp_path / "out")
    refused(arguments, "case0: ", "different values, as label images do")


def test_a_data_set_of_several_channels(fresh, refused):
    path = fresh.raw / "dataset.json"
    description = json.loads(path.read_text()) | {"channel_names": {"0": "cine", "1": "LGE"}}
    path.write_text(json.dumps(description))
    refused(["reverse", "-d", "900"], "2 input channels (0: cine, 1: LGE)")


def test_a_data_set_of_4d_files(fresh, refused, reverse):
    volume = sitk.ReadImage(str(fresh.image("case0")))
    sitk.WriteImage(sitk.JoinSeries([volume, volume]), str(fresh.image("case0")))
    refused(reverse(), "case0: ", "is 4-D. A data set holds volumes")


def test_folders_without_usable_images(fresh, refused, tmp_path, reverse_folder):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    refused(reverse_folder(folder, out), "holds no image")
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "case.nii.gz")
        refused(reverse_folder(folder, out), "case.nii.gz is not a regular file")
        (folder / "case.nii.gz").unlink()
    (folder / "a.nii").touch()
    refused(reverse_folder(folder, out), "holds images that end in .nii. Give", "such as .nii.gz")
    (folder / "a.nii").unlink()
    shutil.copy(fresh.image("case0"), folder / "a.nii.gz")
    colours = sitk.GetImageFromArray(np.ones((2, 40, 40, 3), np.uint8), isVector=True)
    sitk.WriteImage(colours, str(folder / "rgb.nii.gz"))
    refused(reverse_folder(folder, out), "rgb: ", "3 values per pixel")
    shutil.copy(fresh.image("case0"), folder / "a_0000.nii.gz")
    refused(reverse_folder(folder, out), "a: ", "have names of the same case")
    assert not out.exists()


def test_folders_that_cannot_take_maps(fresh, tmp_path, refused, monkeypatch, reverse, reverse_folder):
    images = fresh.raw / "imagesTr"
    refused(reverse("-o", str(images)), "is a folder that is read from")
    refused(reverse_folder(images, images), "is a folder that is read from")
    (tmp_path / "file").write_text("")
    refused(reverse("-o", str(tmp_path / "file" / "maps")), "cannot be written to")
    refused(reverse_folder(images, tmp_path / "file"), "file is a file. Name a folder")
    usage = namedtuple("usage", "total used free")(1, 1, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    refused(reverse(), "MiB are free, the results may take")


def test_a_protocol_without_a_sequence_is_named(fresh, refused, tmp_path, reverse):
    path = tmp_path / "protocol.json"
    path.write_text('[{"sequence": "bssfp"}, {"sequnce": "gre"}]')
    refused(reverse("-protocol", str(path)), f"-protocol {path}: 'sequence' is missing (did you mean 'sequnce'?)")


def test_a_format_without_fractions_is_refused_before_the_work(fresh, refused, reverse):
    path = fresh.raw / "dataset.json"
    path.write_text(path.read_text().replace(".nii.gz", ".png"))
    pixels = np.random.default_rng(0).integers(0, 999, (32, 32)).astype(np.uint16)
    sitk.WriteImage(sitk.GetImageFromArray(pixels), str(fresh.raw / "imagesTr" / "a_0000.png"))
    refused(reverse(), ".png files can hold whole numbers alone. Convert the images to .nii.gz.")
    assert not list(fresh.maps.iterdir())
