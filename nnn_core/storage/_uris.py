"""URIs as text, whatever their protocol."""

from __future__ import annotations


def join(uri: str, *names: str) -> str:
    """``uri`` with path segments appended, whatever the protocol."""
    return "/".join([uri.rstrip("/"), *names])


def parent(uri: str) -> str:
    """The folder that holds ``uri``."""
    return uri.rstrip("/").rpartition("/")[0]


def basename(uri: str) -> str:
    """The last path segment of ``uri``."""
    return uri.rstrip("/").rpartition("/")[2]
