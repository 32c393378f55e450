"""Frames from a results folder: rows with their settings, the other tables, and the status of each trial.

In every frame text is a category (except sentences), and whole numbers that may be empty are floats with NaN.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.errors import AnalysisError, MixedMethods
from analysis.results_folder import ResultsFolder, opened

if TYPE_CHECKING:
    import pandas as pd

#: A path, or a folder that is opened already and so is read in one state.
Results = str | Path | ResultsFolder

#: The endings of a trial; a trial without an ending is planned, or runs, or was interrupted.
ENDINGS = ("grokked", "budget", "stopped", "diverged", "failed")
#: The statuses of a planned trial: its ending, or its state before that.
STATUSES = ("planned", "unfinished", *ENDINGS)
#: The columns that `load` joins to each row besides the settings.
FACTS = (
    *("budget_steps", "ended_because", "memorised_at", "grokked_at", "complexity_method"),
    *("stop_rule", "stop_probability", "parked", "cell_grokked", "cell_failed", "lanes", "sweep"),
)
#: Columns that depend on the complexity method.
_OF_THE_METHOD = frozenset({"complexity_bytes", "description_length_bits", "complexity_method"})
#: Columns that decisions of the parking rule complete.
_OF_PARKING = frozenset({"parked", "cell_grokked", "cell_failed"})


def load(
    path: Results | Sequence[str | Path], columns: Sequence[str] | None = None, *, mix_methods: bool = False
) -> pd.DataFrame:
    """Load one row per (trial, evaluated step), settings joined, sorted by trial and step.

    Every trial in the folder is included, ended or not. Each row counts once, whatever was restarted, see
    `analysis.results_folder`. Files that are damaged are left out, and a `ResultsWarning` names them and what is
    missing.

    Args:
        path: the results folder, local or `s3://...`, or one that is opened; or several paths, which the column
            `sweep` tells apart. A trial that several hold is taken from the one that has followed it furthest.
        columns: the columns to load, from the table `rows`, the settings, and the facts below; by default all. Only
            these are read. `trial_id`, `step` and `phase` are always included.
        mix_methods: allow trials measured by different complexity methods in one frame; the column
            `complexity_method` tells them apart.

    Returns:
        The columns of `analysis.schema.ROWS`, the rest of `analysis.schema.SETTINGS`, and the facts
        `budget_steps`, `ended_because` (missing while a trial runs or is interrupted), `memorised_at` and
        `grokked_at` (missing while a trial runs if they are the task's own), `complexity_method` (missing
        if nothing has been measured), `stop_rule` (`none` without one, missing if it is not known),
        `stop_probability` (of a trial that the rule has stopped), `parked` (whether it waits with its state for a
        lane, or has ended so), `cell_grokked` and `cell_failed` (of a trial that waits and that the parking rule
        has given up: other seeds of its setting that were known then), `lanes` (how many trials its process trains
        at once, missing if it is not known), `sweep` (the path, as it was given). `attrs` of the frame has the unit
        and the meaning of each column.

    Raises:
        ResultsNotFound: the path holds no results.
        NewerResults: a newer version wrote the results.
        MixedMethods: there are complexities of several methods, and `mix_methods` is off.
        AnalysisError: a column does not exist, or a file cannot be reached.
    """
    if isinstance(path, (str, Path, ResultsFolder)):
        return _load(path, columns, mix_methods)
    if not path:
        raise AnalysisError("at least one results folder must be given, got an empty list")
    return _together([_load(one, columns, mix_methods) for one in path], path, mix_methods)


def _load(path: Results, columns: Sequence[str] | None, mix_methods: bool) -> pd.DataFrame:
    """Load one results folder."""
    from analysis.schema import ROWS, SETTINGS

    of_rows = [column.name for column in ROWS]
    joinable = [column.name for column in SETTINGS if column.name not in of_rows] + list(FACTS)
    return _rows(opened(path), _selection(columns, [*of_rows, *joinable]), of_rows, mix_methods)[0]


def _rows(
    folder: ResultsFolder, wanted: Sequence[str], of_rows: Sequence[str], mix_methods: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of a folder, with the facts joined that are wanted, and the facts."""
    from analysis.schema import described

    frame = _frame(folder.table("rows", [name for name in wanted if name in of_rows]), "rows")
    frame = _sorted(frame, ["trial_id", "step"])
    joined = [name for name in wanted if name not in of_rows]
    facts = _facts(folder)
    if _OF_THE_METHOD & set(wanted):
        facts["complexity_method"] = _methods(folder, mix_methods).reindex(facts.index)
    if _OF_PARKING & set(wanted):
        _add_waiting(facts, folder, _last_steps(frame))
    if joined:
        of_trials = facts.reindex(frame["trial_id"].cat.categories)
        codes = frame["trial_id"].cat.codes.to_numpy()
        for name in joined:
            frame[name] = of_trials[name].array.take(codes)
    return described(frame[list(wanted)], "trials", "rows"), facts


