"""The schedule: when a trial is evaluated, when its complexity is measured, and at which distortion bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from trainables.errors import ConfigError, shown

BLOCK_STEPS = 32
"""Steps trained between two chances to refill lanes, without synchronising host and device."""

PROLOGUE_STEPS = 64
"""Up to this step a trial may be evaluated at any step; beyond it, only at multiples of `BLOCK_STEPS`."""

ACCURACY_MOVE = 0.1
"""Complexity is also measured where validation accuracy has moved this far since the last measurement."""

TAIL_RATIO = 2
"""Complexity is also measured at every evaluated step from the one where validation accuracy reaches its threshold
for good, up to this multiple of that step. Complexity falls there, and a doubling schedule would hardly see it."""

LARGEST_STEPS = 10**9
"""Largest budget of a trial: the smallest network on one core needs more than a day for it."""

SMALLEST_RATIO = 1.001
"""Smallest growth of evaluated and measured steps: every block up to step 32,000, at most some 20,000 steps of
the largest budget."""

SMALLEST_EPSILON = 1e-9
"""Smallest distortion bound, nats. Losses are computed in float32, with errors of some 1e-7 nats: a smaller bound
asks for the weights themselves, and its square leaves the range of the numbers that the search computes with."""

MOST_EPSILONS = 64
"""Largest number of distortion bounds: the search for a stream is repeated for each of them."""

_PAPER_RATIO = 1.3


def wrong_epsilons(epsilons: Sequence[float]) -> str | None:
    """Return what must hold of distortion bounds and does not, as a message; None if all can be measured."""
    if len(epsilons) > MOST_EPSILONS:
        return f"there may be at most {MOST_EPSILONS} epsilons, got {len(epsilons):,}; leave some out"
    for epsilon in epsilons:
        if not (is_finite(epsilon) and epsilon >= SMALLEST_EPSILON):
            return (
                f"epsilon must be finite and at least {SMALLEST_EPSILON:g} nats, got {shown(epsilon)}; smaller "
                "ones are below the errors of a loss in float32"
            )
    return None


def is_finite(value: float) -> bool:
    """Check that a number is finite and not too large to be a float."""
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number above the largest float
        return False


class UsualThresholds(Protocol):
    """States what counts as memorised and as grokked, shares; a task does."""

    @property
    def memorised_at(self) -> float:
        """Training accuracy that counts as memorised."""
        ...

    @property
    def grokked_at(self) -> float:
        """Validation accuracy that counts as grokked."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuringConfig:
    """How a trial is watched. None of these fields changes a weight, so none is in a trial's id.

    The exception is a trial whose penalty starts at the decline of complexity: the fields move that start.
    """

    epsilon: float = 1.0
    """Primary distortion bound, nats per example."""
    extra_epsilons: tuple[float, ...] = ()
    """Further bounds, reported in addition to the primary one, never instead of it."""
    schedule: Literal["default", "paper"] = "default"
    """`paper` evaluates and measures at steps floor(1.3^k)."""
    evaluate_ratio: float = 1.2
    """Evaluated steps grow by this factor."""
    measure_ratio: float = 2.0
    """Measured steps grow by this factor, from the end of the first block on."""
    memorised_at: float | None = None
    """Training accuracy that counts as memorised; None takes the task's own."""
    grokked_at: float | None = None
    """Validation accuracy that counts as grokked; None takes the task's own."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "extra_epsilons", tuple(self.extra_epsilons))
        if (wrong := wrong_epsilons((self.epsilon, *self.extra_epsilons))) is not None:
            raise ConfigError(wrong)
        if self.schedule not in ("default", "paper"):
            raise ConfigError(f"schedule must be default or paper, got {self.schedule!r}")
        for name in ("evaluate_ratio", "measure_ratio"):
            value = getattr(self, name)
            if not (is_finite(value) and value >= SMALLEST_RATIO):
                raise ConfigError(f"{name} must be finite and at least {SMALLEST_RATIO}, got {shown(value)}")
        for name in ("memorised_at", "grokked_at"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise ConfigError(f"{name} must lie in (0, 1], got {shown(value)}")

    @property
    def epsilons(self) -> tuple[float, ...]:
        """Every distinct bound, the primary one first, nats per example."""
        return tuple(dict.fromkeys((self.epsilon, *self.extra_epsilons)))

    def thresholds(self, usual: UsualThresholds) -> tuple[float, float]:
        """Return the thresholds for memorised and grokked, as shares: those set here, or else the task's own."""
        return (
            usual.memorised_at if self.memorised_at is None else self.memorised_at,
            usual.grokked_at if self.grokked_at is None else self.grokked_at,
        )

    def check_classes(self, classes: int) -> None:
        """Refuse bounds that a network which has learnt nothing would satisfy.

        Raises:
            ConfigError: an epsilon is at or above ln(number of classes), the loss of guessing.
        """
        for epsilon in self.epsilons:
            if epsilon >= math.log(classes):
                raise ConfigError(
                    f"epsilon must be below the loss of guessing, ln({classes} classes) = "
                    f"{math.log(classes):.3f} nats, got {epsilon}; choose a smaller epsilon"
                )


