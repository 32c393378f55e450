"""Whether trials were followed long enough to say that the others never grok, rather than late.

The idea is that of Maller and Zhou (1992, Biometrika 79, 731): if the last grok came long before the end of
follow-up, then others that were only late should have come in between. Their criterion itself, (1 - N / n)^n below
5 % with N groks in a window before the last one, says 'never' in 25 to 40 % of simulated cells in which every
network groks some day; the one used here does so in 2 to 10 %. With the logarithm of steps as time, u the last grok
and e the longest follow-up, N groks lie in (u^2 / e, u], spread over a length L. The N - 2 between the first and
the last of them tell the rate at which one of the R trials that are open would grok, if it were only late: a rate
that does not fall with time for the usual laws (log-normal, log-logistic). No grok in the length log(e / u) then
has the probability

    (R / (R + N - 2)) ^ (R log(e / u) / L)

Follow-up is long enough if that is below 5 %.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.05

_SHORTEST = math.log(1.2)
"""Groks that are nearer to each other than neighbours on the grid of evaluated steps have at least this spread."""


def cannot_tell_late_from_never(grok_step: NDArray[np.float64], followed: NDArray[np.float64]) -> bool:
    """Check whether trials without a grok may only be late.

    Args:
        grok_step: steps of those that grokked, from the start of their phase, [g].
        followed: steps to which the others were followed, from the start of their phase, [r].
    """
    if not len(followed):
        return False
    if not len(grok_step):
        return True
    logs = np.log(np.maximum(grok_step, 1.0))
    rest = math.log(max(float(followed.max()), 1.0)) - float(logs.max())
    near = logs[logs > logs.max() - rest]
    return len(near) < 3 or rest < _rest_needed(near, len(followed))


def _rest_needed(near: NDArray[np.float64], others: int) -> float:
    """Return how long no grok must be seen after some groks, all as logarithms of steps.

    Args:
        near: the groks, at least three.
        others: the number of trials that are open.
    """
    spread = max(float(near.max() - near.min()), _SHORTEST)
    return -spread * math.log(LEVEL) / (others * math.log1p((len(near) - 2) / others))


def steps_to_tell(grok_step: NDArray[np.float64], followed: NDArray[np.float64]) -> float:
    """Return the steps to which one of the others must be followed before late and never can be told apart.

    Args:
        grok_step: steps of those that grokked, from the start of their phase, [g].
        followed: steps to which the others were followed, from the start of their phase, [r].

    Returns:
        Steps from the start of the phase, if no more grok until then; NaN with fewer than three groks, where more
        trials are needed; 0 if there are no others.
    """
    if not len(followed):
        return 0.0
    logs = np.sort(np.log(np.maximum(grok_step, 1.0)))[::-1]
    needed = []
    for count in range(3, len(logs) + 1):
        rest = _rest_needed(logs[:count], len(followed))
        # A follow-up this long has these groks in its window, and one that is longer has the next one, too.
        least = logs[0] - logs[count - 1]
        most = logs[0] - logs[count] if count < len(logs) else math.inf
        if max(rest, least) <= most:
            needed.append(max(rest, least))
    # Rounded up, and away from the open end of the window.
    return math.floor(math.exp(logs[0] + min(needed)) * (1 + 1e-9)) + 1.0 if needed else math.nan
