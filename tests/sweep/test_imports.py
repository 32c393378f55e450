"""User-supplied modules: imported by name, recorded with the results, found by workers, refused in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import analysis
from sweep.cli import main
from sweep.errors import ImportFailed, SweepError
from sweep.imports import import_modules, imports_of, recorded_imports, require_importable
from sweep.on_ray.cluster import RaySession
from sweep.on_ray.runner import run
from sweep.specification.config import SweepConfig
from sweep.specification.trials import trials
from sweep.training.progress import NoProgress
from tests.sweep.own_lab import Lab, new_lab


def sweep(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="sweep")


def only_line(table: Result) -> str:
    assert table.exit_code == 2
    [line] = table.stderr.splitlines()
    return line


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """In the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return new_lab(tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my_lab/tasks.py", "must name a module as an import statement does, got 'my_lab/tasks.py'; did you mean"),
        ("no such", "must name a module as an import statement does, got 'no such'"),
        (
            "no_such_lab.tasks",
            "No module named 'no_such_lab'; run this in the folder that contains no_such_lab, not",
        ),
        ("LAB.task", "No module named 'LAB.task'; did you mean LAB.tasks?"),
        ("LAB.plots", "No module named 'LAB.plots'; LAB has tasks"),
    ],
)
def test_a_module_that_is_not_there(lab: Lab, name: str, said: str) -> None:
    line = only_line(sweep("plan", "tiny", "--import", name.replace("LAB", lab.name)))
    assert line.startswith("error: --import ")
    assert said.replace("LAB", lab.name) in line


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package' (FILE:6)"),
        ("1 / 0", "ZeroDivisionError: division by zero (FILE:6)"),
        ("raise SystemExit(0)", "SystemExit: 0 (FILE:6)"),
        ("def (", "SyntaxError: invalid syntax (tasks.py, line 6)"),
        (
            "@register_task('addition')\ndef taken(config): ...",
            "ConfigError: the name 'addition' is taken by this package, and NAME registers it, too; choose another",
        ),
    ],
)
def test_a_module_that_fails(lab: Lab, code: str, said: str) -> None:
    lab.write(code)
    line = only_line(sweep("plan", lab.specification(), "--import", lab.module))
    assert line.startswith(f"error: --import {lab.module} cannot be imported: ")
    assert said.replace("FILE", str(lab.file)).replace("NAME", lab.module) in line


def test_imported_it_can_be_planned_and_names_are_never_taken_from_yaml(lab: Lab) -> None:
    unknown = sweep("plan", lab.specification())
    assert unknown.exit_code == 2
    assert [line.partition(", got")[0] for line in unknown.stderr.splitlines()] == [
        f"error: {lab.name}.yaml:1: task.family must be a known family",
        f"error: {lab.name}.yaml:2: model.kind must be a known kind",
    ]
    assert "unknown key 'imports'" in sweep("plan", lab.specification(imports=lab.module)).stderr

    stated = json.loads(sweep("plan", lab.specification(), "--import", lab.module, "--json").stdout)
    assert (stated["trials"], stated["to_run"]) == (2, 2)
    planned = trials(SweepConfig(**lab.settings))
    assert imports_of(planned) == (lab.module,)
    assert all(trial.task.source and trial.model.source for trial in planned)
    assert imports_of(trials(SweepConfig())) == ()


def test_what_no_worker_can_import_is_refused() -> None:
    require_importable(["my_lab.tasks"])
    with pytest.raises(
        SweepError, match=r"by this script or notebook; put them into a file, such as my_lab/tasks\.py"
    ):
        require_importable(["__main__"])


