"""Cases: settings that go together, such as an operation with its data fraction.

The trials of a specification with cases are the union over the cases: for each mapping of each chosen case, every
combination of the settings in the mapping with those outside of `cases`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sweep.errors import Path, Problem
from sweep.specification.axes import values_of
from sweep.specification.experiment import Experiment
from sweep.specification.problems import dotted, list_meant, nearest
from sweep.specification.settings import Part, TrialAxes
from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.errors import shown

#: Fields of a trial that are not axes under their own names in a specification.
_NOT_AXES = frozenset({"task", "model", "seed"})


@dataclass(frozen=True, slots=True)
class Product:
    """A full product of axes: one mapping of a case merged with the settings outside, or all settings."""

    axes: TrialAxes
    place: Path = ()
    """The place of the mapping in the specification: ("cases", "addition", 0); () without cases."""
    said: frozenset[Path] = frozenset()
    """The settings that the mapping contains; all others come from outside."""

    @property
    def size(self) -> int:
        """Number of combinations."""
        return self.networks * math.prod(len(axis) for axis in self.trial_axes().values())

    @property
    def networks(self) -> int:
        """Number of combinations of a task and a model."""
        parts = (self.axes.task, self.axes.model)
        return math.prod(len(values_of(getattr(part, name))) for part in parts for name in type(part).model_fields)

    def tasks(self) -> Iterator[dict[str, Any]]:
        """Yield every combination of a task's axes; the last axis changes fastest."""
        return _combinations(self.axes.task)

    def models(self) -> Iterator[dict[str, Any]]:
        """Yield every combination of a model's axes; the last axis changes fastest."""
        return _combinations(self.axes.model)

    def trial_axes(self) -> dict[str, tuple[Any, ...]]:
        """Return the axes that are fields of a trial itself: name -> values, in the trial's order."""
        names = [name for name in TrialConfig.__dataclass_fields__ if name not in _NOT_AXES]
        return {name: values_of(getattr(self.axes, name)) for name in names}

    def settings(self) -> list[dict[str, Any]]:
        """List every trial as the fields of a `TrialConfig`, without its seed; some may describe the same trial.

        Raises:
            ConfigError: a task or a network is impossible.
        """
        axes = self.trial_axes()
        combinations: list[dict[str, Any]] = []
        tasks = [TaskConfig(**values).with_source() for values in self.tasks()]
        models = [ModelConfig(**values).with_source() for values in self.models()]
        for task, model, *values in itertools.product(tasks, models, *axes.values()):
            settings = {"task": task, "model": model, **dict(zip(axes, values, strict=True))}
            if settings["spectral_entropy_weight"] == 0:
                # Without a penalty nothing starts: if starts are an axis, there is one trial without a penalty.
                settings["spectral_start"] = 0
            combinations.append(settings)
        return combinations

    def problem(self, path: Path, message: str, values: Mapping[str, Any] | None = None) -> Problem:
        """Describe a problem with a setting, at the place where the setting was written.

        Args:
            path: path of the setting as it would be without cases.
            message: the problem; often begins with the setting's dotted name.
            values: the combination with the problem, to find which value of an axis is meant.
        """
        axis: Any = self.axes
        for name in path:
            axis = getattr(axis, str(name))
        inside = path in self.said or any(said[: len(path)] == path for said in self.said)
        given = (values or {}).get(str(path[-1]))
        if isinstance(given, str):
            message += list_meant(given)
        if inside:
            joint = "." if message.startswith(dotted(path)) else ": "
            message = f"{dotted(self.place)}{joint}{message}"
        if values and isinstance(axis, tuple) and path[-1] in values:
            path = (*path, axis.index(values[str(path[-1])]))
        return Problem((*self.place, *path) if inside else path, message)


def products(config: Experiment) -> list[Product]:
    """List the products of axes whose union are the trials: one per mapping of the chosen cases, or just one."""
    if not config.cases:
        return [Product(config)]
    return [
        Product(_laid_over(config, case), ("cases", name, index), frozenset(case.said()))
        for name in config.chosen_cases
        for index, case in enumerate(config.cases[name])
    ]


def wrong_cases(config: Experiment) -> Iterator[Problem]:
    """Yield problems with the choice of cases, and settings that are both in cases and outside."""
    for index, name in enumerate(values_of(config.case)):
        if name is None and not isinstance(config.case, tuple):
            continue
        if name not in config.cases:
            path: Path = ("case", index) if isinstance(config.case, tuple) else ("case",)
            got = "nothing" if name is None else shown(name)
            known = f"cases: {', '.join(config.cases)}" if config.cases else "there are no cases"
            hint = nearest(str(name), config.cases) or f"; {known}"
            yield Problem(path, f"case must name a case, got {got}{hint}")
    inside: dict[Path, Path] = {}
    for name, mappings in config.cases.items():
        for index, case in enumerate(mappings):
            for setting in case.said():
                inside.setdefault(setting, ("cases", name, index))
    for setting in config.said():
        if setting in inside:
            place = dotted(inside[setting])
            yield Problem(setting, f"{dotted(setting)} is in {place}, too; set it in cases or outside, not both")


def repeated_trials(config: Experiment) -> list[Problem]:
    """List mappings that share trials with an earlier one: the two could have different budgets."""
    place_of: dict[str, Path] = {}
    problems: list[Problem] = []
    for product in products(config) if config.cases else ():
        own = {TrialConfig(**settings).trial_id for settings in product.settings()}
        shared = [trial_id for trial_id in own if trial_id in place_of]
        if shared:
            earlier = sorted({dotted(place_of[trial_id]) for trial_id in shared})
            count, them = ("a trial", "it") if len(shared) == 1 else (f"{len(shared):,} trials", "them")
            shares = f"{count} of each seed in common with {' and '.join(earlier)}"
            message = f"{dotted(product.place)} has {shares}; keep {them} in one of them"
            problems.append(Problem(product.place, message))
        for trial_id in own:
            place_of.setdefault(trial_id, product.place)
    return problems


def _combinations(part: Part) -> Iterator[dict[str, Any]]:
    names = list(type(part).model_fields)
    for values in itertools.product(*(values_of(getattr(part, name)) for name in names)):
        yield dict(zip(names, values, strict=True))


def _laid_over(below: TrialAxes, above: TrialAxes) -> TrialAxes:
    """Merge settings, each from `above` if it is set there. Both have been checked."""
    values: dict[str, Any] = {name: getattr(below, name) for name in TrialAxes.model_fields}
    for name, *inner in above.said():
        said = getattr(above, str(name))
        values[str(name)] = (
            values[str(name)].model_copy(update={str(inner[0]): getattr(said, str(inner[0]))}) if inner else said
        )
    return TrialAxes.model_construct(**values)
