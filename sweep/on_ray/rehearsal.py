"""A check of what a job carries, before it is sent: a fresh process imports the user's modules from it alone.

What identifies a user-supplied network goes through everything that it uses, in whichever file and however it came
there. So the check is not whether all files are there, but whether the same network comes out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from sweep.errors import SweepError
from sweep.imports import import_modules, registered_sources

_ANSWER = "answer of the rehearsal: "


def rehearse(folder: Path, imports: Sequence[str], sources: Mapping[str, str]) -> None:
    """Check that the modules in a folder register what is registered here.

    Args:
        folder: what a job carries.
        imports: the modules to import.
        sources: what identifies the names that they register, see `sweep.imports.sources_of`.

    Raises:
        SweepError: they cannot be imported there, need files that are not there, or register something else.
    """
    asked = json.dumps({"imports": list(imports), "names": list(sources)})
    # Folders of modules that are not installed are left out of the path, since the cluster does not have them.
    path = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if "-packages" in place]
    process = subprocess.run(
        [sys.executable, "-m", "sweep.on_ray.rehearsal", asked],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    answers = [line for line in process.stdout.splitlines() if line.startswith(_ANSWER)]
    if not answers:
        last = (process.stderr.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        raise SweepError(f"your modules must be importable where they are sent to, but there: {last}; {_REMEDY}")
    answer = json.loads(answers[-1].removeprefix(_ANSWER))
    if answer["problem"]:
        raise SweepError(
            f"your modules must be importable from what is sent, but there: {answer['problem']}; {_REMEDY}"
        )
    for name, source in sources.items():
        there = answer["sources"].get(name)
        if there != source:
            got = f"source {there}" if there else "nothing of that name"
            raise SweepError(
                f"{name} must be the same once it is sent, source {source}, but a fresh process that imports it "
                f"has {got}: this session has changed what it uses, or has it from elsewhere; {_REMEDY}"
            )
    outside = [file for file in answer["files"] if not Path(file).is_relative_to(folder.resolve())]
    if outside:
        raise SweepError(f"your modules must use only files that are sent, but they import {outside[0]}; {_REMEDY}")


_REMEDY = "name all that they use in import statements of theirs, or put it into files beside them"


def _answer(imports: Sequence[str], names: Sequence[str]) -> dict[str, object]:
    from trainables.config.content.owner import file_of, is_installed
    from trainables.errors import ConfigError

    before = set(sys.modules)
    try:
        import_modules(imports)
        sources = registered_sources(names)
    except (SweepError, ConfigError) as error:
        return {"problem": " ".join(str(error).split()), "sources": {}, "files": []}
    new = {name: module for name, module in list(sys.modules.items()) if name not in before}
    own = [module for name, module in new.items() if not is_installed(name.partition(".")[0])]
    files = sorted({str(Path(file).resolve()) for module in own if (file := file_of(module))})
    return {"problem": "", "sources": sources, "files": files}


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(_ANSWER + json.dumps(_answer(asked["imports"], asked["names"])))
