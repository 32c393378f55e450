"""The trials of an experiment as the rule sees them, without Ray: results, records, cells."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.events import Thresholds
from analysis.stopping.decline import is_audited
from analysis.stopping.parking import ParkingParameters
from sweep.errors import SweepError
from sweep.on_ray.scheduler.cells import cell_of
from sweep.on_ray.scheduler.record import FILE, Record, Seen, read
from sweep.on_ray.scheduler.reported import Columns, Stop
from sweep.on_ray.scheduler.watched import Settings, WatchedTrials
from tests.sweep.on_ray.scheduler.replayed import BUDGET, STEPS, made_up

COLUMNS = Columns(
    step="step",
    train_accuracy="train_accuracy",
    val_accuracy="val_accuracy",
    complexity_bytes="complexity_bytes",
    val_loss="val_loss",
)
RULE = ParkingParameters(patience=0.26)


def watched(folder: Path | None = None, audit_share: float = 0.0) -> WatchedTrials:
    return WatchedTrials(
        Settings(
            budget_steps=BUDGET,
            parameters=RULE,
            audit_share=audit_share,
            thresholds=Thresholds(),
            columns=COLUMNS,
        ),
        None if folder is None else str(folder),
    )


def first_parked(trials: WatchedTrials, name: str, rows: list[dict[str, Any]], **how: Any) -> int | None:
    trials.add(name, "cell", **{"drifts": False, **how})
    for row in rows:
        trials.see(name, row, "a test")
        if trials.parks(name):
            return int(row["step"])
    return None


FIRST_LOOK = next(step for step in STEPS if step > RULE.first_look * BUDGET)


@pytest.mark.parametrize(
    ("rows", "parked"),
    [
        (made_up(), FIRST_LOOK),
        (made_up(falls=True), None),
        (made_up(nan_from=0), None),
        (made_up(nan_from=FIRST_LOOK + 1), FIRST_LOOK),
        (made_up(groks_at=0), None),
        (made_up(steps=[0, BUDGET // 2]), None),  # too few to say
        ([{**row, "complexity_bytes": None} for row in made_up()], None),  # never measured
        ([{**row, "val_loss": None} for row in made_up()], None),
    ],
)
def test_where_a_trial_is_parked_first(rows: list[dict[str, Any]], parked: int | None) -> None:
    assert first_parked(watched(), "one", rows) == parked


def test_an_audited_trial_is_marked_with_its_reason_and_never_parked() -> None:
    trials = watched(audit_share=1.0)
    assert first_parked(trials, "one", made_up()) is None
    assert trials.stops["one"].audited
    assert trials.stops["one"].reason.startswith("No progress since step")
    assert [row["decision"] for row in trials.decisions] == ["marked"]


LATE = 0.7 * BUDGET  # later than the rule's patience


def ended(trials: WatchedTrials, name: str, rows: list[dict[str, Any]]) -> None:
    first_parked(trials, name, rows)
    trials.ends(name)


def test_the_rule_is_suspended_once_audited_trials_show_that_it_errs() -> None:
    trials = watched(audit_share=1.0)
    for name in ("one", "two"):  # two of two lost, where one of a hundred may be
        assert trials.suspended is None
        ended(trials, name, made_up(groks_at=LATE))
    assert trials.suspended is not None
    assert "would have lost 2 of 2 audited trials that grokked, more than the 1.0% that it may" in trials.suspended


def test_an_audited_trial_counts_once_those_added_before_it_are_known() -> None:
    trials = watched(audit_share=1.0)
    for name in ("slow", "cut off"):
        trials.add(name, "other", drifts=False)
    trials.see("cut off", made_up()[0], "a test")
    for name in ("one", "two"):
        ended(trials, name, made_up(groks_at=LATE))
    trials.ends("cut off")  # by another stopper: it says nothing
    assert trials.suspended is None
    for row in made_up():
        trials.see("slow", row, "a test")
    assert trials.suspended is not None


def test_groks_that_the_rule_would_have_kept_suspend_nothing() -> None:
    trials = watched(audit_share=1.0)
    for name in map(str, range(50)):
        ended(trials, name, made_up(groks_at=100))
    assert trials.suspended is None


def test_parked_trials_continue_under_a_suspended_rule_also_after_a_restart(tmp_path: Path) -> None:
    trials = watched(tmp_path, audit_share=0.5)
    audited = [str(seed) for seed in range(40) if is_audited(str(seed), 0.5)]
    hopeless = next(str(seed) for seed in range(40) if not is_audited(str(seed), 0.5))
    trials.add(hopeless, "far", drifts=False)
    for row in (row for row in made_up() if row["step"] < FIRST_LOOK or row["step"] > LATE):
        trials.see(hopeless, row, "a test")
    assert trials.parks(hopeless)
    assert trials.best([hopeless], []) is None
    for name in audited[:2]:
        ended(trials, name, made_up(groks_at=LATE))
    assert trials.best([hopeless], []) == hopeless

    seen = read(str(tmp_path))
    again = watched(audit_share=0.5)
    for name in (hopeless, *audited[:2]):
        again.add(name, "cell", drifts=False)
        again.recall(name, seen[name], finished=name != hopeless)
    assert again.suspended == trials.suspended
    assert again.best([hopeless], []) == hopeless


def test_the_id_of_a_sweep_decides_which_of_our_trials_are_audited() -> None:
    rows = [{**row, "sweep_trial_id": "ours"} for row in made_up()]
    parked = {name: first_parked(watched(audit_share=0.5), name, rows) for name in map(str, range(20))}
    assert len(set(parked.values())) == 1
    assert len({first_parked(watched(audit_share=0.5), name, made_up()) for name in parked}) == 2


def test_with_drift_a_trial_is_parked_in_its_last_phase() -> None:
    half = BUDGET // 2
    first = [{**row, "phase_start_step": 0, "phase_end_step": half} for row in made_up() if row["step"] < half]
    then = [
        {**row, "phase_start_step": half, "phase_end_step": BUDGET, "step": half + row["step"]}
        for row in made_up()
        if 0 < row["step"] <= half
    ]
    trials = watched()
    at = first_parked(trials, "one", [*first, *then], drifts=True)
    assert at == half + next(step for step in STEPS if step > RULE.first_look * half)
    assert trials.parked["one"].phase_start_step == half


def test_results_that_are_repeated_count_once() -> None:
    rows = [row for row in made_up() if row["step"] < FIRST_LOOK]
    trials = watched()
    assert first_parked(trials, "one", [*rows, *rows[5:], rows[-1]]) is None
    trials.see("one", made_up()[len(rows)], "a test")
    assert trials.parks("one")
    assert trials.parked["one"].step == FIRST_LOOK


def test_a_parked_trial_that_fails_is_open_again() -> None:
    trials = watched()
    late = [row for row in made_up() if row["step"] < FIRST_LOOK or row["step"] > 0.3 * BUDGET]
    assert first_parked(trials, "one", late) is not None
    trials.add("two", "cell", drifts=False)
    assert trials._rule.evidence("cell", "two").failed == 1
    trials.fails("one")
    assert trials.parked == {}
    assert trials._rule.evidence("cell", "two").failed == 0


def test_what_is_recorded_is_what_is_recalled(tmp_path: Path) -> None:
    trials = watched(tmp_path)
    for name, rows in {"a": made_up(), "b": made_up(groks_at=900, falls=True), "c": made_up()}.items():
        first_parked(trials, name, rows)
    assert {name: one.step for name, one in trials.parked.items()} == {
        "a": FIRST_LOOK,
        "c": next(step for step in STEPS if step > 0.26 * RULE.after_a_grok * BUDGET),  # b has grokked by then
    }
    trials.resume("a")
    first_parked(trials, "d", made_up())
    assert list(trials.parked) == ["c", "d"]
    seen = read(str(tmp_path))

    again = watched(tmp_path)
    for name in "dcba":
        again.add(name, "cell", drifts=False)
        again.recall(name, seen[name], finished=name == "b")
    assert list(again.parked) == list(trials.parked)
    assert again._rule.fates == trials._rule.fates
    assert sorted(map(str, again.decisions)) == sorted(map(str, trials.decisions))
    assert read(str(tmp_path)).keys() == seen.keys()


def test_a_stop_that_tune_does_not_know_of_is_made_again(tmp_path: Path) -> None:
    trials = watched(tmp_path)
    first_parked(trials, "one", made_up())
    stop = trials.end("one")
    for finished, stops in ((True, {"one": stop}), (False, {})):
        again = watched()
        again.add("one", "cell", drifts=False)
        assert again.recall("one", read(str(tmp_path))["one"], finished=finished) is not finished
        assert again.stops == stops


@given(st.binary(max_size=60), st.integers(0, 400))
def test_a_damaged_record_is_read_as_far_as_it_can_be(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, place: int
) -> None:
    folder = tmp_path_factory.mktemp("record")
    trials = watched(folder)
    first_parked(trials, "one", made_up()[:12])
    data = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(data[:place] + junk + data[place:])
    seen = read(str(folder)).get("one", Seen())
    assert all(math.isfinite(row.step) for row in seen.rows)
    again = watched()
    again.add("one", "cell", drifts=False)
    again.recall("one", seen, finished=False)


def test_lines_of_other_types_are_left_out(tmp_path: Path) -> None:
    record = Record(str(tmp_path))
    record.add("one", Seen(stop=Stop(3, "why", 0.5, False)))
    with (tmp_path / FILE).open("a", encoding="utf-8") as file:
        for event in ({"stop": [1, 2, 3, 4]}, {"row": [1]}, {"decision": {"step": 1}, "at": 1}, {}, {"row": None}):
            file.write(json.dumps({"trial_id": "one", **event}) + "\n")
        file.write("[" * 100_000 + "\n")
    assert read(str(tmp_path)) == {"one": Seen(stop=Stop(3, "why", 0.5, False))}
    assert read(str(tmp_path / "nowhere")) == {}


def test_trials_that_differ_in_their_seeds_only_are_a_cell() -> None:
    one = {"lr": np.float64(0.1), "of": {"seed": 1, "size": np.int64(3)}, "data": Thresholds()}
    other = {"of": {"size": 3, "seed": 2}, "lr": 0.1, "data": Thresholds()}
    assert cell_of(one, ["of.seed"]) == cell_of(other, ["of.seed"])
    assert cell_of(one, ["of.seed"]) != cell_of({**one, "lr": 0.2}, ["of.seed"])
    assert cell_of(one, ["of.seed"]) != cell_of({**one, "data": Thresholds(grokked_at=0.9)}, ["of.seed"])
    assert cell_of({"lr": 1}, ["seed"]) == cell_of({"lr": 1, "seed": 2}, ["seed"])
    with pytest.raises(SweepError, match=r"got 'sede'; its keys are lr, of\.seed"):
        cell_of(one, ["sede"])
