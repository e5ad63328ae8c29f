"""The sections of a report: what each of them shows, one frozen record each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
from pydantic import Base64Bytes

from nnn_core.embedded.side import Side
from nnn_core.encoders.fingerprints import shown_parts
from nnn_core.evaluation import fairness as evenness
from nnn_core.evaluation.choice import Choice
from nnn_core.evaluation.intervals import Interval
from nnn_core.evaluation.points import Point
from nnn_core.evaluation.rankings import Occurrence
from nnn_core.table.hubs import MOST_SHOWN
from nnn_core.table.manifest import Manifest

Unit = Literal["percent", "number", "rank"]
Better = Literal["higher", "lower", "zero"]
Verdict = Literal["pass", "warn", "fail", "skipped"]

#: Measures of evenness of which less is more even; of the others more is better, but for the signed bias.
_LOWER = ("absolute_bias", "max_skew", "ndkl")


@dataclass(frozen=True)
class Source:
    """The candidates, the bank or the held-out queries.

    Attributes:
        modality: ``image`` or ``text``, what the rows are.
        rows: how many rows were used.
        rejected: how many rows were rejected.
        files: how many shards there were.
        digest: digest of the rows, in hexadecimal; empty where unknown.
        uri: where they came from, as the user named it.
        off_length: how many ready-made vectors were not unit length as read.
        new: how many rows have ids that the previous version has not.
        gone: how many ids of the previous version have no row any more.
    """

    modality: str
    rows: int
    rejected: int = 0
    files: int = 0
    digest: str = ""
    uri: str = ""
    off_length: int = 0
    new: int = 0
    gone: int = 0

    @classmethod
    def of(cls, modality: str, side: Side) -> Source:
        """One side of a version's lineage."""
        counts = (side.rows, side.rejected, len(side.inputs))
        return cls(modality, *counts, side.digest, off_length=side.off_length or 0)


@dataclass(frozen=True)
class Run:
    """What ran and on what.

    Attributes:
        command: ``nnn refresh`` or ``nnn evaluate``.
        table: URI of the table.
        version: the version that was published or evaluated; None if nothing was published.
        previous: the version before it, None if there was none.
        k: k in force in that version, or that would have been.
        alpha: alpha in force in that version, or that would have been.
        candidates: the candidates of the table.
        bank: the reference queries of the table.
        searches: how the highest scores were found.
        fingerprints: (name, value) of encoder and bank.
        queries: held-out queries, None where none were given.
        seconds: duration of the whole run, None where unknown.
        when: time of the run as the caller wants it printed; empty keeps the report's bytes free of time.
        program: version of the program; empty where unknown.
        line: the command line, without secrets; empty where unknown.
    """

    command: str
    table: str
    version: int | None
    previous: int | None
    k: int
    alpha: float
    candidates: Source
    bank: Source
    searches: tuple[str, ...] = ()
    fingerprints: tuple[tuple[str, str], ...] = ()
    queries: Source | None = None
    seconds: float | None = None
    when: str = ""
    program: str = ""
    line: str = ""

    @classmethod
    def of(
        cls,
        command: str,
        table: str,
        manifest: Manifest,
        version: int | None,
        previous: int | None,
        asked: int | None,
        rejected: int = 0,
    ) -> Run:
        """What ran, and on what, by the manifest of the version that the report is about.

        Args:
            command: such as ``nnn refresh``.
            table: URI of the table.
            manifest: the manifest of the version.
            version: number of that version; None if it was not published.
            previous: number of the version before it; None if there was none.
            asked: how many held-out queries there were; None without any.
            rejected: how many rows of their files were rejected.
        """
        settings = manifest.settings
        return cls(
            command=command,
            table=table,
            version=version,
            previous=previous,
            k=settings.k,
            alpha=settings.alpha,
            candidates=Source.of(settings.candidate_modality, manifest.candidates),
            bank=Source.of(settings.reference_modality, manifest.references),
            searches=manifest.search.methods,
            fingerprints=tuple(sorted(shown_parts(settings.encoder).items())),
            queries=None if asked is None else Source(settings.reference_modality, asked, rejected),
        )


@dataclass(frozen=True)
class Figure:
    """One measure before and after, over the same queries.

    Attributes:
        name: name of the measure, such as ``recall@1``.
        before: the measure without correction.
        after: the measure with the bias.
        gain: the paired difference, after minus before.
        unit: ``percent`` for shares from 0 to 1, ``rank`` for ranks.
        better: which direction is an improvement; ``zero``: nearer to 0.
    """

    name: str
    before: Interval
    after: Interval
    gain: Interval
    unit: Unit = "percent"
    better: Better = "higher"


