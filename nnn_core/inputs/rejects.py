"""Rows that cannot be used: counted, kept with their reason, and bounded by the user's allowance."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from nnn_core.errors import RejectedRowsError
from nnn_core.redaction import harmless

#: Reasons for rejects of rows in more than one format.
NO_ID = "no id"
NO_CAPTION = "no caption"
NO_IMAGE = "no image"
NOT_UTF8 = "not UTF-8"
MALFORMED = "malformed row"
MALFORMED_JSON = "malformed JSON"
TOO_LONG = "row too long"
WRONG_DIMENSION = "vector has the wrong dimension"
NULL_VECTOR = "vector is null"

#: What is no row, and not rejected: a line between captions, of which there is one a line.
EMPTY_LINE = "empty line"

#: The flags that bound the rejects of a side, by the flag that named its files.
RATE_FLAGS = {
    "--candidates": "--max-reject-rate",
    "--references": "--reference-max-reject-rate",
    "--validation": "--validation-max-reject-rate",
}

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
        detail: what exactly was seen in the row; may be empty.
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
        reasons: (reason, count, one example) for each reason, in alphabetical order.
        uri: the file that lists every reject; None when there is none.
    """

    rows: int
    rejected: int = 0
    reasons: tuple[tuple[str, int, str], ...] = ()
    uri: str | None = None

    @classmethod
    def of(cls, rejects: Sequence[Reject], rows: int, source: str, uri: str | None) -> RejectSummary:
        """Count ``rejects`` by reason, with the first of each as the example.

        Args:
            rejects: the rows of one shard that were not used.
            rows: how many rows were read, accepted and rejected together.
            source: name of the shard in the examples.
            uri: the file that lists every reject; None when there is none.
        """
        counts = Counter(reject.reason for reject in rejects)
        firsts = {reject.reason: reject for reject in reversed(rejects)}
        reasons = tuple((reason, counts[reason], _example(firsts[reason], source)) for reason in sorted(counts))
        return cls(rows, len(rejects), reasons, uri)

    @classmethod
    def merged(cls, summaries: Iterable[RejectSummary]) -> RejectSummary:
        """The summary of several shards as one, whatever their order."""
        every = list(summaries)
        counts: Counter[str] = Counter()
        examples: dict[str, str] = {}
        for reason, count, example in itertools.chain.from_iterable(summary.reasons for summary in every):
            counts[reason] += count
            examples[reason] = min(example, examples.get(reason, example))
        reasons = tuple((reason, counts[reason], examples[reason]) for reason in sorted(counts))
        return cls(sum(summary.rows for summary in every), sum(summary.rejected for summary in every), reasons)

    def check_rate(self, most: float, flag: str, where: str, beginning: bool = False) -> None:
        """Refuse to go on when too much of one side's input was unusable.

        Args:
            most: allowed share of rejected rows, 0 to 1.
            flag: the flag that named the input, for the message.
            where: folder that lists the rejects.
            beginning: whether the rows are only the first ones of some files, of which nothing is listed yet.

        Raises:
            RejectedRowsError: naming the five most frequent reasons with an example of each, see ``frequent_reasons``.
        """
        rate = self.rejected / max(1, self.rows)
        if rate <= most:
            return
        limit = RATE_FLAGS.get(flag, "--max-reject-rate")
        beginning_of = "the first " if beginning else ""
        listed = "" if beginning else f"Every reject is listed under {where}. "
        raise RejectedRowsError(
            f"{self.rejected} of {beginning_of}{self.rows} rows of {flag} were rejected "
            f"({rate:.3%}; limit: {limit} {most:g}), so nothing was published:{self.frequent_reasons}\n"
            f"{listed}{self._remedy(limit, rate, beginning)}"
        )

    def _remedy(self, limit: str, rate: float, beginning: bool) -> str:
        if self.rejected == self.rows and len(self.reasons) == 1:
            return (
                "All rows fail for one reason. Repair the input, or check that the right columns and side were named."
            )
        if beginning:
            return f"Repair the input, or allow some with {limit}."
        return f"Repair the input, or allow them with {limit} {min(1.0, (int(rate * 1000) + 1) / 1000):g}."

    @property
    def frequent_reasons(self) -> str:
        """The five most frequent reasons, each on a line of its own with its count and an example.

        Reasons of the same count come in alphabetical order.
        """
        ordered = sorted(self.reasons, key=lambda reason: (-reason[1], reason[0]))
        shown = (f"\n  {count} x {reason} (e.g. {example})" for reason, count, example in ordered[:_REASONS_SHOWN])
        lines = "".join(shown)
        if others := ordered[_REASONS_SHOWN:]:
            lines += f"\n  {sum(count for _, count, _ in others)} more, for {len(others)} other reasons"
        return lines


def _example(reject: Reject, source: str) -> str:
    """One short line that a terminal shows as it is."""
    text = f"{reject.id!r} in {source}" + (f": {reject.detail}" if reject.detail else "")
    shown = text if len(text) <= _EXAMPLE_LENGTH else text[:_EXAMPLE_LENGTH] + "..."
    return harmless(shown).replace("\n", "\\n")


def to_jsonl(rejects: Iterable[Reject]) -> bytes:
    """One JSON object a line: id, reason, detail."""
    lines = (json.dumps(asdict(reject), ensure_ascii=False) + "\n" for reject in rejects)
    return "".join(lines).encode("utf-8", "backslashreplace")
