"""The codes of a whole network."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from torch import Tensor

from tests.trainables.complexity.drawn import NONE, coded_networks
from trainables.complexity.codes import (
    LARGEST_INTEGER,
    LARGEST_ROW_SCALE,
    LARGEST_SCALE,
    Code,
    Direct,
    Factors,
    Rotation,
    Transform,
    Zeros,
    is_exact,
)
from trainables.complexity.entropy_coder import Decoder, Encoder
from trainables.complexity.network_coder import code_network
from trainables.complexity.pieces import Piece, pieces
from trainables.errors import BitstreamError


def coded(code: Code, shape: tuple[int, ...]) -> bytes:
    (piece,) = pieces({"w": shape})
    encoder = Encoder()
    code_network(encoder, {"w": shape}, {piece: code})
    return encoder.finish()


def there_and_back(code: Code, shape: tuple[int, ...]) -> Code:
    (decoded_codes,) = code_network(Decoder(coded(code, shape)), {"w": shape}, None).values()
    return decoded_codes


def ones(rank: int, side: int = 3) -> np.ndarray:
    return np.ones((rank, side), dtype=np.int32)


def plain(code: Code) -> tuple[object, ...]:
    """The parts of a code that the decoder is to find; all that is zero is the same as nothing."""
    if isinstance(code, Factors):
        return code.scale, code.left.tolist(), code.right.tolist(), code.transform, code.rotations
    if isinstance(code, Direct) and code.integers.any():
        live = code.integers.any(axis=1)
        exponents = np.where(live, code.exponents, 0).tolist() if code.exponents.size else []
        return code.scale, code.integers.tolist(), exponents, code.transform, code.mean, code.rotations
    return (code.mean,)


@given(
    coded_networks().map(lambda network: (network, False)) | coded_networks(extended=True).map(lambda n: (n, True))
)
@settings(max_examples=80)
def test_codes_come_back(drawn: tuple[tuple[dict[str, Tensor], dict[Piece, Code]], bool]) -> None:
    (like, codes), extended = drawn
    shapes = {name: tuple(tensor.shape) for name, tensor in like.items()}
    encoder = Encoder()
    code_network(encoder, shapes, codes, extended=extended)
    decoder = Decoder(encoder.finish())
    if not all(is_exact(code) for code in codes.values()):
        with pytest.raises(BitstreamError, match="must be exact"):
            code_network(decoder, shapes, None, extended=extended)
        return
    decoded_codes = code_network(decoder, shapes, None, extended=extended)
    decoder.finish()
    assert list(decoded_codes) == list(codes)
    assert [plain(code) for code in decoded_codes.values()] == [plain(code) for code in codes.values()]


def test_what_stands_for_nothing_but_zeros_is_coded_as_zeros() -> None:
    assert there_and_back(Direct(314, np.zeros((1, 6), dtype=np.int32)), (6,)) == Zeros()
    assert there_and_back(Direct(314, np.zeros((1, 6), dtype=np.int32), mean=0.5), (6,)) == Zeros(0.5)
    assert there_and_back(Factors(314, ones(0), ones(0)), (3, 3)) == Zeros()


@pytest.mark.parametrize("scale", [-LARGEST_SCALE, LARGEST_SCALE])
def test_the_largest_scales(scale: int) -> None:
    decoded = there_and_back(Direct(scale, ones(1)), (3,))
    assert isinstance(decoded, Direct)
    assert decoded.scale == scale
    with pytest.raises(BitstreamError, match="scale of 'w'"):
        there_and_back(Direct(scale + int(np.sign(scale)), ones(1)), (3,))


def test_ranks_beyond_the_rows_are_refused() -> None:
    stream = coded(Factors(0, ones(3), ones(3)), (3, 3))
    for shape in ((2, 4), (9,)):
        with pytest.raises(BitstreamError, match="rank 3"):
            code_network(Decoder(stream), {"w": shape}, None)


def test_sums_that_would_round_are_refused() -> None:
    large = np.full((16, 16), LARGEST_INTEGER, dtype=np.int32)
    code = Direct(0, large, np.full(16, LARGEST_ROW_SCALE, dtype=np.int32), Transform(1, 16))
    with pytest.raises(BitstreamError, match="sums of 'w' must be exact"):
        there_and_back(code, (16, 16))


def test_means_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(BitstreamError, match="mean of 'w' must be finite, got inf"):
        there_and_back(Zeros(float("inf")), (3,))


def test_a_network_without_anything_costs_next_to_nothing() -> None:
    shapes = {"a": (4, 4), "b": (16, 20), "c": (16, 20)}
    encoder = Encoder()
    code_network(encoder, shapes, dict.fromkeys(pieces(shapes), Zeros()))
    assert len(encoder.finish()) <= 1


def test_row_scales_that_are_all_one_cost_a_bit() -> None:
    integers = np.random.default_rng(0).integers(-9, 9, (40, 50)).astype(np.int32)
    alike = Direct(0, integers, NONE)
    apart = Direct(0, integers, np.arange(40, dtype=np.int32) % 4)
    assert 10 < len(coded(apart, (40, 50))) - len(coded(alike, (40, 50))) < 20


def test_what_belongs_to_which_tensor_is_counted() -> None:
    integers = np.random.default_rng(0).integers(-9, 9, (40, 50)).astype(np.int32)
    shapes = {"a": (40, 50), "b": (40, 50), "c": (40, 50)}
    first, second, third = pieces(shapes)
    encoder = Encoder()
    code_network(encoder, shapes, {first: Direct(0, integers), second: Zeros(), third: Direct(0, integers[::-1])})
    bits = encoder.bits_by_owner()
    assert list(bits) == ["a", "b", "c"]
    assert bits["b"] < 3
    assert sum(bits.values()) == pytest.approx(8 * len(encoder.finish()), abs=40)
    assert bits["a"] == pytest.approx(bits["c"], rel=0.05)


def test_the_extended_form_codes_by_columns_what_is_shorter_so() -> None:
    generator = np.random.default_rng(0)
    integers = (generator.laplace(size=(64, 64)) * np.exp(generator.normal(size=64) * 2)).astype(np.int32)
    lengths = {}
    for name, values in (("rows differ", integers.T), ("columns differ", integers)):
        (piece,) = pieces({"w": (64, 64)})
        for extended in (False, True):
            encoder = Encoder()
            code_network(encoder, {"w": (64, 64)}, {piece: Direct(0, values)}, extended=extended)
            stream = encoder.finish()
            lengths[name, extended] = len(stream)
            (decoded_codes,) = code_network(Decoder(stream), {"w": (64, 64)}, None, extended=extended).values()
            assert isinstance(decoded_codes, Direct)
            assert decoded_codes.integers.tolist() == values.tolist()
    plain = lengths["rows differ", False], lengths["columns differ", False]
    assert max(plain) > 1.02 * min(plain)
    assert {lengths["rows differ", True], lengths["columns differ", True]} <= {min(plain), min(plain) + 1}


def test_the_form_without_rotations_cannot_say_them() -> None:
    shapes = {"a": (16, 16), "b": (16, 20)}
    first, second = pieces(shapes)
    generator = np.random.default_rng(0)
    codes: dict[Piece, Code] = {
        first: Direct(0, generator.integers(-9, 9, (16, 16)).astype(np.int32)),
        second: Direct(0, generator.integers(-9, 9, (16, 20)).astype(np.int32), rotations=(Rotation(1, 0, 2),)),
    }
    for extended in (False, True):
        encoder = Encoder()
        code_network(encoder, shapes, codes, extended=extended)
        decoded_codes = code_network(Decoder(encoder.finish()), shapes, None, extended=extended)[second]
        assert isinstance(decoded_codes, Direct)
        assert decoded_codes.rotations == ((Rotation(1, 0, 2),) if extended else ())
