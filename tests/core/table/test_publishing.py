"""Many publishers, readers and an operator at one table: one wins each number, and nobody sees half a version."""

from __future__ import annotations

import dataclasses
import random
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from nnn_core import storage
from nnn_core.embedded.side import Side
from nnn_core.errors import ConflictError, CorruptArtifactError, InputError
from nnn_core.table.lifecycle.check import check_table
from nnn_core.table.lifecycle.expiry import expire
from nnn_core.table.lifecycle.rollback import rollback
from nnn_core.table.manifest import (
    Manifest,
    SearchReport,
    commit_version,
    current_manifest,
    list_versions,
    read_manifest,
)
from nnn_core.table.parts import BiasSettings, RowSlice, TablePart, collect_rows
from nnn_core.table.reading import load_bias_table

PUBLISHERS = 8
GRID = (1, 2)
DAY = 86400.0


def settings_of(mark: int) -> BiasSettings:
    """Settings that tell who published: the bank's digest is made of the mark."""
    return BiasSettings(2, 1.0, GRID, "image", "text", False, {"kind": "precomputed"}, f"{mark:064x}")


def mark_of(manifest: Manifest) -> int:
    return int(manifest.settings.bank_digest, 16)


def rows_of(mark: int) -> dict[str, float]:
    """The rows of the version with this mark: how many there are, and which, depends on it."""
    rng = random.Random(mark)
    return {f"{number:02d}": float(mark) for number in sorted(rng.sample(range(40), rng.randrange(1, 30)))}


def prepare(uri: str, mark: int, on_top_of: Manifest | None) -> Manifest:
    """Write the files of a version, one to five of them, but not its manifest."""
    rows, rng = rows_of(mark), random.Random(mark)
    cuts = tuple(sorted(f"{cut:02d}" for cut in rng.sample(range(40), rng.randrange(5))))
    means = np.array([[0.0, bias] for bias in rows.values()], np.float32)
    pieces = RowSlice.cut(pa.array(list(rows)), means, "x", cuts)
    number = on_top_of.version + 1 if on_top_of else 1
    existing = {part.sha256: part.path for part in on_top_of.files} if on_top_of else {}
    parts = [TablePart.write(uri, number, n, collect_rows([piece]), settings_of(mark), existing) for n, piece in pieces]
    side = Side(len(rows), 0, "c" * 64, ())
    return Manifest(number, settings_of(mark), 8, side, side, SearchReport(("exact",)), tuple(parts))


def publish_on_top(uri: str, mark: int) -> tuple[int, int]:
    """What a scheduler does: again until there is no conflict. Returns the number, and the conflicts before it."""
    for conflicts in range(10_000):
        try:
            return commit_version(uri, prepare(uri, mark, current_manifest(uri))).version, conflicts
        except ConflictError:
            continue
    raise AssertionError("never published")


def race(uri: str, rounds: int) -> Counter[str]:
    """Eight publishers, each of which publishes ``rounds`` versions on top of whatever there is."""
    barrier = threading.Barrier(PUBLISHERS)

    def publish(publisher: int) -> list[tuple[int, int, int]]:
        barrier.wait()
        marks = range(1 + publisher * rounds, 1 + (publisher + 1) * rounds)
        return [(mark, *publish_on_top(uri, mark)) for mark in marks]

    with ThreadPoolExecutor(PUBLISHERS) as pool:
        done = [each for outcome in pool.map(publish, range(PUBLISHERS)) for each in outcome]
    numbers = [number for _, number, _ in done]
    assert sorted(numbers) == list_versions(uri) == list(range(1, PUBLISHERS * rounds + 1))
    for mark, number, _ in done:
        assert mark_of(read_manifest(uri, number)) == mark
    return Counter(published=len(numbers), conflicts=sum(conflicts for *_, conflicts in done))


def test_publishers_on_top_of_each_other(tmp_path: Path) -> None:
    counts = race(str(tmp_path), 3)
    assert counts["published"] == 24


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_200_rounds(fast_disk: str, record_count: Callable[[str, int, int], None]) -> None:
    counts = race(fast_disk, 200)
    record_count("versions by 8 publishers at once, each with a number of its own", counts["published"], 1600)
    assert counts["conflicts"] > 100


@pytest.mark.slow
def test_publishers_on_object_stores(store: str) -> None:
    assert race(store, 2)["published"] == 16


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_20_rounds_on_object_stores(store: str, record_count: Callable[[str, int, int], None]) -> None:
    counts = race(store, 20)
    record_count("the same on S3 and Cloud Storage", counts["published"], 160)