def _together(frames: list[pd.DataFrame], paths: Sequence[str | Path], mix_methods: bool) -> pd.DataFrame:
    """Put the rows of several sweeps into one frame, each trial from the sweep that has followed it furthest."""
    import pandas as pd

    from analysis.schema import described

    if "complexity_method" in frames[0].columns:
        methods = {method for frame in frames for method in frame["complexity_method"].dropna().unique()}
        _refuse_mix(methods, mix_methods, ", ".join(map(str, paths)))
    furthest: dict[str, tuple[int, int]] = {}
    for place, frame in enumerate(frames):
        for trial, step in frame.groupby("trial_id", observed=True)["step"].max().items():
            furthest[str(trial)] = max(furthest.get(str(trial), (-1, 0)), (int(step), -place))
    kept = [
        frame[frame["trial_id"].astype("str").map(lambda trial, place=place: furthest[trial][1] == -place)]
        for place, frame in enumerate(frames)
    ]
    for name in frames[0].columns:
        if frames[0][name].dtype == "category":
            words = sorted({word for frame in frames for word in frame[name].cat.categories}, key=by_size)
            ordered = pd.CategoricalDtype(list(ENDINGS) if name == "ended_because" else words)
            kept = [frame.assign(**{name: frame[name].astype(ordered)}) for frame in kept]
    rows = pd.concat(kept).sort_values(["trial_id", "step"], kind="stable", ignore_index=True)
    return described(rows, "trials", "rows")


def trials(path: Results) -> pd.DataFrame:
    """Load the table `trials`: one row per trial that has ended, sorted by trial."""
    return _table(path, "trials", ["trial_id"])


def complexity(path: Results, *, mix_methods: bool = False) -> pd.DataFrame:
    """Load the table `complexity`: one row per trial, measured step and epsilon, sorted by these.

    Raises:
        MixedMethods: there are complexities of several methods, and `mix_methods` is off.
    """
    folder = opened(path)
    frame = _table(folder, "complexity", ["trial_id", "step", "epsilon"])
    _refuse_mix(frame["method"].dropna().unique(), mix_methods, folder.path)
    return frame


def matrices(path: str | Path) -> pd.DataFrame:
    """Load the table `matrices`: one row per trial, measured step and weight matrix, sorted by these."""
    return _table(path, "matrices", ["trial_id", "step", "matrix"])


def decisions(path: str | Path) -> pd.DataFrame:
    """Load the table `decisions`: one row each time that the parking rule has moved a trial, and why."""
    return _table(path, "decisions", ["trial_id", "step"])


def networks(path: str | Path, trial_ids: Collection[str] | None = None) -> pd.DataFrame:
    """Load the table `networks`: one row per kept network, its weights as the bytes of a safetensors file.

    Args:
        path: the results folder, local or `s3://...`.
        trial_ids: only these trials; by default all, which may be large.
    """
    return _table(path, "networks", ["trial_id", "step"], trial_ids)


def kept_steps(path: Results, trial_ids: Collection[str]) -> pd.DataFrame:
    """Load `trial_id` and `step` of each kept network of some trials, without the networks."""
    frame = _frame(opened(path).table("networks", ["trial_id", "step"], trial_ids), "networks")
    return _sorted(frame, ["trial_id", "step"])


def status(path: str | Path) -> pd.DataFrame:
    """Return one row per trial of the current request, in its order, with the trial's status.

    Returns:
        `trial_id`; `status`: `planned` (no rows), `unfinished` (rows but no ending: the trial runs or was
        interrupted), or its ending: `grokked budget stopped diverged failed`; `last_step` (missing if planned);
        `ended_reason` (a sentence, missing if not ended); `cohort_id`; the settings and `budget_steps` (missing for
        a trial that is not in a cohort yet). Unlike in other frames, whole numbers are `Int64`.
    """
    folder = ResultsFolder(path)
    rows = _frame(folder.table("rows", ["trial_id", "step"]), "rows")
    return _status(folder, _facts(folder), _last_steps(rows))


def status_and_rows(
    path: Results, columns: Sequence[str] | None = None, *, mix_methods: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame, float | None]:
    """Return what `status` and `load` return, from one state of the folder and reading its tables once.

    Args:
        path: the results folder, local or `s3://...`, or one that is opened.
        columns: the columns of the rows, as for `load`.
        mix_methods: as for `load`.

    Returns:
        The status of each requested trial, the rows of all trials, and the price of an hour of one process in the
        sweep's specification, None without one.
    """
    from analysis.schema import ROWS, SETTINGS

    folder, of_rows = opened(path), [column.name for column in ROWS]
    known = [*of_rows, *(c.name for c in SETTINGS if c.name not in of_rows), *FACTS]
    rows, facts = _rows(folder, _selection(columns, known), of_rows, mix_methods)
    return _status(folder, facts, _last_steps(rows)), rows, price_per_hour(folder)


