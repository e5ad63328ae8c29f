"""``nnn export``: one file a shard, a manifest last, a measured overlap, and nothing that would mislead an engine."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow.parquet as pq
import pytest
from corpora import brute_force_means, gaussian, tree, write_vectors
from sides import bank_of, candidates_of, embed_side
from tables import publish_vectors

from nnn_core import load_bias_table, storage
from nnn_core.consumers.engines._engine import engines
from nnn_core.consumers.engines._layouts import read_rows
from nnn_core.consumers.engines.recipe import Recipe
from nnn_core.consumers.engines.registry import find_engine
from nnn_core.consumers.export import Embeddings
from nnn_core.consumers.held import load_biases
from nnn_core.consumers.rerank import Reranker
from nnn_core.errors import DuplicateIdError, InputError, NNNError, RejectedRowsError
from nnn_core.table.reading import reweight
from pipelines.commands import cli

DIM, CANDIDATES, QUERIES = 8, 150, 40
IDS = [f"c{row}" for row in range(CANDIDATES)]

Run = Callable[..., tuple[int, dict[str, Any], str]]
#: From engine and metric to the output's folder and the result.
Exported = Callable[[str, str], tuple[Path, dict[str, Any]]]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 150 candidates in three files, and queries."""
    folder = tmp_path_factory.mktemp("published")
    globs = (
        write_vectors(folder / "candidates", IDS, gaussian(CANDIDATES, DIM, 1), 3),
        write_vectors(folder / "references", [f"r{row}" for row in range(60)], gaussian(60, DIM, 2), 2),
    )
    write_vectors(folder / "queries", [f"q{row}" for row in range(QUERIES)], gaussian(QUERIES, DIM, 3), 2)
    sides = candidates_of(globs[0], str(folder / "work")), bank_of(globs[1], str(folder / "work"))
    means = brute_force_means(gaussian(CANDIDATES, DIM, 1), gaussian(60, DIM, 2), (4,)).tolist()
    publish_vectors(str(folder / "table"), *sides, dict(zip(IDS, means, strict=True)), 4, 1.5)
    return folder


def as_flags(flags: dict[str, str]) -> list[str]:
    return [part for name, value in flags.items() for part in (f"--{name}", value)]


def export_flags(published: Path, output: Path) -> dict[str, str]:
    return {
        "embeddings": str(published / "candidates" / "part-*.parquet"),
        "queries": str(published / "queries" / "part-*.parquet"),
        "table": str(published / "table"),
        "work": str(published / "work"),
        "output": str(output),
        "engine": "lancedb",
    }


@pytest.fixture(scope="module")
def exported(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Exports for an engine and a metric, each run once and to be left as it is."""
    done: dict[tuple[str, str], tuple[Path, dict[str, Any]]] = {}

    def export_once(engine: str, metric: str) -> tuple[Path, dict[str, Any]]:
        if (engine, metric) not in done:
            folder = tmp_path_factory.mktemp("exported") / "out"
            flags = export_flags(published, folder) | {"engine": engine, "metric": metric}
            with contextlib.redirect_stdout(io.StringIO()) as out:
                assert cli.main(["export", *as_flags(flags), "--json"]) == 0
            done[engine, metric] = folder, json.loads(out.getvalue().splitlines()[-1])
        return done[engine, metric]

    return export_once


@pytest.fixture
def output(exported: Exported, tmp_path: Path) -> Path:
    """A copy of an export where ``export`` writes to by default."""
    return Path(shutil.copytree(exported("lancedb", "cosine")[0], tmp_path / "out"))


@pytest.fixture
def export(published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``nnn export --json`` into ``tmp_path / "out"``; keyword arguments replace flags."""
    flags = export_flags(published, tmp_path / "out")

    def run(*extra: str, **changes: str) -> tuple[int, dict[str, Any], str]:
        given = {name.replace("_", "-"): value for name, value in changes.items()}
        code = cli.main(["export", *as_flags({**flags, **given}), *extra, "--json"])
        out = capsys.readouterr()
        return code, json.loads(out.out.splitlines()[-1]) if code == 0 else {}, out.err + out.out

    return run


def brute_force(published: Path, plain: bool = False) -> list[list[str]]:
    """The exact top 10 of every query, by sorting in float64; in the order of the queries' ids."""
    vectors, queries = (unit(gaussian(rows, DIM, seed)) for rows, seed in ((CANDIDATES, 1), (QUERIES, 3)))
    bias = load_bias_table(str(published / "table")).bias_of(IDS)
    order = np.argsort(-(queries @ vectors.T - (0.0 if plain else bias)), axis=1)[:, :10]
    return [[IDS[row] for row in query] for query in order]


def unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)


