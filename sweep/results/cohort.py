"""A cohort as it is written down: which trials one process trains, and all it needs to know to do so."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from analysis.decline import DeclineParameters
from trainables.config import TrialConfig, trial_from_dict
from trainables.schedule import MeasuringConfig

KeepNetworks = Literal["none", "final", "measured"]


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """A queue of trials of one shape that one process trains, and all it needs to know to do so."""

    cohort_id: str
    index: int
    """Counts up within a results folder: of two cohorts that hold a trial, the larger is the newer attempt."""
    trials: tuple[TrialConfig, ...]
    lanes: int
    measuring: MeasuringConfig
    stop_rule: str
    """Name, version and parameters of the rule, or `none`."""
    decline: DeclineParameters | None
    """None: no trial is stopped by us."""
    audit_share: float
    keep_networks: KeepNetworks
    device: str
    imports: tuple[str, ...]
    """Modules that register the trials' tasks and networks, to be imported by whoever trains them."""
    created: str
    """When, UTC, ISO 8601."""

    @property
    def trial_ids(self) -> tuple[str, ...]:
        """Ids of the trials, in the order of the queue."""
        return tuple(trial.trial_id for trial in self.trials)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, the inverse of `cohort_from_dict`."""
        return {
            **{entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)},
            "trials": [{"trial_id": trial.trial_id, "config": trial.as_dict()} for trial in self.trials],
            "measuring": dataclasses.asdict(self.measuring),
            "decline": None if self.decline is None else dataclasses.asdict(self.decline),
        }


def cohort_from_dict(values: dict[str, Any]) -> Cohort:
    """Build a cohort from what `Cohort.as_dict` gave, or what JSON made of it."""
    decline = values["decline"]
    return Cohort(
        **{
            **values,
            "trials": tuple(trial_from_dict(trial["config"]) for trial in values["trials"]),
            "measuring": MeasuringConfig(**values["measuring"]),
            "imports": tuple(values["imports"]),
            "decline": None if decline is None else DeclineParameters(**decline),
        }
    )
