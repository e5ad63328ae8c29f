"""The manifest of an export: written last, the same whatever order the work was done in."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from nnn_core.consumers.export import check_output, commit_export
from nnn_core.consumers.export_files import _keep_file
from nnn_core.consumers.held import manifest_uri
from nnn_core.errors import StorageError


def test_files_are_named_by_their_content(tmp_path: Path) -> None:
    one, again, other = (_keep_file(str(tmp_path), "data/part", ".x", data, 1) for data in (b"a", b"a", b"b"))
    assert one == again != other
    assert (tmp_path / one.path).read_bytes() == b"a"
    (tmp_path / one.path).write_bytes(b"x")
    assert _keep_file(str(tmp_path), "data/part", ".x", b"a", 1) == one
    assert (tmp_path / one.path).read_bytes() == b"a"  # damaged, and written anew


def test_an_output_has_one_manifest(tmp_path: Path) -> None:
    record = {"files": [], "recipe": {"metric": "ip"}, "encoder": {"kind": "precomputed"}}
    uri = commit_export(str(tmp_path), [], record)
    assert uri == manifest_uri(str(tmp_path)) == commit_export(str(tmp_path), [], record)
    assert json.loads(Path(uri).read_bytes()) == record
    with pytest.raises(StorageError, match="belongs to another export"):
        commit_export(str(tmp_path), [], {**record, "rows": 1})
    check_output(str(tmp_path), {"recipe": {"metric": "ip"}})
    with pytest.raises(StorageError, match=r"its recipe, encoder differ"):
        check_output(str(tmp_path), {"recipe": None, "encoder": {}})


@pytest.mark.parametrize("content", [b"", b"[]", b"no"])
def test_what_is_no_manifest(tmp_path: Path, content: bytes) -> None:
    Path(manifest_uri(str(tmp_path))).write_bytes(content)
    with pytest.raises(StorageError, match="not the manifest of an export"):
        check_output(str(tmp_path), {"recipe": None})


def test_only_the_files_of_the_manifest_may_lie_there(tmp_path: Path) -> None:
    files = [_keep_file(str(tmp_path), "data/part", ".x", data, 1) for data in (b"a", b"b")]
    for some in itertools.combinations(files, 1):
        with pytest.raises(StorageError, match="holds 1 files that this export did not write"):
            commit_export(str(tmp_path), ["data"], {"files": [{"path": each.path} for each in some]})
    commit_export(str(tmp_path), ["data"], {"files": [{"path": each.path} for each in files]})
