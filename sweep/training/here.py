"""A sweep in this process, without Ray: one call in a notebook, with the same tables as `sweep.run`."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch

from sweep.errors import LeaseLost, ResultsGone, StorageFault, SweepError
from sweep.results.lease import Lease
from sweep.results.store import Store
from sweep.specification.config import SweepConfig
from sweep.training import cohort_training
from sweep.training.cohort_training import CohortTraining
from sweep.training.prepared import PreparedRun
from sweep.training.progress import OneLine, Progress
from sweep.training.run_summary import RunSummary
from trainables.config import registry
from trainables.config.source import Source, bytes_digest, source_of, source_of_version
from trainables.errors import ConfigError
from trainables.numerics.computing import settled_torch
from trainables.numerics.environment import ACROSS_MACHINES
from trainables.numerics.reference import require_across_machines
from trainables.tasks import Task

if TYPE_CHECKING:
    from torch import nn

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end a run after it has saved."""

GIVEN = "a call of sweep.run_here"
"""The pseudo-module that registers names known only in this process."""


@settled_torch()
def run_here(
    config: SweepConfig | None = None,
    *,
    module: Callable[[], nn.Module] | None = None,
    inputs: object = None,
    targets: object = None,
    classes: int | None = None,
    vocabulary: int | None = None,
    version: str | None = None,
    retry_failed: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> RunSummary:
    """Train a specification, or your own network and data, in this process and on one core.

    Results are those of `sweep.run`, and it resumes in the same way: called again, it trains what is missing.
    Networks and data are named after a hash of the tensors and of all that `module` is made of, so another network
    is another trial.

        summary = sweep.run_here(module=ConvNet, inputs=images, targets=labels, weight_decay=[0, 1], seeds=2)
        rows = analysis.load(summary.results)

    Args:
        config: a whole specification; then leave out all that follows but the last two.
        module: a class, function or `functools.partial` that makes a fresh network without arguments. It maps
            [n, ...] inputs to logits [n, classes]; its requirements are in
            `trainables.architectures.own_module_checks`.
        inputs: [N, ...] numbers as a tensor, array, list or frame; with a vocabulary, [N, T] tokens.
        targets: [N] whole numbers or words, the right classes, see `trainables.Task.of`.
        classes: the number of classes; by default one more than the largest target.
        vocabulary: the number of tokens; None if inputs are features.
        version: identifies `module` in place of its content, see `trainables.register_model`.
        settings: fields of `SweepConfig`: `data_fraction`, `weight_decay`, `steps`, `seeds`, `epsilon`, `stop`,
            `results`, ...; without `module` or `inputs`, also `model` or `task`.
        retry_failed: run only trials that have failed before.
        progress: the progress display; by default one line on standard error.

    Raises:
        ConfigError: the network or data cannot be trained; the message says what to change.
        SpecificationError: the settings cannot be run.
        StoreError: the results cannot be read or written, or another process is writing them.
        KeyboardInterrupt: on Ctrl-C, SIGTERM or SIGHUP, after saving what has been trained.
    """
    began = time.monotonic()
    if config is None:
        config = _config_of(module, inputs, targets, classes, vocabulary, version, settings)
    elif settings or any(given is not None for given in (module, inputs, targets, version)):
        raise SweepError("a whole specification is given, so leave out everything else, or give settings only")
    progress = progress or OneLine()
    store = Store(config.results_path)
    with store.driving(progress.note) as lease:
        _certify(config, store)  # before the plan, which tries user-supplied networks
        run = PreparedRun(config, progress, retry_failed=retry_failed, parallel=1)
        run.store.check_usable()
        _train(run, lease)
        return run.summary(time.monotonic() - began)


def _certify(config: SweepConfig, store: Store) -> None:
    """Make this process keep what is asked for, and if it can also what unfinished cohorts have promised."""
    if config.reproducible == ACROSS_MACHINES:
        require_across_machines()
        return
    promising = {cohort.cohort_id for cohort in store.cohorts() if cohort.reproducible == ACROSS_MACHINES}
    if not promising:
        return  # outcomes are read from the tables, which may be many
    if promising & {outcome.cohort_id for outcome in store.outcomes().values() if outcome.ended_at_step is None}:
        with contextlib.suppress(ConfigError):
            require_across_machines()


def _train(run: PreparedRun, lease: Lease) -> None:
    """Train cohorts one after the other."""
    training = CohortTraining(
        run.store.path,
        report_blocks=cohort_training.REPORT_BLOCKS,
        result_every_s=cohort_training.RESULT_EVERY_S,
        asked=run.config.reproducible,
    )
    try:
        run.begin()
        for cohort in run.cohorts():
            training.take_up(cohort.cohort_id)
            try:
                _train_cohort(run, training, cohort.cohort_id, lease)
            except LeaseLost:
                raise  # nothing more is written
            except BaseException:  # also an interruption
                training.close()
                raise
            if run.announcer.ended_early is not None:
                run.end_early(run.announcer.ended_early)
                return
    except (StorageFault, ResultsGone) as error:
        run.end_early(error)
    finally:
        run.progress.close()


def _train_cohort(run: PreparedRun, training: CohortTraining, cohort_id: str, lease: Lease) -> None:
    done = False
    while not done:
        lease.check()
        with _held_back():
            result = training.step()
        done = result["done"]
        run.announcer.result(cohort_id, result)
        run.progress.show(run.tally.snapshot())
        if result["failure"] is not None:
            run.fail(cohort_id, result["failure"])


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """Delay a first signal to the end of a step (about a second), where training can be saved; not a second one.

    Ctrl-C then raises KeyboardInterrupt. SIGTERM and SIGHUP do as well, if their handlers are the default ones: the
    process would otherwise end before anything is saved.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    # A signal that is ignored stays ignored, as SIGHUP is under nohup.
    held = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    received: list[int] = []

    def wait(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        restore()

    def restore() -> None:
        for number in held:
            signal.signal(number, before[number])

    for number in held:
        signal.signal(number, wait)
    try:
        yield
    finally:
        restore()
    if received:
        number = signal.Signals(received[0])
        handler = before[number]
        if number != signal.SIGINT and callable(handler):
            signal.raise_signal(number)  # the handler of the program that called us
        else:
            raise KeyboardInterrupt(number.name)


def _config_of(
    module: Callable[[], nn.Module] | None,
    inputs: object,
    targets: object,
    classes: int | None,
    vocabulary: int | None,
    version: str | None,
    settings: dict[str, Any],
) -> SweepConfig:
    """Build the specification of the given network and data, registered under names of their own."""
    if inputs is None or targets is None:
        if not (inputs is None and targets is None and classes is None and vocabulary is None):
            raise SweepError("inputs and targets must be given together, and classes and vocabulary with them")
    else:
        settings = {**settings, "task": {"family": _named_task(inputs, targets, classes, vocabulary)}}
    if module is not None:
        settings = {**settings, "model": {**settings.get("model", {}), "kind": _named_model(module, version)}}
    elif version is not None:
        raise SweepError(
            f"version must come with module, the network that it is the version of, got {version!r} alone"
        )
    return SweepConfig(**settings)


def _named_task(inputs: object, targets: object, classes: int | None, vocabulary: int | None) -> str:
    task = Task.of(inputs, targets, name="the given examples", classes=classes, vocabulary=vocabulary)
    about = f"{list(task.inputs.shape)} {task.inputs.dtype} {task.classes} {task.vocabulary}"
    tensors = (tensor.contiguous().numpy().tobytes() for tensor in (task.inputs, task.targets))
    source = bytes_digest(about.encode(), *tensors)
    name = f"data-{source}"
    registry.TASKS.add(name, lambda _: task, GIVEN, source=Source(source, None))
    return name


def _named_model(module: Callable[[], nn.Module], version: str | None) -> str:
    if isinstance(module, torch.nn.Module) or not callable(module):
        got = "one network" if isinstance(module, torch.nn.Module) else type(module).__name__
        raise SweepError(
            f"module must be a class, or a function, that makes a fresh network without arguments, got {got}; "
            "write module=lambda: ConvNet(), so that each seed begins with weights of its own"
        )
    source = _source_of(module) if version is None else source_of_version(version)
    called = getattr(module, "__name__", "module")
    label = called if called.isidentifier() and called[0] != "_" else "module"
    name = f"{label}-{source.text}"
    registry.MODELS.add(name, lambda _task, _model: module(), GIVEN, source=source)
    return name


def _source_of(module: Callable[[], nn.Module]) -> Source:
    advice = 'create it within the function that uses it, or pass version="1" to run_here and vouch for it yourself'
    try:
        return source_of(module, advice=advice)
    except ConfigError as error:
        raise ConfigError(f"module {error}") from None
