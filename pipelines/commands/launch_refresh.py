"""Hand a refresh over to a cluster without waiting for it: what the launcher of the Flex Template runs.

``deploy/launch.py`` calls it with the flags of ``nnn refresh``. A launcher has to leave once it has
described the job, and Dataflow starts it afterwards, so its outcome is not this program's to tell. The job itself
publishes the version, or fails and says why in its log; either way it leaves the content of the report below
``WORK/runs``.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import secrets
from collections.abc import Sequence

import apache_beam as beam

from nnn_core import storage
from nnn_core.encoders.generations import settle
from nnn_core.errors import ConfigError
from nnn_core.table.manifest import prepare_table
from pipelines.commands._parsing import parse_flags
from pipelines.commands._preflight import SIDES, check_files, look_ahead
from pipelines.commands._refresh_flags import build_parser, config_from
from pipelines.refresh import define_refresh
from pipelines.running.known_runners import runs_locally


def main(argv: Sequence[str] | None = None) -> None:
    """Parse flags, describe the job, hand it over.

    Raises:
        ConfigError: the job would run in this process.
        NNNError: flags that cannot work, or places that cannot be used.
    """
    args, options = parse_flags(build_parser(), argv)
    if runs_locally(options):
        raise ConfigError(
            "the launcher needs a cluster. Name one with --runner, such as --runner=DataflowRunner, or run the "
            "job here with nnn refresh."
        )
    if args.dry_run:
        raise ConfigError("--dry-run starts no job. Use it with nnn refresh.")
    if args.metrics_file or args.lineage_url:
        raise ConfigError(
            "--metrics-file and --lineage-url report how a job ended, and the launcher does not wait for the "
            "end. Leave them out, and watch the job's metrics on the cluster."
        )
    for flag in ("report", "with_plan", "rates"):
        if getattr(args, flag):
            logging.getLogger("nnn").warning(
                "--%s has no effect, as the launcher does not wait for the end. nnn report writes the page of a run.",
                flag.replace("_", "-"),
            )
    config = dataclasses.replace(config_from(args, local=False), run=f"run-{secrets.token_hex(8)}")
    storage.check_exclusive(config.work)
    prepare_table(config.table)
    check_files(config, SIDES, local=False)
    encoder = config.encoder_source
    look_ahead(config, encoder, local=False)
    if encoder is not None:
        encoder = settle(encoder, config.work, config.modalities)
    pipeline = beam.Pipeline(options=options)
    define_refresh(pipeline, config, encoder)
    pipeline.run()
    print(json.dumps({"run": config.run, "table": config.table, "report": config.report_uri}))
