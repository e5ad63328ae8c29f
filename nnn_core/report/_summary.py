"""What a report comes to: one verdict and a few figures, the same on the page and in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from nnn_core.evaluation.choice import FEWEST_ANSWERS, Choice
from nnn_core.evaluation.points import Point
from nnn_core.report._content import MAX_DEPTH, Report
from nnn_core.report._numbers import amount, change, change_span, count, fixed, movement, point_words, points, verdict
from nnn_core.report._sections import Figure, Gate, HubChanges, Hubness, Quality, Source, Stage, Tuning, Unit
from nnn_core.report.numbers import seconds, size

Tone = Literal["good", "warn", "bad", "none"]

_VERDICTS: dict[str, tuple[Tone, str]] = {
    "better": ("good", "The bias helps"),
    "worse": ("bad", "The bias harms"),
    "same": ("warn", "No effect"),
    "unclear": ("warn", "No clear effect"),
    "losing": ("bad", "The bias seems to harm"),
}
#: Stages whose results embedding leaves beside its own: finding them says nothing of an earlier run.
_LEFT_BY_EMBEDDING = ("measure_vectors",)

_GRAVEST_FIRST = ("fail", "warn", "pass", "skipped")


@dataclass(frozen=True)
class Headline:
    """The first thing that a reader sees.

    Attributes:
        tone: how the verdict is marked.
        heading: the verdict, one sentence.
        text: why the verdict is so; empty if there is nothing to add.
    """

    tone: Tone
    heading: str
    text: str = ""


def headline(report: Report) -> Headline:
    """The verdict: refused, no gain shown, better, worse, unclear, or not measured."""
    if report.failed:
        names = ", ".join(gate.name for gate in report.failed)
        number, previous = len(report.failed), report.run.previous
        stays = "The table has no version yet." if previous is None else f"Version {previous} stays current."
        return Headline("bad", f"Not published: {number} gate{'s' * (number > 1)} failed ({names}).", stays)
    if report.tuning is not None and not report.tuning.given and report.tuning.choice.point.alpha == 0:
        means = "a version with it would change no ranking" if report.judges else "this table changes no ranking"
        return Headline("warn", f"No gain was proven, so alpha = 0: {means}.", _doubt(report.tuning))
    main = main_figure(report)
    if main is None:
        why, remedy = "no held-out queries were given", "name queries with known answers with --validation"
        if report.hubness:
            why, remedy = (
                "no query has an answer",
                "name the answers with --relevance, or with --validation-pair-id-column",
            )
        return Headline("none", f"Not evaluated: {why}.", f"It is unknown whether the bias helps: {remedy}.")
    if report.tuning is not None and verdict(main[0]) == "unclear" and _ranks_higher(report.tuning.choice):
        figure = main[0]
        return Headline(
            "good",
            f"The bias helps: {rank_words(report.tuning.choice)} on average.",
            f"That is {_errors(report.tuning.choice):.1f} standard errors. {figure.name} "
            f"{movement(figure.gain.value, figure.unit)}, which alone is not certain (95 % interval "
            f"{change_span(figure.gain, figure.unit)}, over {count(main[1].queries)} queries).",
        )
    return _of_figure(*main)


def _doubt(tuning: Tuning) -> str:
    choice, gain = tuning.choice, tuning.choice.gain
    if choice.answers < FEWEST_ANSWERS:
        return (
            f"Only {count(choice.answers)} different candidates answer the queries, and a proof needs "
            f"{FEWEST_ANSWERS}. Give more queries, or set --k and --alpha to publish without a proof."
        )
    if choice.candidate.alpha == 0:
        return "No k and alpha rank the right answers higher than no correction."
    return (
        f"The best choice is {point_words(choice.candidate)}. On queries that did not choose it, "
        f"{proof_words(choice)}. A proof needs a fall of {choice.needed:.3g}. There {choice.objective} "
        f"{movement(gain.value, tuning.unit)} (95 % interval {change_span(gain, tuning.unit)})."
    )


def proof_words(choice: Choice) -> str:
    """By how much the ranks of right answers change, in words, and how sure that is."""
    return f"{rank_words(choice)} on average, {_errors(choice):.1f} standard errors"


def rank_words(choice: Choice) -> str:
    """By how much the ranks of right answers change."""
    way = "falls (better)" if choice.bits >= 0 else "rises (worse)"
    return f"the right answer's rank {way} by {100 * abs(2.0**-choice.bits - 1.0):.1f} %"


def _errors(choice: Choice) -> float:
    return abs(choice.bits) / choice.error if choice.error else 0.0


def _ranks_higher(choice: Choice) -> bool:
    """Whether right answers rank higher for certain (95 %), which far fewer queries can show than a recall's gain."""
    return choice.answers >= FEWEST_ANSWERS and choice.bits > 1.96 * choice.error


