"""The reports of a trial: one `Measurement` per evaluated step; the last one also holds the trial's ending.

The field names of the four record classes are the column names of `analysis.schema`; a test compares them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Protocol

from torch import Tensor

from trainables.config import TrialConfig
from trainables.scoring import (
    ComplexityMeasurement,
    ComplexityScores,
    GroupScores,
    LogitScores,
    MatrixMeasurement,
    NoiseScores,
    Scores,
    SizeScores,
)

EndedBecause = Literal["grokked", "budget", "stopped", "diverged", "failed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """The reason why a trial ends. `stopped` is our own decision, never the same as `budget` or `failed`."""

    because: EndedBecause
    reason: str
    """One sentence to show to people."""
    probability: float | None = None
    """For `stopped`: the rule's probability that the trial would still have shown the decline."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialEnd:
    """Facts that are known once a trial is over, in addition to its rows."""

    ending: Ending
    bzip2_bytes: int
    """bzip2 of the raw float32 weights at the end: the paper's naive size."""
    parameters: int
    training_examples: int
    validation_examples: int
    spectral_started_at_step: int | None
    """Steps done when the spectral penalty began to act; None if it never did."""
    parked: bool = False
    """Whether it ended while it was parked: then its last row has been returned before, and only its end is new."""


@dataclass(frozen=True, kw_only=True)
class TrialColumns:
    """Which trial and step a row is of, with the settings that are asked for most."""

    trial_id: str
    step: int
    weight_decay: float
    data_fraction: float
    spectral_entropy_weight: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class WallSeconds:
    """Seconds spent on a trial so far; no part of any comparison of rows."""

    train_wall_s: float
    """Training: its share of its lanes' blocks."""
    measure_wall_s: float
    """Evaluating and measuring."""


@dataclass(frozen=True, kw_only=True)
class PhaseColumns:
    """Which training set a row is about."""

    phase: int
    """Exchanges of the training set before this step; 0 without drift."""
    phase_start_step: int
    """Steps done when the phase began."""
    phase_end_step: int
    """Steps done when the phase ends, by the next exchange or by the budget."""


# A dataclass takes its fields from its last base first: so the last base has the first columns of the table.
@dataclass(frozen=True, kw_only=True)
class Measurement(
    LogitScores,
    PhaseColumns,
    GroupScores,
    NoiseScores,
    WallSeconds,
    SizeScores,
    ComplexityScores,
    Scores,
    TrialColumns,
):
    """One evaluated step of one trial: a row of the table `rows`.

    Its columns are the fields of the records it is made of; those that need a network are in `trainables.scoring`.
    """

    complexities: tuple[ComplexityMeasurement, ...] = field(default=(), repr=False)
    matrices: tuple[MatrixMeasurement, ...] = field(default=(), repr=False)
    network: dict[str, Tensor] | None = field(default=None, repr=False, compare=False)
    """The weights (no lane axis, on the CPU) at measured steps and at the end."""
    end: TrialEnd | None = None
    """Set on a trial's last measurement, and only there."""


def columns(*records: object) -> dict[str, Any]:
    """Collect the fields of records by name: what `Measurement` is made from."""
    return {
        field.name: getattr(record, field.name)
        for record in records
        for field in fields(record)  # type: ignore[arg-type]
    }


@dataclass(frozen=True, slots=True)
class TrialHistory:
    """Everything that a watcher may use: the trial and its measurements so far, oldest first."""

    trial: TrialConfig
    measurements: Sequence[Measurement]

    @property
    def of_phase(self) -> Sequence[Measurement]:
        """The measurements in the current phase, oldest first."""
        return [
            measurement for measurement in self.measurements if measurement.phase == self.measurements[-1].phase
        ]

    @property
    def in_last_phase(self) -> bool:
        """Whether no further exchange of the training set is planned."""
        return self.measurements[-1].phase == len(self.trial.drift.exchanges)


Watch = Callable[[TrialHistory], Ending | None]
"""Called after each evaluated step; a returned `Ending` ends the trial there."""

Declined = Callable[[TrialHistory], bool]
"""Called after each evaluated step of a trial whose spectral penalty waits for the decline of complexity, until it
returns True. The penalty then starts at that step or, if that is not a block boundary, at the next one."""


class Parking(Protocol):
    """Decides which trials wait with their state while others have their lanes, and which of them continue.

    A trial's rows do not depend on how often it is parked. Decisions are about the steps that are whole blocks.
    """

    def parks(self, history: TrialHistory) -> bool:
        """Decide whether a trial that was evaluated just now, and continues, is parked."""
        ...

    def resumes(self, parked: Sequence[TrialHistory], running: Sequence[TrialConfig]) -> int | None:
        """Choose the parked trial that takes a free lane.

        Args:
            parked: the trials that wait, in the order in which they were parked.
            running: the trials that have lanes.

        Returns:
            Its place in `parked`; None if none of them is to continue now.
        """
        ...

    def ending(self, history: TrialHistory) -> Ending:
        """Return the ending of a trial that is parked when nothing is left to train."""
        ...

    def record(self) -> dict[str, Any]:
        """Return what must be kept in a checkpoint, as plain values."""
        ...

    def go_back(self, record: dict[str, Any]) -> None:
        """Restore what `record` returned; an empty mapping is that of a run that begins.

        Raises:
            ValueError: the values are none that `record` can return.
        """
        ...
