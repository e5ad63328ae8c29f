"""Copies on the local disk: bounded, right or absent, and safe between processes."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import tempfile
import time
import uuid
from pathlib import Path

import pytest

from nnn_core import storage
from nnn_core.errors import CorruptArtifactError, InputError, StorageError
from nnn_core.storage import disk_cache
from nnn_core.storage.disk_cache import DiskCache


class Stored:
    """Objects in a store that counts how often they are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place = f"memory://{uuid.uuid4().hex}"
        self.reads: list[str] = []
        real = storage.read_bytes

        def read(uri: str) -> bytes:
            self.reads.append(uri)
            return real(uri)

        monkeypatch.setattr(storage, "read_bytes", read)

    def add(self, name: str, data: bytes) -> tuple[str, str]:
        """URI and digest of a new object."""
        uri = storage.join(self.place, name)
        assert storage.create(uri, data)
        return uri, hashlib.sha256(data).hexdigest()


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> Stored:
    return Stored(monkeypatch)


def used(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def age(path: Path, seconds: float) -> None:
    moment = time.time() - seconds
    os.utime(path, (moment, moment))


def test_what_was_read_is_not_fetched_again(stored: Stored, tmp_path: Path) -> None:
    uri, digest = stored.add("x", b"content")
    cache = DiskCache(1000, str(tmp_path / "cache"))
    for _ in range(3):
        assert cache.read(uri, digest) == b"content"
    assert stored.reads == [uri]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [digest]
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


def test_nothing_is_kept_of_a_local_disk_nor_with_no_bytes(stored: Stored, tmp_path: Path) -> None:
    uri, digest = stored.add("x", b"content")
    assert DiskCache(0, str(tmp_path / "cache")).read(uri, digest) == b"content"
    (tmp_path / "x").write_bytes(b"content")
    for local in (str(tmp_path / "x"), f"file://{tmp_path / 'x'}"):
        assert DiskCache(1000, str(tmp_path / "cache")).read(local, digest) == b"content"
    assert not (tmp_path / "cache").exists()


def test_the_least_recently_used_goes_first(stored: Stored, tmp_path: Path) -> None:
    cache = DiskCache(1000, str(tmp_path))
    objects = [stored.add(str(number), bytes([number]) * 400) for number in range(3)]
    for number, (uri, digest) in enumerate(objects[:2]):
        cache.read(uri, digest)
        age(tmp_path / digest, 100 - number)
    cache.read(*objects[0])  # used again, so the other one is older
    cache.read(*objects[2])
    assert {path.name for path in tmp_path.iterdir()} == {objects[0][1], objects[2][1]}
    assert used(tmp_path) == 800
    cache.read(*objects[1])
    assert used(tmp_path) == 800


def test_what_is_larger_than_the_bound_is_read_and_not_kept(stored: Stored, tmp_path: Path) -> None:
    cache = DiskCache(1000, str(tmp_path))
    small, large = stored.add("small", b"s" * 600), stored.add("large", b"l" * 1001)
    assert cache.read(*large) == b"l" * 1001
    assert list(tmp_path.iterdir()) == []
    cache.read(*small)
    assert cache.read(*large) == b"l" * 1001
    assert [path.name for path in tmp_path.iterdir()] == [small[1]]


@pytest.mark.parametrize("damaged", [b"", b"contenT", b"content and more"])
def test_a_damaged_copy_is_fetched_anew(stored: Stored, tmp_path: Path, damaged: bytes) -> None:
    uri, digest = stored.add("x", b"content")
    cache = DiskCache(1000, str(tmp_path))
    cache.read(uri, digest)
    (tmp_path / digest).write_bytes(damaged)
    assert cache.read(uri, digest) == b"content"
    assert len(stored.reads) == 2
    assert (tmp_path / digest).read_bytes() == b"content"


def test_a_damaged_artefact_is_an_error_and_is_not_kept(stored: Stored, tmp_path: Path) -> None:
    uri, _ = stored.add("x", b"content")
    wrong = hashlib.sha256(b"other").hexdigest()
    for cache in (DiskCache(1000, str(tmp_path / "cache")), disk_cache.NO_CACHE):
        with pytest.raises(CorruptArtifactError, match=rf"x' has changed since.*expected {wrong[:16]}"):
            cache.read(uri, wrong)
    assert not (tmp_path / "cache").exists()
    with pytest.raises(InputError):
        DiskCache(1000, str(tmp_path)).read(uri + "-missing", wrong)


def test_a_file_that_is_being_written_counts_and_stays(stored: Stored, tmp_path: Path) -> None:
    cache = DiskCache(1000, str(tmp_path))
    partial = tmp_path / f"{'a' * 64}.{'b' * 16}.partial"
    partial.write_bytes(b"p" * 700)
    uri, digest = stored.add("x", b"x" * 400)
    assert cache.read(uri, digest) == b"x" * 400
    assert list(tmp_path.iterdir()) == [partial]
    age(partial, 2 * disk_cache._ABANDONED)  # left by a process that was killed
    cache.read(uri, digest)
    assert [path.name for path in tmp_path.iterdir()] == [digest]


def test_other_files_are_left_alone(stored: Stored, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"n" * 5000)
    (tmp_path / "folder").mkdir()
    uri, digest = stored.add("x", b"content")
    DiskCache(10, str(tmp_path)).read(uri, digest)
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "folder", digest}


