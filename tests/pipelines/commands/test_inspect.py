"""``nnn inspect`` as a person meets it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from corpora import gaussian, write_jsonl, write_vectors
from PIL import Image

from nnn_core.embedded.embedding import embed_shard
from nnn_core.inputs.listing import describe_shard, list_shards
from pipelines.commands import cli
from pipelines.commands._refresh_flags import build_parser, config_from


def test_what_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.jsonl"
    write_jsonl(path, [{"url": "u1", "text": "a cat"}, {"url": "u2"}])
    assert cli.main(["inspect", str(path)]) == 0
    head = ["  files      1 jsonl", f"  size       {path.stat().st_size} bytes"]
    rows = "  rows       unknown without reading all of it"
    flags = "--candidate-modality text --id-column url --caption-column text"
    other = "--reference-id-column url --reference-caption-column text"
    assert capsys.readouterr().out.splitlines() == [
        str(path),
        *head,
        rows,
        "",
        str(path),
        "  format     jsonl, captions",
        head[1],
        rows,
        "  columns    url",
        "             text",
        "  ids        u1",
        "  examples   a cat",
        "  rejects    1 x no caption (of the first 2 rows)",
        "",
        f"as candidates   nnn refresh --candidates {path} {flags} ...",
        f"as references   nnn refresh --references {path} {other} ...",
    ]


def test_what_is_only_a_bank_has_its_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "captions.jsonl"
    write_jsonl(path, [{"image": "i1", "caption": "a cat"}, {"image": "i1", "caption": "a dog"}])
    assert cli.main(["inspect", str(path)]) == 0
    shown = f"as references   nnn refresh --references {path} --reference-pair-id-column image ..."
    assert capsys.readouterr().out.splitlines()[-2:] == ["", shown]


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pattern = write_vectors(tmp_path, ["a", "b", "c"], gaussian(3, 4, 1), 2)
    assert cli.main(["inspect", pattern, "--json"]) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (record["files"], record["rows"], record["formats"]) == (2, 3, {"parquet": 2})
    assert [shard["ids"] for shard in record["shards"]] == [["a", "b"], ["c"]]


def test_the_flags_that_are_shown_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are pasted into a refresh as they are."""
    np.save(tmp_path / "0.npy", gaussian(6, 4, 1))
    (tmp_path / "bank").mkdir()
    np.save(tmp_path / "bank" / "0.npy", gaussian(9, 4, 2))
    flags = []
    for side, pattern in (("as_candidates", tmp_path / "*.npy"), ("as_references", tmp_path / "bank" / "*.npy")):
        assert cli.main(["inspect", str(pattern), "--json"]) == 0
        flags.append(json.loads(capsys.readouterr().out.splitlines()[-1])[side])
    arguments = shlex.split(f"{' '.join(flags)} --k 2 --table {tmp_path}/table --work {tmp_path}/work")
    config = config_from(build_parser().parse_args(arguments), True)
    asking, holding, _ = config.requests(None)
    for pattern, request, rows in ((config.candidates, holding, 6), (config.references, asking, 9)):
        (uri,) = list_shards(pattern, "--candidates")
        embedded = embed_shard(request.plan(describe_shard(uri)), request, None)
        assert [shard.rows for shard in embedded.shards] == [rows]


def test_nothing_in_a_caption_steers_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"id": "\x1b[2J", "caption": "a\x1b]0;title\x07\u202ecat"}])
    assert cli.main(["inspect", str(tmp_path / "a.jsonl")]) == 0
    out = capsys.readouterr().out
    assert not {"\x1b", "\x07", "\u202e"} & set(out)
    assert "\ufffd[2J" in out


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [("a.tar", b"broken" * 200, "is broken"), ("a.doc", b"", "no known format"), ("b.tsv", None, "no files found")],
)
def test_errors_are_those_of_a_refresh(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, data: bytes | None, message: str
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    assert cli.main(["inspect", str(tmp_path / name)]) == 3
    assert message in capsys.readouterr().err


def test_a_folder_is_answered_with_globs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_vectors(tmp_path / "vectors", ["a"], gaussian(1, 4, 1), 1)
    assert cli.main(["inspect", str(tmp_path)]) == 3
    assert f"for example '{tmp_path}/vectors/*.parquet'" in capsys.readouterr().err


def test_a_group_of_images_is_told_from_the_others_of_its_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
    assert cli.main(["inspect", str(tmp_path / "*.png")]) == 0
    assert f"\n{tmp_path}: group of 3 files, 0.png to 2.png\n" in capsys.readouterr().out


def test_a_bank_of_bare_vectors_lacks_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is only asked of candidates, or for one flag, says so."""
    np.save(tmp_path / "bank.npy", gaussian(9, 4, 2))
    assert cli.main(["inspect", str(tmp_path / "bank.npy")]) == 0
    lines = capsys.readouterr().out.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("  missing"))
    assert lines[first].split(maxsplit=1)[1].startswith("for candidates, not for a bank: ids. ")
    assert lines[first + 1].strip() == "for --exclude-own-pairs only: pair ids"
