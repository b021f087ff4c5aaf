"""JSON files that are broken, of another kind, or hold what no program can use."""

from __future__ import annotations

import json
import os

import pytest

REVERSE = "reverse -d 900 -o {out} -device cpu -steps 2 -prior {prior} --disable_progress_bar"
SERIES = "reverse -i {images} -o {out} -device cpu -steps 2 -prior {prior} --disable_progress_bar"
REPORT = "report -d 900 -o {out} -np 1"
PREPROCESS = "preprocess -d 900 -c 2d -np 1"
TRANSLATE = "translate -i {images} -o {out} -device cpu -steps 2 -prior {prior} --disable_progress_bar"
SYNTHESIZE = "synthesize -i {maps} -o {out} --disable_progress_bar"
TRAIN = "train_prior -i phantom -o {out} -steps 1 -hearts 1 -device cpu"

DEEP = "[" * 100_000
HUGE = "1" * 5000


def file(content):
    """Write {file}: a text, or anything else as JSON."""
    text = content if isinstance(content, str) else json.dumps(content)
    return lambda ground: ground.file.write_text(text)


def dataset(content=None, **changes):
    """Write dataset.json, or change some of its keys; None removes a key."""

    def damage(ground):
        path = ground.raw / "dataset.json"
        if content is not None:
            path.write_text(content)
        else:
            ground.edit_json(path, lambda old: {k: v for k, v in {**old, **changes}.items() if v is not None})

    return damage


def plans(content=None, **changes):
    """Write the plans, or change keys of their 2d configuration."""

    def damage(ground):
        path = ground.preprocessed / "nnUNetPlans.json"
        if content is not None:
            path.write_text(content)
        else:
            ground.edit_json(path, lambda old: old["configurations"]["2d"].update(changes))

    return damage


def record(content):
    """Write the record of a case's maps."""
    return lambda ground: (ground.maps / "case0.json").write_text(content)


def record_of_maps(**changes):
    """Change the record of a case's maps, which then is one of `reverse`."""
    quality = {"residual_rms": 0.1, "share_at_bound": 0.1, "flags": []}
    made = {"quality": quality, "sequences": [{"sequence": "bssfp"}], **changes}
    return lambda ground: ground.edit_json(ground.maps / "case0.json", lambda old: old.update(made))


def times(content):
    """A MOLLI of eight images, with what its CASE.json says."""

    def damage(ground):
        for i in range(8):
            os.link(ground.image, ground.images / f"x_{i:04d}.nii.gz")
        for case in ("case0", "case1"):
            (ground.images / f"{case}_0000.nii.gz").unlink()
        (ground.images / "x.json").write_text(content)

    return damage


def prior(name, **changes):
    """Change keys of a JSON file of the prior."""
    return lambda ground: ground.edit_json(ground.prior / name, lambda old: old.update(changes))


def prior_file(name, content):
    """Write a file of the prior."""
    return lambda ground: (ground.prior / name).write_bytes(content)


def only_pickled_weights(ground):
    """Weights as a pickle, which could run code."""
    weights = ground.prior / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))


def draw(**changes):
    """A draw with other parts."""
    return file({"sequence": {"sequence": "bssfp"}, **changes})


def recipe(**changes):
    """A small recipe with other keys."""
    sequences = [{"sequence": "bssfp", "weight": 1, "flip_angle_deg": [35, 80]}]
    small = {"probability": 1, "t1_factor": [1, 1], "t2_factor": [1, 1], "sequences": sequences, "scanner": {}}
    return file({**small, **changes})


