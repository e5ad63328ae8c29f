"""``nnn plan``: what a refresh would compute, why, and what it would cost."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from nnn_core.costs import DEFAULT_RATES, Cost, Rates, Work, estimate, read_rates
from nnn_core.embedding import EmbeddingRequest
from nnn_core.encoders import EncoderSource
from nnn_core.encoders.contract import static_parts
from nnn_core.encoders.prompts import Prompts
from nnn_core.fingerprints import differing
from nnn_core.manifest import Manifest, current_manifest
from nnn_core.plan import NEW, Plan, Scoring, SidePlan, make_plan, plan_side
from nnn_core.regrouping import Asked, Regrouping, propose
from nnn_core.shards import MODALITIES, Modality
from pipelines.config import RefreshConfig, add_refresh_arguments, config_from
from pipelines.encoder_flags import encoder_from

_SIDE = ("files", "bytes", "reasons", "removed", "rows_known", "rows_todo", "estimated")

#: Dimension of the vectors where nothing is embedded yet.
_ASSUMED_DIM = 512


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``nnn plan``: that of ``nnn refresh``, and rates."""
    parser = argparse.ArgumentParser(
        prog="nnn plan",
        description="Show what nnn refresh with the same flags would compute, why, and what it would cost. Reads "
        "listings, footers and the marks of finished work (files on a local disk are read once, for their digest); "
        "computes nothing.",
        allow_abbrev=False,
    )
    add_refresh_arguments(parser)
    parser.add_argument(
        "--rates", metavar="FILE", help="YAML file of worker types and prices (deploy/rates.yaml is an example)"
    )
    parser.add_argument("--workers", type=int, default=10, metavar="N", help="machines (default: %(default)s)")
    return parser


def plan(config: RefreshConfig, encoder: EncoderSource | None) -> Plan:
    """The plan of a refresh.

    Raises:
        InputError: input that cannot be read.
        CorruptArtifactError: the current version's manifest is damaged.
    """
    previous = current_manifest(config.table)
    changed = changed_parts(previous, encoder, config.prompts)
    digest = encoder.fingerprint.digest if encoder else None
    holding = EmbeddingRequest(
        config.candidate_modality, config.candidate_columns, digest, config.work, config.prompts.candidate
    )
    asking = EmbeddingRequest(
        config.bank_modality, config.reference_columns, digest, config.work, config.prompts.reference
    )
    before = (previous.candidates, previous.references) if previous else (None, None)
    candidates = plan_side("candidates", config.candidates, holding, before[0], changed)
    references = plan_side("references", config.references, asking, before[1], changed)
    scoring = Scoring(
        config.kept_scores, config.rows_per_reference_shard, config.exclude_own_pairs, config.bias_tolerance is not None
    )
    return make_plan(candidates, references, scoring, config.work, previous, changed)


def changed_parts(
    previous: Manifest | None,
    encoder: EncoderSource | None,
    prompts: Prompts = Prompts(),  # noqa: B008
) -> tuple[str, ...]:
    """Parts of the encoder's fingerprint that are not those of the current version."""
    if previous is None or encoder is None:
        return ()
    return differing(static_parts(encoder, prompts), previous.settings.encoder)


def work_of(found: Plan, config: RefreshConfig) -> Work:
    """The plan in numbers."""
    todo = {modality: sum(_rows_to_encode(found, modality)) for modality in MODALITIES}
    return Work(
        todo["image"],
        todo["text"],
        found.pairs_todo,
        found.candidates.rows,
        found.references.rows,
        found.dim or _ASSUMED_DIM,
        config.kept_scores,
        len(config.grid),
        found.groups,
        config.rows_per_reference_shard,
    )


def _rows_to_encode(found: Plan, modality: Modality) -> Iterator[int]:
    sides = (found.candidates, found.references)
    return (side.rows_todo for side in sides if side.model and side.modality == modality)


def regrouping_of(found: Plan, config: RefreshConfig, rates: Rates) -> Regrouping | None:
    """Another size of the reference shards, if it pays; of exact searches only, which do not depend on it."""
    if config.bias_tolerance is not None:
        return None
    candidates, references = found.candidates, found.references
    asked = Asked(
        candidates.rows,
        max(1, len(candidates.shards)),
        found.dim or _ASSUMED_DIM,
        config.kept_scores,
        max(1, references.reasons.get(NEW, 0)),
        references.removed,
    )
    worker = next(iter(rates.workers.values()))
    return propose(references.shards, config.rows_per_reference_shard, asked, worker)


