"""Every known format, by the suffix of a file's name."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from nnn_core.errors import ConfigError
from nnn_core.inputs.readers import (
    _arrays,
    _arrow,
    _delimited,
    _images,
    _json_captions,
    _jsonl,
    _npy,
    _parquet,
    _plain,
    _webdataset,
)
from nnn_core.inputs.readers._formats import Format

_BUILT_IN = (
    _webdataset.FORMAT,
    _npy.FORMAT,
    _arrays.NPZ,
    _arrays.SAFETENSORS,
    _arrays.HDF5,
    _parquet.FORMAT,
    _arrow.FORMAT,
    _delimited.TSV,
    _delimited.CSV,
    _json_captions.FORMAT,
    _jsonl.FORMAT,
    _plain.FORMAT,
    _images.FORMAT,
)
_ENTRY_POINTS = "nnn_core.formats"
_SUFFIX = re.compile(r"\.[^/A-Z]+")


@cache
def formats() -> dict[str, Format]:
    """Every known format by suffix: those built in, and those that installed packages add.

    Raises:
        ConfigError: a package's entry point leads to no format, or to one whose suffix is taken.
    """
    known = {suffix: each for each in _BUILT_IN for suffix in each.suffixes}
    for point in entry_points(group=_ENTRY_POINTS):
        added = _load(point)
        if taken := sorted(set(added.suffixes) & known.keys()):
            raise ConfigError(
                f"{_describe(point)} adds a format for {', '.join(taken)}, which {known[taken[0]].name!r} reads "
                "already. Uninstall it, or choose other suffixes."
            )
        known |= dict.fromkeys(added.suffixes, added)
    return known


def _load(point: EntryPoint) -> Format:
    try:
        added: object = point.load()
    except Exception as error:  # whatever a package of somebody else may raise
        raise ConfigError(
            f"{_describe(point)} cannot be loaded: {error!r}. Repair or uninstall that package."
        ) from error
    if not isinstance(added, Format) or not all(map(_SUFFIX.fullmatch, added.suffixes)):
        raise ConfigError(
            f"{_describe(point)} gives {added!r}, but it must give a Format with lower-case suffixes that begin "
            "with a dot. Repair or uninstall that package."
        )
    return added


def _describe(point: EntryPoint) -> str:
    package = f" of the package {point.dist.name!r}" if point.dist else ""
    return f"entry point {point.name!r} ({point.value}) in group {_ENTRY_POINTS!r}{package}"


def suffix_of(uri: str) -> str | None:
    """The suffix of a known format that ends ``uri``, whatever the case; the longest of several."""
    return max((suffix for suffix in formats() if uri.lower().endswith(suffix)), key=len, default=None)
