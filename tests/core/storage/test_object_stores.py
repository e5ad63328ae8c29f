"""Objects on real servers: the promises of ``storage`` over S3 and Cloud Storage, and through bad connections."""

from __future__ import annotations

import io
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from stores import BUCKET, Fault, Proxy
from tables import make_manifest

from nnn_core import storage
from nnn_core.errors import ConflictError, InputError, StorageError
from nnn_core.storage import _transient as transient
from nnn_core.table.manifest import commit_version, list_versions, read_manifest

DATA = bytes(range(256)) * 5000


def test_what_was_created_is_there(store: str) -> None:
    uri = storage.join(store, "a", "object")
    assert not storage.exists(uri)
    assert storage.create(uri, DATA) is True
    assert storage.create(uri, b"other") is False
    assert storage.exists(uri)
    assert storage.read_bytes(uri) == DATA
    assert storage.size(uri) == len(DATA)
    assert storage.list_names(store) == ["a"]
    assert storage.is_folder(storage.join(store, "a"))
    assert not storage.is_folder(uri)
    with storage.open_input(uri) as stream:
        stream.seek(-10, io.SEEK_END)
        assert stream.read() == DATA[-10:]
        stream.seek(1000)
        assert [stream.read(4), stream.tell()] == [DATA[1000:1004], 1004]


def test_what_was_removed_is_gone(store: str) -> None:
    uri, before = storage.join(store, "folder", "object"), time.time()
    assert not storage.remove(uri)
    storage.create(uri, b"data")
    assert before - 2 < storage.modified(uri) < time.time() + 2
    assert storage.remove(uri)
    assert (storage.exists(uri), storage.remove(uri)) == (False, False)
    assert storage.list_names(storage.join(store, "folder")) == []


def test_globs(store: str) -> None:
    for name in ("x-1.tar", "x-2.tar", "y.txt", "deep/x-3.tar", "deep/er/x-4.tar", "x-9.tar/inner.tar"):
        storage.create(storage.join(store, name), b"1")

    def found(pattern: str) -> list[str]:
        return sorted(uri.removeprefix(store + "/") for uri in storage.find(storage.join(store, pattern)))

    assert found("x-*.tar") == ["x-1.tar", "x-2.tar"]
    assert found("x-1.tar") == ["x-1.tar"]
    assert found("x-[2-5].*") == ["x-2.tar"]
    assert found("*/x-*.tar") == ["deep/x-3.tar"]
    assert found("**/x-?.tar") == ["deep/er/x-4.tar", "deep/x-3.tar", "x-1.tar", "x-2.tar"]
    assert found("nothing*") == found("none/*") == found("none") == []


def test_a_digest_comes_from_the_listing(store: str) -> None:
    uris = [storage.join(store, name) for name in ("a", "b", "c")]
    for uri, data in zip(uris, (b"same", b"same", b"else"), strict=True):
        storage.create(uri, data)
    first, second, third = (storage.content_digest(uri, fresh=True) for uri in uris)
    assert first == second != third
    assert not first.startswith("sha256")


@pytest.mark.parametrize("alike", [True, False])
def test_one_of_eight_racers_wins(store: str, alike: bool) -> None:
    """Also where all write the same bytes, so that bytes do not tell whose they are."""
    barrier = threading.Barrier(8)
    contents = [b"same" if alike else str(number).encode() for number in range(8)]

    def race(number: int) -> bool:
        barrier.wait()
        return storage.create(storage.join(store, "object"), contents[number])

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(race, range(8)))
    assert won.count(True) == 1
    assert storage.read_bytes(storage.join(store, "object")) == contents[won.index(True)]


def writes(proxy: Proxy) -> int:
    return sum(method in ("PUT", "POST") for method, _ in proxy.requests)


def lose_the_answer(proxy: Proxy) -> None:
    """Of the next write, which the store has carried out by then."""
    proxy.faults += [Fault("PUT", BUCKET, "drop"), Fault("POST", BUCKET, "drop")]


def test_a_write_whose_answer_is_lost_is_ones_own(store: str, proxy: Proxy) -> None:
    uri = storage.join(store, "object")
    lose_the_answer(proxy)
    assert storage.create(uri, b"ours") is True
    assert writes(proxy) == 2
    assert storage.read_bytes(uri) == b"ours"
    assert storage.create(uri, b"ours") is False


def test_after_a_lost_answer_another_writer_is_told_apart(store: str, proxy: Proxy) -> None:
    """Its object has the very same bytes, and was there first."""
    uri = storage.join(store, "object")
    assert storage.create(uri, b"same") is True
    lose_the_answer(proxy)
    assert storage.create(uri, b"same") is False


def test_a_commit_whose_answer_is_lost_is_a_commit(store: str, proxy: Proxy) -> None:
    lose_the_answer(proxy)
    manifest = make_manifest()
    assert commit_version(store, manifest) == manifest
    assert list_versions(store) == [1]
    assert read_manifest(store) == manifest
    lose_the_answer(proxy)
    with pytest.raises(ConflictError, match=r"version 1 of .* was published by another job"):
        commit_version(store, make_manifest(alpha=0.2))
    assert read_manifest(store) == manifest


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited between attempts, without waiting."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


