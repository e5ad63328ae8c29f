"""Bad input and bad settings: one message that names the flag, the file and the remedy; nothing published."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import gaussian, write_tar, write_vectors
from fakes import FormulaEncoder
from jobs import Refused
from PIL import Image
from sides import bank_of, candidates_of, embed_side
from tables import SIDE, make_manifest

import nnn_core
from nnn_core.embedded.shards import read_ids, read_shard
from nnn_core.encoders import Encoder, load_once, parse_encoder
from nnn_core.errors import (
    ERRORS,
    BankTooSmallError,
    CorruptArtifactError,
    DuplicateIdError,
    InputError,
    LostArtifactError,
    NNNError,
    RejectedRowsError,
    StorageError,
)
from nnn_core.gates.thresholds import Thresholds
from nnn_core.inputs.readers import Rows
from nnn_core.planning.preflight import Head
from nnn_core.report._sections import Source
from nnn_core.table.parts import RowSlice, collect_rows
from pipelines.commands import cli
from pipelines.commands._summary import summarise
from pipelines.config import RefreshConfig
from pipelines.running._failures import find_error
from pipelines.running.runner import RunResult
from pipelines.stages.metrics import OWN_CANDIDATES, OWN_REFERENCES, POSITIONAL_KEYS, WHITENED

DIM = 8
ENCODER = f"open_clip:local-dir:{Path(nnn_core.__file__).parent / 'demo' / 'encoder'}"


@pytest.fixture
def candidates(tmp_path: Path) -> str:
    """20 candidates in two files."""
    return write_vectors(tmp_path / "candidates", [f"c{i}" for i in range(20)], gaussian(20, DIM, 1), 2)


@pytest.fixture
def bank(tmp_path: Path) -> str:
    """30 references in two files."""
    return write_vectors(tmp_path / "references", [f"r{i}" for i in range(30)], gaussian(30, DIM, 2), 2)


@pytest.fixture
def work(tmp_path: Path) -> str:
    return str(tmp_path / "work")


@pytest.fixture
def run(
    candidates: str, bank: str, work: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Run ``nnn refresh`` on these inputs; keyword arguments replace or add flags."""
    flags = {
        "candidates": candidates,
        "references": bank,
        "table": str(tmp_path / "table"),
        "work": work,
        "k": "4",
    }

    def refresh(*extra: str, **changes: str) -> tuple[int, str]:
        arguments = [part for name, value in {**flags, **changes}.items() for part in (f"--{name}", value)]
        code = cli.main(["refresh", *arguments, *extra])
        error = capsys.readouterr().err
        published = list((tmp_path / "table").glob("versions/*.json"))
        assert bool(published) == (code == 0)
        return code, error

    return refresh


def refusal(error: type[NNNError], act: Callable[[], object]) -> str:
    """What is said, by an error of that class."""
    with pytest.raises(NNNError) as caught:
        act()
    assert type(caught.value) is error
    return str(caught.value)


def jpeg(colour: tuple[int, int, int] = (200, 30, 40)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(buffer, "JPEG")
    return buffer.getvalue()


def vectors_file(path: Path, ids: list[object], vectors: list[object]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"id": ids, "vector": pa.array(vectors, pa.list_(pa.float32()))}), path)
    return str(path)


def test_own_pairs_of_a_bank_without_pairs(bank: str, work: str, tmp_path: Path) -> None:
    for path in (tmp_path / "references").iterdir():
        pq.write_table(pq.read_table(path).drop_columns("id"), path)
    error = refusal(InputError, lambda: bank_of(bank, work, exclude_own_pairs=True))
    assert "--exclude-own-pairs needs pair ids, and no row of --references has one" in error
    assert "--reference-pair-id-column" in error


def test_empty_glob(work: str, tmp_path: Path) -> None:
    pattern = str(tmp_path / "nowhere" / "*.tar")
    error = refusal(InputError, lambda: bank_of(pattern, work))
    assert f"no files found for --references {pattern!r}" in error


