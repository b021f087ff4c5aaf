"""Signal equations: every pulse sequence is a frozen dataclass, called on `SpinMaps`, that returns a signed signal.

Times in milliseconds, angles in degrees, off-resonance in Hz. The signal keeps its sign (negative just after an
inversion) until the scanner's noise model takes the magnitude. PD, which includes the receive factor, scales it last.
`balanced` says whether the read-out is bSSFP of a known TR, where off-resonance acts as a larger flip angle
(`blocks.effective_flip_angle`).

The classes imported here are those that other modules and users need by name, listed so that type checkers see them. A
new sequence needs no entry: `SEQUENCES` is filled from all files of this folder, and from other packages by `plugins`.
"""

import importlib
import pkgutil

from nnunet_phys.sequences.black_blood import BlackBloodTSE
from nnunet_phys.sequences.bssfp import BSSFP
from nnunet_phys.sequences.late_enhancement import InversionRecoveryBSSFP, InversionRecoveryGRE
from nnunet_phys.sequences.look_locker import LookLocker
from nnunet_phys.sequences.molli import MOLLI
from nnunet_phys.sequences.msasha import MSASHA
from nnunet_phys.sequences.perfusion import SaturationRecoveryGRE
from nnunet_phys.sequences.pulse_sequence import SEQUENCES
from nnunet_phys.sequences.sasha import SASHA
from nnunet_phys.sequences.spoiled_gre import SpoiledGRE
from nnunet_phys.sequences.t2_prepared import T2PreparedBSSFP, T2PreparedGRE

for _module in pkgutil.iter_modules(__path__):  # a sequence enters `SEQUENCES` when its file is imported
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = [
    "BSSFP",
    "MOLLI",
    "MSASHA",
    "SASHA",
    "SEQUENCES",
    "BlackBloodTSE",
    "InversionRecoveryBSSFP",
    "InversionRecoveryGRE",
    "LookLocker",
    "SaturationRecoveryGRE",
    "SpoiledGRE",
    "T2PreparedBSSFP",
    "T2PreparedGRE",
]
