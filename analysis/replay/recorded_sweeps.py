"""Makes ledger entries of recorded sweeps: what the parking rule would have done to each trial."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from analysis.errors import AnalysisError
from analysis.replay.lanes import LANES, parking, unstopped
from analysis.replay.recordings import Recording, recordings_of, results_below
from analysis.replay.score import score
from analysis.stopping.calibration import Calibration
from analysis.stopping.conformal import PATIENCES
from analysis.stopping.evidence import EvidenceKind
from analysis.stopping.ledger import SIGNALS, GivenUp, RecordedSweep, RecordedTrial, counted_once
from analysis.stopping.parking import ParkingParameters
from analysis.stopping.stall import Signal, StallParameters

_SPOILS = ("were stopped", "failed", "have not ended")
"""Reasons that leave out late grokkers more often than early ones. A sweep with such trials is not counted: its
grokkers would look more patient than they are."""


def grown(
    calibration: Calibration, paths: Sequence[str | Path], progress: Callable[[str], None] = lambda _: None
) -> tuple[Calibration, list[RecordedSweep], list[str]]:
    """Add recorded sweeps to a calibration; those whose trials were not all followed to their end are left out.

    Args:
        calibration: what there is.
        paths: results folders; a local folder that holds several stands for all of them.
        progress: called with what is being done, in words.

    Returns:
        The grown calibration, the entries that were added, and notes on sweeps that were left out.

    Raises:
        ResultsNotFound: a path holds no results.
        AnalysisError: no sweep can be used, or there are too few grokkers in all.
    """
    usable, notes = _usable(paths)
    once = counted_once([trials for _, trials in usable])
    usable = [(name, trials) for (name, _), trials in zip(usable, once, strict=True) if trials]
    entries = [recorded_sweep(name, trials, progress) for name, trials in usable]
    patience = calibration.with_sweeps(entries).patience()
    entries = [
        replace(entry, given_up_at=patience, given_up=given_up(trials, patience))
        for entry, (_, trials) in zip(entries, usable, strict=True)
    ]
    return calibration.with_sweeps(entries), entries, notes


def _usable(paths: Sequence[str | Path]) -> tuple[list[tuple[str, list[Recording]]], list[str]]:
    """Return name and trials of each sweep that can be used, and notes on the others."""
    usable, notes = [], []
    for path in paths:
        for folder in results_below(path):
            recorded = recordings_of(folder)
            spoilt = [f"{recorded.left_out[reason]} {reason}" for reason in _SPOILS if reason in recorded.left_out]
            if spoilt:
                notes.append(f"{folder} is left out, because late groks are missing: {', '.join(spoilt)}")
            elif not recorded.trials:
                notes.append(f"{folder} is left out, because none of its trials can be replayed")
            else:
                below = Path(folder).relative_to(path) if "://" not in folder else Path()
                usable.append((below.as_posix() if below.parts else Path(folder).resolve().name, recorded.trials))
    if not usable:
        raise AnalysisError(
            f"a calibration needs a sweep whose trials were all followed to their end ({'; '.join(notes)}); record "
            "one with stop: none"
        )
    return usable, notes


def recorded_sweep(
    name: str, trials: Sequence[Recording], progress: Callable[[str], None] = lambda _: None
) -> RecordedSweep:
    """Make the entry of one sweep, none of whose trials has been given up yet.

    Args:
        name: the name to be shown.
        trials: its trials.
        progress: called with what is being done, in words.
    """
    patiences = []
    for signal in SIGNALS:
        progress(f"replaying {name} by {signal}")
        patiences.append(critical_patiences(trials, signal))
    return RecordedSweep(
        name,
        tuple(
            RecordedTrial(
                trial.trial_id,
                trial.weighed,
                trial.budget_steps,
                trial.memorisation_step,
                trial.grok_step,
                tuple(one[trial.trial_id] for one in patiences) if trial.grokked else (),
            )
            for trial in trials
        ),
    )


def critical_patiences(trials: Sequence[Recording], signal: Signal) -> dict[str, float]:
    """Return for each grokker the smallest patience from which on the parking rule keeps it; infinite for none.

    Args:
        trials: the trials of one sweep.
        signal: a fall of what is progress.

    Returns:
        Trial id -> share of the budget.
    """
    critical = {trial.trial_id: PATIENCES[0] for trial in trials if trial.grokked}
    free = unstopped(trials, LANES)
    more_patient = [*PATIENCES[1:], math.inf]
    for patience, next_one in zip(PATIENCES, more_patient, strict=True):
        rule = parking(ParkingParameters(patience=patience, stall=StallParameters(signal=signal)))
        critical |= dict.fromkeys(score(trials, rule(trials, LANES), free).lost, next_one)
    return critical


def given_up(trials: Sequence[Recording], patience: float) -> dict[EvidenceKind, GivenUp]:
    """Count the trials that are parked when the sweep ends, and those of them that grok, by what is known then.

    Args:
        trials: the trials of one sweep.
        patience: the patience of an unknown cell.
    """
    fates = parking(ParkingParameters(patience=patience))(trials, LANES)
    times = Counter(fates.given_up.values())
    grokked = Counter(kind for place, kind in fates.given_up.items() if trials[place].grokked)
    return {kind: GivenUp(times[kind], grokked[kind]) for kind in sorted(times)}
