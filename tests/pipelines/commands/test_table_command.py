"""``nnn table`` as an operator meets it: rollback, expiry, differences, explanations."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tables
from corpora import gaussian, write_vectors
from jobs import TwoVersions, refresh_arguments

from nnn_core import load_bias_table
from nnn_core.table.gate import Gate
from nnn_core.table.lifecycle._neighbours import Sources, find_neighbours
from nnn_core.table.manifest import commit_version, list_versions, manifest_uri, read_manifest
from pipelines.commands import cli
from pipelines.commands._table_upkeep import parse_age
from pipelines.options import ReferenceColumnOptions

IDS = [f"item-{number:02d}" for number in range(12)]


@pytest.fixture
def table(tmp_path: Path) -> str:
    """Three versions, all published long ago."""
    uri = str(tmp_path / "table")
    for version, alpha in enumerate((0.5, 0.25, 0.75), start=1):
        tables.publish(uri, version, alpha=alpha, files=1)
    old = time.time() - 30 * 86400
    for path in Path(uri).rglob("*.*"):
        os.utime(path, (old, old))
    return uri


def run(capsys: pytest.CaptureFixture[str], *command: str) -> tuple[int, list[str], str]:
    """Exit code, lines of standard output, standard error."""
    capsys.readouterr()
    code = cli.main(["table", *command])
    printed = capsys.readouterr()
    return code, printed.out.splitlines(), printed.err


def record_of(lines: list[str]) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(lines[-1])
    return record


def test_rollback(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = run(capsys, "rollback", "1", "--table", table, "--json")
    assert (code, record_of(lines)["version"], record_of(lines)["settings"]["alpha"]) == (0, 4, 0.5)
    assert lines[0].startswith("version 4: 40 image candidates")
    assert read_manifest(table).files == read_manifest(table, 1).files
    assert run(capsys, "rollback", "7", "--table", table)[0] == 3
    code, lines, _ = run(capsys, "rollback", "1", "--table", table)
    assert (code, lines[0]) == (0, "nothing was published: version 4 is current and says the same")
    assert lines[1].startswith("version 4: ")


def test_list_says_when_and_which_is_current(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    for version in (1, 2, 3):
        os.utime(manifest_uri(table, version), (86400.0 * version, 86400.0 * version))
    run(capsys, "rollback", "2", "--table", table)
    code, lines, _ = run(capsys, "list", "--table", table, "--json")
    assert code == 0
    assert lines[0].split() == ["version", "published,", "UTC", "candidates", "bank", "k", "alpha", "mean", "bias"]
    assert [line.split()[0] for line in lines[1:5]] == ["1", "2", "3", "4"]
    assert [" 1970-01-02 00:00 " in lines[1], " 1970-01-04 00:00 " in lines[3]] == [True, True]
    assert lines[4].endswith("  same as version 2, current")
    assert not any(line.endswith("current") for line in lines[1:4])
    assert [each["published"][:10] for each in record_of(lines)["versions"][:3]] == [f"1970-01-0{n}" for n in (2, 3, 4)]


def test_a_trend_has_what_versions_say_of_themselves(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    judged = {"objective": "recall@1", "gain": {"recall@1": {"value": 0.0123, "low": 0.0, "high": 0.1}}}
    gates = (Gate("spread", 1.0, 0.1, "pass", ""), Gate("drift_psi", 1.0, 0.1, "fail", "", accepted=True))
    other = read_manifest(table, 1)  # what is as the current version would not be published
    commit_version(table, replace(other, version=4, evaluation=judged, gates=gates))
    code, lines, _ = run(capsys, "list", "--trend", "--table", table)
    assert code == 0
    assert lines[0].split()[-4:] == ["bias", "hubs", "gain", "gates"]
    assert lines[3].split()[-2:] == ["0", "passed"]
    assert lines[4].split()[0] == "4"
    assert lines[4].endswith("recall@1 +1.2  1 passed, accepted: drift_psi")


def test_rollback_to_damaged_files(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    (Path(table) / read_manifest(table, 1).files[0].path).write_bytes(b"")
    code, _, error = run(capsys, "rollback", "1", "--table", table)
    assert (code, list_versions(table)) == (9, [1, 2, 3])
    assert "was not made the current one" in error


def test_expire_says_first_what_it_would_do(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(Path(table).rglob("*"))
    code, lines, _ = run(capsys, "expire", "--keep", "1", "--table", table)
    assert code == 0
    assert lines[:2] == ["version 1", "version 2"]
    assert lines[2].startswith("versions/000001/part-00000-")
    assert lines[-1].startswith("would remove 2 versions and 2 data files, ")
    assert lines[-1].endswith("version 3 stays; nothing was removed. Add --yes to remove")
    assert sorted(Path(table).rglob("*")) == before
    code, lines, _ = run(capsys, "expire", "--keep", "1", "--table", table, "--yes", "--json")
    assert (record_of(lines)["versions"], record_of(lines)["kept"], record_of(lines)["removed"]) == ([1, 2], [3], True)
    assert lines[-2].startswith("removed 2 versions and 2 data files")
    assert list_versions(table) == [3]
    assert run(capsys, "verify", "--table", table)[0] == 0
    for flags in ([], ["--yes"]):
        assert run(capsys, "expire", "--keep", "1", "--table", table, *flags)[1] == [
            "nothing to remove: version 3 stays"
        ]


def test_expire_leaves_what_is_young(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    os.utime(manifest_uri(table, 3))  # version 2 was replaced just now
    run(capsys, "expire", "--keep", "1", "--older-than", "8d", "--table", table, "--yes")
    assert list_versions(table) == [2, 3]


@pytest.mark.parametrize("flags", [["--keep", "0"], ["--keep", "1", "--older-than", "5m"]])
def test_expire_refuses_what_would_harm(table: str, flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "expire", *flags, "--table", table, "--yes")[0] == 2
    assert list_versions(table) == [1, 2, 3]


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("1.5h", 5400), ("7d", 604800), ("2w", 1209600)])
def test_ages(text: str, seconds: float) -> None:
    assert parse_age(text) == seconds


@pytest.mark.parametrize("text", ["7", "d", "-1d", "7 d", "7days", "nan"])
def test_no_ages(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["table", "expire", "--table", "t", "--keep", "1", "--older-than", text])
    assert "nnn table expire: argument --older-than" in capsys.readouterr().err


def test_diff(table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = str(tmp_path / "delta.parquet")
    code, lines, _ = run(capsys, "diff", "1", "2", "--table", table, "--output", output, "--json")
    record = record_of(lines)
    assert (code, record["changed"], record["unchanged"], record["settings"]) == (0, 40, 0, {"alpha": [0.5, 0.25]})
    old, new = (load_bias_table(table, version) for version in (1, 2))
    assert record["changes"]["mean"] == pytest.approx(float((new.bias - old.bias).mean()), abs=1e-7)
    delta = pq.read_table(output)
    assert delta.column("id").to_pylist() == sorted(tables.IDS)
    assert delta.column("bias").to_pylist() == new.bias.tolist()
    assert set(delta.column("op").to_pylist()) == {"change"}
    assert any(line.strip() == "40 changed" for line in lines)
    assert run(capsys, "diff", "1", "9", "--table", table)[0] == 3


CAPTIONS = [f"caption number {number}" for number in range(30)]


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job that leaves own pairs out, whose bank holds captions beside its vectors."""
    folder = tmp_path_factory.mktemp("job")
    write_vectors(folder / "candidates", IDS, gaussian(12, 8, 1), 2)
    (folder / "references").mkdir()
    for number, rows in enumerate(np.array_split(np.arange(30), 3)):
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(gaussian(30, 8, 2)[rows].ravel()), 8)
        columns = {
            "id": [f"q{row}" for row in rows],
            "pair_id": [IDS[row % 12] for row in rows],
            "caption": [CAPTIONS[row] for row in rows],
            "vector": vectors,
        }
        pq.write_table(pa.table(columns), folder / "references" / f"part-{number}.parquet")
    flags = [*sources(folder), "--table", str(folder / "table"), "--k", "4", "--alpha", "0.5"]
    assert cli.main(["refresh", *flags, "--exclude-own-pairs"]) == 0
    assert cli.main(["table", "reweight", "--table", str(folder / "table"), "--alpha", "0.25"]) == 0
    return folder


