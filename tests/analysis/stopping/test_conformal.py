from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.errors import AnalysisError
from analysis.stopping.conformal import PATIENCES, calibrate, fewest_grokkers


@pytest.mark.parametrize(("alpha", "least"), [(0.5, 1), (0.1, 9), (0.05, 19), (0.025, 39), (0.01, 99), (0.3, 3)])
def test_the_fewest_grokkers_for_a_level(alpha: float, least: int) -> None:
    assert fewest_grokkers(alpha) == least
    assert calibrate(dict.fromkeys(PATIENCES, 0), least, alpha) is not None
    assert calibrate(dict.fromkeys(PATIENCES, 0), least - 1, alpha) is None


@pytest.mark.parametrize("alpha", [0, 1, -0.1, math.nan])
def test_an_impossible_level_is_refused(alpha: float) -> None:
    with pytest.raises(AnalysisError, match=r"must lie in \(0, 1\)"):
        fewest_grokkers(alpha)


def test_a_bold_number_is_not_admitted_if_a_more_patient_one_is_not() -> None:
    # 99 grokkers at 5 %: at most four may be lost. 0.3 would pass alone, but 0.4 does not.
    calibrated = calibrate({1.0: 0, 0.5: 4, 0.4: 5, 0.3: 2}, 99, 0.05)
    assert calibrated is not None
    assert (calibrated.patience, calibrated.lost, calibrated.grokkers) == (0.5, 4, 99)


def test_even_the_most_patient_number_may_lose_too_many() -> None:
    assert calibrate({1.0: 50, 0.5: 60}, 99, 0.05) is None


def test_the_share_lost_is_at_most_alpha_on_average() -> None:
    """Simulate the guarantee: 1,000 sweeps of exchangeable grokkers, each with a last stall drawn at random."""
    random = np.random.default_rng(0)
    alpha, n, new = 0.1, 40, 25
    shares = []
    for _ in range(1000):
        last_stalls = random.beta(1, random.uniform(3, 8), n + new)
        recorded, coming = last_stalls[:n], last_stalls[n:]
        lost = {patience: int((recorded > patience).sum()) for patience in PATIENCES}
        calibrated = calibrate(lost, n, alpha)
        assert calibrated is not None
        shares.append(float((coming > calibrated.patience).mean()))
    error = np.std(shares) / np.sqrt(len(shares))
    assert np.mean(shares) < alpha + 2 * error
    assert np.mean(shares) > alpha / 2  # the calibration is not merely timid
