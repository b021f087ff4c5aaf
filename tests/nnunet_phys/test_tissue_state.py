"""Contrast agent and disease act on tissue through T1 and T2, smoothly."""

from __future__ import annotations

import torch

from nnunet_phys.spin import SpinMaps
from nnunet_phys.tissue_state import ContrastAgent, TissueState, with_agent

#                      blood  myocardium  fat   venous blood
T1 = torch.tensor([1550.0, 1050.0, 300.0, 1500.0])
T2 = torch.tensor([230.0, 51.0, 64.0, 150.0])


def after(state: TissueState, t1=T1, t2=T2) -> SpinMaps:
    return state(SpinMaps(torch.ones_like(t1), t1, t2))[0]


def test_nothing_happens_by_default():
    maps = after(TissueState())
    torch.testing.assert_close((maps.t1, maps.t2), (T1, T2))


def test_who_is_blood_does_not_depend_on_the_factors():
    _, blood = TissueState()(SpinMaps(torch.ones(4), T1, T2))
    _, scaled = TissueState(1.4, 0.75, ContrastAgent(1.0, 0.5))(SpinMaps(torch.ones(4), T1, T2))
    assert torch.equal(blood, scaled)
    assert blood[0] > 0.95 and blood[3] > 0.95 and blood[1] < 0.03 and blood[2] < 0.03


def test_a_late_dose_gives_published_t1():
    """0.5 mmol/l in blood, 0.45 of it in tissue: blood 250-400 ms, myocardium 450-550 ms, fat as it was."""
    t1 = after(TissueState(agent=ContrastAgent(0.5, 0.225))).t1
    assert 250 < t1[0] < 400 and 450 < t1[1] < 550 and t1[2] > 0.98 * 300


def test_fat_takes_up_little_at_3_t_too():
    fat = after(
        TissueState(agent=ContrastAgent(0.5, 0.225)), torch.tensor([382.0, 407.0]), torch.tensor([68.0, 68.0])
    ).t1
    assert fat[0] > 0.97 * 382 and fat[1] > 0.94 * 407


def test_relaxation_rates_add():
    blood = SpinMaps(torch.ones(1), torch.tensor([1600.0]), torch.tensor([400.0]))
    now = TissueState(agent=ContrastAgent(1.0, 1.0))(blood)[0]
    torch.testing.assert_close(1e3 / now.t1, 1e3 / blood.t1 + 4.5, rtol=1e-3, atol=0)
    torch.testing.assert_close(1e3 / now.t2, 1e3 / blood.t2 + 5.5, rtol=1e-3, atol=0)


def test_disease_is_of_muscle_alone():
    sick = after(TissueState(muscle_t1_factor=1.2, muscle_t2_factor=1.3))
    assert 1.15 < sick.t1[1] / T1[1] < 1.2 and 1.2 < sick.t2[1] / T2[1] < 1.3
    others = [0, 2, 3]
    torch.testing.assert_close(sick.t1[others], T1[others], rtol=0.03, atol=0)
    scar = after(TissueState(agent=ContrastAgent(0.5, 0.2), muscle_uptake=2.5)).t1
    assert scar[1] < 1.25 * scar[0] and scar[1] < 0.75 * after(TissueState(agent=ContrastAgent(0.5, 0.2))).t1[1]


def test_it_is_smooth():
    """No step along T1 or T2: a label's outline cannot be painted by a small error of the maps."""
    state = TissueState(agent=ContrastAgent(1.0, 0.4), muscle_t1_factor=1.2, muscle_t2_factor=1.3, muscle_uptake=2.0)
    for t1, t2 in ((torch.linspace(200, 2500, 4000), None), (None, torch.linspace(30, 300, 4000))):
        t1 = torch.full((4000,), 1200.0) if t1 is None else t1
        t2 = torch.full((4000,), 60.0) if t2 is None else t2
        now = after(state, t1, t2)
        assert float((now.t1.diff() / now.t1[1:]).abs().max()) < 0.01
        assert float((now.t2.diff() / now.t2[1:]).abs().max()) < 0.01


def test_agent_shortens_t1_more_than_t2():
    t1, t2 = with_agent(1500.0, 200.0, 0.5)
    assert 250 < t1 < 400 and 120 < t2 < 140
    assert with_agent(1500.0, 200.0, 0.0) == (1500.0, 200.0)
