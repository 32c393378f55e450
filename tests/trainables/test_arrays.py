from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from trainables import Task
from trainables.arrays import class_numbers, real_numbers
from trainables.errors import ConfigError, MeasurementError

X = np.arange(24.0).reshape(8, 3)
Y = np.array([0, 1, 2, 0, 1, 2, 1, 0])

FORMS: dict[str, Callable[[np.ndarray], object]] = {
    "array": lambda x: x,
    "tensor": torch.tensor,
    "tensor with a gradient": lambda x: torch.tensor(x, dtype=torch.float64).requires_grad_(),
    "list": lambda x: x.tolist(),
    "list of tensors": lambda x: [torch.tensor(row) for row in x],
    "flipped": lambda x: x[::-1].copy()[::-1],
    "every second": lambda x: np.repeat(x, 2, axis=0)[::2],
    "Fortran": np.asfortranarray,
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "object": lambda x: x.astype(object),
    "small floats": lambda x: x.astype(np.float16),
    "long floats": lambda x: x.astype(np.longdouble),
    "small integers": lambda x: x.astype(np.int8),
    "unsigned": lambda x: x.astype(np.uint16),
    "large unsigned": lambda x: x.astype(np.uint64),
    "unsigned tensor": lambda x: torch.tensor(x.astype(np.int64)).to(torch.uint16),
    "bfloat16": lambda x: torch.tensor(x).bfloat16(),
    "masked nowhere": lambda x: np.ma.masked_array(x, np.zeros(x.shape, dtype=bool)),
    "frame": lambda x: pd.DataFrame(x) if x.ndim == 2 else pd.Series(x),
    "nullable": lambda x: (pd.DataFrame(x) if x.ndim == 2 else pd.Series(x)).astype("Float64"),
}


def read_only(x: np.ndarray) -> np.ndarray:
    frozen = x.copy()
    frozen.setflags(write=False)
    return frozen


@pytest.mark.parametrize("form", [*FORMS, "read-only"])
def test_plain_numbers_are_taken_in_every_form(form: str) -> None:
    make = FORMS.get(form, read_only)
    task = Task.of(make(X), make(Y))
    assert task.inputs.tolist() == X.tolist()
    assert task.targets.tolist() == Y.tolist()
    assert task.inputs.dtype == torch.float32
    assert not task.inputs.requires_grad
    assert task.labels == ()


def test_what_was_given_is_not_shared() -> None:
    x = torch.tensor(X, dtype=torch.float32)
    task = Task.of(x, torch.tensor(Y))
    x[:] = 7
    assert task.inputs.tolist() == X.tolist()


@pytest.mark.parametrize(
    "words",
    [np.array(["cat", "ant", "dog"])[Y], ["cat", "ant", "dog", "cat", "ant", "dog", "ant", "cat"]],
    ids=["array", "list"],
)
def test_words_are_numbered_in_alphabetical_order_and_kept(words: object) -> None:
    task = Task.of(X, words)
    assert task.labels == ("ant", "cat", "dog")
    assert [task.labels[k] for k in task.targets.tolist()] == list(words)  # type: ignore[call-overload]
    assert task.classes == 3


def test_words_in_a_series_or_category_are_words() -> None:
    series = pd.Series(["b", "a", "b", "a", "b", "a", "b", "a"])
    for targets in (series, series.astype("category"), series.astype(object)):
        assert Task.of(X, targets).labels == ("a", "b")


def test_a_column_counts_as_targets_and_truth_values_as_classes() -> None:
    assert Task.of(X, Y[:, None]).targets.tolist() == Y.tolist()
    assert Task.of(X, Y > 1).targets.tolist() == (Y > 1).astype(int).tolist()
    assert Task.of(X, Y, group=(Y > 1).astype(int)).group is not None
    assert Task.of(X, Y, group=[bool(y) for y in Y]).group is not None


REFUSED: dict[str, tuple[object, object, str]] = {
    "complex": (X + 1j, Y, "must be real numbers, got complex128; pass real and imaginary part"),
    "complex tensor": (torch.tensor(X + 1j), Y, "must be real numbers, got torch.complex128"),
    "masked": (np.ma.masked_array(X, X > 20), Y, r"masked array with 3 masked; pass x.filled\(VALUE\)"),
    "sparse": (scipy.sparse.csr_array(X), Y, r"which is sparse; pass x.toarray\(\)"),
    "sparse tensor": (torch.tensor(X).to_sparse(), Y, r"pass x.to_dense\(\)"),
    "ragged": ([[1.0], [1.0, 2.0]], Y, "pass rows of one length"),
    "ragged tensors": ([torch.zeros(2), torch.zeros(3)], Y, "tensors of several shapes"),
    "words as inputs": (np.array([["a"]] * 8), Y, "must be numbers, got <U1; encode them"),
    "dates": (np.array([["2026-01-01"]] * 8, dtype="M8[D]"), Y, "must be numbers, got datetime64"),
    "missing inputs": (np.array([[None]] * 8), Y, "None among them; leave out or replace missing values"),
    "a dictionary": ({"a": 1}, Y, "got dict; pass its values"),
    "a text": ("abc", Y, "got str; pass its values"),
    "nothing": (None, Y, "got NoneType; pass its values"),
    "an object": (object(), Y, "got object; pass its values"),
    "objects": (np.array([[object()]] * 8), Y, "must be numbers, got object among them"),
    "huge": (np.full((8, 1), 2**64 - 1, dtype=np.uint64), Y, "scale them"),
    "NaN targets": (X, np.where(Y == 1, np.nan, Y), "targets of .* known classes, got 3 values that are NaN"),
    "half classes": (X, Y / 2, "must be classes, whole numbers, got 0.5"),
    "missing targets": (X, pd.Series([0, 1, None, 0, 1, 0, 1, 0], dtype="Int64"), "known classes, got 1 values"),
    "mixed targets": (X, ["a", 1, "b", 1, "a", 1, "a", 1], "must be words or numbers, got both"),
    "too many axes": (X, np.stack([Y, Y], 1), r"targets \[8, 2\]"),
    "broken tokens": (X + 0.5, Y, "must be tokens, whole numbers, got 0.5"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_change_data_is_refused_in_one_line(name: str) -> None:
    inputs, targets, message = REFUSED[name]
    with pytest.raises(ConfigError, match=message) as caught:
        Task.of(inputs, targets, vocabulary=30 if name == "broken tokens" else None)
    assert "\n" not in str(caught.value)


@given(npst.arrays(st.sampled_from(["i1", "<i2", ">i4", "<i8", ">f4", "<f8", "u1", "?"]), npst.array_shapes()))
def test_numbers_keep_their_values(array: np.ndarray) -> None:
    numbers = real_numbers(array, "x", MeasurementError)
    np.testing.assert_array_equal(numbers.numpy(), array)
    assert numbers.numpy().dtype.isnative


@given(st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=9))
def test_words_come_back(words: list[str]) -> None:
    numbers, names = class_numbers(np.array(words, dtype=object), "targets", ConfigError)
    assert [names[k] for k in numbers.tolist()] == words
    assert list(names) == sorted(set(words))
