"""Damaged files through the functions behind the commands: how many are left out and named, refused, or raise.

    python benchmarks/mutations.py [--count 2000] [--seed 0] [--target tables] [--json]

Trains a tiny sweep, and then damages one file of it after another: cut short, emptied, bytes flipped, replaced by
another file or by noise, zeros at the end. After each, `load`, `complexity`, `status`, the check and the plan
are asked, and after each of a few also the report; the file is then put back. The target `tables-1` has tables as
schema 1 wrote them, without checksums. Ctrl-C ends with what was counted so far. Another kind of file becomes a
target by an entry in `TARGETS`.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

import analysis
from analysis.errors import AnalysisError, OlderResults, ResultsWarning
from analysis.report import write_report
from sweep.errors import SweepError
from sweep.plan.plan import plan
from sweep.results.store import Store
from sweep.specification.config import SweepConfig
from sweep.training import cohort_training
from sweep.training.here import run_here
from trainables.errors import TrainablesError

REPORT_EACH = 100
"""One mutation of this many also goes through `write_report`, which draws pictures and so is slow."""

REFUSALS = (AnalysisError, SweepError, TrainablesError)
"""What the command prints as one line."""


@dataclass(frozen=True)
class Folder:
    """A finished tiny sweep."""

    config: SweepConfig
    path: Path


@dataclass(frozen=True)
class Target:
    """A kind of file that is damaged, and what is asked afterwards."""

    files: Callable[[Folder], list[Path]]
    prepare: Callable[[Folder], None]
    """Done once."""
    compacted: bool
    """Whether the reports of the sweep are put together, which schema 1 never did."""
    ask: Callable[[Folder, bool], object]
    """What a user sees: compared with the answer before the damage. The flag asks for the report, too."""


def make(path: Path, *, compacted: bool) -> Folder:
    """Train a tiny sweep with several reports, which are put together at its end or not."""
    config = SweepConfig(
        task={"modulus": 7},
        model={"width": 8, "heads": 2},
        data_fraction=0.5,
        steps=96,
        seeds=3,
        stop="none",
        keep_networks="final",
        results=str(path),
    )
    cohort_training.STEP_BLOCKS = cohort_training.REPORT_BLOCKS = 1
    if not compacted:
        cohort_training.compact = lambda _store, _cohort: None
    run_here(config)
    return Folder(config, path)


def table_files(folder: Folder) -> list[Path]:
    """List the files of all tables."""
    return sorted(folder.path.glob("tables/*/*.parquet"))


def without_checksums(folder: Folder) -> None:
    """Write all tables again as schema 1 did."""
    for file in table_files(folder):
        content = pq.read_table(file)
        metadata = {"schema_version": "1", "table": file.parent.name}
        pq.write_table(content.replace_schema_metadata(metadata), file, compression="zstd")


def ask_tables(folder: Folder, report: bool) -> object:
    """Ask everything that the commands ask of tables."""
    path = str(folder.path)
    rows, status = analysis.load(path, mix_methods=True), analysis.status(path)
    complexity = analysis.complexity(path, mix_methods=True)
    store = Store(path)
    planned = plan(folder.config, store, parallel=1)
    store.check()
    if report:
        with tempfile.TemporaryDirectory() as output:
            write_report(path, output)
    return [frame.to_csv() for frame in (rows, status, complexity)], planned.to_run


TARGETS: dict[str, Target] = {
    "tables": Target(table_files, lambda _: None, True, ask_tables),
    "tables-1": Target(table_files, without_checksums, False, ask_tables),
}


def mutations(others: Sequence[bytes]) -> dict[str, Callable[[bytes, random.Random], bytes]]:
    """Return what can happen to a file, by name.

    Args:
        others: the contents of all files of the kind.
    """

    def flip(data: bytes, draw: random.Random, count: int) -> bytes:
        altered = bytearray(data)
        for _ in range(count):
            altered[draw.randrange(len(altered))] ^= draw.randrange(1, 256)
        return bytes(altered)

    def zeros(data: bytes, draw: random.Random) -> bytes:
        at = draw.randrange(len(data))
        return data[:at] + bytes(len(data) - at)

    return {
        "cut short": lambda data, draw: data[: draw.randrange(1, len(data))],
        "empty": lambda _data, _draw: b"",
        "one byte": lambda data, draw: flip(data, draw, 1),
        "eight bytes": lambda data, draw: flip(data, draw, 8),
        "footer": lambda data, draw: data[:-600] + flip(data[-600:], draw, 2),
        "zeros at the end": zeros,
        "another file": lambda data, draw: draw.choice([other for other in others if other != data]),
        "noise": lambda data, draw: draw.randbytes(len(data)),
        "longer": lambda data, draw: data + draw.randbytes(8),
    }


def outcome(target: Target, folder: Folder, before: object, report: bool) -> tuple[str, str]:
    """Ask, and return the outcome in words, and a trace if there is one."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            after = target.ask(folder, report)
        except REFUSALS as error:
            return ("refused in one line" if "\n" not in str(error) else "refused in several lines"), ""
        except Exception:
            return "stack trace", traceback.format_exc()
    # That a table is old is said of sound ones, too.
    kinds = [warning.category for warning in caught if not issubclass(warning.category, OlderResults)]
    said = any(issubclass(kind, ResultsWarning) for kind in kinds)
    if said:
        return "left out, and said", ""
    return ("read, equal" if after == before else "read, altered in silence"), ""


def run(name: str, count: int, seed: int) -> pd.DataFrame:
    """Damage files of a target, and return a row for each mutation: its kind, its file's folder, the outcome."""
    target, draw = TARGETS[name], random.Random(seed)
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as place:
        folder = make(Path(place, "results"), compacted=target.compacted)
        target.prepare(folder)
        files = target.files(folder)
        kinds = mutations([file.read_bytes() for file in files])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            before = target.ask(folder, False)
        for number in range(count):
            kind, file = draw.choice(list(kinds)), draw.choice(files)
            content = file.read_bytes()
            began = time.perf_counter()
            try:
                file.write_bytes(kinds[kind](content, draw))
                word, trace = outcome(target, folder, before, report=number % REPORT_EACH == 0)
            except KeyboardInterrupt:
                break
            finally:
                file.write_bytes(content)
            rows.append(
                {
                    "mutation": kind,
                    "file": file.parent.name,
                    "outcome": word,
                    "seconds": time.perf_counter() - began,
                    "trace": trace,
                }
            )
    return pd.DataFrame(rows)


def main() -> None:
    """Print a table of mutations and outcomes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", choices=sorted(TARGETS), default="tables")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    given = parser.parse_args()
    rows = run(given.target, given.count, given.seed)
    counts = pd.crosstab(rows["mutation"], rows["outcome"], margins=True)
    if given.json:
        print(json.dumps({"target": given.target, "counts": Counter(rows["outcome"])}, indent=1))
    else:
        print(counts.to_string())
        print(f"{len(rows):,} mutations of {given.target}, at most {rows['seconds'].max():.1f} s each")
        for trace, times in Counter(rows.loc[rows["trace"] != "", "trace"]).most_common(5):
            print(f"\n{times} times:\n{trace}")


if __name__ == "__main__":
    main()
