"""The comparison of priors: its figures mean what they say, and it runs with priors of both kinds."""

import json
import math
import sys

import numpy as np
import pytest

import prior as benchmark


def test_the_sliced_distance_of_a_shift_is_its_mean_projection():
    points = np.random.default_rng(0).normal(size=(5000, 2))
    assert benchmark.sliced_wasserstein(points, points[::-1]) == pytest.approx(0, abs=1e-9)
    assert benchmark.sliced_wasserstein(points, points + np.array([0.3, 0.4])) == pytest.approx(
        0.5 * 2 / math.pi, rel=0.01
    )


def test_samples_like_the_truth_cover_90_percent_of_it():
    rng = np.random.default_rng(0)
    samples, truth = rng.normal(size=(benchmark.SAMPLES, 20_000, 2)), rng.normal(size=(20_000, 2))
    samples[..., 1] /= 4
    right, overconfident = benchmark.covered(samples, truth)
    assert right == pytest.approx(0.9, abs=0.01) and overconfident < 0.5


def test_priors_of_both_kinds_have_a_row_in_each_table(prior, published, tmp_path, monkeypatch, capsys):
    for name, few in (("DRAW_STEPS", 2), ("SAMPLES", 2), ("SIZE", 64)):
        monkeypatch.setattr(benchmark, name, few)
    tables = tmp_path / "tables.json"
    options = ["-prior", prior, "-published", published, "-hearts", "1", "-steps", "2", "-o", str(tables)]
    monkeypatch.setattr(sys, "argv", ["prior.py", *options])
    benchmark.main()
    written = json.loads(tables.read_text())
    assert list(written) == ["Distance", "Denoising", "Covered, %", "Contrasts, dB"]
    assert list(written["Distance"]) == ["maps of other hearts", prior, published]
    for rows in written.values():
        for row in rows.values():
            assert all(math.isfinite(float(number)) for cell in row.values() for number in cell.split(" / "))
    assert f"| {published} |" in capsys.readouterr().out


def test_a_prior_that_does_not_fit_its_option_is_refused_at_once(prior, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["prior.py", "-published", prior])
    with pytest.raises(SystemExit):
        benchmark.main()
    assert "has its scaling in prior.json" in capsys.readouterr().err
