"""The log: for people or for programs, without credentials."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.worker.log_handler import FnApiLogRecordHandler
from jobs import TwoVersions, plant_inputs, refresh_arguments

from nnn_core.errors import InputError
from nnn_core.events import Event
from pipelines.commands import cli
from pipelines.running import _progress as progress
from pipelines.running._formatters import JsonFormatter, TextFormatter
from pipelines.running.logs import configure_logging

SECRET = "s3://key:secret@bucket/x"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    configure_logging()


def record(message: object, *args: object) -> logging.LogRecord:
    return logging.LogRecord("nnn", logging.WARNING, "file.py", 1, message, args, None)


def test_json_has_the_fields() -> None:
    entry = json.loads(JsonFormatter().format(record(Event("scored", uri="a b.tar", rows=3))))
    assert entry.pop("time").endswith("+00:00")
    assert entry.pop("process")
    assert entry == {"severity": "WARNING", "logger": "nnn", "message": "scored", "uri": "a b.tar", "rows": 3}


def test_json_of_a_plain_message_and_an_exception() -> None:
    plain = record("cannot read %s", SECRET)
    try:
        raise OSError(SECRET)
    except OSError:
        plain.exc_info = sys.exc_info()
    entry = json.loads(JsonFormatter().format(plain))
    assert entry["message"] == "cannot read s3://[redacted]@bucket/x"
    assert entry["exception"].endswith("OSError: s3://[redacted]@bucket/x")


def test_text_has_no_credentials() -> None:
    assert (
        TextFormatter().format(record("cannot read %s", SECRET)) == "WARNING nnn: cannot read s3://[redacted]@bucket/x"
    )


class Handed(FnApiLogRecordHandler):
    """What a worker hands to a remote runner."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.entries: list[Any] = []
        self._log_entry_queue = self

    def put(self, entry: beam_fn_api_pb2.LogEntry, block: bool) -> None:
        self.entries.append(entry)


def test_the_fields_survive_a_remote_worker() -> None:
    handler = Handed()
    handler.emit(record(Event("scored", uri="gs://b/00017.tar", references="0..49")))
    assert handler.entries[0].message == "scored uri=gs://b/00017.tar references=0..49"


def test_a_failure_is_an_object_too(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(argv: object) -> None:
        raise InputError(f"cannot read {SECRET!r}.")

    configure_logging(log_format="json")
    assert cli.run_command(fail, []) == 3
    entry = json.loads(capsys.readouterr().err)
    assert (entry["severity"], entry["message"], entry["kind"]) == ("ERROR", "failed", "InputError")
    assert (entry["exit_code"], entry["error"]) == (3, "cannot read 's3://[redacted]@bucket/x'.")
    configure_logging()
    assert cli.run_command(fail, []) == 3
    assert capsys.readouterr().err == "nnn: cannot read 's3://[redacted]@bucket/x'.\n"


def test_a_good_night_leaves_an_object_too(two_versions: TwoVersions, capsys: pytest.CaptureFixture[str]) -> None:
    place = str(two_versions.restore(2))
    command = [*refresh_arguments(place, place), "--quiet", "--log-format", "json"]
    assert cli.main(command) == 0
    entry = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (entry["severity"], entry["message"]) == ("INFO", "refresh done")
    assert (entry["table"], entry["version"], entry["rows"]) == (f"{place}/table", 2, 41)
    assert cli.main([*command, "--dry-run"]) == 0
    assert "done" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["root", "PrismRunner", "SdkWorker@localhost:1"])
def test_what_an_engine_says_is_shown_to_those_who_ask(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for verbose in (False, True):
        configure_logging(verbose)
        logging.getLogger(name).error("Traceback of a page")
        logging.getLogger("nnn").warning("ours")
        shown = capsys.readouterr().err
        assert ("Traceback of a page" in shown) == verbose
        assert "ours" in shown


def test_of_beam_only_jobs_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    for verbose in (True, False):
        configure_logging(verbose)
        logging.getLogger("apache_beam.typehints.decorators").info("chatter")
        logging.getLogger("apache_beam.runners.dataflow.dataflow_runner").info("job is running")
        assert (
            capsys.readouterr().err == verbose * "INFO apache_beam.runners.dataflow.dataflow_runner: job is running\n"
        )


@pytest.mark.slow
def test_a_run_logs_every_shard(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    plant_inputs(tmp_path, str(tmp_path))
    flags = ["--verbose", "--log-format", "json"]
    assert cli.main([*refresh_arguments(str(tmp_path), str(tmp_path), 1), *flags]) == 0
    entries = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {entry["logger"].partition(".")[0] for entry in entries} == {"nnn", "nnn_core"}
    for what, stage, count in (("embedded", "embed_candidates", 2), ("scored", "score_candidates", 2)):
        found = {entry["uri"] for entry in entries if entry["message"] == what and entry.get("stage") == stage}
        assert len(found) == count, what
        assert all(Path(uri.partition("#")[0]).exists() for uri in found)
    assert {entry["uri"] for entry in entries if entry["message"] == "merged"}
    assert any(entry["message"] == "progress" for entry in entries)
