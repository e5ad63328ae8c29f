"""Objects are created once, whole or not at all, on a local disk and elsewhere."""

from __future__ import annotations

import errno
import hashlib
import http.server
import multiprocessing
import os
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from nnn_core import storage
from nnn_core.errors import InputError, StorageError


@pytest.fixture(params=["local", "named", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh folder: on disk, on a disk without unnamed files, and in memory."""
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}"
    if request.param == "named":
        refuse_unnamed_files(monkeypatch)
    return str(tmp_path)


def refuse_unnamed_files(monkeypatch: pytest.MonkeyPatch) -> None:
    real_open = os.open

    def refuse(path: str, flags: int, *args: object, **kwargs: object) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(95, "Operation not supported")
        return real_open(path, flags, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)


def names_below(place: str) -> list[str]:
    fs, path = storage._resolve(place)
    return sorted(storage.basename(name) for name in fs.find(path))


def test_create_is_exclusive(place: str) -> None:
    uri = storage.join(place, "a", "b", "object")
    assert not storage.exists(uri)
    assert storage.create(uri, b"first") is True
    assert storage.create(uri, b"second") is False
    assert storage.exists(uri)
    assert storage.read_bytes(uri) == b"first"
    assert names_below(place) == ["object"]


def test_an_output_is_never_another_file(place: str) -> None:
    uri = storage.join(place, "output")
    storage.create_output(uri, b"first", "--output")
    storage.create_output(uri, memoryview(b"first"), "--output")
    with pytest.raises(StorageError, match=f"^--output {uri!r} exists already with other content and was left as"):
        storage.create_output(uri, b"second", "--output")
    assert storage.read_bytes(uri) == b"first"


def test_what_a_killed_writer_leaves_is_known_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_unnamed_files(monkeypatch)
    left = []

    def link(*_: object, **__: object) -> None:
        left.extend(os.listdir(tmp_path))
        raise OSError(errno.EIO, "as if killed")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(StorageError):
        storage.create(str(tmp_path / "000001.json"), b"x")
    assert len(left) == 1
    assert storage.is_half_written(left[0])
    assert not storage.is_half_written("000001.json")


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 5000])
def test_what_was_created_is_read(place: str, data: bytes) -> None:
    uri = storage.join(place, "object")
    storage.create(uri, data)
    assert storage.read_bytes(uri) == data
    assert storage.size(uri) == len(data)
    with storage.open_input(uri) as stream:
        assert stream.seekable()
        assert stream.read() == data


def test_one_of_many_threads_wins(place: str) -> None:
    barrier = threading.Barrier(8)

    def race(number: int, turn: int) -> bool:
        barrier.wait()
        return storage.create(storage.join(place, f"object-{turn}"), str(number).encode() * 10_000)

    with ThreadPoolExecutor(8) as pool:
        for turn in range(10):
            won = list(pool.map(race, range(8), [turn] * 8))
            assert won.count(True) == 1
            winner = str(won.index(True)).encode() * 10_000
            assert storage.read_bytes(storage.join(place, f"object-{turn}")) == winner
    assert len(names_below(place)) == 10


def race_in_process(folder: str, number: int, barrier: threading.Barrier, results: multiprocessing.Queue[int]) -> None:
    for turn in range(20):
        barrier.wait()
        if storage.create(f"{folder}/object-{turn}", str(number).encode() * 10_000):
            results.put(100 * turn + number)


def test_one_of_several_processes_wins(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(3), context.Queue()
    processes = [
        context.Process(target=race_in_process, args=(str(tmp_path), number, barrier, results)) for number in range(3)
    ]
    for process in processes:
        process.start()
    won = dict(divmod(results.get(timeout=60), 100) for _ in range(20))
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert results.empty()
    assert sorted(won) == list(range(20))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        f"object-{turn}": str(number).encode() * 10_000 for turn, number in won.items()
    }


@pytest.mark.parametrize("unnamed", [True, False])
def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unnamed: bool) -> None:
    if not unnamed:
        refuse_unnamed_files(monkeypatch)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    uri = str(tmp_path / "folder" / "object")
    with pytest.raises(StorageError, match=r"cannot write '.*object': No space left on device.*Nothing was published"):
        storage.create(uri, b"data")
    assert list((tmp_path / "folder").iterdir()) == []


@pytest.mark.parametrize("unnamed", [True, False])
def test_the_name_appears_after_the_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unnamed: bool) -> None:
    if not unnamed:
        refuse_unnamed_files(monkeypatch)
    target, linked = tmp_path / "object", []
    real_link = os.link

    def link(source: str, path: str, **kwargs: object) -> None:
        assert not target.exists()
        assert Path(source).read_bytes() == b"all of it"
        real_link(source, path, **kwargs)  # type: ignore[arg-type]
        linked.append(path)

    monkeypatch.setattr(os, "link", link)
    assert storage.create(str(target), b"all of it")
    assert linked == [str(target)]


def test_what_was_removed_is_gone(place: str) -> None:
    uri = storage.join(place, "folder", "object")
    assert not storage.remove(uri)
    storage.create(uri, b"data")
    assert storage.remove(uri)
    assert not storage.exists(uri)
    assert not storage.remove(uri)
    assert storage.create(uri, b"other")


def test_a_folder_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"")
    assert not storage.remove(str(tmp_path / "folder"))
    assert (tmp_path / "folder" / "file").exists()


def test_when_an_object_was_written(place: str) -> None:
    uri, before = storage.join(place, "object"), time.time()
    storage.create(uri, b"data")
    assert before - 2 < storage.modified(uri) < time.time() + 2
    with pytest.raises(InputError, match="cannot read"):
        storage.modified(storage.join(place, "nothing"))


def test_a_dangling_link_counts_as_taken(tmp_path: Path) -> None:
    (tmp_path / "object").symlink_to(tmp_path / "nowhere")
    assert storage.create(str(tmp_path / "object"), b"data") is False
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("below", ["object", "folder/object", "folder/deeper/object"])
def test_a_location_below_a_file_is_an_error(place: str, below: str) -> None:
    """Not "somebody else created it": then the caller would believe that its work is stored."""
    if place.startswith("memory"):
        pytest.skip("object stores have no folders, a name may continue another")
    storage.create(storage.join(place, "file"), b"x")
    with pytest.raises(StorageError, match=r"cannot write .*file.*Nothing was published"):
        storage.create(storage.join(place, "file", below), b"data")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="Permission denied"):
        storage.create(str(tmp_path / "object"), b"data")


@pytest.mark.parametrize("act", [storage.read_bytes, storage.exists, storage.find, storage.list_names, storage.size])
def test_unknown_protocol(act: object) -> None:
    with pytest.raises(StorageError, match=r"cannot open 'nope://bucket/x'.*protocol.*s3fs for s3, gcsfs for gs"):
        act("nope://bucket/x")  # type: ignore[operator]
    with pytest.raises(StorageError, match="cannot open 'nope://bucket/x'"):
        storage.create("nope://bucket/x", b"")


class ClientError(Exception):
    """As botocore's: not an OSError, with the store's answer in it."""

    def __init__(self, code: str, status: int) -> None:
        super().__init__(f"An error occurred ({code})")
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


def translated(number: int, code: str, status: int) -> OSError:
    """As s3fs translates it."""
    error = OSError(number, f"An error occurred ({code})")
    error.__cause__ = ClientError(code, status)
    return error


CONFLICT = (errno.EIO, "ConditionalRequestConflict", 409)
BUSY = (errno.EBUSY, "SlowDown", 503)
FAILED = (errno.EINVAL, "PreconditionFailed", 412)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited between attempts, without waiting."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


def fail_writes(monkeypatch: pytest.MonkeyPatch, errors: list[OSError], write_first: bool = False) -> None:
    """Let writes in memory fail with each of ``errors`` in turn, perhaps after another writer's succeeded."""
    real = MemoryFileSystem.pipe_file

    def pipe_file(fs: MemoryFileSystem, path: str, data: bytes, **options: object) -> None:
        if errors:
            if write_first:
                real(fs, path, b"theirs")
            raise errors.pop(0)
        real(fs, path, data, **options)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", pipe_file)


@pytest.mark.parametrize("answer", [CONFLICT, BUSY, FAILED])
def test_however_a_store_says_that_the_name_is_taken(
    monkeypatch: pytest.MonkeyPatch, waits: list[float], answer: tuple[int, str, int]
) -> None:
    uri = f"memory://{uuid.uuid4().hex}/object"
    fail_writes(monkeypatch, [translated(*answer)], write_first=True)
    assert storage.create(uri, b"ours") is False
    assert storage.read_bytes(uri) == b"theirs"
    assert waits == []


@pytest.mark.parametrize("answer", [CONFLICT, BUSY])
def test_a_conflict_without_a_winner_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, waits: list[float], answer: tuple[int, str, int]
) -> None:
    uri = f"memory://{uuid.uuid4().hex}/object"
    fail_writes(monkeypatch, [translated(*answer), translated(*answer)])
    assert storage.create(uri, b"ours") is True
    assert storage.read_bytes(uri) == b"ours"
    assert len(waits) == 2


@pytest.mark.parametrize(("answer", "attempts"), [(CONFLICT, 5), (BUSY, 5), (FAILED, 1)])
def test_a_write_that_keeps_failing_is_an_error(
    monkeypatch: pytest.MonkeyPatch, waits: list[float], answer: tuple[int, str, int], attempts: int
) -> None:
    errors = [translated(*answer) for _ in range(9)]
    fail_writes(monkeypatch, errors)
    with pytest.raises(StorageError, match=rf"cannot write 'memory://.*{answer[1]}.*Nothing was published"):
        storage.create(f"memory://{uuid.uuid4().hex}/object", b"ours")
    assert (9 - len(errors), len(waits)) == (attempts, attempts - 1)


@pytest.mark.parametrize(
    ("method", "act"),
    [
        ("info", storage.exists),
        ("info", storage.is_folder),
        ("ls", storage.list_names),
        ("info", storage.find),
        ("ls", lambda uri: storage.find(uri + "*")),
        ("size", storage.size),
        ("info", storage.content_digest),
        ("cat_file", storage.read_bytes),
        ("open", lambda uri: storage.open_input(uri).__enter__()),
        ("pipe_file", lambda uri: storage.create(uri, b"")),
    ],
)
def test_missing_credentials_are_an_error_of_ours(
    monkeypatch: pytest.MonkeyPatch, method: str, act: Callable[[str], object]
) -> None:
    """Clients of stores have classes of their own for them, which are not OSError."""

    class NoCredentialsError(Exception):
        __module__ = "botocore.exceptions"

    def fail(*_: object, **__: object) -> None:
        raise NoCredentialsError("Unable to locate credentials")

    monkeypatch.setattr(MemoryFileSystem, method, fail)
    with pytest.raises(
        StorageError, match=r"cannot reach 'memory://b/x\*?': Unable to locate credentials\. .*Check its"
    ):
        act("memory://b/x")


@pytest.mark.parametrize(
    ("method", "act"),
    [
        ("info", storage.exists),
        ("ls", storage.list_names),
        ("info", storage.find),
        ("ls", lambda uri: storage.find(uri + "*")),
        ("cat_file", storage.read_bytes),
    ],
)
def test_a_place_that_may_not_be_looked_at_is_an_error_of_ours(
    monkeypatch: pytest.MonkeyPatch, method: str, act: Callable[[str], object]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PermissionError(13, "Access Denied")

    monkeypatch.setattr(MemoryFileSystem, method, fail)
    with pytest.raises(StorageError, match=r"cannot reach 'memory://b/x\*?': Access Denied"):
        act("memory://b/x")


@pytest.mark.parametrize("uri", ["hdfs://h/x", "sftp://h/x", "webdav://h/x", "ftp://h/x", "simplecache::s3://b/x"])
def test_a_place_without_exclusive_creation_is_refused(uri: str) -> None:
    """There two writers of one name could both believe that they were first."""
    with pytest.raises(
        StorageError, match=rf"cannot write '{uri}': '\w+' cannot create objects exclusively.*local disk, S3, Google"
    ):
        storage.create(uri, b"")


def test_inputs_may_lie_anywhere(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"1")
    assert storage.read_bytes(f"simplecache::file://{tmp_path / 'x.tar'}") == b"1"


@pytest.mark.parametrize(
    "uri", ["/a", "a", "file:///a", "memory://a", "s3://a", "gs://a", "abfs://a", "az://a", "nosuch://a"]
)
def test_places_with_exclusive_creation(uri: str) -> None:
    storage.check_exclusive(uri)


def test_missing_objects_name_themselves(place: str) -> None:
    uri = storage.join(place, "missing")
    for act in (storage.read_bytes, storage.size, storage.content_digest):
        with pytest.raises(InputError, match=r"cannot read '.*missing'"):
            act(uri)
    with pytest.raises(InputError, match=r"cannot read '.*missing'"), storage.open_input(uri):
        pass


def test_which_of_several_objects_are_there(place: str) -> None:
    uris = [storage.join(place, f"{name}.parquet") for name in "abcd"]
    assert storage.existing([]) == storage.existing(uris[:1]) == storage.existing(uris) == frozenset()
    for uri in uris[1:3]:
        storage.create(uri, b"bytes")
    assert storage.existing(uris) == frozenset(uris[1:3])
    assert storage.existing(uris[1:2]) == frozenset(uris[1:2])


def test_a_store_is_asked_for_many_objects_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = threading.Barrier(8, timeout=30)
    monkeypatch.setattr(MemoryFileSystem, "info", lambda self, path, **_: {"type": ("file", at_once.wait())[0]})
    uris = [f"memory://here/{number}" for number in range(8)]
    assert storage.existing(uris) == frozenset(uris)


def test_a_folder_is_not_an_object(tmp_path: Path) -> None:
    for act in (storage.read_bytes, storage.content_digest):
        with pytest.raises(InputError, match="Is a directory"):
            act(str(tmp_path))


def test_list_names_are_direct_and_sorted(place: str) -> None:
    assert storage.list_names(place) == []
    for name in ("b", "a", "deep/c"):
        storage.create(storage.join(place, name), b"")
    assert storage.list_names(place) == ["a", "b", "deep"]
    assert storage.list_names(place + "/") == ["a", "b", "deep"]
    assert storage.list_names(storage.join(place, "none")) == []


def test_find_gives_files_only(place: str) -> None:
    for name in ("x-1.tar", "x-2.tar", "y.txt", "x-9.tar/inner.tar"):
        storage.create(storage.join(place, name), b"1")
    found = [storage.basename(uri) for uri in storage.find(storage.join(place, "x-*.tar"))]
    assert sorted(found) == ["x-1.tar", "x-2.tar"]
    assert [storage.basename(uri) for uri in storage.find(storage.join(place, "y.txt"))] == ["y.txt"]
    assert storage.find(storage.join(place, "z*")) == storage.find(storage.join(place, "z")) == []
    deep = storage.find(storage.join(place, "**", "*.tar"))
    assert [storage.basename(uri) for uri in deep if "inner" in uri] == ["inner.tar"]


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A folder of links into another, as caches and data versioning lay out their files."""
    for name in ("store/blob", "store/day/y.tar", "links/real.tar", "links/sub/deep.tar"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    (tmp_path / "links" / "x.tar").symlink_to("../store/blob")
    (tmp_path / "links" / "day").symlink_to("../store/day")
    (tmp_path / "links" / "sub" / "up").symlink_to("..")
    (tmp_path / "store" / "day" / "back").symlink_to("../../links")
    return tmp_path / "links"


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.tar", ["real.tar", "x.tar"]),
        ("*/*.tar", ["day/y.tar", "sub/deep.tar"]),
        ("day/*.tar", ["day/y.tar"]),
        ("**/*.tar", ["day/y.tar", "real.tar", "sub/deep.tar", "x.tar"]),
        ("x.tar", ["x.tar"]),
        ("*", ["real.tar", "x.tar"]),
    ],
)
def test_links_are_followed(linked: Path, pattern: str, names: list[str]) -> None:
    found = storage.find(str(linked / pattern))
    assert sorted(found) == [str(linked / name) for name in names]


@pytest.mark.parametrize("pattern", ["*.tar", "**/*.tar", "gone.tar", "?one.tar", "*/part.tar"])
def test_a_link_that_leads_nowhere_is_an_error(linked: Path, pattern: str) -> None:
    (linked / "gone.tar").symlink_to("../store/nowhere")
    with pytest.raises(
        InputError, match=r"gone\.tar' is a link to '\.\./store/nowhere', which does not exist.*Restore"
    ):
        storage.find(str(linked / pattern))


def test_a_link_elsewhere_may_lead_nowhere(linked: Path) -> None:
    (linked / "notes").symlink_to("../store/nowhere")
    assert sorted(storage.find(str(linked / "*.tar"))) == [str(linked / "real.tar"), str(linked / "x.tar")]


def test_found_uris_can_be_read(place: str) -> None:
    storage.create(storage.join(place, "x.tar"), b"content")
    (uri,) = storage.find(storage.join(place, "*.tar"))
    assert storage.read_bytes(uri) == b"content"
    assert uri == storage.join(place, "x.tar").replace("memory://", "memory:///")


@pytest.mark.parametrize("name", ["odd [1].tar", "what?.tar", "star*.tar"])
def test_a_name_with_magic_characters_matches_itself(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"1")
    assert storage.find(str(tmp_path / name)) == [str(tmp_path / name)]


def test_content_digest_follows_the_bytes(place: str) -> None:
    names = [storage.join(place, name) for name in ("a", "b", "c")]
    for uri, data in zip(names, (b"same", b"same", b"else"), strict=True):
        storage.create(uri, data)
    first, second, third = map(storage.content_digest, names)
    assert first == second != third


def test_content_digest_takes_the_checksum_of_an_object_store(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"memory://{uuid.uuid4().hex}/object"
    storage.create(uri, b"1234")
    info = {"ETag": '"abc"', "md5Hash": "xyz", "size": 4}
    monkeypatch.setattr(MemoryFileSystem, "info", lambda self, path, **_: info)
    monkeypatch.setattr(MemoryFileSystem, "protocol", "s3")
    assert storage.content_digest(uri) == 'etag:"abc":4'
    info["size"] = 5
    assert storage.content_digest(uri) == 'etag:"abc":5'
    monkeypatch.setattr(MemoryFileSystem, "protocol", "gs")
    assert storage.content_digest(uri) == "md5hash:xyz:5"
    info["md5Hash"], info["crc32c"] = "", "Zm9v"
    assert storage.content_digest(uri) == f"sha256:{hashlib.sha256(b'1234').hexdigest()}"


class _Server(http.server.BaseHTTPRequestHandler):
    """Files of one time and size: a server that makes its ETag of these gives all of them the same."""

    files: ClassVar[dict[str, bytes]] = {}
    fetched: ClassVar[list[str]] = []
    etag = '"6565a0b1-4"'

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        self.fetched.append(self.path)
        self._answer(self.files[self.path])

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("ETag", self.etag)
        self.send_header("Content-Length", str(len(self.files[self.path])))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_the_etag_of_a_web_server_is_no_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aiohttp")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        place = f"http://127.0.0.1:{server.server_address[1]}"
        _Server.files.update({"/a.npy": b"1111", "/b.npy": b"2222"})
        first, second = (storage.content_digest(f"{place}/{name}.npy") for name in "ab")
        assert (first, second) == tuple(f"sha256:{hashlib.sha256(data).hexdigest()}" for data in (b"1111", b"2222"))
        _Server.fetched.clear()
        assert storage.content_digest(f"{place}/a.npy", fresh=True) == first
        assert not _Server.fetched, "what has not changed is not read again by this process"
        _Server.files["/a.npy"] = b"3333"  # replaced in place, at the same second
        monkeypatch.setattr(storage, "_HASHED", {})  # in the next run
        assert storage.content_digest(f"{place}/a.npy") == f"sha256:{hashlib.sha256(b'3333').hexdigest()}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_file_is_hashed_once_while_it_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for one that is so new that an edit could leave its times as they are."""
    (tmp_path / "a").write_bytes(b"1111")
    old, reads = storage.content_digest(f"{tmp_path}/a"), []
    file_digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *args: [reads.append(1), file_digest(*args)][1])
    assert storage.content_digest(f"{tmp_path}/a") == old
    monkeypatch.setattr(storage, "_SETTLED_NS", 0)
    assert [storage.content_digest(f"{tmp_path}/a") for _ in range(3)] == [old] * 3
    assert len(reads) == 2
    assert storage.content_digest(f"{tmp_path}/a", fresh=True) == old
    assert len(reads) == 3
    (tmp_path / "a").write_bytes(b"2222")
    os.utime(tmp_path / "a", ns=(1, 1))
    assert storage.content_digest(f"{tmp_path}/a") != old
    (tmp_path / "b").write_bytes(b"1111")
    (tmp_path / "b").replace(tmp_path / "a")
    assert storage.content_digest(f"{tmp_path}/a") == old


def test_a_fresh_digest_does_not_come_from_a_listing_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"memory://{uuid.uuid4().hex}/object"
    infos = [{"ETag": "old", "size": 4}, {"ETag": "new", "size": 4}]
    monkeypatch.setattr(MemoryFileSystem, "info", lambda fs, path, **_: infos[0])
    monkeypatch.setattr(MemoryFileSystem, "invalidate_cache", lambda fs, path=None: infos.pop(0))
    monkeypatch.setattr(MemoryFileSystem, "protocol", "s3")
    assert storage.content_digest(uri) == "etag:old:4"
    assert storage.content_digest(uri, fresh=True) == "etag:new:4"


@pytest.mark.parametrize("uri", ["/a/b", "s3://bucket/a", "relative", "memory://a/"])
def test_names_of_places(uri: str) -> None:
    whole = storage.join(uri, "x", "y.z")
    assert whole == f"{uri.rstrip('/')}/x/y.z"
    assert storage.basename(whole) == "y.z"
    assert storage.parent(whole) == f"{uri.rstrip('/')}/x"


def test_a_disk_that_fails_while_it_is_read_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"1")
    with (
        pytest.raises(InputError, match=r"cannot read '.*x': Input/output error"),
        storage.open_input(str(tmp_path / "x")),
    ):
        raise OSError(errno.EIO, "Input/output error")
    with pytest.raises(OSError, match="no number"), storage.open_input(str(tmp_path / "x")):
        raise OSError("no number, so it is what a parser has to say")


