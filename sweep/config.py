"""The typed specification of a sweep: one model for YAML, Python and the command line.

A list is an axis, a scalar is fixed. The defaults of a trial's settings are `trainables.TrialConfig`'s own.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict, ValidationError

from analysis.decline import DeclineParameters
from sweep.axes import Axis, Number, Text, Whole, all_different
from sweep.errors import Problem, SpecificationError
from sweep.feasibility import impossible_values, infeasible_values
from sweep.problems import mentions, nearest, place_before, problems_of, without
from sweep.specification_file import Source, apply_override, find_file, preset_names, read_file
from trainables.config import AT_DECLINE, ModelConfig, TaskConfig, TrialConfig
from trainables.measuring import MeasuringConfig


def _default(config: type[Any], name: str) -> Any:
    return next(field.default for field in dataclasses.fields(config) if field.name == name)


def _auto_or_count(value: Any) -> Any:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError(f"must be auto or a whole number of at least 1, got {value!r}")


def _step_or_decline(value: Any) -> Any:
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    if value == AT_DECLINE or (isinstance(whole, int) and not isinstance(whole, bool)):
        return whole
    hint = nearest(value, [AT_DECLINE]) if isinstance(value, str) else ""
    raise ValueError(f"must be a step (a whole number) or {AT_DECLINE}, got {value!r}{hint}")


def _some_place(value: str) -> str:
    if not value.strip():
        raise ValueError("results must be a folder or an s3:// address, got an empty text")
    return value


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class TaskAxes(_Part):
    """Which data set; see `trainables.config.TaskConfig`."""

    family: Axis[Text] = _default(TaskConfig, "family")
    """Name of a task family, see `trainables.tasks.FAMILIES`."""
    modulus: Axis[Whole] = _default(TaskConfig, "modulus")
    """Modulus of the arithmetic."""


class ModelAxes(_Part):
    """Which network; see `trainables.config.ModelConfig`."""

    kind: Axis[Literal["transformer", "mlp"]] = _default(ModelConfig, "kind")
    """Kind of network."""
    width: Axis[Whole] = _default(ModelConfig, "width")
    """Width of embeddings and residual stream."""
    layers: Axis[Whole | None] = _default(ModelConfig, "layers")
    """Number of layers; empty: 1 for a transformer, 3 for an MLP."""
    heads: Axis[Whole] = _default(ModelConfig, "heads")
    """Attention heads; must divide the width."""
    hidden_width: Axis[Whole | None] = _default(ModelConfig, "hidden_width")
    """Width of hidden layers; empty: 4 x width."""
    attention: Axis[Literal["softmax", "sum"]] = _default(ModelConfig, "attention")
    """`sum` is the attention of the paper's public code."""


