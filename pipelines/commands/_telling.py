"""Who else hears how a run ended: a program that reads its output, and those who watch over many runs."""

from __future__ import annotations

import argparse
import contextlib
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import apache_beam

from nnn_core import storage
from nnn_core.errors import GateError, NNNError
from nnn_core.events import Event
from nnn_core.redaction import harmless, redact, refuse_credentials
from nnn_core.table.manifest import Manifest
from nnn_core.telling.lineage import Lineage, sender_to
from nnn_core.telling.prometheus import write_metrics
from nnn_core.telling.runs import Run
from pipelines.commands._output import print_json
from pipelines.options import OUTPUT, Option
from pipelines.running.logs import say_end
from pipelines.running.signals import signal_of

#: Options that name what a run reads.
_INPUTS = ("candidates", "references", "validation", "queries", "relevance", "attributes")


@dataclass(frozen=True)
class Telling:
    """Who else is told how a run ended.

    Attributes:
        metrics_file: write metrics for Prometheus to this file, also if the run fails (deploy/RUNBOOK.md).
        lineage_url: send OpenLineage events to this server, or append them to this file (needs the extra lineage).
    """

    metrics_file: Annotated[str | None, Option("URI", OUTPUT)] = None
    lineage_url: Annotated[str | None, Option("URL", OUTPUT)] = None


@dataclass
class Story:
    """A run, as far as it has come.

    Attributes:
        run: what is known of it.
        lineage: who is told of it from the start; None for nobody.
    """

    run: Run
    lineage: Lineage | None = None
    _began: float = field(default_factory=time.monotonic)

    def of(
        self,
        manifest: Manifest,
        gates: Iterable[Mapping[str, Any]] = (),
        stages: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """What the run came to.

        Args:
            manifest: the version that it published or judged.
            gates: what was checked, as a manifest records it.
            stages: figures of each stage by name, from a run's summary.
        """
        seconds = {name: figures["seconds"] for name, figures in (stages or {}).items()}
        self.run = replace(
            self.run,
            version=manifest.version,
            rows=manifest.rows,
            bias_mean=manifest.bias_mean,
            rejected=manifest.candidates.rejected + manifest.references.rejected,
            gates=_verdicts_of(gates),
            stages={name: value for name, value in seconds.items() if value is not None},
            settings={"k": str(manifest.settings.k), "alpha": f"{manifest.settings.alpha:g}"},
        )

    def end(self, error: BaseException | None) -> Run:
        """The run with its end."""
        run = replace(self.run, finished=time.time(), seconds=time.monotonic() - self._began)
        if error is None:
            return run
        if isinstance(error, GateError):
            run = replace(run, gates=_verdicts_of(error.gates))
        return replace(run, exit_code=_exit_code(error), error=harmless(redact(str(error))) or type(error).__name__)


@contextlib.contextmanager
def telling(command: str, args: argparse.Namespace) -> Iterator[Story]:
    """Tell how what happens inside ended, to all that the flags name; that they cannot be told is a warning.

    Args:
        command: name of the command.
        args: flags, with those of ``Telling`` among them.

    Raises:
        ConfigError: a place that is none, or holds credentials.
    """
    for flag, place in (("--metrics-file", args.metrics_file), ("--lineage-url", args.lineage_url)):
        if place:
            refuse_credentials(place, flag)
            storage.check_place(place)
    story = Story(Run(command, args.table, 0, 0.0, 0.0), _lineage(command, args))
    if story.lineage:
        story.lineage.start()
    try:
        yield story
    except BaseException as error:
        _tell(args, story, story.end(error))
        if isinstance(error, NNNError):
            print_json(args, _record(error))
        raise
    _tell(args, story, story.end(None))


def _lineage(command: str, args: argparse.Namespace) -> Lineage | None:
    """The events of this run, if they are wanted."""
    if not args.lineage_url or _is_dry(args):
        return None
    inputs = tuple(place for name in _INPUTS if (place := getattr(args, name, None)))
    writes = command == "refresh" or args.publish
    engine = ("Apache Beam", apache_beam.__version__)
    return Lineage(command, args.table, inputs, writes, engine, sender_to(args.lineage_url))


def _is_dry(args: argparse.Namespace) -> bool:
    return getattr(args, "dry_run", False)


def _tell(args: argparse.Namespace, story: Story, run: Run) -> None:
    if story.lineage:
        story.lineage.end(run)
    if _is_dry(args):
        return
    try:
        if args.metrics_file:
            write_metrics(args.metrics_file, run)
    except NNNError as error:
        logging.getLogger("nnn").warning("the metrics could not be written: %s", error)
    if not run.exit_code:
        known = {"table": run.table, "version": run.version, "rows": run.rows, "seconds": round(run.seconds, 1)}
        say_end(Event(f"{run.command} done", **known))


def _verdicts_of(gates: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The verdict of each gate by name, of gates as a manifest or a report records them."""
    return {gate["name"]: _verdict(gate) for gate in gates}


def _verdict(gate: Mapping[str, Any]) -> str:
    return "accepted" if gate.get("accepted") or gate["verdict"] == "warn" else str(gate["verdict"])


def _exit_code(error: BaseException) -> int:
    if isinstance(error, NNNError):
        return error.exit_code
    return 128 + signal_of(error) if isinstance(error, KeyboardInterrupt) else 1


def _record(error: NNNError) -> dict[str, Any]:
    """A failure for programs."""
    record = {"error": harmless(redact(str(error))), "kind": type(error).__name__, "exit_code": error.exit_code}
    return {**record, "gates": error.gates, "report": error.report} if isinstance(error, GateError) else record
