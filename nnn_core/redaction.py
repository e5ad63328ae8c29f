"""Credentials in URIs and messages: refused where they are given, blotted out where they are shown.

A URI is written into the job graph, into logs and into messages, so a key in it would be in all of them. Clients of
stores find their credentials in the environment; nothing here has to carry one.
"""

from __future__ import annotations

import re

from nnn_core.errors import ConfigError

_HIDDEN = "[redacted]"

#: A user with a password in front of the host. The password may hold a slash, as secret keys do, so it ends at the
#: last @; what looks like one because of a port, an ARN or an IPv6 address does not count.
_PASSWORD = re.compile(r"(?<=://)(?!arn:|\[)[^/?#@\s'\"]*:(?!\d+(?:[/?#]|$))[^\s'\"]*@")

#: Over HTTP a user without a password is a token.
_USER = re.compile(r"(?<=http://|ttps://)[^/?#@\s'\"]+@")

#: A parameter of a signed URL, or any other that gives access: in a query, a fragment or a path.
_PARAMETER = re.compile(
    r"([?&#;](?:[^=&#;\s'\"]*(?:signature|token|secret|passw|credential|access.?key|access.?id|api.?key|authori[sz]ation"
    r"|session.?id|bearer)[^=&#;\s'\"]*|(?:[^=&#;\s'\"]*[-_.])?(?:sig|key|pwd|auth|jwt|code|sid))=)[^&#;\s'\"]+",
    re.IGNORECASE,
)

#: What gives access wherever it stands: a token with its parts in base64, and what follows ``Bearer``.
_TOKEN = re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*|(?<=\bBearer )[\w.~+/=-]{8,}")


#: What no text of input may do to a terminal: move, colour, hide or turn what stands there. Joiners of letters and of
#: emojis may stay.
_MARKS = frozenset("\n\t\u200c\u200d")


def harmless(text: str) -> str:
    """``text`` for a terminal: characters that control it, or turn the direction of others, are written out."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in _MARKS else repr(each)[1:-1] for each in text)


def redact(text: str) -> str:
    """``text`` without the credentials of the URIs in it."""
    for pattern in (_PASSWORD, _USER):
        text = pattern.sub(f"{_HIDDEN}@", text)
    return _TOKEN.sub(_HIDDEN, _PARAMETER.sub(rf"\1{_HIDDEN}", text))


def refuse_credentials(uri: str, flag: str = "") -> None:
    """Refuse a URI that gives access by itself.

    Args:
        uri: what the user typed, globs included.
        flag: the flag it was typed after, for the message.

    Raises:
        ConfigError: it holds a password, a key or a signature.
    """
    if "://" in uri and redact(uri) != uri:
        raise ConfigError(
            f"{flag} {redact(uri)!r}".strip() + " holds credentials, and a URI ends up in the job graph and in logs, "
            "so it was not used. Give them to the store's client through the environment (AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS, or a file in ~/.config/fsspec), and the URI "
            "without them. What a signed URL leads to has to be copied to a store first."
        )
