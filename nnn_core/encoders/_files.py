"""Digests of the files that make an encoder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nnn_core.errors import InputError

#: Files that a tokenizer in Hugging Face format is made of.
TOKENIZER = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json"),
    *("merges.txt", "vocab.txt", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model"),
)


def digest(*parts: object) -> str:
    """SHA-256 of JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"--encoder: {str(path)!r} cannot be read: {error}.") from error


def digest_of_files(paths: Iterable[Path], *parts: object) -> str:
    """SHA-256 over files by name, and JSON values besides; where they lie does not matter."""
    return digest(*parts, *([path.name, file_digest(path)] for path in sorted(paths)))


def present(directory: Path, names: Iterable[str]) -> list[Path]:
    """Those files of a directory, in the order of their names here, that are there."""
    return [directory / name for name in names if (directory / name).is_file()]


def read_json(path: Path) -> dict[str, Any]:
    """The object in a configuration file.

    Raises:
        InputError: it is not there, or is not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"--encoder: {str(path)!r} is not a readable JSON file: {error}.") from error
    if not isinstance(value, dict):
        raise InputError(f"--encoder: {str(path)!r} holds no JSON object.")
    return value
