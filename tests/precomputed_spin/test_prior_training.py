"""Training of a prior: what it writes, how it resumes, and what it refuses before it starts."""

from collections import namedtuple
from dataclasses import replace

import pytest
import torch

from nnunet_phys import training_checkpoint
from nnunet_phys.errors import InputError
from nnunet_phys.precomputed_spin import prior_training
from nnunet_phys.precomputed_spin.guided_crops import GuidedCrops
from nnunet_phys.precomputed_spin.prior import SpinPrior, new_scheduler, new_unet
from nnunet_phys.precomputed_spin.prior_images import Pretraining
from nnunet_phys.precomputed_spin.prior_maps import TrainingMaps
from nnunet_phys.precomputed_spin.prior_schedule import Schedule, Stage
from nnunet_phys.precomputed_spin.prior_training import measure_denoising_error, train_prior
from nnunet_phys.precomputed_spin.reference import reference_voxels
from nnunet_phys.precomputed_spin.spin_scaling import LEAST, SpinScaling
from nnunet_phys.precomputed_spin.training_processes import ALONE, TrainingProcesses
from nnunet_phys.spin import SpinMaps

SCHEDULE = Schedule(steps=6, stages=(Stage(0.5, 8, 2), Stage(1.0, 16, 2)), checkpoint_minutes=9, warmup_steps=2)
OFTEN = replace(SCHEDULE, checkpoint_minutes=0)


def pool() -> TrainingMaps:
    generator = torch.Generator().manual_seed(5)
    pd, t1, t2 = (torch.rand((4, 24, 24), generator=generator) for _ in range(3))
    labels = torch.zeros((4, 24, 24), dtype=torch.uint8)
    labels[:, 4:20, 4:20] = 3
    return TrainingMaps(SpinMaps(pd, 500 + 1000 * t1, 40 + 100 * t2).stack(1), labels)


def held_out() -> TrainingMaps:
    whole = pool()
    return TrainingMaps(whole.maps[..., :16, :16], whole.labels[..., :16, :16])


@pytest.fixture(scope="module")
def small() -> SpinPrior:
    torch.manual_seed(0)
    unet = new_unet((16, 16))
    return SpinPrior(
        unet, new_scheduler(), SpinScaling(), 2.5, torch.zeros(1000, 3), torch.ones(3, 1), {"by": "a test"}
    )


class Interrupted(Exception):
    """Stands for a kill of the process."""


def interrupted_after(monkeypatch, checkpoints: int) -> None:
    """Make training end with an exception after this many checkpoints."""
    save, count = training_checkpoint.Checkpoint.save, 0

    def counted(self, state):
        nonlocal count
        save(self, state)
        count += 1
        if count == checkpoints:
            raise Interrupted

    monkeypatch.setattr(training_checkpoint.Checkpoint, "save", counted)


def test_killed_training_resumes_with_the_same_result(small, tmp_path, monkeypatch):
    monkeypatch.setattr(prior_training.Journal, "write", lambda *_: None)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train_prior(pool, held_out, whole, 2.5, SCHEDULE, init=small)
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        interrupted_after(patched, 4)
        train_prior(pool, held_out, killed, 2.5, OFTEN, init=small)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed.checkpoint.pt", "whole"]
    with pytest.raises(
        InputError,
        match=r"belongs to another training, which differs in seed \(0, now 1\)\. Remove",
    ):
        train_prior(pool, held_out, killed, 2.5, OFTEN, seed=1, init=small)
    other = replace(small, reference=torch.full((3, 1), 2.0))
    with pytest.raises(InputError, match=r"belongs to another training, which differs in init\. Remove"):
        train_prior(pool, held_out, killed, 2.5, OFTEN, init=other)
    train_prior(pool, held_out, killed, 2.5, OFTEN, init=small)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed", "whole"]
    with pytest.raises(InputError, match="killed holds a finished prior"):
        train_prior(pool, held_out, killed, 2.5, OFTEN, init=small)
    first, second = SpinPrior.load(whole), SpinPrior.load(killed)
    for a, b in zip(first.unet.parameters(), second.unet.parameters(), strict=True):
        assert torch.equal(a, b)
    assert first.sha256() == second.sha256()


