from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis.errors import AnalysisError
from analysis.stopping.certificate import drawing_order
from analysis.survival.observed import observed
from analysis.survival.weights import weighted_life_table
from tests.analysis.made_up import Fate, grid, write_sweep

NAN = np.nan


def frame(*rows: tuple[str, float, float, float, str | None]) -> pd.DataFrame:
    """Events of trials: id, previous step, grok step, last step, ending."""
    names = ["trial_id", "grok_after_step", "grok_step", "last_step", "ended_because"]
    return pd.DataFrame(rows, columns=names).assign(budget_steps=1_000, phase_start_step=0)


def audit(*rows: tuple[str, bool, bool, float], share: float = 0.25) -> pd.DataFrame:
    """What was audited: id, audited, drawn, marked at step."""
    names = ["trial_id", "audited", "drawn", "marked_at_step"]
    return pd.DataFrame(rows, columns=names).assign(audit_share=share)


def test_intervals_hold_the_groks_and_the_others_are_censored_at_their_last_step() -> None:
    events = frame(
        ("grokked", 96, 128, 256, "grokked"),
        ("at once", NAN, 0, 64, "grokked"),
        ("budget", NAN, NAN, 1_000, "budget"),
        ("running", NAN, NAN, 300, None),
        ("diverged", NAN, NAN, 40, "diverged"),
    )
    known = observed(events)
    assert known.after.tolist() == [96, -1, 1_000, 300, 40]
    assert known.at.tolist() == [128, 0, np.inf, np.inf, np.inf]
    assert known.over.tolist() == [False, False, False, False, True]
    assert not (known.stopped | known.marked).any()


def test_a_trial_that_ends_at_the_threshold_is_censored_before_it_reached_it() -> None:
    events = frame(("late", NAN, NAN, 1_000, "budget"), ("never", NAN, NAN, 1_000, "budget"))
    known = observed(events.assign(ungrokked_step=[832.0, 1_000.0]))
    assert known.after.tolist() == [832, 1_000]
    assert known.at.tolist() == [np.inf, np.inf]


def test_audited_trials_count_for_stopped_ones_from_their_mark_on() -> None:
    events = frame(
        ("stopped", NAN, NAN, 200, "stopped"),
        ("audited, late", 500, 600, 1_000, "grokked"),
        ("audited, never", NAN, NAN, 1_000, "budget"),
        ("audited, not marked", 96, 128, 256, "grokked"),
        ("audited, grokked before its mark", 96, 128, 1_000, "budget"),
    )
    told = audit(
        ("stopped", False, False, NAN),
        ("audited, late", True, False, 200),
        ("audited, never", True, False, 250),
        ("audited, not marked", True, False, NAN),
        ("audited, grokked before its mark", True, False, 300),
    )
    known = observed(events, told)
    assert known.stopped.tolist() == [True, False, False, False, False]
    assert known.marked.tolist() == [False, True, True, False, False]
    weights = analysis.stop_weights(events, told)
    assert weights["weight"].tolist() == [0, 4, 4, 1, 1]
    assert weights["mark_step"].tolist() == pytest.approx([200, 200, 250, NAN, NAN], nan_ok=True)
    table = weighted_life_table(known)
    # Before the marks each counts once; beyond them the two audited ones count four times.
    assert dict(zip(table.step, table.at_risk, strict=True)) == {128: 5, 200: 3, 250: 5, 600: 8, 1_000: 4}
    assert table.survival[-1] == pytest.approx(3 / 5 * (1 - 4 / 8))


def test_without_an_audit_the_fate_of_stopped_trials_is_not_known() -> None:
    events = frame(("stopped", NAN, NAN, 200, "stopped"))
    assert observed(events).followed_probability.tolist() == [0]
    assert np.isnan(analysis.stop_weights(events, audit(("stopped", False, False, NAN), share=0.0))["weight"]).all()


def test_drawn_trials_count_in_their_order_up_to_the_first_that_has_not_ended() -> None:
    names = drawing_order([f"trial-{number}" for number in range(8)])
    endings: list[tuple[float, float, str | None]] = [
        (NAN, 1_000, "budget"),
        (600, 1_000, "grokked"),
        (NAN, 400, None),
    ]
    rows: list[tuple[str, float, float, float, str | None]] = [
        (name, grok - 100, grok, last, because)
        for name, (grok, last, because) in zip(names[:3], endings, strict=True)
    ]
    rows.append((names[3], NAN, NAN, 1_000, "budget"))
    rows += [(name, NAN, NAN, 200, "stopped") for name in names[4:]]
    told = audit(
        *((name, False, index < 4, 200 if index < 4 else NAN) for index, name in enumerate(names)), share=0
    )
    known = observed(frame(*rows), told)
    assert known.marked.tolist() == [True, True] + [False] * 6
    assert known.stopped.tolist() == [False, False] + [True] * 6
    assert known.after[2:].tolist() == [200] * 6
    assert known.followed_probability.tolist() == [2 / 8] * 8


def test_a_missing_column_is_named() -> None:
    with pytest.raises(AnalysisError, match="grok_after_step"):
        observed(frame().drop(columns="grok_after_step"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    fates = [
        Fate(outcome="stopped", last_step=3_000),
        Fate(outcome="budget", audited=True, marked_at_step=3_000),
        Fate(outcome="grokked", audited=True),
        Fate(outcome="running"),
    ]
    trials = grid(weight_decay=(1.0,), data_fraction=(0.5,), seeds=4)
    return write_sweep(tmp_path_factory.mktemp("audited"), list(zip(trials, fates, strict=True)))


def test_audits_are_read_from_the_results(folder: Path) -> None:
    frame = analysis.audits(folder)
    events = analysis.events(analysis.load(folder))
    assert sorted(frame["trial_id"]) == sorted(events["trial_id"])
    assert frame["audit_share"].eq(0.1).all()
    assert not frame["drawn"].any()
    assert frame["marked_at_step"].dropna().tolist() == [3_000]
    assert analysis.audits([folder, folder]).equals(frame)
    known = observed(events, frame)
    assert (int(known.stopped.sum()), int(known.marked.sum())) == (1, 1)


def test_drawn_trials_are_those_that_a_cohort_certifies(folder: Path, tmp_path: Path) -> None:
    import json
    import shutil

    shutil.copytree(folder, tmp_path / "drawn")
    path = tmp_path / "drawn" / "cohorts" / "c0000-00000000.json"
    record: dict[str, Any] = json.loads(path.read_text())
    chosen = record["trials"][0]["trial_id"]
    path.write_text(json.dumps(record | {"certifies": {chosen: 1_600}}))
    frame = analysis.audits(tmp_path / "drawn").set_index("trial_id")
    assert frame["drawn"].sum() == 1
    assert frame.loc[chosen, "marked_at_step"] == 1_600
    assert not frame.loc[chosen, "audited"]
