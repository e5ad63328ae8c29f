"""What cannot work ends in a line or two and a code: never in a traceback, and not after a wait."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import gaussian, write_vectors

from nnn_core.errors import InputError
from nnn_core.evaluation.judgements import read_judgements
from pipelines.commands import cli

pytestmark = pytest.mark.counted

HUGE = str(10**18)
DIGITS = "9" * 5000

#: Flags that are added to a refresh that would work, its exit code, and words of what it says.
REFRESHES = {
    "scores beyond any memory": (["--k-max", HUGE], 2, "is too large"),
    "k beyond any bank": (["--k", HUGE], 2, "is too large"),
    "a number of 5,000 digits": (["--k-max", DIGITS], 2, "--k-max"),
    "no number": (["--alpha", "nan"], 2, "--alpha nan"),
    "a negative number of workers": (["--direct_num_workers=-1"], 2, "--threads"),
    "workers in words": (["--direct_num_workers=few"], 2, "an option of Beam cannot be used"),
    "a runner that there is not": (["--runner=NoSuchRunner"], 2, "was not tested with this job"),
    "a runner that loses rows": (["--runner=DaskRunner"], 2, "is refused"),
    "a range of names without end": (["--candidates", "c-{0..99999999999999}.npy"], 2, "expands to more than"),
    "a range of 5,000 digits": (["--candidates", f"c-{{0..{DIGITS}}}.npy"], 2, "expands to more than"),
    "ranges of ranges": (["--candidates", "{0..9}" * 9], 2, "expands to more than"),
    "2,000 braces": (["--candidates", "{a}" * 2000], 2, "braces"),
    "a brace that stays open": (["--candidates", "c-{0..3.npy"], 2, "unbalanced brace"),
    "a name that is not UTF-8": (["--candidates", os.fsdecode(b"/nowhere/caf\xe9.npy")], 3, "caf\\udce9"),
    "an encoder that there is not": (["--encoder", "open_clip:local-dir:/nowhere"], 3, "/nowhere"),
    "an encoder that is no encoder": (["--encoder", "python:os:getpid"], 2, "python:os:getpid"),
    "a file of flags that is a folder": (["--config", "/"], 3, "cannot read '/'"),
    "gates that are a folder": (["--gates", "/"], 3, "cannot read '/'"),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_vectors(folder / "candidates", ["a", "b", "c"], gaussian(3, 4, 1), 1)
    write_vectors(folder / "references", ["1", "2", "3", "4"], gaussian(4, 4, 2), 1)
    return folder


def ending(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """The exit code of a command, and the lines that it ends with."""
    capsys.readouterr()
    try:
        code = cli.main(arguments)
    except SystemExit as left:
        code = int(left.code or 0)
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("WARNING")]
    assert not any("Traceback" in line for line in lines)
    return code, lines


@pytest.mark.parametrize("case", REFRESHES)
def test_a_refresh_that_cannot_work(
    case: str,
    inputs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    record_count: Callable[[str, int, int], None],
) -> None:
    flags, code, words = REFRESHES[case]
    places = {
        "candidates": str(inputs / "candidates" / "*.parquet"),
        "references": str(inputs / "references" / "*.parquet"),
        "table": str(tmp_path / "table"),
        "work": str(tmp_path / "work"),
    }
    arguments = [part for name, place in places.items() for part in (f"--{name}", place)]
    found, lines = ending(["refresh", *arguments, *flags], capsys)
    record_count("refreshes that cannot work: a line or two, and the code", found == code and len(lines) in (1, 2), 1)
    assert (found, len(lines) in (1, 2)) == (code, True), lines
    assert words in "\n".join(lines)
    assert not (tmp_path / "table").exists()


@pytest.mark.parametrize(
    "columns",
    [
        {"query_id": [b"q"], "candidate_id": ["c"]},
        {"query_id": [{"a": 1}], "candidate_id": ["c"]},
        {"query_id": [1.5], "candidate_id": ["c"]},
        {"query_id": ["q"], "candidate_id": [b"c"]},
        {"query_id": ["q"], "candidate_id": [[["c"]]]},
        {"query_id": ["q"], "candidate_id": pa.array([["c"]], pa.list_(pa.string(), 1))},
        {"query_id": ["q"], "candidate_id": ["c"], "grade": ["good"]},
        {"query_id": ["q"], "candidate_id": ["c"], "grade": [[1]]},
        {"query_id": ["q"], "candidate_id": ["c"], "grade": [float("nan")]},
    ],
)
def test_judgements_of_wrong_types(columns: dict[str, object], tmp_path: Path) -> None:
    pq.write_table(pa.table(columns), tmp_path / "relevance.parquet")
    with pytest.raises(InputError, match=r"relevance\.parquet"):
        read_judgements(str(tmp_path / "relevance.parquet"))


def test_judgements_of_categories_and_numbers(tmp_path: Path) -> None:
    columns = {"query_id": pa.array(["q"]).dictionary_encode(), "candidate_id": [7], "grade": [2]}
    pq.write_table(pa.table(columns), tmp_path / "relevance.parquet")
    assert read_judgements(str(tmp_path / "relevance.parquet")) == {"q": {"7": 2.0}}
