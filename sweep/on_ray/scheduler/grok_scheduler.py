"""The parking rule as an ordinary Ray Tune scheduler: trials that have stalled are paused and resumed by cell.

For your own scripts, with any trainable that has checkpoints, any searcher, stopper and logger:

    scheduler = GrokScheduler(budget_steps=20_000)
    tuner = tune.Tuner(
        TrialTrainable,
        param_space={"seed": tune.grid_search([0, 1, 2]), "weight_decay": tune.grid_search([0, 0.1, 1])},
        tune_config=tune.TuneConfig(scheduler=scheduler, reuse_actors=True),
    )

Tune starts every pending trial that has resources, and asks the scheduler which paused one to add to them. So a
paused trial is named only where none is pending and a lane, that is the resources of a trial, is free: what is
known of its cell is then as new as can be.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.result import SHOULD_CHECKPOINT
from ray.tune.schedulers import FIFOScheduler
from ray.tune.trainable import FunctionTrainable

from analysis.events import Thresholds
from analysis.schema import TABLES
from analysis.stopping.parking import ParkingParameters
from analysis.stopping.stall import StallParameters
from sweep.errors import SweepError
from sweep.on_ray.scheduler.cells import SEED_KEYS, cell_of
from sweep.on_ray.scheduler.record import Seen, read
from sweep.on_ray.scheduler.reported import Columns, Stop
from sweep.on_ray.scheduler.watched import Settings, WatchedTrials
from sweep.specification.config import SweepConfig

_ASK_RAY_EVERY_S = 1.0


class GrokScheduler(FIFOScheduler):  # type: ignore[misc]
    """Pauses trials that have stalled, and resumes them by the fate of their cell's other seeds.

    The rule is that of `stop: park` in a sweep (`analysis.stopping.parking`). Works with `TrialTrainable` and with
    every trainable that has checkpoints and reports the metrics that are named below. A lane that is free takes a
    trial that has not begun, otherwise the paused one with the best prospects. Paused trials whose patience is over
    are stopped when nothing else is left to train.
    """

    _supports_buffered_results = False

    def __init__(
        self,
        budget_steps: int,
        parameters: ParkingParameters | None = None,
        *,
        seed_keys: Sequence[str] = SEED_KEYS,
        audit_share: float = SweepConfig.model_fields["audit_share"].default,
        thresholds: Thresholds = Thresholds(),  # noqa: B008 (frozen)
        step: str = "step",
        val_loss: str = "val_loss",
        val_accuracy: str = "val_accuracy",
        train_accuracy: str = "train_accuracy",
        complexity_bytes: str | None = "complexity_bytes",
    ) -> None:
        """Set up the rule.

        Args:
            budget_steps: optimiser updates a trial is allowed: the steps of its last result.
            parameters: parameters of the rule; by default the shipped ones, which without complexity judge progress
                by validation loss alone.
            seed_keys: the keys of a trial's config in which the seeds of one cell differ, nested ones with dots.
            audit_share: share of trials that are never paused, only marked: they show how often the rule is wrong.
                They are chosen by `sweep_trial_id` if it is reported, otherwise by Tune's trial id.
            thresholds: the thresholds for memorised and grokked.
            step: name of the metric that counts optimiser updates.
            val_loss: name of the validation loss, nats.
            val_accuracy: name of the validation accuracy, a share.
            train_accuracy: name of the training accuracy, a share.
            complexity_bytes: name of the complexity in bytes, which is None or NaN where it was not measured; None
                if it is never measured.

        Raises:
            SweepError: an argument is impossible.
        """
        super().__init__()
        if budget_steps < 1:
            raise SweepError(
                f"budget_steps is a number of optimiser updates and must be at least 1, got {budget_steps}"
            )
        if not 0 <= audit_share <= 1:
            raise SweepError(f"audit_share must lie in [0, 1], got {audit_share}")
        if isinstance(seed_keys, str):
            raise SweepError(f"seed_keys must be a sequence of keys, got {seed_keys!r}; write ({seed_keys!r},)")
        if parameters is None:
            stall = StallParameters() if complexity_bytes else StallParameters(signal="loss")
            parameters = ParkingParameters(stall=stall)
        elif complexity_bytes is None and parameters.stall.signal != "loss":
            raise SweepError(
                f"without complexity_bytes the stall's signal must be 'loss', got {parameters.stall.signal!r}; "
                "name the metric, or use ParkingParameters(stall=StallParameters(signal='loss'))"
            )
        self._seed_keys = tuple(seed_keys)
        self._settings = Settings(
            budget_steps=budget_steps,
            parameters=parameters,
            audit_share=audit_share,
            thresholds=thresholds,
            columns=Columns(
                step=step,
                train_accuracy=train_accuracy,
                val_accuracy=val_accuracy,
                complexity_bytes=complexity_bytes,
                val_loss=val_loss,
            ),
        )
        self._begin(None)

    def _begin(self, folder: str | None) -> None:
        """Begin an experiment, of which nothing is known."""
        self._folder, self._watched = folder, WatchedTrials(self._settings, folder)
        self._recorded: dict[str, Seen] = {}
        self._saves = False
        self._refusal: SweepError | None = None
        self._most_running = 0
        self._asked_ray_at = 0.0

    # --- What it has decided -------------------------------------------------------------------------------------

    @property
    def decisions(self) -> pd.DataFrame:
        """The decisions so far, with the columns of the table `decisions`; `trial_id` is Tune's."""
        return _table(self._watched.decisions)

    @property
    def stops(self) -> dict[str, Stop]:
        """Tune's trial id -> where and why, for stopped and for marked trials."""
        return self._watched.stops

    @property
    def suspended(self) -> str | None:
        """Why trials are only marked from now on: audited ones have shown that the rule errs too often."""
        return self._watched.suspended

    @staticmethod
    def recorded(experiment_path: str) -> tuple[pd.DataFrame, dict[str, Stop]]:
        """Read what a scheduler has decided from Tune's folder, also after `Tuner.restore`.

        Args:
            experiment_path: the experiment's folder, `ResultGrid.experiment_path`.

        Returns:
            What `decisions` and `stops` of the scheduler were.
        """
        seen = read(experiment_path)
        stops = {trial_id: one.stop for trial_id, one in seen.items() if one.stop is not None}
        return _table([decision for one in seen.values() for decision in one.decisions]), stops

    def debug_string(self) -> str:
        """Return one line for Tune's own output."""
        watched = self._watched
        text = f"GrokScheduler: {len(watched.parked)} of {len(watched)} trials parked, {len(watched.stops)} stopped"
        return text if watched.suspended is None else f"{text}. {watched.suspended}"

    # --- What Tune tells -----------------------------------------------------------------------------------------

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:  # noqa: ARG002
        """Take in a new trial, one that is tried again, or one of an experiment that is restored.

        Raises:
            SweepError: its trainable has no checkpoints, or its config lacks a seed key.
        """
        storage = trial.storage
        if storage is not None and storage.experiment_driver_staging_path != self._folder:
            self._begin(storage.experiment_driver_staging_path)
            self._recorded = read(storage.experiment_fs_path, storage.storage_filesystem)
        if trial.trial_id in self._watched:
            return
        _require_checkpoints(trial)
        cell_id = cell_of(trial.config, self._seed_keys)
        self._watched.add(trial.trial_id, cell_id, drifts=bool(trial.config.get("drift")))
        seen = self._recorded.pop(trial.trial_id, None)
        if seen is not None and self._watched.recall(trial.trial_id, seen, finished=trial.is_finished()):
            # Tune would start every trial that has not ended.
            trial.set_status(Trial.PAUSED)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Decide whether a trial continues or is paused."""
        # A function is paused where it has just saved, since it would lose the steps after its last checkpoint.
        saved = not _is_function(trial) or bool(result.get(SHOULD_CHECKPOINT))
        self._saves |= saved
        if not self._takes_in(trial, result) or (self._saves and not saved):
            return str(self.CONTINUE)
        if not self._watched.parks(trial.trial_id):
            return str(self.CONTINUE)
        if not saved:
            self._refusal = SweepError(
                "GrokScheduler pauses trials and continues them from their checkpoint, and "
                f"{trial.trainable_name} reports none; use tune.report(metrics, checkpoint=...) at each "
                "evaluation, and begin at tune.get_checkpoint()"
            )
            return str(self.CONTINUE)
        if not self._others_wait(tune_controller):
            # With nothing else for its lane the best parked trial would be resumed at once: if that is this one,
            # Tune need not stop and start its process.
            best = self._watched.best(self._watched.parked, self._running(tune_controller))
            if best == trial.trial_id:
                self._watched.resume(trial.trial_id)
                return str(self.CONTINUE)
        return str(self.PAUSE)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:  # noqa: ARG002
        """Take in the last result of a trial, which Tune does not show before."""
        if self._settings.columns.step in result:
            self._takes_in(trial, result)
        self._watched.ends(trial.trial_id)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:  # noqa: ARG002
        """Forget that a trial was to be paused: it has failed, and Tune may try it again."""
        self._watched.fails(trial.trial_id)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Take in that a trial ends that was pending or paused."""
        self._watched.parked.pop(trial.trial_id, None)
        # Tune forgets to note that a trial without a process has ended, and a restored experiment would resume it.
        tune_controller._mark_trial_to_checkpoint(trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Choose a trial that has not begun, first seeds first, or else the best of those that are paused.

        Where nothing runs and the patience of all paused trials is over, these are stopped.

        Raises:
            SweepError: results lack what the rule needs, or the trainable has no checkpoints.
        """
        if self._refusal is not None:
            raise self._refusal
        live = sorted(
            (trial for trial in tune_controller.get_live_trials() if not trial.is_finished()),
            key=lambda trial: self._watched.place_of(trial.trial_id),
        )
        pending = [trial for trial in live if trial.status == Trial.PENDING]
        if pending:
            # So that the first seed of each cell speaks soon.
            begun = self._watched.begun(self._running(tune_controller))
            return min(pending, key=lambda trial: begun[self._watched.cell_of(trial.trial_id)])
        paused = {trial.trial_id: trial for trial in live if trial.status == Trial.PAUSED}
        for trial_id, trial in paused.items():
            if trial_id not in self._watched.parked:
                return trial
        running = sum(trial.status == Trial.RUNNING for trial in live)
        self._most_running = max(self._most_running, running)
        if not paused or (
            running >= max(self._most_running, 1) and not self._has_room(next(iter(paused.values())))
        ):
            return None
        best = self._watched.best(paused, self._running(tune_controller))
        if best is not None:
            self._watched.resume(best)
            return paused[best]
        self._end_some(tune_controller, paused, running)
        return None

    def _takes_in(self, trial: Trial, result: Mapping[str, Any]) -> bool:
        """Take in a result; return False if it is not what the rule needs."""
        try:
            self._watched.see(trial.trial_id, result, type(self).__name__)
        except ValueError as error:
            text, complexity = str(error), self._settings.columns.complexity_bytes
            if complexity and complexity not in result and text.endswith(repr(complexity)):
                text += "; with complexity_bytes=None it judges progress by validation loss alone"
            # Tune wraps what is raised here into a trace; what `choose_trial_to_run` raises, it passes on.
            self._refusal = self._refusal or SweepError(text)
            return False
        return True

    def _end_some(self, tune_controller: Any, paused: Mapping[str, Trial], running: int) -> None:
        """Stop trials whose patience is over: all at the end, or one for which the searcher waits."""
        ended = [] if running else list(paused)
        if not tune_controller.search_alg.is_finished():
            # It has nothing to add now. If it waits until trials have ended, then one of those that were given up
            # makes room for a new one.
            limit = _concurrency(tune_controller.search_alg)
            blocked = not running or (limit and running + len(paused) >= limit)
            ended = [self._watched.hopeless(paused)] if blocked else []
        for trial_id in ended:
            stop, trial = self._watched.end(trial_id), paused[trial_id]
            if "ended_because" in trial.last_result:
                trial.last_result.update(done=True, ended_because="stopped", ended_reason=stop.reason)
                trial.run_metadata.invalidate_cache()
            tune_controller.stop_trial(trial)

    # --- Lanes ---------------------------------------------------------------------------------------------------

    def _others_wait(self, tune_controller: Any) -> bool:
        """Check whether a trial that has not begun would take a free lane."""
        return not tune_controller.search_alg.is_finished() or any(
            trial.status == Trial.PENDING for trial in tune_controller.get_live_trials()
        )

    def _running(self, tune_controller: Any) -> list[str]:
        """Return the trials that have lanes and keep them."""
        return [
            trial.trial_id
            for trial in tune_controller.get_live_trials()
            if trial.status == Trial.RUNNING and trial.trial_id not in self._watched.parked
        ]

    def _has_room(self, trial: Trial) -> bool:
        """Check whether Ray has resources for one more trial, as where a node has joined."""
        now = time.monotonic()
        if now - self._asked_ray_at < _ASK_RAY_EVERY_S or not ray.is_initialized():
            return False
        self._asked_ray_at = now
        free = ray.available_resources()
        needed = trial.placement_group_factory.required_resources
        return all(free.get(name, 0.0) >= amount for name, amount in needed.items())


def _is_function(trial: Trial) -> bool:
    trainable = trial.get_trainable_cls()
    return trainable is not None and issubclass(trainable, FunctionTrainable)


def _require_checkpoints(trial: Trial) -> None:
    """Refuse a class without checkpoints; whether a function has any is seen only when it reports."""
    trainable = trial.get_trainable_cls()
    if trainable is None or issubclass(trainable, FunctionTrainable):
        return
    missing = [
        name
        for name in ("save_checkpoint", "load_checkpoint")
        if getattr(trainable, name) is getattr(tune.Trainable, name)
    ]
    if missing:
        raise SweepError(
            "GrokScheduler pauses trials and continues them from their checkpoint, and "
            f"{trial.trainable_name} has no {' and no '.join(missing)}; define both"
        )


def _concurrency(searcher: Any) -> int:
    """Return how many trials a searcher lets live at once, paused ones included; 0 without a limit."""
    while searcher is not None:
        limit = getattr(searcher, "max_concurrent", 0)
        if limit:
            return int(limit)
        searcher = getattr(searcher, "searcher", None)
    return 0


def _table(decisions: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(decisions, columns=[column.name for column in TABLES["decisions"]])
