"""What a secret looks like, in one place: refused where it is given, blotted out where it would be shown.

A URI or an option is written into the job graph, into logs and into messages, so a key in it would be in all of them.
Clients of stores find their credentials in the environment; nothing here has to carry one.

A secret is known by the name in front of it (``sig=``, ``X-Amz-Signature=``, ``;jsessionid=``), by its place (the
password before a host), or by its own form (a JSON Web Token, an access key of a cloud or of a hub of models).
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from nnn_core.errors import ConfigError

_HIDDEN = "[redacted]"

#: A user with a password in front of the host. The password may hold a slash, as secret keys do, so it ends at the
#: last @; what looks like one because of a port, an ARN or an IPv6 address does not count.
_PASSWORD = re.compile(r"(?<=://)(?!arn:|\[)[^/?#@\s'\"]*:(?!\d+(?:[/?#]|$))[^\s'\"]*@")

#: Over HTTP a user without a password is a token.
_USER = re.compile(r"(?<=http://|ttps://)[^/?#@\s'\"]+@")

#: A user with a password where no protocol is, as an option may hold it. The digest of an image also follows an @.
_BARE_PASSWORD = re.compile(r"[^/\s:@]+:[^\s@]+@(?!sha256:)")

#: A name and its value, with what stands before and between: in a query, a fragment, a path or a list of settings.
_SETTING = re.compile(r"(^|[?&#;\s'\"({,])([\w.%~+-]{1,80})(=|['\"]: ?['\"])([^&#;\s'\"]+)")

#: The words of a name.
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")

#: Words whose value gives access, also at the end of a longer one, as in ``accesstoken``.
_SECRET = re.compile(
    r"(signature|token|secret|passw(or)?d|passphrase|pwd|credentials?|bearer|jwt|authori[sz]ation|authcode|sessionid"
    r"|connectionstring|access(key)?id|(access|account|api|auth|private|secret|shared|storage)key)\Z"
)

#: What may be said of a secret without giving it away.
_ABOUT = frozenset({"count", "expires", "expiry", "length", "limit", "name", "scope", "scopes", "type", "version"})

#: What gives access in a URI only, alone or as the last word; and keys that do not.
_ALONE, _LAST = frozenset({"auth", "code", "sid"}), frozenset({"key", "sig"})
_OTHER_KEYS = frozenset({"cache", "foreign", "group", "kms", "object", "partition", "primary", "public", "sort"})

#: What gives access wherever it stands: a token with its parts in base64, what follows ``Bearer`` or ``Basic``, access
#: keys of Amazon, Google, Hugging Face and GitHub, and a private key.
_TOKEN = re.compile(
    r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*|(?<=\bBearer )[\w.~+/=-]{8,}|(?<=\bBasic )[\w+/=]{8,}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{35}|\bya29\.[\w-]{20,}|\bhf_[A-Za-z0-9]{30,}"
    r"|\b(?:gh[opsur]|github_pat)_\w{22,}|-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*"
)


#: What no text of input may do to a terminal: move, colour, hide or turn what stands there. Joiners of letters and of
#: emojis may stay.
_MARKS = frozenset("\n\t\u200c\u200d")


def harmless(text: str) -> str:
    """``text`` for a terminal: characters that control it, or turn the direction of others, are written out."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in _MARKS else repr(each)[1:-1] for each in text)


def _names_secret(name: str) -> bool:
    """Whether the value of an option or setting of this name gives access, such as ``s3_session_token``."""
    words = _words(name)
    if not words or words[-1] in _ABOUT:
        return False
    spans = ((start, start + count) for start in range(len(words)) for count in (1, 2, 3))
    return any(_SECRET.search("".join(words[start:end])) for start, end in spans)


def redact(text: str) -> str:
    """``text`` without the secrets in it."""
    for pattern in (_PASSWORD, _USER):
        text = pattern.sub(f"{_HIDDEN}@", text)
    return _TOKEN.sub(_HIDDEN, _SETTING.sub(_without_value, text))


def is_secret(option: str, value: str) -> bool:
    """Whether an option has a secret for its value, or one in it.

    Args:
        option: name of the option, such as ``--s3_session_token``.
        value: what was given for it.
    """
    return bool(_names_secret(option) or _BARE_PASSWORD.match(value) or redact(value) != value)


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
            f"{flag} {redact(uri)!r}".strip()
            + " holds credentials. URIs appear in the job graph and in logs, so it was not used. Give the URI "
            "without credentials, and set those in the environment (AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS, or a file in ~/.config/fsspec). Copy the "
            "content of a signed URL to a store first."
        )


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(unquote(name))]


def _without_value(setting: re.Match[str]) -> str:
    before, name, between, value = setting.groups()
    inner = unquote(value)  # a URI may be a parameter of another one
    hidden = _names_secret(name) or (before in tuple("?&#;") and _gives_access(name))
    if hidden or (inner != value and redact(inner) != inner):
        return f"{before}{name}{between}{_HIDDEN}"
    return setting[0]


def _gives_access(name: str) -> bool:
    """Whether a parameter of a URI gives access by a name that has other meanings elsewhere."""
    match _words(name):
        case [word]:
            return word in _ALONE | _LAST
        case [*_, what, word]:
            return word in _LAST and what not in _OTHER_KEYS
    return False
