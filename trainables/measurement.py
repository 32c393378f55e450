"""What a trial reports: one `Measurement` per evaluated step, and with the last one its ending.

The field names of the four record classes are the column names of `analysis.schema`; a test compares them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from trainables.config import TrialConfig

EndedBecause = Literal["grokked", "budget", "stopped", "diverged", "failed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """Why a trial ends. `stopped` is our own decision, never the same as `budget` or `failed`."""

    because: EndedBecause
    reason: str
    """One sentence for people."""
    probability: float | None = None
    """For `stopped`: the rule's probability that the trial would still have shown the decline."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComplexityMeasurement:
    """Complexity at one epsilon: a row of the table `complexity` (with `trial_id` and `step`)."""

    epsilon: float
    complexity_bytes: int
    loss_increase: float
    """Training loss of the decoded network minus that of the network, nats per example, at most epsilon."""
    train_loss: float
    """Training loss of the decoded network, nats per example."""
    train_accuracy: float
    val_accuracy: float
    group_val_accuracy: float | None
    """Of the decoded network on the validation examples of the task's group; None if it has none there."""
    evaluations: int
    """Candidates whose training loss was computed: the search budget spent."""
    method: str
    """Name and version of the method, e.g. `feedback-1`; numbers of different methods are never compared."""
    wall_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class MatrixMeasurement:
    """Spectrum of one weight matrix: a row of the table `matrices` (with `trial_id` and `step`)."""

    matrix: str
    rows: int
    columns: int
    spectral_entropy: float
    effective_rank: float
    frobenius_norm: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialEnd:
    """What is known once a trial is over, besides its rows."""

    ending: Ending
    bzip2_bytes: int
    """bzip2 of the raw float32 weights at the end: the paper's naive size."""
    parameters: int
    training_examples: int
    validation_examples: int
    spectral_started_at_step: int | None
    """Steps done when the spectral penalty began to act, None if it never did."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One evaluated step of one trial: a row of the table `rows`.

    Losses in nats per example, accuracies in [0, 1]. `complexity_bytes` and `description_length_bits` are
    those of the primary epsilon, and None at steps where complexity was not measured.
    """

    trial_id: str
    step: int
    weight_decay: float
    data_fraction: float
    spectral_entropy_weight: float
    seed: int
    train_loss: float
    val_loss: float
    train_accuracy: float
    val_accuracy: float
    complexity_bytes: int | None
    description_length_bits: float | None
    """8 x complexity_bytes + n x training cross-entropy of the decoded network in bits."""
    zstd_bytes: int
    l2_norm: float
    spectral_entropy: float
    """Mean over all matrices, nats, without any floor."""
    effective_rank: float
    """Mean over all matrices of exp(H)."""
    train_wall_s: float
    """Seconds spent training this trial so far: its share of its lanes' blocks."""
    measure_wall_s: float
    """Seconds spent evaluating and measuring this trial so far."""
    clean_train_accuracy: float | None
    """On the training examples whose label is right; None if there are none."""
    corrupted_train_accuracy: float | None
    """On those whose label was replaced, share answered with that label (memorised); None without label noise."""
    recovered_train_accuracy: float | None
    """On those whose label was replaced, share answered rightly (generalised); None without label noise."""
    group_train_accuracy: float | None
    """On the training examples of the task's sensitive or rare group; None if it has none there."""
    group_val_accuracy: float | None
    """On the validation examples of that group; None if it has none there."""

    phase: int
    """Exchanges of the training set before this step; 0 without drift."""
    phase_start_step: int
    """Steps done when the phase began."""
    phase_end_step: int
    """Steps done when the phase ends: at the next exchange, or the budget."""

    complexities: tuple[ComplexityMeasurement, ...] = field(default=(), repr=False)
    matrices: tuple[MatrixMeasurement, ...] = field(default=(), repr=False)
    network: dict[str, Tensor] | None = field(default=None, repr=False, compare=False)
    """The weights (no lane axis, on the CPU) at measured steps and at the end."""
    end: TrialEnd | None = None
    """Set on a trial's last measurement, and only there."""


@dataclass(frozen=True, slots=True)
class TrialHistory:
    """All that a watcher may look at: the trial and its measurements so far, oldest first."""

    trial: TrialConfig
    measurements: Sequence[Measurement]

    @property
    def of_phase(self) -> Sequence[Measurement]:
        """The measurements on the training set that is trained on now, oldest first."""
        return [
            measurement for measurement in self.measurements if measurement.phase == self.measurements[-1].phase
        ]

    @property
    def in_last_phase(self) -> bool:
        """Whether no exchange of the training set is still to come."""
        return self.measurements[-1].phase == len(self.trial.drift.exchanges)


Watch = Callable[[TrialHistory], Ending | None]
"""Called after each evaluated step; a returned `Ending` ends the trial there."""

Declined = Callable[[TrialHistory], bool]
"""Called after each evaluated step of a trial whose spectral penalty waits for the decline of complexity, until it
says yes; the penalty then starts at that step, or at the next block boundary."""
