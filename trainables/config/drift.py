"""Drift: at given steps a trial's training set is replaced by another one, while its weights continue.

The steps between two exchanges are a *phase*; phases are counted from 0. An exchange says what differs from the
trial's own training set, which is that of phase 0. It does not add to earlier exchanges, and an empty one restores
the trial's own training set.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

from trainables.config.task_source import task_source
from trainables.errors import SHOWN_CHARACTERS, ConfigError, shown
from trainables.schedule import BLOCK_STEPS, LARGEST_STEPS, is_finite, whole_blocks

MOST_EXCHANGES = 100
"""Largest number of exchanges of a trial: each phase has its own inputs in memory, and its own schedule."""

LARGEST_SPLIT = 10**6
"""Largest number of another split; a draw of more is hardly meant."""

LARGEST_SHIFT = 1e6
"""Largest shift of the inputs, in either direction: float32 inputs can still be told apart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSet:
    """How a phase's training set differs from that of phase 0."""

    split: int = 0
    """The split of the table: 0 is the trial's own, k is the k-th other split of its seed."""
    family: str | None = None
    """Another task family with a table of the same shape and the trial's other parameters; None is the trial's own.
    """
    shift: float = 0.0
    """Shift of the inputs, which keep their targets; see `trainables.tasks.phases.shifted`."""
    source: str | None = None
    """Hash of a registered family's source; filled in by `with_source` where the family is known."""

    def __post_init__(self) -> None:
        if not _is_whole(self.split) or self.split < 0:
            raise ConfigError(f"drift: split must be a whole number of at least 0, got {shown(self.split)}")
        if self.split > LARGEST_SPLIT:
            raise ConfigError(f"drift: split must be at most {LARGEST_SPLIT:,}, got {shown(self.split)}")
        if self.family is not None and not isinstance(self.family, str):
            raise ConfigError(f"drift: family must be the name of a task family, got {shown(self.family)}")
        number = isinstance(self.shift, (int, float)) and not isinstance(self.shift, bool)
        if not number or not is_finite(self.shift):
            raise ConfigError(f"drift: shift must be a finite number, got {shown(self.shift)}")
        if abs(self.shift) > LARGEST_SHIFT:
            raise ConfigError(f"drift: shift must lie within +-{LARGEST_SHIFT:g}, got {shown(self.shift)}")
        object.__setattr__(self, "shift", float(self.shift))

    def with_source(self) -> TrainingSet:
        """Return the same training set with `source` filled in, where it has a family that is registered here."""
        if self.family is None or self.source is not None:
            return self
        source = task_source(self.family, None)
        return self if source is None else replace(self, source=source)

    def as_dict(self) -> dict[str, Any]:
        """Return the differences as plain values."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}


@dataclass(frozen=True, slots=True)
class Drift:
    """The exchanges of the training set, as pairs (step, training set) in ascending order of steps.

    An exchange comes after `step` optimiser updates, rounded up to whole blocks of `BLOCK_STEPS`; every table shows
    the rounded step.
    """

    exchanges: tuple[tuple[int, TrainingSet], ...] = ()

    def __post_init__(self) -> None:
        if len(self.exchanges) > MOST_EXCHANGES:
            raise ConfigError(f"drift may have at most {MOST_EXCHANGES} exchanges, got {len(self.exchanges):,}")
        for step, _ in self.exchanges:
            if not _is_whole(step) or not 1 <= step <= LARGEST_STEPS:
                raise _wrong_step(step)
        exchanges = tuple((whole_blocks(step), training_set) for step, training_set in self.exchanges)
        for ((before, _), (step, _)), (_, (written, _)) in zip(
            pairwise(exchanges), pairwise(self.exchanges), strict=True
        ):
            if step <= before:
                raise ConfigError(
                    f"drift needs increasing steps, rounded up to blocks of {BLOCK_STEPS}, got {written} after "
                    f"{before}; order the exchanges, a block or more apart"
                )
        object.__setattr__(self, "exchanges", exchanges)

    @classmethod
    def of(cls, values: Mapping[Any, Any]) -> Drift:
        """Build from a specification's mapping of steps to differences, e.g. `{4000: {"split": 1}}`.

        The inverse of `as_dict`; a step may be a text of digits, as it is in JSON.

        Raises:
            ConfigError: the mapping has another form; the message begins with `drift`.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(f"drift must be a mapping such as {{4000: {{split: 1}}}}, got {shown(values)}")
        return cls(tuple(_exchange(_step(step), said) for step, said in values.items()))

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """Return plain values, the inverse of `of`."""
        return {str(step): training_set.as_dict() for step, training_set in self.exchanges}

    def starts(self) -> tuple[int, ...]:
        """Return the steps done when each phase begins."""
        return (0, *(step for step, _ in self.exchanges))

    def training_sets(self) -> tuple[TrainingSet, ...]:
        """Return the training set of each phase."""
        return (TrainingSet(), *(training_set for _, training_set in self.exchanges))

    def check(self, steps: int) -> None:
        """Check the exchanges against a budget, and check that each of them changes something.

        Raises:
            ConfigError: an exchange is at or past the end, or changes nothing.
        """
        for step, _ in self.exchanges:
            if step >= steps:
                raise ConfigError(
                    "drift must come before the end of the budget, rounded up to blocks of "
                    f"{BLOCK_STEPS} steps, got {step} for {steps} steps; exchange earlier or allow more steps"
                )
        for before, ((step, training_set)) in zip(self.training_sets(), self.exchanges, strict=False):
            if training_set == before:
                raise ConfigError(
                    f"drift at step {step} must change the training set, got the current one again; name "
                    "another split, family or shift, or leave it out"
                )

    def with_sources(self) -> Drift:
        """Return the same drift, each training set with its `source`; making a trial calls this."""
        exchanges = tuple((step, training_set.with_source()) for step, training_set in self.exchanges)
        return self if exchanges == self.exchanges else Drift(exchanges)

    def without_own(self, family: str) -> Drift:
        """Return the drift of a trial of this family: naming that family is the same as leaving it out."""

        if all(said.family != family for _, said in self.exchanges):
            return self

        def own(said: TrainingSet) -> TrainingSet:
            return replace(said, family=None, source=None) if said.family == family else said

        return Drift(tuple((step, own(said)) for step, said in self.exchanges))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _step(step: Any) -> int:
    try:
        number = float(step)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not number.is_integer() or not 1 <= number <= LARGEST_STEPS:
        raise _wrong_step(step)
    return int(number)


def _wrong_step(step: Any) -> ConfigError:
    return ConfigError(f"drift needs steps, whole numbers from 1 to {LARGEST_STEPS:,}, got {shown(step)}")


def _exchange(step: int, said: Any) -> tuple[int, TrainingSet]:
    known = [field.name for field in fields(TrainingSet)]
    settings = [name for name in known if name != "source"]
    if not isinstance(said, Mapping):
        raise ConfigError(
            f"drift at step {step} must be a mapping of {', '.join(settings)}, such as {{split: 1}}, got "
            f"{shown(said)}"
        )
    for name in said:
        if name not in known:
            near = difflib.get_close_matches(str(name)[:SHOWN_CHARACTERS], settings, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"valid keys: {', '.join(settings)}"
            raise ConfigError(f"drift at step {step}: unknown key {shown(str(name))}; {hint}")
    try:
        return step, TrainingSet(**said)
    except ConfigError as error:
        raise ConfigError(str(error).replace("drift:", f"drift at step {step}:", 1)) from None
