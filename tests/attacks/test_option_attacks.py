"""Numbers out of bounds, options that clash, and options that do not go with each other."""

from __future__ import annotations

import pytest

REVERSE = "reverse -d 900 -o {out} -device cpu -prior {prior}"
SERIES = "reverse -i {images} -o {out} -device cpu -prior {prior}"
TRANSLATE = "translate -i {images} -o {out} -device cpu -prior {prior}"
SYNTHESIZE = "synthesize -i {maps} -o {out}"
GALLERY = "gallery -i {maps}/case0 -o page.html"
TRAIN = "train_prior -i phantom -o {out} -device cpu"
PREPROCESS = "preprocess -d 900 -c 2d"
EXPORT = "export -d 900 -c 2d"

BY_PARSER = {
    "no command": ("''", "invalid choice"),
    "reverse -batch 0": (REVERSE + " -batch 0", "-batch: 0 is less than 1"),
    "reverse -batch 1000000": (REVERSE + " -batch 1000000", "-batch: 1000000 is more than"),
    "reverse -steps 0": (REVERSE + " -steps 0", "-steps: 0 is less than 2"),
    "reverse -steps 1e3": (REVERSE + " -steps 1e3", "is not a whole number"),
    "reverse -seed -1": (REVERSE + " -seed -1", "-seed: -1 is less than 0"),
    "reverse -seed 2^64": (REVERSE + " -seed 18446744073709551616", "-seed: 18446744073709551616 is more"),
    "reverse -samples 0": (REVERSE + " -samples 0", "-samples: 0 is less than 1"),
    "reverse -num_parts 0": (REVERSE + " -num_parts 0", "-num_parts: 0 is less than 1"),
    "reverse -part_id -1": (REVERSE + " -part_id -1", "-part_id: -1 is less than 0"),
    "reverse -o ''": ("reverse -d 900 -o ''", "-o: it is empty"),
    "reverse -fa nan": (REVERSE + " -fa nan", "-fa: 'nan' is not a finite number"),
    "reverse -sampler other": (REVERSE + " -sampler other", "invalid choice"),
    "reverse -overwrite": (REVERSE + " -overwrite", "did you mean '--overwrite'?"),
    "reverse -samples5": (REVERSE + " -samples5", "unrecognized arguments: -samples5"),
    "reverse -inf": (REVERSE + " -fa -inf", "unrecognized arguments: -inf"),
    "reverse -step": (REVERSE + " -step 5", "did you mean '-steps'?"),
    "translate -i ''": ("translate -i '' -o {out}", "-i: it is empty"),
    "translate -to_fa inf": (TRANSLATE + " -to_fa inf", "-to_fa: 'inf' is not a finite number"),
    "synthesize -o ''": ("synthesize -i {maps} -o ''", "-o: it is empty"),
    "synthesize -n 0": (SYNTHESIZE + " -recipe default -n 0", "-n: 0 is less than 1"),
    "synthesize -seed -1": (SYNTHESIZE + " -recipe default -seed -1", "-seed: -1 is less than 0"),
    "synthesize -noise 2": (SYNTHESIZE + " -sequence bssfp -noise 2", "-noise: 2.0 is more than 1"),
    "synthesize -breathing inf": (SYNTHESIZE + " -sequence molli -breathing inf", "'inf' is not a finite"),
    "synthesize -gd alone": (SYNTHESIZE + " -sequence bssfp -gd 1", "expected 2 arguments"),
    "synthesize -ts nan": (SYNTHESIZE + " -sequence sasha -ts nan", "'nan' is not a finite number"),
    "gallery -crop 1": (GALLERY + " -crop 1", "-crop: 1.0 is less than 20"),
    "gallery -crop nan": (GALLERY + " -crop nan", "is not a finite number"),
    "gallery -slice -1": (GALLERY + " -slice -1", "-slice: -1 is less than 0"),
    "gallery -seed -1": (GALLERY + " -seed -1", "-seed: -1 is less than 0"),
    "gallery -o ''": ("gallery -i {maps}/case0 -o ''", "-o: it is empty"),
    "report -pictures -1": ("report -d 900 -pictures -1", "-pictures: -1 is less than 0"),
    "reverse -cases ''": (REVERSE + " -cases ''", "-cases: it is empty"),
    "preprocess -exclude ''": (PREPROCESS + " -exclude ''", "-exclude: it is empty"),
    "report -o ''": ("report -d 900 -o ''", "-o: it is empty"),
    "preprocess -np 0": (PREPROCESS + " -np 0", "-np: 0 is less than 1"),
    "preprocess -np 100000": (PREPROCESS + " -np 100000", "-np: 100000 is more than"),
    "preprocess -maps ''": (PREPROCESS + " -maps ''", "-maps: it is empty"),
    "train_prior -steps 0": (TRAIN + " -steps 0", "-steps: 0 is less than 1"),
    "train_prior -hearts 0": (TRAIN + " -hearts 0", "-hearts: 0 is less than 1"),
    "train_prior -pixel_mm 0": (TRAIN + " -pixel_mm 0", "-pixel_mm: 0.0 is less than"),
    "train_prior -o ''": ("train_prior -i phantom -o ''", "-o: it is empty"),
    "phantom -d 99999": ("phantom -d 99999", "-d: 99999 is more than 999"),
    "phantom -np 0": ("phantom -d 901 -np 0", "-np: 0 is less than 1"),
    "demo -o ''": ("demo -o ''", "-o: it is empty"),
    "export -f x": (EXPORT + " -f x -o m.zip", "-f: 'x' is not a whole number"),
    "export -f -1": (EXPORT + " -f -1 -o m.zip", "-f: -1 is less than 0"),
    "export -o ''": (EXPORT + " -o ''", "-o: it is empty"),
    "trainers with an argument": ("trainers everything", "unrecognized arguments: everything"),
}
BY_COMMAND = {
    "a part beyond the last": (REVERSE + " -num_parts 2 -part_id 2", "give 0 to num_parts - 1"),
    "a flip angle in radians": (REVERSE + " -fa 0.8", "radians"),
    "a flip angle of 1e30": (REVERSE + " -fa 1e30", "must be above 0 and at most 180 degrees"),
    "a sequence that does not exist": (REVERSE + " -sequence bsfp", "did you mean 'bssfp'?"),
    "a series of a data set": (REVERSE + " -sequence molli", "one image a case"),
    "--single of no MOLLI": (SERIES + " --single", "one MOLLI"),
    "--labels without a data set": (SERIES + " --labels", "--labels needs -d"),
    "--labels with dps": (REVERSE + " --labels -sampler dps", "--labels"),
    "--save_samples of one sample": (REVERSE + " --save_samples", "give 2 or more samples"),
    "-sequence and -protocol": (SERIES + " -sequence gre -protocol x.json", "both say which sequence"),
    "-to and -to_protocol": (TRANSLATE + " -to gre -to_protocol x.json", "both say which sequence"),
    "-to a name with a line break": (TRANSLATE + " -to b", "No sequence 'b'"),
    "a target's flip angle in radians": (TRANSLATE + " -to_fa 0.3", "radians"),
    "a protocol that does not exist": (SERIES + " -protocol gone.json", "no such file"),
    "no source": (SYNTHESIZE, "Give one of -sequence"),
    "two sources": (SYNTHESIZE + " -sequence gre -recipe default", "Give one of"),
    "a recipe that does not exist": (SYNTHESIZE + " -recipe nothing", "No recipe 'nothing'"),
    "a recipe that is a folder": (SYNTHESIZE + " -recipe {images}", "is not a regular file"),
    "-n of a sequence": (SYNTHESIZE + " -sequence gre -n 3", "-n goes with -recipe"),
    "-ti in seconds": (SYNTHESIZE + " -sequence lge_gre -ti 0.3", "seconds"),
    "-te of a sequence without": (SYNTHESIZE + " -sequence molli -te 3", "no such parameter"),
    "-te beyond TR": (SYNTHESIZE + " -sequence gre -te 500 -tr 4", "beyond"),
    "-tr 1e308": (SYNTHESIZE + " -sequence gre -tr 1e308", "tr_ms"),
    "-gd 500 250": (SYNTHESIZE + " -sequence bssfp -gd 500 250", "between 0 and 50"),
    "--null with -ti": (SYNTHESIZE + " -sequence lge_gre --null -ti 300", "without -ti"),
    "different numbers of values": (SYNTHESIZE + " -sequence msasha -ts 99 500 600 -t2_prep 0 50", "3 of -ts and 2"),
    "-breathing of one image": (SYNTHESIZE + " -sequence bssfp -breathing 3", "this is one image"),
    "a slice beyond the last": (GALLERY + " -slice 99", "-slice 99: the case has slices"),
    "an image of the phantom": ("gallery -i phantom -o page.html -image {image}", "the phantom has its own"),
    "-hearts of maps": ("train_prior -i {maps} -o {out} -device cpu -hearts 5", "-hearts goes with -i phantom"),
    "pixels too coarse for a prior": ("train_prior -i {maps} -o {out} -device cpu -pixel_mm 0.5", "too coarse"),
    "-init of no prior": (TRAIN + " -init nowhere", "has no prior.json"),
    "a model that was not trained": (EXPORT + " -o m.zip", "Train it with `nnUNetv2_train 900 2d 0"),
    "a trainer's name that leads elsewhere": (EXPORT + " -tr ../../root -o m.zip", "there is no model"),
    "-device of no machine": ("train_prior -i phantom -o {out} -device warp", "-device warp"),
}


@pytest.mark.parametrize("attack", BY_PARSER.values(), ids=BY_PARSER)
def test_options_that_the_parser_refuses(withstand, attack):
    withstand(*attack, status=2)


@pytest.mark.parametrize("attack", BY_COMMAND.values(), ids=BY_COMMAND)
def test_options_that_the_command_refuses(withstand, attack):
    withstand(*attack)