@pytest.mark.parametrize("damage", ["deleted", "changed"])
def test_a_damaged_shard_is_computed_anew(candidates: str, work: str, damage: str) -> None:
    embedded = embed_side(candidates, work)
    victim = Path(embedded[0].shards[0].uri)
    victim.unlink() if damage == "deleted" else victim.write_bytes(victim.read_bytes() + b"x")
    error = refusal(LostArtifactError, lambda: read_shard(embedded[0].shards[0]))
    mark = victim.parent / f"{victim.name.partition('-')[0]}.json"
    assert str(victim) in error
    assert not mark.exists()
    assert embed_side(candidates, work) == embedded
    assert len(read_shard(embedded[0].shards[0]).ids) == 10


def test_the_last_error_of_a_traceback_is_the_one_that_was_raised() -> None:
    text = (
        "RuntimeError: Error processing instruction 7. Original traceback is\n"
        "Traceback (most recent call last):\n  File ...\n"
        "nnn_core.errors.InputError: cannot read 'x'.\n\n"
        "The above exception was the direct cause of the following exception:\n\n"
        "Traceback (most recent call last):\n  File ...\n"
        "nnn_core.errors.CorruptArtifactError: cannot read 'x'. Delete it:\n  or not. [while running 'A/B']\n\n"
    )
    found = find_error(text)
    assert type(found) is CorruptArtifactError
    assert str(found) == "cannot read 'x'. Delete it:\n  or not."
    assert find_error("ValueError: x") is None


def test_a_folder_is_no_glob(candidates: str, work: str, tmp_path: Path) -> None:
    error = refusal(InputError, lambda: embed_side(str(tmp_path / "candidates"), work))
    assert f"is a folder. Name the files in it, for example '{tmp_path}/candidates/*.parquet'" in error


def test_files_without_rows(work: str, tmp_path: Path) -> None:
    empty = vectors_file(tmp_path / "none" / "none.parquet", [], [])
    assert "hold no rows" in refusal(InputError, lambda: candidates_of(empty, work))


def test_hole_in_a_brace_range(candidates: str, work: str, tmp_path: Path) -> None:
    error = refusal(InputError, lambda: embed_side(str(tmp_path / "candidates" / "part-{0..2}.parquet"), work))
    assert "stands for 3 names, and 1 of them match no file" in error
    assert "part-2.parquet" in error


def test_bad_vectors_are_counted_rejects(work: str, tmp_path: Path) -> None:
    bad = {
        "nan": ([float("nan")] + [1.0] * (DIM - 1), "vector is not finite"),
        "inf": ([float("inf")] + [1.0] * (DIM - 1), "vector is not finite"),
        "zero": ([0.0] * DIM, "vector has zero norm"),
        "long": ([1.0] * (DIM + 1), "vector has the wrong dimension"),
        "null": (None, "vector is null"),
    }
    good = gaussian(15, DIM, 3).tolist()
    names = [*(f"c{row}" for row in range(10)), *bad, *(f"c{row}" for row in range(10, 15))]
    rows = [*good[:10], *(row for row, _ in bad.values()), *good[10:]]
    candidates = vectors_file(tmp_path / "bad" / "bad.parquet", list(names), rows)
    error = refusal(RejectedRowsError, lambda: candidates_of(candidates, work))
    assert "5 of 20 rows of --candidates were rejected (25.000%;" in error
    assert "2 x vector is not finite (e.g. 'nan' in bad.parquet" in error
    assert all(f"1 x {reason} (e.g. '{name}' in bad.parquet" in error for name, (_, reason) in list(bad.items())[2:])
    assert "--max-reject-rate" in error
    (listed,) = (tmp_path / "work" / "rejects").glob("*.jsonl")
    found = [json.loads(line) for line in listed.read_text().splitlines()]
    assert {each["id"]: each["reason"] for each in found} == {name: reason for name, (_, reason) in bad.items()}
    assert candidates_of(candidates, work, 0.25).side.rows == 15


def test_every_row_rejected(work: str, tmp_path: Path) -> None:
    bad = vectors_file(tmp_path / "bad" / "bad.parquet", ["a", "b"], [[0.0] * DIM] * 2)
    assert "no candidate is left: all 2 rows" in refusal(InputError, lambda: candidates_of(bad, work, 1.0))
    assert "the bank is empty" in refusal(BankTooSmallError, lambda: bank_of(bad, work, 1.0))


BAD_ROWS = {
    "no id": 7,
    "vector has the wrong dimension": 5,
    "vector has zero norm": 4,
    "vector is not finite": 3,
    "vector is null": 2,
}


