"""What the runbook tells a person to type does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tables import publish_biases

from nnn_core import load_bias_table
from nnn_core.errors import ERRORS
from pipelines.commands import cli

RUNBOOK = (Path(__file__).parents[2] / "deploy" / "RUNBOOK.md").read_text()


def test_a_rollback_is_a_new_version_with_the_old_biases(tmp_path: Path) -> None:
    table = str(tmp_path / "table")
    for version in (1, 2):
        publish_biases(table, version, {name: version / at for at, name in enumerate("abc", start=2)})
    (commands,) = re.findall(r"^## Rollback\n(?:(?!^## ).)*?((?:^    nnn [^\n]+\n)+)", RUNBOOK, re.M | re.S)
    for command in commands.splitlines():
        words = command.replace("TABLE", table).replace("rollback 41", "rollback 1").split()
        assert cli.main(words[1:]) == 0, command
    versions = {number: load_bias_table(table, number) for number in (1, 2, 3)}
    assert list(versions[3].bias_of(["a", "b", "c"])) == list(versions[1].bias_of(["a", "b", "c"]))
    assert list(versions[3].bias_of(["a", "b", "c"])) != list(versions[2].bias_of(["a", "b", "c"]))
    assert load_bias_table(table).manifest.version == 3


@pytest.mark.parametrize("name", sorted(ERRORS.keys() - {"NNNError", "GateError"}))
def test_every_class_of_failure_has_its_line(name: str) -> None:
    assert f"| `{name}` | {ERRORS[name].exit_code} |" in RUNBOOK