def whole_blocks(steps: int) -> int:
    """Round steps up to a multiple of `BLOCK_STEPS`."""
    return -(-steps // BLOCK_STEPS) * BLOCK_STEPS


def evaluated_steps(config: MeasuringConfig, budget_steps: int) -> tuple[int, ...]:
    """Return the steps at which losses and accuracies are taken, ascending, always with 0 and the budget."""
    if config.schedule == "paper":
        return _paper_steps(budget_steps)
    grown = _grown_steps(1, config.evaluate_ratio, budget_steps)
    return tuple(sorted(grown | set(measured_steps(config, budget_steps))))


def measured_steps(config: MeasuringConfig, budget_steps: int) -> tuple[int, ...]:
    """Return the steps at which complexity is measured in any case, ascending; all are evaluated too."""
    if config.schedule == "paper":
        return _paper_steps(budget_steps)
    return tuple(sorted(_grown_steps(BLOCK_STEPS, config.measure_ratio, budget_steps)))


def steps_in_phases(
    steps_of: Callable[[MeasuringConfig, int], tuple[int, ...]],
    config: MeasuringConfig,
    phases: Sequence[tuple[int, int]],
) -> tuple[int, ...]:
    """Return the evaluated or measured steps of a trial with drift, ascending.

    The schedule starts again in each phase. The step of an exchange belongs to the phase that ends there. The first
    step of the next phase is evaluated and measured, to show the effect of the exchange.

    Args:
        steps_of: `evaluated_steps` or `measured_steps`.
        config: how the trial is watched.
        phases: steps done when each phase begins and ends, see `TrialConfig.phases`.
    """
    steps = set(steps_of(config, phases[0][1]))
    for start, end in phases[1:]:
        steps |= {start + step for step in (1, *steps_of(config, end - start)) if step}
    return tuple(sorted(steps))


def _grown_steps(first: int, ratio: float, budget_steps: int) -> set[int]:
    """Return 0, the budget, and first x ratio^k, rounded up to whole steps in the prologue, later to blocks."""
    steps = {0, budget_steps}
    exact = float(first)
    while exact < budget_steps:
        step = math.ceil(exact)
        if step > PROLOGUE_STEPS:
            step = whole_blocks(step)
        if step < budget_steps:
            steps.add(step)
        exact *= ratio
    return steps


def _paper_steps(budget_steps: int) -> tuple[int, ...]:
    steps = {0, budget_steps}
    exact = 1.0
    while exact < budget_steps:
        steps.add(math.floor(exact))
        exact *= _PAPER_RATIO
    return tuple(sorted(steps))
