"""Names, digests and bytes of artefacts."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnn_core import digests
from nnn_core.artifacts import keep_bytes, to_parquet
from nnn_core.digests import add_set_digests, name_of, set_digest, sha256

ITEMS = st.lists(st.binary(max_size=5), max_size=20)


@given(ITEMS, st.randoms(use_true_random=False))
def test_set_digest_ignores_order(items: list[bytes], random: object) -> None:
    shuffled = list(items)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert set_digest(shuffled) == set_digest(items)


@given(st.lists(ITEMS, max_size=5))
def test_set_digests_add_up(parts: list[list[bytes]]) -> None:
    whole = set_digest(item for part in parts for item in part)
    assert add_set_digests(map(set_digest, parts)) == whole
    running = "0"
    for part in parts:
        running = set_digest(part, running)
    assert int(running, 16) == int(whole, 16)


@given(ITEMS, ITEMS)
def test_set_digests_tell_multisets_apart(left: list[bytes], right: list[bytes]) -> None:
    assert (set_digest(left) == set_digest(right)) == (sorted(left) == sorted(right))


def test_set_digest_from_the_definition() -> None:
    total = sum(int(hashlib.sha256(item).hexdigest(), 16) for item in (b"a", b"b", b"a"))
    assert set_digest([b"a", b"b", b"a"]) == f"{total % 2**256:064x}"
    assert set_digest([]) == add_set_digests([]) == "0" * 64


def test_names_follow_every_input() -> None:
    base = name_of("partial", a=1, b="x", c=None)
    assert base == name_of("partial", c=None, b="x", a=1)
    others = [
        name_of("shard", a=1, b="x", c=None),
        name_of("partial", a=2, b="x", c=None),
        name_of("partial", a="1", b="x", c=None),
        name_of("partial", a=1, b="x"),
        name_of("partial", a=1, b="x", c=False),
        name_of("partial", a="x", b=1, c=None),
    ]
    assert len({base, *others}) == 7
    assert all(len(name) == 40 and int(name, 16) >= 0 for name in (base, *others))


def test_names_follow_the_format(monkeypatch: pytest.MonkeyPatch) -> None:
    before = name_of("partial", a=1)
    monkeypatch.setattr(digests, "FORMAT", digests.FORMAT + 1)
    assert name_of("partial", a=1) != before


def test_names_are_stable_over_releases() -> None:
    """A change here means that every artefact of every user is computed anew: raise FORMAT on purpose."""
    text = b'[5,"partial",{"a":1,"b":[true,"\\u00e9"]}]'
    assert name_of("partial", b=(True, "é"), a=1) == hashlib.sha256(text).hexdigest()[:40]


def test_sha256() -> None:
    assert sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_first_bytes_under_a_name_stay(tmp_path: Path) -> None:
    uri = str(tmp_path / "object")
    assert keep_bytes(uri, b"first") == b"first"
    assert keep_bytes(uri, b"second") == b"first"
    assert (tmp_path / "object").read_bytes() == b"first"


def test_parquet_bytes_depend_on_the_table_only(tmp_path: Path) -> None:
    values = [1.5, -2.0, 3.25] * 100
    table = pa.table({"id": [f"é{n}" for n in range(300)], "x": pa.array(values, pa.float32())})
    chunked = pa.concat_tables([table.slice(0, 7), table.slice(7)])
    data = to_parquet(table, packed=["x"], row_group_rows=128)
    assert data == to_parquet(table, packed=["x"], row_group_rows=128)
    assert data == to_parquet(chunked, packed=["x"], row_group_rows=128)
    path = tmp_path / "x.parquet"
    path.write_bytes(data)
    assert pq.read_table(path).equals(table)
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [128, 128, 44]
    ids, packed = (metadata.row_group(0).column(number) for number in range(2))
    assert ids.compression == packed.compression == "ZSTD"
    assert ids.has_column_index
    assert ids.statistics is not None
    assert packed.statistics is None
    assert pq.read_metadata(pa.BufferReader(to_parquet(table))).row_group(0).column(1).statistics is not None


def test_damaged_pages_are_noticed() -> None:
    data = bytearray(to_parquet(pa.table({"x": [float(n) ** 0.5 for n in range(1000)]}), packed=["x"]))
    data[len(data) // 4] ^= 1
    with pytest.raises(OSError, match="CRC checksum"):
        pq.read_table(pa.BufferReader(bytes(data)), page_checksum_verification=True)
