"""Events for OpenLineage: what a run reads and writes, when it began and how it ended.

The client of the extra ``lineage`` sends them. It takes an API key from ``OPENLINEAGE_API_KEY``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from nnn_core import __version__, storage
from nnn_core.errors import INSTALL_EXTRA, ConfigError
from nnn_core.redaction import redact
from nnn_core.telling.runs import Run

_NAMESPACE = "nnn"
_PRODUCER = f"https://pypi.org/project/nnn-bias/{__version__}"

#: A catalogue that is slow or away holds no job up for long.
_TIMEOUT_SECONDS = 5.0

#: Exit codes of SIGINT and SIGTERM: the run was ended by somebody, it did not fail.
_ENDED = (130, 143)


@dataclass
class Lineage:
    """The events of one run. That one cannot be sent is a warning, and nothing more.

    Attributes:
        command: the command that runs, such as ``refresh``.
        table: URI of the bias table.
        inputs: URIs or patterns of what it reads.
        writes: whether it publishes a version of the table; otherwise the table is an input.
        engine: name and version of what runs the job.
        send: takes one event.
    """

    command: str
    table: str
    inputs: tuple[str, ...]
    writes: bool
    engine: tuple[str, str]
    send: Callable[[Any], object]
    _run_id: str = field(default_factory=lambda: _new_id())

    def start(self) -> None:
        """Say that the run begins."""
        self._tell("START", None)

    def end(self, run: Run) -> None:
        """Say how the run ended."""
        states = {0: "COMPLETE", **dict.fromkeys(_ENDED, "ABORT")}
        self._tell(states.get(run.exit_code, "FAIL"), run)

    def _tell(self, state: str, run: Run | None) -> None:
        try:
            self.send(self._event(state, run))
        except Exception as error:  # whatever a client or a server makes of it, the job goes on
            reason = redact(str(error)) or type(error).__name__
            logging.getLogger("nnn").warning("the OpenLineage event %s could not be sent: %s", state, reason)

    def _event(self, state: str, run: Run | None) -> Any:
        from openlineage.client import event_v2 as events
        from openlineage.client.facet_v2 import job_type_job

        kind = job_type_job.JobTypeJobFacet(processingType="BATCH", integration="NNN", jobType="JOB")
        read = self.inputs if self.writes else (*self.inputs, self.table)
        return events.RunEvent(
            eventTime=datetime.now(UTC).isoformat(),
            producer=_PRODUCER,
            eventType=events.RunState[state],
            run=events.Run(self._run_id, _run_facets(self.engine, run)),
            job=events.Job(_NAMESPACE, f"{self.command}.{'/'.join(_dataset_of(self.table))}", {"jobType": kind}),
            inputs=[events.InputDataset(*_dataset_of(uri)) for uri in read],
            outputs=[_output(self.table, run)] if self.writes else [],
        )


def sender_to(place: str) -> Callable[[Any], object]:
    """What sends events to a server, or adds them to a file, one a line.

    Args:
        place: URL of a server, by default at its ``/api/v1/lineage``; or the path of a local file.

    Raises:
        ConfigError: the client is not installed.
    """
    try:
        from openlineage.client import OpenLineageClient, set_producer
        from openlineage.client.transport.file import FileConfig, FileTransport
        from openlineage.client.transport.http import ApiKeyTokenProvider, HttpConfig, HttpTransport
    except ImportError:
        raise ConfigError(f"--lineage-url needs the OpenLineage client: {INSTALL_EXTRA.format('lineage')}.") from None
    set_producer(_PRODUCER)  # of the facets
    url = urlsplit(place)
    if url.scheme not in ("http", "https"):
        config: Any = FileConfig(log_file_path=place.removeprefix("file://"), append=True)
        return _sending(OpenLineageClient(transport=FileTransport(config)))
    config = HttpConfig(url=f"{url.scheme}://{url.netloc}", timeout=_TIMEOUT_SECONDS, retry={"total": 1})
    if path := url.path.strip("/"):
        config.endpoint = path
    if key := os.environ.get("OPENLINEAGE_API_KEY"):
        config.auth = ApiKeyTokenProvider({"apiKey": key})
    return _sending(OpenLineageClient(transport=HttpTransport(config)))


def _sending(client: Any) -> Callable[[Any], object]:
    return lambda event: client.emit(event)


def _dataset_of(uri: str) -> tuple[str, str]:
    """Namespace and name of what a URI or a pattern stands for, as OpenLineage names data sets of stores."""
    if storage.is_local(uri):
        return "file", os.path.abspath(uri.removeprefix("file://"))
    scheme, _, rest = uri.partition("://")
    bucket, _, path = rest.partition("/")
    return f"{scheme}://{bucket}", path.rstrip("/") or "/"


def _run_facets(engine: tuple[str, str], run: Run | None) -> dict[str, Any]:
    from openlineage.client.facet_v2 import error_message_run, execution_parameters_run, processing_engine_run

    name, version = engine
    facets: dict[str, Any] = {"processing_engine": processing_engine_run.ProcessingEngineRunFacet(version, name)}
    if run is None:
        return facets
    if run.error is not None:
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(run.error, "PYTHON")
    values: Mapping[str, str] = {**run.settings, "exit_code": str(run.exit_code)}
    gates = {f"gate.{name}": verdict for name, verdict in run.gates.items()}
    facets["executionParameters"] = execution_parameters_run.ExecutionParametersRunFacet(
        [execution_parameters_run.ExecutionParameter(key, value=value) for key, value in {**values, **gates}.items()]
    )
    return facets


def _output(table: str, run: Run | None) -> Any:
    """The table, with the version that stands if the run came to one."""
    from openlineage.client import event_v2 as events
    from openlineage.client.facet_v2 import dataset_version_dataset, output_statistics_output_dataset

    if run is None or run.version is None:
        return events.OutputDataset(*_dataset_of(table))
    version = dataset_version_dataset.DatasetVersionDatasetFacet(str(run.version))
    rows = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(run.rows)
    found = {"facets": {"version": version}, "outputFacets": {"outputStatistics": rows}}
    return events.OutputDataset(*_dataset_of(table), **found)


def _new_id() -> str:
    from openlineage.client.uuid import generate_new_uuid

    return str(generate_new_uuid())
