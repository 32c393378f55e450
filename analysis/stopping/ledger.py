"""A ledger of recorded sweeps that were never stopped: what calibrations, chances and forecasts rest on.

One JSON file, a line for each trial. It is small, 100 bytes a trial, and grows by every sweep that is recorded.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, get_args

from analysis.errors import AnalysisError, NewerResults
from analysis.files import Files
from analysis.stopping.evidence import EvidenceKind
from analysis.stopping.stall import Signal

FORMAT = 1

SHIPPED = Path(__file__).with_name("calibration.json")
"""The ledger of the recordings that this package was calibrated on."""

SIGNALS: tuple[Signal, ...] = get_args(Signal)
EVIDENCE: tuple[EvidenceKind, ...] = get_args(EvidenceKind)

_NEARLY_ALL = 0.9


class Settings(NamedTuple):
    """The settings of a trial that weights are made of."""

    weight_decay: float
    data_fraction: float
    spectral_entropy_weight: float


UNKNOWN = Settings(math.nan, math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class RecordedTrial:
    """A trial that was followed to its grok or to the end of its budget."""

    trial_id: str
    settings: Settings
    budget_steps: int
    memorisation_step: float
    """NaN if it never memorised."""
    grok_step: float
    """NaN if it did not grok within its budget."""
    patiences: tuple[float, ...] = ()
    """For each of `SIGNALS` the smallest patience from which on the parking rule keeps this grokker; infinite if
    the rule loses it with any. Empty for a failure."""

    @property
    def grokked(self) -> bool:
        """Whether it grokked."""
        return not math.isnan(self.grok_step)


class GivenUp(NamedTuple):
    """Trials that the parking rule would have given up, with the same evidence."""

    trials: int
    grokked: int
    """How many of them grok in the recording."""


@dataclass(frozen=True, slots=True)
class RecordedSweep:
    """A sweep of which no trial was stopped."""

    name: str
    trials: tuple[RecordedTrial, ...]
    given_up_at: float = math.nan
    """The patience with which trials were given up; NaN if they have not been counted."""
    given_up: Mapping[EvidenceKind, GivenUp] = field(default_factory=dict)
    """What was known of the cell when trials were given up -> their number."""

    @property
    def grokkers(self) -> list[RecordedTrial]:
        """The trials that grokked."""
        return [trial for trial in self.trials if trial.grokked]

    @property
    def fingerprint(self) -> str:
        """A hash of its trials, whatever their order: the same sweep has it under any name."""
        ids = ",".join(sorted(trial.trial_id for trial in self.trials))
        return hashlib.sha256(ids.encode()).hexdigest()[:16]

    def is_same_as(self, other: RecordedSweep) -> bool:
        """Return whether the two are one sweep, perhaps grown: they share nearly all of the smaller one."""
        own, theirs = ({trial.trial_id for trial in sweep.trials} for sweep in (self, other))
        return len(own & theirs) > _NEARLY_ALL * min(len(own), len(theirs))


class HasId(Protocol):
    """A trial of any kind."""

    @property
    def trial_id(self) -> str:
        """Its id."""
        ...


T = TypeVar("T", bound=HasId)


def counted_once(sweeps: Sequence[Sequence[T]]) -> list[list[T]]:
    """Leave each trial to the largest of the sweeps that hold it, the first of equally large ones.

    Args:
        sweeps: the trials of each sweep.

    Returns:
        The trials that are left to each.
    """
    left: list[list[T]] = [[] for _ in sweeps]
    seen: set[str] = set()
    for place in sorted(range(len(sweeps)), key=lambda place: -len(sweeps[place])):
        left[place] = [trial for trial in sweeps[place] if trial.trial_id not in seen]
        seen |= {trial.trial_id for trial in left[place]}
    return left


def read_ledger(path: str | Path) -> tuple[RecordedSweep, ...]:
    """Read the sweeps of a ledger.

    Raises:
        NewerResults: a newer version of this package wrote it.
        AnalysisError: it cannot be read, or is damaged.
    """
    try:
        plain = json.loads(Path(path).read_bytes())
        version = plain["format"]
        if isinstance(version, int) and version > FORMAT:
            raise NewerResults(
                f"{path} is a ledger of format {version}, which a newer version of grokking-sweep wrote; this one "
                f"reads format {FORMAT}: update it"
            )
        if version != FORMAT:
            raise ValueError(f"its format is {version!r}")
        sweeps = tuple(_sweep_of(one) for one in plain["sweeps"])
        if any(
            one.fingerprint != stated["fingerprint"] for one, stated in zip(sweeps, plain["sweeps"], strict=True)
        ):
            raise ValueError("the trials of a sweep do not match its fingerprint")
    except OSError as error:
        raise AnalysisError(f"{path} must be a ledger, and cannot be read: {error.strerror or error}") from None
    except NewerResults:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise AnalysisError(
            f"{path} must be a ledger as `sweep calibrate` writes it, and is damaged ({' '.join(reason.split())}); "
            "restore it, or delete it and calibrate anew"
        ) from None
    return sweeps


def write_ledger(path: str | Path, sweeps: Sequence[RecordedSweep]) -> None:
    """Write a ledger, complete or not at all.

    Raises:
        AnalysisError: it cannot be written.
    """
    target = Path(path).expanduser()
    try:
        Files(str(target.parent)).write(target.name, _text(sweeps).encode())
    except OSError as error:
        raise AnalysisError(f"the ledger {path} cannot be written: {error.strerror or error}") from None


def _text(sweeps: Sequence[RecordedSweep]) -> str:
    """Return the file's text, with a line for each trial, so that a difference of two versions can be read."""
    blocks = []
    for sweep in sweeps:
        head = {
            "name": sweep.name,
            "fingerprint": sweep.fingerprint,
            "given_up_at": _or_none(sweep.given_up_at),
            "given_up": sweep.given_up,
        }
        trials = ",\n".join(json.dumps(_plain(trial), allow_nan=False) for trial in sweep.trials)
        blocks.append(f'{json.dumps(head, allow_nan=False)[:-1]}, "trials": [\n{trials}\n]}}')
    return f'{{"format": {FORMAT}, "sweeps": [\n' + ",\n".join(blocks) + "\n]}\n"