def test_training_lowers_the_error(small, tmp_path):
    schedule = Schedule(steps=60, stages=(Stage(1.0, 16, 4),), learning_rate=3e-3, warmup_steps=5)
    trained = train_prior(pool, held_out, tmp_path / "p", 2.5, schedule, init=small)
    untrained = replace(small, reference=trained.reference)
    before = measure_denoising_error(untrained, small.scaling.encode(SpinMaps.unstack(held_out().maps, 1)))
    assert float(trained.denoising_error[500:].mean()) < 0.5 * float(before[500:].mean())


def test_training_may_start_from_another_prior(small, tmp_path):
    still = Schedule(steps=1, stages=(Stage(1.0, 8, 2),), learning_rate=0.0)
    trained = train_prior(pool, held_out, tmp_path / "second", 2.5, still, seed=1, init=small)
    assert trained.record["init"] == {"by": "a test"}
    for a, b in zip(small.unet.parameters(), trained.unet.parameters(), strict=True):
        assert torch.equal(a, b)
    assert small.unet.training  # the first prior is left as it was


def test_maps_smaller_than_the_crop_are_refused(small, tmp_path):
    with pytest.raises(InputError, match="smaller than the training crop of 32"):
        train_prior(pool, pool, tmp_path / "p", 2.5, Schedule(stages=(Stage(1.0, 32, 1),)), init=small)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("steps, ends", [(0, (1.0,)), (-3, (1.0,)), (5, ()), (5, (0.5,)), (5, (0.8, 0.5, 1.0))])
def test_faulty_schedules_are_refused(steps, ends):
    with pytest.raises(ValueError, match=r"steps|stages"):
        Schedule(steps=steps, stages=tuple(Stage(end, 8, 2) for end in ends))


def never() -> TrainingMaps:
    raise AssertionError("maps are made before the folder is checked")


def images() -> torch.Tensor:
    slices = torch.rand((3, 1, 24, 24), generator=torch.Generator().manual_seed(6))
    return slices.expand(-1, 3, -1, -1)


def never_images() -> torch.Tensor:
    raise AssertionError("images are read although the prior has learned from them")


def test_pretraining_is_the_training_that_fine_tuning_starts_from(small, tmp_path, monkeypatch):
    """Killed on images or on maps, a pretrained prior goes on; then it is what a prior of these images would become."""
    pretrain = Pretraining(images, steps=4)
    first = train_prior(pool, held_out, tmp_path / "whole", 2.5, SCHEDULE, init=small, pretrain=pretrain)
    for checkpoints, make_images in ((3, images), (6, images), (3, never_images)):  # the first tests the disk
        with monkeypatch.context() as patched, pytest.raises(Interrupted):
            patched.setattr(prior_training.Journal, "write", lambda *_: None)
            interrupted_after(patched, checkpoints)
            train_prior(
                pool, held_out, tmp_path / "killed", 2.5, OFTEN, init=small, pretrain=Pretraining(make_images, 4)
            )
    monkeypatch.setattr(prior_training.Journal, "write", lambda *_: None)
    second = train_prior(pool, held_out, tmp_path / "killed", 2.5, OFTEN, init=small, pretrain=pretrain)
    assert first.sha256() == second.sha256()
    rows = (tmp_path / "whole" / "training" / "loss.csv").read_text().splitlines()
    assert [row.rpartition(",")[0] for row in rows] == ["phase,step", "images,4", "maps,6"]
    plain = train_prior(pool, held_out, tmp_path / "plain", 2.5, OFTEN, init=small)
    assert plain.sha256() != first.sha256()
    card = (tmp_path / "whole" / "README.md").read_text()
    assert "4 on images, then 6 on maps" in card and "4 slices of 2.5 mm" in card and "| T1 (ms) | 220 | 2500 |" in card


