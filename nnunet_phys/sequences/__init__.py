"""Signal equations: each pulse sequence is a frozen dataclass called on `SpinMaps`, signed signal out.

Times in milliseconds, angles in degrees, off-resonance in Hz. The signal keeps its sign (negative just after
an inversion) until the scanner's noise model takes the magnitude; it is scaled by PD, the receive factor,
last.
"""

from nnunet_phys.sequences.bssfp import BSSFP
from nnunet_phys.sequences.look_locker import LookLocker
from nnunet_phys.sequences.molli import MOLLI
from nnunet_phys.sequences.msasha import MSASHA
from nnunet_phys.sequences.spoiled_gre import SpoiledGRE
from nnunet_phys.sequences.t2_prepared import T2PreparedBSSFP

SEQUENCES = {
    "bssfp": BSSFP,
    "looklocker": LookLocker,
    "molli": MOLLI,
    "gre": SpoiledGRE,
    "msasha": MSASHA,
    "t2prep": T2PreparedBSSFP,
}
"""Sequence by its short name, as records and priors keep it."""

__all__ = ["BSSFP", "MOLLI", "MSASHA", "SEQUENCES", "LookLocker", "SpoiledGRE", "T2PreparedBSSFP"]