def price_per_hour(path: Results) -> float | None:
    """Return the price of an hour of one process in a sweep's specification; None without one."""
    price = opened(path).specification.get("price_per_hour")
    return float(price) if isinstance(price, int | float) and not isinstance(price, bool) and price >= 0 else None


def _status(folder: ResultsFolder, facts: pd.DataFrame, last_steps: pd.Series[Any]) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa

    from analysis.schema import SETTINGS

    asked = pd.Index(folder.request(), dtype="str", name="trial_id")
    settings = [column.name for column in SETTINGS]
    names = ["last_step", "ended_reason", "cohort_id", *settings, "budget_steps"]

    result = facts.reindex(asked)
    result["last_step"] = last_steps.reindex(asked).astype("float64")
    statuses = result["last_step"].isna().map({True: "planned", False: "unfinished"})
    statuses = statuses.where(result["ended_because"].isna(), result["ended_because"].astype("str"))
    result["status"] = statuses.astype(pd.CategoricalDtype(list(STATUSES)))
    whole = ["last_step", "budget_steps", *(column.name for column in SETTINGS if pa.types.is_integer(column.type))]
    return result[["status", *names]].astype(dict.fromkeys(whole, "Int64")).reset_index()


def _table(path: Results, name: str, order: list[str], trial_ids: Collection[str] | None = None) -> pd.DataFrame:
    from analysis.schema import TABLES, described

    columns = [column.name for column in TABLES[name]]
    return described(_sorted(_frame(opened(path).table(name, columns, trial_ids), name), order), name)


def _frame(table: Any, name: str) -> pd.DataFrame:
    """Make a frame whose types depend on the schema, not on which values happen to be missing."""
    import pyarrow as pa

    from analysis.schema import TABLES

    for column in TABLES[name]:
        index = table.schema.get_field_index(column.name)
        if index >= 0 and column.nullable and pa.types.is_integer(column.type):
            table = table.set_column(index, column.name, table[column.name].cast(pa.float64()))
    # A block of memory for each column: blocks of many columns would be copied twice, here and to be sorted.
    frame: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True)
    return frame


def _sorted(frame: pd.DataFrame, order: list[str]) -> pd.DataFrame:
    for name in frame.columns:
        if frame[name].dtype == "category":
            frame[name] = frame[name].cat.reorder_categories(sorted(frame[name].cat.categories, key=by_size))
    return frame.sort_values(order, kind="stable", ignore_index=True)


def _facts(folder: ResultsFolder) -> pd.DataFrame:
    """Collect settings and facts of every trial in the cohorts, indexed by trial id as text."""
    import pandas as pd

    from analysis.schema import SETTINGS

    cohort_of = folder.cohort_of_trials()
    cohorts = list(cohort_of.values())
    settings = [cohort.settings[trial_id] for trial_id, cohort in cohort_of.items()]
    own = ["memorised_at", "grokked_at", "stop_rule"]
    stated = {
        "cohort_id": [cohort.cohort_id for cohort in cohorts],
        "failed": [cohort.failed for cohort in cohorts],
        "lanes": [cohort.stated.get("lanes") for cohort in cohorts],
        "memorised_at": [cohort.measuring.get("memorised_at") for cohort in cohorts],
        "grokked_at": [cohort.measuring.get("grokked_at") for cohort in cohorts],
        "stop_rule": [cohort.stated.get("stop_rule") for cohort in cohorts],
        # Column by column: a dictionary for each trial takes ten times as long.
        **{name: [one.get(name) for one in settings] for name in [*(c.name for c in SETTINGS), "budget_steps"]},
    }
    facts = pd.DataFrame(stated, index=pd.Index(list(cohort_of), dtype="str", name="trial_id"))
    facts["sweep"] = folder.path.rstrip("/")

    own += ["ended_because", "ended_reason", "stop_probability", "parked"]
    ended = _frame(folder.table("trials", ["trial_id", *own]), "trials").set_index("trial_id")
    ended = _by_text(ended).reindex(facts.index)
    failed = ended["ended_because"].isna() & facts["failed"].notna()
    because = ended["ended_because"].astype("object").where(~failed, "failed")
    facts["ended_because"] = pd.Categorical(because, categories=ENDINGS)
    facts["ended_reason"] = ended["ended_reason"].astype("object").where(~failed, facts["failed"]).astype("str")
    for name in ("memorised_at", "grokked_at"):
        facts[name] = ended[name].fillna(facts[name].astype(float))
    rules = ended["stop_rule"].astype("object")
    facts["stop_rule"] = rules.where(rules.notna(), facts["stop_rule"]).astype("str").astype("category")
    facts["stop_probability"] = ended["stop_probability"].astype("float64")
    facts["parked"] = ended["parked"].astype("object").eq(True)
    facts["lanes"] = pd.to_numeric(facts["lanes"], errors="coerce").astype("float64")
    return _typed_settings(facts)