def _plain(trial: RecordedTrial) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "trial_id": trial.trial_id,
        **trial.settings._asdict(),
        "budget_steps": trial.budget_steps,
        "memorisation_step": _or_none(trial.memorisation_step),
        "grok_step": _or_none(trial.grok_step),
    }
    return plain | ({"patiences": [_or_none(one) for one in trial.patiences]} if trial.grokked else {})


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _sweep_of(plain: Mapping[str, Any]) -> RecordedSweep:
    given_up = {kind: GivenUp(*map(int, plain["given_up"][kind])) for kind in EVIDENCE if kind in plain["given_up"]}
    if any(not 0 <= one.grokked <= one.trials for one in given_up.values()):
        raise ValueError(f"given_up of {plain['name']} is no count")
    return RecordedSweep(
        str(plain["name"]),
        tuple(_trial_of(one) for one in plain["trials"]),
        _number(plain["given_up_at"], math.nan),
        given_up,
    )


def _trial_of(plain: Mapping[str, Any]) -> RecordedTrial:
    trial = RecordedTrial(
        str(plain["trial_id"]),
        Settings(*(_number(plain[name], math.nan) for name in Settings._fields)),
        int(plain["budget_steps"]),
        _number(plain["memorisation_step"], math.nan),
        _number(plain["grok_step"], math.nan),
        tuple(_number(one, math.inf) for one in plain.get("patiences", [])),
    )
    if len(trial.patiences) != (len(SIGNALS) if trial.grokked else 0):
        raise ValueError(f"trial {trial.trial_id} must have {len(SIGNALS)} patiences exactly if it grokked")
    return trial


def _number(value: float | None, missing: float) -> float:
    return missing if value is None else float(value)
