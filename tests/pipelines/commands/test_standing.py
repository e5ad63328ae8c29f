"""A refresh of which nothing changed is not run: what counts as nothing, and what it says then."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from jobs import TwoVersions, refresh_arguments

from nnn_core.planning.standing import Outcome, Standing
from nnn_core.table.lifecycle.rollback import rollback
from nnn_core.table.manifest import Manifest, read_manifest
from pipelines.commands import _refresh as command
from pipelines.commands import cli
from pipelines.commands._parsing import parse_flags
from pipelines.commands._refresh_flags import build_parser, config_from
from pipelines.commands._standing import standing_of


@pytest.fixture
def place(two_versions: TwoVersions) -> Path:
    return two_versions.restore(2)


def standing(place: Path, **flags: str) -> Standing:
    more = [part for name, value in flags.items() for part in (f"--{name.replace('_', '-')}", value)]
    args, _ = parse_flags(build_parser(), [*refresh_arguments(str(place), str(place))[1:], *more])
    return standing_of(config_from(args, True), None)


def find(place: Path, **flags: str) -> tuple[Manifest, Outcome] | None:
    return standing(place, **flags).find()


def test_what_a_run_ended_in_is_found(place: Path, two_versions: TwoVersions) -> None:
    found = find(place)
    assert found is not None
    assert found[0] == read_manifest(str(place / "table"))
    stages: dict[str, Any] = two_versions.summaries[1]["stages"]
    assert found[1].artefacts == {name: each["computed"] + each["reused"] for name, each in stages.items()}


def test_nothing_runs_where_nothing_changed(
    place: Path, two_versions: TwoVersions, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "run", None)
    assert cli.main([*refresh_arguments(str(place), str(place)), "--json", "--report", str(place / "page.html")]) == 0
    out = capsys.readouterr().out
    summary, before = json.loads(out.splitlines()[-1]), two_versions.summaries[1]
    assert "Nothing changed since version 2, so no version was published." in out
    page = Path(summary["report"]).read_text()
    assert "Nothing changed since version 2" in page
    assert f"--report {place}/page.html" in page
    assert summary["report"] == str(place / "page.html")
    same = set(before) - {"stages", "seconds", "report"}
    assert {name: summary[name] for name in same} == {name: before[name] for name in same}
    assert {each["computed"] for each in summary["stages"].values()} == {0}


def rewrite(path: Path) -> None:
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def first_part(place: Path) -> Path:
    return place / "table" / read_manifest(str(place / "table")).files[0].path


def hub_list(place: Path) -> Path:
    hubs = read_manifest(str(place / "table")).hubs
    assert hubs is not None
    return place / "table" / hubs.path


CHANGES: dict[str, Callable[[Path], object]] = {
    "a candidate file": lambda place: rewrite(place / "candidates" / "part-1.parquet"),
    "a file of the bank": lambda place: rewrite(place / "references" / "part-0.parquet"),
    "files that change places": lambda place: [
        (place / "candidates" / "part-0.parquet").rename(place / "x"),
        (place / "candidates" / "part-1.parquet").rename(place / "candidates" / "part-0.parquet"),
        (place / "x").rename(place / "candidates" / "part-1.parquet"),
    ],
    "another version of the table": lambda place: rollback(str(place / "table"), 1),
    "a damaged part": lambda place: damage(first_part(place)),
    "a part that is gone": lambda place: first_part(place).unlink(),
    "a damaged list of hubs": lambda place: damage(hub_list(place)),
    "a list of hubs that is gone": lambda place: hub_list(place).unlink(),
    "no record": lambda place: shutil.rmtree(place / "work" / "standing"),
    "a damaged record": lambda place: [damage(path) for path in (place / "work" / "standing").iterdir()],
    "no table": lambda place: shutil.rmtree(place / "table" / "versions"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_changes_anything_is_seen(place: Path, change: Callable[[Path], object]) -> None:
    assert find(place) is not None
    change(place)
    assert find(place) is None


@pytest.mark.parametrize(
    "flags",
    [
        {"alpha": "0.3"},
        {"k": "2"},
        {"k_max": "8"},
        {"pair_id_column": "id"},
        {"reference_shard_rows": "2"},
        {"show": "id"},
    ],
)
def test_other_settings_are_another_refresh(place: Path, flags: dict[str, str]) -> None:
    assert find(place, **flags) is None


@pytest.mark.parametrize("flags", [{"threads": "1"}, {"cache_bytes": "0"}])
def test_what_has_no_part_in_the_result_makes_no_difference(place: Path, flags: dict[str, str]) -> None:
    assert find(place, **flags) is not None


def test_a_run_whose_input_changed_meanwhile_is_not_recorded(place: Path) -> None:
    found = find(place)
    assert found is not None
    shutil.rmtree(place / "work" / "standing")
    rewrite(place / "candidates" / "part-1.parquet")
    before = standing(place)
    before.keep(*found, before.queries())
    assert not (place / "work" / "standing").exists()


def test_validation_queries_and_judgements_have_a_part(place: Path) -> None:
    queries = shutil.copy(place / "references" / "part-0.parquet", place / "queries.parquet")
    relevance = place / "relevance.tsv"
    relevance.write_text("query_id\tcandidate_id\nquery-0\titem-001\n")
    flags = {"validation": str(queries), "relevance": str(relevance)}
    manifest = read_manifest(str(place / "table"))
    before = standing(place, **flags)
    assert before.find() is None
    before.keep(manifest, Outcome({}, {}, "{}"), before.queries())
    assert find(place, **flags) is not None
    relevance.write_text("query_id\tcandidate_id\nquery-0\titem-002\n")
    assert find(place, **flags) is None
    queried = before.queries()
    rewrite(queries)
    before.keep(manifest, Outcome({}, {}, "{}"), queried)
    assert find(place, **flags) is None
