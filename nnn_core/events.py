"""Log messages with fields: text for people, and the same fields for programs.

A worker of a remote runner hands on the text of a message and nothing else, so the text itself holds the fields:
``embedded uri=gs://corpus/00017.tar rows=9998 seconds=41.2``.
"""

from __future__ import annotations

import json
import re

from nnn_core.redaction import redact

_PLAIN = re.compile(r"[^\s\"]+\Z")


class Event:
    """What happened, and to what; the argument of a logger's methods.

    Attributes:
        what: the same words whenever this happens.
        fields: by name, those that are not None; URIs without the credentials in them.
    """

    def __init__(self, what: str, **fields: str | float | None) -> None:
        self.what = what
        known = ((name, value) for name, value in fields.items() if value is not None)
        self.fields = {name: redact(value) if isinstance(value, str) else value for name, value in known}

    def __str__(self) -> str:
        return " ".join([self.what, *(f"{name}={_shown(value)}" for name, value in self.fields.items())])


def _shown(value: str | float) -> str:
    """A value as one word, or in quotes."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if _PLAIN.match(text) else json.dumps(text, ensure_ascii=False)
