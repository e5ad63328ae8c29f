"""The demo as a newcomer runs it, and the README's example on what it leaves."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nnn_core import load_bias_table
from nnn_core.encoders.fingerprints import PROBES
from nnn_core.evaluation.metrics import summarise_ranking
from nnn_core.report.archive import read_report
from pipelines.commands import _demo_data as demo
from pipelines.commands import cli
from pipelines.config import RefreshConfig

README = Path(__file__).parent.parent.parent / "README.md"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """The folder in which ``nnn demo --json`` ran, its last line, and everything before."""
    folder = tmp_path_factory.mktemp("demo")
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()) as out:
        assert cli.main(["demo", "--json"]) == 0
    text, _, last = out.getvalue().strip().rpartition("\n")
    return folder, json.loads(last), text


def vectors(folder: Path, which: str) -> tuple[list[str], np.ndarray]:
    config = RefreshConfig(**demo.places(str(folder / "nnn-demo")))
    requests = dict(zip(("references", "candidates", "validation"), config.requests(demo.demo_encoder()), strict=True))
    return demo.embedded_vectors(getattr(config, which), requests[which])


def test_metrics_are_those_of_a_brute_force(finished: tuple[Path, dict[str, Any], str]) -> None:
    folder, summary, _ = finished
    ids, candidates = vectors(folder, "candidates")
    query_ids, queries = vectors(folder, "validation")
    _, references = vectors(folder, "references")
    where = demo.places(str(folder / "nnn-demo"))
    relevant = demo.relevant_positions(where["validation"], query_ids, ids)
    c, q, r = (v.astype(np.float64) for v in (candidates, queries, references))
    means = -np.sort(-(c @ r.T), axis=1)[:, : summary["k"]].mean(axis=1)
    for name, bias in (("base", 0.0 * means), ("nnn", summary["alpha"] * means)):
        ranking = np.argsort(-(q @ c.T - bias), axis=1, kind="stable")[:, :10]
        expected = summarise_ranking(ranking, relevant, len(ids))
        assert summary["metrics"][name] == pytest.approx(expected, abs=2e-3)


def test_the_report_shows_images_and_queries(finished: tuple[Path, dict[str, Any], str]) -> None:
    folder, summary, text = finished
    page = (folder / summary["report"]).read_text()
    assert summary["report"] in text
    assert page.count("data:image/webp;base64,") > 100
    assert all(name in page for name in ("Retrieval quality", "Worst hubs", "Lorenz curve", "embed_candidates"))
    report = read_report(str(folder / summary["report"]))
    captions = {query.text for hub in report.hubs for query in hub.examples}
    assert len(captions) > 10
    assert all(len(caption.split()) > 2 for caption in captions)
    table = load_bias_table(str(folder / "nnn-demo" / "table"))
    biases = table.bias_of([hub.id for hub in report.hubs])
    assert [hub.bias for hub in report.hubs] == pytest.approx(biases)
    assert report.biases is not None
    assert sum(report.biases.counts) == len(table.bias)


def test_the_table_names_the_encoder(finished: tuple[Path, dict[str, Any], str]) -> None:
    settings = load_bias_table(str(finished[0] / "nnn-demo" / "table")).manifest.settings
    fingerprint = dataclasses.asdict(demo.demo_encoder().fingerprint)
    assert settings.encoder == {**fingerprint, PROBES: settings.encoder[PROBES]}


def test_corpus_is_interesting(finished: tuple[Path, dict[str, Any], str]) -> None:
    """Far above chance, far below perfect, with hubs; what the bias changes is whatever it is."""
    metrics = finished[1]["metrics"]
    assert (
        set(metrics["base"])
        == set(metrics["nnn"])
        == {
            "recall@1",
            "recall@5",
            "recall@10",
            "skewness@10",
            "never_retrieved",
        }
    )
    assert 0.05 < metrics["base"]["recall@1"] < 0.8
    assert metrics["base"]["skewness@10"] > 1.0


def test_output_says_where_the_table_is(finished: tuple[Path, dict[str, Any], str]) -> None:
    folder, summary, text = finished
    assert "nnn-demo/table/versions/000001.json" in text
    head, hubs = text.splitlines()[:2]
    assert "The bias" in head
    assert re.match(r"Hubs: down by \d+ %\. The skewness of how often a candidate is in a top 10 goes from 1\.", hubs)
    assert all(name in text for name in ("95 % interval", "never retrieved", "before", "after", "An exact FAISS index"))
    assert load_bias_table(str(folder / summary["table"])).manifest.rows == summary["rows"]


def run(*argv: str) -> dict[str, Any]:
    """What a command of ``nnn`` prints for programs."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert cli.main([*argv, "--json"]) == 0
    result: dict[str, Any] = json.loads(out.getvalue().splitlines()[-1])
    return result


