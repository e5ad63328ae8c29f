"""Metrics of the last run in the text format of Prometheus, for node_exporter's textfile collector.

The file is replaced as a whole by every run. All samples carry the table and the command as labels, so one folder
may hold the files of several jobs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from nnn_core import __version__, storage
from nnn_core.telling.runs import Run

#: When the last run that succeeded ended: a run that fails hands on the value that it finds.
_LAST_SUCCESS = "nnn_last_success_timestamp_seconds"

_Samples = Iterable[tuple[Mapping[str, str], float]]


@dataclass(frozen=True)
class _Gauge:
    """One metric.

    Attributes:
        name: of the metric, with its unit.
        help: what it says.
        samples: (further labels, value).
    """

    name: str
    help: str
    samples: _Samples

    def lines(self, common: Mapping[str, str]) -> Iterator[str]:
        """Its lines; none where there is no sample."""
        found = [f"{self.name}{_labels({**common, **labels})} {float(value)!r}" for labels, value in self.samples]
        if found:
            yield f"# HELP {self.name} {self.help}"
            yield f"# TYPE {self.name} gauge"
            yield from found


def write_metrics(uri: str, run: Run) -> None:
    """Replace the file at ``uri`` by the metrics of ``run``.

    Raises:
        StorageError: the file cannot be written.
    """
    before = None
    if run.exit_code and storage.exists(uri):
        before = _last_success_in(storage.read_bytes(uri), run)
    storage.replace(uri, _render_metrics(run, before))


def _render_metrics(run: Run, last_success: float | None = None) -> bytes:
    """The text of the file.

    Args:
        run: what ended.
        last_success: when an earlier run last succeeded, in seconds since 1970; not needed if this one did.
    """
    common = _common(run)
    return "".join(f"{line}\n" for gauge in _gauges(run, last_success) for line in gauge.lines(common)).encode()


def _last_success_in(data: bytes, run: Run) -> float | None:
    """When the last successful run of the same command and table ended, by the file of an earlier run."""
    sample = re.escape(_LAST_SUCCESS + _labels(_common(run)))
    found = re.search(rf"^{sample} ([0-9.e+]+)$", data.decode("utf-8", "replace"), re.MULTILINE)
    return float(found[1]) if found else None


def _gauges(run: Run, last_success: float | None) -> Iterator[_Gauge]:
    succeeded = run.exit_code == 0
    yield _Gauge("nnn_build_info", "Version of the program.", [({"version": __version__}, 1)])
    yield _Gauge("nnn_run_success", "Whether the last run succeeded.", _one(succeeded))
    yield _Gauge("nnn_run_exit_code", "Exit code of the last run.", _one(run.exit_code))
    yield _Gauge("nnn_run_timestamp_seconds", "When the last run ended.", _one(run.finished))
    yield _Gauge(_LAST_SUCCESS, "When a run last succeeded.", _one(run.finished if succeeded else last_success))
    yield _Gauge("nnn_run_duration_seconds", "Wall time of the last run.", _one(run.seconds))
    yield _Gauge("nnn_table_version", "Table version that the last run published or judged.", _one(run.version))
    yield _Gauge("nnn_table_rows", "Candidates of that version.", _one(run.rows))
    yield _Gauge("nnn_table_bias_mean", "Mean bias of that version.", _one(run.bias_mean))
    yield _Gauge("nnn_rejected_rows", "Input rows that could not be used.", _one(run.rejected))
    judged = [(name, verdict) for name, verdict in run.gates.items() if verdict != "skipped"]
    passed = [({"gate": name}, float(verdict == "pass")) for name, verdict in judged]
    accepted = [({"gate": name}, 1.0) for name, verdict in judged if verdict == "accepted"]
    yield _Gauge("nnn_gate_passed", "Whether the version passed a gate that applies to it.", passed)
    yield _Gauge("nnn_gate_accepted", "A gate that failed and was accepted by name.", accepted)
    stages = [({"stage": name}, seconds) for name, seconds in run.stages.items()]
    yield _Gauge("nnn_stage_duration_seconds", "Work of a stage, summed over its workers.", stages)


def _one(value: float | None) -> _Samples:
    return [] if value is None else [({}, value)]


def _common(run: Run) -> dict[str, str]:
    return {"command": run.command, "table": run.table}


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    # What is half a character would make bytes that are no UTF-8.
    text = value.encode("utf-8", "replace").decode()
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
