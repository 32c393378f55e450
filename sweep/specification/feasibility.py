"""Checks beyond types: values out of range and combinations that cannot be trained, all reported at once."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from sweep.errors import Path, Problem
from sweep.specification.axes import values_of
from sweep.specification.bounds import LARGEST_NUMBER, LARGEST_SWEEP, MOST_NETWORKS
from sweep.specification.cases import Product, products, repeated_trials, wrong_cases
from sweep.specification.experiment import Experiment
from sweep.specification.problems import MOST_PROBLEMS, mentions
from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.config.registry import held_sources
from trainables.errors import ConfigError, shown
from trainables.schedule import MeasuringConfig

if TYPE_CHECKING:
    from trainables.tasks import Task


@held_sources()
def impossible_values(config: Experiment) -> list[Problem]:
    """List what a trial's own checks refuse, without looking at the task's data."""
    if too_many := _too_many(config):
        return too_many  # before any product is multiplied out
    problems = dict.fromkeys(itertools.islice(wrong_cases(config), MOST_PROBLEMS))
    for product in products(config):
        problems.update(dict.fromkeys(itertools.islice(_impossible_in(product), MOST_PROBLEMS)))
        if len(problems) >= MOST_PROBLEMS:
            break
    return [*problems, *_impossible_outside(config)]


def _impossible_in(product: Product) -> Iterator[Problem]:
    def refused(prefix: str, build: Callable[..., object], values: Mapping[str, Any]) -> Iterator[Problem]:
        for path, message in _refusals(build, values, prefix):
            yield product.problem(path, message, values)

    for values in product.tasks():
        yield from refused("task", _task, values)
    for values in product.models():
        yield from refused("model", _model, values)
    for name, axis in product.trial_axes().items():
        for value in axis if name not in ("spectral_start", "drift") else ():
            yield from refused("", TrialConfig, {name: value})
    # A start needs a penalty of any weight, and must come before the end of each budget.
    axes = product.axes
    weight = max(values_of(axes.spectral_entropy_weight))
    for start, steps in itertools.product(values_of(axes.spectral_start), values_of(axes.steps)):
        yield from refused(
            "", TrialConfig, {"spectral_start": start, "steps": steps, "spectral_entropy_weight": weight}
        )
    # An exchange must change something for each family, and come before the end of each budget.
    for task, drift, steps in itertools.product(
        _one_of_each_family(product), values_of(axes.drift), values_of(axes.steps)
    ):
        yield from refused("", partial(TrialConfig, task=task), {"drift": drift, "steps": steps})


def _task(**values: Any) -> TaskConfig:
    """Build a task and read its files, so that what is wrong with them is reported where they are named."""
    return TaskConfig(**values).with_source()


def _model(**values: Any) -> ModelConfig:
    """Build a model and look up its kind, so that an unknown one is reported where it is named."""
    return ModelConfig(**values).with_source()


def _one_of_each_family(product: Product) -> list[TaskConfig]:
    """Return a valid task for each family that has one; problems with the others are reported elsewhere."""
    task_of: dict[str, TaskConfig] = {}
    for values in product.tasks():
        with contextlib.suppress(ConfigError):
            task_of.setdefault(values["family"], _task(**values))
    return list(task_of.values())


def _impossible_outside(config: Experiment) -> list[Problem]:
    """List problems with the keys that are not settings of a trial."""
    problems: dict[tuple[Path, str], None] = {}
    if config.seeds == 0:
        problems[("seeds",), "seeds must be at least 1 or a list of seeds, got 0"] = None
    for index, seed in enumerate(config.seeds if isinstance(config.seeds, tuple) else ()):
        for _, message in _refusals(TrialConfig, {"seed": seed}, ""):
            problems[("seeds", index), f"seeds: {message}"] = None
    if config.epsilon in config.extra_epsilons:
        problems[("extra_epsilons",), f"extra_epsilons repeats epsilon, {config.epsilon:g}; leave it out"] = None
    return [Problem(path, message) for path, message in problems]


def _too_many(config: Experiment) -> list[Problem]:
    """Count trials and networks; those that occur twice count twice."""
    seeds = len(config.seeds) if isinstance(config.seeds, tuple) else config.seeds
    trials = seeds * sum(product.size for product in products(config))
    if trials > LARGEST_SWEEP:
        got = f"{trials:,}" if trials < LARGEST_NUMBER else shown(trials)
        message = f"a sweep may have at most {LARGEST_SWEEP:,} trials, got {got}; use fewer values or seeds"
        return [Problem(("seeds",), message)]
    if (networks := sum(product.networks for product in products(config))) > MOST_NETWORKS:
        message = (
            f"a sweep may have at most {MOST_NETWORKS:,} different networks, each of one task, got {networks:,}; "
            "use fewer values in task and model"
        )
        return [Problem(("model",), message)]
    return []


@held_sources()
def infeasible_values(config: Experiment, unknown: Collection[Path] = ()) -> list[Problem]:
    """List what the tasks' data refuse, and trials that cases share; imports torch.

    Args:
        config: the specification.
        unknown: settings that already have a problem, so that nothing depending on them can be judged.
    """
    problems: dict[Problem, None] = {}
    for product in products(config):
        depth = len(product.place)
        names = {str(path[0]) for path in unknown if path}
        names |= {str(path[depth]) for path in unknown if depth < len(path) and path[:depth] == product.place}
        wrong = _infeasible_in(product, config.measuring.epsilons, frozenset(names))
        problems.update(dict.fromkeys(itertools.islice(wrong, MOST_PROBLEMS)))
        if len(problems) >= MOST_PROBLEMS:
            break
    return list(problems) if problems or unknown else repeated_trials(config)


def _infeasible_in(product: Product, epsilons: Sequence[float], unknown: frozenset[str]) -> Iterator[Problem]:
    from trainables.tasks import FAMILIES, LARGEST, build_task
    from trainables.tasks.phases import check_drift

    for values in product.tasks():
        if values["family"] in FAMILIES and "task" in unknown:
            continue
        if too_large := [name for name, limit in LARGEST.items() if (values[name] or 0) > limit]:
            for name in too_large:
                message = f"task.{name} must be at most {LARGEST[name]}, a table that fits, got {values[name]}"
                yield product.problem(("task", name), message, values)
            continue
        try:
            config = _task(**values)
            task = build_task(config)
        except ConfigError as error:
            path = ("task", "family") if values["family"] not in FAMILIES else ("task",)
            yield product.problem(path, str(error), values)
            continue
        if "epsilon" not in unknown:
            yield from _too_large_epsilons(epsilons, task)
        for drift in values_of(product.axes.drift):
            try:
                check_drift(config, drift.without_own(values["family"]))
            except ConfigError as error:
                yield product.problem(("drift",), str(error), {"drift": drift})
        if "model" not in unknown:
            yield from _unfit_networks(product, task)
        if "data_fraction" not in unknown:
            yield from _impossible_batches(product, task, judge_batch="batch_size" not in unknown)


def _too_large_epsilons(epsilons: Sequence[float], task: Task) -> Iterator[Problem]:
    """Yield problems with epsilons; the first one is `epsilon`, the others are `extra_epsilons`."""
    for index, epsilon in enumerate(epsilons):
        try:
            MeasuringConfig(epsilon=epsilon).check_classes(task.classes)
        except ConfigError as error:
            yield Problem(("extra_epsilons", index - 1) if index else ("epsilon",), str(error))


def _unfit_networks(product: Product, task: Task) -> Iterator[Problem]:
    """Yield networks that do not fit this task, or a penalty; registered networks are built and tried."""
    from trainables.architectures import architecture_of
    from trainables.spectral import matrix_sides

    weight = max(values_of(product.axes.spectral_entropy_weight))
    for values in product.models():
        try:
            shapes = architecture_of(task, ModelConfig(**values)).shapes
        except ConfigError as error:
            yield product.problem(("model", "kind"), str(error), values)
            continue
        if weight > 0 and not matrix_sides(shapes):
            message = (
                f"spectral_entropy_weight must be 0 for model.kind {values['kind']!r}, none of whose parameters is "
                f"a matrix of two rows and columns, got {weight:g}"
            )
            yield product.problem(("spectral_entropy_weight",), message, {"spectral_entropy_weight": weight})


def _impossible_batches(product: Product, task: Task, *, judge_batch: bool) -> Iterator[Problem]:
    from trainables.tasks.split import training_size

    sizes: dict[float, int] = {}
    for fraction in values_of(product.axes.data_fraction):
        try:
            sizes[fraction] = training_size(task.examples, fraction)
        except ConfigError as error:
            yield product.problem(("data_fraction",), str(error), {"data_fraction": fraction})
    if judge_batch and sizes:
        fraction, smallest = min(sizes.items(), key=lambda item: item[1])
        for size in values_of(product.axes.batch_size):
            if size is not None and size > smallest:
                message = (
                    f"batch_size must be at most the smallest training set, {smallest} examples "
                    f"(data_fraction {fraction:g} of {task.name}), got {size}; 0 is the full batch"
                )
                yield product.problem(("batch_size",), message, {"batch_size": size})


def _refusals(build: Callable[..., object], values: Mapping[str, Any], prefix: str) -> Iterator[tuple[Path, str]]:
    """Yield all problems that the checks of `build` find: a refused value is left out to find the next one."""
    rest = dict(values)
    refused: list[Path] = []
    while True:
        try:
            build(**rest)
            return
        except ConfigError as error:
            # A message starts with the dotted name of its field.
            name = str(error).split(maxsplit=1)[0].removeprefix(f"{prefix}.")
            if name not in rest or mentions(str(error), refused):
                return
            path: Path = (prefix, name) if prefix else (name,)
            yield path, str(error)
            refused.append(path)
            del rest[name]
