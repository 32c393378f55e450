"""Prices of storing and sending networks: a small YAML file that its user fills in, read as a specification is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sweep.errors import Problem, SpecificationError
from sweep.specification.file import read_file
from sweep.specification.problems import problems_of
from trainables.errors import shown

BYTES_PER_GB = 10**9
"""A gigabyte as providers bill it."""

_KIND = "a file of prices"

_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]


class Prices(BaseModel):
    """What storing and sending costs, and how long and how often that happens; no field has a default.

    Prices differ between providers, regions and years, so none is made up here.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    currency: Annotated[str, Field(min_length=1, max_length=20, strict=True)]
    """The unit of both prices and of all costs."""
    storage_per_gb_month: _Amount
    """Price of keeping 10^9 bytes for a month."""
    transfer_per_gb: _Amount
    """Price of sending 10^9 bytes once."""
    months: _Amount
    """The number of months for which a network is kept."""
    transfers: _Amount
    """The number of times that a network is sent in all."""

    def storage_cost(self, size_bytes: int) -> float:
        """Return the cost of keeping this many bytes for all the months."""
        return size_bytes / BYTES_PER_GB * self.storage_per_gb_month * self.months

    def transfer_cost(self, size_bytes: int) -> float:
        """Return the cost of sending this many bytes all the times."""
        return size_bytes / BYTES_PER_GB * self.transfer_per_gb * self.transfers


def load_prices(path: str) -> Prices:
    """Read a file of prices.

    Args:
        path: a YAML 1.2 file with all fields of `Prices`.

    Raises:
        SpecificationError: there are problems; the message lists all, each with file:line.
    """
    file = Path(path)
    if not file.is_file():
        raise SpecificationError([Problem((), f"there is no file of prices {shown(path)}; {_how()}")])
    source = read_file(file, kind=_KIND, example="transfer_per_gb: PRICE")
    problems = list(source.problems)
    if not source.unusable:
        # A value that is left empty is missing, too: that is how the file looks before it is filled in.
        values = {name: value for name, value in source.values.items() if value is not None}
        missing = [name for name in Prices.model_fields if name not in values]
        problems += [Problem((name,), f"{name} must be filled in, got nothing; {_how()}") for name in missing]
        try:
            prices = Prices(**{**dict.fromkeys(missing, 0.0), **values})
        except ValidationError as error:
            problems += [one for one in problems_of(error, Prices, Prices) if one.path[:1] not in _paths(missing)]
        else:
            if not problems:
                return prices
    raise SpecificationError([replace(one, where=one.where or source.locate(one.path)) for one in problems])


def _paths(names: list[str]) -> list[tuple[str]]:
    return [(name,) for name in names]


def _how() -> str:
    return f"it has {', '.join(Prices.model_fields)} (docs/behaviour.md)"
