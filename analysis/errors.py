"""The exceptions of `analysis`: the results or the caller's arguments do not allow an answer.

AnalysisError(ValueError)
├── ResultsNotFound        the path holds no results of a sweep
└── MixedMethods           rows measured by different complexity methods were about to be mixed
"""


class AnalysisError(ValueError):
    """Base of every error that this package raises on purpose; the message says what to do."""


class ResultsNotFound(AnalysisError):
    """The path does not exist or holds no results."""


class MixedMethods(AnalysisError):
    """Complexities of different methods are different quantities and are never mixed silently."""
