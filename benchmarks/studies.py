"""Shared by the pages of docs that keep their results: small Parquet, and tables written into the page."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import analysis
from analysis.results_folder import ResultsFolder
from analysis.schema import TABLES, arrow_schema


def spread(values: Iterable[float], form: str = ",.0f", unit: str = "") -> str:
    """Write median and range: `43.6 (42.2 to 43.8)`."""
    known = np.array(list(values), dtype=float)
    if not len(known):
        return "–"
    middle, low, high = (f"{value:{form}}" for value in (np.median(known), known.min(), known.max()))
    return f"{middle}{unit}" if low == high else f"{middle}{unit} ({low} to {high})"


def pack(results: str, folder: Path, tables: Sequence[str]) -> None:
    """Put these tables into a folder, one file for each cohort and table, for the requested trials that began."""
    source = ResultsFolder(results)
    begun = {str(trial_id) for trial_id in analysis.load(results, ["step"])["trial_id"]} & set(source.request())
    holders = {trial: cohort for trial, cohort in source.cohort_of_trials().items() if trial in begun}
    for cohort_id in sorted({cohort.cohort_id for cohort in holders.values()}):
        own = [trial for trial, cohort in holders.items() if cohort.cohort_id == cohort_id]
        stated = json.loads((Path(results) / "cohorts" / f"{cohort_id}.json").read_text())
        stated["trials"] = [trial for trial in stated["trials"] if trial["trial_id"] in own]
        write_json(folder / "cohorts" / f"{cohort_id}.json", stated)
        for name in tables:
            table = source.table(name, [column.name for column in TABLES[name]], own)
            # Sort as text, because Arrow does not sort dictionaries.
            table = table.set_column(0, "trial_id", table["trial_id"].cast(pa.string()))
            order = [key for key in ("trial_id", "step", "epsilon") if key in table.column_names]
            table = table.take(pc.sort_indices(table, [(key, "ascending") for key in order]))
            target = folder / "tables" / name / f"{cohort_id}-000-00000.parquet"
            target.parent.mkdir(parents=True, exist_ok=True)
            # A column that is newer than the results is missing here as it is there.
            fields = [field for field in arrow_schema(name) if field.nullable or not table[field.name].null_count]
            # In schema 1, which has no checksums: columns may be missing, and the page shows if a file was altered.
            table = table.select([field.name for field in fields]).cast(
                pa.schema(fields, {**arrow_schema(name).metadata, b"schema_version": b"1"})
            )
            pq.write_table(table, target, compression="zstd", compression_level=19)
    asked = json.loads((Path(results) / "sweep.json").read_text())
    write_json(folder / "sweep.json", {"name": asked["name"], "trials": sorted(holders)})


def write_json(file: Path, values: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def write(page: Path, tables: Mapping[str, str]) -> None:
    """Put the tables into a page, each after the comment that names it."""
    text = page.read_text(encoding="utf-8")
    for title, table in tables.items():
        text, times = re.subn(rf"(<!-- {title} -->\n\n)(\|.*\n)+", rf"\g<1>{table}\n", text)
        if times != 1:
            raise SystemExit(f"{page} must have one table after <!-- {title} -->, got {times}")
    page.write_text(text, encoding="utf-8")


def page_main(
    about: str | None,
    page: Path,
    data: Path,
    packed: Sequence[str],
    tables: Callable[[], Mapping[str, str]],
    draw: Callable[[], object],
    *,
    several: bool = False,
) -> None:
    """Run the command line of a page of docs: print its tables; with options draw, write the page, or keep results.

    Args:
        about: the script's docstring.
        page: the page that the tables belong to.
        data: the folder of docs/data that keeps the results.
        packed: the tables of `analysis.schema` that are kept.
        tables: returns title -> table.
        draw: draws the pictures of the page.
        several: whether the folder keeps several studies, each under a name.
    """
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("--draw", action="store_true", help="draw the pictures, too")
    parser.add_argument("--write", action="store_true", help=f"put the tables into docs/{page.name}")
    names = ("RESULTS", "NAME") if several else ("RESULTS",)
    parser.add_argument("--pack", nargs=len(names), metavar=names, help=f"put results into docs/data/{data.name}")
    arguments = parser.parse_args()
    if arguments.pack:
        results, *name = arguments.pack
        pack(results, data.joinpath(*name), packed)
        return
    if arguments.draw:
        draw()
    shown = tables()
    if arguments.write:
        write(page, shown)
    for title, table in shown.items():
        print(f"{title}\n\n{table}\n")
