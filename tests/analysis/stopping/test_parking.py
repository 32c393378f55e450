from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import AnalysisError
from analysis.stopping.parking import Evidence, ParkingParameters, parks, patience
from analysis.stopping.stall import StallParameters


@pytest.mark.parametrize(
    ("grokked", "failed", "factor"),
    [(0, 0, 1.0), (0, 1, 0.3), (0, 2, 0.1), (0, 9, 0.1), (1, 0, 1.4), (1, 5, 1.4), (3, 1, 1.4)],
)
def test_patience_follows_the_evidence_of_the_cell(grokked: int, failed: int, factor: float) -> None:
    assert patience(Evidence(grokked, failed)) == pytest.approx(ParkingParameters().patience * factor)


@given(st.integers(0, 5), st.integers(0, 5))
def test_a_grok_never_shortens_patience_and_a_failure_never_prolongs_it(grokked: int, failed: int) -> None:
    here = patience(Evidence(grokked, failed))
    assert patience(Evidence(grokked + 1, failed)) >= here
    assert patience(Evidence(grokked, failed + 1)) <= here


def test_without_cells_evidence_does_not_count() -> None:
    alone = ParkingParameters(cells=False)
    assert {patience(Evidence(g, f), alone) for g in range(3) for f in range(3)} == {alone.patience}
    assert not parks(0.2, Evidence(0, 3), parked_before=False, parameters=alone)


def test_the_first_look_comes_once_and_not_in_a_cell_that_grokked() -> None:
    nothing, grok = Evidence(0, 0), Evidence(1, 0)
    rule = ParkingParameters(patience=0.39)
    assert not parks(0.07, nothing, parked_before=False, parameters=rule)
    assert parks(0.09, nothing, parked_before=False, parameters=rule)
    assert not parks(0.09, nothing, parked_before=True, parameters=rule)
    assert not parks(0.09, grok, parked_before=False, parameters=rule)
    assert parks(0.40, nothing, parked_before=True, parameters=rule)
    assert not parks(0.40, grok, parked_before=True, parameters=rule)
    assert parks(0.56, grok, parked_before=True, parameters=rule)


def test_the_name_tells_rules_apart() -> None:
    names = {
        rule.name
        for rule in (
            ParkingParameters(),
            ParkingParameters(patience=0.3),
            ParkingParameters(stall=StallParameters(signal="complexity")),
        )
    }
    assert len(names) == 3
    assert all(name.startswith("park-2(") for name in names)


@pytest.mark.parametrize(
    "values",
    [
        {"patience": 0},
        {"first_look": 1.5},
        {"hard_accuracy": -1},
        {"after_a_grok": 0.5},
        {"after_one_failure": 0.05},
    ],
)
def test_impossible_parameters_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(AnalysisError, match="must"):
        ParkingParameters(**values)  # type: ignore[arg-type]
