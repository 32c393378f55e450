"""The evaluated steps of one trial as arrays: what events and stopping rules are computed from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.errors import AnalysisError


class EvaluatedStep(Protocol):
    """The part of a measurement that events are computed from."""

    @property
    def step(self) -> int: ...  # noqa: D102
    @property
    def train_accuracy(self) -> float: ...  # noqa: D102
    @property
    def val_accuracy(self) -> float: ...  # noqa: D102
    @property
    def complexity_bytes(self) -> float | None: ...  # noqa: D102
    @property
    def val_loss(self) -> float: ...  # noqa: D102


class PhaseStep(EvaluatedStep, Protocol):
    """The part of a measurement that events are computed from, for a trial that may have drift."""

    @property
    def phase_start_step(self) -> int: ...  # noqa: D102
    @property
    def phase_end_step(self) -> int: ...  # noqa: D102


def phase_budget_steps(last: PhaseStep) -> int:
    """Return the steps of a measurement's phase: until the next exchange of the training set, or the end."""
    return last.phase_end_step - last.phase_start_step


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """The evaluated steps of one trial, or of one phase of it, oldest first; all arrays of shape [n]."""

    step: NDArray[np.int64]
    """Optimiser updates done since the phase began, strictly increasing."""
    train_accuracy: NDArray[np.float64]
    """Share in [0, 1]; NaN counts as below every threshold."""
    val_accuracy: NDArray[np.float64]
    """Share in [0, 1]; NaN counts as below every threshold."""
    complexity_bytes: NDArray[np.float64]
    """Complexity at the primary epsilon in bytes, NaN where it was not measured."""
    val_loss: NDArray[np.float64]
    """Mean cross-entropy on the validation examples in nats, NaN where it is not known."""

    def __post_init__(self) -> None:
        lengths = {len(getattr(self, name)) for name in self.__slots__}
        if len(lengths) > 1:
            raise AnalysisError(f"the arrays of a trajectory must be of one length, got lengths {sorted(lengths)}")
        if (self.step[1:] <= self.step[:-1]).any():
            raise AnalysisError(
                "the steps of a trajectory must be strictly increasing; sort by step, one trial only"
            )

    def __len__(self) -> int:
        return len(self.step)

    @classmethod
    def of(
        cls,
        step: ArrayLike,
        train_accuracy: ArrayLike,
        val_accuracy: ArrayLike,
        complexity_bytes: ArrayLike,
        val_loss: ArrayLike | None = None,
    ) -> Trajectory:
        """Build from array-likes of shape [n]; None in `complexity_bytes` or as `val_loss` means not measured."""
        steps = np.asarray(step, dtype=np.int64)
        return cls(
            steps,
            np.asarray(train_accuracy, dtype=np.float64),
            np.asarray(val_accuracy, dtype=np.float64),
            np.asarray(complexity_bytes, dtype=np.float64),
            np.full(len(steps), np.nan) if val_loss is None else np.asarray(val_loss, dtype=np.float64),
        )

    @classmethod
    def from_measurements(cls, measurements: Iterable[EvaluatedStep]) -> Trajectory:
        """Build from measurements, oldest first."""
        rows = list(measurements)
        return cls.of(
            [row.step for row in rows],
            [row.train_accuracy for row in rows],
            [row.val_accuracy for row in rows],
            [np.nan if row.complexity_bytes is None else row.complexity_bytes for row in rows],
            [row.val_loss for row in rows],
        )

    @classmethod
    def of_phase(cls, measurements: Sequence[PhaseStep]) -> Trajectory:
        """Build from the measurements of one phase, oldest first; steps count from the start of the phase."""
        start = measurements[-1].phase_start_step if measurements else 0
        whole = cls.from_measurements(measurements)
        return replace(whole, step=whole.step - start)

    def prefix(self, n: int) -> Trajectory:
        """Return the first `n` evaluated steps."""
        return Trajectory(*(getattr(self, name)[:n] for name in self.__slots__))
