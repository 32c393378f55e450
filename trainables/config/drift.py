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

from trainables.config import registry
from trainables.errors import ConfigError
from trainables.schedule import BLOCK_STEPS, whole_blocks


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
    """Hash of a registered family's source; filled in where the family is known."""

    def __post_init__(self) -> None:
        if not _is_whole(self.split) or self.split < 0:
            raise ConfigError(f"drift: split must be a whole number of at least 0, got {self.split!r}")
        if self.family is not None and not isinstance(self.family, str):
            raise ConfigError(f"drift: family must be the name of a task family, got {self.family!r}")
        number = isinstance(self.shift, (int, float)) and not isinstance(self.shift, bool)
        if not number or not math.isfinite(self.shift):
            raise ConfigError(f"drift: shift must be a finite number, got {self.shift!r}")
        object.__setattr__(self, "shift", float(self.shift))
        own = registry.TASKS.get(self.family) if self.family is not None and self.source is None else None
        if own is not None:
            object.__setattr__(self, "source", own.source)

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
        for step, _ in self.exchanges:
            if not _is_whole(step) or step < 1:
                raise ConfigError(f"drift needs steps, whole numbers of at least 1, got {step!r}")
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
            raise ConfigError(f"drift must be a mapping such as {{4000: {{split: 1}}}}, got {values!r}")
        return cls(tuple((_step(step), _training_set(step, said)) for step, said in values.items()))

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

    def without_own(self, family: str) -> Drift:
        """Return the drift of a trial of this family: naming that family is the same as leaving it out."""

        def own(said: TrainingSet) -> TrainingSet:
            return replace(said, family=None, source=None) if said.family == family else said

        return Drift(tuple((step, own(said)) for step, said in self.exchanges))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _step(step: Any) -> int:
    if _is_whole(step) or (isinstance(step, str) and step.isdecimal()):
        return int(step)
    try:
        number = float(step)
    except (TypeError, ValueError):
        number = math.nan
    if not number.is_integer():
        raise ConfigError(f"drift needs steps, whole numbers of at least 1, got {step!r}")
    return int(number)


def _training_set(step: Any, said: Any) -> TrainingSet:
    known = [field.name for field in fields(TrainingSet)]
    shown = [name for name in known if name != "source"]
    if not isinstance(said, Mapping):
        raise ConfigError(
            f"drift at step {step} must be a mapping of {', '.join(shown)}, such as {{split: 1}}, got {said!r}"
        )
    for name in said:
        if name not in known:
            near = difflib.get_close_matches(str(name), shown, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"valid keys: {', '.join(shown)}"
            raise ConfigError(f"drift at step {step}: unknown key {str(name)!r}; {hint}")
    try:
        return TrainingSet(**said)
    except ConfigError as error:
        raise ConfigError(str(error).replace("drift:", f"drift at step {step}:", 1)) from None
