"""What types cannot say: values out of range, combinations that cannot be trained, all of them at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from sweep.axes import values_of
from sweep.errors import Path, Problem
from sweep.problems import mentions
from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.errors import ConfigError
from trainables.measuring import MeasuringConfig

if TYPE_CHECKING:
    from sweep.config import SweepConfig
    from trainables.tasks import Task

#: Fields of a trial that a specification says in another way.
_NOT_AXES = frozenset({"task", "model", "seed"})

LARGEST_MODULUS = 4096
"""Its table of all pairs takes half a gigabyte."""

LARGEST_SWEEP = 100_000
"""Trials. Planning so many takes some ten seconds, and nobody asks for more on purpose in one specification."""


def combinations(part: BaseModel) -> Iterator[dict[str, Any]]:
    """Every combination of the axes of one part of a specification, the last axis running fastest."""
    names = list(type(part).model_fields)
    for values in itertools.product(*(values_of(getattr(part, name)) for name in names)):
        yield dict(zip(names, values, strict=True))


def trial_axes(config: SweepConfig) -> dict[str, tuple[Any, ...]]:
    """The axes that are fields of a trial itself: name -> values, in the trial's order."""
    names = [name for name in TrialConfig.__dataclass_fields__ if name not in _NOT_AXES]
    return {name: values_of(getattr(config, name)) for name in names}


def impossible_values(config: SweepConfig) -> list[Problem]:
    """What a trial's own checks refuse, without looking at the task's data."""
    found: dict[tuple[Path, str], None] = {}

    def note(prefix: str, build: Callable[..., object], values: Mapping[str, Any]) -> None:
        for path, message in _refusals(build, values, prefix):
            found[_with_index(config, path, values), message] = None

    for values in combinations(config.task):
        note("task", TaskConfig, values)
    for values in combinations(config.model):
        note("model", ModelConfig, values)
    for name, axis in trial_axes(config).items():
        for value in axis if name != "spectral_start" else ():
            note("", TrialConfig, {name: value})
    # A start needs a penalty, of whichever weight, and must come before the end of each budget.
    weight = max(values_of(config.spectral_entropy_weight))
    for start, steps in itertools.product(values_of(config.spectral_start), values_of(config.steps)):
        note("", TrialConfig, {"spectral_start": start, "steps": steps, "spectral_entropy_weight": weight})
    axes = [
        values_of(getattr(part, name)) for part in (config.task, config.model) for name in type(part).model_fields
    ]
    seeds = len(config.seeds) if isinstance(config.seeds, tuple) else config.seeds
    count = math.prod(len(axis) for axis in [*axes, *trial_axes(config).values()]) * seeds
    if count > LARGEST_SWEEP:
        message = f"a sweep may have at most {LARGEST_SWEEP:,} trials, got {count:,}; use fewer values or seeds"
        found[("seeds",), message] = None
    if config.seeds == 0:
        found[("seeds",), "seeds must be at least 1 or a list of seeds, got 0"] = None
    for index, seed in enumerate(config.seeds if isinstance(config.seeds, tuple) else ()):
        for _, message in _refusals(TrialConfig, {"seed": seed}, ""):
            found[("seeds", index), f"seeds: {message}"] = None
    if config.epsilon in config.extra_epsilons:
        found[("extra_epsilons",), f"extra_epsilons repeats epsilon, {config.epsilon:g}; leave it out"] = None
    return [Problem(path, message) for path, message in found]


def infeasible_values(config: SweepConfig, unknown: frozenset[str] = frozenset()) -> list[Problem]:
    """What the data of the tasks refuse; imports torch.

    Args:
        config: The specification.
        unknown: Entries that have a problem already, so that what depends on them cannot be judged.
    """
    from trainables.tasks import FAMILIES, build_task

    found: dict[tuple[Path, str], None] = {}
    for values in combinations(config.task):
        if values["family"] in FAMILIES and "task" in unknown:
            continue
        if values["modulus"] > LARGEST_MODULUS:
            message = f"task.modulus must be at most {LARGEST_MODULUS}, a table that fits, got {values['modulus']}"
            found[_with_index(config, ("task", "modulus"), values), message] = None
            continue
        try:
            task = build_task(TaskConfig(**values))
        except ConfigError as error:
            path = ("task", "family") if values["family"] not in FAMILIES else ("task",)
            found[_with_index(config, path, values), str(error)] = None
            continue
        if "epsilon" not in unknown:
            found.update(_too_large_epsilons(config, task))
        if "data_fraction" not in unknown:
            found.update(_impossible_batches(config, task, judge_batch="batch_size" not in unknown))
    return [Problem(path, message) for path, message in found]


def _too_large_epsilons(config: SweepConfig, task: Task) -> dict[tuple[Path, str], None]:
    epsilons: dict[Path, float] = {("epsilon",): config.epsilon}
    epsilons |= {("extra_epsilons", index): value for index, value in enumerate(config.extra_epsilons)}
    found: dict[tuple[Path, str], None] = {}
    for path, epsilon in epsilons.items():
        try:
            MeasuringConfig(epsilon=epsilon).check_classes(task.classes)
        except ConfigError as error:
            found[path, str(error)] = None
    return found


def _impossible_batches(config: SweepConfig, task: Task, *, judge_batch: bool) -> dict[tuple[Path, str], None]:
    from trainables.tasks.split import training_size

    found: dict[tuple[Path, str], None] = {}
    sizes: dict[float, int] = {}
    for fraction in values_of(config.data_fraction):
        try:
            sizes[fraction] = training_size(task.examples, fraction)
        except ConfigError as error:
            found[_with_index(config, ("data_fraction",), {"data_fraction": fraction}), str(error)] = None
    if judge_batch and sizes:
        fraction, smallest = min(sizes.items(), key=lambda item: item[1])
        for size in values_of(config.batch_size):
            if size is not None and size > smallest:
                message = (
                    f"batch_size must be at most the smallest training set, {smallest} examples "
                    f"(data_fraction {fraction:g} of {task.name}), got {size}; 0 is the full batch"
                )
                found[_with_index(config, ("batch_size",), {"batch_size": size}), message] = None
    return found


def _refusals(build: Callable[..., object], values: Mapping[str, Any], prefix: str) -> Iterator[tuple[Path, str]]:
    """All that the checks of `build` say to these values: a refused value is left out to hear of the next."""
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


def _with_index(config: SweepConfig, path: Path, values: Mapping[str, Any]) -> Path:
    """The path with the place of the value in its axis, if it is one of several."""
    axis: Any = config
    for name in path:
        axis = getattr(axis, str(name))
    if isinstance(axis, tuple) and path[-1] in values:
        return (*path, axis.index(values[str(path[-1])]))
    return path
