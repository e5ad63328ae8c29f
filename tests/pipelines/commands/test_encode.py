"""``nnn encode``: a vector for each line of a file, or a word on why not; and input that is not there, told at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import nnn_core
from pipelines.commands import cli

Encode = Callable[[str], tuple[int, str]]
SPEC = f"open_clip:local-dir:{Path(nnn_core.__file__).parent / 'demo' / 'encoder'}"


@pytest.fixture
def encode(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Encode:
    def run(text: str) -> tuple[int, str]:
        (tmp_path / "q.txt").write_text(text)
        flags = ["--input", str(tmp_path / "q.txt"), "--output", str(tmp_path / "q.npy")]
        code = cli.main(["encode", "--encoder", SPEC, *flags])
        return code, capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("text", "message"),
    [("a red square\n\na blue dot\n", "1 empty line stands between captions. Fill in or remove them"),
     ("\r\n\r\na red square\r\n", "2 empty lines stand between captions. Fill in or remove them"),
     ("a red square\n \na blue dot\n", "row 'line 2' cannot be encoded (empty caption). Repair it or leave it out")],
)  # fmt: skip
def test_lines_and_rows_match_or_nothing_is_written(encode: Encode, tmp_path: Path, text: str, message: str) -> None:
    code, error = encode(text)
    assert (code, message in error) == (3, True)
    assert not (tmp_path / "q.npy").exists()


def test_empty_lines_at_the_end_are_no_rows(encode: Encode, tmp_path: Path) -> None:
    assert encode("a red square\na blue dot\n\n\n") == (0, "")
    assert np.load(tmp_path / "q.npy").shape == (2, 64)


def test_a_vector_without_direction_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "q.txt").write_text("a cat\nnothing\n")
    flags = ["--input", str(tmp_path / "q.txt"), "--output", str(tmp_path / "q.npy")]
    assert cli.main(["encode", "--encoder", "python:fakes:EmptyEncoder", *flags]) == 3
    assert "row 'line 2' cannot be encoded (vector" in capsys.readouterr().err
    assert not (tmp_path / "q.npy").exists()


@pytest.mark.parametrize(
    "command",
    ["refresh --candidates nosuch/*.jpg --references nosuch.txt --work w --table t",
     "plan --candidates nosuch/*.jpg --references nosuch.txt --work w --table t",
     "encode --input nosuch/*.jpg --output q.npy"],
)  # fmt: skip
def test_files_are_listed_before_a_model_is_looked_at(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Importing the packages of a model takes seconds, after which a mistyped folder would be told."""
    monkeypatch.chdir(tmp_path)
    assert cli.main([*command.split(), "--encoder", "open_clip:local-dir:nowhere"]) == 3
    assert "'nosuch/*.jpg'" in capsys.readouterr().err
