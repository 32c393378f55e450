"""The JSON files of a results folder, checked for types: records of cohorts and of their failures, the request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from analysis.checks.findings import Damaged
from analysis.checks.reports import index_of, is_cohort_id
from analysis.errors import NewerResults

LARGEST_BYTES = 2**28
"""A JSON file with more bytes is not read: 100,000 trials take about a tenth of this."""


@dataclass(frozen=True, slots=True)
class CohortFile:
    """The content of `cohorts/<cohort_id>.json`, as far as readers need it."""

    cohort_id: str
    index: int
    configs: dict[str, dict[str, Any]]
    """Trial id -> configuration as nested plain values."""
    settings: dict[str, dict[str, Any]]
    """Trial id -> the same as columns, see `settings_of`."""
    measuring: dict[str, Any]
    stated: dict[str, Any]
    """The whole record, as plain values."""
    failed: str | None = None
    """The reason why the cohort failed for good; None if it did not."""


@dataclass(frozen=True, slots=True)
class RequestFile:
    """The content of `sweep.json`, as far as readers need it."""

    trials: list[str]
    schema_version: int
    specification: dict[str, Any] = field(default_factory=dict)
    """What was asked for, as plain values; empty if it is not known."""


#: Fields of a configuration whose column has another name; in a nested object, by its own name.
_COLUMN_OF = {"steps": "budget_steps"}
_NESTED = {
    "task": {"family": "task_family", "data": "task_data", "source": "task_source"},
    "model": {"kind": "model_kind", "source": "model_source"},
}


#: Fields that hold a number or a word; their column holds words.
_WORDS = frozenset({"spectral_start"})


def settings_of(config: dict[str, Any]) -> dict[str, Any]:
    """Flatten a trial's configuration (nested plain values) to columns: the settings, and `budget_steps`.

    `task.family` and `model.kind` become `task_family` and `model_kind`, `steps` becomes `budget_steps`; other
    nested fields lose their prefix.
    """
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if name == "drift":
            flat[name] = drift_text(value) if value else ""
        elif isinstance(value, dict):
            # As a whole: there may be 100,000 trials of 40 fields.
            flat.update(value)
            for inner, column in _NESTED.get(name, {}).items():
                if inner in value:
                    flat[column] = flat.pop(inner)
        else:
            flat[_COLUMN_OF.get(name, name)] = str(value) if name in _WORDS else value
    return flat


def drift_text(drift: Mapping[str, Mapping[str, Any]]) -> str:
    """Write drift as in a specification: `4000: {split: 1}, 8000: {family: subtraction}`; empty without drift.

    Args:
        drift: step -> the differences of the training set from that step on.
    """

    def text(value: Any) -> str:
        whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
        return str(int(value)) if whole else str(value)

    return ", ".join(
        f"{step}: {{{', '.join(f'{name}: {text(value)}' for name, value in said.items())}}}"
        for step, said in drift.items()
    )


def parse_cohort(data: bytes, cohort_id: str) -> CohortFile:
    """Read the record of a cohort.

    Args:
        data: the content of the file.
        cohort_id: the id that the file is named after.

    Raises:
        Damaged: it is not the record of that cohort.
    """
    stated = _object(data, "cohort_id", "index", "trials")
    if stated["cohort_id"] != cohort_id or not is_cohort_id(stated["cohort_id"]):
        raise Damaged(f"its cohort_id must be {cohort_id}, as its name says, got {_short(stated['cohort_id'])}")
    index, trials, measuring = stated["index"], stated["trials"], stated.get("measuring") or {}
    if type(index) is not int or index != index_of(cohort_id):
        raise Damaged(f"its index must be {index_of(cohort_id)}, as its name says, got {_short(index)}")
    if not isinstance(trials, list) or not isinstance(measuring, dict):
        raise Damaged("its trials must be a list, and its measuring an object")
    for name in ("memorised_at", "grokked_at"):
        if not (measuring.get(name) is None or _is_number(measuring[name])):
            raise Damaged(f"its {name} must be a number, got {_short(measuring[name])}")
    configs: dict[str, dict[str, Any]] = {}
    for trial in trials:
        if not (isinstance(trial, dict) and isinstance(trial.get("trial_id"), str)):
            raise Damaged("each of its trials must have a trial_id")
        if not isinstance(trial.get("config"), dict):
            raise Damaged(f"its trial {_short(trial['trial_id'])} must have a config")
        configs[trial["trial_id"]] = trial["config"]
    return CohortFile(cohort_id, index, configs, _settings(configs), measuring, stated)


def parse_failure(data: bytes) -> str:
    """Read the reason of a cohort's failure.

    Raises:
        Damaged: it is not the record of a failure.
    """
    reason = _object(data, "reason")["reason"]
    if not isinstance(reason, str):
        raise Damaged(f"its reason must be a text, got {_short(reason)}")
    return reason


def parse_request(data: bytes, path: str, newest: int) -> RequestFile:
    """Read the current request.

    Args:
        data: the content of `sweep.json`.
        path: the results folder, for messages.
        newest: the newest version of the schema that can be read.

    Raises:
        NewerResults: its schema is newer.
        Damaged: it is not a request.
    """
    stated = _object(data, "trials")
    version = stated.get("schema_version", 1)
    if type(version) is not int or version < 1:
        raise Damaged(f"its schema_version must be a whole number, got {_short(version)}")
    if version > newest:
        raise NewerResults(newer_text(path, version, newest, stated.get("package_version")))
    trials = stated["trials"]
    if not (isinstance(trials, list) and all(isinstance(trial_id, str) for trial_id in trials)):
        raise Damaged("its trials must be a list of trial ids")
    specification = stated.get("specification")
    return RequestFile(trials, version, specification if isinstance(specification, dict) else {})


def newer_text(path: str, version: int, newest: int, package_version: object) -> str:
    """Return the message for results whose schema is newer than the newest that this version reads."""
    at_least = f" >= {package_version}" if isinstance(package_version, str) and len(package_version) < 40 else ""
    return (
        f"{path} was written by a newer version, in results schema {version}, and this one reads up to {newest}; "
        f"install grokking-sweep{at_least}"
    )


def _settings(configs: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Flatten the configurations, and check that each setting has a type that its column can hold."""
    import pyarrow as pa

    from analysis.schema import SETTINGS, Column

    try:
        flat = {trial_id: settings_of(config) for trial_id, config in configs.items()}
    except (AttributeError, TypeError, OverflowError) as error:
        raise Damaged(f"its drift must be an object of objects ({error})") from None
    for column in (*SETTINGS, Column("budget_steps", pa.int64(), "step", "")):
        # A type is checked once for all trials, because there may be 100,000.
        values = [settings.get(column.name) for settings in flat.values()]
        kinds = set(map(type, values))
        if pa.types.is_integer(column.type):
            allowed = {int, type(None)} if column.nullable else {int}
            right = kinds <= allowed and all(value is None or -(2**63) <= value < 2**63 for value in set(values))
        elif pa.types.is_floating(column.type):
            right = kinds <= {int, float, type(None)} and all(map(_fits, set(values)))
        else:
            right = kinds <= {str, type(None)}
        if not right:
            raise Damaged(f"the setting {column.name} of a trial has a value of another kind than its column")
    return flat


def _fits(value: float | None) -> bool:
    return not isinstance(value, int) or abs(value) < 2**63


def _is_number(value: object) -> bool:
    return type(value) is float or (type(value) is int and abs(value) < 2**63)


def _object(data: bytes, *needed: str) -> dict[str, Any]:
    """Read a JSON object that must have these keys."""
    try:
        stated = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"it is no valid JSON ({_short(str(error))})") from None
    if not isinstance(stated, dict):
        raise Damaged("it is no JSON object")
    missing = sorted(set(needed) - stated.keys())
    if missing:
        raise Damaged(f"it lacks {', '.join(missing)}")
    return stated


def _short(value: object) -> str:
    """Write a value of unknown size and content in one short line."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
