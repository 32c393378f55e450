"""The trials of a sweep and how each is measured. `SweepConfig` adds the rest of the specification."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, Strict

from sweep.specification.axes import Axis, Number, Text, Whole, all_different, not_empty
from sweep.specification.settings import Case, TrialAxes, default_of
from trainables.schedule import MOST_EPSILONS, SMALLEST_EPSILON, SMALLEST_RATIO, MeasuringConfig

LONGEST_NAME = 60
"""Characters of a name: file systems allow a folder's name 255 bytes, and a letter takes up to four."""

NAME = r"^[\p{L}\p{N}][\p{L}\p{M}\p{N}._-]*$"
"""Pattern of a name: letters and digits of any script, '.', '_' and '-'."""


class Experiment(TrialAxes):
    """The settings of trials, their cases and seeds, and the bounds and times at which they are measured."""

    name: Annotated[str, Strict(), Field(pattern=NAME, max_length=LONGEST_NAME)] = "sweep"
    """Name of the sweep, and by default of its results folder."""
    cases: dict[str, Annotated[tuple[Case, ...], AfterValidator(not_empty)]] = Field(default_factory=dict)
    """Settings that go together: name -> list of mappings of a trial's settings, each merged with the rest of the
    specification. A setting is in cases or outside of them, not both. The trials are the union over all mappings.
    """
    case: Axis[Text | None] = None
    """Names of the cases to run; empty: all."""
    seeds: Axis[Annotated[Whole, Field(ge=0)]] = 1
    """A count (3 means 0, 1, 2) or a list of seeds."""
    epsilon: Annotated[Number, Field(ge=SMALLEST_EPSILON)] = default_of(MeasuringConfig, "epsilon")
    """Primary distortion bound of the complexity measure, nats; below ln(number of classes)."""
    extra_epsilons: Annotated[
        tuple[Annotated[Number, Field(ge=SMALLEST_EPSILON)], ...],
        Field(max_length=MOST_EPSILONS - 1),
        AfterValidator(all_different),
    ] = default_of(MeasuringConfig, "extra_epsilons")
    """Further bounds to measure at; they never change the column of the primary one."""
    schedule: Literal["default", "paper"] = default_of(MeasuringConfig, "schedule")
    """When to evaluate and measure; `paper` is floor(1.3^k)."""
    evaluate_ratio: Annotated[Number, Field(ge=SMALLEST_RATIO)] = default_of(MeasuringConfig, "evaluate_ratio")
    """Ratio of successive evaluated steps."""
    measure_ratio: Annotated[Number, Field(ge=SMALLEST_RATIO)] = default_of(MeasuringConfig, "measure_ratio")
    """Ratio of successive measured steps."""
    memorised_at: Annotated[Number, Field(gt=0, le=1)] | None = default_of(MeasuringConfig, "memorised_at")
    """Training accuracy that counts as memorised; empty: the task's own."""
    grokked_at: Annotated[Number, Field(gt=0, le=1)] | None = default_of(MeasuringConfig, "grokked_at")
    """Validation accuracy that counts as grokked; empty: the task's own."""

    @property
    def chosen_cases(self) -> tuple[str, ...]:
        """Names of the cases to run, in the order in which they are chosen."""
        chosen = self.case if isinstance(self.case, tuple) else (self.case,)
        return tuple(self.cases) if self.case is None else tuple(name for name in chosen if name in self.cases)

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds; a count becomes a list."""
        return self.seeds if isinstance(self.seeds, tuple) else tuple(range(self.seeds))

    @property
    def measuring(self) -> MeasuringConfig:
        """When and how trials are measured."""
        return MeasuringConfig(
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(MeasuringConfig)}
        )
