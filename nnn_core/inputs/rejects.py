"""Rows that cannot be used: counted, kept with their reason, and bounded by the user's allowance."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from nnn_core.errors import RejectedRowsError

#: Reasons that a message names.
_REASONS_SHOWN = 5

#: Characters of an example: an id or a name in a broken file may be of any length.
_EXAMPLE_LENGTH = 300


@dataclass(frozen=True)
class Reject:
    """One input row that was not used.

    Attributes:
        id: the row's id as far as it is known, else its position in the shard.
        reason: a short class of failure, the same words for the same cause.
        detail: what exactly was seen.
    """

    id: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RejectSummary:
    """The rejects of one shard, small enough to travel.

    Attributes:
        rows: how many rows were read, accepted and rejected together.
        rejected: how many rows were rejected.
        reasons: (reason, count, one example) by reason.
        uri: the file that lists every reject; None when there is none.
    """

    rows: int
    rejected: int = 0
    reasons: tuple[tuple[str, int, str], ...] = ()
    uri: str | None = None


def summarise(rejects: Sequence[Reject], rows: int, source: str, uri: str | None) -> RejectSummary:
    """Count ``rejects`` by reason, with the first of each as the example."""
    counts = Counter(reject.reason for reject in rejects)
    examples: dict[str, str] = {}
    for reject in rejects:
        examples.setdefault(reject.reason, _example(reject, source))
    reasons = tuple((reason, counts[reason], examples[reason]) for reason in sorted(counts))
    return RejectSummary(rows, len(rejects), reasons, uri)


def _example(reject: Reject, source: str) -> str:
    """One short line that a terminal shows as it is."""
    text = f"{reject.id!r} in {source}" + (f": {reject.detail}" if reject.detail else "")
    shown = text if len(text) <= _EXAMPLE_LENGTH else text[:_EXAMPLE_LENGTH] + "..."
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in shown)


def to_jsonl(rejects: Iterable[Reject]) -> bytes:
    """One JSON object a line: id, reason, detail."""
    lines = (json.dumps(asdict(reject), ensure_ascii=False) + "\n" for reject in rejects)
    return "".join(lines).encode("utf-8", "backslashreplace")


def merge(summaries: Iterable[RejectSummary]) -> RejectSummary:
    """The summary of several shards as one, whatever their order."""
    rows = rejected = 0
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for summary in summaries:
        rows += summary.rows
        rejected += summary.rejected
        for reason, count, example in summary.reasons:
            counts[reason] += count
            examples[reason] = min(example, examples.get(reason, example))
    reasons = tuple((reason, counts[reason], examples[reason]) for reason in sorted(counts))
    return RejectSummary(rows, rejected, reasons)


def check_reject_rate(summary: RejectSummary, max_rate: float, flag: str, where: str) -> None:
    """Refuse to go on when too much of one side's input was unusable.

    Args:
        summary: all shards of one side.
        max_rate: allowed share of rejected rows, 0 to 1.
        flag: the flag that named the input, for the message.
        where: folder that lists the rejects.

    Raises:
        RejectedRowsError: naming the five most frequent reasons with an example of each, see ``frequent_reasons``.
    """
    rate = summary.rejected / max(1, summary.rows)
    if rate <= max_rate:
        return
    raise RejectedRowsError(
        f"{summary.rejected} of {summary.rows} rows of {flag} were rejected ({rate:.3%}), more than "
        f"--max-reject-rate {max_rate:g} allows, so nothing was published:{frequent_reasons(summary)}\n"
        f"Every reject is listed under {where}. Repair the input, or allow them with "
        f"--max-reject-rate {_round_up(rate):g}."
    )


def frequent_reasons(summary: RejectSummary) -> str:
    """The five most frequent reasons, each on a line of its own with its count and an example.

    Reasons of the same count come in alphabetical order.
    """
    ordered = sorted(summary.reasons, key=lambda reason: (-reason[1], reason[0]))
    lines = "".join(f"\n  {count} x {reason} (e.g. {example})" for reason, count, example in ordered[:_REASONS_SHOWN])
    if others := ordered[_REASONS_SHOWN:]:
        lines += f"\n  {sum(count for _, count, _ in others)} more, for {len(others)} other reasons"
    return lines


def _round_up(rate: float) -> float:
    return min(1.0, (int(rate * 1000) + 1) / 1000)
