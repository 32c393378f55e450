"""Networks that a real sweep has kept: listed, compressed, compared, and exported."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
import torch

import analysis
from sweep.errors import UnusableNetwork
from sweep.results import export
from sweep.results.compression_words import paragraphs
from sweep.results.compressions import compressions, own_epsilon, worth_keeping
from sweep.results.kept_networks import kept_network
from sweep.specification.prices import Prices
from tests.sweep.results.grokked_sweep import SETTINGS
from trainables import from_safetensors, load_network
from trainables.networks.behaviour import Limits, behaviour
from trainables.networks.measure import scores

PRICES = Prices(currency="shells", storage_per_gb_month=10.0, transfer_per_gb=100.0, months=2.0, transfers=3.0)


def test_the_networks_worth_keeping_are_those_of_the_advice(grokked: str) -> None:
    networks = worth_keeping(grokked)
    advice = analysis.decide(analysis.load(grokked))
    chosen = advice[advice["action"] == "compress"]
    assert len(chosen) > 0
    assert [(one.trial_id, one.step) for one in networks] == list(
        zip(chosen["trial_id"].astype(str), chosen["network_step"].astype(int), strict=True)
    )
    assert all(one.kept for one in networks)


def test_each_is_compressed_at_the_bound_of_its_sweep(grokked: str) -> None:
    networks = worth_keeping(grokked)
    entries = list(compressions(grokked, networks, prices=PRICES))
    assert [entry["trial_id"] for entry in entries] == [one.trial_id for one in networks]
    for entry in entries:
        assert entry["epsilon"] == SETTINGS["epsilon"]
        assert entry["file_bytes"] > entry["stream_bytes"]
        assert entry["raw_bytes"] > entry["zstd_bytes"] > entry["file_bytes"]
        for form in ("raw", "zstd", "file"):
            size = entry[f"{form}_bytes"]
            assert entry["cost"][form]["storage"] == pytest.approx(size / 1e9 * 10 * 2)
            assert entry["cost"][form]["transfer"] == pytest.approx(size / 1e9 * 100 * 3)
        lines, wrong = paragraphs(entry)
        assert any(line.startswith("transfer, shells: ") for line in lines)
        assert (wrong is None) == (not entry["exceeded"])
    measured = analysis.complexity(grokked)
    last = measured[measured["trial_id"].astype(str) == entries[0]["trial_id"]].iloc[-1]
    assert entries[0]["stream_bytes"] == last["complexity_bytes"]


def test_a_network_that_is_not_kept_is_left_out(grokked: str) -> None:
    networks = [dataclasses.replace(one, kept=False) for one in worth_keeping(grokked)]
    assert list(compressions(grokked, networks)) == []


def test_an_export_is_complete_and_says_what_it_is(grokked: str, tmp_path: Path) -> None:
    one = worth_keeping(grokked)[0]
    original = kept_network(grokked, one.trial_id)
    assert own_epsilon(grokked, original) == SETTINGS["epsilon"]
    folder = tmp_path / "deep" / export.export_folder(original, 0.003)
    assert folder.name == f"{one.trial_id}-step-{one.step}-epsilon-0.003"
    entry = export.export_network(original, folder, epsilon=0.003)
    assert sorted(os.listdir(folder)) == sorted(
        (export.COMPRESSED, export.DECODED, export.CHECK, export.CHECK_TEXT)
    )
    assert os.listdir(folder.parent) == [folder.name]
    small, large = load_network(folder / export.COMPRESSED), load_network(folder / export.DECODED)
    assert all(torch.equal(small.parameters[name], large.parameters[name]) for name in original.parameters)
    assert scores(small, small.parameters).val_accuracy == entry["behaviour"]["accuracy"]["decoded"]
    assert small.trial == original.trial
    assert len((folder / export.COMPRESSED).read_bytes()) == entry["file_bytes"]
    assert json.loads((folder / export.CHECK).read_text()) == entry
    seen = behaviour(original, from_safetensors((folder / export.DECODED).read_bytes()))
    assert seen.as_dict() == entry["behaviour"]
    assert entry["exceeded"] == Limits().exceeded(seen)
    text = (folder / export.CHECK_TEXT).read_text()
    for part in seen.parts:
        (row,) = (line.split() for line in text.splitlines() if line.startswith(f"{part.name} "))
        assert row[2:] == [str(part.examples), *(f"{accuracy:.4f}" for accuracy in part.accuracy)]
    assert ("All changes are within their limits." in text) == (not entry["exceeded"])


def test_nothing_is_overwritten_and_nothing_is_left_by_a_failure(
    grokked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = kept_network(grokked, worth_keeping(grokked)[0].trial_id)
    for name in ("empty", "full", "file", "link"):
        place = tmp_path / name
        if name == "file":
            place.write_text("mine")
        elif name == "link":
            place.symlink_to(tmp_path / "nowhere")
        else:
            place.mkdir()
        if name == "full":
            (place / "mine").write_text("mine")
        with pytest.raises(UnusableNetwork, match="is there already, and nothing is overwritten"):
            export.export_network(network, place, epsilon=0.003)
    assert (tmp_path / "full" / "mine").read_text() == (tmp_path / "file").read_text() == "mine"
    there = sorted(os.listdir(tmp_path))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        export.export_network(network, tmp_path / "new", epsilon=0.003)
    assert sorted(os.listdir(tmp_path)) == there
