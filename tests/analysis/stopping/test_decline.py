from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import AnalysisError
from analysis.events import Events, Thresholds, trajectory_events
from analysis.stopping.decline import (
    AUDIT_MINIMUM,
    DECLINING_SHARE,
    DeclineParameters,
    audit_report,
    decline_probability,
    first_stop,
    is_audited,
    rule_name,
    rule_of,
    stop_decision,
)
from analysis.trajectory import Trajectory
from tests.analysis.test_events import trajectories

BUDGET = 20_000
STEPS = [0, 64, 128, 192, 256, 512, 1024, 2048, 3072, 4096, 8192, 12_288, 20_000]


def memoriser(val_accuracy: float = 0.2, complexity: list[float] | None = None) -> Trajectory:
    """Memorises at step 128, so a patience of 30 lasts to step 3,840."""
    n = len(STEPS)
    return Trajectory.of(
        STEPS, [0, 0.5, *[1] * (n - 2)], [0, *[val_accuracy] * (n - 1)], complexity or [100, 200, *[300] * (n - 2)]
    )


def test_a_memoriser_is_stopped_when_its_patience_ends() -> None:
    history = memoriser()
    assert first_stop(history, BUDGET) == 4096
    decision = stop_decision(history.prefix(STEPS.index(4096) + 1), BUDGET)
    assert decision.stop
    assert decision.reason.startswith(
        "Memorised at step 128 and no decline of complexity in 32 times as many steps "
        "(0.0% below its peak of 300 bytes)"
    )
    assert 0 < decision.probability < 0.15
    earlier = stop_decision(history.prefix(STEPS.index(3072) + 1), BUDGET)
    assert (earlier.stop, earlier.reason) == (False, "Memorised at step 128; patience lasts to step 3,840.")


def test_patience_is_a_multiple_of_the_trials_own_memorisation_step() -> None:
    assert first_stop(memoriser(), BUDGET, DeclineParameters(patience=7)) == 1024
    assert first_stop(memoriser(), BUDGET, DeclineParameters(patience=200)) is None


def test_a_late_grokker_whose_accuracy_rises_is_not_stopped() -> None:
    history = memoriser()
    rising = history.val_accuracy.copy()
    rising[STEPS.index(4096) :] = [0.3, 0.4, 0.6, 0.9]
    late = replace(history, val_accuracy=rising)
    assert first_stop(late, BUDGET) is None
    assert "is rising, now 0.300" in stop_decision(late.prefix(STEPS.index(4096) + 1), BUDGET).reason


def test_a_declining_complexity_saves_before_the_onset_is_certain() -> None:
    sizes = [100, 200, *[300] * (len(STEPS) - 2)]
    sizes[STEPS.index(4096)] = 280
    history = memoriser(complexity=sizes).prefix(STEPS.index(4096) + 1)
    assert "6.7% below its peak" in stop_decision(history, BUDGET).reason


def test_a_trial_that_showed_the_decline_is_never_stopped() -> None:
    sizes = [100, 200, 300, 300, 200, 200, *[300] * (len(STEPS) - 6)]
    assert first_stop(memoriser(complexity=sizes), BUDGET) is None
    decision = stop_decision(memoriser(complexity=sizes), BUDGET)
    assert (decision.stop, decision.probability) == (False, 1)
    assert decision.reason == "Complexity has declined, since step 256."


def test_a_trial_that_touched_the_grok_threshold_is_never_stopped() -> None:
    history = memoriser()
    touched = history.val_accuracy.copy()
    touched[4] = 0.99
    assert first_stop(replace(history, val_accuracy=touched), BUDGET) is None


def test_too_few_measurements_are_no_evidence() -> None:
    sizes: list[float] = [100, 200, 300, 300, *[math.nan] * (len(STEPS) - 4)]
    assert first_stop(memoriser(complexity=sizes), BUDGET) is None


def never_learned(accuracies: list[float]) -> Trajectory:
    steps = np.linspace(0, BUDGET, len(accuracies)).astype(int)
    return Trajectory.of(steps, accuracies, [0.01] * len(steps), [100 + step / 100 for step in steps])


def test_a_trial_that_never_memorises_has_a_clause_of_its_own() -> None:
    history = never_learned([0, *[0.1] * 10])
    assert first_stop(history, BUDGET) == BUDGET / 2
    decision = stop_decision(history.prefix(6), BUDGET)
    assert decision.reason.startswith(
        "Not memorised in 10,000 of 20,000 steps, training accuracy 0.100 and not rising"
    )
    assert first_stop(history, BUDGET, DeclineParameters(memorise_within=0.8)) == 0.8 * BUDGET
    assert first_stop(history, BUDGET, DeclineParameters(minimum_measurements=8)) == 0.7 * BUDGET


def test_a_trial_still_memorising_is_not_stopped() -> None:
    assert first_stop(never_learned([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95]), BUDGET) is None


def test_nothing_is_stopped_at_the_end_of_its_budget() -> None:
    assert first_stop(memoriser(), STEPS[9]) is None
    assert stop_decision(memoriser(), BUDGET).reason == "The budget of 20,000 steps is spent."


def test_a_trial_not_begun_is_not_stopped() -> None:
    assert not stop_decision(Trajectory.of([], [], [], []), BUDGET).stop