def main_figure(report: Report) -> tuple[Figure, Quality] | None:
    """The figure that speaks for the report: the objective, else the first one."""
    table = next((table for table in report.quality if table.figures), None)
    if table is None:
        return None
    objective = report.tuning.choice.objective if report.tuning else "recall@1"
    return next((each for each in table.figures if each.name == objective), table.figures[0]), table


def _of_figure(figure: Figure, table: Quality) -> Headline:
    said = verdict(figure)
    # What is more likely harm than not must not be called unclear.
    losing = said == "unclear" and figure.better == "higher" and figure.gain.value < 0
    tone, words = _VERDICTS["losing" if losing else said]
    return Headline(
        tone,
        f"{words}: {figure.name} {movement(figure.gain.value, figure.unit)}.",
        f"95 % interval {change_span(figure.gain, figure.unit)}, over {count(table.queries)} queries. Each is "
        "judged at a k and alpha that other queries chose.",
    )


def hubs_words(report: Report) -> tuple[str, ...]:
    """What became of hubs, in a sentence; nothing where they were not counted."""
    if report.hubness is None:
        return ()
    before, after = report.hubness.before.skewness, report.hubness.after.skewness
    if after == before:
        return (
            f"Hubs: as before. The skewness of how often a candidate is in a top {report.hubness.depth} is "
            f"{fixed(before, 2)}; without hubs it is 0.",
        )
    moved = f"{'down' if after < before else 'up'} by {100 * abs(after / before - 1):.0f} %" if before > 0 else "moved"
    return (
        f"Hubs: {moved}. The skewness of how often a candidate is in a top {report.hubness.depth} goes from "
        f"{fixed(before, 2)} to {fixed(after, 2)}; without hubs it is 0.",
    )


def listed_hubs_words(found: HubChanges) -> str:
    """How many hubs the version lists, and what became of those of the version before."""
    many = "1 candidate has" if found.hubs == 1 else f"{count(found.hubs) if found.hubs else 'No'} candidates have"
    words = f"{many} a mean far above the others (nnn table hubs)"
    if found.previous is None:
        return f"{words}."
    return (
        f"{words}; the previous version had {count(found.previous)}: {count(found.new)} new, {count(found.gone)} gone."
    )


def tiles(report: Report) -> Iterator[tuple[str, str, str]]:
    """(name, value, what to hold it against or nothing) of each figure of the overview at the top of the page."""
    main = main_figure(report)
    if main is not None:
        figure = main[0]
        values = " \u2192 ".join(amount(each.value, figure.unit) for each in (figure.before, figure.after))
        unit = f"{points(figure.unit)}: " if points(figure.unit) else ""
        yield (f"change of {figure.name}", change(figure.gain.value, figure.unit), unit + values)
    if report.hubness is not None:
        before, after = report.hubness.before, report.hubness.after
        yield ("hubness (skewness)", fixed(after.skewness, 2), f"before {fixed(before.skewness, 2)}")
        yield ("never retrieved", amount(after.never, "percent"), f"before {amount(before.never, 'percent')}")
    yield (point_label(report), f"k = {report.point.k}", f"alpha = {report.point.alpha:g}")
    if report.gates:
        failed = len(report.failed)
        yield ("gates failed", str(failed), gates_words(report).removesuffix(f", {failed} failed"))
    if report.run.seconds is not None:
        yield ("finished in", seconds(report.run.seconds), _reuse(report))


def point_label(report: Report) -> str:
    """What became of the k and alpha that figures are of; an evaluation is written before anything is published."""
    if report.failed:
        return "refused"
    chosen = report.tuning is not None and not report.tuning.given
    if report.judges:
        return "to publish" if chosen else "judged"
    return "published" if chosen else "in force"


def gates_words(report: Report) -> str:
    """How many gates passed, were accepted by name, do not apply, and failed."""
    words = (("pass", "passed"), ("warn", "accepted by name"), ("skipped", "not applicable"), ("fail", "failed"))
    numbers = [(sum(gate.verdict == kind for gate in report.gates), word) for kind, word in words]
    return ", ".join(f"{number} {word}" for number, word in numbers if number or word in ("passed", "failed"))


def _reuse(report: Report) -> str:
    stages = [stage for stage in report.stages if stage.name not in _LEFT_BY_EMBEDDING]
    reused = sum(stage.reused for stage in stages)
    every = reused + sum(stage.computed for stage in stages)
    return f"{count(reused)} of {count(every)} results reused" if every else ""


