"""An axis of a sweep: one value, or a list of different values that are swept over."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Discriminator, Strict, Tag

from trainables.errors import shown

_T = TypeVar("_T")


def values_of(axis: Axis[_T]) -> tuple[_T, ...]:
    """Return the values of an axis; a fixed value is an axis of one."""
    return axis if isinstance(axis, tuple) else (axis,)


def _whole(value: Any) -> Any:
    """Accept a float such as 1e4 as a whole number, if it is whole."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _plain(value: Any) -> Any:
    """Turn arrays and ranges, from Python, into lists."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return list(value) if isinstance(value, range) else value


def _one_or_many(value: Any) -> str:
    return "values" if isinstance(value, (list, tuple)) else "value"


def not_empty(values: tuple[_T, ...]) -> tuple[_T, ...]:
    """Refuse an empty list.

    Raises:
        ValueError: the list is empty.
    """
    if not values:
        raise ValueError("needs at least one value, got an empty list")
    return values


def all_different(values: tuple[_T, ...]) -> tuple[_T, ...]:
    """Refuse a list that contains a value twice.

    Raises:
        ValueError: a value is repeated; the message names it.
    """
    if len(set(values)) < len(values):
        repeated = next(value for index, value in enumerate(values) if value in values[:index])
        value = "nothing" if repeated is None else shown(repeated)
        raise ValueError(f"has the value {value} more than once; keep one")
    return values


Number = Annotated[float, Strict()]
Whole = Annotated[int, BeforeValidator(_whole), Strict()]
Text = Annotated[str, Strict()]
Axis = Annotated[
    Annotated[_T, Tag("value")]
    | Annotated[tuple[_T, ...], AfterValidator(not_empty), AfterValidator(all_different), Tag("values")],
    Discriminator(_one_or_many),
    BeforeValidator(_plain),
]
"""One value, or a list of different values that are swept over."""
