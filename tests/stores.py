"""Object stores on loopback, and whole folders of them as dictionaries."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from unittest import mock

import fsspec

BUCKET = "nnn"


@contextlib.contextmanager
def serve_s3() -> Iterator[str]:
    """An S3 server with one empty bucket, known to this process and its children by the usual environment.

    Yields:
        The URI of the bucket.
    """
    port = _free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        with mock.patch.dict(os.environ, environment):
            _wait_for(environment["AWS_ENDPOINT_URL"])
            fsspec.get_filesystem_class("s3").clear_instance_cache()
            fsspec.filesystem("s3").mkdir(BUCKET)
            yield f"s3://{BUCKET}"
    finally:
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        server.kill()
        server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(url: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(f"{url}/moto-api/", timeout=5).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def forbid(url: str, requests: int) -> None:
    """From ``requests`` requests on, answer with 403 whoever asks: no key is known to the server."""
    request = urllib.request.Request(
        f"{url}/moto-api/reset-auth", str(requests).encode(), {"Content-Type": "text/plain"}, method="POST"
    )
    urllib.request.urlopen(request, timeout=5).close()


def objects(uri: str) -> dict[str, bytes]:
    """Every object below ``uri`` by its name relative to it."""
    fs, root = fsspec.url_to_fs(uri)
    fs.invalidate_cache()
    return {path.removeprefix(root).lstrip("/"): fs.cat_file(path) for path in fs.find(root)}


def plant(uri: str, contents: dict[str, bytes]) -> None:
    """Write what ``objects`` read somewhere else."""
    fs, root = fsspec.url_to_fs(uri)
    for name, data in contents.items():
        fs.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
        fs.pipe_file(f"{root}/{name}", data)