@pytest.mark.parametrize("rate", [0.0, 1.0])
@pytest.mark.parametrize(
    ("flag", "side", "left"), [("candidates", candidates_of, InputError), ("references", bank_of, BankTooSmallError)]
)
def test_the_reasons_of_all_bad_input(
    work: str, tmp_path: Path, flag: str, side: Callable[..., object], left: type[NNNError], rate: float
) -> None:
    """Whether or not so many rejects are allowed: the most frequent reasons, each with an example."""
    bad = {
        "no id": [1.0] * DIM,
        "vector has the wrong dimension": [1.0] * (DIM + 1),
        "vector has zero norm": [0.0] * DIM,
        "vector is not finite": [float("nan")] * DIM,
        "vector is null": None,
    }
    reasons = [reason for reason, count in BAD_ROWS.items() for _ in range(count)]
    if flag == "references":  # whose rows need no id
        reasons = [reason for reason in reasons if reason != "no id"]
    ids = [None if reason == "no id" else f"{reason} {row}" for row, reason in enumerate(reasons)]
    path = vectors_file(tmp_path / "bad" / "bad.parquet", list(ids), [bad[reason] for reason in reasons])
    error = refusal(left if rate else RejectedRowsError, lambda: side(path, work, rate))
    lines = [line for line in error.splitlines() if line.startswith("  ")]
    expected = [(BAD_ROWS[reason], reason) for reason in BAD_ROWS if reason in reasons]
    assert [line.partition(" (e.g. ")[0].strip() for line in lines] == [f"{n} x {reason}" for n, reason in expected]
    assert all("' in bad.parquet" in line for line in lines)
    assert f"all {len(reasons)} rows of --{flag}" in error or f"{len(reasons)} of {len(reasons)} rows of" in error
    assert f"Every reject is listed under {work}/rejects" in error


def test_the_five_most_frequent_of_seven_reasons(work: str, tmp_path: Path) -> None:
    """Over several files, whatever their order."""
    broken = [
        b"{", b"[]", b'{"id": "a"}', b'{"id": "b", "caption": ""}', b'{"id": "c", "caption": "\xff"}',
        b'{"caption": "x"}', b'{"id": "d", "caption": "x", "of": [1]}',
    ]  # fmt: skip
    (tmp_path / "captions").mkdir()
    for number in range(2):
        lines = [line for count, line in enumerate(broken, start=1) for _ in range(count)]
        (tmp_path / "captions" / f"{number}.jsonl").write_bytes(b"\n".join(lines))
    captions = str(tmp_path / "captions" / "*.jsonl")
    how: dict[str, Any] = {"encoder": FormulaEncoder(), "modality": "text", "pair_id": "of"}
    error = refusal(RejectedRowsError, lambda: candidates_of(captions, work, **how))
    assert "56 of 56 rows of --candidates were rejected (100.000%;" in error
    lines = [line.strip() for line in error.splitlines() if line.startswith("  ")]
    assert [int(line.split()[0]) for line in lines] == [14, 12, 10, 8, 6, 6]
    assert lines[-1] == "6 more, for 2 other reasons"
    assert all(" (e.g. '" in line and ".jsonl" in line for line in lines[:-1])


def test_empty_bank(work: str, tmp_path: Path) -> None:
    empty = tmp_path / "bank" / "empty.parquet"
    empty.parent.mkdir()
    fixed = pa.FixedSizeListArray.from_arrays(pa.array([], pa.float32()), DIM)
    pq.write_table(pa.table({"id": pa.array([], pa.string()), "vector": fixed}), empty)
    error = refusal(BankTooSmallError, lambda: bank_of(str(empty), work))
    assert "the bank is empty: no row of --references can be used" in error


def test_dimensions_of_the_two_sides_differ(candidates: str, work: str, tmp_path: Path) -> None:
    wide = write_vectors(tmp_path / "wide", ["a", "b", "c", "d"], gaussian(4, DIM + 1, 2), 1)
    corpus, bank = candidates_of(candidates, work), bank_of(wide, work)
    error = refusal(InputError, lambda: bank.check_dimension(corpus))
    assert f"candidates have vectors of dimension {DIM} and references of {DIM + 1}" in error


