"""What changes T1 and T2 between scans: contrast agent, disease, field strength and method of mapping.

All dependence on tissue is a smooth function of T1 and T2. No label is read, so no outline of a label can get into an
image.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch

from nnunet_phys.quantities import Bounded, Quantity, number
from nnunet_phys.spin import SpinMaps
from nnunet_phys.tissue_kinds import TissueKinds

RELAXIVITY_R1 = 4.5
"""L/(mmol s). Extracellular agents in whole blood at 37 C have 3.9-4.6 at 1.5 T and 3.4-4.5 at 3 T (Shen et al., Invest
Radiol 50:330, 2015; without gadobenate and gadoxetate, which bind to protein)."""
RELAXIVITY_R2 = 5.5
"""The same for 1/T2. Assumed: r2 of small chelates is about 10-30 % above r1; no table for blood was at hand."""


_Times = TypeVar("_Times", float, np.ndarray, torch.Tensor)

CONCENTRATION = Quantity("mmol/l", 0, 50)
RELAXATION_FACTOR = Quantity("", 0.1, 10)
UPTAKE = Quantity("", 0, 20)


@dataclass(frozen=True)
class ContrastAgent(Bounded):
    """Concentrations of an extracellular gadolinium agent, mmol/l.

    Blood takes up `blood`, fat (T1 of 250-410 ms) little or nothing, all other tissue `tissue`. 10-20 minutes after the
    injection the ratio of tissue to blood is 0.46 +- 0.06 at 1.5 T and 0.54 +- 0.06 at 3 T (Sharma et al., JMRI 2006,
    doi:10.1002/jmri.20504), 0.56 +- 0.15 in dilated cardiomyopathy (Jerosch-Herold et al., AJP Heart 295:H1234, 2008).

    Attributes:
        blood: concentration in blood: 0.3-1 after that time (1,550 ms become 500-190 ms), up to 5 in the first pass.
        tissue: concentration in myocardium and all other tissue that is neither blood nor fat.
    """

    blood: float = field(metadata=number(CONCENTRATION))
    tissue: float = field(metadata=number(CONCENTRATION))


@dataclass(frozen=True)
class TissueState(Bounded):
    """The state of all tissue at one scan.

    Attributes:
        t1_factor, t2_factor: factors of T1 and T2 of all tissue, for other field strengths and mapping methods.
        agent: contrast agent.
        muscle_t1_factor, muscle_t2_factor: factors for tissue whose T1 and T2 are like myocardium's. Acute infarction
            raises T1 by 14 % at 1.5 T (Carrick et al., JACC Cardiovasc Imaging 8:779, 2015), T2 by 24 % at 3 T (57 ms,
            Layland et al., JAHA 6:e004759, 2017, against 46 ms, Hanson et al., Radiology 297:344, 2020), chronic
            infarction T1 by 32 % at 3 T (1621 against 1225 ms in 105 patients, PMC7363195).
        muscle_uptake: concentration in that tissue, relative to `agent.tissue`: 2 in a scar at the time of LGE.
    """

    t1_factor: float = field(default=1.0, metadata=number(RELAXATION_FACTOR))
    t2_factor: float = field(default=1.0, metadata=number(RELAXATION_FACTOR))
    agent: ContrastAgent = ContrastAgent(0.0, 0.0)
    muscle_t1_factor: float = field(default=1.0, metadata=number(RELAXATION_FACTOR))
    muscle_t2_factor: float = field(default=1.0, metadata=number(RELAXATION_FACTOR))
    muscle_uptake: float = field(default=1.0, metadata=number(UPTAKE))

    def __call__(self, maps: SpinMaps, kinds: TissueKinds | None = None) -> tuple[SpinMaps, torch.Tensor]:
        """Maps at this scan, and the share of flowing blood in each voxel.

        The kind of tissue is decided by the maps that are passed, before any factor.

        Args:
            maps: as inferred, of any shape.
            kinds: `TissueKinds.of(maps)`, if it was computed before.
        """
        kinds = TissueKinds.of(maps) if kinds is None else kinds
        t1 = maps.t1 * self.t1_factor
        t2 = maps.t2 * self.t2_factor
        if self.muscle_t1_factor != 1:
            t1 = t1 * (1 + kinds.muscle * (self.muscle_t1_factor - 1))
        if self.muscle_t2_factor != 1:
            t2 = t2 * (1 + kinds.muscle * (self.muscle_t2_factor - 1))
        if self.agent.blood > 0 or self.agent.tissue > 0:
            uptake = self.agent.tissue * (1 + kinds.muscle * (self.muscle_uptake - 1))
            concentration = kinds.blood * self.agent.blood + kinds.watery * uptake
            t1, t2 = with_agent(t1, t2, concentration)
        return SpinMaps(maps.pd, t1, t2), kinds.blood


def with_agent(t1_ms: _Times, t2_ms: _Times, concentration: _Times) -> tuple[_Times, _Times]:
    """T1 and T2 in ms at a concentration of the agent in mmol/l, by its relaxivities."""
    t1_after = 1 / (1 / t1_ms + RELAXIVITY_R1 * 1e-3 * concentration)
    t2_after = 1 / (1 / t2_ms + RELAXIVITY_R2 * 1e-3 * concentration)
    return t1_after, t2_after
