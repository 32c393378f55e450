"""A task is data: a table of all examples, and the thresholds at which it counts as learnt."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import torch
from torch import Tensor

from trainables.arrays import class_numbers, real_numbers
from trainables.errors import ConfigError

_CHECKED = 8
"""The largest number of wrong values that a message shows."""


LARGEST_EXAMPLES: Final = 100_000
"""Of a table that is a draw."""


@dataclass(frozen=True, eq=False)
class Task:
    """All N examples of a task; the trial decides which of them are trained on.

    Raises:
        ConfigError: no examples; inputs and targets that do not belong together; values that are not finite or out
            of range; or thresholds that are not shares.
    """

    name: str
    inputs: Tensor
    """[N, T] int64 token sequences, answered at the last position; or [N, ...] float32 features."""
    targets: Tensor
    """[N] int64: the right class of each example."""
    classes: int
    """Number of classes; targets lie in [0, classes)."""
    vocabulary: int | None = None
    """Number of tokens; inputs lie in [0, vocabulary). None if inputs are features."""
    memorised_at: float = 0.99
    """Training accuracy that counts as memorised."""
    grokked_at: float = 0.99
    """Validation accuracy that counts as grokked."""
    group: Tensor | None = None
    """[N] bool: members of a sensitive or rare group; accuracies are also reported for the group alone."""
    labels: tuple[str, ...] = ()
    """Names of the classes, `labels[k]` of class k, where targets were given as words; otherwise empty."""

    def __post_init__(self) -> None:
        if self.vocabulary is None and not self.inputs.is_floating_point():
            self._refuse("inputs must be real numbers where no vocabulary is given", str(self.inputs.dtype))
        for kind, values in (("inputs", self.inputs), ("targets", self.targets)):
            wanted = torch.float32 if kind == "inputs" and self.vocabulary is None else torch.int64
            if values.dtype != wanted:
                self._refuse(f"{kind} must be {wanted}", str(values.dtype))
        if self.targets.ndim != 1 or self.inputs.ndim < 2 or len(self.inputs) != len(self.targets):
            shapes = f"inputs {list(self.inputs.shape)} and targets {list(self.targets.shape)}"
            self._refuse("inputs must be [N, ...] and targets [N], of the same examples", shapes)
        if self.vocabulary is not None and self.inputs.ndim != 2:
            self._refuse("token sequences must be [N, T]", str(list(self.inputs.shape)))
        if not len(self.targets) or not math.prod(self.inputs.shape):
            self._refuse("there must be examples, and something in them", f"inputs {list(self.inputs.shape)}")
        if self.classes < 2:
            self._refuse("classes must be at least 2", str(self.classes))
        self._check_range("targets", self.targets, self.classes)
        if self.vocabulary is not None:
            self._check_range("inputs", self.inputs, self.vocabulary)
        elif not bool(self.inputs.isfinite().all()):
            count = int((~self.inputs.isfinite()).sum())
            self._refuse("inputs must be finite", f"{count} values that are not; remove or replace them")
        group = self.group
        if group is not None and (group.dtype != torch.bool or group.shape != self.targets.shape):
            arrived = f"{group.dtype} {list(group.shape)}"
            self._refuse(f"group must be bool [{len(self.targets)}], true of its members", arrived)
        if group is not None and not bool(group.any()):
            self._refuse("group must have members", "none; leave it out")
        for name in ("memorised_at", "grokked_at"):
            if not 0 < getattr(self, name) <= 1:
                self._refuse(f"{name} must lie in (0, 1]", str(getattr(self, name)))

    @classmethod
    def of(
        cls,
        inputs: object,
        targets: object,
        *,
        name: str = "own examples",
        classes: int | None = None,
        vocabulary: int | None = None,
        memorised_at: float = 0.99,
        grokked_at: float = 0.99,
        group: object = None,
    ) -> Task:
        """Build a task from tensors, arrays, lists or frames, which are copied to the CPU.

        Args:
            inputs: [N, ...] numbers; with a vocabulary, [N, T] tokens.
            targets: [N] whole numbers, the right classes; or words, which are numbered in alphabetical order and
                kept in `labels`.
            name: shown in messages.
            classes: the number of classes; by default one more than the largest target.
            vocabulary: the number of tokens; None if inputs are features.
            memorised_at: training accuracy that counts as memorised.
            grokked_at: validation accuracy that counts as grokked.
            group: [N] bool, true for members of a sensitive or rare group.

        Raises:
            ConfigError: values that are no numbers, or would be changed, see `trainables.arrays`; see `Task`.
        """
        x = real_numbers(inputs, f"inputs of {name}", ConfigError).cpu()
        y, labels = class_numbers(targets, f"targets of {name}", ConfigError)
        if vocabulary is not None and x.is_floating_point() and bool((x != x.round()).any()):
            raise ConfigError(
                f"inputs of {name} must be tokens, whole numbers, got {float(x[x != x.round()][0]):g}"
            )
        return cls(
            name=name,
            inputs=x.to(torch.float32 if vocabulary is None else torch.int64, copy=True),
            targets=y.cpu(),
            classes=(int(y.max()) + 1 if y.numel() else 0) if classes is None else classes,
            labels=labels,
            vocabulary=vocabulary,
            memorised_at=memorised_at,
            grokked_at=grokked_at,
            group=None if group is None else _truth(real_numbers(group, f"group of {name}", ConfigError).cpu()),
        )

    @cached_property
    def fixed_tokens(self) -> tuple[int | None, ...]:
        """For each position the token that all sequences have there, None where they differ; empty for features."""
        if self.vocabulary is None:
            return ()
        return tuple(int(place[0]) if bool((place == place[0]).all()) else None for place in self.inputs.T)

    @property
    def question(self) -> int | None:
        """The token at the end of every sequence, None where sequences differ."""
        return self.fixed_tokens[-1] if self.fixed_tokens else None

    @property
    def examples(self) -> int:
        """Number of examples N."""
        return int(self.targets.shape[0])

    @property
    def positions(self) -> int:
        """Length T of a sequence, or number of features."""
        return math.prod(self.inputs.shape[1:])

    def _check_range(self, kind: str, values: Tensor, size: int) -> None:
        wrong = values[(values < 0) | (values >= size)].unique()  # type: ignore[no-untyped-call]
        if len(wrong):
            shown = ", ".join(map(str, wrong[:_CHECKED].tolist())) + (" ..." if len(wrong) > _CHECKED else "")
            what = "classes" if kind == "targets" else "tokens of the vocabulary"
            self._refuse(f"{kind} must lie from 0 to {size - 1}, the {size} {what}", shown)

    def _refuse(self, must: str, arrived: str) -> None:
        raise ConfigError(f"{must}, got {arrived} (task {self.name})")


def _truth(values: Tensor) -> Tensor:
    """Take zeros and ones as truth values; other numbers stay what they are, to be refused."""
    if values.dtype != torch.bool and bool(((values == 0) | (values == 1)).all()):
        return values.bool()
    return values.clone()
