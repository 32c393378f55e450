"""The report's table of compressed networks."""

from __future__ import annotations

from analysis.report.compressed import NETWORKS_SHOWN, compressed
from tests.analysis.compression.entries import entry, flagged

COST = {
    "currency": "EUR",
    "raw": {"storage": 4.0, "transfer": 0.5},
    "zstd": {"storage": 3.0, "transfer": 0.4},
    "file": {"storage": 0.25, "transfer": 0.03},
}


def test_flagged_networks_come_first_with_what_to_do() -> None:
    table = compressed([entry("a", 10), flagged("b", 2000)])
    assert [row[0] for row in table.rows] == ["b", "a"]
    assert table.flagged == {0}
    assert table.rows[0][1] == "2,000"
    assert "keep the weights as they are" in table.rows[0][-1]
    assert table.rows[1][-1] == "Compress."
    assert "1.000 → 0.995" in table.rows[1]
    assert all(len(row) == len(table.heads) for row in table.rows)
    assert not any("cost" in head for head in table.heads)


def test_costs_have_a_column_where_prices_were_given() -> None:
    table = compressed([entry("a", 10, cost=COST), entry("b", 20)])
    place = table.heads.index("cost, EUR")
    assert [row[place] for row in table.rows] == ["4.5 → 0.28", "–"]
    assert all(len(row) == len(table.heads) for row in table.rows)


def test_many_networks_are_cut_and_said_so_but_the_flagged_stay() -> None:
    table = compressed([*(entry(str(one), 1) for one in range(NETWORKS_SHOWN)), flagged("last", 1)])
    assert len(table.rows) == NETWORKS_SHOWN
    assert table.rows[0][0] == "last"
    assert table.note.startswith(f"Showing {NETWORKS_SHOWN} of {NETWORKS_SHOWN + 1}; all are in behaviour.json.")


def test_without_a_record_the_table_says_how_to_make_one() -> None:
    table = compressed([])
    assert not table.rows
    assert "sweep behaviour" in table.note
