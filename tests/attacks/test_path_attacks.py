"""Paths that are empty, lie among what is read, or hold what is not ours to replace."""

from __future__ import annotations

import json
import os
import shutil

import pytest

WORK = " -device cpu -steps 2 -prior {prior} --disable_progress_bar"
REVERSE = "reverse -i {images}" + WORK
TRANSLATE = "translate -i {images}" + WORK
SYNTHESIZE = "synthesize -i {maps} -sequence bssfp --disable_progress_bar"
GALLERY = "gallery -i {maps}/case0 --disable_progress_bar"
TRAIN = "train_prior -i phantom -steps 1 -hearts 1 -device cpu"


def file(ground):
    """Somebody's file."""
    ground.file.write_text("{}")


def out_with(*names, content="somebody's"):
    """A folder for the results that holds somebody's files."""

    def damage(ground):
        for name in names:
            path = ground.root / "out" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    return damage


def read_only(ground):
    """A folder for the results that cannot be written to."""
    (ground.root / "out").mkdir(mode=0o500)


def broken_link(ground):
    """A link to nowhere in the place of the results."""
    (ground.root / "out").symlink_to(ground.root / "nowhere")


def without(path):
    """Remove a file or folder, by its path from the root."""

    def damage(ground):
        target = ground.root / path
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink()

    return damage


def strange_name(ground):
    """A file in imagesTr that is not the first channel of a case."""
    shutil.copy(ground.image, ground.raw / "imagesTr" / "case9_0001.nii.gz")


def copy_is_folder(ground):
    """A folder in the place of a preprocessed copy of maps."""
    (ground.preprocessed / "nnUNetPlans_2d_spin").write_text("a file")


def second_data_set(ground):
    """Another data set of the same id."""
    (ground.root / "nnUNet_raw" / "Dataset900_Other").mkdir()


def record_of_other(ground):
    """A record by the name of a case, which is not ours."""
    out_with("case0.json", content=json.dumps({"patient": "somebody"}))(ground)


