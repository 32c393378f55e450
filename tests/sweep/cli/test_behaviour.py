"""`sweep behaviour`, `export-network` and `check` of a file, on a sweep that is trained in seconds."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from analysis.compression.record import RECORD, read_record
from sweep.cli import main
from sweep.results.compressions import worth_keeping
from sweep.results.kept_networks import kept_network
from trainables import save_network


def sweep(*arguments: str | Path, color: bool = False) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="sweep", color=color)


@pytest.fixture(scope="module")
def exported(grokked: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export that has lost answers: at the loss of guessing less a little."""
    folder = tmp_path_factory.mktemp("exports") / "network"
    trial = worth_keeping(grokked)[0].trial_id
    answer = sweep("export-network", grokked, "--trial", trial, "--epsilon", "1.9", "--output", folder, color=True)
    assert answer.exit_code == 0, answer.stderr
    assert "\x1b[31mAt epsilon 1.9 accuracy" in answer.stdout
    assert f"written to {folder}" in answer.stdout
    assert json.loads((folder / "behaviour.json").read_text())["exceeded"]
    return folder


def test_networks_are_compared_recorded_reported_and_advised_on(grokked: str, tmp_path: Path) -> None:
    before = json.loads(sweep("decide", grokked, "--json").stdout)
    (tmp_path / "prices.yaml").write_text(
        "{currency: shells, storage_per_gb_month: 1, transfer_per_gb: 1, months: 1, transfers: 1}"
    )
    answer = sweep("behaviour", grokked, "--epsilon", "1.9", "--prices", tmp_path / "prices.yaml", color=True)
    assert answer.exit_code == 0, answer.stderr
    recorded = read_record(grokked)
    flagged = {entry["trial_id"] for entry in recorded if entry["exceeded"]}
    assert flagged
    assert answer.stdout.count("\x1b[31mAt epsilon 1.9 ") == len(flagged)
    size = sum(entry["file_bytes"] for entry in recorded)
    assert f"{size:,} compressed; {len(flagged)} should be compressed less" in answer.stdout
    after = json.loads(sweep("decide", grokked, "--json").stdout)
    assert after["advice"]["compress less"] == len(flagged)
    assert after["advice"]["compress"] == before["advice"]["compress"] - len(flagged)
    for old, new in zip(before["by_trial"], after["by_trial"], strict=True):
        if old["trial_id"] in flagged:
            assert new["action"] == "compress less"
            assert new["reason"].startswith(f"{old['reason']} At epsilon 1.9 ")
        else:
            assert new == old
    assert f"{len(flagged)} to compress less" in sweep("decide", grokked).stdout
    report = sweep("report", grokked, "--output", tmp_path / "report")
    assert report.exit_code == 0, report.stderr
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count('<tr class="flagged">') == len(flagged)
    assert "cost, shells" in page
    # At the sweep's own epsilon nothing changes beyond a limit, and the record is replaced.
    answer = sweep("behaviour", grokked, "--json")
    facts = json.loads(answer.stdout)
    assert facts["recorded"] == f"{grokked}/{RECORD}"
    assert facts["networks"] == read_record(grokked)
    assert [entry["exceeded"] for entry in facts["networks"]] == [[]] * len(recorded)
    assert json.loads(sweep("decide", grokked, "--json").stdout) == before
    # Where the record cannot be written, the answer is printed all the same.
    record = Path(grokked, RECORD)
    record.unlink()
    record.mkdir()
    answer = sweep("behaviour", grokked, "--json")
    record.rmdir()
    assert answer.exit_code == 0, answer.stderr
    assert json.loads(answer.stdout)["networks"] == facts["networks"]
    assert f"note: this is not recorded in {grokked}: Is a directory\n" in answer.stderr


def test_an_export_is_not_overwritten(grokked: str, exported: Path) -> None:
    trial = worth_keeping(grokked)[0].trial_id
    refused = sweep("export-network", grokked, "--trial", trial, "--output", exported)
    assert refused.exit_code == 2
    assert (
        refused.stderr == f"error: {exported} is there already, and nothing is overwritten; name another folder\n"
    )


def test_the_folder_is_named_after_the_network_by_default(
    grokked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one = worth_keeping(grokked)[0]
    answer = sweep(
        "export-network", grokked, "--trial", one.trial_id[:6], "--bound", "answers", "--epsilon", "1e-3"
    )
    assert answer.exit_code == 0, answer.stderr
    assert os.listdir(tmp_path) == [f"{one.trial_id}-step-{one.step}-epsilon-0.001"]
    assert "epsilon 0.001 with --bound answers" in answer.stdout


def test_a_file_is_checked_alone_and_against_its_original(grokked: str, exported: Path, tmp_path: Path) -> None:
    whole = json.loads(sweep("check", exported / "network.grok", "--json").stdout)
    entry = json.loads((exported / "behaviour.json").read_text())
    assert whole["damage"] is None
    assert whole["val_accuracy"] == entry["behaviour"]["accuracy"]["decoded"]
    assert "behaviour" not in whole
    save_network(kept_network(grokked, entry["trial_id"]), tmp_path / "original.safetensors")
    for file in ("network.grok", "network.safetensors"):
        for like in (grokked, tmp_path / "original.safetensors"):
            answer = sweep("check", exported / file, "--like", like, "--json")
            assert answer.exit_code == 1
            facts = json.loads(answer.stdout)
            assert (facts["behaviour"], facts["exceeded"]) == (entry["behaviour"], entry["exceeded"])
    text = sweep("check", exported / "network.grok", "--like", grokked, color=True)
    assert "\x1b[31mbeyond its limit: accuracy" in text.stdout
    same = sweep("check", tmp_path / "original.safetensors", "--like", grokked)
    assert same.exit_code == 0, same.stdout
    assert same.stdout.endswith("All changes are within their limits.\n")


def test_a_damaged_file_is_told_with_exit_code_1(exported: Path, tmp_path: Path) -> None:
    altered = bytearray((exported / "network.grok").read_bytes())
    altered[-2] ^= 4
    (tmp_path / "network.grok").write_bytes(altered)
    answer = sweep("check", tmp_path / "network.grok")
    assert answer.exit_code == 1
    assert answer.stdout.startswith(f"{tmp_path / 'network.grok'}: damaged: ")
    assert "checksum" in json.loads(sweep("check", tmp_path / "network.grok", "--json").stdout)["damage"]


def test_what_cannot_be_checked_is_one_line(grokked: str, exported: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a network")
    for arguments, message in (
        (("check", tmp_path / "notes.txt"), "must end in .npz or .safetensors"),
        (("check", exported / "network.grok", "--repair"), "--repair is for the folder of a sweep"),
        (("check", grokked, "--like", exported / "network.grok"), "are for a network file"),
        (("behaviour", grokked, "--prices", tmp_path / "none.yaml"), "there is no file of prices"),
        (("export-network", grokked, "--trial", "zz"), "must name one trial"),
    ):
        answer = sweep(*arguments)
        assert answer.exit_code == 2, (arguments, answer.stdout, answer.stderr)
        assert answer.stderr.startswith("error: ")
        assert message in answer.stderr
        assert len(answer.stderr.splitlines()) == 1
