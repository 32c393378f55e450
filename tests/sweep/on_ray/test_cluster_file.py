"""cluster.yaml passes Ray's own validation, agrees with the lock, and is refused while it is still to be edited."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweep.errors import PlaceholderLeft, SweepError
from sweep.on_ray.cluster_file import check_no_placeholders, results_root

ROOT = Path(__file__).parents[3]
CLUSTER = ROOT / "cluster.yaml"


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    return yaml.safe_load(CLUSTER.read_text(encoding="utf-8"))


@pytest.fixture
def edited(tmp_path: Path) -> Path:
    """The cluster file as a user with a bucket would have it."""
    path = tmp_path / "cluster.yaml"
    text = CLUSTER.read_text(encoding="utf-8")
    path.write_text(
        text.replace("<YOUR-BUCKET>", "grokking")
        .replace("<YOUR-REGION>", "eu-central-1")
        .replace("<YOUR-INSTANCE-PROFILE-ARN>", "arn:aws:iam::123456789012:instance-profile/sweep"),
        encoding="utf-8",
    )
    return path


def test_ray_accepts_it(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(cluster))


def test_ray_would_not_accept_anything() -> None:
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    wrong = yaml.safe_load(CLUSTER.read_text(encoding="utf-8").replace("idle_timeout_minutes", "idle_timeout"))
    with pytest.raises(ValidationError, match="idle_timeout"):
        validate_config(prepare_config(wrong))


def test_spot_workers_scale_from_zero_and_the_head_trains_nothing(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    workers = [settings for name, settings in types.items() if name != cluster["head_node_type"]]
    assert types[cluster["head_node_type"]]["resources"] == {"CPU": 0}
    assert [worker["min_workers"] for worker in workers] == [0]
    assert workers[0]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}


def test_start_commands_are_safe(cluster: dict[str, Any]) -> None:
    starts = [cluster[f"{role}_start_ray_commands"][-1] for role in ("head", "worker")]
    for command in starts:
        assert "RAY_AUTH_MODE=token" in command
        assert "RAY_memory_monitor_refresh_ms=0" in command
    assert re.search(r"RAY_JOB_STOP_WAIT_TIME_S=\d{2}", starts[0])
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert "~/.ray/auth_token" in cluster["file_mounts"]


def test_files_it_copies_exist(cluster: dict[str, Any]) -> None:
    local = [path for path in cluster["file_mounts"].values() if not path.startswith("~")]
    assert [path for path in local if not (ROOT / path).exists()] == []


def test_the_image_has_the_locked_ray(cluster: dict[str, Any]) -> None:
    locked = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert locked
    assert cluster["docker"]["image"].startswith(f"rayproject/ray:{locked[1]}-py311")


def test_every_placeholder_is_marked_and_named() -> None:
    lines = CLUSTER.read_text(encoding="utf-8").splitlines()
    expected = [number for number, line in enumerate(lines, start=1) if "<YOUR-" in line]
    assert all("# EDIT" in lines[number - 1] for number in expected)
    with pytest.raises(PlaceholderLeft) as refused:
        results_root(CLUSTER)
    reported = [int(line.removeprefix(f"{CLUSTER}:").partition(":")[0]) for line in str(refused.value).splitlines()]
    assert reported == expected


def test_ray_up_itself_cannot_start_with_the_placeholders(cluster: dict[str, Any]) -> None:
    import boto3
    from botocore.exceptions import InvalidRegionError

    with pytest.raises(InvalidRegionError):
        boto3.client("ec2", region_name=cluster["provider"]["region"])


def test_results_root_of_an_edited_file(edited: Path) -> None:
    assert results_root(edited) == "s3://grokking/sweeps"


@pytest.mark.parametrize("root", ["results/here", "", "[]"])
def test_results_root_must_be_a_bucket(tmp_path: Path, root: str) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(f"cluster_name: x\nmetadata:\n  results: {root}\n", encoding="utf-8")
    with pytest.raises(SweepError, match="must be a bucket"):
        results_root(path)


def test_missing_cluster_file(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match="cannot read the cluster file"):
        results_root(tmp_path / "cluster.yaml")


def test_placeholders_in_comments_do_not_count() -> None:
    check_no_placeholders("# put it for <YOUR-BUCKET>\nresults: s3://mine # not <YOUR-BUCKET>\n", "cluster.yaml")


def test_placeholder_in_a_results_path() -> None:
    with pytest.raises(PlaceholderLeft, match=r"^results: put your own value in place of <YOUR-BUCKET>$"):
        check_no_placeholders("s3://<YOUR-BUCKET>/quickstart", "results")