def share(one: list[list[str]], other: list[list[str]]) -> float:
    return float(np.mean([len({*a} & {*b}) / 10 for a, b in zip(one, other, strict=True)]))


#: All of them in ``make test-slow``, and by functions in tests/core/consumers/engines.
SOME_ENGINES = ("lancedb",)
EACH_ENGINE = [(e.name, list(e.metrics)[(n + 1) % 3]) for n, e in enumerate(engines()) if e.layout != "index"]


@pytest.mark.parametrize(
    ("engine", "metric"),
    [pytest.param(*each, marks=[] if each[0] in SOME_ENGINES else pytest.mark.slow) for each in EACH_ENGINE],
)
def test_files_of_every_engine(exported: Exported, published: Path, engine: str, metric: str) -> None:
    output, result = exported(engine, metric)
    recipe, bias = Recipe.from_record(result["recipe"]), load_bias_table(str(published / "table")).bias_of(IDS)
    assert [file["rows"] for file in result["files"]] == [50, 50, 50]
    assert {file["path"] for file in result["files"]} | {"export.json"} == set(tree(output))
    ids, vectors = [], []
    for path in (file["path"] for file in result["files"]):
        file = output / path
        names, stored = read_rows(find_engine(engine), file.read_bytes(), str(file))
        ids += names
        vectors.append(stored)
    assert sorted(ids) == sorted(IDS)
    rows = [IDS.index(name) for name in ids]
    wanted = recipe.stored(unit(gaussian(CANDIDATES, DIM, 1)).astype(np.float32), bias)[rows]
    np.testing.assert_allclose(np.concatenate(vectors), wanted, atol=1e-6)
    plain = share(brute_force(published), brute_force(published, plain=True))
    assert result["overlap"] == {
        "queries": QUERIES,
        "depth": 10,
        "mean": 1.0,
        "lowest": 1.0,
        "changed": pytest.approx(1.0 - plain),
    }
    assert plain < 0.95
    assert result["embeddings"] == "those of the table"


def test_the_same_export_again_changes_nothing(export: Run, output: Path) -> None:
    before = tree(output)
    assert export(metric="cosine")[0] == 0
    assert tree(output) == before


@pytest.mark.slow
def test_the_sample_does_not_depend_on_the_cut(export: Run, published: Path, tmp_path: Path) -> None:
    write_vectors(tmp_path / "cut", IDS, gaussian(CANDIDATES, DIM, 1), 5)
    results = []
    for number, glob in enumerate((published / "candidates", tmp_path / "cut")):
        flags = {"embeddings": f"{glob}/part-*.parquet", "queries": f"{glob}/part-*.parquet"}
        results.append(export("--sample", "20", output=str(tmp_path / f"o{number}"), **flags)[1])
    assert [len(result["files"]) for result in results] == [3, 5]
    assert results[0]["queries"] == results[1]["queries"]
    assert results[0]["overlap"] == results[1]["overlap"]
    assert results[0]["queries"]["rows"] == 20


@pytest.mark.parametrize(
    ("metric", "index"),
    [
        ("cosine", "HNSW16"),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in (("ip", "Flat"), ("l2", "IVF2,Flat"))),
    ],
)
def test_faiss(export: Run, published: Path, tmp_path: Path, metric: str, index: str) -> None:
    code, result, said = export(engine="faiss", metric=metric, index=index)
    assert code == 0
    paths = {Path(file["path"]).suffix: str(tmp_path / "out" / file["path"]) for file in result["files"]}
    recipe = Recipe.from_record(result["recipe"])
    loaded, ids = faiss.read_index(paths[".faiss"]), pq.read_table(paths[".parquet"])["id"].to_pylist()
    queries = unit(gaussian(QUERIES, DIM, 3)).astype(np.float32)
    scores, found = loaded.search(recipe.asked(queries), 10)
    # The file is what the overlap was measured on, approximate or not.
    measured = share([[ids[row] for row in query] for query in found.tolist()], brute_force(published))
    assert result["overlap"]["mean"] == pytest.approx(measured)
    assert measured == 1.0 or index != "Flat"
    assert result["index"] == index
    if index == "Flat":
        assert result["tuned"] is None
    else:
        tuned = result["tuned"]
        assert tuned["overlaps"][-1][1] >= 0.99 or len(tuned["overlaps"]) > 1
        assert tuned["value"] == (loaded.hnsw.efSearch if "HNSW" in index else loaded.nprobe)
        assert 0.9 < tuned["plain"] <= 1.0
        assert f"{tuned['parameter']:<12} {tuned['value']}, stored in the index" in said
    bias = load_bias_table(str(published / "table")).bias_of([ids[found[0, 0]]])[0]
    best = queries[0] @ unit(gaussian(CANDIDATES, DIM, 1))[int(ids[found[0, 0]][1:])] - bias
    assert recipe.debiased(scores[0, 0]) == pytest.approx(best, abs=1e-6)


