"""What a refresh did, by its files: against what its steps counted themselves, in the process where none is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jobs import TwoVersions

from nnn_core.planning.written import Artefacts, Done
from nnn_core.table.manifest import read_manifest


@pytest.mark.parametrize("version", [1, 2])
def test_files_tell_what_steps_counted(two_versions: TwoVersions, version: int) -> None:
    before, after = (str(two_versions.kept[each] / "work") for each in (version - 1, version))
    manifest = read_manifest(str(two_versions.kept[version] / "table"))
    done = Done.by(manifest, after, 4, Artefacts.of(after).since(Artefacts.of(before)))
    told: dict[str, dict[str, Any]] = two_versions.summaries[version - 1]["stages"]
    # Whether a sum of vectors was there already, its file does not tell.
    assert done.keys() == told.keys() - {"measure_vectors"}
    for stage, found in done.items():
        counted = {"computed": found.computed, "reused": found.reused, **found.held}
        assert counted == {name: told[stage].get(name, 0) for name in counted}, stage


def test_without_a_record_only_the_table_tells(two_versions: TwoVersions, tmp_path: Path) -> None:
    manifest = read_manifest(str(two_versions.kept[2] / "table"))
    nothing = Artefacts.of(str(tmp_path))
    assert Done.by(manifest, str(tmp_path), 4, nothing).keys() == {"commit_bias_table"}
