"""Object stores on loopback, a proxy in front of one that breaks when it is told to, and folders as dictionaries."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import mock
from urllib.parse import quote

import fsspec
import fsspec.config
import pytest
from corpora import OF_ONE_RUN

BUCKET = "nnn-test"


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def serve(command: Sequence[str], port: int, log: Path) -> Iterator[str]:
    """The endpoint of a server, from the moment that it answers."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FSSPEC_"))}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            for _ in range(600):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                assert process.poll() is None, log.read_text()
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def serve_s3(log: Path) -> contextlib.AbstractContextManager[str]:
    """S3, by moto."""
    port, server = free_port(), Path(__file__).with_name("serve_s3.py")
    return serve([sys.executable, str(server), "-H", "127.0.0.1", "-p", str(port)], port, log)


def serve_gs(log: Path) -> contextlib.AbstractContextManager[str]:
    """Cloud Storage, by an emulator."""
    port = free_port()
    flags = ["--host", "127.0.0.1", "--port", str(port), "--default-bucket", BUCKET, "--in-memory"]
    return serve([sys.executable, "-m", "gcp_storage_emulator", "start", *flags], port, log)


@dataclass
class Fault:
    """What happens to requests that match.

    Attributes:
        method: of the request.
        part: of its path.
        act: ``refuse`` (closed before the store sees it), ``drop`` (done, but the answer is lost), ``cut`` (half of
            the answer's body), or a status to answer with.
        code: the store's word for the status.
        times: how often it happens.
    """

    method: str
    part: str
    act: str | int
    code: str = ""
    times: int = 1


class Proxy(ThreadingHTTPServer):
    """Hands requests on to a store, but for ``faults``, and lists them in ``requests``.

    The emulator of Cloud Storage overwrites an object although it was told not to (``ifGenerationMatch=0``), so
    that condition is checked here, one upload at a time.
    """

    daemon_threads = True

    def __init__(self, endpoint: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.store = endpoint.rpartition("/")[2]
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self.uploading = threading.Lock()

    def fault_of(self, method: str, path: str) -> Fault | None:
        """The first fault that matches and is not used up."""
        for fault in self.faults:
            if fault.times and fault.method == method and fault.part in path:
                fault.times -= 1
                return fault
        return None

    @contextlib.contextmanager
    def running(self) -> Iterator[Proxy]:
        """Answer until the end of the block."""
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            self.server_close()
            thread.join()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is none of the test's business."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _handle(self) -> None:
        body = self._body()
        self.server.requests.append((self.command, self.path))
        fault = self.server.fault_of(self.command, self.path)
        act = fault.act if fault else None
        if isinstance(act, int):
            self._answer(act, {"Content-Type": "application/xml"}, _error(act, fault.code if fault else ""))
            return
        if act == "refuse":
            self.close_connection = True
            return
        status, headers, data = self._forward(body)
        if act == "drop":
            self.close_connection = True
            return
        self._answer(status, headers, data, cut=act == "cut")

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_PATCH = _handle

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while length := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(length))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(chunks)

    def _forward(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        if "ifGenerationMatch=0" not in self.path:
            return self._ask(self.command, self.path, body)
        name = re.search(rb'"name": "([^"]*)"', body)
        assert name is not None
        place = self.path.replace("/upload/", "/").partition("?")[0] + "/" + quote(name.group(1).decode(), safe="")
        with self.server.uploading:
            if self._ask("GET", place, b"")[0] == 200:
                return 412, {}, b'{"error": {"code": 412, "message": "conditionNotMet"}}'
            return self._ask(self.command, self.path, body)

    def _ask(self, method: str, path: str, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        connection = http.client.HTTPConnection(self.server.store, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        if body or method in ("PUT", "POST"):
            headers["Content-Length"] = str(len(body))
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        data = response.read()
        connection.close()
        return response.status, dict(response.getheaders()), data

    def _answer(self, status: int, headers: Mapping[str, str], data: bytes, cut: bool = False) -> None:
        length = headers.get("Content-Length", str(len(data))) if self.command == "HEAD" else str(len(data))
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        self.close_connection |= cut

    def log_message(self, *_: object) -> None:
        """Nothing: what was asked is in ``requests``."""


_HOP = ("connection", "content-length", "transfer-encoding", "expect", "keep-alive")


def _error(status: int, code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>status {status}</Message></Error>".encode()


def use_s3(patch: pytest.MonkeyPatch, endpoint: str, key: str = "AKIATEST", secret: str = "secret") -> None:
    """Point s3:// to ``endpoint``, here and in processes that are started."""
    patch.setenv("AWS_ACCESS_KEY_ID", key)
    patch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    patch.setenv("FSSPEC_S3_ENDPOINT_URL", endpoint)
    patch.setitem(fsspec.config.conf, "s3", {"endpoint_url": endpoint})


def use_gs(patch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Point gs:// to ``endpoint``, here and in processes that are started."""
    settings = {"endpoint_url": endpoint, "token": "anon", "project": "p"}
    for name, value in settings.items():
        patch.setenv(f"FSSPEC_GS_{name.upper()}", value)
    patch.setitem(fsspec.config.conf, "gs", settings)


@contextlib.contextmanager
def own_s3() -> Iterator[str]:
    """An S3 server for one test alone, known to this process and its children by the usual environment.

    Yields:
        The URI of its bucket, which is empty.
    """
    with tempfile.TemporaryDirectory() as folder, serve_s3(Path(folder) / "log") as endpoint:
        environment = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        with mock.patch.dict(os.environ, environment):
            fsspec.get_filesystem_class("s3").clear_instance_cache()
            fsspec.filesystem("s3").mkdir(BUCKET)
            yield f"s3://{BUCKET}"
        fsspec.get_filesystem_class("s3").clear_instance_cache()


def forbid(url: str, requests: int) -> None:
    """From ``requests`` requests on, answer with 403 whoever asks: no key is known to the server."""
    request = urllib.request.Request(
        f"{url}/moto-api/reset-auth", str(requests).encode(), {"Content-Type": "text/plain"}, method="POST"
    )
    urllib.request.urlopen(request, timeout=5).close()


def objects(uri: str) -> dict[str, bytes]:
    """Every object below ``uri`` by its name relative to it, but for those of ``OF_ONE_RUN``."""
    fs, root = fsspec.url_to_fs(uri)
    fs.invalidate_cache()
    names = {path: path.removeprefix(root).lstrip("/") for path in fs.find(root)}
    return {name: fs.cat_file(path) for path, name in names.items() if not OF_ONE_RUN.intersection(name.split("/"))}


def plant(uri: str, contents: dict[str, bytes]) -> None:
    """Write what ``objects`` read somewhere else."""
    fs, root = fsspec.url_to_fs(uri)
    for name, data in contents.items():
        fs.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
        fs.pipe_file(f"{root}/{name}", data)
