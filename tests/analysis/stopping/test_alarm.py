from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.errors import AnalysisError
from analysis.stopping.alarm import Alarm


def share_of_alarms(lost: np.ndarray, alarm: Alarm) -> float:
    return float((alarm.log_evidence(lost).max(axis=-1) >= -math.log(alarm.false_alarm)).mean())


def test_false_alarms_are_rarer_than_promised_at_any_time_and_errors_are_seen() -> None:
    """Simulate 4,000 sweeps with 200 audited grokkers each."""
    random = np.random.default_rng(0)
    draws = random.random((4000, 200))
    alarm = Alarm()
    assert share_of_alarms(draws < 0.01, alarm) < 0.03
    assert 0.75 < share_of_alarms(draws < 0.05, alarm) < 0.85
    assert share_of_alarms(draws < 0.2, alarm) > 0.99
    # The promise is for all levels and bets, and to the very end.
    for alpha, bet in ((0.01, 0.5), (0.05, 0.3), (0.1, 0.9)):
        long = random.random((2000, 1500)) < alpha
        other = Alarm(alpha=alpha, bet=bet, false_alarm=0.1)
        assert share_of_alarms(long, other) < 0.1 + 2 * math.sqrt(0.09 / 2000)


def test_the_alarm_is_raised_once_and_for_all() -> None:
    alarm = Alarm(alpha=0.01, false_alarm=0.05)
    # Each loss multiplies the evidence by 10.9, each kept grokker by 0.9.
    assert alarm.raised_after([True, False]) is None
    assert alarm.raised_after([False, True, True, *[False] * 50]) == 3
    assert alarm.log_evidence([True, True])[-1] == pytest.approx(2 * math.log(10.9))
    assert alarm.raised_after([]) is None


@pytest.mark.parametrize("values", [{"alpha": 0}, {"alpha": 1}, {"false_alarm": 0}, {"bet": 1}, {"bet": -0.1}])
def test_impossible_parameters_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(AnalysisError, match="must lie in"):
        Alarm(**values)