def _last_steps(rows: pd.DataFrame) -> pd.Series[Any]:
    """Return trial id as text -> last evaluated step."""
    return _by_text(rows.groupby("trial_id", observed=True)[["step"]].max())["step"]


def _add_waiting(facts: pd.DataFrame, folder: ResultsFolder, last_steps: pd.Series[Any]) -> None:
    """Tell which trials are parked at present and, where their patience is over, what was known of their cell."""
    evidence = ["cell_grokked", "cell_failed"]
    for name in evidence:
        facts[name] = math.nan
    open_trials = set(facts.index[facts["ended_because"].isna()])
    if not open_trials:
        return
    decided = _frame(
        folder.table("decisions", ["trial_id", "step", "decision", *evidence], open_trials), "decisions"
    )
    decided = decided.sort_values("step", kind="stable").drop_duplicates("trial_id", keep="last")
    decided = _by_text(decided.set_index("trial_id"))
    # A trial that has been trained since then was resumed, also where that is no decision: by a larger budget.
    decided = decided[decided["step"].eq(last_steps.reindex(decided.index))]
    given_up = decided[decided["decision"].eq("given up")]
    facts.loc[[*decided.index[decided["decision"].eq("parked")], *given_up.index], "parked"] = True
    facts.loc[given_up.index, evidence] = given_up[evidence].astype("float64")


def by_size(value: Any) -> tuple[float, str]:
    """Return a sort key for a setting's value: numbers by size, also those written as words, then other words."""
    try:
        return float(value), ""
    except ValueError:
        return math.inf, str(value)


def _typed_settings(facts: pd.DataFrame) -> pd.DataFrame:
    """Give settings the types of the schema: texts are categories, numbers that may be empty or missing floats."""
    import pandas as pd
    import pyarrow as pa

    from analysis.schema import SETTINGS

    for column in SETTINGS:
        if pa.types.is_dictionary(column.type):
            words = sorted(facts[column.name].dropna().unique(), key=by_size)
            facts[column.name] = pd.Categorical(facts[column.name], categories=words)
        elif column.nullable or pa.types.is_floating(column.type):
            facts[column.name] = facts[column.name].astype("float64")
        else:
            facts[column.name] = facts[column.name].astype("int64")
    facts["budget_steps"] = facts["budget_steps"].astype("int64")
    for name in ("cohort_id", "sweep"):
        facts[name] = facts[name].astype("category")
    return facts


def _methods(folder: ResultsFolder, mix_methods: bool) -> pd.Series[Any]:
    """Return trial id as text -> complexity method, for the trials that were measured."""
    measured = _frame(folder.table("complexity", ["trial_id", "method"]), "complexity").drop_duplicates()
    _refuse_mix(measured["method"].unique(), mix_methods, folder.path)
    # A trial that a newer version resumed may have two methods; the last one measured it to the end.
    measured = measured.drop_duplicates("trial_id", keep="last")
    return _by_text(measured.set_index("trial_id"))["method"]


def _refuse_mix(methods: Iterable[str], mix_methods: bool, path: str | Path) -> None:
    names = sorted(str(method) for method in methods)
    if len(names) > 1 and not mix_methods:
        raise MixedMethods(
            f"{path} holds complexities of {len(names)} methods ({', '.join(names)}), which are different "
            "quantities; pass mix_methods=True and keep them apart by method, or load columns without complexity"
        )


def _by_text(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with its index of trial ids as text, so that other frames can be aligned with it."""
    return frame.set_axis(frame.index.astype("str"), axis=0)


def _selection(columns: Sequence[str] | None, known: list[str]) -> list[str]:
    """Return `trial_id`, `step`, `phase` and the requested columns, in their order; all known ones by default."""
    if columns is None:
        return known
    problems = []
    for name in columns:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            problems.append(f"{name!r}" + (f" (did you mean {near[0]}?)" if near else ""))
    if problems:
        raise AnalysisError(f"no such column: {', '.join(problems)}; known are {', '.join(known)}")
    # Always include `phase`; otherwise callers would pool phases.
    always = ["trial_id", "step", "phase"]
    return [*always, *(name for name in dict.fromkeys(columns) if name not in always)]
