"""A sweep in this process, without Ray: one call in a notebook, with the same tables as `sweep.run`."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch

from sweep.errors import SweepError
from sweep.plan.plan import plan, record, stop_rule_of
from sweep.results.store import Store
from sweep.specification.config import SweepConfig
from sweep.training import cohort_training
from sweep.training.cohort_training import CohortTraining
from sweep.training.progress import OneLine, Progress, Tally
from sweep.training.run_summary import RunSummary, ended_of, summary_of
from trainables.config import registry
from trainables.config.source import bytes_digest, source_digest
from trainables.errors import ConfigError
from trainables.numerics.computing import settled_torch
from trainables.numerics.environment import ACROSS_MACHINES, Reproducible
from trainables.numerics.reference import require_across_machines
from trainables.tasks import Task

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

GIVEN = "a call of sweep.run_here"
"""The pseudo-module that registers names known only in this process."""


@settled_torch()
def run_here(
    config: SweepConfig | None = None,
    *,
    module: Callable[[], nn.Module] | None = None,
    inputs: Tensor | np.ndarray | None = None,
    targets: Tensor | np.ndarray | None = None,
    classes: int | None = None,
    vocabulary: int | None = None,
    retry_failed: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> RunSummary:
    """Train a specification, or your own network and data, in this process and on one core.

    Results are those of `sweep.run`, and it resumes in the same way: called again, it trains what is missing.
    Networks and data are named after a hash of the tensors and of the source of `module`, so another network is
    another trial.

        summary = sweep.run_here(module=ConvNet, inputs=images, targets=labels, weight_decay=[0, 1], seeds=2)
        rows = analysis.load(summary.results)

    Args:
        config: a whole specification; then leave out all that follows but the last two.
        module: a class or function that makes a fresh network without arguments. The network maps [n, ...] inputs
            to logits [n, classes]; its requirements are in `trainables.architectures.own_module_checks`.
        inputs: [N, ...] numbers; with a vocabulary, [N, T] tokens.
        targets: [N] whole numbers, the right classes.
        classes: the number of classes; by default one more than the largest target.
        vocabulary: the number of tokens; None if inputs are features.
        settings: fields of `SweepConfig`: `data_fraction`, `weight_decay`, `steps`, `seeds`, `epsilon`, `stop`,
            `results`, ...; without `module` or `inputs`, also `model` or `task`.
        retry_failed: run only trials that have failed before.
        progress: the progress display; by default one line on standard error.

    Raises:
        ConfigError: the network or data cannot be trained; the message says what to change.
        SpecificationError: the settings cannot be run.
        StoreError: the results cannot be read or written.
        KeyboardInterrupt: on Ctrl-C, after saving what has been trained.
    """
    began = time.monotonic()
    if config is None:
        config = _config_of(module, inputs, targets, classes, vocabulary, settings)
    elif settings or any(given is not None for given in (module, inputs, targets)):
        raise SweepError("a whole specification is given, so leave out everything else, or give settings only")
    store = Store(config.results_path)
    _certify(config, store)  # before the plan, which tries user-supplied networks
    decided = plan(config, store, retry_failed=retry_failed, parallel=1)
    store.check_usable()
    requested = [trial.trial_id for trial in decided.trials]
    before = ended_of(store.outcomes(), decided.trials, stop_rule_of(config))
    tally = Tally(requested, before, store.grokked() if decided.satisfied else set(), decided.cohorts)
    record(decided, config, store)
    cohort_ids = [cohort.cohort_id for cohort in decided.cohorts]
    failed = _train(store, cohort_ids, tally, progress or OneLine(), config.reproducible)
    return dataclasses.replace(summary_of(config, store, decided), failed=failed, wall_s=time.monotonic() - began)


def _certify(config: SweepConfig, store: Store) -> None:
    """Make this process keep what is asked for, and if it can also what unfinished cohorts have promised."""
    if config.reproducible == ACROSS_MACHINES:
        require_across_machines()
        return
    promising = {cohort.cohort_id for cohort in store.cohorts() if cohort.reproducible == ACROSS_MACHINES}
    if promising & {outcome.cohort_id for outcome in store.outcomes().values() if outcome.ended_at_step is None}:
        with contextlib.suppress(ConfigError):
            require_across_machines()


def _train(
    store: Store, cohort_ids: list[str], tally: Tally, progress: Progress, asked: Reproducible
) -> dict[str, str]:
    """Train cohorts one after the other; return cohort id -> reason for those that failed."""
    failed: dict[str, str] = {}
    warned: set[str] = set()
    training = CohortTraining(
        store.path,
        report_blocks=cohort_training.REPORT_BLOCKS,
        result_every_s=cohort_training.RESULT_EVERY_S,
        asked=asked,
    )
    try:
        for cohort_id in cohort_ids:
            training.take_up(cohort_id)
            try:
                done = False
                while not done:
                    with _held_back():
                        result = training.step()
                    done = result["done"]
                    tally.result(cohort_id, result)
                    progress.show(tally.snapshot())
                    if result["warning"] is not None and result["warning"] not in warned:
                        warned.add(result["warning"])
                        progress.note(f"Warning: {result['warning']}.")
                    if result["note"] is not None:
                        progress.note(f"Cohort {cohort_id}: {result['note']}.")
                    if result["failure"] is not None:
                        failed[cohort_id] = result["failure"]
                        store.mark_failed(cohort_id, result["failure"])
                        tally.failed(cohort_id)
                        progress.note(f"Cohort {cohort_id} failed: {result['failure']}.")
            except BaseException:  # also an interruption
                training.close()
                raise
    finally:
        progress.close()
    return failed


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """Delay a first Ctrl-C to the end of a step (about a second), where training can be saved; not a second one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    interrupted = False

    def wait(_number: int, _frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, wait)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupted:
        raise KeyboardInterrupt


