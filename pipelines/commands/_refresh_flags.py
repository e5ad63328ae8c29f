"""The flags of ``nnn refresh``, which the planner, the launcher and the template's parameters share."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Annotated

from pipelines.commands._config_file import ConfigFile
from pipelines.commands._options import Output, build, make_parser, threads_of
from pipelines.commands._parser import Parser
from pipelines.commands._telling import Telling
from pipelines.config import GROUPS, RefreshConfig
from pipelines.options import Option


@dataclass(frozen=True)
class _Planning:
    """A plan beside the run.

    Attributes:
        with_plan: plan first, and compare the plan with the run.
        rates: YAML file of worker types and prices, for a plan.
    """

    with_plan: Annotated[bool, Option()] = False
    rates: Annotated[str | None, Option("FILE")] = None


def build_parser() -> Parser:
    """The command line of ``nnn refresh``."""
    parser = make_parser(
        "refresh",
        "Compute the bias of every candidate against a bank of reference queries, and publish a new version of "
        "the bias table. Finished work is kept below --work. The same command continues after a crash, and a "
        "later refresh computes only what changed.",
        (ConfigFile, RefreshConfig, Output, Telling, _Planning),
        GROUPS,
        epilog="Any Apache Beam option may follow, e.g. --runner=FlinkRunner. By default, and with "
        "--runner=DirectRunner, the job runs in this process.",
    )
    # No option of a file: Beam has one of that name, which describes a job for Dataflow and does not submit it.
    parser.add_argument("--dry-run", action="store_true", help="read the first rows of each side, plan, and stop")
    parser.show_first("config", "candidates", "references", "encoder", "table", "work", "validation", "tune")
    return parser


def config_from(args: argparse.Namespace, local: bool) -> RefreshConfig:
    """The refresh that parsed flags describe.

    Args:
        args: of a parser with the options of ``RefreshConfig``.
        local: whether the job runs in this process, not on a cluster.
    """
    return build(RefreshConfig, args, threads=threads_of(args, local))
