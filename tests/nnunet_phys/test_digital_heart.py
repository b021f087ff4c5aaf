"""The digital heart and the scanner around it."""

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, distance_transform_edt

from nnunet_phys.digital_heart import LABELS, digital_heart
from nnunet_phys.heart_anatomy import HeartShape, HeartStack, draw_shape
from nnunet_phys.heart_scanner import noisy_magnitude, off_resonance_hz, receive_bias, smooth_field
from nnunet_phys.tissues import TISSUE_NAMES, TISSUES, draw_tissue_values


@pytest.fixture(scope="module")
def hearts():
    return [digital_heart(seed, slices=5) for seed in range(12)]


def test_seed_decides_everything():
    heart, same, other = digital_heart(3, 2), digital_heart(3, 2), digital_heart(4, 2)
    assert np.array_equal(heart.tissue, same.tissue) and bool((heart.maps.t1 == same.maps.t1).all())
    assert not np.array_equal(heart.tissue, other.tissue)


def test_every_heart_has_its_structures(hearts):
    for heart in hearts:
        assert set(np.unique(heart.labels)) == set(LABELS.values())
        assert {"air", "lung", "fat", "blood", "myocardium"} <= {TISSUE_NAMES[i] for i in np.unique(heart.tissue)}


def test_myocardium_encloses_the_left_cavity(hearts):
    for heart in hearts:
        for labels in heart.labels:
            around = binary_dilation(labels == LABELS["LV"]) & (labels != LABELS["LV"])
            assert (labels[around] == LABELS["MYO"]).all()


def test_labels_agree_with_tissue(hearts):
    arterial, venous, muscle = (TISSUE_NAMES.index(n) for n in ("blood", "venous blood", "myocardium"))
    for heart in hearts:
        assert (heart.tissue[heart.labels == LABELS["MYO"]] == muscle).all()
        for name, blood in (("LV", arterial), ("RV", venous)):
            cavity = heart.tissue[heart.labels == LABELS[name]]
            assert np.isin(cavity, (blood, muscle)).all() and (cavity == blood).mean() > 0.7


def test_maps_hold_each_tissue_near_its_value(hearts):
    for heart in hearts:
        for name in ("blood", "venous blood", "myocardium", "fat"):
            where = heart.tissue == TISSUE_NAMES.index(name)
            assert np.median(heart.maps.t1.numpy()[where]) == pytest.approx(heart.values[name].t1_ms, rel=0.05)
            assert np.median(heart.maps.t2.numpy()[where]) == pytest.approx(heart.values[name].t2_ms, rel=0.08)


def test_systole_thickens_the_wall_and_empties_the_cavity():
    rest, squeezed = (digital_heart(7, 5, systole=s).labels for s in (False, True))
    ratio = [(labels == LABELS["LV"]).sum() / (labels == LABELS["MYO"]).sum() for labels in (rest, squeezed)]
    assert ratio[1] < 0.7 * ratio[0]


def test_tissue_values_stay_within_their_spread():
    rng = np.random.default_rng(0)
    for field in TISSUES:
        for values in (draw_tissue_values(rng, field) for _ in range(50)):
            for name, tissue in TISSUES[field].items():
                mean, deviation = tissue.t1_ms
                assert abs(values[name].t1_ms - mean) <= 2.5 * deviation + 1e-6
            assert all(value.t2_star_ms < value.t2_ms < value.t1_ms for value in values.values())
            arterial, venous = values["blood"], values["venous blood"]
            assert venous.t1_ms == arterial.t1_ms and 0.6 < venous.t2_ms / arterial.t2_ms < 0.95


def test_bias_is_one_at_the_heart_and_bounded():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        bias = receive_bias(rng, (96, 128), 2.5, maximum=3.0, centre_mm=(20.0, -15.0))
        assert bias.shape == (96, 128) and bias.min() >= 1 / 3 - 1e-6 and bias.max() <= 3 + 1e-5
        assert 0.5 < bias[int(47.5 + 8), int(63.5 - 6)] < 2


def test_fields_are_smooth():
    rng = np.random.default_rng(0)
    for field in (smooth_field(rng, (64, 80), 5), off_resonance_hz(rng, (64, 80), 50.0) / 50):
        assert field.shape == (64, 80)
        assert np.abs(np.diff(field, axis=0)).max() < 0.35 and field.std() > 0.05


def test_noise_is_rician():
    rng = np.random.default_rng(0)
    floor = noisy_magnitude(rng, np.zeros(200_000), 2.0)
    assert floor.mean() == pytest.approx(2 * np.sqrt(np.pi / 2), rel=0.01)  # Rayleigh
    bright = noisy_magnitude(rng, np.full(200_000, -100.0), 2.0)
    assert bright.mean() == pytest.approx(100, rel=0.001) and bright.std() == pytest.approx(2, rel=0.02)


def areas(shape: HeartShape, seed: int = 5) -> dict[str, float]:
    """Pixels of each structure in a basal slice."""
    labels = digital_heart(seed, 5, heart_shape=shape).labels[1]
    return {name: float((labels == code).sum()) for name, code in LABELS.items()}


