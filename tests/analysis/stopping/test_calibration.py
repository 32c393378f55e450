from __future__ import annotations

import dataclasses
from typing import get_args

import numpy as np
import pytest

from analysis.errors import AnalysisError
from analysis.stopping.calibration import ALPHA, LEVELS, Calibration
from analysis.stopping.evidence import Evidence
from analysis.stopping.ledger import GivenUp, RecordedSweep, Settings
from analysis.stopping.parking import ParkingParameters
from analysis.stopping.stall import Signal, StallParameters
from tests.analysis.stopping.made import failure, grokker, recorded


def test_the_patience_loses_as_many_as_the_level_allows() -> None:
    # 99 grokkers at 5 %: four may be lost, since one more counts as lost.
    critical = [0.1] * 94 + [0.3, 0.4, 0.5, 0.6, 0.7]
    calibration = Calibration((recorded("a", critical[:50]), recorded("b", critical[50:])))
    assert calibration.patience(0.05) == 0.3
    assert calibration.patience(0.01) == 0.7
    assert calibration.sentence == "99 grokkers of 2 recorded sweeps; for a new task an estimate"


def test_a_level_that_cannot_be_promised_is_refused_with_the_smallest_that_can() -> None:
    calibration = Calibration((recorded("a", [0.1] * 39),))
    with pytest.raises(AnalysisError, match=r"alpha must be at least 0.025, .* 39 recorded grokkers .* got 0.01"):
        calibration.patience(0.01)
    assert calibration.patience(0.025) == 0.1
    # A grokker that no patience keeps makes it worse.
    with pytest.raises(AnalysisError, match=r"alpha must be at least 0.0488,"):
        Calibration((recorded("a", [0.1] * 39 + [np.inf]),)).patience(0.01)
    with pytest.raises(AnalysisError, match=r"alpha must be at least 1,"):
        Calibration(()).patience(0.01)


def test_the_chance_of_a_trial_that_is_given_up_is_a_shrunken_share() -> None:
    one = dataclasses.replace(recorded("a", []), given_up={"nothing": GivenUp(5, 1), "a grok": GivenUp(2, 1)})
    two = dataclasses.replace(recorded("b", []), given_up={"nothing": GivenUp(4, 0)})
    calibration = Calibration((one, two))
    assert calibration.probability_of_grok(Evidence(0, 0)) == 1.5 / 10
    assert calibration.probability_of_grok(Evidence(3, 1)) == 1.5 / 3
    assert calibration.probability_of_grok(Evidence(0, 7)) == 0.5  # nothing is known


def test_a_sweep_counts_once_also_when_it_has_grown() -> None:
    first = Calibration((recorded("a", [0.2] * 10), recorded("b", [0.3] * 10)))
    grown = recorded("a", [0.2] * 15)
    again = first.with_sweeps([dataclasses.replace(grown, name="moved")])
    assert [(one.name, len(one.trials)) for one in again.sweeps] == [("moved", 15), ("b", 10)]
    # One common trial does not make two sweeps the same.
    other = RecordedSweep("c", (*recorded("b", [0.3]).trials, *recorded("c", [0.1] * 5).trials))
    assert [one.name for one in first.with_sweeps([other]).sweeps] == ["a", "b", "c"]


def slow_where_decay_is_weak(random: np.random.Generator, share_weak: float, n: int, name: str) -> RecordedSweep:
    weak = random.random(n) < share_weak
    patience = np.where(weak, random.beta(4, 6, n), random.beta(2, 10, n))
    return RecordedSweep(
        name,
        tuple(
            grokker(f"{name}{place}", float(one), weight_decay=0.1 if is_weak else 1.0)
            for place, (one, is_weak) in enumerate(zip(patience, weak, strict=True))
        ),
    )


def test_another_grid_breaks_the_level_and_weights_restore_it() -> None:
    """Simulate: recorded sweeps have strong decay for the most part, the new sweep weak decay."""
    random = np.random.default_rng(1)
    alpha, lost = 0.05, {"unweighted": [], "weighted": []}  # type: ignore[var-annotated]
    for _ in range(150):
        calibration = Calibration((slow_where_decay_is_weak(random, 0.3, 300, "r"),))
        new = slow_where_decay_is_weak(random, 0.8, 200, "n")
        weights = calibration.weights_for(trial.settings for trial in new.trials)
        assert 30 < weights.effective < 300
        critical = np.array([trial.patiences[0] for trial in new.trials])
        lost["unweighted"].append(float((critical > calibration.patience(alpha)).mean()))
        lost["weighted"].append(float((critical > calibration.patience(alpha, weights=weights)).mean()))
    assert np.mean(lost["unweighted"]) > 0.09
    assert 0.025 < np.mean(lost["weighted"]) < alpha


def test_weights_are_made_where_the_grids_overlap() -> None:
    trials = [grokker(f"s{n}", 0.2) for n in range(30)] + [
        grokker(f"w{n}", 0.5, weight_decay=0.1) for n in range(10)
    ]
    calibration = Calibration((RecordedSweep("a", (*trials, failure("f", weight_decay=0.1))),))
    weights = calibration.weights_for([Settings(0.12, 0.52, 0.0)] * 3 + [Settings(10.0, 0.5, 0.0)])
    assert set(weights.of_grokkers[:30]) == {0.0}
    assert weights.of_grokkers[30:] == pytest.approx(0.75 / (11 / 41))
    assert weights.largest == pytest.approx(0.75 / (11 / 41))
    assert weights.effective == pytest.approx(10)
    assert weights.covered == 0.75
    assert weights.sentence == (
        "Weighted by the new settings the 40 recorded grokkers are worth 10; "
        "25% of the new trials have settings that were never recorded."
    )
    with pytest.raises(AnalysisError, match=r"40 recorded grokkers can promise, which count as 10 here, got 0\.05"):
        calibration.patience(0.05, weights=weights)
    with pytest.raises(AnalysisError, match="needs recorded grokkers with such settings, and there are none"):
        calibration.weights_for([Settings(10.0, 0.5, 0.0)])


def test_parking_has_the_patience_of_the_shipped_calibration() -> None:
    shipped = Calibration.load()
    assert ParkingParameters().patience == shipped.patience(ALPHA, "loss and complexity")
    bold = ParkingParameters(alpha=0.1, stall=StallParameters(signal="complexity"))
    assert bold.patience == shipped.patience(0.1, "complexity")
    assert f"park-2(patience={bold.patience!r}, first_look" in bold.name
    # The same rule has the same name, whether its patience was calibrated or given.
    assert ParkingParameters().name == ParkingParameters(patience=ParkingParameters().patience).name
    with pytest.raises(AnalysisError, match="alpha must be at least"):
        ParkingParameters(alpha=1e-4)


def test_the_level_is_the_smallest_usual_one_that_can_be_promised() -> None:
    assert ParkingParameters().level == ALPHA
    assert ParkingParameters(patience=0.3, stall=StallParameters(signal="loss")).level == ALPHA
    few = Calibration((recorded("a", [0.2] * 50),))
    assert few.level() == 0.025
    assert few.patience(few.level()) == 0.2
    with pytest.raises(AnalysisError, match=r"the smallest level that 3 recorded grokkers can promise, got 0\.1"):
        Calibration((recorded("a", [0.2] * 3),)).level()


@pytest.mark.parametrize("signal", get_args(Signal))
def test_every_signal_has_a_usual_level_and_a_patience(signal: Signal) -> None:
    rule = ParkingParameters(stall=StallParameters(signal=signal))
    assert rule.level in LEVELS
    assert rule.patience == Calibration.load().patience(rule.level, signal)
