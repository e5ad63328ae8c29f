"""Parquet files that belong to a table with a log of its own, which alone says which of them still count."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from nnn_core import storage
from nnn_core.errors import INSTALL_EXTRA, InputError

#: Folders of a table below its root: partitions (``day=1``), and the short prefixes that spread files of a store.
_BELOW_ROOT = re.compile(r"[^/=]+=.*|[A-Za-z0-9]{2}")

_LOGS = {"_delta_log": "Delta", ".hoodie": "Hudi"}


def current_files(uris: Sequence[str]) -> list[str]:
    """Those of ``uris`` that are files of no table, or that the log of their table still names.

    A Delta table keeps files of rows that were deleted or rewritten, so that older versions can be read.

    Raises:
        InputError: the log cannot be read here, or leaves out single rows of a file.
    """
    roots = {uri: _root(uri) for uri in uris if uri.lower().endswith((".parquet", ".pq", ".parq"))}
    kinds = {root: _kind(root) for root in dict.fromkeys(roots.values())}
    current = {root: _delta_files(root) for root, kind in kinds.items() if kind == "Delta"}
    other = {root: kind for root, kind in kinds.items() if kind not in ("", "Delta")}
    if other:
        root, kind = next(iter(other.items()))
        raise InputError(
            f"{root!r} is a table of {kind}, whose log decides which rows exist. Its Parquet files may still "
            "hold deleted rows. Export the current rows to new files, with Spark or the library of that format."
        )
    return [uri for uri in uris if _name(uri) in current.get(roots.get(uri, ""), {_name(uri)})]


def _root(uri: str) -> str:
    """The folder that would be the table's."""
    folder = storage.parent(uri)
    while _BELOW_ROOT.fullmatch(storage.basename(folder)):
        folder = storage.parent(folder)
    return folder


def _kind(root: str) -> str:
    for name, kind in _LOGS.items():
        if storage.exists(storage.join(root, name)):
            return kind
    if storage.basename(root) == "data":
        beside = storage.list_names(storage.join(storage.parent(root), "metadata"))
        return "Iceberg" if any(name.endswith(".metadata.json") for name in beside) else ""
    return ""


def _delta_files(root: str) -> set[str]:
    """Names of the files of the table's newest version, from its log.

    Raises:
        InputError: the package deltalake is missing, the log is damaged, or deletion vectors are in use.
    """
    fact = f"{root!r} is a Delta table, whose log says which files are current"
    try:
        import deltalake
    except ImportError as error:
        raise InputError(f"{fact}. Reading it needs the package deltalake: {INSTALL_EXTRA.format('delta')}.") from error
    try:
        table = deltalake.DeltaTable(root)
        files = table.file_uris()
        vectors: Any = table.deletion_vectors()
        deleted = sum(batch.num_rows for batch in vectors)
    except Exception as error:  # whatever the library or its store raises
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"{fact}, but it cannot be read: {reason}. Repair it, or give a copy of the rows.") from error
    if deleted:
        raise InputError(
            f"{fact}. It also deletes single rows of {deleted} files (deletion vectors), which the files still "
            "hold. Purge them first: REORG TABLE ... APPLY (PURGE)."
        )
    return set(map(_name, files))


def _name(uri: str) -> str:
    """The file's name, which is unique in a table; logs spell it as a URL."""
    return unquote(storage.basename(uri))
