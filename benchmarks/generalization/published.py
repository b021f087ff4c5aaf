"""Published figures that stand beside the bed's own, marked as such."""

from __future__ import annotations

SINGLE_SOURCE: dict[str, dict[str, float]] = {
    "bSSFP to LGE": {
        "Cutout": 78.87,
        "MixStyle": 75.21,
        "AdvBias": 79.62,
        "RandConv": 83.73,
        "GIN-IPA": 85.01,
        "SLAug": 86.69,
    },
    "LGE to bSSFP": {
        "Cutout": 85.92,
        "MixStyle": 86.34,
        "AdvBias": 86.27,
        "RandConv": 87.24,
        "GIN-IPA": 86.99,
        "SLAug": 87.67,
    },
}
"""Mean Dice in % of single-source generalisation between two sequences of MS-CMRSeg, by direction and method: that of
SLAug from the README of its code (Su et al., AAAI 2023; github.com/Kaiseem/SLAug), the others from table 4 of S2S2,
which has 86.42 and 87.17 for SLAug and calls GIN-IPA CSDG."""

DIFFERENCES = (
    "They crop images to the heart, and train and test on MS-CMRSeg with another network and schedule. The bed trains "
    "on 20 of its patients as MyoPS 2020 released them, tests on 8 others, and crops nothing. So the order of methods "
    "may be compared, not the decimals."
)
"""What differs between these figures and the bed's."""
