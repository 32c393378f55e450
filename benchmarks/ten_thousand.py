"""The cost of a sweep of 10,000 tiny trials besides training: memory, processor time, files, and reading.

    python benchmarks/ten_thousand.py [--json] [--trials 10000] [--results FOLDER]

Runs `sweep run benchmarks/ten_thousand.yaml` as a user would and looks at all its processes twice a second, then
runs the commands that a user would run. Processor seconds are counted up to the last look at a process, so for each
process up to half a second is missing. Takes about a quarter of an hour on two cores, and 200 MB in the folder.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

SPECIFICATION = Path(__file__).with_suffix(".yaml")
SETTINGS = 100
"""Number of settings in the specification; the number of trials determines the seeds of each."""
EVERY_S = 0.5
"""Seconds between two looks at the processes."""
SHARES = (0.1, 0.5, 1)
"""Shares of the trials done at which the driver's memory is reported."""
COHORT = "cohort processes"
IDLE = "Ray: idle workers"
"""Idle workers; a cohort's process counts as one until it has its title."""
DRIVER = "driver"

#: What the command line or title of a process says -> what it is; the first that fits.
KINDS = {
    "Trainable": COHORT,
    "ray_processes.py": "guard of the session",
    "gcs_server": "Ray: gcs",
    "raylet/raylet": "Ray: raylet",
    "runtime_env/agent": "Ray: runtime environment agent",
    "dashboard/agent": "Ray: dashboard agent",
    "dashboard/dashboard": "Ray: dashboard",
    "log_monitor": "Ray: log monitor",
    "monitor.py": "Ray: monitor",
    "ray::DashboardAgent": "Ray: dashboard agent",
    "ray::RuntimeEnvAgent": "Ray: runtime environment agent",
    "ray::": IDLE,
    "default_worker": IDLE,
}


@dataclass(frozen=True, slots=True)
class Row:
    """A figure of the table."""

    what: str
    value: float
    unit: str


@dataclass(slots=True)
class Look:
    """The driver at one moment."""

    at_s: float
    done: int
    """Number of trials that it has reported as done."""
    rss: int
    """Bytes of memory."""
    cpu_s: float
    ray_s: float
    """Processor seconds of Ray's processes so far, without idle workers."""
    training: bool
    """Whether cohorts have processes."""


@dataclass(slots=True)
class Watch:
    """Watches a command and all processes that it has started."""

    looks: list[Look] = field(default_factory=list)
    cpu_s: dict[tuple[int, float], float] = field(default_factory=dict)
    """Process, by its id and start time -> processor seconds so far."""
    kind: dict[tuple[int, float], str] = field(default_factory=dict)
    rss: dict[tuple[int, float], int] = field(default_factory=dict)
    """Largest memory seen, bytes."""
    done: int = 0
    _began: float = field(default_factory=time.monotonic)

    def listen(self, lines: Sequence[str]) -> None:
        """Take the number of trials done from what the command prints."""
        for line in lines:
            print(line, end="", file=sys.stderr)
            if match := re.match(r"([\d,]+)/[\d,]+ trials", line):
                self.done = int(match[1].replace(",", ""))

    def look(self, driver: psutil.Process) -> None:
        """Note processor time and memory of every process."""
        training = False
        for process in [driver, *driver.children(recursive=True)][::-1]:  # the driver last
            try:
                key = process.pid, process.create_time()
                with process.oneshot():
                    times, memory, words = process.cpu_times(), process.memory_info(), " ".join(process.cmdline())
            except psutil.Error:
                continue
            self.cpu_s[key] = times.user + times.system
            self.rss[key] = max(self.rss.get(key, 0), memory.rss)
            if self.kind.get(key) != COHORT:  # between two cohorts it has another title
                outcome = next((kind for mark, kind in KINDS.items() if mark in words), "other")
                self.kind[key] = DRIVER if process.pid == driver.pid else outcome
            training = training or self.kind[key] == COHORT
            if process.pid == driver.pid:
                at_s = time.monotonic() - self._began
                ray_s = sum(cpu_s for kind, cpu_s in of_ray(self.by_kind()).items() if kind != IDLE)
                self.looks.append(Look(at_s, self.done, memory.rss, self.cpu_s[key], ray_s, training))

    def by_kind(self) -> dict[str, float]:
        """Return the processor seconds of each kind of process, without the driver's."""
        seconds: dict[str, float] = defaultdict(float)
        for key, cpu_s in self.cpu_s.items():
            if self.kind[key] != DRIVER:
                seconds[self.kind[key]] += cpu_s
        return dict(seconds)

    def memory(self) -> dict[str, int]:
        """Return the largest memory of one process of each kind, bytes."""
        largest: dict[str, int] = defaultdict(int)
        for key, rss in self.rss.items():
            largest[self.kind[key]] = max(largest[self.kind[key]], rss)
        return dict(largest)


