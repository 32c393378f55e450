"""Files of prices: what they cost, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep.errors import SpecificationError
from sweep.specification.prices import Prices, load_prices

FILLED_IN = """\
currency: EUR
storage_per_gb_month: 0.5   # made up
transfer_per_gb: 2
months: 12
transfers: 1e3
"""


def refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    Path("prices.yaml").write_text(text)
    with pytest.raises(SpecificationError) as error:
        load_prices("prices.yaml")
    return str(error.value).splitlines()


def test_costs_are_prices_times_bytes(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text(FILLED_IN)
    prices = load_prices(str(tmp_path / "prices.yaml"))
    assert prices == Prices(
        currency="EUR", storage_per_gb_month=0.5, transfer_per_gb=2.0, months=12.0, transfers=1000.0
    )
    assert prices.storage_cost(3 * 10**9) == pytest.approx(3 * 0.5 * 12)
    assert prices.transfer_cost(5 * 10**6) == pytest.approx(0.005 * 2 * 1000)
    assert prices.storage_cost(0) == prices.transfer_cost(0) == 0


def test_a_file_that_is_not_filled_in_is_told_for_each_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = refused("currency: EUR\nstorage_per_gb_month:\nmonths: 1\n", tmp_path, monkeypatch)
    assert len(lines) == 3
    assert lines[0].startswith(
        "prices.yaml:2: storage_per_gb_month must be filled in, got nothing; it has currency"
    )
    assert lines[1].startswith("prices.yaml:1: transfer_per_gb must be filled in")
    assert lines[2].startswith("prices.yaml:1: transfers must be filled in")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("transfer_per_gb: 2", "transfer_per_gb: -2"), "prices.yaml:3: transfer_per_gb must"),
        (("transfer_per_gb: 2", "transfer_per_gb: two"), "transfer_per_gb must be a number, got 'two'"),
        (("transfer_per_gb: 2", "transfer_per_gb: '2'"), "must be a number, got '2'; leave out the quotes"),
        (("transfer_per_gb: 2", "transfer_per_gb: .inf"), "transfer_per_gb must be a finite number"),
        (("transfer_per_gb: 2", "transfer_per_gb: true"), "transfer_per_gb must be a number, got True"),
        (("months", "month"), "prices.yaml:4: unknown key 'month'; did you mean 'months'?"),
        (("EUR", "3"), "currency must be a text, got 3"),
        (("months: 12", "months: 12\nmonths: 13"), "duplicate key 'months'; keep one"),
        (("currency: EUR", "- EUR"), "not valid YAML"),
    ],
)
def test_mistakes_are_told_with_their_line(
    change: tuple[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert any(message in line for line in refused(FILLED_IN.replace(*change), tmp_path, monkeypatch))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1\n- 2\n", "a file of prices is a mapping such as `transfer_per_gb: PRICE`, got [1, 2]"),
        ("import os\n", "this is a Python file, not a file of prices"),
        ("x" * 300_000, "a file of prices may have at most 256 KiB"),
    ],
)
def test_other_files_are_one_line(text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = refused(text, tmp_path, monkeypatch)
    assert line == f"prices.yaml:1: {message}" or line.startswith(f"prices.yaml:1: {message}, got ")


def test_a_file_that_is_not_there_is_told_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(SpecificationError, match=r"there is no file of prices .*; it has currency, storage"):
        load_prices(str(tmp_path / "none.yaml"))
