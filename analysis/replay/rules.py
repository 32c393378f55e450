"""Rules by name and parameters, as text: `stall(patience=0.3)`, `park`, `decline(patience=10)`.

A rule that is given without its `patience` is a family: its patience is calibrated at each level, leaving out the
sweep that it is replayed on.
"""

from __future__ import annotations

import ast
import dataclasses
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.errors import AnalysisError
from analysis.replay.lanes import Rule, alone, parking
from analysis.replay.recordings import Recording
from analysis.stopping.decline import DeclineParameters, first_stop
from analysis.stopping.parking import ParkingParameters
from analysis.stopping.stall import StallParameters

Maker = Callable[[Mapping[str, Any]], Rule]
"""Makes a rule from its parameters; raises AnalysisError or TypeError where these are wrong."""


@dataclass(frozen=True, slots=True)
class NamedRule:
    """A rule, or a family of rules that differ in their patience."""

    text: str
    """As given: name and parameters."""
    rule: Rule | None
    """None for a family."""
    family: Callable[[float], Rule] | None
    """Patience -> rule; None if the patience is given or there is none."""


def named_rule(text: str, others: Mapping[str, Maker] | None = None) -> NamedRule:
    """Make a rule from text.

    Args:
        text: `decline`, `stall`, `park` or one of `others`, with parameters as in a Python call or without.
        others: name -> maker, for rules that this package does not have.

    Raises:
        AnalysisError: there is no such rule, or no such parameter.
    """
    makers = {"decline": _decline, "stall": _stall, "park": _park, **(others or {})}
    name, parameters = _parse(text)
    if name not in makers:
        raise AnalysisError(f"a rule must be one of {', '.join(makers)}, got {text!r}")
    make = makers[name]

    def with_patience(patience: float) -> Rule:
        return make({**parameters, "patience": patience})

    try:
        if name in ("stall", "park") and "patience" not in parameters:
            with_patience(1.0)  # for its errors only: a wrong parameter is named before anything is calibrated
            return NamedRule(text, None, with_patience)
        return NamedRule(text, make(parameters), None)
    except TypeError as error:
        raise AnalysisError(f"{text!r} is no rule: {error}") from None


def rule_of_function(text: str, function: Callable[..., object]) -> NamedRule:
    """Make a rule of a user-supplied function of one `Recording` that returns the step to stop at, or None.

    The function should look at evaluations up to that step only, since a sweep knows no more.

    Args:
        text: the function's name, for messages.
        function: called once for each trial.
    """

    def first_stop_of(trial: Recording) -> int | None:
        try:
            step = function(trial)
        except Exception as error:
            raise AnalysisError(
                f"{text} raised {type(error).__name__}: {error}, on trial {trial.trial_id}"
            ) from error
        # True is an integer to Python: whoever returns whether to stop would stop everything at step 1.
        if step is not None and (isinstance(step, bool) or not isinstance(step, numbers.Integral)):
            raise AnalysisError(f"{text} must return a step or None, got {step!r} for trial {trial.trial_id}")
        return None if step is None else int(step)

    return NamedRule(text, alone(first_stop_of), None)


def _parse(text: str) -> tuple[str, dict[str, Any]]:
    """Take `name` or `name(parameter=value, ...)` apart."""
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return node.id, {}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
            return node.func.id, {word.arg or "": ast.literal_eval(word.value) for word in node.keywords}
    except (SyntaxError, ValueError):
        pass
    raise AnalysisError(f"a rule must be written as a name or as name(parameter=value, ...), got {text!r}")


def _decline(parameters: Mapping[str, Any]) -> Rule:
    chosen = DeclineParameters(**parameters)
    return alone(lambda trial: first_stop(trial.trajectory, trial.budget_steps, chosen, trial.thresholds))


def _stall(parameters: Mapping[str, Any]) -> Rule:
    given = dict(parameters)
    patience = float(given.pop("patience"))
    if not 0 < patience <= 1:
        raise AnalysisError(f"patience is a share of the budget and must lie in (0, 1], got {patience}")
    chosen = StallParameters(**given)
    return alone(lambda trial: first_stall(trial, patience, chosen))


def first_stall(trial: Recording, patience: float, parameters: StallParameters) -> int | None:
    """Return the first step beyond a share of the budget at which a trial is stalled, None if it never is."""
    step = trial.trajectory.step
    at = np.flatnonzero(trial.stalled(parameters) & (step > patience * trial.budget_steps))
    return int(step[at[0]]) if len(at) else None


def _park(parameters: Mapping[str, Any]) -> Rule:
    of_stall = {field.name for field in dataclasses.fields(StallParameters)}
    stall = StallParameters(**{name: value for name, value in parameters.items() if name in of_stall})
    own = {name: value for name, value in parameters.items() if name not in of_stall}
    return parking(ParkingParameters(**own, stall=stall))