def test_plain_vectors_with_the_bias_beside_them(export: Run, published: Path, tmp_path: Path) -> None:
    code, result, said = export("--target-overlap", "0.95", engine="qdrant", form="attribute")
    assert (code, result["recipe"]["form"]) == (0, "attribute")
    (depth,) = {json.loads(result["recipe"]["query"].replace("<q>", "[]"))["prefetch"]["limit"]}
    assert depth == max(10, result["depths"]["needed"])
    lines = [line for file in result["files"] for line in (tmp_path / "out" / file["path"]).read_text().splitlines()]
    points = [point for line in lines for point in json.loads(line)["points"]]
    table = load_bias_table(str(published / "table"))
    plain = dict(zip(IDS, unit(gaussian(CANDIDATES, DIM, 1)), strict=True))
    for point in points:
        np.testing.assert_allclose(point["vector"], plain[point["payload"]["id"]], atol=1e-6)
        assert np.float32(point["payload"]["bias"]) == table.bias_of([point["payload"]["id"]])[0]
    assert result["overlap"]["mean"] == pytest.approx(1 - result["overlap"]["changed"])
    assert "POST /collections/COLLECTION/points/query" in said


def test_an_index_is_brought_up_to_date(exported: Exported, export: Run, published: Path, tmp_path: Path) -> None:
    like, table = exported("lancedb", "cosine")[0], str(tmp_path / "table")
    shutil.copytree(published / "table", table)
    reweight(table, alpha=1.6)
    old, new = (load_bias_table(table, version).bias for version in (1, 2))
    least = float(np.median(np.abs(new.astype("f8") - old.astype("f8"))))
    code, result, said = export(table=table, since="1", like=str(like), min_change=repr(least))
    moved = int((np.abs(new.astype("f8") - old.astype("f8")) >= least).sum())
    assert code == 0, said
    assert {name: result["update"][name] for name in ("added", "moved", "kept", "tolerated", "removed")} == {
        "added": 0,
        "moved": moved,
        "kept": 0,
        "tolerated": CANDIDATES - moved,
        "removed": 0,
    }
    assert sum(file["rows"] for file in result["files"]) == moved
    of_index = json.loads((like / "export.json").read_text())["recipe"]
    same = ("metric", "form", "bias_shift", "max_abs_bias", "dimensions")
    assert {name: result["recipe"][name] for name in same} == {name: of_index[name] for name in same}
    assert result["recipe"]["alpha"] == 1.6
    assert 0.5 < result["overlap"]["mean"] <= 1.0
    assert f"update       since version 1: 0 added, {moved} moved" in said
    code, _, said = export(table=table, since="1", like=str(like), metric="l2")
    assert (code, "in metric" in said) == (2, True)


def test_rerank(export: Run, published: Path, tmp_path: Path) -> None:
    code, result, said = export("--target-overlap", "0.95", "--hub-deviations", "2", engine="rerank")
    assert code == 0
    loaded = Reranker.load([str(tmp_path / "out" / file["path"]) for file in result["files"]])
    table = load_bias_table(str(published / "table"))
    np.testing.assert_array_equal(loaded.bias, table.bias)
    assert int(loaded.hub.sum()) == result["hubs"]
    vectors, queries = (unit(gaussian(rows, DIM, seed)) for rows, seed in ((CANDIDATES, 1), (QUERIES, 3)))
    scores = queries @ vectors.T

    def kept(depth: int) -> float:
        rows = np.argsort(-scores, axis=1)[:, :depth]
        found = [loaded.rerank([IDS[row] for row in q], s[q].tolist(), 10) for q, s in zip(rows, scores, strict=True)]
        return share([[name for name, _ in row] for row in found], brute_force(published))

    depths = result["depths"]
    assert kept(depths["needed"]) >= 0.95 > kept(depths["needed"] - 1)
    assert kept(depths["complete"]) == 1.0 > kept(depths["complete"] - 1)
    assert f"a plain top {depths['needed']} keeps 0.95" in said
    assert f"hubs         {result['hubs']:,} candidates, for the gate" in said


