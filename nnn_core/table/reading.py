"""Reading the bias table, and choosing k and alpha anew from the means that it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nnn_core import storage
from nnn_core.encoders.fingerprints import check_dimension, check_encoder, embeddings_encoder
from nnn_core.errors import ConfigError
from nnn_core.table._lookup import find
from nnn_core.table.hubs import HubList, Means, describe_hubs
from nnn_core.table.ids import IdIndex, Ids, Missing
from nnn_core.table.manifest import Manifest, commit_version, read_manifest
from nnn_core.table.parts import TablePart, means_of
from nnn_core.vectors import FloatMatrix

__all__ = ["BiasTable", "find", "load_bias_table", "reweight"]


@dataclass(frozen=True, repr=False)
class BiasTable:
    """A version of the table in memory.

    Attributes:
        manifest: manifest of the version: what it is and what it is valid for.
        ids: (rows,) candidate ids, ascending.
        bias: (rows,) float32 biases of the candidates, to be subtracted from scores.
        mean_k: (rows, len(grid)) float32, the unscaled mean for each k of the grid.
    """

    manifest: Manifest
    ids: pa.ChunkedArray
    bias: npt.NDArray[np.float32]
    mean_k: FloatMatrix

    def __repr__(self) -> str:
        """What it is in a line; the manifest alone would fill pages."""
        settings = self.manifest.settings
        return (
            f"BiasTable(version {self.manifest.version}, {len(self.bias):,} candidates, k = {settings.k}, "
            f"alpha = {settings.alpha:g})"
        )

    def bias_of(self, ids: Ids, missing: Missing = "error") -> npt.NDArray[np.float32]:
        """Biases (len(ids),) float32 in the order of ``ids``.

        Args:
            ids: candidate ids, texts or whole numbers.
            missing: ``mean`` gives an id that is not in the table the mean of all biases, so that it is neither ahead
                of all others nor behind them until it is scored; ``error`` refuses it.

        Raises:
            InputError: some id is not in the table, or is none.
            ConfigError: ``missing`` is another word.
        """
        rows = self.rows_of(ids, missing)
        return np.where(rows < 0, np.float32(self.manifest.bias_mean), self.bias[rows])

    def means_for(self, ids: Ids) -> FloatMatrix:
        """Unscaled means (len(ids), len(grid)) float32 in the order of ``ids``.

        Raises:
            InputError: some id is not in the table, or is none.
        """
        return self.mean_k[self.rows_of(ids)]

    def rows_of(self, ids: Ids, missing: Missing = "error") -> npt.NDArray[np.int64]:
        """Where the candidates stand (len(ids),), in the order of ``ids``; -1 where one may be missing and is.

        Raises:
            InputError: some id is not in the table, or is none.
            ConfigError: ``missing`` is another word than ``error`` and ``mean``.
        """
        return self.index.look_up(ids, missing, f"version {self.manifest.version} of the table")

    @cached_property
    def index(self) -> IdIndex:
        """Rows by id, built when it is first asked for: about a second for a million ids, and 20 bytes each."""
        return IdIndex.of(self.ids)


def load_bias_table(
    uri: str,
    version: int | None = None,
    *,
    encoder: Mapping[str, str] | None = None,
    embeddings: str | None = None,
    dim: int | None = None,
) -> BiasTable:
    """Read a version of the table, every file checked against the manifest.

    Args:
        uri: URI of the table's folder, anything fsspec opens.
        version: number of the version; None for the current (newest) one.
        encoder: fingerprint by part of the encoder of the vectors that the biases are meant for; None if unknown.
        embeddings: a file of ``nnn export`` that says which encoder the vectors come from; None for no such check.
        dim: dimension of the vectors that the biases are meant for; None for no such check.

    Raises:
        InputError: no such table, version or file, or the vectors come from another encoder than the table's.
        CorruptArtifactError: a file or the manifest is damaged.
    """
    manifest = read_manifest(uri, version)
    if encoder is not None:
        check_encoder(manifest.settings.encoder, encoder, uri, "what encoder= names")
    if embeddings is not None:
        check_encoder(manifest.settings.encoder, embeddings_encoder(embeddings), uri, repr(embeddings))
    check_dimension(manifest.dim, dim, uri, "what dim= describes")
    table = pa.concat_tables([part.read(uri) for part in manifest.files])
    return BiasTable(manifest, table.column("id"), table.column("bias").to_numpy(), means_of(table))


def reweight(uri: str, k: int | None = None, alpha: float | None = None, version: int | None = None) -> Manifest:
    """Publish a new version with another k or alpha, computed from the stored means.

    Args:
        uri: URI of the table's folder.
        k: new k, one of the grid; None to keep the present one.
        alpha: new weight of the mean in the bias; None to keep the present one.
        version: number of the version to start from; None for the current one.

    Returns:
        The manifest of the new version; the current one if it says the same already.

    Raises:
        ConfigError: k is not in the grid, or alpha is too large.
        ConflictError: another job published a version meanwhile.
        StorageError: the table cannot be written.
    """
    return commit_version(uri, draft_reweighted(uri, k, alpha, version)[0])


def draft_reweighted(
    uri: str, k: int | None = None, alpha: float | None = None, version: int | None = None
) -> tuple[Manifest, Manifest]:
    """What ``reweight`` would publish, with its parts stored, and the current version that it would follow.

    Args:
        uri: URI of the table's folder.
        k: new k, one of the grid; None to keep the present one.
        alpha: new weight of the mean in the bias; None to keep the present one.
        version: number of the version to start from; None for the current one.

    Raises:
        ConfigError: k is not in the grid, or alpha is too large.
        StorageError: the table cannot be written.
    """
    storage.check_exclusive(uri)
    current = read_manifest(uri)
    base = current if version is None else read_manifest(uri, version)
    settings = base.settings
    if k is not None and k not in settings.grid:
        raise ConfigError(
            f"--k {k} is not in the grid of version {base.version} of {uri!r}. Choose one of "
            f"{', '.join(map(str, settings.grid))}, or run a refresh with --k {k}."
        )
    settings = replace(settings, k=settings.k if k is None else k, alpha=settings.alpha if alpha is None else alpha)
    existing = {part.sha256: part.path for part in current.files}
    # The number after the version that was read: should another job publish meanwhile, this one must not
    # put older rows on top of it.
    number = current.version + 1
    files, means = [], Means()
    for index, part in enumerate(base.files):
        rows = part.read(uri, ["id", "mean_k"])
        files.append(TablePart.write(uri, number, index, rows, settings, existing))
        means += Means.of(rows.column("id"), means_of(rows)[:, settings.grid.index(settings.k)])
    hubs = base.hubs
    if settings.k != base.settings.k or (hubs is not None and not hubs.is_whole(uri)):
        # Which queries find them was counted for other hubs.
        hubs = HubList.write(uri, number, settings.k, describe_hubs(means.hubs(), None, {}), current.hubs)
    # Gates and queries judged other biases than these.
    draft = replace(base, version=number, settings=settings, files=tuple(files), gates=(), evaluation=None, hubs=hubs)
    return draft, current
