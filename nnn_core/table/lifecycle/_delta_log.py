"""The Delta log in a table's folder, as far as it says which files must stay; see ``registration``."""

from __future__ import annotations

import json

from nnn_core import storage
from nnn_core.errors import CorruptArtifactError


def delta_files(uri: str) -> set[str]:
    """Paths of the files that the Delta log in the table's folder names, if there is one; needs no package.

    Raises:
        CorruptArtifactError: the log is damaged, so it is not known what it names.
    """
    folder, names = storage.join(uri, "_delta_log"), set[str]()
    for name in storage.list_names(folder):
        if not (name.endswith(".json") and name.removesuffix(".json").isdigit()):
            continue
        lines = storage.read_bytes(storage.join(folder, name)).splitlines()
        try:
            actions = [json.loads(line) for line in lines if line.strip()]
            names -= {action["remove"]["path"] for action in actions if "remove" in action}
            names |= {action["add"]["path"] for action in actions if "add" in action}
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptArtifactError(
                f"{folder!r} is not a readable Delta log ({error!r}), so its files are unknown. Move the folder "
                "away, and register the current version again."
            ) from error
    return names
