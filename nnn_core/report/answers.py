"""What a few queries find before and after, as a page: the pictures or captions of both rankings side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nnn_core.evaluation.points import Point
from nnn_core.report._page import Album, template
from nnn_core.report._sections import Shown


@dataclass(frozen=True)
class Answer:
    """The first candidates of one query, twice.

    Attributes:
        query: the text that was searched for.
        before: (score, id) without the bias, best first.
        after: (score less bias, id), best first.
        bias: bias of each candidate of ``after``, by id.
    """

    query: str
    before: tuple[tuple[float, str], ...]
    after: tuple[tuple[float, str], ...]
    bias: Mapping[str, float]

    @property
    def places(self) -> dict[str, int]:
        """The rank without the bias of each candidate that has one here."""
        return {name: place for place, (_, name) in enumerate(self.before, 1)}

    @property
    def entered(self) -> int:
        """How many of the first candidates are not among the first without the bias."""
        return sum(name not in self.places for _, name in self.after)

    def left(self) -> dict[str, str]:
        """A word for each candidate that drops out."""
        kept = {name for _, name in self.after}
        return {name: "out" for _, name in self.before if name not in kept}

    def moved(self) -> dict[str, str]:
        """Where a candidate of ``after`` was, if it was elsewhere."""
        was = self.places
        words = ((name, "new" if name not in was else f"was {was[name]}") for _, name in self.after)
        return {name: word for place, (name, word) in enumerate(words, 1) if word != f"was {place}"}

    def lines(self) -> Iterator[tuple[int, str, float, float, float]]:
        """Rank, id, score, bias, and score less bias of each candidate of ``after``."""
        for place, (score, name) in enumerate(self.after, 1):
            yield place, name, score + self.bias[name], self.bias[name], score


@dataclass(frozen=True)
class Answers:
    """What a page of answers shows.

    Attributes:
        table: URI of the table.
        version: number of the version.
        point: its k and alpha.
        answers: each query, in the order in which they were asked.
        shown: what the candidates look like, as far as it is known, by id.
    """

    table: str
    version: int
    point: Point
    answers: Sequence[Answer]
    shown: dict[str, Shown] = field(default_factory=dict)

    @property
    def named(self) -> frozenset[str]:
        """Ids of all candidates on the page."""
        return frozenset(name for each in self.answers for _, name in (*each.before, *each.after))

    def render(self) -> str:
        """The page, of the same bytes for the same answers; it opens from disk, loads nothing and runs no script."""
        return template("answers.html.j2").render(page=self, album=Album(self.shown)).strip() + "\n"