def sources(folder: Path) -> list[str]:
    flags = ["--candidates", str(folder / "candidates" / "*"), "--references", str(folder / "references" / "*")]
    return [
        *flags,
        "--work",
        str(folder / "work"),
        "--vector-column",
        "vector",
        "--reference-pair-id-column",
        "pair_id",
    ]


def nearest(row: np.ndarray, bank: np.ndarray) -> np.ndarray:
    """The scores of a candidate with all references, by brute force."""
    wide = bank.astype("f8") / np.linalg.norm(bank.astype("f8"), axis=1, keepdims=True)
    return np.asarray(wide @ (row.astype("f8") / np.linalg.norm(row.astype("f8"))))


def test_explain(explained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Means, rank and history are those of the table; the nearest queries those of a brute force."""
    table = load_bias_table(str(explained / "table"))
    for row in (0, 7, 11):
        command = ["explain", IDS[row], "--table", str(explained / "table"), *sources(explained)]
        code, lines, _ = run(capsys, *command, "--json", "--top", "5")
        record = record_of(lines)
        assert code == 0
        assert record["now"]["bias"] == table.bias[row]
        assert record["now"]["means"] == table.mean_k[row].tolist()
        assert record["above"] == int((table.bias > table.bias[row]).sum())
        assert [(each["version"], each["alpha"]) for each in record["history"]] == [(1, 0.5), (2, 0.25)]
        assert record["history"][0]["bias"] == pytest.approx(2 * table.bias[row])
        scores = nearest(gaussian(12, 8, 1)[row], gaussian(30, 8, 2))
        scores[np.arange(30) % 12 == row] = -np.inf
        order = np.argsort(-scores)[:5]
        assert [near["id"] for near in record["neighbours"]] == [f"q{place}" for place in order]
        assert [near["text"] for near in record["neighbours"]] == [CAPTIONS[place] for place in order]
        assert [near["score"] for near in record["neighbours"]] == pytest.approx(scores[order], abs=1e-6)


def test_own_pairs_may_be_among_the_nearest(explained: Path) -> None:
    """Where a version does not leave them out."""
    newest = read_manifest(str(explained / "table"))
    kept = replace(newest, settings=replace(newest.settings, exclude_own_pairs=False))
    candidates, references = (str(explained / side / "*") for side in ("candidates", "references"))
    sides = ReferenceColumnOptions(vector_column="vector", reference_pair_id_column="pair_id")
    columns = (sides.candidate_columns, sides.reference_columns)
    found, _ = find_neighbours(kept, IDS[0], Sources(str(explained / "work"), candidates, references, *columns, top=30))
    order = np.argsort(-nearest(gaussian(12, 8, 1)[0], gaussian(30, 8, 2)))
    assert [near.id for near in found] == [f"q{place}" for place in order]


def test_explain_by_all_of_a_bank_of_vectors(two_versions: TwoVersions, capsys: pytest.CaptureFixture[str]) -> None:
    """Of which none has a caption."""
    place = two_versions.restore(2)
    candidates, references = (
        {
            row["id"]: np.array(row["vector"])
            for path in (place / side).iterdir()
            for row in pq.read_table(path).to_pylist()
        }
        for side in ("candidates", "references")
    )
    flags = refresh_arguments(str(place), str(place))[1:9]
    code, lines, _ = run(capsys, "explain", "item-003", *flags, "--json", "--top", "5")
    scores = nearest(candidates["item-003"], np.stack(list(references.values())))
    order, found = np.argsort(-scores)[:5], record_of(lines)["neighbours"]
    assert (code, [near["id"] for near in found]) == (0, [list(references)[at] for at in order])
    assert [near["score"] for near in found] == pytest.approx(scores[order], abs=1e-6)
    assert {near["text"] for near in found} == {None}


def test_explain_by_the_table_alone(explained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = str(explained / "table")
    code, lines, _ = run(capsys, "explain", IDS[3], "--table", table, "--version", "1")
    assert code == 0
    assert lines[0].startswith("'item-03' in version 1: bias ")
    assert lines[1].endswith("of 12 candidates have a higher bias")
    assert not any(line.startswith("top queries") for line in lines)


def test_explain_what_is_not_there(explained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["explain", "item-99", "--table", str(explained / "table")]
    code, _, error = run(capsys, *command)
    assert (code, "has no candidate 'item-99'. Its ids go from 'item-00' to 'item-11'" in error) == (3, True)
    command[1] = IDS[0]
    code, _, error = run(capsys, *command, "--work", "w")
    assert (code, "--work, --candidates and --references together" in error) == (2, True)
    flags = sources(explained)
    flags[3] = str(explained / "references" / "part-0*")
    code, _, error = run(capsys, *command, *flags)
    assert (code, "is not the bank of version 2" in error) == (3, True)
    flags[5] = str(explained / "other")
    code, _, error = run(capsys, *command, *flags)
    assert (code, "has no vectors below --work" in error) == (3, True)


def test_explain_tells_of_versions_that_cannot_be_read(explained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = explained / "table"
    path = table / read_manifest(str(table), 1).files[0].path
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    try:
        code, lines, _ = run(capsys, "explain", IDS[0], "--table", str(table), "--json")
        assert (code, "is damaged" in record_of(lines)["history"][0]["problem"]) == (0, True)
    finally:
        path.write_bytes(whole)


def test_hubs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uri, usual = str(tmp_path / "hubs"), {f"n{row}": 0.1 + row / 1000 for row in range(50)}
    tables.publish_biases(uri, 1, {**usual, "a": 0.9, "gone": 0.8})
    tables.publish_biases(uri, 2, {**usual, "a": 0.9, "new": 0.95})
    files = ["--output", str(tmp_path / "hubs.parquet"), "--quarantine", str(tmp_path / "ids.txt")]
    code, lines, _ = run(capsys, "hubs", "--table", uri, "--since", "1", *files, "--json")
    record = record_of(lines)
    assert (code, record["ids"], record["new"], record["gone"]) == (0, ["new", "a"], ["new"], ["gone"])
    assert lines[0] == "version 2: 2 of 52 candidates are hubs (k = 2)"
    assert lines[1].endswith("'new'  new")
    assert (tmp_path / "ids.txt").read_text() == "new\na\n"
    assert pq.read_table(tmp_path / "hubs.parquet").column("id").to_pylist() == ["new", "a"]
    assert run(capsys, "hubs", "--table", uri, "--deviations", "0")[0] == 2
    assert run(capsys, "hubs", "--table", uri, "--since", "0")[0] == 3


def test_register(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("deltalake")
    code, lines, _ = run(capsys, "register", "--table", table, "--version", "2", "--json")
    assert (code, record_of(lines)["version"], record_of(lines)["files"]) == (0, 2, 1)
    assert lines[0].startswith(f"version 2 is version 1 of the Delta table {table}: 1 files, 1 of them new to it")
    assert run(capsys, "register", "--table", table, "--version", "9")[0] == 3
    for flags in (
        ["--format", "iceberg"],
        ["--catalog", "c", "--name", "a.b"],
        ["--format", "iceberg", "--name", "a.b"],
    ):
        code, _, error = run(capsys, "register", "--table", table, *flags)
        assert (code, "needs --catalog and --name" in error) == (2, True)
