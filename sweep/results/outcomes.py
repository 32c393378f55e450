"""The outcome of each trial, as far as its rows can be believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.results_folder import ResultsFolder


@dataclass(frozen=True, slots=True)
class Outcome:
    """The state of a trial that has rows or has failed, in its newest attempt."""

    trial_id: str
    cohort_id: str
    ended_because: str
    """`grokked budget stopped diverged failed`, or `interrupted` for a trial that has not ended."""
    ended_at_step: int | None
    """Last evaluated step; None if it has not ended."""
    budget_steps: int
    stop_rule: str | None
    epsilon: float | None
    complexity_method: str | None
    reproducible: str | None = None
    """What held for its bits; None if it has not ended, or in results of earlier versions."""
    marked_at_step: int | None = None
    """Where the rule would have stopped an audited trial that has ended."""


def outcomes_of(folder: ResultsFolder) -> dict[str, Outcome]:
    """Return trial id -> outcome of its newest attempt, see `Store.outcomes`."""
    names = ["trial_id", "ended_because", "ended_at_step", "stop_rule", "epsilon", "complexity_method"]
    names += ["reproducible", "marked_at_step"]
    rows, ends = folder.table("rows", ["trial_id"]), folder.table("trials", names)
    # Reading has shown what is damaged, and from there on a cohort trains again. So what it did after that is left
    # out.
    if folder.faults:
        rows = folder.table("rows", ["trial_id"], before_faults=True)
        ends = folder.table("trials", names, before_faults=True)
    ended = {row["trial_id"]: row for row in ends.to_pylist()}
    begun = set(rows["trial_id"].unique().to_pylist())
    outcome_of: dict[str, Outcome] = {}
    for trial_id, cohort in folder.cohort_of_trials().items():
        row = ended.get(trial_id)
        # Without rows it is planned, or it waits in the queue of a cohort that has begun.
        if row is None and trial_id not in begun and cohort.failed is None:
            continue
        row = row or {"ended_because": "interrupted" if cohort.failed is None else "failed"}
        outcome_of[trial_id] = Outcome(
            trial_id=trial_id,
            cohort_id=cohort.cohort_id,
            ended_because=row["ended_because"],
            ended_at_step=row.get("ended_at_step"),
            budget_steps=cohort.configs[trial_id]["steps"],
            stop_rule=row.get("stop_rule"),
            epsilon=row.get("epsilon"),
            complexity_method=row.get("complexity_method"),
            reproducible=row.get("reproducible"),
            marked_at_step=row.get("marked_at_step"),
        )
    return outcome_of


def seconds_taken_in(folder: ResultsFolder) -> dict[str, tuple[int, float]]:
    """Return trial id -> last step and seconds of training and measuring, for the trials that have ended."""
    rows = folder.table("trials", ["trial_id", "ended_at_step", "train_wall_s", "measure_wall_s"]).to_pylist()
    return {row["trial_id"]: (row["ended_at_step"], row["train_wall_s"] + row["measure_wall_s"]) for row in rows}
