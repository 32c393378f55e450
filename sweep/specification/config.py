"""The typed specification of a sweep: one model for YAML, Python and the command line.

A list is an axis, a scalar is fixed. The defaults of a trial's settings are `trainables.TrialConfig`'s own.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from analysis.stopping.certificate import Certify
from analysis.stopping.decline import DeclineParameters
from analysis.stopping.parking import ParkingParameters
from sweep.errors import Problem, SpecificationError
from sweep.imports import planned_with
from sweep.specification.axes import Number, Text, Whole
from sweep.specification.bounds import MOST_LANES, MOST_PROCESSES, oversized
from sweep.specification.cases import products
from sweep.specification.experiment import LONGEST_NAME, Experiment
from sweep.specification.feasibility import impossible_values, infeasible_values
from sweep.specification.file import ANCHORS_PREFIX, Source, apply_override, find_file, preset_names, read_file
from sweep.specification.problems import (
    MOST_PROBLEMS,
    mentions,
    nearest,
    place_before,
    problems_of,
    remove,
    without,
)
from sweep.specification.settings import Case
from trainables.config.address import checked_address
from trainables.config.families import BUILT_IN_KINDS
from trainables.config.registry import IMPORT_IT, MODELS
from trainables.errors import shown
from trainables.numerics.environment import ACROSS_MACHINES, HERE, Reproducible


def _auto_or_count(largest: int) -> BeforeValidator:
    """Return the check of a field that is `auto` or a whole number from 1 to `largest`; 1e3 is one, too."""

    def check(value: Any) -> Any:
        count = int(value) if isinstance(value, float) and value.is_integer() else value
        if count == "auto":
            return count
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ValueError(f"must be auto or a whole number of at least 1, got {shown(value)}")
        if count > largest:
            raise ValueError(f"must be auto or at most {largest:,}, got {shown(count)}")
        return count

    return BeforeValidator(check)


def _some_place(value: str) -> str:
    if not value.strip():
        raise ValueError("results must be a folder or an s3:// address, got an empty text")
    return checked_address("results", value)


class SweepConfig(Experiment):
    """What to sweep over, how to measure, when to stop, and where results go.

    Raises:
        SpecificationError: lists every unknown key, wrong type and impossible value at once. Whatever depends on
            the data of a task (number of classes, size of the training set) is checked by `check_feasible`.
    """

    # Editors accept keys that hold anchors; they never arrive here.
    model_config = ConfigDict(json_schema_extra={"patternProperties": {f"^{ANCHORS_PREFIX}": {}}})

    stop: Literal["park", "decline", "none"] = "park"
    """park: trials that have stalled wait, and the other seeds of their setting decide whether they continue;
    decline: stop trials whose complexity will not decline; none: stop no trials."""
    parking: ParkingParameters = ParkingParameters()
    """Parameters of the parking rule."""
    decline: DeclineParameters = DeclineParameters()
    """Parameters of the decline rule."""
    certify: Certify | None = None
    """With stop: park, how few of the trials that would have grokked may remain stopped, and how surely. Stopped
    trials are drawn and followed to their end until this is certified; empty: none are."""
    audit_share: Annotated[Number, Field(ge=0, le=1)] = 0.1
    """Share of trials that the rule never stops, only marks; they keep estimates honest."""

    lanes: Annotated[Literal["auto"] | int, _auto_or_count(MOST_LANES)] = "auto"
    """Networks that one process trains at once; auto: as many as fill a core or a GPU, and fit."""
    processes: Annotated[Literal["auto"] | int, _auto_or_count(MOST_PROCESSES)] = "auto"
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
        if (too_large := oversized(values)) is not None:
            raise SpecificationError([too_large])
        try:
            super().__init__(**values)
        except ValidationError as error:
            problems = problems_of(error, type(self), Case)
            if len(problems) > MOST_PROBLEMS:
                raise SpecificationError(problems) from None
            raise SpecificationError([*problems, *_problems_of_the_rest(values, problems)]) from None
        problems = [*impossible_values(self), *self._impossible_promise(), *self._impossible_parking()]
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

    def _impossible_parking(self) -> list[Problem]:
        if self.stop != "park" or self.schedule != "paper":
            return []
        message = (
            "stop: park, the usual rule, needs schedule: default, which evaluates where a trial can be parked, got "
            "paper; add stop: decline or stop: none, or leave schedule out"
        )
        return [Problem(("stop",), message)]

    def __hash__(self) -> int:
        # Cases are a mapping, which has no hash; specifications that differ in them alone are still unequal.
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
        name_or_path: name of a preset, or path of a YAML 1.2 file.
        overrides: `KEY=VALUE` with a dotted key and a value in YAML, as in `--set`.
        results: a place for the results that replaces the specification's.

    Raises:
        SpecificationError: there are problems; the message lists all, each with file:line and the nearest valid
            name.
    """
    file = find_file(name_or_path)
    if file is None:
        choices = preset_names()
        message = f"there is no preset or file {shown(name_or_path)}{nearest(name_or_path, choices)}"
        raise SpecificationError([Problem((), f"{message}; presets: {', '.join(choices)}")])
    source = read_file(file)
    for override in overrides:
        apply_override(source, override)
    if results is not None:
        source.values["results"] = results
        source.where["results",] = f"--results {shlex.quote(results)}"
    source.values.setdefault("name", _default_name(source.name))
    return _checked(source)


def _default_name(stem: str) -> str:
    """Return the name of a specification without one: its file's, in any script, with '-' for what no name has."""
    # macOS spells file names decomposed, where an accent is a character of its own and no letter.
    letters = re.sub(r"[^\w.-]+", "-", unicodedata.normalize("NFC", stem))[:LONGEST_NAME]
    return letters.strip("-._") or "sweep"


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
    if source.unusable:
        raise SpecificationError(problems[:MOST_PROBLEMS])
    values = without(source.values, problems)
    try:
        config = SweepConfig(**values)
    except SpecificationError as error:
        if len(error.problems) > MOST_PROBLEMS:
            raise SpecificationError([replace(p, where=source.locate(p.path)) for p in error.problems]) from None
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
    """Add to an unknown name which modules the results were planned with, and to an anchor's key a valid one."""
    if problem.message.startswith("unknown key") and len(problem.path) == 1 and problem.path[0] in source.anchored:
        name = f"{ANCHORS_PREFIX}{problem.path[0]}"
        message = f"unknown key {shown(problem.path[0])}; a key for anchors begins with {ANCHORS_PREFIX}: {name}"
        return replace(problem, message=message)
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
