"""URIs as text, whatever their protocol."""

from __future__ import annotations

import re

from nnn_core.errors import ConfigError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(/{0,2})(.*)\Z", re.DOTALL)


def check_place(uri: str) -> None:
    """Refuse what is no place: an empty text, a protocol with nothing behind it, or with a slash missing.

    Raises:
        ConfigError: naming it.
    """
    match = _SCHEME.match(uri)
    if not uri.strip() or (match and not match[3].strip("/ ")) or "\0" in uri:
        raise ConfigError(f"{uri!r} is not a place. Write a path, or a URI such as s3://bucket/folder.")
    if match and match[2] == "/" and match[1].lower() != "file":
        raise ConfigError(
            f"{uri!r} would be a folder called {match[1] + ':'!r} on this machine. Write "
            f"{match[1]}://{match[3]}, or ./{uri} for that folder."
        )


def join(uri: str, *names: str) -> str:
    """``uri`` with path segments appended, whatever the protocol."""
    return "/".join([uri.rstrip("/"), *names])


def parent(uri: str) -> str:
    """The folder that holds ``uri``."""
    return uri.rstrip("/").rpartition("/")[0]


def basename(uri: str) -> str:
    """The last path segment of ``uri``."""
    return uri.rstrip("/").rpartition("/")[2]