AFTERWARDS = """
import sys
from click.testing import CliRunner
import analysis
from sweep.cli import main
results, module, specification = sys.argv[1:]
def sweep(*arguments):
    answer = CliRunner().invoke(main, arguments)
    assert not isinstance(answer.exception, Exception), answer.exception
    print(answer.exit_code, *answer.stderr.splitlines(), sep="|")
sweep("status", results)
sweep("report", results)
assert len(analysis.load(results)["trial_id"].unique()) == 2
trial = analysis.trials(results)["trial_id"][0]
sweep("measure", results, "--trial", trial)
sweep("run", specification, "--results", results)
sweep("measure", results, "--trial", trial, "--import", module)
"""


@pytest.mark.slow
def test_workers_import_it_and_results_can_be_read_without(lab: Lab, ray_session: RaySession) -> None:
    """The session was started before the folder was there, so workers know of it from us alone."""
    results = str(lab.folder / "results")
    answer = sweep("run", lab.specification(), "--import", lab.module, "--results", results)
    assert answer.exit_code == 0, answer.output
    assert recorded_imports(results) == (lab.module,)
    rows = analysis.load(results)
    assert set(rows["task_source"]) == {trials(SweepConfig(**lab.settings))[0].task.source}

    fresh = subprocess.run(
        [sys.executable, "-c", AFTERWARDS, results, lab.module, lab.specification()],
        cwd=lab.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert fresh.returncode == 0, fresh.stderr
    status, report, measured, going_on, with_import = fresh.stdout.splitlines()
    assert (status, report, with_import) == ("0", "0", "0")
    hint = f"({results} was planned with --import {lab.module})"
    code, line = measured.split("|")
    assert (code, line.endswith(hint)) == ("2", True)
    code, *lines = going_on.split("|")
    assert (code, [line.endswith(hint) for line in lines]) == ("2", [True, True])


class Notes(NoProgress):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def run_in(lab: Lab, **how: Any) -> tuple[Any, list[str]]:
    progress = Notes()
    config = SweepConfig(**lab.settings, results=str(lab.folder / "results"))
    return run(config, progress=progress, **how), progress.notes


@pytest.mark.slow
def test_an_import_that_fails_on_a_worker_is_one_message_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_session: RaySession
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    lab = new_lab(tmp_path, "from pathlib import Path\nPath(__file__).with_name('here').read_text()")
    here = lab.file.with_name("here")
    here.touch()
    import_modules([lab.module], [str(tmp_path)])
    here.unlink()

    summary, notes = run_in(lab)
    assert (summary.exit_code, summary.failed_trials, summary.problem) == (1, 2, None)
    [reason] = summary.failed.values()
    assert reason.startswith(f"ImportFailed: --import {lab.module} cannot be imported on ")
    assert f"FileNotFoundError: [Errno 2] No such file or directory: '{here}' (" in reason
    assert [note for note in notes if "failed" in note] == notes  # at once: no fault, no other attempt
    assert set(analysis.status(summary.results)["ended_reason"]) == {reason}

    here.touch()
    summary, _ = run_in(lab, retry_failed=True)
    assert (summary.exit_code, summary.done, summary.failed_trials) == (0, 2, 0)


@pytest.mark.slow
def test_another_source_on_a_worker_is_told(lab: Lab, ray_session: RaySession) -> None:
    import_modules([lab.module])
    lab.file.write_text(lab.file.read_text().replace("+ labels", "- labels"))
    summary, _ = run_in(lab)
    [reason] = summary.failed.values()
    assert "must be what the trial was planned with" in reason
    assert "give this process the same files" in reason


def test_the_error_is_of_a_kind_that_is_not_tried_again(lab: Lab) -> None:
    with pytest.raises(ImportFailed, match=" on worker-3: ModuleNotFoundError"):
        import_modules(["no_such_lab"], where=" on worker-3")


@pytest.mark.parametrize("content", ["", "[]", '{"imports": 7}', "{}", '{"imports": null}'])
def test_a_damaged_request_names_no_modules(tmp_path: Path, content: str) -> None:
    (tmp_path / "sweep.json").write_text(content)
    assert recorded_imports(str(tmp_path)) == ()
