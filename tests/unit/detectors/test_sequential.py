from __future__ import annotations

import math

import numpy as np
import pytest

from detectors.sequential import nb_llr, sr_step, temper


@pytest.mark.parametrize("v", [1e-4, 0.05, 1.0])
@pytest.mark.parametrize("k", [0, 3, 40, 500])
def test_the_likelihood_ratio_is_that_of_two_negative_binomials(k: int, v: float) -> None:
    """The closed form agrees with the densities."""

    def log_density(mean: float) -> float:
        size, lost = 1 / v, math.lgamma(k + 1 / v) - math.lgamma(k + 1) - math.lgamma(1 / v)
        return lost - size * math.log1p(v * mean) + k * math.log(v * mean / (1 + v * mean))

    got = nb_llr(np.array(float(k)), np.array(5.0), np.array(20.0), np.array(v))
    assert float(got) == pytest.approx(log_density(20.0) - log_density(5.0), rel=1e-6, abs=1e-9)


def test_without_noise_the_likelihood_ratio_is_poissons() -> None:
    """Variance 0 is the Poisson limit, not a division by zero."""
    got = nb_llr(np.array(7.0), np.array(5.0), np.array(20.0), np.array(0.0))
    assert float(got) == pytest.approx(7 * np.log(4) - 15, rel=1e-6)


def test_shiryaev_roberts_follows_its_recursion() -> None:
    """In logarithms, R' = (1 + R) L, held at the cap and where there is no data."""
    log_r, llr = np.array([[0.7]]), np.array([[0.3]])
    live, cap = np.array([True]), np.array([9.0])
    assert sr_step(log_r, llr, cap, live)[0, 0] == pytest.approx(np.log(1 + np.exp(0.7)) + 0.3)
    assert sr_step(log_r, llr, np.array([0.5]), live)[0, 0] == 0.5
    assert sr_step(log_r, llr, cap, ~live)[0, 0] == 0.7


def test_slow_noise_makes_evidence_count_less() -> None:
    """Independent noise tempers nothing; shared noise tempers the more the busier the series."""
    quiet, busy = np.array([0.1]), np.array([100.0])
    none, some = np.array([0.0]), np.array([0.01])
    assert temper(busy, some, some / 60, 60)[0] == pytest.approx(1.0)
    assert temper(quiet, none, some, 60)[0] > 0.9
    assert temper(busy, none, some, 60)[0] == pytest.approx(1 / 61)


def test_a_bucket_that_counts_for_a_tenth_is_a_tenth_of_a_chance() -> None:
    """Without evidence the statistic grows by the chances that its buckets stand for."""
    log_r, still = np.array([-np.inf]), np.array([0.0])
    for _ in range(100):
        log_r = sr_step(log_r, still, np.array([50.0]), np.array([True]), 0.1)
    assert log_r[0] == pytest.approx(np.log(10.0))
