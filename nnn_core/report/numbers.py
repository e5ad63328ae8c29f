"""Bytes and durations as a reader sees them, in reports and in what commands print."""

from __future__ import annotations

import math

_UNITS = ("KiB", "MiB", "GiB", "TiB")


def size(value: float) -> str:
    """An amount of bytes: 512 bytes, 3.4 MiB, 1,024.0 TiB."""
    if value < 1024:
        return f"{value:,.0f} bytes"
    power = min(len(_UNITS), int(math.log(value, 1024)))
    return f"{value / 1024**power:,.1f} {_UNITS[power - 1]}"


def seconds(value: float | None) -> str:
    """A duration: 0.42 s, 31 s, 4 min 10 s, 2 h 5 min; None is not known."""
    if value is None:
        return "not known"
    if not math.isfinite(value):
        return "\u2013"
    if value < 60:
        return f"{value:.2f} s" if value < 1 else f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"
