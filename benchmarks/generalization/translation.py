"""Test images turned into bSSFP cine by `nnunet_phys translate`, for a model trained on that."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from generalization.bed import Bed
from generalization.processes import TQDM_STEP, run_logged
from generalization.test_sets import TestFolder, new_folder
from nnunet_phys.json_files import read_json
from nnunet_phys.whole_files import write_json


def images_to_segment(bed: Bed, test: TestFolder) -> dict[str, tuple[str, Path]] | None:
    """The translated image of each case. What is finished is skipped.

    Images of bSSFP stay as they are, as does a test set that does not tell its sequence. The readouts of one series of
    inversion recovery are translated together, by their common maps, into one image.

    Returns:
        By case, name and path of its image; None for single readouts, which leave T1 open.

    Raises:
        InputError: the command failed.
    """
    protocol, protocols = test.test_set.protocol, test.test_set.protocols
    if not protocols and protocol.get("sequence", "bssfp") == "bssfp":
        return {case: (case, path) for case, path in test.images.items()}
    folder = bed.work / "translated" / test.name
    _remove_unless_made_of(test, folder)
    described = folder / ("protocols" if protocols else "protocol.json")
    if protocols:
        described.mkdir(exist_ok=True)
        for case, own in protocols.items():
            write_json(described / f"{case}.json", {"protocol": [own]})
    else:
        write_json(described, protocol)
    source, names = test.path / "imagesTs", {case: case for case in test.images}
    if test.test_set.inversion_times_ms:
        if not test.test_set.groups:
            return None
        source = folder / "series"
        if not source.is_dir():
            gather_series(test, source)
        names = {case: test.test_set.group_of(case) for case in test.images}
    command = ["nnunet_phys", "translate", "-i", str(source), "-o", str(folder / "bssfp"), "-to", "bssfp"]
    command += ["-protocol", str(described), "-device", bed.device]
    log, environment = bed.log(f"{test.name}__translate"), bed.environment(bed.preprocessed(None))
    run_logged(command, environment, log, f"{test.name}: translation", step=TQDM_STEP)
    return {case: (name, folder / "bssfp" / f"{name}_0000.nii.gz") for case, name in names.items()}


def _remove_unless_made_of(test: TestFolder, folder: Path) -> None:
    """Remove translations of images, or by a description, other than the test set's now; note which these are."""
    described = json.dumps(asdict(test.test_set), sort_keys=True)
    source, now = folder / "made_of.json", {"test_set": test.sha256, "description": described}
    if source.is_file() and read_json(source, dict[str, str], f"Remove {folder}.") != now:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(source, now)


def gather_series(test: TestFolder, folder: Path) -> None:
    """Copy the readouts of each series into a folder as `translate` reads them: GROUP_ti00_0000, ... and GROUP.json.

    Groups list their readouts in the order of acquisition.
    """
    with new_folder(folder) as work:
        for group, cases in test.test_set.groups.items():
            for k, case in enumerate(cases):
                shutil.copyfile(test.images[case], work / f"{group}_ti{k:02d}_0000.nii.gz")
            times = [test.test_set.inversion_times_ms[case] for case in cases]
            write_json(work / f"{group}.json", {"inversion_times_ms": times})
