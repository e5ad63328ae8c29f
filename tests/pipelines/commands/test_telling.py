"""What others hear of a run: metrics by Prometheus' own parser, and JSON, whether the run succeeds or not."""

from __future__ import annotations

import dataclasses
import json
import re
import uuid
from pathlib import Path

import pytest
from corpora import gaussian, write_vectors
from fsspec.implementations.memory import MemoryFileSystem
from jobs import Refused, TwoVersions, refresh_arguments

from nnn_core import __version__, storage
from nnn_core.errors import BankTooSmallError
from nnn_core.table.manifest import read_manifest
from nnn_core.telling.prometheus import _last_success_in, _render_metrics, write_metrics
from nnn_core.telling.runs import Run
from pipelines.commands import cli

parser = pytest.importorskip("prometheus_client.parser")

RUN = Run("refresh", 'a "b"\\c\nd', 0, 1700000000.25, 3.5, 7, 42, 0.25, 1, {"drift": "pass"}, {"score": 1.5})

Samples = dict[tuple[str, str], float]


def samples_of(data: bytes, command: str = "refresh", table: str | None = None) -> Samples:
    """(metric, value of its own label) to its value; all families have help and are gauges."""
    found = {}
    for family in parser.text_string_to_metric_families(data.decode()):
        assert family.type == "gauge"
        assert family.documentation
        for sample in family.samples:
            own = {**sample.labels}
            assert own.pop("command") == command
            assert table in (own.pop("table"), None)
            found[sample.name, next(iter(own.values()), "")] = sample.value
    return found


def one(samples: Samples, *names: str) -> list[float | None]:
    return [samples.get((f"nnn_{name}", "")) for name in names]


@pytest.fixture
def job(two_versions: TwoVersions, tmp_path: Path) -> list[str]:
    """The flags of the tiny refresh, which finds nothing changed, with a file of metrics and JSON."""
    place = str(two_versions.restore(2))
    return [*refresh_arguments(place, place), "--metrics-file", str(tmp_path / "nnn.prom"), "--json"]


def test_labels_are_escaped_and_times_are_exact() -> None:
    samples = samples_of(_render_metrics(RUN), table=RUN.table)
    assert one(samples, "run_timestamp_seconds", "last_success_timestamp_seconds") == [1700000000.25, 1700000000.25]
    assert one(samples, "table_version", "table_rows", "table_bias_mean", "rejected_rows") == [7, 42, 0.25, 1]
    assert samples["nnn_gate_passed", "drift"] == 1
    assert samples["nnn_stage_duration_seconds", "score"] == 1.5
    assert samples["nnn_build_info", __version__] == 1


def test_a_failure_hands_the_last_success_on() -> None:
    uri = f"memory://{uuid.uuid4().hex}/nnn.prom"
    failed = dataclasses.replace(RUN, exit_code=7, finished=RUN.finished + 60, version=None)
    write_metrics(uri, RUN)
    for _ in range(2):
        write_metrics(uri, failed)
        samples = samples_of(storage.read_bytes(uri))
        assert one(samples, "run_success", "run_exit_code", "table_version") == [0, 7, None]
        assert one(samples, "last_success_timestamp_seconds") == [RUN.finished]
    other = dataclasses.replace(failed, table="another")
    assert _last_success_in(storage.read_bytes(uri), other) is None
    write_metrics(uri, other)
    assert one(samples_of(storage.read_bytes(uri)), "last_success_timestamp_seconds") == [None]


def test_a_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "below" / "nnn.prom"
    storage.replace(str(path), b"first")
    storage.replace(str(path), b"second")
    assert path.read_bytes() == b"second"
    seen = []

    def crash(source: str, target: str) -> None:
        # The collector reads *.prom, so the half-written file is called otherwise.
        seen.append((Path(source).suffix, Path(source).read_bytes(), Path(target).read_bytes()))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nnn_core.storage._local_disk.os.replace", crash)
    with pytest.raises(storage.StorageError, match="No space left"):
        storage.replace(str(path), b"third")
    assert seen == [(".tmp", b"third", b"second")]
    assert [each.name for each in path.parent.iterdir()] == ["nnn.prom"]


