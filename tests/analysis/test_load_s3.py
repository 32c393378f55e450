"""Results in a bucket, read from a server that speaks S3 on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from pyarrow import fs

import analysis
from analysis.errors import ResultsNotFound
from tests.analysis.folder import Folder
from tests.buckets import use_server
from trainables.config import TrialConfig

moto_server = pytest.importorskip("moto.server", reason="needs the extra s3-test")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    use_server(monkeypatch, f"http://{host}:{port}")
    filesystem, _ = fs.FileSystem.from_uri("s3://sweeps?allow_bucket_creation=true&region=us-east-1")
    filesystem.create_dir("sweeps")
    yield "s3://sweeps"
    server.stop()


def test_a_bucket_is_read_like_a_folder(bucket: str, tmp_path: Path) -> None:
    trials = [TrialConfig(seed=seed) for seed in range(2)]
    folder = Folder(tmp_path / "results")
    folder.reports(trials, (0, 32), ended={1: trials[:1]})
    destination, root = fs.FileSystem.from_uri(f"{bucket}/results/mine")
    fs.copy_files(str(folder.path), root, fs.LocalFileSystem(), destination)

    from_bucket, from_folder = analysis.load(f"{bucket}/results/mine"), analysis.load(folder.path)
    assert set(from_bucket["sweep"]) == {f"{bucket}/results/mine"}
    pd.testing.assert_frame_equal(from_bucket.drop(columns="sweep"), from_folder.drop(columns="sweep"))
    pd.testing.assert_frame_equal(analysis.status(f"{bucket}/results/mine/"), analysis.status(folder.path))
    assert len(analysis.complexity(f"{bucket}/results/mine")) == 4
    with pytest.raises(ResultsNotFound):
        analysis.load(f"{bucket}/results/other")
