"""Where a report is written to."""

from __future__ import annotations

from dataclasses import dataclass, field

from analysis.results_folder import open_filesystem


@dataclass(slots=True)
class Output:
    """A folder, local or in a bucket, into which whole files are put."""

    folder: str
    written: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, content: str | bytes) -> str:
        """Write a file of the report, complete or not at all; where it is."""
        target = f"{self.folder.rstrip('/')}/{name}"
        filesystem, path = open_filesystem(target, None)
        filesystem.create_dir(path.rsplit("/", 1)[0], recursive=True)
        temporary = f"{path}.part"
        with filesystem.open_output_stream(temporary) as stream:
            stream.write(content if isinstance(content, bytes) else content.encode())
        filesystem.move(temporary, path)
        self.written[name] = target
        return target
