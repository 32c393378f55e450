"""What to do with each trial now: continue, compress or abandon it; and what continuing takes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from analysis.errors import AnalysisError
from analysis.events import Events, Thresholds, by_phase, events_of_phases, thresholds_of, trajectories
from analysis.stopping import decline
from analysis.stopping.decline import Decision, DeclineParameters
from analysis.stopping.forecasts import made_forecasts, seconds_per_step
from analysis.stopping.lapses import Lapse, lapses, recovery
from analysis.stopping.parking import PREFIX
from analysis.trajectory import Trajectory

if TYPE_CHECKING:
    import pandas as pd

    from analysis.stopping.forecast import Forecast

ACTIONS = ("continue", "compress", "abandon")

HOPELESS = 0.05
"""Chance of a grok below which a budget that is over is not prolonged."""

COLUMNS = ("chance", "more_steps", "more_s", "cost", "grok_lost", "network_step")
"""The columns of `decide` after the first four."""

_NEEDED = (
    "trial_id",
    "step",
    "train_accuracy",
    "val_accuracy",
    "complexity_bytes",
    "budget_steps",
    "ended_because",
)


def decide(
    df: pd.DataFrame,
    parameters: DeclineParameters | None = None,
    thresholds: Thresholds | None = None,
    *,
    kept: pd.DataFrame | None = None,
    price_per_hour: float | None = None,
) -> pd.DataFrame:
    """Advise on each trial, that is on its network as it is now.

    `compress`: it grokked, was followed through its tail, and its last validation accuracy is at the threshold; or
    it lost the grok, and a network from before that is kept. `abandon`: it diverged; or its rule says that it will
    not grok within its budget, or has stopped it; or that budget is over, and neither accuracy nor complexity was
    moving, or the chance of a grok in as many steps again is below `HOPELESS`; or it lost its grok, and most such
    lapses do not recover. `continue`: anything else. If the trial's budget is over that means a longer budget; if
    it failed, another attempt.

    Where the training set is exchanged, the advice is about the present one and counts steps from the exchange.

    Args:
        df: rows from `load`, in any order.
        parameters: parameters of the decline rule for all trials; by default each trial's own, from its column
            `stop_rule`. A trial without a rule is judged by the rule's defaults, one under the parking rule by
            whether that has given it up.
        thresholds: thresholds for all trials; by default each trial's own, as in `analysis.events`.
        kept: `trial_id` and `step` of networks that are kept, e.g. from `analysis.networks`.
        price_per_hour: price of an hour of one process, as in a specification; None if it is not known.

    Returns:
        Sorted by `trial_id`: `trial_id`, `action` (category), `reason` (a few sentences), `probability` (the
        decline rule's estimate that the trial shows the decline within its budget; 1 once it has). Then, NaN where
        it does not apply or is not known:

        - `chance`: of a grok in `more_steps`, from `analysis.forecasts`; for a lost grok, of being at the threshold
          again; 1 if it has grokked and kept it. For a trial that is abandoned, of a grok within its budget.
        - `more_steps`: steps that it would continue: to the end of its budget, or as many as its budget again
          where that is over; to the end of its tail; or until a lost grok is back. `more_s`: lane-seconds for them,
          at the trial's own pace so far; `cost`: that at the price.
        - `grok_lost`: whether it grokked and is below the threshold now.
        - `network_step`: of `compress`, the step whose network is meant.

    Raises:
        AnalysisError: a needed column is missing.
    """
    import pandas as pd

    missing = [name for name in _NEEDED if name not in df.columns]
    if missing:
        raise AnalysisError(f"advice needs the columns {', '.join(_NEEDED)}; {', '.join(missing)} missing")
    phases, of_phases = events_of_phases(df, thresholds)
    ordered, _ = by_phase(df)
    # Use each trial's current phase only: earlier training sets say nothing about this one.
    present = ordered["phase"] == ordered.groupby("trial_id", observed=True)["phase"].transform("max")
    ordered, starts = by_phase(ordered[present])
    last = ~phases["trial_id"].duplicated(keep="last").to_numpy()
    current = phases[last].reset_index(drop=True)
    events_now = [of_phases[place] for place in np.flatnonzero(last)]
    began = current["phase_start_step"].to_numpy(np.float64)
    budgets = current["phase_end_step"].to_numpy(np.float64) - began
    steps = current["last_step"].to_numpy(np.float64) - began
    over = steps >= budgets
    horizons = np.where(over, 2 * budgets, budgets)
    forecasts = _forecasts(current, phases, horizons)
    pace_s = seconds_per_step(df, current)
    paths = trajectories(ordered, starts)
    own = thresholds_of(current, thresholds)
    known = lapses(zip(current["trial_id"].astype(str), paths, own, strict=True))
    kept_at = {} if kept is None else kept.groupby(kept["trial_id"].astype(str))["step"].apply(list).to_dict()
    rules = current["stop_rule"].tolist() if "stop_rule" in current.columns else [None] * len(current)
    because, lost = current["ended_because"].tolist(), current["grok_lost"].tolist()
    given_up = _given_up(current)
    advice = []
    for place, trial_id in enumerate(current["trial_id"].astype(str)):
        rule = str(rules[place])
        trial = _Trial(
            path=paths[place],
            thresholds=own[place],
            events=events_now[place],
            because=because[place],
            budget_steps=int(budgets[place]),
            horizon_steps=int(horizons[place]),
            forecast=forecasts[place],
            pace_s=float(pace_s[place]),
            price_per_hour=price_per_hour,
            lapse=known.get(trial_id, [])[-1:],
            others=[one for name, each in known.items() if name != trial_id for one in each] if lost[place] else [],
            kept_at=[step - int(began[place]) for step in kept_at.get(trial_id, [])],
            parks=parameters is None and rule.startswith(PREFIX),
            given_up=bool(given_up[place]),
            own_rule=parameters is None,
        )
        advice.append(trial.advice(parameters or decline.rule_of(rule) or DeclineParameters()))
    result = current[["trial_id"]].copy()
    result["action"] = pd.Categorical([one.action for one in advice], categories=list(ACTIONS))
    result["reason"] = pd.Series([one.reason for one in advice], dtype="str")
    for name in ("probability", "chance", "more_steps"):
        result[name] = np.array([getattr(one, name) for one in advice], dtype=np.float64)
    result["more_s"] = result["more_steps"] * pace_s
    result["cost"] = math.nan if price_per_hour is None else result["more_s"] / 3600 * price_per_hour
    result["grok_lost"] = current["grok_lost"]
    result["network_step"] = began + np.array([one.network_step for one in advice], dtype=np.float64)
    return result[["trial_id", "action", "reason", "probability", *COLUMNS]]


def _forecasts(current: pd.DataFrame, phases: pd.DataFrame, horizons: np.ndarray) -> list[Forecast | None]:
    """Forecast the trials that have not grokked and can; None for the others."""
    open_trials = np.flatnonzero(current["censored"] & current["ended_because"].ne("diverged"))
    waiting = current.iloc[open_trials].reset_index(drop=True)
    made = made_forecasts(waiting, phases, budgets=horizons[open_trials])
    every: list[Forecast | None] = [None] * len(current)
    for place, one in zip(open_trials, made, strict=True):
        every[place] = one
    return every


def _given_up(current: pd.DataFrame) -> np.ndarray:
    """Tell which trials the parking rule has given up: stopped, or waiting with their patience over; shape [n]."""
    stopped = current["ended_because"].eq("stopped").to_numpy()
    waits = current["cell_grokked"].notna().to_numpy() if "cell_grokked" in current.columns else False
    return np.asarray(stopped | waits, dtype=bool)


@dataclass(frozen=True, slots=True)
class _Advice:
    action: str
    reason: str
    chance: float = math.nan
    more_steps: float = math.nan
    network_step: float = math.nan
    probability: float = 0.0
    """The decline rule's, of a decline."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Trial:
    """All that the advice on one trial rests on; steps count from the start of its present phase."""

    path: Trajectory
    thresholds: Thresholds
    events: Events
    because: object
    budget_steps: int
    horizon_steps: int
    """Steps to which it may be continued: its budget, or twice that where it is over."""
    forecast: Forecast | None
    pace_s: float
    price_per_hour: float | None
    lapse: list[Lapse]
    """Its last time below the threshold since it grokked, if there is one."""
    others: list[Lapse]
    """Those of other trials, for one that has not recovered."""
    kept_at: list[int]
    parks: bool
    """Whether its rule is the parking rule."""
    given_up: bool
    own_rule: bool
    """Whether it is judged by its own rule."""

    @property
    def step(self) -> int:
        return int(self.path.step[-1])

    @property
    def chance(self) -> float:
        return math.nan if self.forecast is None or not self.forecast.is_known else self.forecast.probability

    def advice(self, parameters: DeclineParameters) -> _Advice:
        """Decide, by the decline rule with these parameters where no other rule has spoken."""
        decision = decline.stop_decision(
            self.path, self.budget_steps, parameters, self.thresholds, events=self.events
        )
        advice = self._grokked() if self.events.grok_step is not None else self._not_grokked(decision, parameters)
        over = self.because == "diverged" and not self.events.tail_complete
        return replace(advice, probability=0.0 if over else decision.probability)

    def _grokked(self) -> _Advice:
        grok_step = self.events.grok_step or 0
        told = _grokked(self.events)
        if self.lapse and self.lapse[0].recovered_step is None:
            return self._lost(self.lapse[0])
        if self.events.tail_complete or self.because == "grokked":
            return _Advice("compress", told, chance=1.0, network_step=self.step)
        if self.because == "diverged":
            return _Advice("abandon", "It diverged.")
        # Beyond twice the grok step only measurements are missing, and the next one comes at twice the steps.
        end = 2 * grok_step if self.step < 2 * grok_step else 2 * self.step
        more = end - self.step
        reason = f"{told} {more:,} more steps{self._cost(more)} complete its tail."
        return _Advice("continue", reason, chance=1.0, more_steps=more)

    def _lost(self, lapse: Lapse) -> _Advice:
        accuracy = float(self.path.val_accuracy[-1])
        told = (
            f"Grokked at step {self.events.grok_step:,} and lost it at step {lapse.lost_step:,}: "
            f"validation accuracy is {accuracy:.3g} now."
        )
        best = self._best_kept()
        if best is not None:
            step, kept_accuracy = best
            reason = f"{told} The network of step {step:,} is kept, at validation accuracy {kept_accuracy:.3g}."
            return _Advice("compress", reason, chance=1.0, network_step=step)
        if self.because == "diverged":
            return _Advice("abandon", f"{told} It diverged.")
        back = recovery(lapse, self.others)
        if not back.lapses:
            more = max(self.step - lapse.lost_step, 1)
            reason = (
                f"{told} No other trial shows whether that recovers; {more:,} more steps{self._cost(more)} would."
            )
            return _Advice("continue", reason, more_steps=more)
        seen = f"{told} {back.sentence}"
        if back.chance < 0.5 or back.further_steps is None:
            return _Advice("abandon", seen, chance=back.chance)
        more = back.further_steps
        reason = f"{seen} Half of these took {more:,} more steps{self._cost(more)}."
        return _Advice("continue", reason, chance=back.chance, more_steps=more)

    def _best_kept(self) -> tuple[int, float] | None:
        """Return the kept network's step with the highest validation accuracy at the threshold, the latest such."""
        kept = np.isin(self.path.step, self.kept_at) & (self.path.step >= (self.events.grok_step or 0))
        there = np.flatnonzero(kept & (self.path.val_accuracy >= self.thresholds.grokked_at))
        if not len(there):
            return None
        best = max(there, key=lambda at: (self.path.val_accuracy[at], at))
        return int(self.path.step[best]), float(self.path.val_accuracy[best])

    def _not_grokked(self, decision: Decision, parameters: DeclineParameters) -> _Advice:
        if self.because == "diverged":
            return _Advice("abandon", "It diverged.")
        if self.parks and self.given_up:
            known = not math.isnan(self.chance)
            chance = f" Of recorded trials given up like this {self.chance:.0%} grok." if known else ""
            reason = f"It has stalled, and the parking rule has given it up.{chance}"
            return _Advice("abandon", reason, chance=self.chance)
        if decision.stop and not self.parks:
            return _Advice("abandon", f"{decision.reason}{self._as_old()}", chance=self.chance)
        if self.own_rule and self.because == "stopped":
            return _Advice("abandon", f"The rule has stopped it.{self._as_old()}", chance=self.chance)
        spared = decline.spared_because(self.path, self.events, parameters, self.thresholds)
        if self.because == "budget" and spared is None:
            return _Advice("abandon", decision.reason)
        more = max(self.horizon_steps - self.step, 0)
        if self.step >= self.budget_steps and self.chance < HOPELESS:
            hopeless = f"The budget is over, and the chance of a grok in as many steps again is {self.chance:.0%}."
            return _Advice("abandon", f"{decision.reason} {hopeless}", chance=self.chance)
        said = decision.reason
        if self.parks and spared is None and self.step < self.budget_steps:
            said = "The parking rule has not given it up."
        reason = f"{said} {self._ahead(more)}"
        return _Advice("continue", reason, chance=self.chance, more_steps=more)

    def _as_old(self) -> str:
        """Say how the chance of a grok differs from the rule's of a decline: it does not know what the rule saw."""
        if self.forecast is None or math.isnan(self.chance):
            return ""
        return (
            f" Of {self.forecast.trials} trials as old without a grok, stalled or not, {self.chance:.0%} grok "
            "within the budget."
        )

    def _ahead(self, more: int) -> str:
        to = "as many as its budget again" if self.horizon_steps > self.budget_steps else "to the end of its budget"
        text = f"{more:,} more steps, {to}{self._cost(more)}"
        if self.forecast is None:
            return f"{text}; when it will grok can be forecast once it has memorised."
        if math.isnan(self.chance):
            return f"{text}; too few trials were followed as far to tell the chance of a grok in them."
        half = self.forecast.further_steps
        soon = "" if half is None else f", and half of such trials grok within {half:,.0f}"
        return f"{text}: the chance of a grok in them is {self.chance:.0%}{soon}."

    def _cost(self, steps: float) -> str:
        if math.isnan(self.pace_s):
            return ""
        seconds = steps * self.pace_s
        price = "" if self.price_per_hour is None else f", cost {seconds / 3600 * self.price_per_hour:,.2g}"
        return f" ({seconds:,.3g} lane-seconds{price})"


def _grokked(events: Events) -> str:
    if events.decline is None or events.complexity_peak_bytes is None:
        return f"Grokked at step {events.grok_step:,}."
    return (
        f"Grokked at step {events.grok_step:,}; complexity is {events.decline:.0%} below its peak of "
        f"{events.complexity_peak_bytes:,.0f} bytes."
    )