@given(trajectories(longest=40), st.integers(1, 3), st.integers(1, 3), st.floats(0.01, 1), st.integers(1, 1000))
def test_never_stops_one_that_declines_or_reached_the_threshold(
    history: Trajectory, patience: int, measurements: int, within: float, budget: int
) -> None:
    eager = DeclineParameters(
        patience=patience, minimum_measurements=measurements, memorise_within=within, fall=0.2
    )
    thresholds = Thresholds(memorised_at=0.5, sustained=1)
    decision = stop_decision(history, budget, eager, thresholds)
    assert 0 <= decision.probability <= 1
    if decision.stop:
        events = trajectory_events(history, thresholds)
        assert not (history.val_accuracy >= 0.99).any()
        assert events.decline_onset_step is None
        assert (events.decline or 0) < 0.1
        assert history.step[-1] < budget
        stopped_at = first_stop(history, budget, eager, thresholds)
        assert stopped_at is not None
        assert stopped_at <= history.step[-1]


def test_probabilities_are_those_of_the_figures_seen() -> None:
    """A memorised trial starts at 33 of 48; by 24 times its memorisation step nine tenths of those are out."""
    memorised = Events(memorisation_step=1)
    assert decline_probability(memorised, 1, 10**9) == pytest.approx(DECLINING_SHARE, abs=0.01)
    share = 33 / 48
    assert decline_probability(memorised, 24, 10**9) == pytest.approx(share * 0.1 / (share * 0.1 + 1 - share))
    assert decline_probability(memorised, 24, 24) == 0
    assert decline_probability(memorised, 7, 24) == pytest.approx(share * 0.4 / (share * 0.5 + 1 - share))
    assert decline_probability(Events(), 1000, 7000) == pytest.approx(share / 2)
    assert decline_probability(Events(decline_onset_step=5), 6, 7) == 1


def test_probability_falls_with_waiting() -> None:
    memorised = Events(memorisation_step=100)
    falling = [decline_probability(memorised, step, BUDGET) for step in range(200, BUDGET, 200)]
    assert falling == sorted(falling, reverse=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [("patience", 0.5), ("memorise_within", 1.1), ("rise", math.nan), ("fall", 0), ("minimum_measurements", 0)],
)
def test_parameters_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(AnalysisError, match=f"decline.{name} .*must "):
        DeclineParameters(**{name: value})


def test_the_rules_name_tells_rules_apart_and_equal_ones_not() -> None:
    assert rule_name(DeclineParameters()) == (
        "decline-1(patience=30, memorise_within=0.5, minimum_measurements=3, rise=0.05, fall=0.05)"
    )
    assert rule_name(DeclineParameters(patience=30)) == rule_name(DeclineParameters(patience=30.0))
    assert rule_name(DeclineParameters(patience=30.5)) != rule_name(DeclineParameters())


def test_parameters_are_read_from_a_rules_name() -> None:
    for parameters in (DeclineParameters(), DeclineParameters(patience=7.5, rise=1e-05, minimum_measurements=4)):
        assert rule_of(rule_name(parameters)) == parameters
    assert rule_of("decline-1(patience=20)") == DeclineParameters(patience=20)
    for other in ("none", "park-2(patience=0.2)", "decline-2(patience=20)", "decline-1(patience=x)", ""):
        assert rule_of(other) is None


def test_audit_shares_are_nested_and_of_their_size() -> None:
    ids = [f"{number:016x}" for number in range(4000)]
    small, large = ({one for one in ids if is_audited(one, share)} for share in (0.1, 0.3))
    assert small < large
    assert 340 < len(small) < 460
    assert not any(is_audited(one, 0) for one in ids)
    assert all(is_audited(one, 1) for one in ids)


def audited_trials(marked: int, grokked: int, unmarked: int = 2) -> tuple[pd.DataFrame, pd.DataFrame]:
    n = marked + unmarked
    trials = pd.DataFrame(
        {
            "trial_id": [f"t{i}" for i in range(n + 1)],
            "audited": [*[True] * n, False],
            "marked_at_step": [*[100.0] * marked, *[math.nan] * unmarked, math.nan],
            "ended_because": [*["grokked"] * grokked, *["budget"] * (n - grokked), "stopped"],
        }
    )
    grok_steps = [500.0] * grokked + [math.nan] * (n + 1 - grokked)
    events = pd.DataFrame({"trial_id": trials["trial_id"], "grok_step": grok_steps, "phase_start_step": 0})
    return trials, events


def test_the_audit_report_says_when_it_is_too_little() -> None:
    report = audit_report(*audited_trials(marked=5, grokked=1))
    assert (report.audited, report.marked, report.grokked, report.enough) == (7, 5, 1, False)
    assert "too few to say" in report.sentence
    assert report.sentence.startswith("Of 7 audited trials the rule would have stopped 5, and 1 of these grokked")
    assert "No audited trial has ended" in audit_report(*audited_trials(0, 0, unmarked=0)).sentence


def test_the_audit_report_states_the_share_with_its_interval() -> None:
    report = audit_report(*audited_trials(marked=AUDIT_MINIMUM, grokked=2))
    assert report.enough
    assert report.sentence.endswith("2 of these grokked: 10% (95 % interval 3% to 30%, n = 20).")


def test_only_a_grok_of_the_phase_that_was_marked_is_an_error() -> None:
    trials, _ = audited_trials(marked=2, grokked=0)
    trials["marked_at_step"] = [100.0, 1100.0, *trials["marked_at_step"][2:]]
    phases = pd.DataFrame(
        {
            "trial_id": ["t0", "t0", "t1", "t1"],
            "phase_start_step": [0, 1000, 0, 1000],
            "grok_step": [math.nan, 1500.0, math.nan, 1500.0],
        }
    )
    report = audit_report(trials, phases)
    assert (report.marked, report.grokked) == (2, 1)


def test_an_audited_trial_that_failed_is_no_evidence() -> None:
    trials, events = audited_trials(marked=3, grokked=0)
    trials.loc[0, "ended_because"] = "failed"
    assert audit_report(trials, events).marked == 2
