"""One sweep from its specification to its summary, through Ray Tune.

Ray Tune schedules cohorts and restarts them when their process dies. What has been done is read from our own
tables, before and after: Tune counts a trial that Ctrl-C cut short as finished, so its state is not used.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import FrameType
from typing import TYPE_CHECKING, Any

from sweep.errors import RayUnusable, ResultsGone, StorageFault
from sweep.imports import imports_of, require_importable
from sweep.on_ray.cluster import RaySession, local_ray
from sweep.on_ray.environment import environment
from sweep.on_ray.head_watch import head_watch
from sweep.on_ray.user_modules import import_folders
from sweep.results.cohort import Cohort
from sweep.results.lease import Lease
from sweep.results.outcomes import Outcome
from sweep.results.store import Store
from sweep.specification.config import SweepConfig
from sweep.training import storage
from sweep.training.here import ENDING_SIGNALS
from sweep.training.prepared import PreparedRun
from sweep.training.progress import Progress, TerminalProgress
from sweep.training.run_summary import RunSummary, ended_of
from sweep.training.storage import patiently

if TYPE_CHECKING:
    from ray import tune

    from sweep.on_ray.feed import CohortFeed

TUNE_ENVIRONMENT = {
    # Tune's own files and tables are not needed; our tables are the results.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    # Tune's state, rewritten as a whole every ten seconds, is not used. Tune still writes it once, at the end.
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    # Ctrl-C and SIGTERM are handled here, in the same way.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}


def run(config: SweepConfig, *, retry_failed: bool = False, progress: Progress | None = None) -> RunSummary:
    """Run what a specification requests and the results folder does not have yet.

    Runs on the Ray cluster that `RAY_ADDRESS` names, otherwise on a temporary Ray on this machine. Ctrl-C,
    SIGTERM and SIGHUP end it cleanly; calling it again resumes from the checkpoints.

    Args:
        config: the specification.
        retry_failed: run only trials that have failed before.
        progress: the progress display; standard error by default.

    Raises:
        SpecificationError: the specification cannot be run.
        StoreError: the results cannot be read or written, or another process is writing them.
        RayUnusable: Ray did not start or cannot be reached, or there is no GPU although one is requested.
        SweepError: a task or network is registered where no worker can import it.
    """
    began = time.monotonic()
    progress = progress or TerminalProgress()
    with _Interruption() as interruption, Store(config.results_path).driving(progress.note) as lease:
        prepared = PreparedRun(config, progress, retry_failed=retry_failed)
        require_importable(imports_of(prepared.plan.trials))
        prepared.store.check_usable()
        if config.device == "cuda" and prepared.plan.cohorts and _is_local():
            _require_gpu()
        run_of = _Run(prepared, interruption, lease)
        if prepared.plan.cohorts:
            run_of.on_ray()
        else:
            run_of.without_ray()
        return run_of.summary(time.monotonic() - began)


class _Run:
    """One run and its events."""

    def __init__(self, prepared: PreparedRun, interruption: _Interruption, lease: Lease) -> None:
        self._prepared = prepared
        self._config = prepared.config
        self._store = prepared.store
        self._progress = prepared.progress
        self._tries = prepared.config.max_failures
        self._interruption = interruption
        self._lease = lease
        self._began_s = time.monotonic()

    def without_ray(self) -> None:
        """Record the request; nothing is to be trained, unless stopped trials are to be followed."""
        try:
            self._prepared.begin()
            drawn = self._prepared.draw()
        except (StorageFault, ResultsGone) as error:
            self._prepared.end_early(error)
        else:
            if drawn:
                if self._config.device == "cuda" and _is_local():
                    _require_gpu()
                self.on_ray()

    def on_ray(self) -> None:
        # Ray prints about dead processes on standard output, which is reserved for results.
        with contextlib.redirect_stdout(sys.stderr):
            try:
                # Show something while Ray starts.
                self._progress.show(self._prepared.tally.snapshot())
                with local_ray() as session:
                    self._interruption.listen()
                    self._check(session)
                    self._prepared.begin()
                    with head_watch(self._head_is_gone, self._end_process):
                        self._train(session)
            except (StorageFault, ResultsGone) as error:
                self._prepared.end_early(error)
            except KeyboardInterrupt:
                if self._prepared.problem is None:
                    self._interruption.number = self._interruption.number or signal.SIGINT
            finally:
                self._progress.close()

    def summary(self, wall_s: float) -> RunSummary:
        return replace(self._prepared.summary(wall_s), stopped_by=self._interruption.number)

    def _check(self, session: RaySession) -> None:
        self._store.check_usable(session.nodes)

    def _head_is_gone(self, which: str) -> None:
        """End the run in words of ours; Ray would end this process a minute later, in words of its own."""
        self._prepared.problem = (
            f"Ray's head has died ({which}): it was killed, crashed or ran out of memory, and took the cohorts "
            "along. What they had reported is in the results"
        )
        self._interruption.interrupt()

    def _end_process(self) -> None:
        """End the process from another thread, with the summary; Ray, which waits for its head, would give none."""
        print(f"\n{self.summary(time.monotonic() - self._began_s)}", file=sys.stderr, flush=True)
        os._exit(1)

    def _train(self, session: RaySession) -> None:
        """Let Tune run the cohorts, and rerun those that it gives up, until they have failed too often."""
        from sweep.on_ray.feed import CohortFeed

        waiting = [cohort.cohort_id for cohort in self._prepared.plan.cohorts]
        faults: Counter[str] = Counter()
        rounds_lost = 0
        while waiting and self._interruption.number is None:
            feed = CohortFeed(self._prepared, self._lease.check)
            problem = self._fit(session, waiting, feed)
            faults += feed.faults
            if self._prepared.announcer.ended_early is not None:
                self._prepared.end_early(self._prepared.announcer.ended_early)
                return
            self._lease.check()
            failed = {
                **{cohort_id: why for cohort_id, why in feed.given_up.items() if faults[cohort_id] > self._tries},
                **feed.incurable,
            }
            for cohort_id, reason in failed.items():
                self._prepared.fail(cohort_id, reason)
            if problem is None:
                waiting = [cohort_id for cohort_id in feed.given_up if cohort_id not in failed]
                if not waiting and self._interruption.number is None:
                    waiting = [cohort.cohort_id for cohort in self._prepared.draw()]
                continue
            rounds_lost += 1
            if rounds_lost > self._tries:
                self._prepared.problem = problem
                return
            self._progress.note(f"{problem}. It is restarted.")
            self._check(session)
            waiting = self._unfinished()

    def _fit(self, session: RaySession, cohort_ids: Sequence[str], feed: CohortFeed) -> str | None:
        """Run one experiment of Tune; return an error that Tune cannot attribute to a cohort, e.g. a full disk."""
        from sweep.on_ray.feed import one_line

        with environment(TUNE_ENVIRONMENT), _silent("ray.tune", "ray.train", "ray.air"):
            tuner = self._tuner(session, cohort_ids, feed)
            try:
                with self._interruption.passed_to_tune():
                    tuner.fit()
            except Exception as error:
                return f"Ray Tune gave up: {one_line(error)}"
        return None

    def _unfinished(self) -> list[str]:
        outcomes = patiently(self._store, self._store.outcomes, self._progress.note)
        return [
            cohort.cohort_id
            for cohort in self._prepared.plan.cohorts
            if cohort.cohort_id not in self._prepared.failed
            and len(ended_of(_within(outcomes, cohort), cohort.trials, cohort.stop_rule)) < len(cohort.trials)
        ]

    def _tuner(self, session: RaySession, cohort_ids: Sequence[str], feed: CohortFeed) -> tune.Tuner:
        from ray import tune

        from sweep.on_ray.cohort_actor import CohortTrainable
        from sweep.on_ray.feed import StopEarly
        from sweep.training.cohort_training import REPORT_BLOCKS, RESULT_EVERY_S
        from trainables.numerics.computing import THREADS

        on_a_gpu = self._prepared.plan.sharing.on_a_gpu
        needed = {"cpu": THREADS, "gpu": 1 / on_a_gpu if on_a_gpu else 0}
        trainable = tune.with_parameters(
            CohortTrainable,
            results=self._store.path,
            report_blocks=REPORT_BLOCKS,
            result_every_s=RESULT_EVERY_S,
            patience_s=storage.PATIENCE_S,
            import_folders=import_folders(
                {module for cohort in self._prepared.plan.cohorts for module in cohort.imports}
            ),
        )
        return tune.Tuner(
            tune.with_resources(trainable, needed),
            # A grid, not a searcher: Tune then asks for all resources at once, which an autoscaler needs to see.
            param_space={"cohort": tune.grid_search(list(cohort_ids))},
            tune_config=tune.TuneConfig(
                # By itself Ray goes by free cores, and would start more cohorts on a machine with more cores.
                max_concurrent_trials=None if self._config.processes == "auto" else self._config.processes,
                # A new process for each cohort would cost 1.6 CPU seconds; reusing one costs hardly anything.
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                # A second experiment with the same name would write into the first one's folder.
                name=f"{self._config.name}-{secrets.token_hex(4)}",
                storage_path=str(session.folder / "tune"),
                verbose=0,
                # Otherwise a cohort's last checkpoint would go to this storage, too, which other nodes cannot
                # reach.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=self._tries),
                callbacks=[feed],
                stop=StopEarly(feed),
            ),
        )


def _is_local() -> bool:
    """Check that the sweep runs on this machine."""
    return os.environ.get("RAY_ADDRESS", "local") in ("", "local")


def _within(outcomes: Mapping[str, Outcome], cohort: Cohort) -> dict[str, Outcome]:
    """Return the outcomes that a cohort's trials have in it: one that is followed had another one before."""
    there = {name: outcomes[name] for name in cohort.trial_ids if name in outcomes}
    return {name: outcome for name, outcome in there.items() if outcome.cohort_id == cohort.cohort_id}