def stage_cells(stage: Stage) -> dict[str, str]:
    """What a stage held and what it spent its time on, by the heading of a column; empty where nothing was counted."""
    held = (
        (stage.rows, f"{count(stage.rows)} rows"),
        (stage.known, f"{count(stage.known)} more rows found again"),
        (stage.pairs, f"{count(stage.pairs)} pairs"),
        (stage.read, f"{size(stage.read)} read"),
        (stage.written, f"{size(stage.written)} written"),
    )
    return {
        "Held": ", ".join(words for number, words in held if number),
        "Of the work": ", ".join(f"{name} {seconds(spent)}{_of_threads(stage, spent)}" for name, spent in stage.parts),
    }


def _of_threads(stage: Stage, spent: float) -> str:
    """Why a part took longer than the whole."""
    return " (sum of its threads)" if stage.seconds is not None and spent > stage.seconds else ""


def own_pairs_words(report: Report) -> tuple[str, ...]:
    """The protocol's trap, in sentences; none where the bank belongs to no candidate."""
    own = report.own_pairs
    if own is None or not own.rows:
        return ()
    share = amount(own.rows / max(1, own.bank), "percent")
    lines = [
        f"{count(own.rows)} of {count(own.bank)} bank rows ({share}) belong to candidates. They raise the "
        "biases of candidates that answer no validation query, so the bias looks better than it is."
    ]
    for gain, words in ((own.gain, "with these rows"), (own.fair, "without them, which is the fair figure")):
        if gain is not None:
            moved = movement(gain.value, own.unit)
            lines.append(f"{own.objective} {moved} ({change_span(gain, own.unit)}) {words}.")
    if own.fair is None:
        lines.append("Run nnn evaluate with --drop-own-pairs for the fair figure.")
    return tuple(lines)


def hub_figures(hubness: Hubness) -> Iterator[tuple[str, str, float, float, Unit]]:
    """(name, explanation, before, after, unit) of the figures of hubness."""
    before, after = hubness.before, hubness.after
    yield "Skewness", "of how often candidates are retrieved; 0: no hubs", before.skewness, after.skewness, "number"
    yield "Gini", "0: all retrieved equally often; 1: a single one", before.gini, after.gini, "number"
    yield "Robin Hood", "share of places to move for equality", before.robin_hood, after.robin_hood, "percent"
    yield "Never retrieved", "candidates in no query's list", before.never, after.never, "percent"


def sort_gates(gates: Sequence[Gate]) -> list[Gate]:
    """The gravest first, otherwise as they came."""
    return sorted(gates, key=lambda gate: _GRAVEST_FIRST.index(gate.verdict))


def facts(report: Report) -> Iterator[tuple[str, str]]:
    """What ran and on what, as (name, words)."""
    run = report.run
    yield "Command", run.line or run.command
    yield "Table", run.table
    if report.judges:
        yield "Evaluated version", f"{run.version}, which has {point_words(Point(run.k, run.alpha))}"
        yield point_label(report).capitalize(), point_words(report.point)
    else:
        yield "Version", "nothing published" if run.version is None else str(run.version)
        yield "Previous version", "none" if run.previous is None else str(run.previous)
        yield "k and alpha", f"k = {run.k}, alpha = {run.alpha:g}"
    yield "Candidates", _source(run.candidates)
    yield "Bank", _source(run.bank)
    if run.queries is not None:
        yield "Held-out queries", _source(run.queries)
    if run.searches:
        yield "Search", ", ".join(run.searches)
    if run.seconds is not None:
        yield "Finished in", seconds(run.seconds)
    if run.when:
        yield "When", run.when
    if run.program:
        yield "Program", f"nnn {run.program}"


def _source(source: Source) -> str:
    words = f"{count(source.rows)} rows ({source.modality})"
    words += f", {count(source.new)} new" if source.new else ""
    words += f", {count(source.gone)} gone" if source.gone else ""
    words += f", {count(source.rejected)} rejected" if source.rejected else ""
    words += f", {count(source.off_length)} not of unit length, normalised" if source.off_length else ""
    words += f", in {count(source.files)} shard{'' if source.files == 1 else 's'}" if source.files else ""
    words += f", digest {source.digest[:16]}" if source.digest else ""
    return words + (f", {source.uri}" if source.uri else "")


def only_here(ids: Sequence[str], others: Sequence[str], word: str) -> dict[str, str]:
    """The word for each of the ids that is not among the others, as a page shows it."""
    return dict.fromkeys((each for each in ids if each not in others[:MAX_DEPTH]), word)
