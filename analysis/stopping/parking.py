"""The parking rule: a trial that has stalled waits, and its cell's other seeds decide whether it is resumed.

A parked trial keeps its full state, and its lane goes to another trial. How long a trial may be stalled is its
patience, a share of its budget. It depends on what is known of its cell, that is of the trials that differ in
their seed only:

    patience = `patience` x  1.4   if a trial of the cell has grokked
                             1     if nothing is known of the cell
                             0.3   after one hard failure
                             0.1   after two or more

A hard failure is a trial that ended or was given up without a grok and whose validation accuracy never reached
`hard_accuracy`. A stalled trial past its patience is given up: it is parked, and resumed only if later evidence
prolongs its patience. A trial of a cell without a grok is parked once before that, at its first stall after
`first_look` of its budget, so that the first seed of each cell can speak before the second one costs much.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import ClassVar

from analysis.errors import AnalysisError, require_shares
from analysis.stopping.calibration import ALPHA, Calibration
from analysis.stopping.evidence import Evidence, EvidenceKind
from analysis.stopping.stall import StallParameters

PREFIX = "park-"
"""The names of parking rules begin with this."""

__all__ = ["Evidence", "ParkingParameters", "parks", "patience"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ParkingParameters:
    """Parameters of the parking rule."""

    version: ClassVar[int] = 2
    """Changes whenever the same parameters would decide differently; version 1 is `analysis.stopping.decline`."""

    patience: float | None = None
    """Share of the budget after which a stalled trial of an unknown cell is given up. By default, and as soon as
    the object is made, the one that the shipped calibration gives for `alpha` and the stall's signal."""
    alpha: float | None = None
    """Share of the trials that would have grokked that may be lost: what `patience` is calibrated for, unless it
    is given. By default, and as soon as the object is made, 0.01, or the next larger of 0.025, 0.05 and 0.1 if the
    shipped calibration cannot promise that for the stall's signal."""
    first_look: float = 0.08
    """Share of the budget after which a stalled trial of a cell without a grok is parked for the first time."""
    after_a_grok: float = 1.4
    """Factor on the patience once another seed of the cell has grokked."""
    after_one_failure: float = 0.3
    """Factor on the patience after one hard failure in the cell."""
    after_two_failures: float = 0.1
    """Factor on the patience after two or more hard failures in the cell."""
    hard_accuracy: float = 0.9
    """A failure is hard if validation accuracy stayed below this."""
    cells: bool = True
    """Whether the cell's other seeds count. Without them a trial's fate depends on its own trajectory only."""
    stall: StallParameters = field(default_factory=StallParameters)
    """What a stall is."""

    def __post_init__(self) -> None:
        # Resolved here, so that a record of these parameters stays the same rule when the calibration grows.
        if self.alpha is None:
            usual = Calibration.load().level(self.stall.signal) if self.patience is None else ALPHA
            object.__setattr__(self, "alpha", usual)
        if not 0 < self.level < 1:
            raise AnalysisError(f"parking.alpha is a share of grokkers and must lie in (0, 1), got {self.alpha}")
        if self.patience is None:
            object.__setattr__(self, "patience", Calibration.load().patience(self.level, self.stall.signal))
        require_shares(self, "patience", "first_look", "hard_accuracy", prefix="parking.")
        if not 0 < self.after_two_failures <= self.after_one_failure <= 1 <= self.after_a_grok:
            raise AnalysisError(
                "parking's factors must satisfy 0 < after_two_failures <= after_one_failure <= 1 <= after_a_grok, "
                f"got {self.after_two_failures}, {self.after_one_failure} and {self.after_a_grok}"
            )

    @property
    def level(self) -> float:
        """`alpha` as a number."""
        assert self.alpha is not None  # resolved when the object was made
        return self.alpha

    @property
    def name(self) -> str:
        """Name, version and parameters in canonical form: equal for equal rules only.

        It has the patience as a number and not the level, which decides nothing else.
        """
        numbers = ", ".join(
            f"{one.name}={getattr(self, one.name)!r}" for one in fields(self) if one.name not in ("alpha", "stall")
        )
        stall = ", ".join(f"{one.name}={getattr(self.stall, one.name)!r}" for one in fields(self.stall))
        return f"{PREFIX}{self.version}({numbers}, stall=({stall}))"


def patience(evidence: Evidence, parameters: ParkingParameters | None = None) -> float:
    """Return the share of its budget after which a stalled trial is given up.

    Args:
        evidence: what is known of its cell.
        parameters: parameters of the rule; the shipped ones by default.
    """
    parameters = parameters or ParkingParameters()
    assert parameters.patience is not None  # resolved when the parameters were made
    if not parameters.cells:
        return parameters.patience
    factors: dict[EvidenceKind, float] = {
        "a grok": parameters.after_a_grok,
        "nothing": 1.0,
        "one hard failure": parameters.after_one_failure,
        "two or more hard failures": parameters.after_two_failures,
    }
    return parameters.patience * factors[evidence.kind]


def parks(
    share: float,
    evidence: Evidence,
    *,
    parked_before: bool,
    parameters: ParkingParameters | None = None,
) -> bool:
    """Decide whether a trial that is stalled now is parked.

    Args:
        share: its steps so far as a share of its budget.
        evidence: what is known of its cell.
        parked_before: whether it has been parked before.
        parameters: parameters of the rule; the shipped ones by default.
    """
    parameters = parameters or ParkingParameters()
    if share > patience(evidence, parameters):
        return True
    first_time = parameters.cells and not parked_before and not evidence.grokked
    return first_time and share > parameters.first_look
