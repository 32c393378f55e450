"""GrokScheduler under a real Ray Tune: what is paused, resumed and stopped, and what is refused."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from analysis.replay.lanes import parking
from analysis.replay.recordings import recordings_of
from analysis.schema import TABLES
from analysis.stopping.parking import Evidence, ParkingParameters, parks, patience
from analysis.stopping.stall import StallParameters
from sweep import GrokScheduler, TrialTrainable
from sweep.errors import SweepError
from sweep.on_ray.cluster import RaySession
from tests.sweep.on_ray.scheduler import replayed
from tests.sweep.on_ray.scheduler.replayed import BUDGET, SEED_KEYS, STEPS, Replayed, made_up, run, steps_of
from tests.sweep.on_ray.test_trial_trainable import example

DATA = Path(__file__).parents[4] / "docs" / "data"
RULE = ParkingParameters(patience=0.26)


def scheduler(kind: type[GrokScheduler] = GrokScheduler, **how: Any) -> GrokScheduler:
    return kind(**{"budget_steps": BUDGET, "parameters": RULE, "audit_share": 0, "seed_keys": SEED_KEYS, **how})


def after(share: float) -> int:
    """The first evaluated step past a share of the budget."""
    return next(step for step in STEPS if step > share * BUDGET)


FIRST_LOOK, GIVEN_UP, AFTER_A_GROK = after(RULE.first_look), after(0.26), after(0.26 * RULE.after_a_grok)


def raises_at(step: int) -> list[dict[str, float]]:
    return [{**row, "raises": row["step"] >= step} for row in made_up(falls=True)]


TRIALS = {
    ("a", 0): made_up(),
    ("b", 0): made_up(),
    ("nan", 0): made_up(nan_from=0),
    ("raises", 0): raises_at(2000),
    ("a", 1): made_up(),
    ("b", 1): made_up(groks_at=900, falls=True),
    ("a", 2): made_up(),
    ("alone", 0): made_up(),
    ("few", 0): made_up(steps=[0, BUDGET]),
}
"""A cell whose seeds all stall, one with a grok, and cells with one seed each."""

ENDS = {
    ("b", 0): AFTER_A_GROK,  # resumed first, since its sibling has grokked
    ("b", 1): BUDGET,
    ("a", 0): GIVEN_UP,  # the first of those of which nothing is known
    ("a", 1): FIRST_LOOK,  # its patience was over when its sibling had failed
    ("a", 2): FIRST_LOOK,
    ("alone", 0): GIVEN_UP,
    ("nan", 0): BUDGET,
    ("few", 0): BUDGET,
}


def test_stalled_trials_wait_and_their_siblings_decide(ray_session: RaySession, tmp_path: Path) -> None:
    judge = scheduler()
    grid = run(tmp_path, TRIALS, judge)
    assert grid.num_errors == 1
    ends = steps_of(grid)
    assert ends.pop(("raises", 0)) < 2000
    assert ends == ENDS

    names = {one.metrics["trial_id"]: one.metrics["name"] for one in grid}
    stopped = {names[trial_id]: stop for trial_id, stop in judge.stops.items()}
    assert stopped.keys() == {"a-0", "a-1", "a-2", "b-0", "alone-0"}
    assert not any(stop.audited for stop in stopped.values())
    assert "1 other seed of this setting grokked" in stopped["b-0"].reason
    assert "1 other seed of this setting ended without a grok" in stopped["a-1"].reason
    assert "Nothing was known from other seeds" in stopped["alone-0"].reason
    assert {name: stop.step for name, stop in stopped.items()} == {
        f"{cell}-{seed}": step for (cell, seed), step in ENDS.items() if f"{cell}-{seed}" in stopped
    }
    decided = judge.decisions
    assert list(decided.columns) == [column.name for column in TABLES["decisions"]]
    words = {names[trial]: list(rows["decision"]) for trial, rows in decided.groupby("trial_id")}
    assert words == {
        **{name: ["parked", "resumed", "given up"] for name in ("a-0", "b-0", "alone-0")},
        **{name: ["parked"] for name in ("a-1", "a-2")},
    }
    assert_follows_from_evidence(judge)

    read, stops = GrokScheduler.recorded(grid.experiment_path)
    assert sorted(read["decision"]) == sorted(decided["decision"])
    assert stops == judge.stops


def assert_follows_from_evidence(judge: GrokScheduler) -> None:
    seen: set[str] = set()
    for row in judge.decisions.to_dict("records"):
        evidence, share = Evidence(row["cell_grokked"], row["cell_failed"]), row["step"] / BUDGET
        assert row["patience"] == patience(evidence, RULE)
        if row["decision"] == "resumed":
            assert share <= row["patience"]
        else:
            assert parks(share, evidence, parked_before=row["trial_id"] in seen, parameters=RULE)
            seen.add(row["trial_id"])


def test_recorded_trials_are_trained_as_far_as_in_a_replay(ray_session: RaySession, tmp_path: Path) -> None:
    """With one lane nothing depends on time, so Tune must do what the replay does, trial by trial."""
    recorded = recordings_of(str(DATA / "tasks" / "permutations")).trials
    cells = {
        cell: f"c{place}" for place, cell in enumerate(dict.fromkeys(one.cell for one in recorded)) if place < 3
    }
    kept = [one for one in recorded if one.cell in cells]
    ordered = sorted(kept, key=lambda one: (one.seed, cells[one.cell]))
    (budget,) = {one.budget_steps for one in recorded}
    (thresholds,) = {one.thresholds for one in recorded}
    rule = ParkingParameters(alpha=0.05)
    expected = parking(rule)(ordered, 1).steps
    assert (expected < [one.steps for one in ordered]).any()
    trials = {(cells[one.cell], one.seed): replayed.results_of(one.trajectory) for one in ordered}
    judge = scheduler(budget_steps=budget, parameters=rule, thresholds=thresholds)
    grid = run(tmp_path, trials, judge)
    assert list(map(int, expected)) == [steps_of(grid)[name] for name in trials]


class Watchful(GrokScheduler):
    """Looks whether a lane is idle that a paused trial could have."""

    idle = 0

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        chosen = super().choose_trial_to_run(tune_controller)
        live = [trial for trial in tune_controller.get_live_trials() if not trial.is_finished()]
        paused = [trial.trial_id for trial in live if trial.status == Trial.PAUSED]
        busy = sum(trial.status in (Trial.RUNNING, Trial.PENDING) for trial in live)
        if chosen is None and busy < self._most_running and self._watched.best(paused, []) is not None:
            self.idle += 1
        return chosen


def test_no_lane_is_idle_while_a_parked_trial_may_continue(ray_session: RaySession, tmp_path: Path) -> None:
    judge = scheduler(Watchful)
    trials = {(cell, seed): made_up() for seed in range(2) for cell in "abc"}
    grid = run(tmp_path, trials, judge, lanes=2)
    assert grid.num_errors == 0
    assert judge.idle == 0
    # On a busy machine a trial may be over before the other lane's process has started.
    assert judge._most_running in (1, 2)
    assert len(judge.stops) == 6
    assert_follows_from_evidence(judge)


class Slow(Searcher):
    """A searcher that waits for its trials to end, as those do that learn from them."""

    def __init__(self, file: str) -> None:
        super().__init__(metric="val_accuracy", mode="max")
        self.left = [{"file": file, "of": {"cell": "a", "seed": seed}} for seed in range(3)]

    def suggest(self, trial_id: str) -> Any:
        return self.left.pop(0) if self.left else Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None: ...

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).write_text(json.dumps(self.left), encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        self.left = json.loads(Path(checkpoint_path).read_text(encoding="utf-8"))


@pytest.mark.parametrize("searcher", ["grid", "limited"])
def test_a_searcher_that_waits_for_trials_to_end_is_not_waited_for(
    ray_session: RaySession, tmp_path: Path, searcher: str
) -> None:
    """With one cell and one trial at a time, parked trials and the searcher would wait for each other."""
    judge = scheduler()
    trials = {("a", seed): made_up() for seed in range(3)}
    if searcher == "grid":
        grid = run(tmp_path, trials, judge, max_concurrent_trials=1)
    else:
        file = replayed.written(tmp_path, {f"{cell}-{seed}": rows for (cell, seed), rows in trials.items()})
        grid = tune.Tuner(
            Replayed,
            tune_config=tune.TuneConfig(
                scheduler=judge, search_alg=Slow(file), num_samples=-1, max_concurrent_trials=1, reuse_actors=True
            ),
            run_config=tune.RunConfig(storage_path=str(tmp_path / "tune"), verbose=0),
        ).fit()
    third = after(0.26 * RULE.after_two_failures)
    assert steps_of(grid) == {("a", 0): GIVEN_UP, ("a", 1): FIRST_LOOK, ("a", 2): third}
    assert len(judge.stops) == 3


def reports(config: dict[str, Any], *, saves: bool) -> None:
    """Report as a function, under names of its own, and begin where the checkpoint ends."""
    rows = json.loads(Path(config["file"]).read_text(encoding="utf-8"))[
        f"{config['of']['cell']}-{config['of']['seed']}"
    ]
    saved, begin = tune.get_checkpoint(), 0
    if saved is not None:
        with saved.as_directory() as folder:
            begin = int((Path(folder) / "at").read_text(encoding="utf-8"))
    for at in range(begin, len(rows)):
        row = rows[at]
        metrics = {
            "updates": row["step"],
            "loss": {"held_out": row["val_loss"]},
            "right": row["val_accuracy"],
            "known": row["train_accuracy"],
        }
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "at").write_text(str(at + 1), encoding="utf-8")
            tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder) if saves else None)


def function_with_checkpoints(config: dict[str, Any]) -> None:
    reports(config, saves=True)


def function_without_checkpoints(config: dict[str, Any]) -> None:
    reports(config, saves=False)


OWN_NAMES: dict[str, Any] = {
    "step": "updates",
    "val_loss": "loss/held_out",
    "val_accuracy": "right",
    "train_accuracy": "known",
    "complexity_bytes": None,
}


def test_a_function_with_names_of_its_own(ray_session: RaySession, tmp_path: Path) -> None:
    rule = ParkingParameters(patience=0.26, stall=StallParameters(signal="loss"))
    judge = scheduler(parameters=rule, **OWN_NAMES)
    trials = {("a", 0): made_up(), ("a", 1): made_up()}
    grid = run(tmp_path, trials, judge, trainable=function_with_checkpoints)
    ends = {one.config["of"]["seed"]: one.metrics["updates"] for one in grid}
    assert ends == {0: GIVEN_UP, 1: FIRST_LOOK}
    assert "ended_because" not in next(iter(grid)).metrics


class WithoutCheckpoints(tune.Trainable):
    def step(self) -> dict[str, Any]:
        raise AssertionError("nothing must be computed")


def incomplete(config: dict[str, Any]) -> None:
    tune.report({"step": 1, "val_loss": 1.0, "val_accuracy": 0.5, "train_accuracy": 0.5})


def wrong(config: dict[str, Any]) -> None:
    tune.report({"step": 1, "val_loss": 1.0, "val_accuracy": "half", "train_accuracy": 0.5, "complexity_bytes": 1})


@pytest.mark.parametrize(
    ("trainable", "how", "message"),
    [
        (WithoutCheckpoints, {}, "WithoutCheckpoints has no save_checkpoint and no load_checkpoint; define both"),
        (Replayed, {"seed_keys": ("seeds",)}, "seed_keys must be keys of a trial's config, got 'seeds'"),
        (
            function_without_checkpoints,
            {"parameters": None, **OWN_NAMES},
            "function_without_checkpoints reports none; use tune.report",
        ),
        (incomplete, {}, "got none named 'complexity_bytes'; with complexity_bytes=None it judges"),
        (wrong, {}, "needs numbers as 'val_accuracy', got 'half'"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(
    ray_session: RaySession, tmp_path: Path, trainable: Callable[..., Any], how: dict[str, Any], message: str
) -> None:
    with pytest.raises(SweepError) as caught:
        run(tmp_path, {("a", 0): made_up()}, scheduler(**how), trainable=trainable)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"budget_steps": 0}, "budget_steps"),
        ({"audit_share": 2}, r"audit_share must lie in \[0, 1\]"),
        ({"seed_keys": "seed"}, r"write \('seed',\)"),
        ({"complexity_bytes": None}, "signal must be 'loss'"),
    ],
)
def test_arguments_are_checked(how: dict[str, Any], message: str) -> None:
    with pytest.raises(SweepError, match=message):
        scheduler(**how)


def test_without_complexity_the_shipped_patience_is_the_one_for_loss() -> None:
    judge = GrokScheduler(BUDGET, complexity_bytes=None)
    assert judge._settings.parameters == ParkingParameters(stall=StallParameters(signal="loss"))


INTERRUPTED = """
import os, signal, sys, time
from pathlib import Path
from ray import tune
from sweep import GrokScheduler, TrialTrainable
from sweep.on_ray.cluster import local_ray
from sweep.on_ray.scheduler.record import read
from tests.sweep.on_ray.scheduler.replayed import BUDGET
from tests.sweep.on_ray.scheduler.test_grok_scheduler import TRIALS, run, scheduler

