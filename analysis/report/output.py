"""The place to which a report is written."""

from __future__ import annotations

from dataclasses import dataclass, field

from analysis.errors import AnalysisError
from analysis.files import Files


@dataclass(slots=True)
class Output:
    """A folder, local or in a bucket, into which whole files are written."""

    folder: str
    """A folder that the user named, or a results folder. It may be a link; nothing in it may be one."""
    below: str = ""
    """The folder within it."""
    written: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, content: str | bytes) -> str:
        """Write a file of the report, complete or not at all, and return its address.

        Raises:
            AnalysisError: it cannot be written there.
        """
        inside = f"{self.below}/{name}" if self.below else name
        address = f"{self.folder.rstrip('/')}/{inside}"
        try:
            Files(self.folder).write(inside, content if isinstance(content, bytes) else content.encode())
        except OSError as error:
            why = error.strerror or error
            raise AnalysisError(
                f"the report cannot be written to {address} ({why}); name another place with --output PATH"
            ) from error
        self.written[name] = address
        return address