def _require_gpu() -> None:
    """Require a GPU on this machine, before Ray is started."""
    from sweep.plan.sharing import there_is_a_gpu

    if not there_is_a_gpu():
        raise RayUnusable("device: cuda needs a GPU that torch can use, and this machine has none; use device: cpu")


class _Interruption:
    """Handles Ctrl-C, SIGTERM and SIGHUP: the first stops Tune cleanly, the next one immediately."""

    def __init__(self) -> None:
        self.number: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}
        self._tune_runs = False
        self._abandoned = False

    def __enter__(self) -> _Interruption:
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
            # A hang-up that is ignored stays ignored: that is what nohup asks for.
            self._before = {
                number: handler
                for number, handler in before.items()
                if number != signal.SIGHUP or handler != signal.SIG_IGN
            }
            self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def listen(self) -> None:
        """Take over the signals; repeated after `ray.init`, which takes over SIGTERM."""
        for number in self._before:
            signal.signal(number, self._handle)

    @contextlib.contextmanager
    def passed_to_tune(self) -> Iterator[None]:
        self._tune_runs = True
        try:
            yield
        finally:
            self._tune_runs = False

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the main thread, from any thread; no signal counts as received."""
        if self._before:
            self._abandoned = True
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._abandoned:
            raise KeyboardInterrupt
        first = self.number is None
        self.number = signal.Signals(number)
        # While it runs, Tune handles SIGUSR1 as "save and stop".
        stop_tune = signal.getsignal(signal.SIGUSR1)
        if first and self._tune_runs and callable(stop_tune):
            stop_tune(signal.SIGUSR1, frame)
        else:
            raise KeyboardInterrupt


@contextlib.contextmanager
def _silent(*names: str) -> Iterator[None]:
    """Silence these loggers.

    Tune would print a line per cohort about files that it was told not to write, and a trace per fault, which
    `CohortFeed` reports in one line.
    """
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