def duel(uri: str, rounds: int) -> int:
    """In each round all want the very same number; returns how many conflicts there were."""
    conflicts, pool = 0, ThreadPoolExecutor(PUBLISHERS)
    for number in range(1, rounds + 1):
        base, barrier = current_manifest(uri), threading.Barrier(PUBLISHERS)

        def publish(mark: int, base: Manifest | None = base, barrier: threading.Barrier = barrier) -> int | None:
            manifest = prepare(uri, mark, base)
            barrier.wait()
            try:
                return mark_of(commit_version(uri, manifest))
            except ConflictError:
                return None

        marks = range(number * PUBLISHERS, (number + 1) * PUBLISHERS)
        winners = [mark for mark in pool.map(publish, marks) if mark is not None]
        conflicts += PUBLISHERS - len(winners)
        assert winners == [mark_of(read_manifest(uri))]
        assert list_versions(uri) == list(range(1, number + 1))
    pool.shutdown()
    return conflicts


def test_one_winner_a_round(tmp_path: Path) -> None:
    assert duel(str(tmp_path), 5) == 35


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_one_winner_in_each_of_200_rounds(fast_disk: str, record_count: Callable[[str, int, int], None]) -> None:
    conflicts = duel(fast_disk, 200)
    record_count("typed conflicts of the 7 losers of 200 rounds", conflicts, 1400)


def assert_whole(table: object, seen: list[int]) -> None:
    """All rows of one version, and of no other."""
    manifest, ids, bias = table.manifest, table.ids.to_pylist(), table.bias.tolist()  # type: ignore[attr-defined]
    assert dict(zip(ids, bias, strict=True)) == rows_of(mark_of(manifest))
    seen.append(manifest.version)


def poll(uri: str, versions: int) -> list[int]:
    """Read the current version again and again while others are published and expire."""
    seen: list[int] = []
    publish_on_top(uri, 1)
    with ThreadPoolExecutor(1) as pool:

        def publish_all() -> None:
            for mark in range(2, versions + 1):
                publish_on_top(uri, mark)

        published = pool.submit(publish_all)
        while not published.done():
            assert_whole(load_bias_table(uri), seen)
        published.result()
    assert_whole(load_bias_table(uri), seen)
    return seen


def test_a_reader_sees_whole_versions(tmp_path: Path) -> None:
    """40 publishes of one to five files each."""
    seen = poll(str(tmp_path), 40)
    assert seen == sorted(seen)
    assert len(set(seen)) > 5
    assert seen[-1] == 40
    assert len({len(read_manifest(str(tmp_path), version).files) for version in range(1, 41)}) > 3


def test_a_reader_on_object_stores(store: str) -> None:
    seen = poll(store, 10)
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (1, 10)


def test_an_operator_at_work(tmp_path: Path) -> None:
    """Publishing, rollbacks and expiry at once: every version that is current at any time is whole.

    Two days pass for expiry with every round, so that only versions that are current or pinned are safe.
    """
    uri, stop, seen = str(tmp_path), threading.Event(), list[int]()
    for mark in range(1, 4):
        publish_on_top(uri, mark)

    def roll_back() -> Counter[str]:
        outcomes, rng = Counter[str](), random.Random(0)
        while not stop.is_set():
            try:
                rollback(uri, rng.choice(list_versions(uri)))
                outcomes["done"] += 1
            except (ConflictError, InputError, CorruptArtifactError) as error:
                outcomes[type(error).__name__] += 1
        return outcomes

    def clean() -> int:
        rounds = 0
        while not stop.is_set():
            try:
                expire(uri, 2, DAY, time.time() + 2 * DAY)
                rounds += 1
            except InputError:  # a manifest went between listing and reading
                continue
        return rounds

    with ThreadPoolExecutor(3) as pool:
        operators = pool.submit(roll_back), pool.submit(clean)
        try:
            for mark in range(4, 25):
                publish_on_top(uri, mark)
                newest = read_manifest(uri)
                assert not check_table(uri, newest.version).bad or newest.version not in list_versions(uri)[-2:]
                seen.append(newest.version)
        finally:
            stop.set()
        assert operators[0].result()["done"] > 0
        assert operators[1].result() > 0
    for version in list_versions(uri):
        assert not check_table(uri, version).bad


Content = tuple[int, tuple[str, ...]]


def content(manifest: Manifest) -> Content:
    """What a version says: its rows, and the files that hold them."""
    return mark_of(manifest), tuple(part.path for part in manifest.files)


