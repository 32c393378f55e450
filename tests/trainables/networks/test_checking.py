"""A compressed network with its bytes, its behaviour, and the bound that would keep it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trainables.networks.small import GROUPED, measured, memorised, trained
from trainables import load_network
from trainables.networks import LoadedNetwork
from trainables.networks.behaviour import Limits, behaviour
from trainables.networks.checking import check_compression
from trainables.sizes import raw_bytes, zstd_bytes


@pytest.mark.parametrize("network", [memorised, lambda: trained(GROUPED)])
def test_the_bound_that_passes_is_smaller_and_passes(network: object, tmp_path: Path) -> None:
    original: LoadedNetwork = network()  # type: ignore[operator]
    checked = check_compression(original, 0.5)
    assert checked.raw_bytes == len(raw_bytes(original.parameters))
    assert checked.zstd_bytes == zstd_bytes(original.parameters)
    assert checked.compressed.result.bitstream == measured(original, 0.5).result.bitstream
    (tmp_path / "network.grok").write_bytes(checked.file)
    read = load_network(tmp_path / "network.grok")
    assert behaviour(original, read.parameters) == checked.behaviour
    assert list(checked.exceeded) == Limits().exceeded(checked.behaviour)
    if not checked.exceeded:
        assert checked.passing is None
        return
    assert checked.passing is not None
    assert checked.passing.bound == "answers" or checked.passing.result.epsilon < 0.5
    assert Limits().exceeded(behaviour(original, checked.passing.result.decoded)) == []


def test_this_network_changes_too_much_at_half_a_nat() -> None:
    """Otherwise the test above would show nothing."""
    assert check_compression(memorised(), 0.5).exceeded


def test_wide_limits_are_kept() -> None:
    wide = Limits(accuracy_fall=1, part_fall=1, changed=1, calibration_rise=1)
    checked = check_compression(memorised(), 0.5, limits=wide)
    assert (checked.exceeded, checked.passing) == ((), None)


def test_of_a_bound_on_answers_smaller_ones_of_its_kind_are_tried() -> None:
    checked = check_compression(memorised(), 1.0, bound="answers")
    assert checked.compressed.bound == "answers"
    assert checked.passing is not None
    assert checked.passing.bound == "answers"
    assert checked.passing.result.epsilon < 1.0
