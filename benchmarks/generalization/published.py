"""Published figures that stand beside the bed's own, marked as such."""

from __future__ import annotations

SINGLE_SOURCE: dict[str, dict[str, float]] = {
    "bSSFP to LGE": {
        "MixStyle": 75.2,
        "Cutout": 78.9,
        "AdvBias": 79.6,
        "RandConv": 83.7,
        "GIN-IPA": 85.0,
        "SLAug": 86.7,
    },
    "LGE to bSSFP": {"RandConv": 87.2, "GIN-IPA": 87.0, "SLAug": 87.7},
}
"""Mean Dice in % of single-source generalisation on MS-CMRSeg, by direction and method, as the public README of SLAug
(Su et al., AAAI 2023) and the comparison table of S2S2 give them."""

DIFFERENCES = (
    "They crop images to the heart, train and test on the 45 patients of MS-CMRSeg, with another network and schedule. "
    "The bed trains on 20 of these patients as MyoPS 2020 released them, tests on 8 others, and crops nothing. So the "
    "order of methods may be compared, not the decimals."
)
"""What differs between these figures and the bed's."""