def of_ray(seconds: dict[str, float]) -> dict[str, float]:
    """Return the part of each kind's seconds that Ray's own processes took."""
    return {kind: cpu_s for kind, cpu_s in seconds.items() if kind.startswith("Ray: ")}


def run_watched(command: Sequence[str]) -> Watch:
    """Run a command to its end and watch it."""
    watch = Watch()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    reader = threading.Thread(target=watch.listen, args=(process.stderr,))
    reader.start()
    driver = psutil.Process(process.pid)
    while process.poll() is None:
        watch.look(driver)
        time.sleep(EVERY_S)
    reader.join()
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return watch


def sweep(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "sweep", *arguments]


def run_table(watch: Watch) -> list[Row]:
    """Return time and memory of the run."""
    looks = watch.looks
    training = [look for look in looks if look.training]
    first, last = training[0], training[-1]
    asked = looks[-1].done

    def rss_at(share: float) -> float:
        chosen = (look for look in training if look.done >= share * asked)
        return (last if share == 1 else next(chosen)).rss / 2**20

    rows = [
        Row("wall time", looks[-1].at_s, "s"),
        Row("of which cohorts train", last.at_s - first.at_s, "s"),
        *(Row(f"driver's memory, {share:.0%} of the trials done", rss_at(share), "MiB") for share in SHARES),
        Row(
            "driver's memory, growth from half to the end", (rss_at(1) - rss_at(0.5)) * 2**11 / asked, "KiB a trial"
        ),
        Row("driver's memory, largest, report included", max(look.rss for look in looks) / 2**20, "MiB"),
    ]
    rows += [
        Row(f"largest memory, {kind}", size / 2**20, "MiB")
        for kind, size in sorted(watch.memory().items())
        if kind != DRIVER
    ]
    tune_s, train_s = last.cpu_s - first.cpu_s, last.at_s - first.at_s
    kinds = watch.by_kind()
    parts = {
        "driver: plan, Ray's import and start": first.cpu_s,
        "driver: while cohorts train (Tune)": tune_s,
        "driver: afterwards (summary, report)": looks[-1].cpu_s - last.cpu_s,
        **kinds,
    }
    rows += [Row(f"processor, {part}", seconds, "s") for part, seconds in sorted(parts.items())]
    whole, rays = sum(parts.values()), sum(of_ray(kinds).values())
    return [
        *rows,
        Row("processor, all", whole, "s"),
        Row("processor, a trial", 1e3 * whole / asked, "ms"),
        Row("processors that cohorts got while they trained", kinds[COHORT] / train_s, ""),
        Row("processor, start of Ray's processes", first.ray_s, "s"),
        Row(
            "processor, Ray's processes, each second of training", 1e3 * (last.ray_s - first.ray_s) / train_s, "ms"
        ),
        Row("processor, Tune in the driver, each second of training", 1e3 * tune_s / train_s, "ms"),
        Row("Ray's processes, of all", rays / whole, "of 1"),
        Row("Tune in the driver, of all", tune_s / whole, "of 1"),
        Row("Ray in all", (rays + tune_s) / whole, "of 1"),
    ]


