"""The exceptions and warnings of `analysis`: the results or the caller's arguments do not allow a full answer.

AnalysisError(ValueError)
├── ResultsNotFound        the path holds no results of a sweep
├── NewerResults           a newer version of this package wrote the results
├── LinkRefused            a link in a results folder would lead a write out of it
└── MixedMethods           rows measured by different complexity methods were about to be mixed

ResultsWarning(UserWarning)     a file is damaged, missing or not ours; the rest was read
└── OlderResults                an older version wrote the results, which were read
"""


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