def test_dimensions_of_two_shards_differ(candidates: str, work: str, tmp_path: Path) -> None:
    vectors_file(tmp_path / "candidates" / "part-9.parquet", ["x"], [[1.0] * (DIM + 1)])
    error = refusal(InputError, lambda: candidates_of(candidates, work))
    assert f"{DIM} in" in error
    assert "part-9.parquet" in error


def duplicates(pattern: str, work: str, **columns: object) -> str:
    """What is said of the rows of a table part that all files of candidates are put together to."""
    ids = [(read_ids(shard), shard.source) for each in embed_side(pattern, work, **columns) for shard in each.shards]  # type: ignore[arg-type]
    pieces = [RowSlice.cut(names, np.ones((len(names), 1), np.float32), source, ())[0][1] for names, source in ids]
    return refusal(DuplicateIdError, lambda: collect_rows(pieces))


def test_duplicate_ids_across_shards_name_both(candidates: str, work: str, tmp_path: Path) -> None:
    vectors_file(tmp_path / "candidates" / "part-9.parquet", ["c3"], [[1.0] * DIM])
    error = duplicates(candidates, work)
    assert "'c3'" in error
    assert "part-0.parquet" in error
    assert "part-9.parquet" in error


def test_duplicate_ids_within_a_shard_name_it(candidates: str, work: str, tmp_path: Path) -> None:
    path = vectors_file(tmp_path / "candidates" / "part-9.parquet", ["x", "y", "x"], [[1.0] * DIM] * 3)
    error = duplicates(candidates, work)
    assert f"'x' occurs more than once (1 such rows in this part): twice in '{path}'" in error


