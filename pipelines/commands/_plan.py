"""``nnn plan``: what a refresh would compute, why, and what it would cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from nnn_core.errors import ConfigError
from nnn_core.planning.costs import (
    CONVERTED_BYTES,
    MERGED_SCORES,
    NETWORK_BYTES,
    PARTIAL_SECONDS,
    Rates,
    Worker,
)
from nnn_core.planning.memory import Memory
from nnn_core.planning.plan import NEW, SidePlan
from nnn_core.planning.regrouping import Asked, Regrouping
from nnn_core.report.numbers import seconds, size
from nnn_core.scoring.bank import Grouping
from pipelines.commands._config_file import ConfigFile
from pipelines.commands._foretold import ASSUMED_DIM, Foretold, format_dollars, format_hours
from pipelines.commands._options import Output, make_parser
from pipelines.commands._output import in_columns, print_json
from pipelines.commands._parsing import parse_flags
from pipelines.commands._preflight import SIDES, check_files
from pipelines.commands._refresh_flags import config_from
from pipelines.config import GROUPS, RefreshConfig
from pipelines.options import Option
from pipelines.running.known_runners import runs_locally

_SIDE = ("files", "bytes", "reasons", "removed", "rows_known", "rows_todo", "rows_reused", "estimated")


@dataclasses.dataclass(frozen=True)
class _Pricing:
    """What a plan is priced by.

    Attributes:
        rates: YAML file of worker types and prices (deploy/rates.yaml is an example); auto measures this machine.
        workers: machines (default: %(default)s).
    """

    rates: Annotated[str | None, Option("FILE")] = None
    workers: Annotated[int, Option("N")] = 10
    # Not described: it says nothing here, but a file of flags is the same for both commands.
    with_plan: Annotated[bool, Option()] = False


def _regrouping_of(foretold: Foretold, config: RefreshConfig) -> Regrouping | None:
    """Another size of the reference shards than was asked for, if it pays; exact searches do not depend on it."""
    if config.bias_tolerance is not None or config.reference_shard_rows is None:
        return None
    candidates, references = foretold.plan.candidates, foretold.plan.references
    asked = Asked(
        candidates.rows,
        max(1, len(candidates.shards)),
        foretold.plan.dim or ASSUMED_DIM,
        config.kept_scores,
        max(1, references.reasons.get(NEW, 0)),
        references.removed,
    )
    worker = next(iter(foretold.rates.workers.values()))
    return Regrouping.propose(references.shards, config.reference_shard_rows, asked, worker)


def _describe(foretold: Foretold, regrouping: Regrouping | None, workers: int) -> Iterator[str]:
    """The plan for a person."""
    found, work, rates = foretold.plan, foretold.work, foretold.rates
    for side in found.sides:
        yield from _describe_side(side)
    yield f"reference shards  {found.groups:,} ({_describe_grouping(found.grouping)})"
    yield f"partials          {found.partials:,}, {found.partials_todo:,} to compute"
    share = found.pairs_todo / found.pairs if found.pairs else 0.0
    yield f"pairs to score    {found.pairs_todo:,} of {found.pairs:,} ({share:.2%})"
    for reason, pairs in sorted(found.reasons.items(), key=lambda each: -each[1]):
        yield f"                  {pairs:,}: {reason}"
    assumed = "" if found.dim else ", assumed"
    yield f"scoring           {work.flop:.3g} floating-point operations (dimension {work.dim}{assumed})"
    yield (
        f"storage           {size(work.embedded_bytes)} vectors, {size(work.partial_bytes)} scores, "
        f"{size(work.table_bytes)} a version; {size(work.written_bytes)} of it new; "
        f"{size(work.shuffled_bytes)} shuffled"
    )
    yield f"                  {format_dollars(work.stored_bytes / 2**30 * rates.storage_dollars_per_gib_month)} a month"
    yield from _describe_memory(work.memory)
    yield (
        f"on an engine      work for up to {found.slots:,} slots, a worker process each; on Flink "
        f"{size(NETWORK_BYTES)} of network memory for each"
    )
    if regrouping:
        yield from _describe_regrouping(regrouping)
    yield ""
    rows = [("worker", "embedding", "scoring", "merging", f"on {workers}", "cost", "")]
    for cost in rates.estimate(work):
        note = "" if cost.fits else "does not fit its memory"
        dollars = format_dollars(cost.dollars) if rates.workers[cost.worker].dollars_per_hour else "no price"
        rows.append((cost.worker, *format_hours(cost.hours), seconds(3600 * cost.hours.total / workers), dollars, note))
    yield from in_columns(rows)
    yield ""
    yield from _describe_assumptions(rates)
    if found.validation:
        yield "Validation is not included: each query is also scored against all candidates."


def _describe_memory(memory: Memory) -> Iterator[str]:
    most = memory.peak - memory.process - memory.model
    model = f", {size(memory.model)} the model" if memory.model else ""
    yield f"memory            {size(memory.peak)} a worker process, at most:"
    yield f"                  {size(memory.process)} of it libraries{model}, {size(most)} {memory.most}"


def _describe_assumptions(rates: Rates) -> Iterator[str]:
    for number, (name, each) in enumerate(rates.workers.items()):
        yield (
            f"{'' if number else 'assumed':<18}{name.partition(' ')[0]}: {each.gflops:,g} GFLOP/s, "
            f"{each.images_per_second:,g} images/s, {each.texts_per_second:,g} texts/s, {_price_of(each)}, "
            f"{each.processes} process{'es' if each.processes > 1 else ''}"
        )
    indent = 18 * " "
    yield f"{indent}a process: {size(CONVERTED_BYTES)} of ready-made vectors and {MERGED_SCORES:,.0f} scores a second,"
    yield f"{indent}{1000 * PARTIAL_SECONDS:g} ms for each partial"
    storage, shuffle = rates.storage_dollars_per_gib_month, rates.shuffle_dollars_per_gib
    prices = f"{format_dollars(storage)} a GiB and month of storage, {format_dollars(shuffle)} a GiB of shuffle"
    yield f"{indent}{prices}; no start-up, no waiting"
    yield (
        "Measure this machine with --rates auto. Measure others with nnn refresh --with-plan, and name the file of "
        "their rates with --rates."
    )


def _price_of(worker: Worker) -> str:
    return f"{format_dollars(worker.dollars_per_hour)}/h" if worker.dollars_per_hour else "no price"


def _describe_side(side: SidePlan) -> Iterator[str]:
    about = "about " if side.estimated else ""
    yield (
        f"{side.flag:<18}{_files(side, side.files)}, {size(side.bytes)}; {len(side.embedded):,} embedded "
        f"({side.rows_known:,} rows), {len(side.todo):,} to embed ({about}{side.rows_todo:,} rows)"
        + (f"; {side.rows_reused:,} rows known from other groups" if side.rows_reused else "")
        + (f"; {side.removed:,} gone since" if side.removed else "")
    )
    for reason, files in sorted(side.reasons.items()):
        yield f"                  {_files(side, files)}: {reason}"
    if side.hashed_bytes:
        yield (
            f"                  {size(side.hashed_bytes)} are fetched for their digests, because their store gives "
            "no MD5"
        )


def _files(side: SidePlan, number: int) -> str:
    """A number of input files of a side; single images are groups."""
    what = "group" if side.grouped == side.files else "file or group" if side.grouped else "file"
    plural = what.replace("file", "files").replace("group", "groups")
    return f"{number:,} {what if number == 1 else plural}{' of images' if side.grouped else ''}"


def _describe_grouping(grouping: Grouping) -> str:
    if not grouping.chosen:
        return f"--reference-shard-rows {grouping.rows}"
    return f"about 1/64 of the bank; a file of {grouping.rows // 2:,} rows or more is a shard by itself"


def _describe_regrouping(found: Regrouping) -> Iterator[str]:
    flag = f"--reference-shard-rows {found.rows}"
    yield f"regrouping        With {flag}, the next refresh scores {found.pairs_now:,} pairs once."
    for what, saved in (("pairs to score", found.pairs_saved), ("partials to merge", found.partials_saved)):
        yield (
            f"                  After that: {abs(saved):,} {'fewer' if saved >= 0 else 'more'} {what} in each refresh."
        )
    yield (
        f"                  It pays after {found.refreshes} refreshes (first rates below; the {found.replayed} "
        "newest additions)."
    )


def _record_of(foretold: Foretold, regrouping: Regrouping | None) -> dict[str, Any]:
    """The plan for programs."""
    found, work = foretold.plan, foretold.work
    sides = {
        side.flag: {
            **{name: getattr(side, name) for name in _SIDE},
            "todo": [{"uri": each.shard.uri, "why": why} for each, why in zip(side.todo, side.why, strict=True)],
        }
        for side in found.sides
    }
    counts = ("dim", "groups", "partials", "partials_todo", "pairs", "pairs_todo", "merging")
    numbers = (*counts, "reasons", "changed", "previous")
    sizes = (f"{name}_bytes" for name in ("embedded", "partial", "merging", "table", "written", "shuffled", "peak"))
    return {
        **sides,
        **{name: getattr(found, name) for name in numbers},
        **{name: getattr(work, name) for name in ("flop", *sizes)},
        "memory": dataclasses.asdict(work.memory),
        "slots": found.slots,
        "network_bytes_per_slot": NETWORK_BYTES,
        "regrouping": dataclasses.asdict(regrouping) if regrouping else None,
        "costs": [dataclasses.asdict(cost) for cost in foretold.rates.estimate(work)],
    }


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Parse flags, look, print."""
    parser = make_parser(
        "plan",
        "Show what nnn refresh with the same flags would compute, why, and at what cost. It computes nothing: "
        "it reads listings, footers and the list of finished work. Files whose store gives no MD5 are read for "
        "their digest.",
        (ConfigFile, RefreshConfig, Output, _Pricing),
        GROUPS,
        epilog="Any Apache Beam option may follow, as with nnn refresh. The plan does not depend on it.",
    )
    args, options = parse_flags(parser, argv)
    if args.workers < 1:
        raise ConfigError(f"--workers {args.workers} must be at least 1.")
    config = config_from(args, runs_locally(options))
    check_files(config, SIDES, runs_locally(options))
    record = show_plan(Foretold.of(config, config.encoder_source, args.rates), config, args.workers)
    print_json(args, record)
    return record


def show_plan(foretold: Foretold, config: RefreshConfig, workers: int = _Pricing.workers) -> dict[str, Any]:
    """Print a plan, and return it for programs."""
    regrouping = _regrouping_of(foretold, config)
    print("\n".join(_describe(foretold, regrouping, workers)))
    return _record_of(foretold, regrouping)