def _config_of(
    module: Callable[[], nn.Module] | None,
    inputs: Tensor | np.ndarray | None,
    targets: Tensor | np.ndarray | None,
    classes: int | None,
    vocabulary: int | None,
    settings: dict[str, Any],
) -> SweepConfig:
    """Build the specification of the given network and data, registered under names of their own."""
    if inputs is None or targets is None:
        if not (inputs is None and targets is None and classes is None and vocabulary is None):
            raise SweepError("inputs and targets must be given together, and classes and vocabulary with them")
    else:
        settings = {**settings, "task": {"family": _named_task(inputs, targets, classes, vocabulary)}}
    if module is not None:
        settings = {**settings, "model": {**settings.get("model", {}), "kind": _named_model(module)}}
    return SweepConfig(**settings)


def _named_task(
    inputs: Tensor | np.ndarray, targets: Tensor | np.ndarray, classes: int | None, vocabulary: int | None
) -> str:
    task = Task.of(inputs, targets, name="the given examples", classes=classes, vocabulary=vocabulary)
    about = f"{list(task.inputs.shape)} {task.inputs.dtype} {task.classes} {task.vocabulary}"
    tensors = (tensor.contiguous().numpy().tobytes() for tensor in (task.inputs, task.targets))
    source = bytes_digest(about.encode(), *tensors)
    name = f"data-{source}"
    registry.TASKS.add(name, lambda _: task, source, GIVEN)
    return name


def _named_model(module: Callable[[], nn.Module]) -> str:
    if isinstance(module, torch.nn.Module) or not (inspect.isclass(module) or inspect.isfunction(module)):
        got = "one network" if isinstance(module, torch.nn.Module) else type(module).__name__
        raise SweepError(
            f"module must be a class, or a function, that makes a fresh network without arguments, got {got}; "
            "write module=lambda: ConvNet(), so that each seed begins with weights of its own"
        )
    source = source_digest(module)
    label = module.__name__ if module.__name__.isidentifier() and module.__name__[0] != "_" else "module"
    name = f"{label}-{source}"
    registry.MODELS.add(name, lambda _task, _model: module(), source, GIVEN)
    return name
