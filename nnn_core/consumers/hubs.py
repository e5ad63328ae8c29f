"""The hubs of a version as a list: candidates whose mean lies far above those of the others.

A candidate near the mean of many queries, by chance or by intention, is near all of them. Its mean over the k nearest
queries shows that, whether it was aimed at all queries or at those of one topic that has k of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from nnn_core import storage
from nnn_core.artifacts import to_parquet
from nnn_core.errors import ConfigError, InputError, StorageError
from nnn_core.evaluation.metrics import Z_ALARM, robust_z
from nnn_core.records import to_json
from nnn_core.table.reading import load_bias_table

_FORMAT = "nnn-hubs/1"


@dataclass(frozen=True)
class Hubs:
    """The hubs of a version.

    Attributes:
        version: number of the version.
        k: number of nearest queries whose mean is taken.
        least: robust standard deviations above the median from which a candidate is a hub.
        candidates: how many candidates the version has.
        rows: ``id``, ``mean`` (float32, unscaled) and ``deviations`` (float64, above the median), the worst first and
            equal ones in order of id.
    """

    version: int
    k: int
    least: float
    candidates: int
    rows: pa.Table

    @classmethod
    def find(cls, uri: str, version: int | None = None, least: float = Z_ALARM) -> Hubs:
        """Read them off the means of a version.

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
        table = load_bias_table(uri, version)
        settings = table.manifest.settings
        means = table.mean_k[:, settings.grid.index(settings.k)]
        deviations = robust_z(means)
        far = np.flatnonzero(deviations > least)
        # Rows are in order of id, which a stable sort keeps among equals.
        worst = far[np.argsort(-means[far], kind="stable")]
        rows = pa.table(
            {"id": table.ids.take(pa.array(worst)), "mean": means[worst], "deviations": deviations[worst]}
        ).combine_chunks()
        return cls(table.manifest.version, settings.k, least, len(means), rows)

    @property
    def ids(self) -> list[str]:
        """Ids of the hubs, the worst first."""
        found: list[str] = self.rows.column("id").to_pylist()
        return found

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
        _store(output, to_parquet(self.rows.replace_schema_metadata({b"nnn_hubs": to_json(said)})))

    def quarantine(self, output: str) -> None:
        """Store the ids to leave out of an index, one a line, the worst first.

        Raises:
            InputError: an id has a line break.
            StorageError: another file lies there, or it cannot be written.
        """
        broken = next((name for name in self.ids if len(name.splitlines()) != 1), None)
        if broken is not None:
            raise InputError(f"id {broken!r} has a line break, so it cannot stand in a list of lines; take --output.")
        _store(output, "".join(f"{name}\n" for name in self.ids).encode())


def _store(output: str, data: bytes | memoryview) -> None:
    if not storage.create(output, data) and storage.read_bytes(output) != data:
        raise StorageError(f"{output!r} is there already with other content and was left as it is; name a new file.")