def test_heart_shapes_change_what_they_say():
    usual = areas(HeartShape())
    dilated, thick, overloaded = areas(HeartShape(cavity=1.3)), areas(HeartShape(wall=1.5)), areas(HeartShape(rv=1.3))
    assert dilated["LV"] == pytest.approx(1.69 * usual["LV"], rel=0.05)
    assert thick["MYO"] > 1.4 * usual["MYO"] and thick["LV"] == pytest.approx(usual["LV"], rel=0.02)
    assert overloaded["RV"] > 1.2 * usual["RV"]
    assert areas(HeartShape(flattening=0.4))["LV"] < 0.95 * usual["LV"]
    same = digital_heart(5, 5, heart_shape=HeartShape())
    assert np.array_equal(same.tissue, digital_heart(5, 5).tissue)


@pytest.mark.parametrize("shape", [HeartShape(septum=1.8, wall=1.5, cavity=0.8), HeartShape(flattening=0.4, rv=1.4)])
def test_myocardium_encloses_the_left_cavity_of_every_shape(shape):
    for seed in range(4):
        for labels in digital_heart(seed, 4, heart_shape=shape).labels:
            around = binary_dilation(labels == LABELS["LV"]) & (labels != LABELS["LV"])
            assert (labels[around] == LABELS["MYO"]).all()


def test_the_septum_is_as_thick_as_asked():
    labels = digital_heart(5, 5, heart_shape=HeartShape(septum=3.0, wall=1.3)).labels[1]
    distance = distance_transform_edt(labels != LABELS["LV"])
    beside_rv = (labels == LABELS["MYO"]) & binary_dilation(labels == LABELS["RV"], iterations=2)
    outer = (labels == LABELS["MYO"]) & binary_dilation(~np.isin(labels, (1, 2, 3)))
    assert np.median(distance[beside_rv]) > 1.5 * np.quantile(distance[outer], 0.2)


@pytest.mark.parametrize("fault", [{"wall": 0.0}, {"flattening": 0.9}, {"flattening": -0.1}, {"trabeculae": -1}])
def test_impossible_shapes_are_refused(fault):
    with pytest.raises(ValueError, match=r"above 0|flattening is 0|trabeculae must not"):
        HeartShape(**fault)


@pytest.fixture(scope="module")
def whole_hearts():
    stack = HeartStack((-0.1, -0.1), (1.05, 1.05), ends=True)
    return [digital_heart(seed, 24, stack=stack) for seed in range(8)]


def test_a_stack_may_reach_beyond_both_ends_of_the_heart(whole_hearts):
    for heart in whole_hearts:
        there = {name: (heart.labels == code).any((1, 2)) for name, code in LABELS.items()}
        assert not there["MYO"][:2].any() and not there["LV"][:2].any()  # the atria
        last = {name: np.flatnonzero(there[name]).max() for name in ("RV", "MYO", "LV")}
        assert last["RV"] < last["MYO"] and last["LV"] < last["MYO"]  # the apex is muscle alone
        assert there["MYO"][3:20].all()


def test_levels_beyond_the_heart_need_its_ends():
    with pytest.raises(ValueError, match="levels below 0 or above 1 need ends=True"):
        HeartStack(last=(0.9, 1.1))


def test_vessels_beside_the_base_are_blood_without_a_label(whole_hearts):
    blood = [TISSUE_NAMES.index(name) for name in ("blood", "venous blood")]
    areas = [(np.isin(heart.tissue, blood) & (heart.labels == 0)).sum((1, 2)) for heart in whole_hearts]
    assert sum(area[:3].mean() > 2 * area[12:20].mean() for area in areas) >= 5


def test_trabeculae_are_muscle_inside_the_cavities():
    shape = (256, 256)
    smooth, strands = (
        digital_heart(5, 5, shape, 1.25, heart_shape=HeartShape(trabeculae=number)) for number in (0, 15)
    )
    muscle = TISSUE_NAMES.index("myocardium")
    area = {}
    for name in ("LV", "RV"):
        cavity = smooth.labels[1] == LABELS[name]
        area[name] = [int((heart.tissue[1][cavity] == muscle).sum()) for heart in (smooth, strands)]
        assert (strands.labels[1][cavity] == LABELS[name]).mean() > 0.97
    assert area["LV"][1] > area["LV"][0] + 100 and area["RV"][1] > area["RV"][0]


@pytest.mark.parametrize("systole", [False, True])
def test_drawn_shapes_are_possible_and_differ(systole):
    rng = np.random.default_rng(0)
    shapes = [draw_shape(rng, systole) for _ in range(200)]
    cavities = [s.cavity for s in shapes]
    assert 0.4 <= min(cavities) < 0.8 and (1.0 if systole else 1.3) < max(cavities) <= 1.6
    assert 0.15 < np.mean([s.flattening > 0 for s in shapes]) < 0.45
    assert {s.trabeculae for s in shapes} == set(range(16))


def test_a_squeezed_cavity_has_a_thicker_wall():
    rng = np.random.default_rng(0)
    shapes = [draw_shape(rng, systole=True) for _ in range(400)]
    small = np.array([s.cavity for s in shapes]) < np.median([s.cavity for s in shapes])
    walls = np.array([s.wall for s in shapes])
    assert np.median(walls[small]) > 1.05 * np.median(walls[~small])