def test_a_training_does_not_go_on_with_other_images(small, tmp_path, monkeypatch):
    pretrain = Pretraining(images, 4, "0123")
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        interrupted_after(patched, 2)
        train_prior(pool, held_out, tmp_path / "p", 2.5, OFTEN, init=small, pretrain=pretrain)
    with pytest.raises(InputError, match=r"belongs to another training, which differs in images_sha256 \(0123, now 89"):
        train_prior(pool, held_out, tmp_path / "p", 2.5, OFTEN, init=small, pretrain=replace(pretrain, sha256="89ab"))


def test_pretraining_shows_the_network_images_and_an_empty_guide(small, tmp_path, monkeypatch):
    seen = []
    learn = prior_training._Learner.learn

    def watched(self, clean, guide):
        seen.append((self.phase, clean, guide))
        learn(self, clean, guide)

    monkeypatch.setattr(prior_training._Learner, "learn", watched)
    monkeypatch.setattr(prior_training.Journal, "write", lambda *_: None)
    prior = train_prior(
        pool, held_out, tmp_path / "p", 2.5, replace(SCHEDULE, steps=2), init=small, pretrain=Pretraining(images, 2)
    )
    assert [phase for phase, _, _ in seen] == ["images", "images", "maps", "maps"]
    for _, clean, guide in seen[:2]:
        assert torch.equal(clean[:, 0], clean[:, 1]) and torch.equal(clean[:, 0], clean[:, 2])
        assert torch.equal(guide, prior.library_moments.expand_as(guide))


def test_the_journal_shows_loss_and_maps_while_it_trains(small, tmp_path, monkeypatch):
    (tmp_path / "p.training").mkdir()
    (tmp_path / "p.training" / "notes.txt").touch()
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        interrupted_after(patched, 3)
        train_prior(pool, held_out, tmp_path / "p", 2.5, OFTEN, init=small)
    shown = {path.name: path.read_bytes() for path in (tmp_path / "p.training").iterdir()}
    assert sorted(shown) == ["loss.csv", "loss.png", "notes.txt", "samples.png"]
    assert all(shown[name].startswith(b"\x89PNG") for name in ("loss.png", "samples.png"))
    train_prior(pool, held_out, tmp_path / "p", 2.5, OFTEN, init=small)
    assert [path.name for path in (tmp_path / "p.training").iterdir()] == ["notes.txt"]
    assert sorted(path.name for path in (tmp_path / "p" / "training").iterdir()) == [
        "loss.csv",
        "loss.png",
        "samples.png",
    ]


def test_a_prior_to_start_from_keeps_its_scaling(small, tmp_path):
    wide = SpinScaling(t1_ms=(100.0, 4000.0))
    trained = train_prior(
        pool, held_out, tmp_path / "p", 2.5, replace(SCHEDULE, steps=1), init=replace(small, scaling=wide)
    )
    assert trained.scaling == SpinPrior.load(tmp_path / "p").scaling == wide
    narrow = replace(small, scaling=SpinScaling(t1_ms=(400.0, 600.0)))
    with pytest.raises(InputError, match=r"\d+ % of the maps' T1 are outside of the prior's scale of 400 to 600 ms"):
        train_prior(pool, held_out, tmp_path / "q", 2.5, SCHEDULE, init=narrow)
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_one_slice_fills_a_batch(small, tmp_path):
    def one() -> TrainingMaps:
        return TrainingMaps(pool().maps[:1], pool().labels[:1])

    schedule = replace(SCHEDULE, steps=1, batch_factor=4)
    assert train_prior(one, held_out, tmp_path / "p", 2.5, schedule, init=small).record["slices"] == 1


def test_bfloat16_trains_float32_weights(small, tmp_path):
    exact, half = (
        train_prior(pool, held_out, tmp_path / str(bf16), 2.5, SCHEDULE, init=small, bf16=bf16)
        for bf16 in (False, True)
    )
    assert half.record["bf16"] and not half.bf16
    assert all(weights.dtype == torch.float32 for weights in half.unet.parameters())
    assert half.record["final_loss"] == pytest.approx(exact.record["final_loss"], rel=0.02)
    assert half.record["final_loss"] != exact.record["final_loss"]


