"""``nnn init`` and ``nnn doctor``: before the first refresh."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from corpora import gaussian, write_vectors

from nnn_core import __version__
from pipelines.commands import cli
from pipelines.commands._parsing import parse_flags
from pipelines.commands._refresh_flags import build_parser


def run(capsys: pytest.CaptureFixture[str], *command: str) -> tuple[int, str, str]:
    code = cli.main(list(command))
    shown = capsys.readouterr()
    return code, shown.out, shown.err


@pytest.fixture
def sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Flags of two sides, of which one has columns that must be named."""
    monkeypatch.chdir(tmp_path)
    candidates = write_vectors(tmp_path / "candidates", ["a", "b"], gaussian(2, 8, 1), 1)
    table = pa.table({"sku": ["x", "y"], "emb": gaussian(2, 8, 2).tolist()})
    pq.write_table(table, tmp_path / "bank.parquet")
    return ["--candidates", candidates, "--references", "bank.parquet", "--table", "t", "--work", "w"]


def test_init_writes_a_file_that_a_refresh_takes(sides: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "init", *sides)
    assert code == 0
    assert "nnn refresh --config refresh.yaml --dry-run" in out
    text = Path("refresh.yaml").read_text()
    values: dict[str, Any] = yaml.safe_load(text)
    # A schedule starts in another folder.
    places = {flag[2:]: os.path.abspath(value) for flag, value in zip(sides[::2], sides[1::2], strict=True)}
    assert values == {**places, "reference_vector_column": "emb"}
    args, _ = parse_flags(build_parser(), ["--config", "refresh.yaml"])
    assert {name: getattr(args, name) for name in values} == values
    # What is shown as an example may be switched on.
    everything = text.replace("\n# tune:", "\ntune:").replace("\n# k:", "\nk:").replace("\n# alpha:", "\nalpha:")
    Path("more.yaml").write_text(everything)
    args, _ = parse_flags(build_parser(), ["--config", "more.yaml"])
    assert (args.tune, args.k, args.alpha) == (True, 16, 0.5)


def test_init_writes_paths_of_every_character(
    sides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """YAML takes the two halves of a character, as JSON escapes it, for two."""
    table = str(tmp_path / '\U0001f600 \u00e9 "t"')
    assert run(capsys, "init", *sides, "--table", table)[0] == 0
    assert parse_flags(build_parser(), ["--config", "refresh.yaml"])[0].table == table


def test_init_overwrites_nothing_and_says_what_it_lacks(
    sides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("refresh.yaml").write_text("mine")
    code, _, error = run(capsys, "init", *sides)
    assert code == 2
    assert "'refresh.yaml' exists already" in error
    assert Path("refresh.yaml").read_text() == "mine"
    (tmp_path / "captions.txt").write_text("a cat\na dog\n")
    code, _, error = run(capsys, "init", *sides, "--references", "captions.txt", "--output", "new.yaml")
    assert code == 2
    assert "--encoder is needed" in error
    pq.write_table(pa.table({"weight": [1.5, 2.5]}), tmp_path / "other.parquet")
    code, _, error = run(capsys, "init", *sides, "--references", "other.parquet", "--output", "new.yaml")
    assert code == 3
    assert "nnn inspect other.parquet shows what it holds" in error
    assert not Path("new.yaml").exists()


def test_doctor(sides: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "doctor", "candidates", "bank.parquet", "new", "--json")
    assert code == 0
    facts = json.loads(out.splitlines()[-1])
    assert facts["nnn"] == __version__
    assert int(facts["cores"]) >= 1
    assert facts["pyarrow"] == pa.__version__
    assert facts["candidates"] == "a folder with 1 names in it"
    assert facts["bank.parquet"].startswith("a file, ")
    assert facts["new"] == "reachable; empty or new"
    assert {"memory", "disk here", "int8 instructions", "GPU"} <= facts.keys()
    code, out, error = run(capsys, "doctor", "http://example.org/bias")
    assert code == 7
    assert "http://example.org/bias" in out
    assert "cannot create objects exclusively" in error
