"""Maps that change while a training runs, before it goes on, or before its remedy is used."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from make_trainers import Always, make

from nnunet_phys.commands import main
from nnunet_phys.map_files import load_maps, save_maps
from nnunet_phys.precomputed_spin.spin_copies import load_copy_record, spin_folder
from nnunet_phys.spin import SpinMaps


def test_maps_that_change_while_a_training_runs(ready):
    """The brightness of air and tissue that it keeps in memory would be that of other maps."""
    (training, _), preprocess = make(ready, Always).get_tr_and_val_datasets(), ["preprocess", "-d", "900", "-c", "2d"]
    case = training.cases[0]
    whole = (slice(None),) * 3
    assert case.maps(whole).shape[0] == 4
    excluded = ready.root / "excluded.txt"
    excluded.write_text(case.name)
    assert main([*preprocess, "-np", "1", "-exclude", str(excluded)]) == 0
    assert main([*preprocess, "-np", "1"]) == 0
    assert case.maps(whole).shape[0] == 4  # it goes on with a case that was excluded, or preprocessed again alike
    maps = load_maps(ready.maps, case.name, ".nii.gz", ready.image(case.name))
    other = SpinMaps(maps.pd, maps.t1 * 1.5, maps.t2)
    save_maps(ready.maps, case.name, other, ready.image(case.name), ".nii.gz", {"prior": "none"})
    assert main([*preprocess, "-np", "1"]) == 0
    with pytest.raises(RuntimeError, match=f"{case.name}: .* since this training began. .* add --c"):
        case.maps(whole)


def test_a_training_that_goes_on_with_other_maps_says_so(ready, tmp_path):
    make(ready, Always, fold="all").get_dataloaders()
    excluded = tmp_path / "excluded.txt"
    excluded.write_text("case1")
    assert main(["preprocess", "-d", "900", "-c", "2d", "-np", "1", "-exclude", str(excluded)]) == 0
    trainer = make(ready, Always, fold="all")
    trainer.current_epoch = 3
    trainer.get_dataloaders()
    folder = Path(trainer.output_folder)
    log = "".join(path.read_text() for path in folder.glob("training_log*"))
    assert "WARNING: after 3 epochs, this training goes on with 1 case fewer" in log
    first, second = json.loads((folder / "maps.json").read_text())
    assert (first["first_epoch"], first["excluded"]) == (0, [])
    assert (second["first_epoch"], second["excluded"]) == (3, ["case1"])
    assert sorted(first["maps"]["case1"]) == ["PDmap", "T1map", "T2map"] and "case1" not in second["maps"]


def test_the_remedy_keeps_maps_and_exclusions(ready, tmp_path):
    elsewhere, excluded = tmp_path / "maps elsewhere", tmp_path / "excluded.txt"
    ready.maps.rename(elsewhere)
    excluded.write_text("case1")
    options = ["-maps", str(elsewhere), "-exclude", str(excluded)]
    assert main(["preprocess", "-d", "900", "-c", "2d", "-np", "1", *options]) == 0
    changed = elsewhere / "case0_T1map.nii.gz"
    content = changed.read_bytes()
    changed.write_bytes((elsewhere / "case3_T1map.nii.gz").read_bytes())
    with pytest.raises(RuntimeError) as caught:
        make(ready, Always, fold="all").get_dataloaders()
    command = str(caught.value).splitlines()[0].split("`")[1]
    changed.write_bytes(content)
    assert main([*shlex.split(command)[1:], "-np", "1"]) == 0
    training, _ = make(ready, Always, fold="all").get_tr_and_val_datasets()
    assert set(ready.cases) - set(training.identifiers) == {"case1"}
    made_from = load_copy_record(spin_folder(training.images.source_folder), "case0").maps["T1map"]
    assert made_from.file == str(changed)
