"""A slow, independent reference simulation: rotations and relaxation, event by event (numpy, float64).

No formula is shared with `sequences`, whose closed forms are tested against this module and whose test images
come from it. An event is a matrix (..., 4, 4) that acts on (Mx, My, Mz, 1), one per voxel; the 1 carries the
recovery to equilibrium. A sequence is a product of events: `events` defines them, every other module simulates one
kind of sequence.

All functions take T1 and T2 in ms as arrays of one common shape (or numbers), with PD = 1. Flip angles (degrees) and
off-resonance (Hz) may be arrays of that shape, too. Times are in ms. Pulses are instantaneous.
"""

from nnunet_phys.bloch.balanced import inversion_recovery_bssfp, single_shot_bssfp, steady_state_bssfp
from nnunet_phys.bloch.events import SPOIL, apply, demodulate, equilibrium, fixed_point, free, pulse, rotation
from nnunet_phys.bloch.gradient_echo import saturation_recovery_gre, spoiled_gre, t2_prepared_gre
from nnunet_phys.bloch.late_enhancement import late_enhancement_bssfp, late_enhancement_gre
from nnunet_phys.bloch.spin_echo import turbo_spin_echo
from nnunet_phys.bloch.t1_mapping import molli, msasha, sasha

__all__ = [
    "SPOIL",
    "apply",
    "demodulate",
    "equilibrium",
    "fixed_point",
    "free",
    "inversion_recovery_bssfp",
    "late_enhancement_bssfp",
    "late_enhancement_gre",
    "molli",
    "msasha",
    "pulse",
    "rotation",
    "sasha",
    "saturation_recovery_gre",
    "single_shot_bssfp",
    "spoiled_gre",
    "steady_state_bssfp",
    "t2_prepared_gre",
    "turbo_spin_echo",
]
