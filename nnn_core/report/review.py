"""What held-out queries tell of a bias, as a report shows it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any

from nnn_core.evaluation.choice import Choice
from nnn_core.evaluation.points import Point
from nnn_core.evaluation.queries import QuerySet, StoredQueries
from nnn_core.evaluation.rankings import DEPTH, Occurrence, Ranking, Rankings
from nnn_core.evaluation.summary import Evaluation
from nnn_core.inputs.rejects import RejectSummary
from nnn_core.report._numbers import unit_of
from nnn_core.report._sections import Change, Figure, Hub, Hubness, Moves, Quality, Shown, Tuning
from nnn_core.table.parts import BiasSettings


@dataclass(frozen=True)
class Review:
    """An evaluation with what explains it.

    Attributes:
        evaluation: figures of the queries, and the choice of k and alpha.
        candidates: how many candidates were ranked.
        asked: how many queries ranked them: those that have an answer.
        rejects: what was rejected of the files of queries.
        overlap: queries that are in the bank; None where nobody knows the bank.
        dropped: references that were left out of the bank because they are queries.
        first: ids of the first candidates of each query in order of query id, without the bias and with it.
        queries: digest of the held-out queries.
        hubness: hubness over all queries.
        hubs: the worst hubs, worst first.
        moves: of how many queries the right answer moved up and down.
        changes: queries that changed most, better and worse ones in turn.
        shown: what is known of the candidates that hubs and changes name.
    """

    evaluation: Evaluation
    candidates: int
    asked: int
    rejects: RejectSummary
    overlap: int | None
    dropped: int
    first: tuple[list[list[str]], list[list[str]]]
    queries: str
    hubness: Hubness
    hubs: tuple[Hub, ...]
    moves: Moves
    changes: tuple[Change, ...]
    shown: dict[str, Shown] = field(default_factory=dict)

    @classmethod
    def draft(cls, evaluation: Evaluation, rankings: Rankings, stored: StoredQueries, rows: int) -> Review:
        """Everything but what rows look like.

        Args:
            evaluation: figures of the queries.
            rankings: first candidates of the queries, without the bias and with it.
            stored: all queries, of which those with an answer were asked.
            rows: candidates of the index.
        """
        queries, before, after = stored.load().answered, rankings.plain, rankings.debiased
        changes = _changes(before, after, queries)
        return cls(
            evaluation,
            rows,
            len(queries.ids),
            stored.rejects,
            stored.overlap,
            stored.dropped,
            (before.ids, after.ids),
            stored.digest,
            Hubness(len(queries.ids), DEPTH, *(Occurrence.of(ranking, rows) for ranking in (before, after))),
            tuple(_worst_hubs(before, after, queries)),
            _moves(changes, len(queries.ids)),
            tuple(_most_changed(changes)),
        )

    def sections(self, settings: BiasSettings) -> dict[str, Any]:
        """The sections that held-out queries give the report of a version with these settings."""
        found = {name: getattr(self, name) for name in ("hubness", "hubs", "shown")}
        if not self.evaluation.queries:  # of which anybody knows the answer
            return found
        title = f"{settings.reference_modality} to {settings.candidate_modality}"
        judged = {"quality": (_quality_of(self.evaluation, title),), "tuning": _tuning_of(self.evaluation)}
        return {**found, **judged, "moves": self.moves, "changes": self.changes}

    @property
    def notes(self) -> tuple[str, ...]:
        """Rows of queries that no figure is of, and a word on queries that are in the bank, or were."""
        unused, judged = self.evaluation.unused, self.evaluation.queries
        every = judged + unused.unanswered + unused.absent
        notes = [unused.describe(every + unused.rejected)]
        if not judged and self.evaluation.agreement is not None:
            notes.append(
                f"The agreement of bank and queries is {self.evaluation.agreement:.2f}. At 1, the bank is near "
                "the same candidates as the queries. At 0, the two are unrelated."
            )
        if self.overlap:
            notes.append(f"{self.overlap:,} of {every:,} queries are in the bank, so the bias looks better than it is.")
        if self.dropped:
            notes.append(f"{self.dropped:,} references are validation queries, and were left out of the bank.")
        return tuple(note for note in notes if note)

    @property
    def wanted_candidates(self) -> frozenset[str]:
        """Ids of the candidates that a page may show."""
        named = {hub.id for hub in self.hubs}
        return frozenset(named.union(*((*change.before, *change.after) for change in self.changes)))

    @property
    def wanted_queries(self) -> frozenset[str]:
        """Ids of the queries that a page may show."""
        examples = {query.id for hub in self.hubs for query in hub.examples}
        return frozenset(examples | {change.query.id for change in self.changes})

    def show(self, candidates: Iterable[Shown], queries: Iterable[Shown], biases: Mapping[str, float]) -> Review:
        """This review with what rows look like, and with the biases of the hubs."""
        known = {one.id: one for one in queries}
        hubs = (
            replace(
                hub,
                bias=biases.get(hub.id, hub.bias),
                examples=tuple(known.get(query.id, query) for query in hub.examples),
            )
            for hub in self.hubs
        )
        changes = (replace(change, query=known.get(change.query.id, change.query)) for change in self.changes)
        return replace(
            self,
            hubs=tuple(hubs),
            changes=tuple(changes),
            shown={one.id: one for one in sorted(candidates, key=lambda one: one.id)},
        )


def _worst_hubs(before: Ranking, after: Ranking, queries: QuerySet, number: int = 20) -> list[Hub]:
    """The candidates that most queries had among the first without the bias, worst first; their biases are unknown."""
    counts, later = before.occurrences, after.occurrences
    names = sorted(counts, key=lambda name: (-counts[name], name))[:number]
    wrong: dict[str, list[str]] = {name: [] for name in names}
    for query, row, relevant in zip(queries.ids, before.ids, queries.relevant, strict=True):
        for name in wrong.keys() & set(row) - set(relevant):
            wrong[name].append(query)
    return [
        Hub(name, counts[name], later[name], 0.0, len(asked), tuple(map(Shown, sorted(asked)[:3])))
        for name, asked in wrong.items()
    ]


def _changes(before: Ranking, after: Ranking, queries: QuerySet) -> list[Change]:
    """The queries whose first results are others."""
    return [
        Change(Shown(query), tuple(old), tuple(new), names, _first_of(names, old), _first_of(names, new))
        for query, old, new, names in zip(queries.ids, before.ids, after.ids, queries.relevant, strict=True)
        if old != new
    ]


def _moves(changes: Sequence[Change], queries: int) -> Moves:
    better = sum(each.rank_after < each.rank_before for each in changes)
    worse = sum(each.rank_after > each.rank_before for each in changes)
    return Moves(better, worse, queries - better - worse)


def _most_changed(changes: Sequence[Change], number: int = 8) -> list[Change]:
    """Those whose right answer rose most and those whose fell most in turn, then those with the most new candidates."""

    def others(change: Change) -> int:
        return len({*change.before} & {*change.after})

    moved = sorted(changes, key=lambda each: (each.rank_after - each.rank_before, others(each)))
    better = [each for each in moved if each.rank_after < each.rank_before]
    worse = sorted(
        (each for each in moved if each.rank_after > each.rank_before),
        key=lambda each: (each.rank_before - each.rank_after, others(each)),
    )
    paired = [each for pair in zip_longest(better, worse) for each in pair if each is not None]
    return [*paired, *(each for each in moved if each.rank_after == each.rank_before)][:number]


def _first_of(relevant: Sequence[str], row: Sequence[str]) -> int:
    """Rank of the first relevant candidate; one more than are looked at if it is not among them."""
    return next((rank for rank, name in enumerate(row, start=1) if name in relevant), DEPTH + 1)


def _quality_of(evaluation: Evaluation, title: str) -> Quality:
    """The table of figures."""
    figures = (
        Figure(name, evaluation.before[name], evaluation.after[name], gain, unit_of(name))
        for name, gain in evaluation.gain.items()
    )
    return Quality(title, evaluation.queries, tuple(figures))


def _tuning_of(evaluation: Evaluation) -> Tuning:
    """The gain over k and alpha; of a given point too, though it was not chosen by it."""
    plain = evaluation.surface[0][2]
    gains = tuple((Point(k, alpha), value - plain) for k, alpha, value in evaluation.surface[1:])
    unit, objective = unit_of(evaluation.objective), evaluation.objective
    if evaluation.choice is not None:
        return Tuning(evaluation.choice, evaluation.queries, gains, unit, agreement=evaluation.agreement)
    best = max(gains, key=lambda each: (each[1], -each[0].alpha, -each[0].k), default=(evaluation.point, 0.0))[0]
    point = evaluation.point
    given = Choice(
        point, best, objective, evaluation.gain[objective], point, *evaluation.bits, answers=evaluation.answers
    )
    return Tuning(given, evaluation.queries, gains, unit, given=True, agreement=evaluation.agreement)
