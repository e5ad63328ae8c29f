"""The hubs of a version for who acts on them: people who look at them, and an index that leaves them out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from nnn_core import storage
from nnn_core.artifacts import to_parquet
from nnn_core.errors import ConfigError, InputError
from nnn_core.records import to_json
from nnn_core.table.hubs import DEVIATIONS, MOST_HUBS, Means, describe_hubs
from nnn_core.table.manifest import Manifest, read_manifest
from nnn_core.table.parts import means_of

_FORMAT = "nnn-hubs/1"


@dataclass(frozen=True)
class Hubs:
    """The hubs of a version.

    Attributes:
        version: number of the version.
        k: number of nearest queries whose mean is taken.
        least: robust standard deviations above the median from which a candidate is a hub.
        candidates: how many candidates the version has.
        rows: the hubs, the worst first, see ``table.hubs``; ``MOST_HUBS`` at most.
    """

    version: int
    k: int
    least: float
    candidates: int
    rows: pa.Table

    @classmethod
    def find(cls, uri: str, version: int | None = None, least: float = DEVIATIONS) -> Hubs:
        """Those that the version lists, or that its means tell where it lists none so near to the others.

        Args:
            uri: URI of the table's folder.
            version: number of the version; None for the current (newest) one.
            least: robust standard deviations above the median from which a candidate is a hub.

        Raises:
            ConfigError: ``least`` is no number above 0.
            InputError: no such table, version or file.
            CorruptArtifactError: a file or the manifest is damaged.
        """
        if not (math.isfinite(least) and least > 0.0):
            raise ConfigError(f"--deviations {least} must be a number above 0.")
        manifest = read_manifest(uri, version)
        listed = manifest.hubs
        if listed is not None and listed.deviations <= least:
            rows = listed.read(uri)
            rows = rows.filter(pc.greater(rows.column("deviations"), pa.scalar(least, pa.float32())))
        else:
            rows = describe_hubs(_means_of(uri, manifest).hubs(least), None, {})
        return cls(manifest.version, manifest.settings.k, least, manifest.rows, rows.combine_chunks())

    @property
    def ids(self) -> list[str]:
        """Ids of the hubs, the worst first."""
        found: list[str] = self.rows.column("id").to_pylist()
        return found

    @property
    def is_full(self) -> bool:
        """Whether there may be more hubs than are listed."""
        return len(self.rows) >= MOST_HUBS

    def changes(self, earlier: Hubs) -> tuple[list[str], list[str]]:
        """Ids of the hubs that another version did not have, and of those that it had and this one has not."""
        now, before = set(self.ids), set(earlier.ids)
        return [name for name in self.ids if name not in before], [name for name in earlier.ids if name not in now]

    def write(self, output: str) -> None:
        """Store the list as a Parquet file; the same bytes for the same version.

        Raises:
            StorageError: another file lies there, or it cannot be written.
        """
        said = {"format": _FORMAT, "version": self.version, "k": self.k, "deviations": self.least}
        data = to_parquet(self.rows.replace_schema_metadata({b"nnn_hubs": to_json(said)}))
        storage.create_output(output, data, "--output")

    def quarantine(self, output: str) -> None:
        """Store the ids to leave out of an index, one a line, the worst first.

        Raises:
            InputError: an id has a line break.
            StorageError: another file lies there, or it cannot be written.
        """
        broken = next((name for name in self.ids if len(name.splitlines()) != 1), None)
        if broken is not None:
            raise InputError(
                f"id {broken!r} has a line break, so it cannot be written to a list of lines. Use --output."
            )
        storage.create_output(output, "".join(f"{name}\n" for name in self.ids).encode(), "--quarantine")


def _means_of(uri: str, manifest: Manifest) -> Means:
    """Those of all rows, of which one table part at a time is in memory."""
    column, found = manifest.settings.grid.index(manifest.settings.k), Means()
    for part in manifest.files:
        rows = part.read(uri, ["id", "mean_k"])
        found += Means.of(rows.column("id"), means_of(rows)[:, column])
    return found