DATASETS = {
    "dataset.json is cut short": (REVERSE, "is not readable JSON", dataset('{"labels": {')),
    "dataset.json is empty": (REPORT, "is not readable JSON", dataset("")),
    "dataset.json is a list": (PREPROCESS, "is not an object", dataset("[]")),
    "dataset.json is null": (REVERSE, "is not an object", dataset("null")),
    "dataset.json is nested without end": (REPORT, "is not readable JSON", dataset(DEEP)),
    "dataset.json is no text": (
        REVERSE,
        "is not readable JSON",
        lambda ground: (ground.raw / "dataset.json").write_bytes(b"\xff\xfe\x00"),
    ),
    "no file_ending": (PREPROCESS, "'file_ending' is missing", dataset(file_ending=None)),
    "file_ending is a number": (REVERSE, "5 is not a text", dataset(file_ending=5)),
    "file_ending is a path": (REVERSE, "is not a file ending", dataset(file_ending="/../x.nii.gz")),
    "no labels": (REPORT, "'labels' is missing", dataset(labels=None)),
    "labels are texts": (REVERSE, "is not a whole number", dataset(labels={"LV": "one"})),
    "a label is NaN": (REPORT, "NaN is not a whole number", dataset(labels={"LV": float("nan")})),
    "channels are a list": (REVERSE, "is not an object", dataset(channel_names=["MRI"])),
    "two channels": (REVERSE, "2 input channels", dataset(channel_names={"0": "MRI", "1": "MRI"})),
    "a case leads out of the folder": (
        REVERSE,
        "cannot name a case",
        dataset(dataset={"../../../evil": {"images": ["imagesTr/case0_0000.nii.gz"], "label": "x"}}),
    ),
    "a case is an absolute path": (
        PREPROCESS,
        "cannot name a case",
        dataset(dataset={"/tmp/evil": {"images": ["imagesTr/case0_0000.nii.gz"], "label": "x"}}),
    ),
    "a case holds a line break": (
        REVERSE,
        "cannot name a case",
        dataset(dataset={"a\nb": {"images": ["imagesTr/case0_0000.nii.gz"], "label": "x"}}),
    ),
    "a case has no image": (REVERSE, "there is no image", dataset(dataset={"a": {"images": ["gone"], "label": "x"}})),
    "a case's path holds a null": (
        REVERSE,
        "there is no image",
        dataset(dataset={"a": {"images": ["gone\0.nii.gz"], "label": "x"}}),
    ),
    "plans are broken": (PREPROCESS, "is not readable JSON", plans("{")),
    "plans are null": (PREPROCESS, "is not an object", plans("null")),
    "plans without configurations": (PREPROCESS, "is missing", plans("{}")),
    "spacing of plans is text": (PREPROCESS, "spacing", plans(spacing="fine")),
    "spacing of plans is NaN": (PREPROCESS, "spacing", plans(spacing=[float("nan"), 1.0])),
    "spacing of plans is 0": (PREPROCESS, "spacing", plans(spacing=[0, 0])),
    "plans that inherit from themselves": (PREPROCESS, "2d", plans(inherits_from="2d")),
    "plans that lead out of the folder": (PREPROCESS, "data_identifier", plans(data_identifier="../../../nnUNet_raw")),
}
RECORDS = {
    "CASE.json is a list": (REPORT, "is not an object", record("[]")),
    "CASE.json is empty": (PREPROCESS, "is not readable JSON", record("")),
    "CASE.json is NaN": (SYNTHESIZE + " -sequence bssfp", "is not an object", record("NaN")),
    "CASE.json of another case": (REPORT, "is the record of", record_of_maps(case="case1")),
    "CASE.json whose maps are a number": (PREPROCESS, "maps", record_of_maps(maps=3)),
    "CASE.json whose maps lie elsewhere": (
        PREPROCESS,
        "T1map",
        record_of_maps(maps={"T1map": {"file": "../../../x", "sha256": "0"}}),
    ),
    "CASE.json without hashes": (PREPROCESS, "sha256", record_of_maps(image={"file": "case0_0000.nii.gz"})),
    "quality is NaN": (REPORT, "is not a finite number", record_of_maps(quality={"residual_rms": float("nan")})),
    "times are a list alone": (SERIES + " -sequence molli", "is not an object", times("[]")),
    "times are NaN": (SERIES + " -sequence molli", "NaN is not", times('{"inversion_times_ms": [NaN, 1]}')),
    "times are none": (SERIES + " -sequence molli", "0 inversion times", times('{"inversion_times_ms": []}')),
    "times are huge": (SERIES + " -sequence molli", "x: ", times('{"inversion_times_ms": [1e9,2,3,4,5,6,7,8]}')),
    "times are negative": (SERIES + " -sequence molli", "x: ", times('{"inversion_times_ms": [-1,2,3,4,5,6,7,8]}')),
    "times are equal": (
        SERIES + " -sequence molli",
        "x: ",
        times('{"inversion_times_ms": [100,100,100,100,100,100,100,100]}'),
    ),
}
PRIORS = {
    "prior.json is a list": (REVERSE, "is not an object", prior_file("prior.json", b"[]")),
    "pixel_mm is NaN": (REVERSE, "pixel_mm", prior("prior.json", pixel_mm=float("nan"))),
    "pixel_mm is 0": (TRANSLATE, "pixel_mm", prior("prior.json", pixel_mm=0)),
    "scaling is infinite": (REVERSE, "scaling", prior("prior.json", scaling={"mean": float("inf")})),
    "another format": (REVERSE, "format", prior("prior.json", format=99)),
    "no error by timestep": (REVERSE, "denoising_error", prior("prior.json", denoising_error={})),
    "a schedule of 1e8 steps": (
        REVERSE,
        "100000000 timesteps",
        prior("scheduler/scheduler_config.json", num_train_timesteps=10**8),
    ),
    "beta is text": (REVERSE, "Prior", prior("scheduler/scheduler_config.json", beta_schedule="x", beta_start="y")),
    "a network of 1e6 channels": (REVERSE, "channels", prior("unet/config.json", block_out_channels=[10**6, 10**6])),
    "blocks that do not exist": (REVERSE, "Prior", prior("unet/config.json", down_block_types=["X", "Y"])),
    "weights are cut short": (
        REVERSE,
        "cannot be read",
        prior_file("unet/diffusion_pytorch_model.safetensors", b"\x08\0\0"),
    ),
    "weights are a pickle": (REVERSE, "cannot be read", only_pickled_weights),
    "the reference is empty": (TRAIN + " -init {prior}", "cannot be read", prior_file("reference.safetensors", b"")),
}
SEQUENCES = {
    "protocol is null": (SERIES + " -protocol {file}", "is not an object", file("null")),
    "protocol is an empty list": (SERIES + " -protocol {file}", "is an empty list", file("[]")),
    "protocol is nested without end": (SERIES + " -protocol {file}", "is not readable JSON", file(DEEP)),
    "protocol holds a huge number": (
        SERIES + " -protocol {file}",
        "is not readable JSON",
        file('{"sequence": "bssfp", "tr_ms": ' + HUGE + "}"),
    ),
    "a number beyond floats": (
        SERIES + " -protocol {file}",
        "tr_ms",
        file('{"sequence": "bssfp", "tr_ms": 1' + 400 * "0" + "}"),
    ),
    "sequence is a list": (SERIES + " -protocol {file}", "No sequence", file({"sequence": ["bssfp"]})),
    "same_gain is text": (SERIES + " -protocol {file}", "true or false", file({"sequence": "gre", "same_gain": "no"})),
    "flip angle in radians": (
        SERIES + " -protocol {file}",
        "radians",
        file({"sequence": "gre", "flip_angle_deg": 0.2}),
    ),
    "TE beyond TR": (SERIES + " -protocol {file}", "beyond", file({"sequence": "gre", "te_ms": 9, "tr_ms": 4})),
    "1e9 pulses": (SERIES + " -protocol {file}", "do not fit", file({"sequence": "molli", "pulses": 10**9})),
    "a name with a line break": (SERIES + " -protocol {file}", r"bs\nsfp", file({"sequence": "bs\nsfp"})),
    "two targets": (
        TRANSLATE + " -to_protocol {file}",
        "describe one",
        file([{"sequence": "gre"}, {"sequence": "gre"}]),
    ),
    "target is a number": (TRANSLATE + " -to_protocol {file}", "is not an object", file("3")),
    "draw is null": (SYNTHESIZE + " -draw {file}", "is not an object", file("null")),
    "a draw that is no record": (SYNTHESIZE + " -draw {file}", "A draw is an object", file({"maps": 3})),
    "draw holds no images": (SYNTHESIZE + " -draw {file}", "holds no image", file({"images": []})),
    "draw's noise is NaN": (
        SYNTHESIZE + " -draw {file}",
        "fraction",
        draw(noise={"fraction": float("nan"), "seed": 1}),
    ),
    "draw's seed is text": (SYNTHESIZE + " -draw {file}", "seed", draw(noise={"fraction": 0.1, "seed": "1"})),
    "draw's tissue is a list": (SYNTHESIZE + " -draw {file}", "tissue", draw(tissue=[])),
    "draw's agent is a number": (SYNTHESIZE + " -draw {file}", "agent", draw(tissue={"agent": 3})),
    "draw's shift is infinite": (
        SYNTHESIZE + " -draw {file}",
        "shift_mm",
        file('{"images": [{"draw": {"sequence": {"sequence": "bssfp"}}, "shift_mm": Infinity}]}'),
    ),
    "recipe is a list": (SYNTHESIZE + " -recipe {file}", "is not an object", file("[]")),
    "recipe of 1000 sequences": (
        SYNTHESIZE + " -recipe {file}",
        "1000 sequences",
        recipe(sequences=[{"sequence": "bssfp"}] * 1000),
    ),
    "recipe's range is reversed": (SYNTHESIZE + " -recipe {file}", "is reversed", recipe(t1_factor=[2, 1])),
    "recipe's chance is NaN": (SYNTHESIZE + " -recipe {file}", "probability", recipe(probability=float("nan"))),
    "recipe's scanner is a list": (SYNTHESIZE + " -recipe {file}", "scanner", recipe(scanner=[])),
    "recipe's weights are 0": (
        SYNTHESIZE + " -recipe {file}",
        "all weights are 0",
        recipe(sequences=[{"sequence": "bssfp", "weight": 0}]),
    ),
    "recipe of one word": (SYNTHESIZE + " -recipe {file}", "is not readable JSON", file("bssfp")),
}
ATTACKS = {**DATASETS, **RECORDS, **PRIORS, **SEQUENCES}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_json(withstand, attack):
    withstand(*attack)