def folder_table(results: Path) -> list[Row]:
    """Return files, bytes and rows."""
    files: dict[str, list[int]] = defaultdict(list)
    for path in results.rglob("*"):
        if path.is_file():
            files[str(path.parent.relative_to(results))].append(path.stat().st_size)
    rows = [
        row
        for folder, sizes in sorted(files.items())
        for row in (
            Row(f"files in {folder}", len(sizes), ""),
            Row(f"bytes in {folder}", sum(sizes) / 1e6, "MB"),
        )
    ]
    sizes = [size for some in files.values() for size in some]
    rows += [Row("files in all", len(sizes), ""), Row("bytes in all", sum(sizes) / 1e6, "MB")]
    return rows


def timed(what: str, command: Sequence[str]) -> list[Row]:
    """Measure wall and processor time and the largest memory of a command."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall_s = time.monotonic() - began
    if status:
        sys.exit(f"{' '.join(command)} ended with {status}")
    return [
        Row(f"{what}, wall", wall_s, "s"),
        Row(f"{what}, processor", used.ru_utime + used.ru_stime, "s"),
        Row(f"{what}, largest memory", used.ru_maxrss / 2**10, "MiB"),
    ]


def reading_table(results: Path, request: Sequence[str]) -> list[Row]:
    """Run the commands that a user runs afterwards, each in a process of its own, with imports."""
    load = f"import analysis; analysis.load({str(results)!r}"
    questions: dict[str, list[str]] = {
        "import analysis, pandas, pyarrow": [sys.executable, "-c", "import pandas, pyarrow.dataset, analysis"],
        "analysis.load": [sys.executable, "-c", f"{load})"],
        "analysis.load of two columns": [sys.executable, "-c", f"{load}, ['val_accuracy', 'complexity_bytes'])"],
        "sweep status": sweep("status", str(results)),
        "sweep report": sweep("report", str(results)),
        "sweep plan, all there already": sweep("plan", *request),
    }
    rows = [row for what, command in questions.items() for row in timed(what, command)]
    report = (results / "report" / "report.html").stat().st_size
    return [*rows, Row("report.html", report / 1e6, "MB")]


def rows_table(results: Path) -> list[Row]:
    from analysis.results_folder import ResultsFolder

    folder = ResultsFolder(results)
    return [
        Row(f"rows of {table}", len(folder.table(table, ["trial_id"])), "")
        for table in ("rows", "complexity", "matrices", "trials", "networks")
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print data instead of a table")
    parser.add_argument("--trials", type=int, default=10_000, help=f"rounded to a multiple of {SETTINGS}")
    parser.add_argument("--results", type=Path, help="a new folder to keep; by default a temporary one")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as temporary:
        results: Path = arguments.results or Path(temporary, "results")
        overrides = [f"seeds={round(arguments.trials / SETTINGS)}", *arguments.overrides]
        request = [
            str(SPECIFICATION),
            "--results",
            str(results),
            *(word for override in overrides for word in ("--set", override)),
        ]
        parts: dict[str, Callable[[], list[Row]]] = {
            "plan": lambda: timed("sweep plan, nothing there", sweep("plan", *request)),
            "run": lambda: run_table(run_watched(sweep("run", *request))),
            "folder": lambda: folder_table(results),
            "rows": lambda: rows_table(results),
            "reading": lambda: reading_table(results, request),
        }
        rows = [row for part in parts.values() for row in part()]

    if arguments.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    width = max(len(row.what) for row in rows)
    for row in rows:
        print(f"{row.what:{width}}  {row.value:12,.3f}  {row.unit}".rstrip())


if __name__ == "__main__":
    main()