@dataclass(frozen=True)
class Quality:
    """Retrieval quality; where k and alpha were chosen, each query at the point that was chosen without it.

    Attributes:
        title: what distinguishes this table from the next, such as ``text to image``.
        queries: how many queries report.
        figures: the measures, in the order of the table.
    """

    title: str
    queries: int
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Tuning:
    """The gain in the objective over k and alpha, on all queries.

    Attributes:
        choice: what was chosen, and the objective.
        queries: how many queries there are.
        gains: (point, gain over no correction) of every point; alpha 0 need not be there.
        unit: unit of the objective.
        given: whether nothing was chosen: the point was given.
        agreement: of the bank and the queries, -1 to 1; None if unknown.
    """

    choice: Choice
    queries: int
    gains: tuple[tuple[Point, float], ...]
    unit: Unit = "percent"
    given: bool = False
    agreement: float | None = None


@dataclass(frozen=True)
class Hubness:
    """Hubness before and after.

    Attributes:
        queries: how many queries were asked.
        depth: the n of N_n.
        before: how often candidates are retrieved without correction.
        after: how often candidates are retrieved with the bias.
    """

    queries: int
    depth: int
    before: Occurrence
    after: Occurrence


@dataclass(frozen=True)
class BiasShift:
    """Biases of all candidates against those of the previous version.

    Attributes:
        edges: edges of the bins, one more than counts.
        counts: candidates of this version in each bin.
        previous: candidates of the previous version in each bin; empty for a first version.
        figures: (name, value) such as the population stability index.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    previous: tuple[int, ...] = ()
    figures: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class ListedHub:
    """A candidate whose mean lies far above those of the others.

    Attributes:
        id: id of the candidate.
        deviations: robust standard deviations of its mean above the median.
        found: in how many held-out queries' top 10 it is without correction; None without such queries.
        references: ids of the reference queries that are nearest to it, as far as they are known.
        new: whether the previous version does not list it.
    """

    id: str
    deviations: float
    found: int | None = None
    references: tuple[str, ...] = ()
    new: bool = False


@dataclass(frozen=True)
class HubChanges:
    """The hubs that a version lists, against those of the previous version.

    Attributes:
        hubs: how many are listed.
        previous: how many the previous version lists; None where there is no list to compare with.
        new: how many of the hubs the previous version does not list.
        gone: how many hubs of the previous version are none any more.
        worst: the worst hubs, new ones first, and among these the worst first.
    """

    hubs: int
    previous: int | None
    new: int
    gone: int
    worst: tuple[ListedHub, ...] = ()

    @classmethod
    def of(cls, rows: pa.Table, before: Collection[str] | None) -> HubChanges:
        """Compare two lists.

        Args:
            rows: the hubs of a version, see ``table.hubs``.
            before: ids of those of the previous version; None where there is no list to compare with.
        """
        known = set(before or ())
        names = rows.column("id").to_pylist()
        new = [before is not None and name not in known for name in names]
        order = cls.first(names, before)[:MOST_SHOWN]
        worst = (
            ListedHub(row["id"], row["deviations"], row["n_10"], tuple(row["references"] or ())[:3], new[place])
            for place, row in zip(order, rows.take(pa.array(order, pa.int64())).to_pylist(), strict=True)
        )
        count = None if before is None else len(known)
        return cls(len(names), count, sum(new), len(known.difference(names)), tuple(worst))

    @staticmethod
    def first(names: Sequence[str], before: Collection[str] | None) -> list[int]:
        """Positions of hubs, new ones first.

        Args:
            names: ids of the hubs of a version, the worst first.
            before: ids of those of the previous version; None where there is no list to compare with.
        """
        known = set(names if before is None else before)
        return sorted(range(len(names)), key=lambda place: names[place] in known)


@dataclass(frozen=True)
class Shown:
    """A candidate or a query as a person sees it.

    Attributes:
        id: id of the candidate or query.
        text: a caption or query, or what an image shows; empty where unknown.
        image: the bytes of a thumbnail (see ``_thumbnails.thumbnail``), None for a text.
    """

    id: str
    text: str = ""
    image: Base64Bytes | None = None


@dataclass(frozen=True)
class Hub:
    """A candidate that crowded out others.

    Attributes:
        id: id of the candidate.
        before: how many queries have it in a top n without correction.
        after: how many queries have it in a top n with the bias.
        bias: bias of the candidate.
        wrong: how many queries had it among the first n though it does not answer them.
        examples: a few of those queries.
    """

    id: str
    before: int
    after: int
    bias: float
    wrong: int
    examples: tuple[Shown, ...] = ()


@dataclass(frozen=True)
class Moves:
    """Of how many queries the first right answer moved, as far as it is among the first results.

    Attributes:
        better: it stands higher with the bias.
        worse: it stands lower with the bias.
        same: it stands where it stood, or is not among the first results either way.
    """

    better: int
    worse: int
    same: int


@dataclass(frozen=True)
class Change:
    """A query whose first results changed much.

    Attributes:
        query: the query that was asked.
        before: ids of the first results without correction, best first.
        after: ids of the first results with the bias, best first.
        relevant: ids that answer the query.
        rank_before: rank of the first relevant candidate without correction.
        rank_after: rank of the first relevant candidate with the bias.
    """

    query: Shown
    before: tuple[str, ...]
    after: tuple[str, ...]
    relevant: tuple[str, ...]
    rank_before: int
    rank_after: int


@dataclass(frozen=True)
class Rival:
    """One method of the comparison.

    Attributes:
        name: name of the method.
        settings: its hyperparameters as chosen on the choosing half.
        value: the objective on the reporting half.
        gain: gain of the objective over no correction.
        seconds: time to prepare the method once for the whole index, without the search for settings.
        tuning_seconds: time to search the settings of the method.
        additive: whether it is one number a candidate, so that any index can apply it.
    """

    name: str
    settings: str
    value: Interval
    gain: Interval
    seconds: float
    tuning_seconds: float
    additive: bool


@dataclass(frozen=True)
class Rivals:
    """Methods on the same footing.

    Attributes:
        objective: name of the figure that ``Rival.value`` is.
        queries: how many queries report.
        methods: the methods, in the order of the table.
        unit: unit of the objective.
    """

    objective: str
    queries: int
    methods: tuple[Rival, ...]
    unit: Unit = "percent"

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]], objective: str, unit: Unit) -> Rivals:
        """The comparison of methods.

        Args:
            rows: the methods, as ``evaluation.rivals.Trial.compare`` describes them.
            objective: name of the figure that is compared, such as ``recall@1``.
            unit: unit of the objective.
        """
        methods = (
            Rival(
                name=row["title"],
                settings=_setting_words(row["setting"], row["settings"]),
                value=Interval(**row["figures"][objective]),
                gain=Interval(**row["gains"][objective]),
                seconds=row["seconds"]["fit"],
                tuning_seconds=row["seconds"]["search"],
                additive=row["additive"],
            )
            for row in rows
        )
        return cls(objective, rows[0]["queries"], tuple(methods), unit)


def _setting_words(setting: Mapping[str, Any], tried: int) -> str:
    words = ", ".join(f"{name} = {value:g}" for name, value in setting.items())
    return f"{words} (of {tried})" if tried > 1 else words


@dataclass(frozen=True)
class Fairness:
    """How evenly the values of one attribute are retrieved.

    Attributes:
        attribute: name of the attribute.
        values: the values that are compared, the positive one first.
        queries: how many queries were asked.
        figures: measures of evenness, such as ``bias@6``.
    """

    attribute: str
    values: tuple[str, ...]
    queries: int
    figures: tuple[Figure, ...]

    @classmethod
    def of(cls, attribute: str, queries: int, values: tuple[str, ...], figures: Sequence[evenness.Figure]) -> Fairness:
        """What was measured without the bias and with it; the arguments are named as the attributes."""
        return cls(attribute, values, queries, tuple(map(_evenness_figure, figures)))


def _evenness_figure(found: evenness.Figure) -> Figure:
    name = found.name.replace("_", " ") + (f" ({' or '.join(found.values)})" if found.values else "")
    measure = found.name.partition("@")[0]
    better: Better = "zero" if measure == "bias" else "lower" if measure in _LOWER else "higher"
    unit: Unit = "percent" if measure == "recall" else "number"
    return Figure(name, found.before, found.after, found.change, unit, better)


@dataclass(frozen=True)
class OwnPairs:
    """Bank rows that belong to candidates of the pool: they make the bias look better than it is.

    Attributes:
        rows: how many bank rows belong to candidates.
        bank: how many rows the bank has.
        objective: what the gains are gains of.
        gain: gain with these rows in the bank, None if not measured.
        fair: gain without these rows, None if not measured.
        unit: unit of the objective.
    """

    rows: int
    bank: int
    objective: str = "recall@1"
    gain: Interval | None = None
    fair: Interval | None = None
    unit: Unit = "percent"


@dataclass(frozen=True)
class Gate:
    """One check before the commit.

    Attributes:
        name: name of the gate, as in the thresholds' file.
        verdict: a single ``fail`` keeps the version from being published.
        value: the value that was seen.
        threshold: the value that was asked for.
        note: what the verdict means, one sentence.
    """

    name: str
    verdict: Verdict
    value: str
    threshold: str
    note: str = ""


@dataclass(frozen=True)
class Stage:
    """What one stage of the pipeline cost.

    Attributes:
        name: name of the stage in the pipeline.
        seconds: time of work, added up over workers; None where it is not known.
        computed: artefacts that were computed.
        reused: artefacts that an earlier run had computed.
        rows: how many rows were computed.
        known: how many rows of what was computed were found again, and not computed.
        pairs: how many pairs of candidates and references were scored.
        read: how many bytes of input were read.
        written: how many bytes were stored.
        parts: what took ``seconds``, as far as it was timed by itself; a model's are added up over its threads.
    """

    name: str
    seconds: float | None
    computed: int
    reused: int
    rows: int = 0
    known: int = 0
    pairs: int = 0
    read: int = 0
    written: int = 0
    parts: tuple[tuple[str, float], ...] = ()
