"""A task is data: a table of all examples, and what counts as having learnt it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """All N examples of a task; which of them are trained on is the trial's business."""

    name: str
    inputs: Tensor
    """[N, T] int64: token sequences. The answer is asked for at the last position."""
    targets: Tensor
    """[N] int64: the right class of each example."""
    classes: int
    """Number of classes; targets lie in [0, classes)."""
    vocabulary: int
    """Number of tokens; inputs lie in [0, vocabulary)."""
    memorised_at: float = 0.99
    """Training accuracy that counts as memorised."""
    grokked_at: float = 0.99
    """Validation accuracy that counts as grokked."""

    @property
    def fixed_tokens(self) -> tuple[int | None, ...]:
        """For each position the token that all sequences have there, None where they differ."""
        return tuple(int(place[0]) if bool((place == place[0]).all()) else None for place in self.inputs.T)

    @property
    def question(self) -> int | None:
        """The token that all sequences end in, None where they differ."""
        return self.fixed_tokens[-1]

    @property
    def examples(self) -> int:
        """Number of examples N."""
        return int(self.targets.shape[0])

    @property
    def positions(self) -> int:
        """Length T of a sequence."""
        return int(self.inputs.shape[1])
