"""Task description length: the shortest stream found of any network that does a task; not a network's complexity.

`describe_task` is the way in; its streams are those of `trainables.complexity`, and `decode` reads them.
"""

from trainables.description.describing import Progress, describe_task
from trainables.description.result import DESCRIPTION_METHOD, DescriptionResult

__all__ = ["DESCRIPTION_METHOD", "DescriptionResult", "Progress", "describe_task"]
