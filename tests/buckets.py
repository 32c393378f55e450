"""A bucket of a server on this machine."""

from __future__ import annotations

import pytest


def use_server(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Let S3 be the server at `address`, for this process and those that it starts."""
    settings = {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