def test_a_disk_that_cannot_be_written_is_no_error(
    stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    uri, digest = stored.add("x", b"content")
    assert DiskCache(1000, str(tmp_path)).read(uri, digest) == b"content"
    assert list(tmp_path.iterdir()) == []
    assert f"the cache in {tmp_path} cannot be used: No space left on device" in caplog.text
    (tmp_path / "file").write_bytes(b"")
    assert DiskCache(1000, str(tmp_path / "file" / "below")).read(uri, digest) == b"content"


def test_the_default_is_a_tenth_of_what_is_free(
    stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [9000]
    monkeypatch.setattr(disk_cache.shutil, "disk_usage", lambda _: type("Usage", (), {"free": free[0]}))
    monkeypatch.setattr(disk_cache.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = tmp_path / f"nnn-bias-cache-{os.getuid()}"
    for number in range(4):
        DiskCache().read(*stored.add(str(number), bytes([number]) * 400))
    assert used(folder) == 800
    free[0] = 1 << 50
    monkeypatch.setattr(disk_cache, "_LARGEST_DEFAULT", 1000)
    DiskCache().read(*stored.add("last", b"l" * 400))
    assert used(folder) == 800


def read_often(
    place: str, folder: str, names: list[tuple[str, str]], bound: int, results: multiprocessing.Queue
) -> None:  # type: ignore[type-arg]
    cache, largest = DiskCache(bound, folder), 0
    for turn in range(150):
        uri, digest = names[(turn * 7 + os.getpid()) % len(names)]
        assert hashlib.sha256(cache.read(f"simplecache::file://{place}/{uri}", digest)).hexdigest() == digest
        sizes = []
        for path in Path(folder).iterdir():
            try:
                sizes.append(path.stat().st_blocks * 512)
            except FileNotFoundError:
                continue
        largest = max(largest, sum(sizes))
    results.put(largest)


def test_processes_share_a_folder(tmp_path: Path) -> None:
    """What each reads is evicted by the other while it is in use."""
    size, place, folder = 1 << 16, tmp_path / "store", tmp_path / "cache"
    place.mkdir()
    names = []
    for number in range(6):
        data = bytes([number]) * size
        (place / str(number)).write_bytes(data)
        names.append((str(number), hashlib.sha256(data).hexdigest()))
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    arguments = (str(place), str(folder), names, 3 * size, results)
    processes = [context.Process(target=read_often, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    largest = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    # While the sizes are added up, each process may put one file in the place of another.
    assert 0 < max(largest) <= 5 * size
    assert used(folder) <= 3 * size
    assert all(hashlib.sha256(path.read_bytes()).hexdigest() == path.name for path in folder.iterdir())


def write_slowly(folder: str, started: multiprocessing.Event) -> None:  # type: ignore[valid-type]
    def stop(*_: object) -> None:
        started.set()  # type: ignore[attr-defined]
        time.sleep(60)

    os.replace = stop  # type: ignore[assignment]
    DiskCache(1 << 20, folder)._keep("a" * 64, b"content")


def test_a_writer_that_is_killed_leaves_no_file_of_the_name(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    process = context.Process(target=write_slowly, args=(str(tmp_path), started))
    process.start()
    assert started.wait(60)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert not (tmp_path / ("a" * 64)).exists()
    (left,) = tmp_path.iterdir()
    assert left.name.endswith(".partial")


def test_a_store_that_cannot_be_reached_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot open 'nope://b/x'"):
        DiskCache(1000, str(tmp_path)).read("nope://b/x", "a" * 64)


@pytest.mark.parametrize("there", ["nothing", "a folder of its own", "an open folder", "a link", "a file"])
def test_the_default_folder_is_private(there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    usual = tmp_path / f"nnn-bias-cache-{os.getuid()}"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if there == "a link":
        usual.symlink_to(elsewhere)
    elif there == "a file":
        usual.write_bytes(b"")
    elif there != "nothing":
        usual.mkdir(mode=0o700)
        usual.chmod(0o777 if there == "an open folder" else 0o700)
    folder = Path(disk_cache._private_folder.__wrapped__())
    assert (folder == usual) == (there in ("nothing", "a folder of its own"))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.is_symlink()
    assert folder.parent == tmp_path


def test_a_folder_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    usual = tmp_path / f"nnn-bias-cache-{os.getuid()}"
    usual.mkdir(mode=0o700)
    real = os.lstat

    def lstat(path: str) -> os.stat_result:
        status = list(real(path))
        status[4] += path == str(usual)  # st_uid
        return os.stat_result(status)

    monkeypatch.setattr(os, "lstat", lstat)
    assert disk_cache._private_folder.__wrapped__() != str(usual)
