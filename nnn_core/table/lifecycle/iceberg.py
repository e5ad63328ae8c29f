"""A version as an Iceberg table: the same files, named by Iceberg's metadata in the table's own folder.

    <table>/_iceberg/metadata/00003-....metadata.json

The catalog, which says what metadata are current, is the user's. Iceberg's own clean-up would take files of other
versions for rubbish, so the table forbids it (``gc.enabled``); ``nnn table expire`` is what removes files, and it keeps
the version that was registered last.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from nnn_core import storage
from nnn_core.digests import sha256
from nnn_core.errors import INSTALL_EXTRA, ConfigError, ConflictError, CorruptArtifactError, StorageError
from nnn_core.table.lifecycle._pins import held_version
from nnn_core.table.manifest import Manifest

#: Lists of any length: the grid of k may change from version to version. Parquet calls their items "element".
_SCHEMA = pa.schema({"id": pa.string(), "bias": pa.float32(), "mean_k": pa.list_(pa.field("element", pa.float32()))})

_VERSION = "nnn.version"
_METADATA = re.compile(r"(\d+)-.*\.metadata\.json\Z")


@dataclass(frozen=True)
class _Snapshot:
    """A version as Iceberg readers see it.

    Attributes:
        version: number of the version of the bias table.
        snapshot: id of the snapshot of the Iceberg table.
        files: how many files the version names.
        properties: what the snapshot says of the version: number, k, alpha and digests.
    """

    version: int
    snapshot: int
    files: int
    properties: dict[str, str]


def register_iceberg(uri: str, catalog: str, name: str, version: int | None = None) -> _Snapshot:
    """Make a version what readers of an Iceberg table see.

    Args:
        uri: URI of the table's folder.
        catalog: name of a catalog in pyiceberg's configuration (``~/.pyiceberg.yaml`` or the environment).
        name: name of the Iceberg table in it, ``NAMESPACE.TABLE``; it is made if it is not there.
        version: number of the version; None for the current (newest) one.

    Raises:
        ConfigError: the package pyiceberg is not installed, or it knows no such catalog, or the name belongs to a
            table of something else.
        InputError: no such version.
        ConflictError: another job registered a version meanwhile.
        StorageError: the catalog or the metadata cannot be written.
    """
    iceberg = _import_pyiceberg()
    if "." not in name.strip("."):
        raise ConfigError(f"--name {name!r} is not the name of an Iceberg table. Write NAMESPACE.TABLE.")
    with held_version(uri, version) as manifest:
        try:
            return _register(iceberg, uri, _load_catalog(iceberg, catalog), name, manifest)
        except iceberg.exceptions.CommitFailedException as error:
            raise ConflictError(
                f"the Iceberg table {name!r} was written by another job in the meantime ({error}). Run the "
                "command again."
            ) from error
        except _write_errors(iceberg) as error:
            raise StorageError(
                f"cannot write the Iceberg table {name!r} of catalog {catalog!r}: {error}. The bias table did "
                "not change. Check the catalog and its credentials in pyiceberg's configuration."
            ) from error


def _import_pyiceberg() -> Any:
    try:
        import pyiceberg.catalog
        import pyiceberg.exceptions
        import pyiceberg.expressions
    except ImportError as error:
        raise ConfigError(
            f"nnn table register --format iceberg needs the package pyiceberg: {INSTALL_EXTRA.format('iceberg')}."
        ) from error
    return pyiceberg


def _write_errors(iceberg: Any) -> tuple[type[Exception], ...]:
    """What pyiceberg raises, whose exceptions have no base of their own, and the database below a SQL catalog."""
    kinds = vars(iceberg.exceptions).values()
    found: list[type[Exception]] = [
        OSError,
        ValueError,
        *(each for each in kinds if isinstance(each, type) and issubclass(each, Exception)),
    ]
    try:
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError:
        return tuple(found)
    return (*found, SQLAlchemyError)


def _load_catalog(iceberg: Any, catalog: str) -> Any:
    try:
        return iceberg.catalog.load_catalog(catalog)
    except (ValueError, iceberg.exceptions.NoSuchTableError) as error:
        raise ConfigError(
            f"--catalog {catalog!r} cannot be opened: {error}. Describe it in ~/.pyiceberg.yaml, or with "
            f"PYICEBERG_CATALOG__{catalog.upper()}__URI and similar variables."
        ) from error


def _register(iceberg: Any, uri: str, catalog: Any, name: str, manifest: Manifest) -> _Snapshot:
    table = _open_table(catalog, uri, name)
    properties = _properties(manifest)
    current = table.current_snapshot()
    if current is None or _summary(current).items() & properties.items() != properties.items():
        files = [storage.join(uri, part.path) for part in manifest.files]
        with table.transaction() as change:
            if current is not None:
                change.delete(iceberg.expressions.AlwaysTrue())
            change.add_files(files, snapshot_properties=properties, check_duplicate_files=False)
    return _Snapshot(manifest.version, table.current_snapshot().snapshot_id, len(manifest.files), properties)


def _summary(snapshot: Any) -> dict[str, str]:
    return dict(snapshot.summary.additional_properties) if snapshot.summary else {}


def _open_table(catalog: Any, uri: str, name: str) -> Any:
    location = storage.join(uri, "_iceberg")
    if not catalog.table_exists(name):
        catalog.create_namespace_if_not_exists(name.rpartition(".")[0])
        # Cleaning up is left to nnn table expire, which knows what other versions need.
        properties = {"gc.enabled": "false", "write.metadata.delete-after-commit.enabled": "true"}
        return catalog.create_table(name, _SCHEMA, location=location, properties=properties)
    table = catalog.load_table(name)
    if table.location() != location:
        raise ConfigError(
            f"--name {name!r} is an Iceberg table at {table.location()!r}, not of {uri!r}. It was left as it "
            "is. Name another one."
        )
    return table


def _properties(manifest: Manifest) -> dict[str, str]:
    settings = manifest.settings
    return {
        _VERSION: str(manifest.version),
        "nnn.k": str(settings.k),
        "nnn.alpha": repr(settings.alpha),
        "nnn.bank_digest": settings.bank_digest,
        "nnn.id_digest": manifest.id_digest,
        "nnn.manifest_sha256": sha256(manifest.to_json()),
    }


def _iceberg_versions(uri: str) -> set[int]:
    """The versions that readers of the Iceberg table in the table's folder may see; needs no package.

    Metadata files are numbered, and the catalog alone knows whether the highest was committed: two count.

    Raises:
        CorruptArtifactError: the metadata are damaged, so it is not known what they name.
    """
    folder = storage.join(uri, "_iceberg", "metadata")
    names = {name: int(match.group(1)) for name in storage.list_names(folder) if (match := _METADATA.match(name))}
    newest = sorted(set(names.values()))[-2:]
    return {
        version
        for name in sorted(names)
        if names[name] in newest
        for version in _version_of(storage.join(folder, name))
    }


def _version_of(uri: str) -> list[int]:
    """The version in the current snapshot of a metadata file; none where there is no snapshot yet."""
    try:
        record = json.loads(storage.read_bytes(uri))
        found = {each["snapshot-id"]: each["summary"] for each in record.get("snapshots", [])}
        current = record.get("current-snapshot-id")
        return [] if current in (None, -1) else [int(found[current][_VERSION])]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptArtifactError(
            f"{uri!r} is not readable Iceberg metadata ({error!r}), so its version is unknown. Move its folder "
            "away, and register the current version under another name."
        ) from error