class SweepConfig(_Part):
    """What to sweep over, how to measure, when to stop and where results go.

    Raises:
        SpecificationError: lists every unknown key, wrong type and impossible value at once. What depends on
            the data of a task (number of classes, size of the training set) is checked by `check_feasible`.
    """

    name: Annotated[str, Strict(), Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "sweep"
    """Name of the sweep, and by default of its results folder."""

    task: TaskAxes = TaskAxes()
    model: ModelAxes = ModelAxes()
    data_fraction: Axis[Number] = _default(TrialConfig, "data_fraction")
    """Share of all examples that is trained on."""
    label_noise: Axis[Number] = _default(TrialConfig, "label_noise")
    """Share of the training labels replaced by a random other class."""
    weight_decay: Axis[Number] = _default(TrialConfig, "weight_decay")
    """Decoupled weight decay of AdamW."""
    spectral_entropy_weight: Axis[Number] = _default(TrialConfig, "spectral_entropy_weight")
    """Weight of the spectral penalty."""
    spectral_floor: Axis[Number] = _default(TrialConfig, "spectral_floor")
    """Floor on singular values in the penalty's gradient, as a share of the largest."""
    spectral_every: Axis[Whole] = _default(TrialConfig, "spectral_every")
    """The penalty acts at every so manyth step, so many times as strong; a divisor of 32."""
    spectral_start: Axis[Annotated[Literal["at_decline"] | int, BeforeValidator(_step_or_decline)]] = _default(
        TrialConfig, "spectral_start"
    )
    """Steps before the penalty acts, rounded up to blocks of 32; at_decline: until complexity has declined."""
    weight_noise: Axis[Number] = _default(TrialConfig, "weight_noise")
    """Standard deviation of the Gaussian noise at which the gradient is taken."""
    learning_rate: Axis[Number] = _default(TrialConfig, "learning_rate")
    adam_beta1: Axis[Number] = _default(TrialConfig, "adam_beta1")
    adam_beta2: Axis[Number] = _default(TrialConfig, "adam_beta2")
    adam_epsilon: Axis[Number] = _default(TrialConfig, "adam_epsilon")
    batch_size: Axis[Whole | None] = _default(TrialConfig, "batch_size")
    """Examples per step; empty: min(512, half the training set); 0: the full batch."""
    seeds: Axis[Annotated[Whole, Field(ge=0)]] = 1
    """A count (3 means 0, 1, 2) or a list of seeds."""
    steps: Axis[Whole] = _default(TrialConfig, "steps")
    """Budget of a trial in optimiser updates."""

    epsilon: Annotated[Number, Field(gt=0)] = _default(MeasuringConfig, "epsilon")
    """Primary distortion bound of the complexity measure, nats; below ln(number of classes)."""
    extra_epsilons: Annotated[tuple[Annotated[Number, Field(gt=0)], ...], AfterValidator(all_different)] = _default(
        MeasuringConfig, "extra_epsilons"
    )
    """Further bounds to measure at; they never change the column of the primary one."""
    schedule: Literal["default", "paper"] = _default(MeasuringConfig, "schedule")
    """When to evaluate and measure; `paper` is floor(1.3^k)."""
    evaluate_ratio: Annotated[Number, Field(gt=1)] = _default(MeasuringConfig, "evaluate_ratio")
    """Ratio of successive evaluated steps."""
    measure_ratio: Annotated[Number, Field(gt=1)] = _default(MeasuringConfig, "measure_ratio")
    """Ratio of successive measured steps."""
    memorised_at: Annotated[Number, Field(gt=0, le=1)] | None = _default(MeasuringConfig, "memorised_at")
    """Training accuracy that counts as memorised; empty: the task's own."""
    grokked_at: Annotated[Number, Field(gt=0, le=1)] | None = _default(MeasuringConfig, "grokked_at")
    """Validation accuracy that counts as grokked; empty: the task's own."""

    stop: Literal["decline", "none"] = "decline"
    """Stop trials whose complexity will not decline, or none."""
    decline: DeclineParameters = DeclineParameters()
    """Parameters of the decline rule."""
    audit_share: Annotated[Number, Field(ge=0, le=1)] = 0.1
    """Share of trials that the rule never stops, only marks: what makes estimates honest."""

    lanes: Annotated[Literal["auto"] | int, BeforeValidator(_auto_or_count)] = "auto"
    """Networks that one process trains at once; auto: as many as fill a core or a GPU, and fit."""
    processes: Annotated[Literal["auto"] | int, BeforeValidator(_auto_or_count)] = "auto"
    """Cohorts to train at once: as many as the cluster's workers hold; auto: what suits this machine."""
    keep_networks: Literal["none", "final", "measured"] = "final"
    """Which weights to keep in the table `networks`."""
    results: Annotated[Text, AfterValidator(_some_place)] | None = None
    """Folder or s3:// address of the results; empty: results/<name>."""
    max_failures: Annotated[Whole, Field(ge=0)] = 3
    """How often a cohort's process may die before its unfinished trials count as failed."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to train."""
    price_per_hour: Annotated[Number, Field(ge=0)] | None = None
    """Price of an hour of what one cohort occupies (one core, or one GPU), for estimates; any currency."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            problems = problems_of(error, type(self))
            raise SpecificationError([*problems, *_problems_of_the_rest(values, problems)]) from None
        problems = impossible_values(self)
        if problems:
            raise SpecificationError(problems)

    @property
    def results_path(self) -> str:
        """Where the results go, the default filled in."""
        return self.results if self.results is not None else f"results/{self.name}"

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds, a count spelled out."""
        return self.seeds if isinstance(self.seeds, tuple) else tuple(range(self.seeds))

    @property
    def measuring(self) -> MeasuringConfig:
        """When and how trials are measured."""
        return MeasuringConfig(
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(MeasuringConfig)}
        )


def load_specification(
    name_or_path: str, overrides: Sequence[str] = (), *, results: str | None = None
) -> SweepConfig:
    """Read a preset or a file, put the overrides on top, and check everything before anything is run.

    Args:
        name_or_path: Name of a preset, or path of a YAML 1.2 file.
        overrides: `KEY=VALUE` with a dotted key and a value in YAML, as in `--set`.
        results: Where the results go instead of where the specification says.

    Raises:
        SpecificationError: all that is wrong, each with file:line and the nearest valid name.
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
        SpecificationError: an unknown family, an empty training set, a batch larger than the training set, or
            an epsilon at or above ln(number of classes).
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
    problems += infeasible_values(config, unknown=frozenset(str(p.path[0]) for p in problems if p.path))
    if problems:
        problems.sort(key=lambda problem: source.order(problem.path))
        raise SpecificationError([replace(p, where=p.where or source.locate(p.path)) for p in problems])
    return config


def _what_is_right(values: dict[str, Any], problems: Sequence[Problem]) -> SweepConfig:
    try:
        return SweepConfig(**without(values, problems))
    except SpecificationError as error:
        # What is left of a part may only have fitted what was wrong in it, such as heads and width.
        parts = [replace(problem, path=problem.path[:1]) for problem in error.problems]
        return SweepConfig(**without(without(values, problems), parts))


def _problems_of_the_rest(values: dict[str, Any], known: Sequence[Problem]) -> Sequence[Problem]:
    """What else is wrong in the values that no known problem is about."""
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