def test_equal_content_has_one_digest(work: str, tmp_path: Path) -> None:
    first, second = (
        vectors_file(tmp_path / "same" / f"part-{n}.parquet", [f"c{n}"], [[1.0] * (DIM - 1) + [float(n // 2)]])
        for n in (0, 1)
    )
    error = duplicates(str(tmp_path / "same" / "*.parquet"), work, id="@sha256")
    assert f"in {first!r} and in {second!r}" in error


def test_duplicate_file(candidates: str, work: str, tmp_path: Path) -> None:
    original = tmp_path / "candidates" / "part-0.parquet"
    (tmp_path / "candidates" / "part-7.parquet").write_bytes(original.read_bytes())
    error = duplicates(candidates, work)
    assert "part-0.parquet" in error
    assert "part-7.parquet" in error


def test_unwritable_table(run: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    table = str(tmp_path / "file" / "table")
    code, error = run(table=table)
    assert code == 7
    assert f"cannot write '{table}" in error


def test_unwritable_work(candidates: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    work = str(tmp_path / "file" / "work")
    assert f"cannot write '{work}/" in refusal(StorageError, lambda: embed_side(candidates, work))


@pytest.mark.parametrize("flag", ["table", "work"])
def test_a_place_without_exclusive_creation(run: Callable[..., tuple[int, str]], tmp_path: Path, flag: str) -> None:
    code, error = run(**{flag: "hdfs://nowhere/x"})
    assert code == 7
    assert "cannot write 'hdfs://nowhere/x" in error
    assert "cannot create objects exclusively" in error
    assert not (tmp_path / "work").exists()
    assert not (tmp_path / "table").exists()


def test_unknown_protocol(run: Callable[..., tuple[int, str]]) -> None:
    code, error = run(table="nosuch://bucket/table")
    assert code == 7
    assert "nosuch" in error


@pytest.fixture
def demo_encoder() -> Encoder:
    return load_once(parse_encoder(ENCODER))


def test_truncated_tar(work: str, tmp_path: Path, demo_encoder: Encoder) -> None:
    path = tmp_path / "images" / "00000.tar"
    write_tar(path, {f"key{i}": {"jpg": jpeg()} for i in range(5)})
    path.write_bytes(path.read_bytes()[:3000])
    error = refusal(InputError, lambda: embed_side(str(path), work, encoder=demo_encoder))
    assert "00000.tar" in error
    assert "broken" in error


def test_a_text_dressed_as_jpg(work: str, tmp_path: Path, demo_encoder: Encoder) -> None:
    path = tmp_path / "images" / "00000.tar"
    write_tar(path, {"good": {"jpg": jpeg()}, "bad": {"jpg": b"this is no image"}, "none": {"txt": b"hello"}})
    error = refusal(RejectedRowsError, lambda: candidates_of(str(path), work, encoder=demo_encoder))
    assert "2 of 3 rows of --candidates were rejected" in error
    assert "1 x image cannot be decoded (e.g. 'bad' in 00000.tar" in error
    assert "1 x no image (e.g. 'none' in 00000.tar" in error
    assert candidates_of(str(path), work, 0.7, encoder=demo_encoder).side.rows == 1


def test_images_without_an_encoder(work: str, tmp_path: Path) -> None:
    path = tmp_path / "images" / "00000.tar"
    write_tar(path, {"good": {"jpg": jpeg()}})
    assert "--encoder" in refusal(InputError, lambda: embed_side(str(path), work))


def test_npy_without_metadata(work: str, tmp_path: Path) -> None:
    np.save(tmp_path / "img_emb_0.npy", gaussian(4, DIM, 1))
    error = refusal(InputError, lambda: embed_side(str(tmp_path / "img_emb_*.npy"), work))
    assert "metadata_0.parquet" in error
    assert "--id-column @row" in error


def test_vectors_alone(work: str, tmp_path: Path) -> None:
    """The layout of embedding-reader and autofaiss; the bank needs no ids."""
    for number in (1, 10):
        np.save(tmp_path / f"{number}.npy", gaussian(20, DIM, 100 + number))
    shards = [shard for each in embed_side(str(tmp_path / "*.npy"), work, id="@row") for shard in each.shards]
    wanted = [f"{number}.npy#{row}" for number in (1, 10) for row in range(20)]
    assert [name for shard in shards for name in read_ids(shard).to_pylist()] == wanted
    assert bank_of(str(tmp_path / "*.npy"), work).rows == 40


@pytest.mark.parametrize(("own", "told"), [((1, 2), True), ((3, 2), False), ((1, 5), False)])
def test_next_to_no_own_pairs_draw_a_warning(own: tuple[int, int], told: bool) -> None:
    config = RefreshConfig("c", "r", "t", "w", k=4, alpha=0.5, exclude_own_pairs=True)
    manifest = make_manifest()
    rows = {"candidates": 200, "references": 400}
    sides: Any = {name: dataclasses.replace(getattr(manifest, name), rows=count) for name, count in rows.items()}
    manifest = dataclasses.replace(manifest, **sides, files=(dataclasses.replace(manifest.files[0], rows=200),))
    result = RunResult({}, dict(zip((OWN_CANDIDATES, OWN_REFERENCES), own, strict=True)), 0.0)
    head = (Rows(["item-1"], ["item-1.jpg"], []),)
    heads = [Head(side, 1, {}, "vectors", ("u",), head) for side in rows]
    warnings = summarise(config, manifest, result, heads)["warnings"]
    assert bool(warnings) == told
    if told:
        assert "left out only 2 references, for 1 of 200 candidates." in warnings[0]
        assert "Pair ids such as 'item-1.jpg'; ids such as 'item-1'." in warnings[0]


def test_images_that_turn_white_draw_a_warning() -> None:
    config = RefreshConfig("c", "r", "t", "w", k=4, alpha=0.5)
    (warning,) = summarise(config, make_manifest(), RunResult({}, {WHITENED: 7}, 0.0))["warnings"]
    assert warning.startswith("7 images of ")
    assert "16-bit grey PNGs, which open_clip's decoder turns white" in warning


def test_positional_keys_draw_one_warning(work: str, tmp_path: Path) -> None:
    for shard in range(3):
        keys: list[object] = [f"0000{shard}{row:04d}" for row in range(5)]
        vectors_file(tmp_path / "i2d" / f"0000{shard}.parquet", keys, gaussian(5, DIM, 100 + shard).tolist())
    candidates = str(tmp_path / "i2d" / "*.parquet")
    # The first time computed, the second from what the first has stored.
    assert [each.positional_keys for _ in range(2) for each in embed_side(candidates, work)] == [True] * 6
    config = RefreshConfig(candidates, "r", "t", "w", k=4, alpha=0.5)
    (warning,) = summarise(config, make_manifest(), RunResult({}, {POSITIONAL_KEYS: 3}, 0.0))["warnings"]
    assert warning.startswith("the ids of 3 input files of ")
    assert "After a new download" in warning
    assert "--id-column url" in warning


def test_vectors_that_are_not_unit_length_draw_a_warning_for_each_side() -> None:
    sides = [dataclasses.replace(side, off_length=off) for side, off in ((make_manifest().candidates, 5), (SIDE, None))]
    manifest = dataclasses.replace(make_manifest(), candidates=sides[0], references=sides[1])
    config = RefreshConfig("c", "r", "t", "w", k=4, alpha=0.5)
    (warning,) = summarise(config, manifest, RunResult({}, {}, 0.0))["warnings"]
    assert warning.startswith("5 of 6 vectors of --candidates are not unit length, and were normalised for this job.")
    assert Source.of("image", sides[0]).off_length == 5
    manifest = dataclasses.replace(manifest, candidates=SIDE)
    assert summarise(config, manifest, RunResult({}, {}, 0.0))["warnings"] == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--alpha", "-1"], "--alpha -1.0"),
        (["--alpha", "nan"], "--alpha nan"),
        (["--k-max", "2"], "--k-max 2 is smaller than --k 4"),
        (["--max-reject-rate", "1.5"], "--max-reject-rate 1.5"),
        (["--encoder", "resnet"], "--encoder 'resnet' is not understood"),
        (["--encoder", "open_clip:local-dir:/nowhere"], "'/nowhere' is not an open_clip model directory"),
        (["--direct_running_mode=multi_processing"], "--threads sets its number of cores"),
        (["--direct_num_workers=2"], "--threads sets its number of cores"),
        (["--candidats", "x"], "unknown flag --candidats; did you mean --candidates?"),
        (
            ["part-1.parquet"],
            "unexpected argument 'part-1.parquet': a flag takes one value. If the shell expanded a glob",
        ),
        (["--num_worker", "3"], "did you mean --num_workers?"),
    ],
)
def test_settings_that_cannot_work(run: Callable[..., tuple[int, str]], flags: list[str], message: str) -> None:
    code, error = run(*flags)
    assert code in (2, 3)
    assert message in error


def test_missing_column_names_what_there_is(candidates: str, work: str) -> None:
    error = refusal(InputError, lambda: embed_side(candidates, work, id="sku"))
    assert "has no column 'sku' (--id-column)" in error
    assert "it has: id, vector" in error


#: As pipelines/README.md has them.
EXIT_CODES = {
    "NNNError": 1,
    "ConfigError": 2,
    "InputError": 3,
    "RejectedRowsError": 4,
    "BankTooSmallError": 5,
    "DuplicateIdError": 6,
    "StorageError": 7,
    "ConflictError": 8,
    "CorruptArtifactError": 9,
    "LostArtifactError": 9,
    "GateError": 10,
    "RunnerError": 11,
}


@pytest.mark.parametrize("name", ERRORS)
def test_exit_codes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: object) -> None:
        raise ERRORS[name]("why")

    assert cli.run_command(fail, []) == EXIT_CODES[name]
    assert capsys.readouterr().err == "nnn: why\n"


def test_a_gate_of_its_own_exit_code(refused: Refused) -> None:
    error = refused.error
    assert (refused.code, refused.published) == (10, [])
    assert "1 of 19 gates failed, so nothing was published:\n  spread: the highest and lowest mean differ by " in error
    assert "with --accept spread. Finished work is kept." in error
    listed = json.loads(Path(error.partition("listed in ")[2].partition(". If you")[0]).read_bytes())["gates"]
    assert {gate["name"] for gate in listed} == set(Thresholds.model_fields) - {"hub_deviations", "min_rows"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--accept", "psi"], "--accept psi: there is no such gate; the gates are max_abs_bias, "),
        (["--accept", "encoder"], "--accept encoder: this gate was removed; settings covers it."),
        (
            ["--gates", "/nowhere/gates.yaml"],
            "--gates: cannot read '/nowhere/gates.yaml': No such file or directory. Check the",
        ),
        (["--config", "nosuch.yaml"], "No such file or directory. Check the path, or write the file with nnn init."),
    ],
)
def test_gates_that_cannot_be_used(run: Callable[..., tuple[int, str]], flags: list[str], message: str) -> None:
    code, error = run(*flags)
    assert code in (2, 3)
    assert message in error