@pytest.mark.parametrize(
    ("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (400, "RequestTimeout"), (429, "TooManyRequests")]
)
def test_what_passes_is_tried_again(store: str, proxy: Proxy, waits: list[float], status: int, code: str) -> None:
    if store.startswith("gs") and code != "InternalError":
        pytest.skip("tried again by gcsfs itself, or an answer of S3")
    uri = storage.join(store, "object")
    proxy.faults += [Fault(method, BUCKET, status, code) for method in ("PUT", "POST")]
    assert storage.create(uri, DATA) is True
    proxy.faults += [Fault("GET", "object", status, code), Fault("HEAD", BUCKET, status, code)]
    assert storage.read_bytes(uri) == DATA
    proxy.faults += [Fault("GET", "prefix", status, code)]
    assert storage.list_names(store) == ["object"]
    assert not [fault for fault in proxy.faults if fault.times and fault.method == "GET"]


def test_a_body_that_is_cut_is_read_again(store: str, proxy: Proxy, waits: list[float]) -> None:
    uri = storage.join(store, "object")
    storage.create(uri, DATA)
    cut = "object?alt=media" if store.startswith("gs") else "object"
    proxy.faults.append(Fault("GET", cut, "cut"))
    assert storage.read_bytes(uri) == DATA
    proxy.faults.append(Fault("GET", cut, "cut"))
    with storage.open_input(uri) as stream:
        assert stream.read(100) == DATA[:100]
        assert stream.read() == DATA[100:]
    assert not any(fault.times for fault in proxy.faults)


def test_a_stream_that_stays_broken_is_an_error_of_ours(
    s3: str, monkeypatch: pytest.MonkeyPatch, waits: list[float], request: pytest.FixtureRequest
) -> None:
    uri = storage.join(s3, "object")
    storage.create(uri, DATA)
    monkeypatch.setattr(transient, "ATTEMPTS", 2)
    with storage.open_input(uri) as stream:
        monkeypatch.setattr(stream.raw._stream, "cache", BrokenCache())  # type: ignore[attr-defined]
        with pytest.raises(StorageError, match=rf"cannot reach '{uri}': Connection reset by peer\. Nothing was"):
            stream.read(10)
    assert len(waits) == 1


class BrokenCache:
    """Of a file whose every read fails."""

    def _fetch(self, *_: object) -> bytes:
        raise ConnectionResetError(104, "Connection reset by peer")


ACTS: list[Callable[[str], object]] = [
    storage.read_bytes,
    storage.exists,
    storage.list_names,
    storage.size,
    storage.content_digest,
    lambda uri: storage.find(uri + "*"),
    lambda uri: storage.open_input(uri).__enter__(),
    lambda uri: storage.create(uri, b"1"),
]


@pytest.mark.parametrize("act", ACTS)
def test_what_is_forbidden_fails_at_once(store: str, proxy: Proxy, act: Callable[[str], object]) -> None:
    proxy.faults += [Fault(method, "", 403, "AccessDenied", 99) for method in ("GET", "HEAD", "PUT", "POST")]
    uri = storage.join(store, "object")
    begin = time.monotonic()
    with pytest.raises(StorageError, match=f"cannot (reach|write) '{store}/object"):
        act(uri)
    assert time.monotonic() - begin < 20  # retries would take a minute
    # A write looks once whether the name is taken; to look at a name is up to three requests of gcsfs.
    assert len(proxy.requests) <= 4


@pytest.mark.parametrize("act", [storage.read_bytes, storage.size, storage.content_digest])
def test_what_is_missing_fails_at_once(store: str, proxy: Proxy, act: Callable[[str], object]) -> None:
    uri = storage.join(store, "object")
    with pytest.raises(InputError, match=f"cannot read '{uri}'"):
        act(uri)
    assert len(proxy.requests) <= 4


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_a_bucket_that_is_missing_fails_at_once(store: str, proxy: Proxy) -> None:
    uri = f"s3://no-such-bucket-{uuid.uuid4().hex}/object"
    with pytest.raises(InputError, match=f"cannot read '{uri}'"):
        storage.read_bytes(uri)
    with pytest.raises(StorageError, match=rf"cannot write '{uri}': The specified bucket does not exist"):
        storage.create(uri, b"1")
    for look in (storage.exists, storage.list_names, storage.find, lambda uri: storage.find(f"{uri}/*.tar")):
        with pytest.raises(StorageError, match=r"cannot reach '.*': The specified bucket .* Check its name"):
            look(uri)  # it is no empty place
    assert len(proxy.requests) <= 15


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_a_folder_that_cannot_be_listed_is_no_empty_folder(store: str, proxy: Proxy) -> None:
    """fsspec's own glob would leave out what is in it, and the corpus would have a hole."""
    for name in ("one/x.tar", "two/x.tar"):
        storage.create(storage.join(store, name), b"1")
    proxy.faults.append(Fault("GET", "two%2F", 403, "AccessDenied", 9))
    with pytest.raises(StorageError, match=rf"cannot reach '{store}/\*/\*\.tar'"):
        storage.find(storage.join(store, "*", "*.tar"))


def test_a_server_that_is_not_there_is_an_error_of_ours(
    s3: str, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    import fsspec.config

    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": "http://127.0.0.1:9"})
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StorageError, match=rf"cannot reach '{s3}/x': Could not connect to the endpoint"):
        storage.read_bytes(storage.join(s3, "x"))
    assert len(waits) == transient.ATTEMPTS - 1
