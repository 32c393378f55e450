"""The typed specification of a sweep: one model for YAML, Python and the command line.

A list is an axis, a scalar is fixed. The defaults of a trial's settings are `trainables.TrialConfig`'s own.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from analysis.decline import DeclineParameters
from sweep.errors import Problem, SpecificationError
from sweep.imports import planned_with
from sweep.specification.axes import Number, Text, Whole
from sweep.specification.cases import products
from sweep.specification.experiment import Experiment
from sweep.specification.feasibility import impossible_values, infeasible_values
from sweep.specification.file import Source, apply_override, find_file, preset_names, read_file
from sweep.specification.problems import mentions, nearest, place_before, problems_of, remove, without
from sweep.specification.settings import Case
from trainables.config.families import BUILT_IN_KINDS
from trainables.config.registry import IMPORT_IT, MODELS
from trainables.numerics.environment import ACROSS_MACHINES, HERE, Reproducible


def _auto_or_count(value: Any) -> Any:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError(f"must be auto or a whole number of at least 1, got {value!r}")


def _some_place(value: str) -> str:
    if not value.strip():
        raise ValueError("results must be a folder or an s3:// address, got an empty text")
    return value


class SweepConfig(Experiment):
    """What to sweep over, how to measure, when to stop, and where results go.

    Raises:
        SpecificationError: lists every unknown key, wrong type and impossible value at once. Whatever depends on
            the data of a task (number of classes, size of the training set) is checked by `check_feasible`.
    """

    stop: Literal["decline", "none"] = "decline"
    """decline: stop trials whose complexity will not decline; none: stop no trials."""
    decline: DeclineParameters = DeclineParameters()
    """Parameters of the decline rule."""
    audit_share: Annotated[Number, Field(ge=0, le=1)] = 0.1
    """Share of trials that the rule never stops, only marks; they keep estimates honest."""

    lanes: Annotated[Literal["auto"] | int, BeforeValidator(_auto_or_count)] = "auto"
    """Networks that one process trains at once; auto: as many as fill a core or a GPU, and fit."""
    processes: Annotated[Literal["auto"] | int, BeforeValidator(_auto_or_count)] = "auto"
    """Largest number of cohorts trained at once; auto: what the cluster's workers or this machine can hold."""
    keep_networks: Literal["none", "final", "measured"] = "final"
    """Which weights to keep in the table `networks`."""
    results: Annotated[Text, AfterValidator(_some_place)] | None = None
    """Folder or s3:// address of the results; empty: results/<name>."""
    max_failures: Annotated[Whole, Field(ge=0)] = 3
    """Number of times that a cohort's process may die before its unfinished trials count as failed."""
    device: Literal["cpu", "cuda"] = "cpu"
    """The device to train on."""
    reproducible: Reproducible = HERE
    """The same bits here: on one kind of processor, in any company; or across machines: on every x86-64 processor
    with AVX2."""
    price_per_hour: Annotated[Number, Field(ge=0)] | None = None
    """Price of an hour of what one cohort occupies (one core or one GPU), for estimates; any currency."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            problems = problems_of(error, type(self), Case)
            raise SpecificationError([*problems, *_problems_of_the_rest(values, problems)]) from None
        problems = [*impossible_values(self), *self._impossible_promise()]
        if problems:
            raise SpecificationError(problems)

    def _impossible_promise(self) -> list[Problem]:
        if self.reproducible != ACROSS_MACHINES:
            return []
        kinds = {values.get("kind") for product in products(self) for values in product.models()}
        if own := sorted(kind for kind in kinds if kind is not None and MODELS.get(kind) is not None):
            message = (
                f"reproducible: {ACROSS_MACHINES} needs the network kinds {' and '.join(BUILT_IN_KINDS)}, whose "
                f"operations are certified, got {', '.join(own)}; leave `reproducible` out"
            )
            return [Problem(("reproducible",), message)]
        if self.device == "cpu":
            return []
        message = f"reproducible: {ACROSS_MACHINES} needs device: cpu, got {self.device}; leave one of them out"
        return [Problem(("reproducible",), message)]

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in type(self).model_fields if name != "cases"))

    @model_serializer(mode="wrap")
    def _without_what_cases_say(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Dump all fields, omitting defaults that cases define."""
        values: dict[str, Any] = handler(self)
        for setting in {path for mappings in self.cases.values() for case in mappings for path in case.said()}:
            remove(values, setting)
        return values

    @property
    def results_path(self) -> str:
        """Where the results go, with the default filled in."""
        return self.results if self.results is not None else f"results/{self.name}"