def test_an_interrupted_read_is_done_again(monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> None:
    uri = f"memory://{uuid.uuid4().hex}/object"
    data = bytes(range(256)) * 3000
    storage.create(uri, data)
    with storage.open_input(uri) as stream:
        inner = stream.raw._stream  # type: ignore[attr-defined]
        real, errors = inner.read, [ConnectionResetError(104, "reset"), TimeoutError("late")]

        def read(size: int) -> bytes:
            found = bytes(real(size))  # the position has moved
            if errors:
                raise errors.pop()
            return found

        monkeypatch.setattr(stream.raw, "_stream", Interrupted(inner, read))  # type: ignore[attr-defined]
        assert stream.read(1000) == data[:1000]
        stream.seek(300_000)
        errors.append(TimeoutError("late"))
        assert stream.readline() + stream.read() == data[300_000:]
    assert len(waits) == 3


class Interrupted:
    """A stream whose ``read`` is another."""

    def __init__(self, inner: object, read: Callable[[int], bytes]) -> None:
        self._inner = inner
        self.read = read

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


def test_an_answer_that_was_lost_is_recognised_without_a_note(
    monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    """A store on which objects carry no note: after an error that leaves it open, equal bytes are one's own."""
    real = MemoryFileSystem.pipe_file

    def pipe_file(fs: MemoryFileSystem, path: str, data: bytes, **options: object) -> None:
        real(fs, path, data, **options)
        raise ConnectionResetError(104, "Connection reset by peer")

    uri = f"memory://{uuid.uuid4().hex}/object"
    monkeypatch.setattr(MemoryFileSystem, "pipe_file", pipe_file)
    assert storage.create(uri, b"ours") is True
    monkeypatch.undo()
    assert storage.create(uri, b"ours") is False


def test_what_is_created_is_tallied(place: str) -> None:
    storage.create(f"{place}/before", b"1234")
    with storage.tally() as outer:
        storage.create(f"{place}/a", b"123")
        storage.create(f"{place}/a", b"12345")  # the name is taken
        with storage.tally() as inner:
            storage.create(f"{place}/b", b"1")
        storage.create(f"{place}/c", b"12")
    assert (outer.bytes, inner.bytes) == (5, 1)