def test_processes_draw_crops_of_their_own(small):
    whole = pool()
    scaled = small.scaling.encode(SpinMaps.unstack(whole.maps, 1))
    alone, first, second = (
        GuidedCrops(scaled, whole.labels, 2.5, small.scaling, torch.ones(3, 1), torch.zeros(6, 1, 1), unguided, 0, team)
        for unguided in [replace(SCHEDULE, guided_share=0.0)]
        for team in (ALONE, TrainingProcesses(0, 2), TrainingProcesses(1, 2))
    )
    assert torch.equal(first[1][0], alone[2][0])
    assert not torch.equal(second[2][0], first[2][0])


def _usage(free):
    return lambda path: namedtuple("Usage", "total used free")(0, 0, free)


def test_a_disk_too_full_for_checkpoints_is_refused_before_any_work(small, tmp_path, monkeypatch):
    monkeypatch.setattr(training_checkpoint.shutil, "disk_usage", _usage(1000))
    with pytest.raises(InputError, match=r"has 0 MiB free, but checkpoints need \d+ MiB"):
        train_prior(never, never, tmp_path / "p", 2.5, SCHEDULE, init=small)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_refused_before_any_work(small, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        train_prior(never, never, tmp_path / "file", 2.5, SCHEDULE, init=small)
    with pytest.raises(InputError, match="cannot be made"):
        train_prior(never, never, tmp_path / "file" / "p", 2.5, SCHEDULE, init=small)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    with pytest.raises(InputError, match="holds other files"):
        train_prior(never, never, tmp_path / "full", 2.5, SCHEDULE, init=small)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full", "thesis.txt"]


def test_a_disk_that_fills_up_loses_no_training(small, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("nnunet_phys.precomputed_spin.prior_files.save_file", full)
        with pytest.raises(InputError, match=r"cannot be written .*No space left"):
            train_prior(pool, held_out, tmp_path / "p", 2.5, SCHEDULE, init=small)
    assert [path.name for path in tmp_path.iterdir()] == ["p.checkpoint.pt"]
    train_prior(pool, held_out, tmp_path / "p", 2.5, SCHEDULE, init=small)
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_a_broken_checkpoint_is_refused(small, tmp_path):
    checkpoint = training_checkpoint.Checkpoint.of(tmp_path / "p", {})
    checkpoint.save({"unet": small.unet.state_dict()})
    whole = checkpoint.path.read_bytes()
    for broken in (b"half a file", b"", whole[: len(whole) // 2], whole[:-1]):
        checkpoint.path.write_bytes(broken)
        with pytest.raises(InputError, match=r"p.checkpoint.pt is not a checkpoint .* Remove it"):
            train_prior(never, never, tmp_path / "p", 2.5, SCHEDULE, init=small)


def test_a_loss_that_is_not_finite_ends_the_training(small, tmp_path):
    schedule = replace(SCHEDULE, steps=50, learning_rate=1e30, warmup_steps=0)
    with pytest.raises(InputError, match=r"The loss of step \d+ is (nan|inf)"):
        train_prior(pool, held_out, tmp_path / "p", 2.5, schedule, init=small)
    assert not (tmp_path / "p").exists()


class GaussianPrior(SpinPrior):
    """A prior of scaled maps that are independent Gaussians about 0."""

    variance = 0.04

    def denoise(self, noisy: torch.Tensor, timestep: int) -> torch.Tensor:
        abar = self.alphas_cumprod[timestep]
        return abar.sqrt() * self.variance * noisy / (abar * self.variance + 1 - abar)


def test_denoising_error_is_the_variance_of_the_posterior(small):
    reference = torch.tensor([[0.9, 1500.0, 200.0], [0.8, 1050.0, 50.0]]).T.contiguous()
    prior = GaussianPrior(small.unet, small.scheduler, small.scaling, 2.5, small.denoising_error, reference)
    maps = 0.2 * torch.randn((4, 3, 64, 64), generator=torch.Generator().manual_seed(1))
    error = measure_denoising_error(prior, maps, knots=4)
    abar = prior.alphas_cumprod
    expected = (1 - abar) * prior.variance / (abar * prior.variance + 1 - abar)
    assert error.shape == (1000, 3)
    measured = [0, 333, 666, 999]
    torch.testing.assert_close(error[measured], expected[measured, None].expand(4, 3), rtol=0.04, atol=1e-6)
    torch.testing.assert_close(error[166], (error[0] + error[333]) / 2, rtol=0.01, atol=0)  # linear in between


def test_the_denoising_error_of_many_slices_takes_the_memory_of_some(small, monkeypatch):
    sizes = []

    def seen(self, noisy, timestep):
        sizes.append(len(noisy))
        return torch.zeros_like(noisy)

    monkeypatch.setattr(SpinPrior, "denoise", seen)
    prior = replace(small, reference=torch.tensor([[0.9, 1500.0, 200.0]]).T.contiguous())
    maps = torch.linspace(-0.9, 1, 70).view(-1, 1, 1, 1).expand(-1, 3, 16, 16)
    error = measure_denoising_error(prior, maps, knots=2)
    assert sizes == [32, 32, 32, 32, 6, 6]
    torch.testing.assert_close(error, maps.square().mean().expand(1000, 3))


def test_maps_below_the_scaling_are_learned_at_its_bound(small, tmp_path, monkeypatch):
    """As inference keeps to this bound, a prior never meets such values again."""
    seen = []

    def stop(learner, crops, *_):
        seen.append(crops)
        raise Interrupted

    monkeypatch.setattr(prior_training, "_learn", stop)

    def with_steps():
        maps = pool().maps.clone()
        maps[:, 1:, :8] = torch.tensor([50.0, 5.0]).view(2, 1, 1)
        return TrainingMaps(maps, pool().labels)

    with pytest.raises(Interrupted):
        train_prior(with_steps, held_out, tmp_path / "p", 2.5, SCHEDULE, init=small)
    (crops,) = seen
    assert float(crops.scaled.min()) == LEAST


def test_reference_voxels_come_from_all_slices_and_from_everywhere_in_them():
    slices, side = 64, 48  # a fixed stride of this size would meet every slice in one row
    places = torch.arange(side * side).view(side, side).expand(slices, 3, side, side)
    voxels = reference_voxels(places.clone(), 1024)
    rows, columns = voxels[0] // side, voxels[0] % side
    assert voxels.shape == (3, 1024) and torch.equal(voxels[0], voxels[2])
    for part in (slice(None), slice(None, None, 8)):  # a prior's library is every eighth of its reference voxels
        for position in (rows[part], columns[part]):
            shares = torch.histc(position.float(), 4, 0, side) / len(position)
            assert shares.min() > 0.12, shares  # a quarter of the voxels in every quarter of the slice
    numbers = torch.arange(slices).view(slices, 1, 1, 1).expand(slices, 3, 4, 4)
    assert torch.equal(reference_voxels(numbers, 128)[0], torch.arange(slices).repeat_interleave(2))


def test_worker_processes_do_not_change_the_prior(small, tmp_path):
    alone, helped = (
        train_prior(pool, held_out, tmp_path / str(processes), 2.5, SCHEDULE, init=small, processes=processes)
        for processes in (0, 2)
    )
    assert alone.sha256() == helped.sha256()


def test_a_step_has_as_many_crops_as_the_factor_says(small):
    maps = pool()
    scaled = small.scaling.encode(SpinMaps.unstack(maps.maps, 1))
    reference = reference_voxels(maps.maps, 64)
    schedule = replace(SCHEDULE, batch_factor=3)
    crops = GuidedCrops(scaled, maps.labels, 2.5, small.scaling, reference, torch.zeros(6, 1, 1), schedule, 0)
    clean, guide = crops[5]
    assert clean.shape == (6, 3, 16, 16) and guide.shape == (6, 6, 16, 16)
    assert torch.equal(crops[5][1], guide) and not torch.equal(crops[4][1], guide)