ATTACKS = {
    "reverse: -o is a file": (REVERSE + " -o {file}", "is a file", file),
    "reverse: -o is below a file": (REVERSE + " -o {file}/out", "cannot be written to", file),
    "reverse: -o is -i": (REVERSE + " -o {images}", "is a folder that is read from"),
    "reverse: -o is -i by another way": (REVERSE + " -o {root}/out/../images", "is a folder that is read from"),
    "reverse: -o is imagesTr": ("reverse -d 900 -o {raw}/imagesTr" + WORK, "is a folder that is read from"),
    "reverse: -o is labelsTr": ("reverse -d 900 -o {raw}/labelsTr" + WORK, "is a folder that is read from"),
    "reverse: -o is a broken link": (REVERSE + " -o {out}", "out", broken_link),
    "reverse: no -o": (REVERSE, "needs -o"),
    "reverse: -i and -d": (REVERSE + " -d 900 -o {out}", "Give either -d"),
    "reverse: -i is nowhere": ("reverse -i {root}/gone -o {out}" + WORK, "no such folder"),
    "reverse: -i is a file": ("reverse -i {image} -o {out}" + WORK, "no such folder"),
    "reverse: -i is empty": ("reverse -i {root} -o {out}" + WORK, "holds no image"),
    "reverse: no such data set": ("reverse -d 901" + WORK, "-d 901"),
    "reverse: a data set that is a path": ("reverse -d ../../images" + WORK, "-d ../../images"),
    "reverse: a data set that leads elsewhere": ("reverse -d Dataset900_Tiny/../x" + WORK, "is not a name like"),
    "reverse: two data sets of one id": ("reverse -d 900" + WORK, "-d 900", second_data_set),
    "reverse: no imagesTr": ("reverse -d 900" + WORK, "no folder", without("nnUNet_raw/Dataset900_Tiny/imagesTr")),
    "reverse: a second channel": ("reverse -d 900 -o {out}" + WORK, "Rename or remove it", strange_name),
    "reverse: measured maps in spinTr": (
        "reverse -d 900" + WORK,
        "case0_T1map",
        lambda ground: [path.unlink() for path in ground.maps.glob("*.json")],
    ),
    "reverse: maps made otherwise": ("reverse -d 900" + WORK, "made with other settings"),
    "reverse: a record that is not ours": (REVERSE + " -o {out}", "is not a record of nnunet_phys", record_of_other),
    "reverse: no such prior": ("reverse -d 900 -o {out} -prior nowhere -device cpu", "has no prior.json"),
    "reverse: a prior with a scaling of its own": (
        "reverse -d 900 -o {out} -scaling published -device cpu",
        "in prior.json",
    ),
    "reverse: a scaling without its network": (
        "reverse -d 900 -o {out} -prior nowhere -scaling published -device cpu",
        "Prior 'nowhere' is not a folder",
    ),
    "demo: a prior with a scaling of its own": ("demo -o {out} --quick -scaling published", "in prior.json"),
    "reverse: a prior that is an image": ("reverse -d 900 -o {out} -prior {image} -device cpu", "has no prior.json"),
    "reverse: no such device": ("reverse -d 900 -o {out} -device banana", "-device banana"),
    "translate: somebody's images": (TRANSLATE + " -o {out}", "case0_0000", out_with("case0_0000.nii.gz")),
    "translate: -o is -i": (TRANSLATE + " -o {images}", "is a folder that is read from"),
    "synthesize: -o is -i": (SYNTHESIZE + " -o {maps}", "is a folder that is read from"),
    "synthesize: -o is a file": (SYNTHESIZE + " -o {file}", "is a file", file),
    "synthesize: somebody's images": (SYNTHESIZE + " -o {out}", "something else", out_with("case0_0000.nii.gz")),
    "synthesize: somebody's, with --overwrite": (SYNTHESIZE + " -o {out} --overwrite", "record", record_of_other),
    "gallery: somebody's page": (GALLERY + " -o out/page.html", "did not make it", out_with("page.html")),
    "gallery: a folder": (GALLERY + " -o {root}", "name a file that ends in"),
    "gallery: another grid": (GALLERY + " -o page.png -image {raw}/imagesTr/case1_0000.nii.gz", "another grid"),
    "gallery: no such case": ("gallery -i {maps}/nobody -o page.html", "holds no maps of nobody"),
    "gallery: the folder itself": ("gallery -i {maps} -o page.html", "holds no maps"),
    "report: onto dataset.json": ("report -d 900 -o {raw}/dataset.json", "is a file"),
    "report: somebody's page": ("report -d 900 -o {out}", "did not fill it", out_with("report.html")),
    "report: somebody's page, with --overwrite": (
        "report -d 900 -o {out} --overwrite",
        "did not fill it",
        out_with("report.html"),
    ),
    "report: -o is -maps": ("report -d 900 -o {maps}", "is a folder that is read from"),
    "report: no maps": ("report -d 900 -maps {images} -o {out}", "holds no maps"),
    "report: a folder without maps": ("report -i {images} -maps {images} -o {out}", "holds no maps"),
    "report: images without maps": ("report -i {images} -o {out}", "Give either -d DATASET or -i"),
    "reverse: somebody's flagged.txt": (REVERSE + " -o {out}", "did not make it", out_with("flagged.txt")),
    "reverse: a list that is not there": (REVERSE + " -o {out} -cases {root}/gone.txt", "-cases"),
    "reverse: a list that is a folder": (REVERSE + " -o {out} -cases {images}", "cannot be read"),
    "preprocess: a list that is an image": ("preprocess -d 900 -c 2d -np 1 -exclude {image}", "-exclude"),
    "preprocess: no maps": ("preprocess -d 900 -c 2d -np 1 -maps {images}", "no maps such as"),
    "preprocess: no such configuration": ("preprocess -d 900 -c 4d -np 1", "has no configuration 4d"),
    "preprocess: plans that are a path": ("preprocess -d 900 -c 2d -plans_name ../../x", "-plans_name"),
    "preprocess: images preprocessed by nobody": (
        "preprocess -d 900 -c 2d -np 1",
        "Run `nnUNetv2_preprocess",
        without("nnUNet_preprocessed/Dataset900_Tiny/nnUNetPlans_2d"),
    ),
    "preprocess: a file for a folder": ("preprocess -d 900 -c 2d -np 1", "cannot be written to", copy_is_folder),
    "train_prior: -o is a file": (TRAIN + " -o {file}", "is a file", file),
    "train_prior: -o holds other files": (TRAIN + " -o {images}", "holds other files"),
    "train_prior: -o is a prior": (TRAIN + " -o {prior}", "holds a finished prior"),
    "train_prior: -i holds no maps": ("train_prior -i {images} -o {out} -steps 1 -device cpu", "holds no maps"),
    "train_prior: somebody's checkpoint": (TRAIN + " -o {out}", "out", out_with("checkpoint.pt")),
    "phantom: an id that is taken": ("phantom -d 900 -train 1", "is taken by"),
    "demo: -o is not empty": ("demo -o {images} --quick", "is not empty"),
    "demo: no such prior": ("demo -o {out} --quick -prior nowhere", "has no prior.json"),
    "demo: no such device": ("demo -o {out} --quick -device banana", "-device banana"),
    "demo: -o is a file": ("demo -o {file} --quick", "is a file", file),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_path(withstand, attack):
    withstand(*attack)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("command", [REVERSE, TRANSLATE, SYNTHESIZE, TRAIN])
def test_folder_that_cannot_be_written_to(withstand, command):
    withstand(command + " -o {out}", "cannot be", read_only)


VARIABLES = {
    "nnUNet_raw is nowhere": ("phantom -d 901 -train 1", "there is no such folder", {"nnUNet_raw": "/nowhere"}),
    "nnUNet_raw is nowhere, for reverse": (
        "reverse -d 900" + WORK,
        "Is nnUNet_raw the right folder?",
        {"nnUNet_raw": "/nowhere"},
    ),
    "nnUNet_raw is empty": ("report -d 900 -o {out}", "is empty", {"nnUNet_raw": ""}),
    "nnUNet_preprocessed is empty": ("preprocess -d 900 -c 2d", "is empty", {"nnUNet_preprocessed": ""}),
    "a rank alone": (REVERSE + " -o {out}", "RANK=3 with WORLD_SIZE=1", {"RANK": "3"}),
    "a rank that is text": (REVERSE + " -o {out}", "RANK=first", {"RANK": "first"}),
    "a rank below 0": (TRANSLATE + " -o {out}", "RANK=-1", {"RANK": "-1"}),
}


@pytest.mark.parametrize(("command", "text", "environment"), VARIABLES.values(), ids=VARIABLES)
def test_environment(withstand, command, text, environment):
    withstand(command, text, environment=environment)
