"""What T1 and T2 say of a voxel: blood, fat, muscle, by values from the literature (see `tissues`)."""

import pytest
import torch

from nnunet_phys.spin import SpinMaps
from nnunet_phys.tissue_kinds import TissueKinds, flowing_blood


@pytest.mark.parametrize(
    "t1, t2, least, greatest",
    [
        (1550, 235, 0.98, 1.0),  # arterial blood, 1.5 T
        (1850, 180, 0.98, 1.0),  # and 3 T
        (1250, 120, 0.93, 0.97),
        (1550, 110, 0.85, 0.9),  # venous blood
        (1057, 79, 0.2, 0.3),  # spleen
        (1200, 65, 0.0, 0.07),  # oedema
        (1060, 51, 0.0, 0.01),  # myocardium, 1.5 T
        (1523, 46, 0.0, 0.01),  # and 3 T
        (610, 50, 0.0, 0.01),  # liver
        (305, 64, 0.0, 0.01),  # fat
        (320, 235, 0.0, 0.01),  # blood after contrast agent
    ],
)
def test_flowing_blood(t1, t2, least, greatest):
    assert least <= float(flowing_blood(torch.tensor(float(t1)), torch.tensor(float(t2)))) <= greatest


def test_kinds_of_the_main_tissues():
    blood, myocardium, fat = range(3)
    t1, t2 = torch.tensor([1550.0, 1060.0, 305.0]), torch.tensor([235.0, 51.0, 64.0])
    kinds = TissueKinds.of(SpinMaps(torch.ones(3), t1, t2))
    assert kinds.blood[blood] > 0.95 and kinds.watery[blood] < 0.05 and kinds.muscle[blood] < 0.05
    assert kinds.muscle[myocardium] > 0.9 and kinds.watery[myocardium] > 0.95
    assert kinds.watery[fat] < 0.05 and kinds.muscle[fat] < 0.05
