"""`nnunet_phys import`: names, numbers and dates of patients stay in the DICOM header."""

from __future__ import annotations

import nibabel
import pytest
from import_results import content, files

from nnunet_phys.commands import main


def test_names_of_patients_stay_in_the_header(scanner, imported, import_folder, tmp_path):
    attributes = {"ScanningSequence": ("GR", "IR"), "SequenceVariant": "SP", "InversionTime": 280.0}
    for number, description in ((1, "LGE 2018-07-09 sax"), (2, "LGE jane"), (3, "LGE TI300"), (4, "LGE HOSP4711")):
        scanner.image(f"{number}", SeriesNumber=number, SeriesDescription=description, **attributes)
    for number, description in ((5, "LGE 31.12.1950"), (6, "LGE 310150"), (7, "LGE 12-31-50 apex")):
        scanner.image(f"{number}", SeriesNumber=number, SeriesDescription=description, **attributes)
    scans = imported()
    names = files(scans)
    assert [name for name in names if name.endswith("json")] == [
        f"lge/{case}.json"
        for case in ("001_LGE_sax", "002", "003_LGE_TI_300", "004", "005_LGE", "006_LGE", "007_LGE_apex")
    ]
    written = "".join(names) + "".join(path.read_text() for path in scans.rglob("*.json"))
    for image in scans.rglob("*.nii.gz"):
        header = nibabel.load(image).header
        written += f"{header['descrip']}{header['intent_name']}{header['db_name']}{header.extensions}"
    assert not any(secret in written for secret in ("Doe", "Jane", "jane", "4711", "2018"))
    assert main(import_folder("named", "--keep_names", "-case", "study 1")) == 0
    path = tmp_path / "named" / "lge" / "study_1_Doe_Jane_002_LGE_jane.json"
    assert content(path)["patient"] == {"name": "Doe^Jane", "id": "HOSP4711", "study_date": "20180709"}


@pytest.mark.parametrize(
    ("name", "number", "description"),
    [
        ("Ng^A", "99", "LGE NG"),
        ("Li^Na", "99", "LGE LiNa"),
        ("Li^Na", "99", "LGE nali"),
        ("Müller^H", "7", "LGE Muller"),
        ("Müller^H", "7", "LGE Mueller"),
        ("Sørensen^A", "7", "LGE SOERENSEN"),
        ("Sørensen^A", "7", "LGE Sorensen"),
        ("Wałęsa^L", "7", "LGE Walesa"),
        ("Straße^P", "7", "LGE Strasse"),
        ("OBrien^P", "7", "LGE O'Brien"),
        ("O'Brien^P", "7", "LGE OBrien"),
        ("Иванов^П", "7", "LGE Ivanov"),
        ("Doe^J", "HOSP4711", "LGE HOSP 4711"),
    ],
)
def test_short_names_and_other_spellings_stay_in_the_header(scanner, imported, name, number, description):
    attributes = {"ScanningSequence": ("GR", "IR"), "SequenceVariant": "SP", "InversionTime": 280.0}
    attributes |= {"SpecificCharacterSet": "ISO_IR 192", "PatientName": name, "PatientID": number}
    scanner.image("1", SeriesNumber=1, SeriesDescription=description, **attributes)
    assert [name for name in files(imported()) if name.endswith("json")] == ["lge/001.json"]
