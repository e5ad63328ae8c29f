"""Events of runs, received by a server on this machine and by a file, and read by OpenLineage's own classes."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
from jobs import Refused, TwoVersions, refresh_arguments

from nnn_core.telling.lineage import _dataset_of
from pipelines.commands import _telling, cli

events = pytest.importorskip("openlineage.client.event_v2")


class _Catalogue(BaseHTTPRequestHandler):
    """Keeps what it is told, and answers with ``status``."""

    told: ClassVar[list[tuple[str, str | None, dict[str, Any]]]]
    status: ClassVar[int]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.told.append((self.path, self.headers["Authorization"], json.loads(body)))
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def catalogue() -> Iterator[str]:
    """The URL of a server that takes events."""
    _Catalogue.told, _Catalogue.status = [], 201
    with ThreadingHTTPServer(("127.0.0.1", 0), _Catalogue) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def job(two_versions: TwoVersions) -> list[str]:
    """The tiny refresh, which finds nothing changed."""
    place = str(two_versions.restore(2))
    return [*refresh_arguments(place, place), "--lineage-url"]


def check(record: dict[str, Any]) -> None:
    """What OpenLineage's classes make of an event is the event."""
    own = {"run": events.Run, "job": events.Job}
    fields = {name: own[name](**value) if name in own else value for name, value in record.items()}
    fields["eventType"] = events.RunState(fields["eventType"])
    fields["inputs"] = [events.InputDataset(**each) for each in record["inputs"]]
    fields["outputs"] = [events.OutputDataset(**each) for each in record["outputs"]]
    url = fields.pop("schemaURL")
    event = events.RunEvent(**fields)
    assert event.schemaURL == url
    holders = (record["run"], record["job"], *record["inputs"], *record["outputs"])
    facets = [facet for each in holders for facet in (*each["facets"].values(), *each.get("outputFacets", {}).values())]
    assert all(facet["_producer"] == record["producer"] for facet in facets)
    assert all(facet["_schemaURL"].startswith("https://openlineage.io/spec/facets/") for facet in facets)


def parameters(record: dict[str, Any]) -> dict[str, str]:
    found = record["run"]["facets"]["executionParameters"]["parameters"]
    return {each["key"]: each["value"] for each in found}


def test_a_server_hears_of_start_and_end(job: list[str], catalogue: str, two_versions: TwoVersions) -> None:
    assert cli.main([*job, catalogue]) == 0
    assert [path for path, *_ in _Catalogue.told] == ["/api/v1/lineage"] * 2
    start, end = (record for *_, record in _Catalogue.told)
    check(start)
    check(end)
    assert (start["eventType"], end["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == end["run"]["runId"]
    place = two_versions.place
    table = str(place / "table")
    assert start["job"]["namespace"] == "nnn"
    assert start["job"]["name"] == end["job"]["name"] == f"refresh.file/{table}"
    globs = [f"{place}/candidates/part-{{0..2}}.parquet", f"{place}/references/part-{{0..1}}.parquet"]
    assert [(each["namespace"], each["name"]) for each in end["inputs"]] == [("file", glob) for glob in globs]
    (output,) = end["outputs"]
    assert (output["namespace"], output["name"]) == ("file", table)
    assert output["facets"]["version"]["datasetVersion"] == "2"
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == 41
    assert start["outputs"][0]["facets"] == {}
    assert parameters(end) | {"k": "4", "alpha": "0.5", "exit_code": "0", "gate.spread": "pass"} == parameters(end)
    assert end["run"]["facets"]["processing_engine"]["name"] == "Apache Beam"


def test_a_key_and_a_path_are_used(job: list[str], catalogue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "s3cr3t")
    assert cli.main([*job, f"{catalogue}/events/openlineage"]) == 0
    assert [told[:2] for told in _Catalogue.told] == [("/events/openlineage", "Bearer s3cr3t")] * 2


def test_a_file_hears_of_failures(
    job: list[str], refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.commands._refresh.refresh", interrupt)
    assert cli.main([*job, str(path)]) == 130
    assert cli.main([*job, str(path), "--dry-run"]) == 0
    told = [*refused.events, *(json.loads(line) for line in path.read_text().splitlines())]
    for record in told:
        check(record)
    assert [record["eventType"] for record in told] == ["START", "FAIL", "START", "ABORT"]
    assert told[1]["run"]["facets"]["errorMessage"]["message"].startswith("1 of ")
    assert told[1]["outputs"][0]["facets"] == {}
    assert parameters(told[1])["gate.spread"] == "fail"
    assert told[1]["run"]["runId"] != told[2]["run"]["runId"]


@pytest.mark.parametrize("kind", ["refuses", "away"])
def test_a_server_that_fails_stops_no_job(
    job: list[str], catalogue: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _Catalogue.status = 500
    url = catalogue if kind == "refuses" else "http://127.0.0.1:9"
    assert cli.main([*job, url]) == 0
    error = capsys.readouterr().err
    for state in ("START", "COMPLETE"):
        assert f"the OpenLineage event {state} could not be sent" in error


def test_without_the_client_it_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    job = [*refresh_arguments(str(tmp_path), str(tmp_path)), "--lineage-url"]
    monkeypatch.setitem(sys.modules, "openlineage.client", None)
    assert cli.main([*job, "http://127.0.0.1:9"]) == 2
    assert ".[lineage]" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()
    assert cli.main([*job, "http://user:secret@127.0.0.1:9"]) == 2
    assert "secret" not in capsys.readouterr().err


def test_an_evaluation_reads_the_table(tmp_path: Path) -> None:
    importlib.import_module("pipelines.commands._evaluate")
    flags = {"table": f"{tmp_path}/table", "candidates": "gs://b/c/*.parquet", "queries": "q.npy", "publish": False}
    flags["lineage_url"] = str(tmp_path / "events.jsonl")
    lineage = _telling._lineage("evaluate", _telling.argparse.Namespace(**flags))
    assert lineage is not None
    lineage.start()
    record = json.loads((tmp_path / "events.jsonl").read_text())
    check(record)
    assert [each["name"] for each in record["inputs"]][1:] == [str(Path("q.npy").absolute()), f"{tmp_path}/table"]
    assert record["outputs"] == []


@pytest.mark.parametrize(
    ("uri", "dataset"),
    [
        ("s3://b/table", ("s3://b", "table")),
        ("gs://b/a/*.parquet", ("gs://b", "a/*.parquet")),
        ("s3://b", ("s3://b", "/")),
        ("file:///a/b/", ("file", "/a/b")),
        ("/a/b", ("file", "/a/b")),
    ],
)
def test_data_sets_are_named_as_openlineage_names_them(uri: str, dataset: tuple[str, str]) -> None:
    assert _dataset_of(uri) == dataset