class Life(RuleBasedStateMachine):
    """A table against a dictionary from version to content."""

    def __init__(self, uri: str) -> None:
        super().__init__()
        self.uri = uri
        self.versions: dict[int, Content] = {}
        self.newest = 0
        self.pending: list[Manifest] = []

    @initialize(mark=st.integers(1, 5))
    def begin(self, mark: int) -> None:
        self.publish(mark)

    def expect(self, said: Content) -> None:
        """What says the same as the current version is no new one."""
        if self.versions.get(self.newest) != said:
            self.newest += 1
            self.versions[self.newest] = said

    @rule(mark=st.integers(1, 5))
    def publish(self, mark: int) -> None:
        manifest = prepare(self.uri, mark, current_manifest(self.uri))
        self.expect(content(manifest))
        assert commit_version(self.uri, manifest).version == self.newest

    @rule(mark=st.integers(6, 9))
    def start(self, mark: int) -> None:
        """A refresh that will commit later, or never."""
        self.pending.append(prepare(self.uri, mark, current_manifest(self.uri)))

    @precondition(lambda self: self.pending)
    @rule(choice=st.integers(0, 9))
    def finish(self, choice: int) -> None:
        manifest = self.pending.pop(choice % len(self.pending))
        said = content(manifest)
        if said == self.versions[self.newest]:
            assert commit_version(self.uri, manifest).version == self.newest
        elif manifest.version == self.newest + 1:
            self.expect(said)
            assert commit_version(self.uri, manifest) == manifest
        elif said == self.versions.get(manifest.version):
            assert commit_version(self.uri, manifest) == manifest  # another job published the same bytes
        else:
            with pytest.raises(ConflictError):
                commit_version(self.uri, manifest)

    @rule(choice=st.integers(0, 99))
    def go_back(self, choice: int) -> None:
        version = sorted(self.versions)[choice % len(self.versions)]
        self.expect(self.versions[version])
        assert rollback(self.uri, version).version == self.newest

    @rule(choice=st.integers(1, 30))
    def go_back_to_nothing(self, choice: int) -> None:
        if choice not in self.versions:
            with pytest.raises(InputError):
                rollback(self.uri, choice)

    @rule(keep=st.integers(1, 3))
    def clean(self, keep: int) -> None:
        kept = sorted(self.versions)[-keep:]
        done = expire(self.uri, keep, DAY, time.time() + 30 * DAY)
        assert (done.kept, done.versions) == (tuple(kept), tuple(sorted(self.versions.keys() - set(kept))))
        self.versions = {version: self.versions[version] for version in kept}

    @rule(keep=st.integers(1, 3))
    def clean_too_early(self, keep: int) -> None:
        assert expire(self.uri, keep, DAY).versions == ()

    @rule(choice=st.integers(0, 99))
    def read(self, choice: int) -> None:
        version = sorted(self.versions)[choice % len(self.versions)]
        table = load_bias_table(self.uri, version)
        assert content(table.manifest) == self.versions[version]
        assert_whole(table, [])

    @rule(choice=st.integers(0, 99))
    def verify(self, choice: int) -> None:
        version = sorted(self.versions)[choice % len(self.versions)]
        assert not check_table(self.uri, version).bad

    @invariant()
    def versions_are_those_of_the_model(self) -> None:
        assert list_versions(self.uri) == sorted(self.versions)

    def teardown(self) -> None:
        """Every version that is left is whole, and no old file is left that none of them names."""
        if not self.versions:
            return
        for version in self.versions:
            assert not check_table(self.uri, version).bad
        expire(self.uri, len(self.versions), DAY, time.time() + 30 * DAY)
        named = {part.path for version in self.versions for part in read_manifest(self.uri, version).files}
        for folder in storage.list_names(storage.join(self.uri, "versions")):
            if folder.isdigit() and int(folder) <= self.newest:
                found = storage.list_names(storage.join(self.uri, "versions", folder))
                assert {f"versions/{folder}/{name}" for name in found} <= named


def live(places: Iterator[str], sequences: int, steps: int) -> None:
    profile = settings(max_examples=sequences, stateful_step_count=steps, deadline=None)
    run_state_machine_as_test(lambda: Life(next(places)), settings=profile)  # type: ignore[no-untyped-call]


def folders(root: str) -> Iterator[str]:
    while True:
        yield storage.join(root, uuid.uuid4().hex)


@pytest.fixture
def fast_disk() -> Iterator[str]:
    """Main memory as a disk where there is one: every file is written durably, which takes its time."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield folder


def test_the_life_of_a_table(fast_disk: str) -> None:
    live(folders(fast_disk), settings().max_examples, 15)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_1000_lives_of_a_table(fast_disk: str, record_count: Callable[[str, int, int], None]) -> None:
    live(folders(fast_disk), 1000, 20)
    record_count("sequences of publish, rollback, expire, read and verify that went as the model", 1000, 1000)


@pytest.mark.slow
def test_the_life_of_a_table_on_object_stores(store: str) -> None:
    live(folders(store), 2, 8)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_more_lives_on_object_stores(store: str, record_count: Callable[[str, int, int], None]) -> None:
    live(folders(store), 50, 12)
    record_count("the same sequences on S3 and Cloud Storage", 50, 50)


def test_a_conflict_changes_nothing(tmp_path: Path) -> None:
    first, second = (prepare(str(tmp_path), mark, None) for mark in (1, 2))
    commit_version(str(tmp_path), first)
    with pytest.raises(ConflictError):
        commit_version(str(tmp_path), second)
    with pytest.raises(ConflictError):
        commit_version(str(tmp_path), dataclasses.replace(first, dim=9))
    assert_whole(load_bias_table(str(tmp_path)), [])
