"""Sizes of raw weights."""

from __future__ import annotations

import bz2
import re

import torch

from trainables.sizes import bzip2_bytes, raw_bytes, zstd_bytes, zstd_version

WEIGHTS = {"b": torch.arange(500, dtype=torch.float32), "a": torch.ones(3, 4, dtype=torch.bfloat16)}


def test_weights_are_float32_in_the_order_of_their_names() -> None:
    expected = torch.cat([torch.ones(12), torch.arange(500, dtype=torch.float32)])
    assert raw_bytes(WEIGHTS) == expected.numpy().tobytes()
    assert raw_bytes(dict(reversed(WEIGHTS.items()))) == raw_bytes(WEIGHTS)


def test_views_and_gradients_make_no_difference() -> None:
    matrix = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    assert raw_bytes({"w": matrix.T.requires_grad_()}) == raw_bytes({"w": matrix.T.contiguous()})


def test_sizes() -> None:
    assert bzip2_bytes(WEIGHTS) == len(bz2.compress(raw_bytes(WEIGHTS)))
    assert 0 < zstd_bytes(WEIGHTS) < len(raw_bytes(WEIGHTS))
    assert zstd_bytes({"w": torch.zeros(10_000)}) < 50


def test_the_version_of_zstd_is_known() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", zstd_version())