def test_queries_are_encoded_and_answered_as_the_job_does(
    finished: tuple[Path, dict[str, Any], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = finished[0] / "nnn-demo"
    monkeypatch.chdir(folder)
    ids, candidates = vectors(finished[0], "candidates")
    query_ids, queries = vectors(finished[0], "validation")
    spec = ["--encoder", f"open_clip:local-dir:{demo.encoder_folder()}"]
    assert run("encode", *spec, "--input", "corpus/queries/*.parquet", "--output", "q.npy")["rows"] == len(query_ids)
    assert np.load("q.npy").tobytes() == queries.tobytes()
    Path("old.npy").write_bytes(b"another file")
    assert cli.main(["encode", *spec, "--input", "corpus/queries/*.parquet", "--output", "old.npy"]) == 7
    told = capsys.readouterr()
    assert "--output 'old.npy' exists already with other content" in told.err
    assert "written to" not in told.out
    assert Path("old.npy").read_bytes() == b"another file"
    run("encode", *spec, "--input", "corpus/queries/*.parquet", "--output", "q.parquet", "--table", "table")
    written = pq.read_table("q.parquet")
    assert written.column("id").to_pylist() == query_ids
    assert np.stack(written.column("vector").to_numpy()).tobytes() == queries.tobytes()
    captions = pq.read_table("corpus/queries/00000.parquet").column("caption").to_pylist()
    asked = [part for row in (0, 7) for part in ("--query", captions[row])]
    results = run("search", *spec, "--table", "table", "--work", "work", *asked, "--top", "5")["results"]
    bias = load_bias_table("table").bias_of(ids).astype(np.float64)
    for row, result in zip((0, 7), results, strict=True):
        assert result["query"] == captions[row]
        scores = candidates.astype(np.float64) @ queries[row].astype(np.float64)
        for when, expected in (("before", scores), ("after", scores - bias)):
            best = sorted(zip(-expected, ids, strict=True))[:5]
            assert [hit["id"] for hit in result[when]] == [name for _, name in best]
            assert [hit["score"] for hit in result[when]] == pytest.approx([-score for score, _ in best], abs=1e-12)
    check_search_by_files(["search", *spec, "--table", "table", *asked, "--top", "5"], ids, candidates, results, capsys)


def check_search_by_files(
    command: list[str],
    ids: list[str],
    candidates: Any,
    results: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The same answers from a file of vectors without the work folder, and a page with pictures or titles."""
    rows = {"id": ids, "vector": list(candidates), "title": [f"title of {name}" for name in ids]}
    pq.write_table(pa.table(rows), "vectors.parquet")
    files = ["--embeddings", "vectors.parquet", "--show", "title"]
    assert run(*command, *files, "--report", "titles.html")["results"] == results
    named = {hit["id"] for result in results for when in ("before", "after") for hit in result[when]}
    page = Path("titles.html").read_text(encoding="utf-8")
    assert set(re.findall(r"<bdi>title of ([^<]+)</bdi>", page)) == named
    for name in ("pictures.html", "again.html"):
        run(*command, "--work", "work", "--embeddings", "corpus/candidates/*.tar", "--report", name)
    assert Path("pictures.html").read_bytes() == Path("again.html").read_bytes()
    assert Path("pictures.html").read_text(encoding="utf-8").count('<img src="data:image/webp;') == 20
    run(*command, "--work", "work", "--report", "pictures.html", "--embeddings", "corpus/candidates/*.tar")
    capsys.readouterr()
    for wrong, told in (
        ([], "needs the candidates' vectors. Name the refresh's folder with --work"),
        (["--embeddings", "corpus/candidates/*.tar"], "holds no vectors. Name the folder"),
        (
            ["--embeddings", "part.parquet", "--report", "x.html", "--show", "titel"],
            "has no column 'titel'; it has: id, ",
        ),
        (["--embeddings", "part.parquet"], "has the vectors of 7 of the 3,000 candidates"),
        (["--work", "work", "--report", "titles.html"], "exists already with other content"),
    ):
        pq.write_table(pa.table(rows).slice(0, 7), "part.parquet")
        assert cli.main([*command, *wrong]) in (2, 3, 7)
        assert told in " ".join(capsys.readouterr().err.split())


def test_example_of_the_readme(finished: tuple[Path, dict[str, Any], str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = finished[0]
    monkeypatch.chdir(folder)
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    assert len(example.strip().splitlines()) <= 10
    ids, candidates = vectors(folder, "candidates")
    _, queries = vectors(folder, "validation")
    names: dict[str, Any] = {"ids": ids, "vectors": candidates, "queries": queries}
    exec(example, names)
    bias = load_bias_table("nnn-demo/table").bias_of(ids)
    exact = queries.astype(np.float64) @ candidates.astype(np.float64).T - bias
    best = -np.sort(-exact, axis=1)[:, :10]
    np.testing.assert_allclose(names["scores"], best, rtol=0, atol=1e-6)
