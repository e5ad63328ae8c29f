"""What a report says, before it has a shape, and its JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from nnn_core.errors import CorruptArtifactError
from nnn_core.evaluation.points import Point
from nnn_core.inputs.rejects import RejectSummary
from nnn_core.report import _sections
from nnn_core.report._numbers import point_words

#: A page shows no more hubs, changed queries, and results of each than these.
MAX_HUBS = 20
MAX_CHANGES = 8
MAX_DEPTH = 10


@dataclass(frozen=True)
class Report:
    """Everything that a report shows; a section that is None or empty is left out.

    Attributes:
        title: heading of the page.
        run: what ran, and on what.
        quality: retrieval quality, one table for each direction or bank.
        tuning: the choice of k and alpha.
        hubness: hubness without the bias and with it.
        hubs: the worst hubs, worst first.
        moves: of how many queries the right answer moved up and down.
        changes: queries that changed most, better and worse ones in turn.
        shown: the candidates that hubs and changes name; see ``wanted``.
        biases: the distribution of the biases, against that of the previous version.
        listed_hubs: the hubs that the version lists, against those of the previous version.
        rivals: the comparison of methods.
        fairness: how evenly attributes are retrieved, one record for each attribute.
        own_pairs: the warning about bank rows that belong to candidates.
        rejects: (side, summary of the rows that were rejected).
        gates: the checks before the commit.
        stages: what each stage cost.
        notes: sentences that the reader should see first.
    """

    title: str
    run: _sections.Run
    quality: tuple[_sections.Quality, ...] = ()
    tuning: _sections.Tuning | None = None
    hubness: _sections.Hubness | None = None
    hubs: tuple[_sections.Hub, ...] = ()
    moves: _sections.Moves | None = None
    changes: tuple[_sections.Change, ...] = ()
    shown: dict[str, _sections.Shown] = field(default_factory=dict)
    biases: _sections.BiasShift | None = None
    listed_hubs: _sections.HubChanges | None = None
    rivals: _sections.Rivals | None = None
    fairness: tuple[_sections.Fairness, ...] = ()
    own_pairs: _sections.OwnPairs | None = None
    rejects: tuple[tuple[str, RejectSummary], ...] = ()
    gates: tuple[_sections.Gate, ...] = ()
    stages: tuple[_sections.Stage, ...] = ()
    notes: tuple[str, ...] = ()

    def unchanged(self, version: int) -> Report:
        """This report of a version, for a later run that finds nothing changed."""
        note = f"Nothing changed since version {version}, so no version was published."
        return replace(self, notes=(note, *(each for each in self.notes if each != note)))

    def unpublished(self) -> Report:
        """This report of an evaluation that was not asked to publish what it judged; as it is if that is in force."""
        judged, run = self.point, self.run
        in_force = Point(run.k, run.alpha)
        if judged == in_force:
            return self
        stays = f"Nothing was published: version {run.version} keeps {point_words(in_force)}."
        how = f"Add --publish, or run nnn table reweight, to publish {point_words(judged)}."
        return replace(self, notes=(f"{stays} {how}", *self.notes))

    @property
    def judges(self) -> bool:
        """Whether it is of an evaluation, which judges a k and alpha that its version need not have."""
        return self.run.command == "nnn evaluate"

    @property
    def point(self) -> Point:
        """The k and alpha that the figures are of."""
        if self.judges and self.tuning is not None:
            return self.tuning.choice.point
        return Point(self.run.k, self.run.alpha)

    @property
    def failed(self) -> tuple[_sections.Gate, ...]:
        """The gates that keep the version from being published."""
        return tuple(gate for gate in self.gates if gate.verdict == "fail")

    def wanted(self) -> Iterator[str]:
        """Ids of the candidates that a page shows and ``shown`` should hold, each once, in the order of the page."""
        named = [hub.id for hub in self.hubs[:MAX_HUBS]]
        for change in self.changes[:MAX_CHANGES]:
            named += (*change.before[:MAX_DEPTH], *change.after[:MAX_DEPTH])
        yield from dict.fromkeys(named)

    def beside(self, others: Sequence[Report]) -> Report:
        """This report with the quality tables of other ones too, each named by its table, version and bank."""
        tables = []
        for each in (self, *others):
            run = each.run
            name = f"version {run.version} of {run.table}, bank {run.bank.digest[:8]}"
            tables += [replace(one, title=f"{one.title.split(' (', 1)[0]} ({name})") for one in each.quality]
        return replace(self, quality=tuple(tables))

    def to_json(self) -> bytes:
        """The report as JSON: the same bytes for the same content."""
        record = _plain(_ADAPTER.dump_python(self, mode="json"))
        # Half a character, as file names may hold, is not text that JSON can carry.
        return json.dumps(record, ensure_ascii=False, indent=1).encode("utf-8", "replace") + b"\n"

    @classmethod
    def from_json(cls, data: bytes, uri: str) -> Report:
        """Read a report back.

        Raises:
            CorruptArtifactError: these bytes are not a report.
        """
        try:
            return _ADAPTER.validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the whole file"
            raise CorruptArtifactError(
                f"{uri!r} is not a report that this version can read: {first['msg']} ({where}). Write it again "
                "with nnn evaluate --report."
            ) from error


def _plain(value: Any) -> Any:
    """``value`` with words for the numbers that JSON has no word for; they are read back as numbers."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


_ADAPTER: TypeAdapter[Report] = TypeAdapter(Report)
