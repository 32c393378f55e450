"""User-supplied numbers in any usual form, as tensors: converted where the meaning is plain, refused otherwise.

Taken: tensors, arrays, lists, and whatever turns into an array by itself (frames and series of pandas, arrays of
other libraries), of any real numbers, in any memory order and byte order, read-only or not, with gradients or not.
Refused, in one line: what would lose something (imaginary parts, masks, missing values), and what holds no numbers.
"""

from __future__ import annotations

import numbers
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from trainables.errors import TrainablesError

_LARGEST_WHOLE = 2**63 - 1


def real_numbers(values: object, what: str, error: type[TrainablesError]) -> Tensor:
    """Return real numbers as a dense tensor without gradients; tensors keep their dtype and device.

    Args:
        values: numbers in one of the forms above; truth values count as 0 and 1.
        what: the name of the values in messages, such as `inputs`.
        error: the exception to raise.

    Raises:
        TrainablesError: of the kind `error`: the values are of no such form.
    """
    if isinstance(values, Tensor):
        return _dense(values, what, error)
    if isinstance(values, list | tuple) and values and all(isinstance(one, Tensor) for one in values):
        parts = [_dense(one, what, error) for one in values]
        if len({part.shape for part in parts}) > 1:
            _refuse(error, what, "tensors of one shape", "tensors of several shapes", "pad or cut them")
        return torch.stack(parts)
    return torch.from_numpy(_native(_array(values, what, error), what, error))


def class_numbers(values: object, what: str, error: type[TrainablesError]) -> tuple[Tensor, tuple[str, ...]]:
    """Return classes as int64 numbers, [N], and the names of classes 0, 1, ... where they were given as words.

    Words are numbered in alphabetical order. A single column, [N, 1], counts as [N].

    Args:
        values: whole numbers, truth values or words, in one of the forms above.
        what: the name of the values in messages, such as `targets`.
        error: the exception to raise.

    Raises:
        TrainablesError: of the kind `error`: the values are no classes.
    """
    words: tuple[str, ...] = ()
    if isinstance(values, list | tuple) and 0 < sum(isinstance(one, str) for one in values) < len(values):
        _refuse(error, what, "words or numbers", "both", "pass one kind")
    if not isinstance(values, Tensor | list | tuple) or _has_words(values):
        # Words of a list are taken as they are: an array of texts drops zeros at their ends.
        array = np.array(values, dtype=object) if isinstance(values, list | tuple) else _array(values, what, error)
        if array.dtype.kind in "UT" or (array.dtype == object and _all_words(array)):
            listed = array.ravel().tolist()
            words = tuple(sorted(set(listed)))
            number = {word: place for place, word in enumerate(words)}
            values = np.array([number[word] for word in listed]).reshape(array.shape)
    classes = real_numbers(values, what, error)
    if classes.ndim == 2 and classes.shape[1] == 1:
        classes = classes[:, 0]
    if classes.is_floating_point():
        unknown = int((~classes.isfinite()).sum())
        if unknown:
            _refuse(error, what, "known classes", f"{unknown} values that are NaN or infinite", "leave them out")
        broken = classes != classes.round()
        if bool(broken.any()):
            _refuse(
                error, what, "classes, whole numbers", f"{float(classes[broken][0]):g}", "round them, or use bins"
            )
    return classes.to(torch.int64, copy=True), words


def _dense(values: Tensor, what: str, error: type[TrainablesError]) -> Tensor:
    values = values.detach()
    if values.is_quantized:
        _refuse(error, what, "plain numbers", "a quantised tensor", "pass x.dequantize()")
    if values.is_nested:
        _refuse(error, what, "a tensor of one shape", "a nested tensor", "pad its parts")
    if values.layout != torch.strided:
        _refuse(error, what, "a dense tensor", f"one of layout {values.layout}", "pass x.to_dense()")
    if values.device.type == "meta":
        _refuse(error, what, "values in memory", "a tensor on the device meta", "give it values")
    if values.is_complex():
        _refuse(error, what, "real numbers", f"{values.dtype}", "pass real and imaginary part as two features")
    if values.dtype in (torch.uint16, torch.uint32):
        return values.to(torch.int64)
    if values.dtype == torch.uint64:
        if bool((values.view(torch.int64) < 0).any()):
            _refuse(error, what, f"at most {_LARGEST_WHOLE}", "larger whole numbers", "scale them")
        return values.view(torch.int64)
    return values


