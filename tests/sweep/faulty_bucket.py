"""A bucket on this machine whose server can be told to refuse, be overloaded or hang, by real HTTP answers."""

from __future__ import annotations

import contextlib
import http.client
import logging
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.buckets import use_server

REFUSED = (403, "AccessDenied")
OVERLOADED = (503, "SlowDown")
HANGS = (0, "")


@dataclass
class FaultyBucket:
    """A server in front of moto's, which passes requests on while nothing is wrong."""

    path: str
    """`s3://...`, a folder in a bucket that exists."""
    fault: tuple[int, str] | None = None
    """Status and code of the answer to each request; `HANGS` for none at all; None to pass requests on."""
    methods: frozenset[str] = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE"})
    """The requests that the fault is about."""
    left: float = float("inf")
    """Requests that still meet the fault."""
    met: list[str] = field(default_factory=list)
    """The requests that met it."""
    over: threading.Event = field(default_factory=threading.Event)
    """Ends all hanging requests."""

    def meets_fault(self, method: str) -> tuple[int, str] | None:
        """Return what is wrong with this request."""
        if self.fault is None or method not in self.methods or self.left <= 0:
            return None
        self.left -= 1
        self.met.append(method)
        return self.fault


@contextlib.contextmanager
def faulty_bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyBucket]:
    """Start both servers, make a bucket, and let this process and its children use it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto_server = pytest.importorskip("moto.server", reason="needs the extra s3-test")
    moto = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    behind = moto.get_host_and_port()
    # All servers of moto in a process have the same content.
    bucket = FaultyBucket(f"s3://sweeps/results/{secrets.token_hex(4)}")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.body()
            fault = bucket.meets_fault(self.command)
            if fault == HANGS:
                bucket.over.wait()
                self.close_connection = True
                return
            if fault is not None:
                status, code = fault
                text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
                self.reply(status, {"Content-Type": "application/xml"}, text)
                return
            connection = http.client.HTTPConnection(*behind, timeout=60)
            with contextlib.closing(connection):
                headers = {k: v for k, v in self.headers.items() if k.lower() != "transfer-encoding"}
                headers["Content-Length"] = str(len(body))
                connection.request(self.command, self.path, body, headers)
                response = connection.getresponse()
                headers = {
                    k: v for k, v in response.getheaders() if k.lower() not in ("connection", "server", "date")
                }
                self.reply(response.status, headers, response.read())

        def body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = []
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass  # trailers
            return b"".join(parts)

        def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            length = headers.pop("Content-Length", None) if self.command == "HEAD" else None
            for name, value in headers.items():
                if name.lower() not in ("content-length", "transfer-encoding"):
                    self.send_header(name, value)
            self.send_header("Content-Length", length or str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    use_server(monkeypatch, f"http://127.0.0.1:{server.server_port}")
    connection = http.client.HTTPConnection(*behind)
    connection.request("PUT", "/sweeps")
    assert connection.getresponse().status == 200
    try:
        yield bucket
    finally:
        bucket.over.set()
        server.shutdown()
        server.server_close()
        moto.stop()