folder, driver = Path(sys.argv[1]), os.getpid()

class Killer(tune.Callback):
    def on_step_end(self, iteration, trials, **info):
        seen = read(str(folder / "tune" / "mine")).values()
        last = [one.rows[-1] for one in seen if one.rows]
        grokked = any(row.step == BUDGET and row.val_accuracy == 1 for row in last)
        # Tune restores callbacks, too.
        if os.getpid() == driver and grokked and sum(len(one.decisions) for one in seen) >= 4:
            time.sleep(2)  # Tune copies its state in a thread; half a file could not be restored by anybody
            os.kill(os.getpid(), signal.SIGKILL)

with local_ray(cpus=2):
    run(folder, TRIALS, scheduler(), callbacks=[Killer()], name="mine")
"""


def test_killed_with_trials_paused_it_continues_with_what_it_knew(ray_session: RaySession, tmp_path: Path) -> None:
    environment = {**os.environ, "TUNE_GLOBAL_CHECKPOINT_S": "0"}
    killed = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert killed.returncode == -9, killed.stderr[-2000:]
    before, stops = GrokScheduler.recorded(str(tmp_path / "tune" / "mine"))
    assert set(before["decision"]) == {"parked"}
    assert stops == {}

    trainable = tune.with_resources(Replayed, {"cpu": 2})
    grid = tune.Tuner.restore(str(tmp_path / "tune" / "mine"), trainable=trainable).fit()
    ends = steps_of(grid)
    assert ends.pop(("raises", 0)) < 2000
    assert ends == ENDS
    decided, stops = GrokScheduler.recorded(grid.experiment_path)
    words = decided.groupby("trial_id")["decision"].apply(list)
    assert sorted(map(len, words)) == [1, 1, 3, 3, 3]
    names = {one.metrics["trial_id"]: one.metrics["name"] for one in grid}
    reasons = {names[trial_id]: stop.reason for trial_id, stop in stops.items()}
    assert "1 other seed of this setting grokked" in reasons["b-0"]

    again = tune.Tuner.restore(grid.experiment_path, trainable=trainable).fit()
    assert steps_of(again).items() >= ENDS.items()  # nothing is trained again
    assert GrokScheduler.recorded(again.experiment_path)[1] == stops


def test_paused_trials_of_ours_say_why_they_ended(ray_session: RaySession, tmp_path: Path) -> None:
    steps = 2000
    judge = GrokScheduler(steps, ParkingParameters(patience=0.1), audit_share=0)
    grid = tune.Tuner(
        TrialTrainable,
        param_space={
            "seed": tune.grid_search([0, 1]),
            "modulus": 7,
            "width": 8,
            "heads": 2,
            "data_fraction": 0.3,
            "weight_decay": 0.0,
            "steps": steps,
        },
        tune_config=tune.TuneConfig(scheduler=judge, reuse_actors=True),
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
    ).fit()
    assert grid.num_errors == 0
    assert judge.stops
    for one in grid:
        stop = judge.stops.get(one.metrics["trial_id"])
        assert one.metrics["ended_because"] == ("budget" if stop is None else "stopped")
        if stop is not None:
            assert one.metrics["ended_reason"] == stop.reason
            assert one.metrics["step"] == stop.step < steps
            assert math.isfinite(stop.probability)


def test_example_grok(ray_session: RaySession, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid, judge = example("tune_grok").main(steps=256, seeds=2, modulus=7, width=8, results=tmp_path)
    assert grid.num_errors == 0
    assert len(grid) == 8
    for one in grid:
        stop = judge.stops.get(one.metrics["trial_id"])
        stopped = stop is not None and not stop.audited
        assert one.metrics["step"] == (stop.step if stopped else 256)
        assert one.metrics["ended_because"] == ("stopped" if stopped else "budget")
    assert "of the steps were saved" in capsys.readouterr().out
