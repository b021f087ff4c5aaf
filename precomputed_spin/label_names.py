"""Which labels of a data set mean the right ventricle, myocardium and the left ventricle, by their names."""

from __future__ import annotations

from nnunet_phys.errors import InputError

_SYNONYMS = {
    "RV": ("rv", "rvc", "rv cavity", "right ventricle", "right ventricular cavity"),
    "MYO": ("myo", "mlv", "lvm", "lv myo", "lv myocardium", "myocardium", "left ventricular myocardium"),
    "LV": ("lv", "lvc", "lv cavity", "lvbp", "left ventricle", "left ventricular cavity"),
}


def structure_of(name: str) -> str | None:
    """RV, MYO or LV, if a label's name in dataset.json means one of them."""
    plain = name.lower().replace("_", " ").replace("-", " ").strip()
    return next((structure for structure, synonyms in _SYNONYMS.items() if plain in synonyms), None)


def structure_codes(labels: dict[str, int | list[int]]) -> dict[str, int]:
    """Which codes of a data set's labels mean RV, MYO and LV, by their names in dataset.json.

    Raises:
        InputError: none of them does, two mean the same, or such a label is a region of several codes.
    """
    codes: dict[str, int] = {}
    for name, code in labels.items():
        structure = structure_of(name)
        if structure is not None:
            if not isinstance(code, int):
                raise InputError(f"{name} is a region ({code}). Name single codes in dataset.json.")
            if codes.get(structure, code) != code:
                raise InputError(
                    f"labels {codes[structure]} and {code} ({name}) in dataset.json both mean {structure}. Rename one."
                )
            codes[structure] = code
    if not codes:
        raise InputError(f"none of {', '.join(labels)} in dataset.json is known as RV, MYO or LV. Rename them there.")
    return codes