def _array(values: object, what: str, error: type[TrainablesError]) -> np.ndarray:
    if isinstance(values, np.ma.MaskedArray):
        if np.ma.getmaskarray(values).any():
            count = int(np.ma.getmaskarray(values).sum())
            _refuse(error, what, "known values", f"a masked array with {count} masked", "pass x.filled(VALUE)")
        values = values.data
    if hasattr(values, "toarray") and not hasattr(values, "__array__"):
        _refuse(error, what, "a dense array", f"{_kind(values)}, which is sparse", "pass x.toarray()")
    if isinstance(values, str | bytes | dict | set) or values is None:
        _refuse(error, what, "an array, tensor, list or frame", _kind(values), "pass its values")
    try:
        array = np.asarray(values)
    except Exception as raised:  # whatever a foreign type raises when it is converted
        reason = (str(raised).splitlines() or ["no reason given"])[0]
        _refuse(error, what, "convertible to an array", f"{_kind(values)}: {reason}", "pass rows of one length")
    if array.dtype == object and array.ndim == 0:
        _refuse(error, what, "an array, tensor, list or frame", _kind(values), "pass its values")
    return array


def _native(array: np.ndarray, what: str, error: type[TrainablesError]) -> np.ndarray:
    """Return real numbers as an array that torch takes: contiguous, writable, of this machine's byte order."""
    if array.dtype == object:
        array = _from_objects(array, what, error)
    kind = array.dtype.kind
    if kind == "c":
        _refuse(error, what, "real numbers", f"{array.dtype}", "pass real and imaginary part as two features")
    if kind not in "biuf":
        _refuse(error, what, "numbers", f"{array.dtype}", "encode them as numbers first")
    if kind == "u" and array.dtype.itemsize > 1:
        if array.size and int(array.max()) > _LARGEST_WHOLE:
            _refuse(error, what, f"at most {_LARGEST_WHOLE}", f"{int(array.max())}", "scale them")
        return array.astype(np.int64)
    if kind == "f" and array.dtype.itemsize > 8:
        return array.astype(np.float64)
    return np.array(array, dtype=array.dtype.newbyteorder("="), order="C")


def _from_objects(array: np.ndarray, what: str, error: type[TrainablesError]) -> np.ndarray:
    for one in array.ravel():
        if one is None or type(one).__name__ in ("NAType", "NaTType"):
            _refuse(error, what, "known values", f"{one!r} among them", "leave out or replace missing values")
        if not isinstance(one, numbers.Real | np.bool_):
            _refuse(error, what, "numbers", f"{_kind(one)} among them", "encode them as numbers first")
    whole = all(isinstance(one, numbers.Integral | np.bool_) for one in array.ravel())
    try:
        return array.astype(np.int64 if whole else np.float64)
    except OverflowError:
        _refuse(error, what, f"at most {_LARGEST_WHOLE}", "larger whole numbers", "scale them")


def _has_words(values: Any) -> bool:
    return not isinstance(values, Tensor) and any(isinstance(one, str) for one in values)


def _all_words(array: np.ndarray) -> bool:
    return array.size > 0 and all(isinstance(one, str) for one in array.ravel())


def _kind(value: object) -> str:
    return type(value).__name__


def _refuse(error: type[TrainablesError], what: str, must: str, arrived: str, do: str) -> NoReturn:
    raise error(f"{what} must be {must}, got {arrived}; {do}")
