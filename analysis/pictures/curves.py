"""Accuracy and complexity along training: single trials side by side, or all trials by fate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.events import events as events_of
from analysis.fates import (
    FATES,
    fates,
    fates_title,
    representative_trials,
    setting_lines,
    settings_of_trials,
    trial_subtitle,
)
from analysis.pictures.small_multiples import small_multiples
from analysis.pictures.trial_curves import Column
from analysis.words import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The number of curves drawn in one panel of `curves_figure`; of more, a sample is drawn, and the panel says so.
CURVES_SHOWN = 60


def trajectory_figure(
    df: pd.DataFrame, trial_ids: Sequence[str] | None = None, *, events: pd.DataFrame | None = None
) -> Figure:
    """Draw accuracy and complexity of single trials against log steps, side by side on shared axes.

    The other seeds of a trial's setting are drawn behind it in grey, to show whether it is typical.

    Args:
        df: rows from `analysis.load`: one per (trial, evaluated step), accuracies as shares, complexity
            in bytes and empty where not measured.
        trial_ids: trials to draw; by default `representative_trials`.
        events: the result of `analysis.events(df)`, if it is known already.

    Returns:
        A figure; steps on a logarithmic axis that also has room for step 0, accuracy in percent, complexity in
        kB of 1,000 bytes.

    Raises:
        KeyError: a trial has no rows.
    """
    events = events_of(df) if events is None else events
    by_id = events.assign(trial_id=events["trial_id"].astype(str)).set_index("trial_id", drop=False)
    chosen = representative_trials(events) if trial_ids is None else [str(trial) for trial in trial_ids]
    missing = [trial for trial in chosen if trial not in by_id.index]
    if missing:
        raise KeyError(f"no rows of trial {missing[0]}; the trials are in the column trial_id of the results")
    settings = settings_of_trials(events)
    columns = []
    for trial in chosen:
        phases = by_id[by_id["trial_id"] == trial]
        row = phases.iloc[-1]
        # Values that are missing in both rows count as equal, too.
        equal = (by_id[settings] == row[settings]) | (by_id[settings].isna() & row[settings].isna())
        same = by_id[equal.all(axis=1)]
        columns.append(
            Column(
                title=fates_title(fates(phases)),
                subtitle=trial_subtitle(phases, [*settings, "seed"]),
                trial_id=trial,
                others=tuple(same.index.unique().drop(trial)),
                events=phases,
            )
        )
    seeds = any(column.others for column in columns)
    return small_multiples(df, columns, others_are="other seeds of the same setting" if seeds else None)


def curves_figure(df: pd.DataFrame, *, events: pd.DataFrame | None = None, shown: int = CURVES_SHOWN) -> Figure:
    """Draw every trial's accuracy and complexity, one column for each fate; at most `shown` curves in each.

    Args:
        df: rows from `analysis.load`.
        events: the result of `analysis.events(df)`, if it is known already.
        shown: curves in one column; the sample is spread evenly over the trials ordered by id, which is a hash.
    """
    events = events_of(df) if events is None else events
    of_trials: dict[str, tuple[str, ...]] = {}
    for trial, fate in zip(events["trial_id"].astype(str), fates(events), strict=True):
        of_trials[trial] = (*of_trials.get(trial, ()), fate)
    by_fates: dict[tuple[str, ...], list[str]] = {}
    for trial, names in of_trials.items():
        by_fates.setdefault(names, []).append(trial)
    columns = []
    for names in sorted(by_fates, key=lambda names: [FATES.index(name) for name in names]):
        ids = sorted(by_fates[names])
        sample = ids if len(ids) <= shown else [ids[i] for i in np.linspace(0, len(ids) - 1, shown).astype(int)]
        count = (
            counted(len(ids), "trial")
            if len(sample) == len(ids)
            else f"showing {len(sample)} of {len(ids):,} trials"
        )
        columns.append(Column(fates_title(names), count, None, tuple(sample), None))
    return small_multiples(df, columns, others_are=None)


def settings_figure(df: pd.DataFrame, *, events: pd.DataFrame | None = None) -> Figure:
    """Draw accuracy and complexity, one column for each setting: every seed, and the mean over seeds.

    The mean at a step is over the seeds' curves, each interpolated linearly in log(1 + step) between the
    steps at which it is known; it ends where the first curve ends.

    Args:
        df: rows from `analysis.load`, of a few settings.
        events: the result of `analysis.events(df)`, if it is known already.
    """
    events = events_of(df) if events is None else events
    settings = settings_of_trials(events)
    groups = events.groupby(settings, observed=True, dropna=False, sort=True) if settings else [((), events)]
    columns = []
    for _, trials in groups if len(events) else ():
        lines = setting_lines(trials.iloc[0], settings)
        shares = []
        for phase, own in trials.groupby("phase"):
            shares.append(f"{own['grok_step'].notna().sum()} of {counted(len(own), 'seed')}")
            which = f"phase {phase}: " if trials["phase"].nunique() > 1 else ""
            for name, verb in (("memorisation_step", "memorised"), ("grok_step", "grokked")):
                steps = own[name].dropna()
                if len(steps):
                    span = f"{steps.min():,.0f}" + (f" to {steps.max():,.0f}" if steps.min() < steps.max() else "")
                    lines.append(f"{which}{verb} at {span}")
        columns.append(
            Column(
                title=f"{fates_title(shares)} grokked",
                subtitle="\n".join(lines),
                trial_id=None,
                others=tuple(trials["trial_id"].astype(str).unique()),
                events=None,
                mean=True,
            )
        )
    return small_multiples(df, columns, others_are=None)
