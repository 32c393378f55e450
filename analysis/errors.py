"""The exceptions and warnings of `analysis`: the results or the caller's arguments do not allow a full answer.

AnalysisError(ValueError)
├── ResultsNotFound        the path holds no results of a sweep
├── NewerResults           a newer version of this package wrote the results
├── LinkRefused            a link in a results folder would lead a write out of it
└── MixedMethods           rows measured by different complexity methods were about to be mixed

ResultsWarning(UserWarning)     a file is damaged, missing or not ours; the rest was read
└── OlderResults                an older version wrote the results, which were read
"""

from __future__ import annotations

import math


class AnalysisError(ValueError):
    """Base of every error that this package raises on purpose; the message says what to do."""


class ResultsNotFound(AnalysisError):
    """The path does not exist or holds no results."""


class NewerResults(AnalysisError):
    """A newer version wrote the results, in a schema that this version does not know."""


class LinkRefused(AnalysisError):
    """A symbolic link is where a file or folder of the results is to be written."""


class MixedMethods(AnalysisError):
    """Complexities of different methods are different quantities and are never mixed silently."""


class ResultsWarning(UserWarning):
    """A file of a results folder is damaged, missing or not ours, and is left out; the rest was read."""


class OlderResults(ResultsWarning):
    """An older version wrote the results; they were read, but their tables carry no checksums."""


def require_shares(parameters: object, *names: str, prefix: str = "") -> None:
    """Refuse parameters that are not shares in (0, 1].

    Args:
        parameters: what has these attributes.
        names: of the attributes.
        prefix: put before each name in the message, e.g. `decline.`.

    Raises:
        AnalysisError: one of them is not.
    """
    for name in names:
        if not 0 < getattr(parameters, name) <= 1:
            raise AnalysisError(
                f"{prefix}{name} is a share and must lie in (0, 1], got {getattr(parameters, name)}"
            )


def require_finite(
    parameters: object, *names: str, prefix: str = "", above: float = -math.inf, at_least: float = -math.inf
) -> None:
    """Refuse parameters that are not finite, or below a bound; for the arguments see `require_shares`.

    Raises:
        AnalysisError: one of them is not finite, not above `above`, or not at least `at_least`.
    """
    bound = f"above {above:g}" if above > at_least else f"at least {at_least:g}"
    for name in names:
        value = getattr(parameters, name)
        # Written as one chain, so that NaN is refused as well.
        if not (above < value < math.inf and value >= at_least):
            raise AnalysisError(f"{prefix}{name} must be finite and {bound}, got {value}")
