"""``nnn plan``: what a refresh would compute, why, and what it would cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from nnn_core.embedded.side import Side
from nnn_core.encoders import EncoderSource
from nnn_core.encoders.fingerprints import differing
from nnn_core.encoders.probes import static_parts
from nnn_core.encoders.prompts import Prompts
from nnn_core.errors import ConfigError
from nnn_core.inputs.shards import MODALITIES, Modality
from nnn_core.planning.costs import (
    CONVERTED_BYTES,
    MERGED_SCORES,
    MODEL_BYTES,
    PARTIAL_SECONDS,
    Cost,
    Hours,
    Rates,
    Work,
)
from nnn_core.planning.plan import NEW, Plan, Scoring, SidePlan
from nnn_core.planning.regrouping import Asked, Regrouping
from nnn_core.report.numbers import seconds, size
from nnn_core.table.manifest import Manifest, current_manifest
from pipelines.commands._config_file import ConfigFile
from pipelines.commands._options import Output, config_from, make_parser, print_json
from pipelines.commands._parsing import parse_flags
from pipelines.config import GROUPS, RefreshConfig
from pipelines.options import Option
from pipelines.refresh import embedding_requests
from pipelines.running.runner import runs_locally

_SIDE = ("files", "bytes", "reasons", "removed", "rows_known", "rows_todo", "estimated")

#: Dimension of the vectors where nothing tells.
_ASSUMED_DIM = 512


@dataclasses.dataclass(frozen=True)
class _Pricing:
    """What a plan is priced by.

    Attributes:
        rates: YAML file of worker types and prices (deploy/rates.yaml is an example).
        workers: machines (default: %(default)s).
    """

    rates: Annotated[str | None, Option("FILE")] = None
    workers: Annotated[int, Option("N")] = 10
    # Not described: it says nothing here, but a file of flags is the same for both commands.
    with_plan: Annotated[bool, Option()] = False


def plan(config: RefreshConfig, encoder: EncoderSource | None) -> Plan:
    """The plan of a refresh.

    Raises:
        InputError: input that cannot be read.
        CorruptArtifactError: the current version's manifest is damaged.
    """
    previous = current_manifest(config.table)
    changed = _changed_parts(previous, encoder, config.prompts)
    asking, holding, judging = embedding_requests(config, encoder)
    before = (previous.candidates, previous.references) if previous else (None, None)
    candidates = SidePlan.of("candidates", config.candidates, holding, before[0], changed)
    references = SidePlan.of("references", config.references, asking, before[1], changed)
    scoring = Scoring(
        config.kept_scores, config.rows_per_reference_shard, config.exclude_own_pairs, config.bias_tolerance is not None
    )
    found = Plan.of(candidates, references, scoring, config.work, previous, changed)
    if config.validation is None:
        return found
    # Versions do not say which queries judged them.
    unknown = Side(0, 0, "0", ()) if previous else None
    return dataclasses.replace(
        found, validation=SidePlan.of("validation", config.validation, judging, unknown, changed)
    )


def _changed_parts(
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
        images=todo["image"],
        texts=todo["text"],
        vectors=sum(side.rows_todo for side in found.sides if not side.model),
        pairs=found.pairs_todo,
        partials=found.partials_todo,
        candidates=found.candidates.rows,
        references=found.references.rows,
        dim=found.dim or _ASSUMED_DIM,
        k_max=config.kept_scores,
        grid=len(config.grid),
        groups=found.groups,
        group_rows=config.rows_per_reference_shard,
    )


def _rows_to_encode(found: Plan, modality: Modality) -> Iterator[int]:
    return (side.rows_todo for side in found.sides if side.model and side.modality == modality)


def _regrouping_of(found: Plan, config: RefreshConfig, rates: Rates) -> Regrouping | None:
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
    return Regrouping.propose(references.shards, config.rows_per_reference_shard, asked, worker)


def _describe(
    found: Plan, work: Work, rates: Rates, workers: int, regrouping: Regrouping | None = None
) -> Iterator[str]:
    """The plan for a person."""
    for side in found.sides:
        yield from _describe_side(side)
    yield f"reference shards  {found.groups:,}"
    yield f"partials          {found.partials:,}, of which {found.partials_todo:,} are to be computed"
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
    yield f"memory            {size(work.peak_bytes)} a worker process"
    if regrouping:
        yield from _describe_regrouping(regrouping)
    yield ""
    yield f"{'worker':<42}{'embedding':>12}{'scoring':>12}{'merging':>12}{f'on {workers}':>12}{'cost':>12}"
    for cost in rates.estimate(work):
        note = "" if cost.fits else "   does not fit its memory"
        yield (
            f"{cost.worker:<42}{format_hours(cost.hours)}{seconds(3600 * cost.hours.total / workers):>12}"
            f"{format_dollars(cost.dollars):>12}{note}"
        )
    yield ""
    yield from _describe_assumptions(rates)
    if found.validation:
        yield "Judging the biases by the validation queries comes on top: each of them meets all candidates."


def _describe_assumptions(rates: Rates) -> Iterator[str]:
    for number, (name, each) in enumerate(rates.workers.items()):
        yield (
            f"{'' if number else 'assumed':<18}{name.partition(' ')[0]}: {each.gflops:,g} GFLOP/s, "
            f"{each.images_per_second:,g} images/s, {each.texts_per_second:,g} texts/s, ${each.dollars_per_hour:g}/h, "
            f"{each.processes} process{'es' if each.processes > 1 else ''}"
        )
    indent = 18 * " "
    yield f"{indent}a process: {size(CONVERTED_BYTES)} of ready-made vectors and {MERGED_SCORES:,.0f} scores a second,"
    yield f"{indent}{1000 * PARTIAL_SECONDS:g} ms for each partial, {size(MODEL_BYTES)} of memory for an encoder"
    storage, shuffle = rates.storage_dollars_per_gib_month, rates.shuffle_dollars_per_gib
    yield f"{indent}${storage:g} a GiB and month of storage, ${shuffle:g} a GiB of shuffle; no start-up, no waiting"
    yield "Measure your own by nnn refresh --with-plan, and name the file with --rates."


def _describe_side(side: SidePlan) -> Iterator[str]:
    about = "about " if side.estimated else ""
    yield (
        f"{side.flag:<18}{side.files:,} files, {size(side.bytes)}; {len(side.embedded):,} embedded "
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


def format_hours(hours: Hours) -> str:
    """Embedding, scoring and merging, a column each."""
    return "".join(f"{seconds(3600 * value):>12}" for value in (hours.embed, hours.score, hours.merge))


def format_dollars(value: float) -> str:
    """Such as ``$12.50``; of little money two digits that say something."""
    return f"${value:,.2f}" if value >= 1 or not value else f"${value:.2g}"


def _record_of(found: Plan, work: Work, costs: Sequence[Cost], regrouping: Regrouping | None = None) -> dict[str, Any]:
    """The plan for programs."""
    sides = {
        side.flag: {
            **{name: getattr(side, name) for name in _SIDE},
            "todo": [{"uri": each.shard.uri, "why": why} for each, why in zip(side.todo, side.why, strict=True)],
        }
        for side in found.sides
    }
    numbers = ("dim", "groups", "partials", "partials_todo", "pairs", "pairs_todo", "reasons", "changed", "previous")
    sizes = (f"{name}_bytes" for name in ("embedded", "partial", "table", "written", "shuffled", "peak"))
    return {
        **sides,
        **{name: getattr(found, name) for name in numbers},
        **{name: getattr(work, name) for name in ("flop", *sizes)},
        "regrouping": dataclasses.asdict(regrouping) if regrouping else None,
        "costs": [dataclasses.asdict(cost) for cost in costs],
    }


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Parse flags, look, print."""
    parser = make_parser(
        "plan",
        "Show what nnn refresh with the same flags would compute, why, and what it would cost. Reads "
        "listings, footers and the marks of finished work (files on a local disk are read once, for their digest); "
        "computes nothing.",
        (ConfigFile, RefreshConfig, Output, _Pricing),
        GROUPS,
        epilog="Any Apache Beam option may follow, as with nnn refresh; a plan does not depend on it.",
    )
    args, options = parse_flags(parser, argv)
    if args.workers < 1:
        raise ConfigError(f"--workers {args.workers}: the estimate is for at least one machine.")
    rates = Rates.read(args.rates)
    config = config_from(args, runs_locally(options))
    found = plan(config, config.encoder_source)
    work = work_of(found, config)
    regrouping = _regrouping_of(found, config, rates)
    print("\n".join(_describe(found, work, rates, args.workers, regrouping)))
    record = _record_of(found, work, rates.estimate(work), regrouping)
    print_json(args, record)
    return record
