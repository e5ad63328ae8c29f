"""What a refresh did, by the files that it left: for runners that lose what their workers count."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from nnn_core import storage
from nnn_core.artifacts import from_sealed
from nnn_core.scoring.partials import EXACT, partial_name
from nnn_core.table.lifecycle.cleaning import Needs
from nnn_core.table.manifest import Manifest

_EMBEDDED, _PARTIALS, _MERGED = "embedded", "partials", "merged"


@dataclass(frozen=True)
class Artefacts:
    """Names of the artefacts below a work folder at some time.

    Attributes:
        names: names of the files by folder; of embedded files only the completion marks.
    """

    names: dict[str, frozenset[str]]

    @classmethod
    def of(cls, work: str) -> Artefacts:
        """Those that are there now, below the folder ``work``."""
        found = {each: storage.list_names(storage.join(work, each)) for each in (_EMBEDDED, _PARTIALS, _MERGED)}
        return cls(
            {
                folder: frozenset(name for name in names if folder != _EMBEDDED or name.endswith(".json"))
                for folder, names in found.items()
            }
        )

    def since(self, before: Artefacts) -> Artefacts:
        """Those of them that were not there before."""
        return Artefacts({folder: names - before.names[folder] for folder, names in self.names.items()})


@dataclass(frozen=True)
class Done:
    """What one stage did.

    Attributes:
        computed: artefacts that were computed.
        reused: artefacts that were there before.
        held: what those that were computed hold, such as rows, as far as files tell.
    """

    computed: int
    reused: int
    held: dict[str, int] = field(default_factory=dict)

    @classmethod
    def by(cls, manifest: Manifest, work: str, k_max: int, new: Artefacts) -> dict[str, Done]:
        """What the stages of a refresh did that ended in a version, by name of the stage.

        Stages whose files say nothing are left out; so are all that depend on how candidates met the bank if several
        refreshes of the same input left their record.

        Args:
            manifest: of the version.
            work: URI of the folder of artefacts.
            k_max: scores that were kept of each candidate.
            new: artefacts that came while the refresh ran.
        """
        records = [needs for needs in Needs.find(manifest, work) if needs.k_max == k_max]
        parts = [part for part in manifest.files if part.path.startswith(f"versions/{manifest.version:06d}/")]
        found = {
            "commit_bias_table": cls(
                len(parts), len(manifest.files) - len(parts), {"rows": sum(part.rows for part in manifest.files)}
            )
        }
        if len(records) != 1:
            return found
        (needs,) = records
        found |= _embedding(manifest, work, needs, new)
        computed, partials = _scored(needs, new), len(needs.candidates) * len(needs.references)
        pairs = manifest.rows * manifest.references.rows
        # Of partials of some reference shards only, nobody who was not there can tell the pairs.
        known = {"pairs": pairs} if computed == partials else {} if computed else {"pairs": 0}
        found["score_candidates"] = cls(computed, partials - computed, known)
        merged = sum(path.removeprefix(f"{_MERGED}/") in new.names[_MERGED] for path in needs.files())
        found["merge_partials"] = cls(merged, len(needs.candidates) - merged)
        return found


def _embedding(manifest: Manifest, work: str, needs: Needs, new: Artefacts) -> dict[str, Done]:
    """Of both sides; a mark belongs to the side that has its input, or its shards where both have that input."""
    sides = {"embed_candidates": manifest.candidates, "embed_references": manifest.references}
    ends = {digest[:16] for digest in needs.candidates}
    shards = {name.partition("-")[0]: name.rpartition("-")[2].partition(".")[0] for name in needs.embedded}
    held: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for stem, mark in _marks(work, sorted(new.names[_EMBEDDED])):
        of = [stage for stage, side in sides.items() if mark["digest"] in side.inputs]
        if of:
            held[of[0] if len(of) == 1 or shards.get(stem) in ends else of[1]].append(mark)
    return {
        stage: Done(
            len(held[stage]),
            len(side.inputs) - len(held[stage]),
            {
                "rows": sum(mark["rejects"]["rows"] for mark in held[stage]),
                "rejected": sum(mark["rejects"]["rejected"] for mark in held[stage]),
                "truncated": sum(mark.get("truncated", 0) for mark in held[stage]),
            },
        )
        for stage, side in sides.items()
    }


def _scored(needs: Needs, new: Artefacts) -> int:
    """How many pairs of shards were scored, however many scores were kept of each."""
    return sum(
        any(
            partial_name(candidates, reference, kept, needs.exclude_own_pairs, needs.searches.get(reference, EXACT))
            in new.names[_PARTIALS]
            for kept in needs.kept or (needs.k_max,)
        )
        for candidates in needs.candidates
        for reference in needs.references
    )


def _marks(work: str, names: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in names:
        uri = storage.join(work, _EMBEDDED, name)
        yield name.removesuffix(".json"), from_sealed(storage.read_bytes(uri), uri)
