"""The place to which a report is written."""

from __future__ import annotations

from dataclasses import dataclass, field

from analysis.files import Files


@dataclass(slots=True)
class Output:
    """A folder, local or in a bucket, into which whole files are written."""

    folder: str
    written: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, content: str | bytes) -> str:
        """Write a file of the report, complete or not at all, and return its address."""
        Files(self.folder).write(name, content if isinstance(content, bytes) else content.encode())
        self.written[name] = f"{self.folder.rstrip('/')}/{name}"
        return self.written[name]
