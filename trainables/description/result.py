"""The result of describing a task."""

from __future__ import annotations

from dataclasses import dataclass

from trainables.complexity.result import CertifiedStream

#: Name and version of the method. Its numbers are not complexities, since weights are trained.
DESCRIPTION_METHOD = "straight-through-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class DescriptionResult(CertifiedStream):
    """The shortest stream found of any network that does a task well enough."""

    task_description_bytes: int
    """Length of `bitstream`. It describes the task by means of some network that does it."""
    steps: int
    """The number of straight-through training steps taken."""
