"""A version as a Delta table: the same files, named by a Delta log in the table's own folder. Nothing is copied.

    <table>/_delta_log/00000000000000000000.json

The log lies there, and nowhere else, because not every reader of Delta tables opens files by absolute addresses. Its
own ``VACUUM`` would take files of other versions for rubbish, so the log asks for a retention of a century;
``nnn table expire`` is what removes files, and it leaves those that the log names.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from nnn_core.errors import INSTALL_EXTRA, ConfigError, ConflictError, StorageError
from nnn_core.table.lifecycle._delta_log import delta_files
from nnn_core.table.lifecycle._pins import held_version
from nnn_core.table.manifest import Manifest
from nnn_core.table.parts import TablePart

#: Lists of any length: the grid of k may change from version to version.
_SCHEMA = pa.schema({"id": pa.string(), "bias": pa.float32(), "mean_k": pa.list_(pa.float32())})

_CENTURY = "interval 5200 weeks"
_CONFIGURATION = {"delta.deletedFileRetentionDuration": _CENTURY, "delta.logRetentionDuration": _CENTURY}


@dataclass(frozen=True)
class _Registration:
    """A version as Delta readers see it.

    Attributes:
        version: number of the version of the bias table.
        delta_version: number of the version of the Delta table.
        files: how many files the version names.
        added: how many files of the version the Delta version before did not name.
    """

    version: int
    delta_version: int
    files: int
    added: int


def register(uri: str, version: int | None = None) -> _Registration:
    """Make a version what readers of the Delta table at ``uri`` see.

    Args:
        uri: URI of the table's folder.
        version: number of the version; None for the current (newest) one.

    Raises:
        ConfigError: the package deltalake is not installed.
        InputError: no such table or version.
        ConflictError: another job registered a version meanwhile.
        StorageError: the log cannot be written.
    """
    delta = _import_deltalake()
    with held_version(uri, version) as manifest:
        try:
            return _register(delta, uri, manifest)
        except delta.exceptions.CommitFailedError as error:
            raise ConflictError(
                f"the Delta log of {uri!r} was written by another job in the meantime ({error}). Run the command again."
            ) from error
        except (delta.exceptions.DeltaError, OSError) as error:
            raise StorageError(
                f"cannot write the Delta log of {uri!r}: {error}. The bias table did not change. Check the "
                "credentials that deltalake finds in the environment."
            ) from error


def _import_deltalake() -> Any:
    try:
        import deltalake
        import deltalake.exceptions
        import deltalake.transaction
    except ImportError as error:
        raise ConfigError(
            f"nnn table register needs the package deltalake: {INSTALL_EXTRA.format('delta')}."
        ) from error
    return deltalake


def _register(delta: Any, uri: str, manifest: Manifest) -> _Registration:
    parts, schema = {part.path: part for part in manifest.files}, delta.Schema.from_arrow(_SCHEMA)
    if not delta.DeltaTable.is_deltatable(uri):
        delta.DeltaTable.create(uri, schema, configuration=_CONFIGURATION)
    table = delta.DeltaTable(uri)
    known = delta_files(uri)
    new = [_addition(delta, part) for path, part in parts.items() if path not in known]
    old = [delta.transaction.RemoveAction(path, True, 0) for path in sorted(known - parts.keys())]
    if new or old:
        note = delta.CommitProperties(custom_metadata={"nnn_bias_table_version": str(manifest.version)})
        table.create_write_transaction([*old, *new], "append", schema, commit_properties=note)
        table = delta.DeltaTable(uri)
    return _Registration(manifest.version, table.version(), len(parts), len(new))


def _addition(delta: Any, part: TablePart) -> Any:
    statistics = {
        "numRecords": part.rows,
        "minValues": {"id": part.min_id, "bias": part.bias_min},
        "maxValues": {"id": part.max_id, "bias": part.bias_max},
        "nullCount": {"id": 0, "bias": 0},
    }
    return delta.transaction.AddAction(part.path, part.bytes, {}, 0, True, json.dumps(statistics))
