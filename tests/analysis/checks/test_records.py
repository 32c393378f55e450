"""Records in JSON: what has another type is damaged, and nothing else is raised."""

from __future__ import annotations

import contextlib
import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.checks.findings import Damaged
from analysis.checks.records import parse_cohort, parse_failure, parse_request
from analysis.errors import NewerResults
from trainables.config import TrialConfig

COHORT = "c0003-0123abcd"
TRIAL = TrialConfig(steps=100)
RECORD: dict[str, Any] = {
    "cohort_id": COHORT,
    "index": 3,
    "trials": [{"trial_id": TRIAL.trial_id, "config": TRIAL.as_dict()}],
    "measuring": {"memorised_at": 0.99, "grokked_at": None},
}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value within a record."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in places(part, (*path, key)))]


def test_a_record_is_read() -> None:
    cohort = parse_cohort(json.dumps(RECORD).encode(), COHORT)
    assert cohort.configs == {TRIAL.trial_id: TRIAL.as_dict()}
    assert cohort.settings[TRIAL.trial_id]["budget_steps"] == 100


@settings(max_examples=400, deadline=None)
@given(place=st.sampled_from(places(RECORD)), value=ANYTHING)
def test_another_value_anywhere_is_taken_or_damaged(place: tuple[Any, ...], value: Any) -> None:
    record: Any = copy.deepcopy(RECORD)
    if not place:
        record = value
    else:
        inner = record
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
    for parse in (
        lambda data: parse_cohort(data, COHORT),
        parse_failure,
        lambda data: parse_request(data, "results/x", 2),
    ):
        with contextlib.suppress(Damaged, NewerResults):
            parse(json.dumps(record).encode())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"cohort_id": "../evil/x"}, "its cohort_id must be c0003-0123abcd, as its name says, got '../evil/x'"),
        ({"index": "3"}, "its index must be 3"),
        ({"index": 4}, "its index must be 3"),
        ({"trials": {}}, "its trials must be a list"),
        ({"trials": [7]}, "must have a trial_id"),
        ({"trials": [{"trial_id": "a", "config": None}]}, "must have a config"),
        ({"trials": [{"trial_id": "a", "config": {}}]}, "the setting modulus"),
        ({"measuring": {"grokked_at": "high"}}, "grokked_at must be a number"),
    ],
)
def test_wrong_types_are_named(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(Damaged) as raised:
        parse_cohort(json.dumps(RECORD | changed).encode(), COHORT)
    assert message in str(raised.value)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b"null"])
def test_what_is_no_object_is_damaged(data: bytes) -> None:
    with pytest.raises(Damaged):
        parse_cohort(data, COHORT)


def test_the_version_of_the_schema_is_read() -> None:
    def request(**changed: Any) -> bytes:
        return json.dumps({"trials": [], "package_version": "9.1.0", **changed}).encode()

    assert parse_request(request(), "results/x", 2).schema_version == 1
    assert parse_request(request(schema_version=2), "results/x", 2).schema_version == 2
    with pytest.raises(NewerResults, match=r"results schema 99.*up to 2; install grokking-sweep >= 9\.1\.0"):
        parse_request(request(schema_version=99), "results/x", 2)
    for version in ("2", None, 1.5, True, 0, -1):
        with pytest.raises(Damaged, match="its schema_version must be a whole number"):
            parse_request(request(schema_version=version), "results/x", 2)
