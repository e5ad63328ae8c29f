"""Files that are no data: hidden names, and what the log of a table does not name any more."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from fakes import gather

from nnn_core.errors import InputError
from nnn_core.inputs.listing import describe_shard, list_input
from nnn_core.inputs.readers import Columns, read_rows


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def names(pattern: Path | str, folder: Path) -> list[str]:
    found = list_input(str(pattern), "--candidates")
    members = [f"{shard.uri}/{member}" for shard in found.shards for member in shard.members]
    uris = members or [shard.uri for shard in found.shards]
    return [uri.removeprefix(f"{folder}/") for uri in uris]


SPARK = ("a.parquet", "day=1/b.parquet", "_day=2/c.parquet")
LEFTOVERS = ("_temporary/0/d.parquet", "._a.parquet", "_metadata.parquet", ".tmp/e.parquet", "__MACOSX/._a.parquet")


def test_hidden_names_are_left_out_and_counted(tmp_path: Path) -> None:
    fill(tmp_path, *SPARK, *LEFTOVERS)
    found = list_input(f"{tmp_path}/**/*.parquet", "--candidates")
    assert names(f"{tmp_path}/**/*.parquet", tmp_path) == sorted(SPARK)
    assert (found.files, found.left_out) == (3, {"hidden": 5})
    assert names(f"{tmp_path}/*", tmp_path) == ["a.parquet"]


def test_what_is_hidden_is_what_pyarrow_leaves_out(tmp_path: Path) -> None:
    fill(tmp_path, "a.parquet", "b/c.parquet", *LEFTOVERS)
    theirs = pyarrow.dataset.dataset(str(tmp_path), schema=pa.schema([]), format="parquet").files
    assert sorted(f"{tmp_path}/{name}" for name in names(f"{tmp_path}/**/*.parquet", tmp_path)) == sorted(theirs)


def test_names_that_the_pattern_spells_out_are_meant(tmp_path: Path) -> None:
    fill(tmp_path, "_old/a.parquet", "_old/_b.parquet", ".x/_c.parquet")
    assert names(f"{tmp_path}/_old/*.parquet", tmp_path) == ["_old/a.parquet"]
    assert names(f"{tmp_path}/_*/_*.parquet", tmp_path) == ["_old/_b.parquet"]
    assert names(f"{tmp_path}/_old/_b.parquet", tmp_path) == ["_old/_b.parquet"]
    assert names(f"{tmp_path}/.x/_*", tmp_path) == [".x/_c.parquet"]
    with pytest.raises(InputError, match=r"matches only hidden names, such as .*\.x/_c\.parquet"):
        list_input(f"{tmp_path}/*/*", "--candidates")


def test_images_of_cameras_begin_with_an_underscore(tmp_path: Path) -> None:
    fill(tmp_path, "_DSC0001.JPG", "_MG_0002.jpg", "._DSC0001.JPG", "_trash/a.jpg")
    assert names(f"{tmp_path}/**/*", tmp_path) == ["_DSC0001.JPG", "_MG_0002.jpg"]


def test_a_name_that_is_not_utf8_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "b\udcff.parquet").write_bytes(b"x")
    with pytest.raises(InputError, match=r"whose name is not UTF-8. Rename it"):
        list_input(f"{tmp_path}/*.parquet", "--candidates")


def rows(pattern: str) -> list[tuple[str, object]]:
    read = []
    for name in list_input(pattern, "--candidates").shards:
        found = gather(read_rows(describe_shard(name), "text", Columns()))
        read += list(zip(found.ids, found.items, strict=True))
    return sorted(read)


@pytest.mark.parametrize("partitioned", [False, True])
def test_a_delta_table_is_read_by_its_log(tmp_path: Path, partitioned: bool) -> None:
    uri, by = str(tmp_path / "a b"), ["day"] if partitioned else None
    write_deltalake(
        uri, pa.table({"id": ["a", "b", "c"], "caption": ["x", "y", "z"], "day": ["1 é", "1 é", "2"]}), partition_by=by
    )
    DeltaTable(uri).delete("id = 'a'")
    write_deltalake(uri, pa.table({"id": ["d"], "caption": ["w"], "day": ["2"]}), mode="append")
    theirs = DeltaTable(uri).to_pyarrow_table().to_pylist()
    assert rows(f"{uri}/**/*.parquet") == sorted((row["id"], row["caption"]) for row in theirs)
    assert list_input(f"{uri}/**/*.parquet", "--candidates").left_out == {"not in the log of the table": 1}


def test_a_delta_log_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    fill(tmp_path, "a.parquet", "_delta_log/00000000000000000000.json")
    with pytest.raises(
        InputError, match="is a Delta table, whose log says which files are current, but it cannot be read"
    ):
        list_input(f"{tmp_path}/*.parquet", "--candidates")


def deletion_vector() -> dict[str, object]:
    """Row 0 of a file, inline in the log: a bitmap of one array of one value, in Z85."""
    bitmap = struct.pack("<IIHHIH", 12346, 1, 0, 0, 16, 0)
    data = struct.pack("<IqI", 1681511377, 1, 0) + bitmap
    data += bytes(-len(data) % 4)
    digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
    numbers = struct.unpack(f">{len(data) // 4}I", data)
    text = "".join(digits[number // 85**power % 85] for number in numbers for power in (4, 3, 2, 1, 0))
    return {"storageType": "i", "pathOrInlineDv": text, "sizeInBytes": len(data), "cardinality": 1}


def test_deletion_vectors_are_refused(tmp_path: Path) -> None:
    """The log of a table of which Spark deleted a single row."""
    pq.write_table(pa.table({"id": ["a", "b"]}), tmp_path / "part-0.parquet")
    field = {"name": "id", "type": "string", "nullable": True, "metadata": {}}
    schema = json.dumps({"type": "struct", "fields": [field]})
    features = {"readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]}
    about = {"id": "1", "format": {"provider": "parquet", "options": {}}, "partitionColumns": [], "configuration": {}}
    added = {"path": "part-0.parquet", "partitionValues": {}, "size": 1, "modificationTime": 1, "dataChange": True}
    actions = [
        {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, **features}},
        {"metaData": {**about, "schemaString": schema}},
        {"add": {**added, "deletionVector": deletion_vector(), "stats": '{"numRecords": 2}'}},
    ]
    (tmp_path / "_delta_log").mkdir()
    (tmp_path / "_delta_log" / f"{0:020}.json").write_text("\n".join(map(json.dumps, actions)))
    with pytest.raises(InputError, match="deletes single rows of 1 files"):
        list_input(f"{tmp_path}/*.parquet", "--candidates")


@pytest.mark.parametrize(
    ("file", "kind"), [("metadata/v1.metadata.json", "Iceberg"), ("data/.hoodie/hoodie.properties", "Hudi")]
)
def test_tables_of_other_formats_are_refused(tmp_path: Path, file: str, kind: str) -> None:
    fill(tmp_path, "data/day=1/a.parquet", file)
    with pytest.raises(InputError, match=rf"is a table of {kind}, whose log decides which rows exist"):
        list_input(f"{tmp_path}/data/**/*.parquet", "--candidates")