def test_needs_no_more_than_the_table_and_some_vectors(
    published: Path, tmp_path: Path, s3: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """On another machine: a copy of the table, a part of its vectors, no queries, an empty work folder; to a store."""
    shutil.copytree(published / "table", tmp_path / "copy")
    flags = {"table": str(tmp_path / "copy"), "work": str(tmp_path / "work"), "output": f"{s3}/out", "sample": "9"}
    flags |= {"embeddings": str(published / "candidates" / "part-{0..1}.parquet")}
    flags |= {"engine": "pinecone", "metric": "cosine"}
    assert cli.main(["export", *as_flags(flags), "--json"]) == 0
    said = capsys.readouterr().out
    result = json.loads(said.splitlines()[-1])
    assert (result["rows"], result["table"]["rows"], result["embeddings"]) == (100, 150, "some of the table")
    assert "100 of 150 candidates" in said
    assert "overlap      1.0000 of the exact top 10" in said
    assert "9 candidates in place of queries" in said
    assert result["off_length"] == 100
    assert all(file["path"].startswith("__default__/part-") for file in result["files"])
    assert all(storage.exists(f"{s3}/out/{name}") for name in ("export.json", result["files"][0]["path"]))


def gathered(published: Path, work: Path, pattern: str, max_reject_rate: float = 0.0) -> Embeddings:
    """The embeddings as a whole, against the table."""
    uri = str(published / "table")
    inputs = embed_side(pattern, str(work), "--embeddings")
    return Embeddings.gather(inputs, load_biases(uri, 1), uri, None, max_reject_rate, f"{work}/rejects")


def test_other_vectors_under_the_same_ids_are_told(published: Path, tmp_path: Path) -> None:
    glob = write_vectors(tmp_path / "other", IDS, gaussian(CANDIDATES, DIM, 9), 1)
    assert gathered(published, tmp_path, glob).vectors == "others than those of the table"


@pytest.mark.parametrize(
    ("ids", "dim", "error", "reason"),
    [
        (["c0", "c1", "new"], DIM, InputError, "have no bias in version 1"),
        (["c0", "c1", "c0"], DIM, DuplicateIdError, "'c0'"),
        (["c0", "c1"], 5, InputError, "dimension 5"),
    ],
)
def test_embeddings_that_do_not_fit(
    published: Path, tmp_path: Path, ids: list[str], dim: int, error: type[NNNError], reason: str
) -> None:
    glob = write_vectors(tmp_path / "other", ids, gaussian(len(ids), dim, 1), 2)
    with pytest.raises(error, match=reason):
        gathered(published, tmp_path, glob)


def test_rejects_are_counted(published: Path, tmp_path: Path) -> None:
    vectors = gaussian(CANDIDATES, DIM, 1)
    vectors[3] = np.nan
    glob = write_vectors(tmp_path / "other", IDS, vectors, 2)
    with pytest.raises(RejectedRowsError, match="1 of 150 rows of --embeddings were rejected"):
        gathered(published, tmp_path, glob)
    assert gathered(published, tmp_path, glob, 0.1).rejected == 1


def test_an_output_of_something_else(export: Run, output: Path) -> None:
    before = tree(output)
    code, _, said = export(metric="l2")
    assert (code, "its recipe differ" in said) == (7, True)
    assert tree(output) == before


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"metric": "cosine", "form": "inner_product"}, "by its length, which depends on the bias"),
        ({"quantisation": "int8"}, "one range for all dimensions"),
        ({"index": "Flat"}, "only faiss builds an index"),
        ({"nprobe": "4"}, "only faiss builds an index"),
        ({"engine": "faiss", "nprobe": "4"}, "for an IVF index; --index is Flat"),
        ({"engine": "faiss", "index": "HNSW8", "ef-search": "0"}, "must be at least 1"),
        ({"sample": "0"}, "must be at least 1"),
        ({"output": "s3://key:secret@bucket/x"}, "credential"),
        ({"engine": "faiss", "collection": "x"}, "--collection x has no effect on --engine faiss"),
        ({"engine": "rerank", "payload": "title"}, "have no effect"),
        ({"uuid-column": "uuid"}, "--uuid-column has no effect on --engine lancedb"),
        ({"payload": "bias"}, "--payload: 'bias'"),
        ({"since": "1"}, "need each other"),
        ({"since": "1", "like": "x"}, "must be older than version 1"),
        ({"since": "1", "like": "x", "engine": "faiss"}, "reads its files as a whole"),
    ],
)
def test_flags_that_cannot_work(export: Run, tmp_path: Path, flags: dict[str, str], reason: str) -> None:
    code, _, said = export(**flags)
    assert code in (2, 7)
    assert reason in said.lower() or reason in said
    assert not (tmp_path / "out").exists()
