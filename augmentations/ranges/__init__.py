"""Ranges of protocols: one frozen dataclass per sequence, whose values a recipe's JSON holds.

Times are in ms, angles in degrees. `draw` takes `rng`, which is np.random, a RandomState or a Generator, the state of
the tissue and the case's reservoir, since a scanner's operator looks at the patient, too: the inversion time of late
enhancement follows the myocardium's null.
"""

from nnunet_phys.augmentations.ranges.black_blood import BlackBloodRanges
from nnunet_phys.augmentations.ranges.cine import BSSFPRanges, ErnstRanges, GRERanges
from nnunet_phys.augmentations.ranges.enhancement import LateBSSFPRanges, LateGRERanges, PerfusionRanges
from nnunet_phys.augmentations.ranges.mapping import (
    LookLockerRanges,
    MOLLIRanges,
    SASHARanges,
    T2PreparedBSSFPRanges,
    T2PreparedGRERanges,
)
from nnunet_phys.augmentations.ranges.tissue import AgentRanges, RegionRanges

__all__ = ["SEQUENCE_RANGES", "AgentRanges", "RegionRanges"]

SEQUENCE_RANGES = {
    kind.name: kind
    for kind in (
        BSSFPRanges,
        MOLLIRanges,
        GRERanges,
        SASHARanges,
        T2PreparedBSSFPRanges,
        T2PreparedGRERanges,
        LateGRERanges,
        LateBSSFPRanges,
        PerfusionRanges,
        BlackBloodRanges,
        LookLockerRanges,
        ErnstRanges,
    )
}
"""Ranges by the sequence's name in a recipe."""
