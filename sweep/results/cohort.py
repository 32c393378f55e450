"""The record of a cohort: the trials that one process trains, and all it needs to know to do so."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from analysis.stopping.decline import DeclineParameters, is_audited
from analysis.stopping.parking import ParkingParameters
from analysis.stopping.stall import StallParameters
from sweep import __version__
from trainables.config import TrialConfig, trial_from_dict
from trainables.numerics.environment import HERE, Reproducible
from trainables.schedule import MeasuringConfig

KeepNetworks = Literal["none", "final", "measured"]


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """A queue of trials of one shape that one process trains, and all it needs to know to do so."""

    cohort_id: str
    index: int
    """Number within a results folder: if two cohorts have the same trial, the larger one is the newer attempt."""
    trials: tuple[TrialConfig, ...]
    lanes: int
    measuring: MeasuringConfig
    stop_rule: str
    """Name, version and parameters of the rule, or `none`."""
    decline: DeclineParameters | None
    """None if this rule stops no trials."""
    audit_share: float
    keep_networks: KeepNetworks
    device: str
    reproducible: Reproducible = HERE
    """What its bits promise; cohorts written before this was recorded promise no more."""
    imports: tuple[str, ...]
    """Modules that register the trials' tasks and networks, to be imported by the process that trains them."""
    created: str
    """Time of creation, UTC, ISO 8601."""
    parking: ParkingParameters | None = None
    """None if no trials are parked."""
    adopts: Mapping[str, str] = field(default_factory=dict)
    """First trials of the queue -> the cohort that has parked them, from whose checkpoint they continue; ids."""

    certifies: Mapping[str, int] = field(default_factory=dict)
    """Trials that the rule had stopped, and that are followed now to certify how many of them grok -> the step at
    which they were; all trials of the cohort, or none."""

    @property
    def trial_ids(self) -> tuple[str, ...]:
        """Ids of the trials, in the order of the queue."""
        return tuple(trial.trial_id for trial in self.trials)

    @property
    def comparable(self) -> set[tuple[object, ...]]:
        """What another cohort must share for its trials to tell something about these: setting, budget and rule."""
        return {(trial.cell_id, trial.steps, self.stop_rule, self.measuring) for trial in self.trials}

    def audits(self, trial_id: str) -> bool:
        """Check whether a rule, if there is one, only marks this trial and never stops it."""
        if self.certifies:
            return True
        has_rule = self.decline is not None or self.parking is not None
        return has_rule and is_audited(trial_id, self.audit_share)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, the inverse of `cohort_from_dict`."""
        return {
            **{entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)},
            "trials": [{"trial_id": trial.trial_id, "config": trial.as_dict()} for trial in self.trials],
            "measuring": dataclasses.asdict(self.measuring),
            "decline": None if self.decline is None else dataclasses.asdict(self.decline),
            "parking": None if self.parking is None else dataclasses.asdict(self.parking),
            "adopts": dict(self.adopts),
            "certifies": dict(self.certifies),
        }


UNREADABLE = (AttributeError, KeyError, TypeError, ValueError, OverflowError)
"""What `cohort_from_dict` raises for values that this version does not write."""


def unreadable(path: str, cohort_id: str, why: str) -> str:
    """Say that the record of a cohort in a results folder cannot be used, why, and what to do."""
    return (
        f"cohorts/{cohort_id}.json in {path} must be readable by version {__version__}: {why}; put a good copy in "
        "its place, or let `sweep check --repair` set it aside, and its trials are trained again"
    )


#: Fields of a cohort that are written as they are, and their types.
_PLAIN: dict[str, tuple[type, ...]] = {
    "lanes": (int,),
    "stop_rule": (str,),
    "audit_share": (int, float),
    "keep_networks": (str,),
    "device": (str,),
    "reproducible": (str,),
    "imports": (list, tuple),
    "created": (str,),
    "adopts": (dict,),
    "certifies": (dict,),
}


def cohort_from_dict(values: dict[str, Any]) -> Cohort:
    """Build a cohort from the result of `Cohort.as_dict`, also after a round trip through JSON.

    Raises:
        ValueError: a trial's configuration does not give the id that is stated, so one of them was altered.
        AttributeError, KeyError, TypeError, OverflowError: the values are not those of a cohort, see `UNREADABLE`.
    """
    for name, kinds in _PLAIN.items():
        # By type and not isinstance, since True is an int, too.
        if name in values and type(values[name]) not in kinds:
            raise TypeError(f"{name} must be a {kinds[0].__name__}, got {str(values[name])[:80]!r}")
    decline, parking = values["decline"], values.get("parking")
    cohort = Cohort(
        **{
            **values,
            "trials": tuple(trial_from_dict(trial["config"]) for trial in values["trials"]),
            "measuring": MeasuringConfig(**values["measuring"]),
            "imports": tuple(values["imports"]),
            "decline": None if decline is None else DeclineParameters(**decline),
            "parking": None if parking is None else _parking_from_dict(parking),
        }
    )
    # An id follows from the configuration, so it works as a checksum of it.
    for trial, stated in zip(cohort.trials, values["trials"], strict=True):
        if trial.trial_id != stated["trial_id"]:
            raise ValueError(f"the configuration of trial {stated['trial_id']} is that of {trial.trial_id}")
    return cohort


def _parking_from_dict(values: dict[str, Any]) -> ParkingParameters:
    return ParkingParameters(**{**values, "stall": StallParameters(**values["stall"])})
