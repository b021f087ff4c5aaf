"""The schedule's lengths and batches."""

import pytest

from nnunet_phys.completion.schedule import CompletionSchedule


def test_scaled_changes_the_lengths_of_the_phases():
    schedule = CompletionSchedule()
    half = schedule.scaled(schedule.denoiser_steps // 2, 1)
    for name in ("regressor_steps", "denoiser_steps", "views"):
        assert getattr(half, name) == getattr(schedule, name) / 2
    for name in ("autoencoder_steps", "encoder_steps"):  # they limit all that follows
        assert 0.7 < getattr(half, name) / getattr(schedule, name) < 0.72
    assert half.learning_rate == schedule.learning_rate
    assert schedule.scaled(2 * schedule.denoiser_steps, 1).views == schedule.views  # they take memory


def test_a_larger_batch_has_larger_learning_rates():
    schedule = CompletionSchedule()
    larger = schedule.scaled(schedule.denoiser_steps, 4)
    assert (larger.batch, larger.autoencoder_batch) == (4 * schedule.batch, 4 * schedule.autoencoder_batch)
    assert larger.learning_rate == pytest.approx(2 * schedule.learning_rate)
    assert larger.autoencoder_rate == pytest.approx(2 * schedule.autoencoder_rate)
    assert larger.denoiser_steps == schedule.denoiser_steps


def test_no_phase_is_left_without_a_step():
    shortest = CompletionSchedule().scaled(1, 1)
    assert shortest.encoder_steps == 8 and shortest.regressor_steps == 1
    assert shortest.views == 1
