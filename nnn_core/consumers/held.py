"""What an index holds: the version that it was exported of, as far as later updates brought it to others."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from nnn_core import storage
from nnn_core.consumers.update import Update
from nnn_core.errors import ConfigError, InputError
from nnn_core.table.manifest import read_manifest
from nnn_core.table.reading import BiasTable

FORMAT = "nnn-export/1"


def manifest_uri(output: str) -> str:
    """Where the manifest of an export lies; the export is complete once it is there."""
    return storage.join(output, "export.json")


def read_export(folder: str) -> dict[str, Any]:
    """The manifest of a finished export for an engine.

    Raises:
        InputError: there is none, or it is none.
    """
    uri = manifest_uri(folder)
    try:
        record: dict[str, Any] = json.loads(storage.read_bytes(uri))
        if record["format"] != FORMAT or not record["recipe"] or not isinstance(record["table"]["version"], int):
            raise ValueError("it holds no recipe")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{uri!r} is not the manifest of an export for an engine ({error!r}). Name another one."
        ) from error
    return record


@lru_cache(maxsize=2)  # an update looks at two
def load_biases(uri: str, version: int) -> BiasTable:
    """A version of the table without its means, which no export needs.

    Raises:
        InputError: no such table, version or file.
        CorruptArtifactError: a file or the manifest is damaged.
    """
    manifest = read_manifest(uri, version)
    table = pa.concat_tables([part.read(uri, ["id", "bias"]) for part in manifest.files])
    means = np.zeros((table.num_rows, 0), np.float32)
    return BiasTable(manifest, table.column("id"), table.column("bias").to_numpy(), means)


@lru_cache(maxsize=2)
def held_biases(update: Update) -> BiasTable:
    """The candidates and biases that an index has before an update.

    An update that leaves small changes alone leaves the index between two versions, and the next one has to start
    from there: a bias that moved away and came back is another one for the index.

    Raises:
        ConfigError: the export is not of the version that is named, or of another table.
        InputError: the export, or a version that it is made of, is gone.
    """
    record = read_export(update.like)
    table, before = record["table"], record.get("update")
    if table["version"] != update.since:
        raise ConfigError(
            f"--since {update.since} is not the version that the index holds: --like {update.like!r} brought it "
            f"to version {table['version']}. Name the export or update that was imported last, and its version."
        )
    now = load_biases(update.table, update.since)
    if now.manifest.id_digest != table["id_digest"]:
        raise ConfigError(f"--like {update.like!r} is of another table than {update.table!r}: their ids differ.")
    if not before or not before["min_change"]:
        return now
    earlier = held_biases(Update(update.table, before["since"], before["min_change"], before["like"]))
    step = Update(update.table, before["since"], before["min_change"], "").step(now.ids, now.bias, earlier)
    return replace(now, bias=step.bias)