def load_specification(
    name_or_path: str, overrides: Sequence[str] = (), *, results: str | None = None
) -> SweepConfig:
    """Read a preset or a file, put the overrides on top, and check everything before anything is run.

    Args:
        name_or_path: Name of a preset, or path of a YAML 1.2 file.
        overrides: `KEY=VALUE` with a dotted key and a value in YAML, as in `--set`.
        results: A place for the results that replaces the specification's.

    Raises:
        SpecificationError: there are problems; the message lists all, each with file:line and the nearest valid
            name.
    """
    file = find_file(name_or_path)
    if file is None:
        choices = preset_names()
        message = f"there is no preset or file {name_or_path!r}{nearest(name_or_path, choices)}"
        raise SpecificationError([Problem((), f"{message}; presets: {', '.join(choices)}")])
    source = read_file(file)
    for override in overrides:
        apply_override(source, override)
    if results is not None:
        source.values["results"] = results
        source.where["results",] = f"--results {shlex.quote(results)}"
    source.values.setdefault("name", re.sub(r"[^A-Za-z0-9._-]+", "-", source.name).strip("-.") or "sweep")
    return _checked(source)


def check_feasible(config: SweepConfig) -> None:
    """Check what depends on the tasks' data; imports torch.

    Raises:
        SpecificationError: an unknown family, an empty training set, a batch larger than the training set, an
            epsilon at or above ln(number of classes), or a trial that several cases share.
    """
    problems = infeasible_values(config)
    if problems:
        raise SpecificationError(problems)


def _checked(source: Source) -> SweepConfig:
    problems = list(source.problems)
    values = without(source.values, problems)
    try:
        config = SweepConfig(**values)
    except SpecificationError as error:
        problems += error.problems
        config = _what_is_right(values, error.problems)
    infeasible = infeasible_values(config, unknown=[problem.path for problem in problems])
    problems += [replace(problem, path=place_before(problem.path, problems)) for problem in infeasible]
    problems = [_with_a_hint(problem, source) for problem in problems]
    if problems:
        problems.sort(key=lambda problem: source.order(problem.path))
        raise SpecificationError([replace(p, where=p.where or source.locate(p.path)) for p in problems])
    return config


def _with_a_hint(problem: Problem, source: Source) -> Problem:
    """Add to an unknown name which modules the results were planned with."""
    if IMPORT_IT not in problem.message:
        return problem
    results = source.values.get("results") or f"results/{source.values.get('name')}"
    return replace(problem, message=problem.message + planned_with(str(results)))


def _what_is_right(values: dict[str, Any], problems: Sequence[Problem]) -> SweepConfig:
    try:
        return SweepConfig(**without(values, problems))
    except SpecificationError as error:
        # The rest of a part may be valid only together with the wrong value, such as heads and width.
        parts = [replace(problem, path=problem.path[:1]) for problem in error.problems]
        parts += [replace(part, path=("case",)) for part in parts if part.path == ("cases",)]
        return SweepConfig(**without(without(values, problems), parts))


def _problems_of_the_rest(values: dict[str, Any], known: Sequence[Problem]) -> Sequence[Problem]:
    """List further problems, in values that no known problem is about."""
    rest = without(values, known)
    if rest == values:
        return []
    try:
        SweepConfig(**rest)
    except SpecificationError as error:
        paths = [problem.path for problem in known]
        return [
            replace(problem, path=place_before(problem.path, known))
            for problem in error.problems
            if not mentions(problem.message, paths)
        ]
    return []