def describe(
    found: Plan, work: Work, costs: Sequence[Cost], workers: int, regrouping: Regrouping | None = None
) -> Iterator[str]:
    """The plan for a person."""
    for side in (found.candidates, found.references):
        yield from _describe_side(side)
    yield f"reference shards  {found.groups:,}"
    yield f"partials          {found.partials:,}, of which {found.partials_todo:,} are to be computed"
    share = found.pairs_todo / found.pairs if found.pairs else 0.0
    yield f"pairs to score    {found.pairs_todo:,} of {found.pairs:,} ({share:.2%})"
    for reason, pairs in sorted(found.reasons.items(), key=lambda each: -each[1]):
        yield f"                  {pairs:,}: {reason}"
    yield f"scoring           {work.flop:.3g} floating-point operations (dimension {work.dim})"
    yield (
        f"storage           {_size(work.embedded_bytes)} vectors, {_size(work.partial_bytes)} scores, "
        f"{_size(work.table_bytes)} a version; {_size(work.shuffled_bytes)} shuffled"
    )
    yield f"memory            {_size(work.peak_bytes)} a worker process"
    if regrouping:
        yield from _describe_regrouping(regrouping)
    yield ""
    yield f"{'worker':<42}{'embedding':>12}{'scoring':>12}{f'on {workers}':>12}{'cost':>12}"
    for cost in costs:
        note = "" if cost.fits else "   does not fit its memory"
        yield (
            f"{cost.worker:<42}{_hours(cost.embed_hours):>12}{_hours(cost.score_hours):>12}"
            f"{_hours(cost.hours / workers):>12}{f'${cost.dollars:,.2f}':>12}{note}"
        )
    yield "Machine time by --rates, without start-up and waiting; measure your own rates and prices."


def _describe_side(side: SidePlan) -> Iterator[str]:
    about = "about " if side.estimated else ""
    yield (
        f"{side.flag:<18}{side.files:,} files, {_size(side.bytes)}; {len(side.embedded):,} embedded "
        f"({side.rows_known:,} rows), {len(side.todo):,} to embed ({about}{side.rows_todo:,} rows)"
        + (f"; {side.removed:,} gone since" if side.removed else "")
    )
    for reason, files in sorted(side.reasons.items()):
        yield f"                  {files:,} files: {reason}"


def _describe_regrouping(found: Regrouping) -> Iterator[str]:
    flag = f"--reference-shard-rows {found.rows}"
    yield f"regrouping        at {flag}: {found.pairs_now:,} pairs once, after this refresh;"
    for what, saved in (("pairs to score", found.pairs_saved), ("partials to merge", found.partials_saved)):
        yield f"                  then {abs(saved):,} {'fewer' if saved >= 0 else 'more'} {what} in each refresh;"
    yield (
        f"                  pays after {found.refreshes} such refreshes, by the first rates below and the "
        f"{found.replayed} newest additions"
    )


def _size(value: float) -> str:
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
    power = min(len(units) - 1, int(math.log(max(value, 1), 1024)))
    return f"{value / 1024**power:.3g} {units[power]}"


def _hours(value: float) -> str:
    if value < 1 / 60:
        return f"{value * 3600:.1f} s"
    return f"{value * 60:.1f} min" if value < 1 else f"{value:,.1f} h"


def record_of(found: Plan, work: Work, costs: Sequence[Cost], regrouping: Regrouping | None = None) -> dict[str, Any]:
    """The plan for programs."""
    sides = {
        side.flag: {
            **{
                name: getattr(side, name)
                for name in ("files", "bytes", "reasons", "removed", "rows_known", "rows_todo")
            },
            "estimated": side.estimated,
            "todo": [each.shard.uri for each in side.todo],
        }
        for side in (found.candidates, found.references)
    }
    numbers = ("dim", "groups", "partials", "partials_todo", "pairs", "pairs_todo", "reasons", "changed", "previous")
    amounts = ("flop", "embedded_bytes", "partial_bytes", "table_bytes", "shuffled_bytes", "peak_bytes")
    return {
        **sides,
        **{name: getattr(found, name) for name in numbers},
        **{name: getattr(work, name) for name in amounts},
        "regrouping": dataclasses.asdict(regrouping) if regrouping else None,
        "costs": [{**dataclasses.asdict(cost), "hours": cost.hours} for cost in costs],
    }


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Parse flags, look, print."""
    args = build_parser().parse_args(argv)
    rates: Rates = read_rates(args.rates) if args.rates else DEFAULT_RATES
    encoder = encoder_from(args)
    config = config_from(args, 1)
    found = plan(config, encoder)
    work = work_of(found, config)
    costs = estimate(work, rates)
    regrouping = regrouping_of(found, config, rates)
    print("\n".join(describe(found, work, costs, args.workers, regrouping)))
    record = record_of(found, work, costs, regrouping)
    if args.json:
        print(json.dumps(record))
    return record