def test_a_refresh_is_told_of(
    job: list[str], two_versions: TwoVersions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = str(two_versions.place / "table")
    assert cli.main(job) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    data = (tmp_path / "nnn.prom").read_bytes()
    manifest = read_manifest(table)
    samples = samples_of(data, table=table)
    assert one(samples, "run_success", "run_exit_code", "table_version") == [1, 0, 2]
    assert one(samples, "table_rows", "rejected_rows") == [manifest.rows, 1]
    assert one(samples, "table_bias_mean") == [pytest.approx(manifest.bias_mean, rel=1e-15)]
    gates = {gate["name"]: gate for gate in summary["gates"]}
    assert gates["candidate_rejects"]["accepted"]
    assert samples["nnn_gate_accepted", "candidate_rejects"] == 1
    assert samples["nnn_gate_passed", "candidate_rejects"] == 0
    passed = {name for (metric, name), value in samples.items() if metric == "nnn_gate_passed" and value == 1}
    assert passed == {name for name, gate in gates.items() if gate["verdict"] == "pass"}
    stages = {name for metric, name in samples if metric == "nnn_stage_duration_seconds"}
    assert stages == summary["stages"].keys()
    before = one(samples, "run_timestamp_seconds")[0] or 0.0
    assert cli.main(job) == 0
    again = samples_of((tmp_path / "nnn.prom").read_bytes())
    assert one(again, "run_success", "table_version", "table_rows") == [1, 2, manifest.rows]
    assert (one(again, "run_timestamp_seconds")[0] or 0.0) > before


def test_a_gate_that_fails_is_told_of(refused: Refused) -> None:
    record = json.loads(refused.printed.splitlines()[-1])
    assert (record["kind"], record["exit_code"]) == ("GateError", 10)
    assert record["error"].startswith("1 of ")
    assert [gate["name"] for gate in record["gates"] if gate["verdict"] == "fail"] == ["spread"]
    assert Path(record["report"]).read_text().startswith("<!DOCTYPE html>")
    samples = samples_of(refused.metrics)
    assert one(samples, "run_success", "run_exit_code", "table_version") == [0, 10, None]
    failed = {name for (metric, name), value in samples.items() if metric == "nnn_gate_passed" and value == 0}
    assert failed == {"spread"}


def test_any_failure_is_told_of(
    job: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_with(error: Exception) -> None:
        def fail(*_: object) -> None:
            raise error

        monkeypatch.setattr("pipelines.commands._refresh.refresh", fail)

    fail_with(BankTooSmallError("k beyond the bank"))
    assert cli.main(job) == 5
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert record.keys() == {"error", "kind", "exit_code"}
    assert record["kind"] == "BankTooSmallError"
    path = tmp_path / "nnn.prom"
    assert one(samples_of(path.read_bytes()), "run_success", "run_exit_code") == [0, 5]
    path.unlink()
    assert cli.main([*job, "--dry-run"]) == 0
    assert not path.exists()
    fail_with(RuntimeError("a defect"))
    with pytest.raises(RuntimeError, match="a defect"):
        cli.main(job)
    assert one(samples_of(path.read_bytes()), "run_success", "run_exit_code") == [0, 1]


def test_metrics_that_cannot_be_written_stop_no_job(
    job: list[str], two_versions: TwoVersions, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", refuse)
    assert cli.main([*job, "--metrics-file", "memory://metrics/nnn.prom"]) == 0
    assert "the metrics could not be written" in capsys.readouterr().err
    assert read_manifest(str(two_versions.place / "table")).version == 2
    assert cli.main([*job, "--metrics-file", "https://user:secret@host/nnn.prom"]) == 2
    assert "holds credentials" in capsys.readouterr().err


def test_an_evaluation_that_publishes_nothing_is_told_of(
    two_versions: TwoVersions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = two_versions.restore(2)
    (tmp_path / "gates.yaml").write_text("spread: 10\n")
    queries = write_vectors(tmp_path / "queries", ["q1", "q2"], gaussian(2, 8, 5), 1, ["item-001", "item-002"])
    flags = {"candidates": f"{place}/candidates/part-*.parquet", "queries": queries}
    flags |= {"table": f"{place}/table", "work": f"{place}/work", "query-pair-id-column": "pair_id"}
    flags |= {
        "metrics-file": str(tmp_path / "nnn.prom"),
        "gates": str(tmp_path / "gates.yaml"),
        "k": "1",
        "alpha": "0.1",
    }
    named = [part for name, value in flags.items() for part in (f"--{name}", value)]
    code = cli.main(["evaluate", *named, "--max-reject-rate", "0.1", "--publish", "--json"])
    shown = capsys.readouterr()
    assert code == 10, shown
    record = json.loads(shown.out.splitlines()[-1])
    failed = {gate["name"] for gate in record["gates"] if gate["verdict"] == "fail"}
    assert "spread" in failed
    samples = samples_of((tmp_path / "nnn.prom").read_bytes(), "evaluate")
    assert one(samples, "run_success", "run_exit_code") == [0, 10]
    assert ("nnn_stage_duration_seconds", "judge_bias") in samples
    assert {name for (metric, name), value in samples.items() if metric == "nnn_gate_passed" and value == 0} == failed
    assert re.search(r"evaluation-000002-[0-9a-f]{12}\.html$", record["report"])
