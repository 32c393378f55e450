"""The rows of the tables, made from measurements, and their content as Parquet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from analysis.checks.records import settings_of
from analysis.checks.reports import Report
from analysis.schema import TABLES
from sweep import __version__
from sweep.results.cohort import Cohort, KeepNetworks

if TYPE_CHECKING:
    from trainables.config import TrialConfig
    from trainables.measurement import Measurement


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """Columns of an ended trial's row that do not come from its measurement."""

    cohort: Cohort
    device: str
    threads: int
    reproducible: str | Mapping[str, str]
    """What holds for the bits of its rows, `across machines`, `here` or `no` (`trainables.lanes.company`): for all
    trials, or trial id -> what holds."""
    marked_at_step: Mapping[str, int] = field(default_factory=dict)
    """Audited trials that the rule would have stopped: trial id -> step."""
    decisions: Sequence[Mapping[str, Any]] = ()
    """Rows of the table `decisions`."""


def parquet(
    table: str, rows: list[dict[str, Any]], report: Report, other_tables: Mapping[str, int] | None = None
) -> bytes:
    """Return rows of a table as the content of a Parquet file, with its checksum.

    Args:
        table: one of `analysis.schema.TABLES`.
        rows: its rows.
        report: the report that they belong to.
        other_tables: for the table `rows`: table -> bytes of the report's file in it.
    """
    import pyarrow as pa

    from analysis.checks.tables import sealed
    from analysis.schema import arrow_schema

    # With the schema given, a column of nothing but None keeps its type; inferred, it would have none.
    content = pa.Table.from_pylist(rows, schema=arrow_schema(table))
    return sealed(content, report, __version__, other_tables or {})


def table_rows(measurements: Iterable[Measurement], context: RunContext) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of all tables, sorted by trial and step."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    rows["decisions"] += sorted(map(dict, context.decisions), key=lambda row: (row["trial_id"], row["step"]))
    trials = {trial.trial_id: trial for trial in context.cohort.trials}
    # In one order, whichever lanes the trials were in and whenever they were measured.
    for measurement in sorted(measurements, key=lambda entry: (entry.trial_id, entry.step)):
        key = {"trial_id": measurement.trial_id, "step": measurement.step}
        if measurement.end is None or not measurement.end.parked:
            rows["rows"].append(_fields(measurement, "rows"))
            rows["complexity"] += [key | _fields(entry, "complexity") for entry in measurement.complexities]
            rows["matrices"] += [key | _fields(entry, "matrices") for entry in measurement.matrices]
        if measurement.end is not None:
            rows["trials"].append(_trial_row(measurement, trials[measurement.trial_id], context))
        if measurement.network is not None and is_kept(context.cohort.keep_networks, measurement):
            from safetensors.torch import save

            # safetensors refuses tensors whose memory is not in order, such as views of a transposed weight.
            network = {name: tensor.contiguous() for name, tensor in measurement.network.items()}
            rows["networks"].append(key | {"safetensors": save(network)})
    return rows


def _fields(record: object, table: str) -> dict[str, Any]:
    """Return the fields of a record that are columns of a table."""
    # What a record does not have comes from elsewhere: the trial, its settings, or the context of the run.
    names = (column.name for column in TABLES[table])
    return {name: getattr(record, name) for name in names if hasattr(record, name)}


def is_kept(keep: KeepNetworks, measurement: Measurement) -> bool:
    """Check whether the network of a measurement goes into the table `networks`."""
    end = measurement.end
    if keep == "measured" and end is not None and end.parked:
        return measurement.complexity_bytes is None  # where it was measured, its network has been kept there
    return keep == "measured" or (keep == "final" and end is not None)


def _trial_row(measurement: Measurement, trial: TrialConfig, context: RunContext) -> dict[str, Any]:
    import torch

    from trainables.complexity import METHOD
    from trainables.sizes import zstd_version
    from trainables.tasks import build_task

    cohort, end, said = context.cohort, measurement.end, context.reproducible
    assert end is not None
    task = build_task(trial.task)
    memorised_at, grokked_at = cohort.measuring.thresholds(task)
    return {
        **_fields(measurement, "trials"),
        **settings_of(trial.as_dict()),
        "cohort_id": cohort.cohort_id,
        "ended_because": end.ending.because,
        "ended_at_step": measurement.step,
        "ended_reason": end.ending.reason,
        "spectral_started_at_step": end.spectral_started_at_step,
        "stop_probability": end.ending.probability,
        "audited": cohort.audits(trial.trial_id),
        "marked_at_step": context.marked_at_step.get(trial.trial_id),
        "parked": end.parked,
        "stop_rule": cohort.stop_rule,
        "memorised_at": memorised_at,
        "grokked_at": grokked_at,
        "epsilon": cohort.measuring.epsilon,
        "complexity_method": METHOD,
        "parameters": end.parameters,
        "training_examples": end.training_examples,
        "validation_examples": end.validation_examples,
        "classes": task.classes,
        "bzip2_bytes": end.bzip2_bytes,
        "device": context.device,
        "threads": context.threads,
        "reproducible": said if isinstance(said, str) else said[trial.trial_id],
        "torch_version": torch.__version__,
        "zstd_version": zstd_version(),
        "package_version": __version__,
    }
