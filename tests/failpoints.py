"""Named moments of a job at which it is killed, or from which on its storage fails.

    KIND:MOMENT[:NTH]    e.g. partial:half:2, when half of the bytes of the second partial are written

KIND is an artefact; MOMENT is one of

    before    its creation was asked for
    half      half of its bytes are in an unnamed file, or on their way to the object store
    sent      all of its bytes are there: not yet under their name on a local disk; in an object store
              complete, but the answer that says so is not yet read
    after     it is created
    read      it is about to be read
    listed    the inputs were listed

Nothing in the program knows of these points: they wrap ``nnn_core.storage``, the system calls below it
and the client of S3. Run as a program, this module is ``nnn`` that kills itself at a point, or sends itself signals:

    python tests/failpoints.py POINT refresh --candidates ...
    python tests/failpoints.py SIGTERM@POINT refresh --candidates ...
    python tests/failpoints.py SIGINT,SIGINT@POINT refresh --candidates ...
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

from nnn_core import storage
from nnn_core.embedded.corpus import _part_boundaries

#: What the URI of an artefact looks like.
KINDS = {
    "table-mark": r"/nnn-bias-table\.json\Z",
    "embedded": r"/embedded/[^/]+\.parquet\Z",
    "rejects": r"/rejects/[^/]+\.jsonl\Z",
    "mark": r"/embedded/[^/]+\.json\Z",
    "partial": r"/partials/[^/]+\.parquet\Z",
    "part": r"/versions/\d+/part-[^/]+\.parquet\Z",
    "manifest": r"/versions/\d+\.json\Z",
    "inputs": r"",
}

#: In the order in which a job comes to them.
POINTS = (
    "inputs:listed",
    "embedded:before",
    "embedded:half",
    "embedded:sent",
    "embedded:after",
    "rejects:half",
    "rejects:after",
    "mark:half",
    "mark:sent",
    "mark:after",
    "partial:half",
    "partial:after",
    "partial:read",
    "part:half",
    "part:sent",
    "part:after",
    "part:after:2",
    "manifest:half",
    "manifest:sent",
    "manifest:after",
)

NOWHERE = "nowhere"

Act = Callable[[str], None]


class _Point:
    """A point, and how near the job is to it."""

    def __init__(self, name: str, act: Act) -> None:
        kind, self.moment, nth = f"{name}:1".split(":")[:3]
        self._pattern, self._wait, self._act = re.compile(KINDS[kind]), int(nth), act
        self.uri, self.data = "", b""

    def reach(self, uri: str, moment: str) -> None:
        """Act if this is the moment."""
        if moment == self.moment and self._pattern.search(uri):
            self._act(uri)

    def act(self) -> None:
        self._act(self.uri)

    def comes(self, uri: str) -> bool:
        """Whether the creation of ``uri`` is one to act on."""
        if not self._pattern.search(uri):
            return False
        self._wait -= 1
        return self._wait < 1

    @contextlib.contextmanager
    def creating(self, uri: str, data: bytes) -> Iterator[None]:
        """While this object is created, system calls and requests belong to it."""
        self.uri, self.data = uri, data
        try:
            yield
        finally:
            self.uri, self.data = "", b""

    def inside(self, moment: str) -> bool:
        return bool(self.uri) and moment == self.moment


@contextlib.contextmanager
def failing(name: str, act: Act) -> Iterator[None]:
    """Call ``act`` with the URI at the point ``name``, and whenever the job comes to it again."""
    point = _Point(name, act)
    patches = [
        mock.patch.object(storage, "create", _create(storage.create, point)),
        mock.patch.object(storage, "find", _then(storage.find, point, "listed")),
        mock.patch.object(storage, "read_bytes", _first(storage.read_bytes, point, "read")),
        mock.patch.object(os, "fsync", _fsync(os.fsync, point)),
        mock.patch.object(os, "link", _link(os.link, point)),
        *_client_patches(point),
    ]
    with contextlib.ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        yield


def _create(real: Callable[[str, bytes], bool], point: _Point) -> Callable[[str, bytes], bool]:
    def create(uri: str, data: bytes) -> bool:
        if not point.comes(uri):
            return real(uri, data)
        point.reach(uri, "before")
        with point.creating(uri, data):
            created = real(uri, data)
        point.reach(uri, "after")
        return created

    return create


def _then(real: Callable[[str], Any], point: _Point, moment: str) -> Callable[[str], Any]:
    def call(uri: str) -> Any:
        result = real(uri)
        point.reach(uri, moment)
        return result

    return call


def _first(real: Callable[[str], Any], point: _Point, moment: str) -> Callable[[str], Any]:
    def call(uri: str) -> Any:
        point.reach(uri, moment)
        return real(uri)

    return call


def _fsync(real: Callable[[int], None], point: _Point) -> Callable[[int], None]:
    def fsync(descriptor: int) -> None:
        if point.inside("half"):
            os.ftruncate(descriptor, len(point.data) // 2)
            point.act()
        real(descriptor)

    return fsync


def _link(real: Callable[..., None], point: _Point) -> Callable[..., None]:
    def link(*args: Any, **options: Any) -> None:
        if point.inside("sent"):
            point.act()
        real(*args, **options)

    return link


def _client_patches(point: _Point) -> list[Any]:
    try:
        from aiobotocore.httpsession import AIOHTTPSession
    except ImportError:
        return []
    real = AIOHTTPSession.send

    async def send(session: Any, request: Any) -> Any:
        upload = bool(point.uri) and request.method == "PUT"
        if upload and point.moment == "half":
            _send_half(request.url, point)
        response = await real(session, request)
        if upload and point.moment == "sent":
            point.act()
        return response

    return [mock.patch.object(AIOHTTPSession, "send", send)]


def _send_half(url: str, point: _Point) -> None:
    to = urlsplit(url)
    head = (
        f"PUT {to.path} HTTP/1.1\r\nHost: {to.netloc}\r\nIf-None-Match: *\r\nContent-Length: {len(point.data)}\r\n\r\n"
    )
    with socket.create_connection((to.hostname or "", to.port or 80)) as connection:
        connection.sendall(head.encode() + point.data[: len(point.data) // 2])
        point.act()


@contextlib.contextmanager
def several_parts(rows: int = 12) -> Iterator[None]:
    """Cut even a tiny table into several files."""
    cut = partial(_part_boundaries, rows_per_part=rows)
    with (
        mock.patch("nnn_core.embedded.shards.ID_SAMPLE_RATE", 2),
        mock.patch("nnn_core.embedded.corpus._part_boundaries", cut),
    ):
        yield


def main(name: str, *arguments: str, for_good: bool = False) -> int:
    """``nnn`` with these arguments, which is sent signals at the point.

    Args:
        name: the point, behind the names of the signals and an @; without these the signal is SIGKILL.
        *arguments: what follows ``nnn``.
        for_good: whether this process is ``nnn``, and ends with it.
    """
    from pipelines.commands import cli

    signals, _, point = f"SIGKILL@{name}".rpartition("@")
    numbers = [signal.Signals[each] for each in signals.rpartition("@")[2].split(",")]

    def kill(_uri: str) -> None:
        for number in numbers:
            os.kill(os.getpid(), number)

    sys.argv[1:] = arguments
    with several_parts(), contextlib.nullcontext() if point == NOWHERE else failing(point, kill):
        return cli.main(None if for_good else arguments)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:], for_good=True))
