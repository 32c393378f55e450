"""The reports of a trial: one `Measurement` per evaluated step; the last one also holds the trial's ending.

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
    """The reason why a trial ends. `stopped` is our own decision, never the same as `budget` or `failed`."""

    because: EndedBecause
    reason: str
    """One sentence to show to people."""
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
    """Accuracy of the decoded network on the validation examples of the task's group; None if the group has none
    there."""
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
    """Facts that are known once a trial is over, in addition to its rows."""

    ending: Ending
    bzip2_bytes: int
    """bzip2 of the raw float32 weights at the end: the paper's naive size."""
    parameters: int
    training_examples: int
    validation_examples: int
    spectral_started_at_step: int | None
    """Steps done when the spectral penalty began to act; None if it never did."""


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
    """Accuracy on the training examples whose label is right; None if there are none."""
    corrupted_train_accuracy: float | None
    """On training examples with a replaced label, the share answered with that label (memorised); None without
    label noise."""
    recovered_train_accuracy: float | None
    """On training examples with a replaced label, the share answered correctly (generalised); None without label
    noise."""
    group_train_accuracy: float | None
    """Accuracy on training examples of the task's sensitive or rare group; None if the group has none there."""
    group_val_accuracy: float | None
    """Accuracy on validation examples of that group; None if the group has none there."""

    phase: int
    """Exchanges of the training set before this step; 0 without drift."""
    phase_start_step: int
    """Steps done when the phase began."""
    phase_end_step: int
    """Steps done when the phase ends, by the next exchange or by the budget."""

    complexities: tuple[ComplexityMeasurement, ...] = field(default=(), repr=False)
    matrices: tuple[MatrixMeasurement, ...] = field(default=(), repr=False)
    network: dict[str, Tensor] | None = field(default=None, repr=False, compare=False)
    """The weights (no lane axis, on the CPU) at measured steps and at the end."""
    end: TrialEnd | None = None
    """Set on a trial's last measurement, and only there."""


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
