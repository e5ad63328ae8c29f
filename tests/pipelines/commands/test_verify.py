"""Every damage to a table is noticed: by ``nnn table verify``, and by who reads the table."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jobs import TwoVersions

from nnn_core import load_bias_table
from nnn_core.errors import CorruptArtifactError, NNNError
from nnn_core.table.manifest import read_manifest
from pipelines.commands import cli

CASES = 200
MARK = "nnn-bias-table.json"


@pytest.fixture
def table(two_versions: TwoVersions, tmp_path: Path) -> Path:
    """A table of two versions."""
    return Path(shutil.copytree(two_versions.kept[2] / "table", tmp_path / "table"))


def current_files(table: Path) -> list[str]:
    """Manifest, data files and list of hubs of the current version."""
    manifest = read_manifest(str(table))
    assert (manifest.version, len(manifest.files) > 2) == (2, True)
    return ["versions/000002.json", *manifest.paths]


def verify(table: Path, *flags: str) -> int:
    return cli.main(["table", "verify", "--table", str(table), *flags])


def flips(data: bytes, positions: range | list[int], rng: random.Random) -> Iterator[bytes]:
    """``data`` with one byte changed, for each position."""
    for position in positions:
        yield data[:position] + bytes([data[position] ^ rng.randrange(1, 256)]) + data[position + 1 :]


def is_noticed(table: Path, capsys: pytest.CaptureFixture[str]) -> bool:
    """By both, and with the exit code of damage."""
    try:
        hubs = load_bias_table(str(table)).manifest.hubs
        assert hubs is not None
        hubs.read(str(table))
    except NNNError as error:
        code = verify(table)
        printed = capsys.readouterr()
        return isinstance(error, CorruptArtifactError) and code == 9 and "damaged" in printed.out
    return False


def unnoticed(path: Path, table: Path, damages: Iterator[bytes], capsys: pytest.CaptureFixture[str]) -> tuple[int, int]:
    """(how many damages of the file went unnoticed, how many there were); the file is whole afterwards."""
    whole, missed, total = path.read_bytes(), 0, 0
    try:
        for data in damages:
            assert data != whole
            path.write_bytes(data)
            total += 1
            missed += not is_noticed(table, capsys)
    finally:
        path.write_bytes(whole)
    return missed, total


def test_a_whole_table(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = current_files(table)
    assert verify(table, "--json") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:-2] == [f"whole    {name}" for name in [*files, MARK]]
    assert lines[-2] == f"version 2 is whole: {len(files) + 1} of {len(files) + 1} files are whole"
    assert json.loads(lines[-1]) == {
        "table": str(table),
        "verdict": "whole",
        "version": 2,
        "files": [{"path": name, "state": "whole", "problem": ""} for name in [*files, MARK]],
    }


def test_every_damage_is_named(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, first, second, *others = current_files(table)
    (table / first).write_bytes((table / first).read_bytes()[:-1])
    (table / second).unlink()
    (table / MARK).write_bytes(b"")
    assert verify(table, "--json") == 9
    printed = capsys.readouterr()
    record = json.loads(printed.out.splitlines()[-1])
    states = {file["path"]: file["state"] for file in record["files"]}
    assert states == {
        "versions/000002.json": "whole",
        first: "damaged",
        second: "missing",
        MARK: "damaged",
        **dict.fromkeys(others, "whole"),
    }
    assert record["verdict"] == "damaged"
    assert f"3 of {len(states)} files of version 2 of '{table}' are damaged" in printed.err
    assert f"'{table}/{first}' is damaged" in printed.err
    assert f"cannot read '{table}/{second}'" in printed.err
    assert "run a refresh" in printed.err
    assert "the next refresh writes it again" in printed.err


def test_a_damaged_manifest_and_the_version_before(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = table / "versions" / "000002.json"
    manifest.write_bytes(manifest.read_bytes()[:-2])
    assert verify(table) == 9
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0] == "damaged  versions/000002.json"
    assert "move this file out of its folder" in printed.err
    assert verify(table, "--version", "1") == 0


def test_a_version_that_is_not_there(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(table, "--version", "7") == 3
    assert "has no version 7" in capsys.readouterr().err
    assert verify(table.parent) == 3


def test_a_manifest_under_another_number(table: Path) -> None:
    """A copy would make an old version the current one."""
    copy = table / "versions" / "000003.json"
    copy.write_bytes((table / "versions" / "000001.json").read_bytes())
    with pytest.raises(CorruptArtifactError, match="manifest of version 1 under the name of version 3"):
        load_bias_table(str(table))
    assert verify(table) == 9


@pytest.mark.counted
def test_any_damage_is_noticed(
    table: Path, capsys: pytest.CaptureFixture[str], record_count: Callable[[str, int, int], None]
) -> None:
    """200 bytes flipped and files cut short, spread over all files of the version."""
    rng, files = random.Random(7), current_files(table)
    missed = total = 0
    for number, name in enumerate(files):
        data = (table / name).read_bytes()
        cases = (number + 1) * CASES // len(files) - number * CASES // len(files)
        flipped = flips(data, rng.choices(range(len(data)), k=cases // 2), rng)
        cut = (data[: rng.randrange(len(data))] for _ in range(cases - cases // 2))
        for damages in (flipped, cut):
            counts = unnoticed(table / name, table, damages, capsys)
            missed, total = missed + counts[0], total + counts[1]
    record_count("damages to a table, noticed by verify and by the reader", total - missed, total)
    assert (missed, total) == (0, CASES)
    assert verify(table) == 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_byte(
    table: Path, capsys: pytest.CaptureFixture[str], record_count: Callable[[str, int, int], None]
) -> None:
    """Every byte of every file flipped, and the manifest cut at every length."""
    rng, missed, total = random.Random(8), 0, 0
    for name in current_files(table):
        data = (table / name).read_bytes()
        damages = [flips(data, range(len(data)), rng)]
        if name.endswith(".json"):
            damages.append(data[:length] for length in range(len(data)))
        for each in damages:
            counts = unnoticed(table / name, table, each, capsys)
            missed, total = missed + counts[0], total + counts[1]
    record_count("every byte of a table, noticed by verify and by the reader", total - missed, total)
    assert missed == 0
