"""What a table knows of one candidate, over all of its versions."""

from __future__ import annotations

from dataclasses import dataclass

from nnn_core.errors import CorruptArtifactError, InputError
from nnn_core.table._lookup import count_above, find_in
from nnn_core.table.lifecycle._neighbours import Neighbour, Sources, find_neighbours
from nnn_core.table.manifest import Manifest, list_versions, read_manifest

__all__ = ["Explanation", "Sources", "Standing"]


@dataclass(frozen=True)
class Standing:
    """A candidate in one version.

    Attributes:
        version: number of the version.
        k: number of nearest reference queries in that version; None if it cannot be read.
        alpha: weight of the mean in that version's biases; None if it cannot be read.
        bias: bias of the candidate; None if it is not in the version, or the version cannot be read.
        means: unscaled means, one for each k of the version's grid; empty if there is no bias.
        problem: why the version cannot be read; empty if it can.
    """

    version: int
    k: int | None = None
    alpha: float | None = None
    bias: float | None = None
    means: tuple[float, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Explanation:
    """Why a candidate has its bias.

    Attributes:
        id: id of the candidate.
        now: the candidate in the version that was asked for.
        grid: the values of k whose means the version keeps.
        above: how many candidates of the version have a higher bias; the worst hub has none above it.
        rows: how many candidates the version has.
        history: the candidate in every version, in ascending order of version.
        neighbours: the candidate's nearest bank queries, nearest first; None if no sources were given.
        recomputed: mean of the k nearest scores, computed anew; None if no sources were given.
    """

    id: str
    now: Standing
    grid: tuple[int, ...]
    above: int
    rows: int
    history: tuple[Standing, ...]
    neighbours: tuple[Neighbour, ...] | None = None
    recomputed: float | None = None

    @classmethod
    def of(cls, uri: str, row_id: str, version: int | None = None, sources: Sources | None = None) -> Explanation:
        """Look a candidate up in a version, in those before and after it, and in the bank.

        Args:
            uri: URI of the table's folder.
            row_id: id of the candidate.
            version: number of the version; None for the current (newest) one.
            sources: where the candidate's vector and the bank are; None to leave the bank out.

        Raises:
            InputError: no such table, version or candidate, or ``sources`` are not those of the version.
            CorruptArtifactError: the version is damaged.
        """
        manifest = read_manifest(uri, version)
        now = _standing(uri, manifest, row_id)
        if now.bias is None:
            raise InputError(
                f"version {manifest.version} of {uri!r} has no candidate {row_id!r}. Its ids go from "
                f"{manifest.files[0].min_id!r} to {manifest.files[-1].max_id!r}. Check the id, or run a refresh "
                "that includes it."
            )
        near = find_neighbours(manifest, row_id, sources) if sources else (None, None)
        above = count_above(uri, manifest, now.bias)
        history = tuple(_try_standing(uri, number, row_id) for number in list_versions(uri))
        return cls(row_id, now, manifest.settings.grid, above, manifest.rows, history, *near)


def _standing(uri: str, manifest: Manifest, row_id: str) -> Standing:
    (row,) = find_in(uri, manifest, [row_id])
    found = (row.bias, row.means) if row else ()
    return Standing(manifest.version, manifest.settings.k, manifest.settings.alpha, *found)


def _try_standing(uri: str, version: int, row_id: str) -> Standing:
    """The same of a version that may be damaged, or expire meanwhile."""
    try:
        return _standing(uri, read_manifest(uri, version), row_id)
    except (InputError, CorruptArtifactError) as error:
        return Standing(version, problem=str(error))
