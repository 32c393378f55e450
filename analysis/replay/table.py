"""A replay as a table: one line a rule, or a rule at a level, with what it saved and lost on each sweep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.replay.calibration import Replayed
from analysis.replay.early import SHARES, separation, signals
from analysis.replay.lanes import LANES
from analysis.replay.recordings import Recordings
from analysis.replay.rules import NamedRule
from analysis.replay.score import Score, Scoring, total
from analysis.stopping.calibration import LEVELS
from analysis.stopping.conformal import fewest_grokkers


@dataclass(frozen=True, slots=True)
class Line:
    """One rule, on all sweeps."""

    rule: str
    alpha: float | None
    """The level of calibration; None for a rule whose numbers were given."""
    patience: float | None
    """The patience calibrated on all sweeps together, which is the one to use; None if it was given."""
    by_sweep: dict[str, Score]
    """Scores; of a calibrated rule, with the patience calibrated on the other sweeps."""

    @property
    def score(self) -> Score:
        """The sum over sweeps."""
        return total(self.by_sweep.values())


@dataclass(frozen=True, slots=True)
class Replay:
    """A replay of several rules on several sweeps."""

    recordings: Recordings
    lines: list[Line]
    notes: list[str]


def replay(
    recordings: Recordings, rules: Sequence[NamedRule], alphas: Sequence[float] = LEVELS, lanes: int = LANES
) -> Replay:
    """Replay rules on recorded sweeps.

    Args:
        recordings: trials that were followed to their end.
        rules: rules, and families to be calibrated with each sweep left out in turn.
        alphas: levels for families, in (0, 1).
        lanes: lanes of each sweep.
    """
    scoring = Scoring(recordings.by_sweep(), lanes)
    grokkers = sum(trial.grokked for trial in recordings.trials)
    lines: list[Line] = []
    for named in rules:
        if named.rule is not None:
            lines.append(Line(named.text, None, None, scoring(named.rule)))
        if named.family is not None:
            family = Replayed(scoring, named.family)
            for alpha in alphas:
                calibrated = family.calibrate(alpha)
                patience = None if calibrated is None else calibrated.patience
                lines.append(Line(named.text, alpha, patience, family.left_out(alpha)))
    notes = [f"{n} trials are left out: they {reason}" for reason, n in recordings.left_out.items()]
    notes += [
        f"alpha {alpha:g} needs {fewest_grokkers(alpha)} grokkers to calibrate on, there are {grokkers}"
        for alpha in alphas
        if grokkers < fewest_grokkers(alpha) and any(named.family for named in rules)
    ]
    return Replay(recordings, lines, notes)


def lines_frame(lines: Iterable[Line]) -> pd.DataFrame:
    """Return one row a rule: what it saved, what it lost, and the interval of the latter."""
    return pd.DataFrame([_row(line.score) | _key(line) for line in lines])[_ORDER]


def cells_frame(lines: Iterable[Line]) -> pd.DataFrame:
    """Return one row a rule and sweep."""
    rows = [_row(one) | _key(line) | {"sweep": name} for line in lines for name, one in line.by_sweep.items()]
    return pd.DataFrame(rows)[["sweep", *_ORDER]]


def _key(line: Line) -> dict[str, object]:
    return {"rule": line.rule, "alpha": line.alpha, "patience": line.patience}


def _row(one: Score) -> dict[str, object]:
    low, high = one.lost_interval
    return {
        "trials": one.trials,
        "grokkers": one.grokkers,
        "saved": one.saved,
        "of_oracle": one.of_oracle,
        "of_hard_oracle": one.of_hard_oracle,
        "makespan_saved": one.saved_makespan,
        "lost": len(one.lost),
        "lost_share": len(one.lost) / one.grokkers if one.grokkers else float("nan"),
        "lost_low": low,
        "lost_high": high,
        "lost_trials": list(one.lost),
    }


_ORDER = [
    *("rule", "alpha", "patience", "saved", "of_oracle", "of_hard_oracle", "makespan_saved"),
    *("lost", "grokkers", "lost_share", "lost_low", "lost_high", "trials", "lost_trials"),
]


def signals_frame(recordings: Recordings) -> pd.DataFrame:
    """Return one row a signal: its AUROC at 5, 10 and 20 % of the budget, against all failures and hard ones."""
    sweeps = recordings.by_sweep()
    rows = []
    for name, signal in signals(recordings.trials).items():
        row: dict[str, object] = {"signal": name}
        for hard_only in (False, True):
            for share in SHARES:
                judged = separation(sweeps, signal, share, hard_only=hard_only)
                row[f"{'hard' if hard_only else 'all'}_at_{share:.0%}"] = judged.auroc
        rows.append(row)
    return pd.DataFrame(rows)
