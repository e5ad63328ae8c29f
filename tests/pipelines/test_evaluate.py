"""``nnn evaluate``: figures of rankings that anyone can compute by sorting, and honest choices."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import gaussian, write_jsonl, write_vectors

from nnn_core import load_bias_table
from nnn_core.evaluation.choice import choosing_half
from pipelines.commands import cli

DIM, CANDIDATES, QUERIES = 8, 60, 80


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 60 candidates in three files, with 80 queries that lie near to one candidate each."""
    folder = tmp_path_factory.mktemp("published")
    candidates = gaussian(CANDIDATES, DIM, 1)
    owners = np.arange(QUERIES) % CANDIDATES
    queries = candidates[owners] + gaussian(QUERIES, DIM, 3)
    write_vectors(folder / "candidates", [f"c{row}" for row in range(CANDIDATES)], candidates, 3)
    write_vectors(folder / "references", [f"r{row}" for row in range(50)], gaussian(50, DIM, 2), 2)
    pairs = [f"c{row}" for row in owners]
    write_vectors(folder / "queries", [f"q{row}" for row in range(QUERIES)], queries, 2, pairs)
    flags = {name: str(folder / name / "part-*.parquet") for name in ("candidates", "references")}
    flags |= {name: str(folder / name) for name in ("table", "work")}
    assert cli.main(["refresh", "--k", "4", "--k-max", "8", "--alpha", "0.5", *as_flags(flags)]) == 0
    return folder


def as_flags(flags: dict[str, str]) -> list[str]:
    return [part for name, value in flags.items() for part in (f"--{name}", value)]


def flags_of_evaluate(published: Path) -> dict[str, str]:
    flags = {name: str(published / name / "part-*.parquet") for name in ("candidates", "queries")}
    flags |= {name: str(published / name) for name in ("table", "work")}
    return flags | {"query-pair-id-column": "pair_id"}


def flags_of_refresh(published: Path, folder: Path) -> dict[str, str]:
    """The inputs of ``published`` with validation queries, to a table and artefacts of its own."""
    flags = {name: str(published / name / "part-*.parquet") for name in ("candidates", "references")}
    flags |= {"validation": str(published / "queries" / "part-*.parquet"), "validation-pair-id-column": "pair_id"}
    return flags | {name: str(folder / name) for name in ("table", "work")} | {"k": "4", "k-max": "8", "alpha": "0.5"}


def result_of(*command: str) -> dict[str, Any]:
    """What a command that succeeds without a word of warning prints as JSON."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as error:
        assert (cli.main([*command, "--json"]), error.getvalue()) == (0, "")
    result: dict[str, Any] = json.loads(out.getvalue().splitlines()[-1])
    return result


@pytest.fixture(scope="module")
def judged(published: Path) -> dict[str, Any]:
    """What an evaluation of the table says."""
    return result_of("evaluate", *as_flags(flags_of_evaluate(published)))


@pytest.fixture(scope="module")
def tuned(published: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same with a choice of k and alpha; ``page`` is its report."""
    page = str(tmp_path_factory.mktemp("tuned") / "report.html")
    command = ["evaluate", *as_flags(flags_of_evaluate(published)), "--tune", "--report", page]
    return result_of(*command) | {"page": page}


@pytest.fixture(scope="module")
def refreshed(published: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A refresh with validation queries: the folder of its table, and its summary."""
    folder = tmp_path_factory.mktemp("refreshed")
    return folder, result_of("refresh", *as_flags(flags_of_refresh(published, folder)))


@pytest.fixture
def evaluate(published: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any], str]]:
    """Run ``nnn evaluate --json``; keyword arguments replace flags."""
    flags = flags_of_evaluate(published)

    def run(*extra: str, **changes: str) -> tuple[int, dict[str, Any], str]:
        code = cli.main(["evaluate", *as_flags({**flags, **changes}), *extra, "--json"])
        out = capsys.readouterr()
        return code, json.loads(out.out.splitlines()[-1]) if code == 0 else {}, out.err

    return run


def brute_force_ranks(published: Path, k: int, alpha: float) -> dict[str, int]:
    """Rank of each query's candidate, by sorting all of them in float64."""
    table = load_bias_table(str(published / "table"))
    means = table.means_for([f"c{row}" for row in range(CANDIDATES)])
    bias = (alpha * means[:, table.manifest.settings.grid.index(k)].astype(np.float64)).astype(np.float32)
    vectors = {}
    for side in ("candidates", "queries"):
        parts = pa.concat_tables([pq.read_table(path) for path in sorted((published / side).glob("*.parquet"))])
        raw = np.stack(parts["vector"].to_pylist()).astype(np.float64)
        vectors[side] = dict(zip(parts["id"].to_pylist(), raw / np.linalg.norm(raw, axis=1)[:, None], strict=True))
    held = np.stack([vectors["candidates"][f"c{row}"] for row in range(CANDIDATES)])
    ranks = {}
    for name, query in vectors["queries"].items():
        scores = held @ query - bias.astype(np.float64)
        ranks[name] = int((scores > scores[int(name[1:]) % CANDIDATES]).sum()) + 1
    return ranks


@pytest.mark.parametrize(
    ("k", "alpha"),
    [(1, 1.5), pytest.param(4, 0.5, marks=pytest.mark.slow), pytest.param(8, 0.3, marks=pytest.mark.slow)],
)
def test_figures_are_those_of_sorting(evaluate: Any, published: Path, k: int, alpha: float) -> None:
    code, result, error = evaluate("--k", str(k), "--alpha", str(alpha))
    assert (code, error) == (0, "")
    for part, ranks in (
        ("before", brute_force_ranks(published, k, 0.0)),
        ("after", brute_force_ranks(published, k, alpha)),
    ):
        ordered = np.array(list(ranks.values()))
        for cut in (1, 5, 10):
            assert result[part][f"recall@{cut}"]["value"] == pytest.approx((ordered <= cut).mean())
        assert result[part]["mrr"]["value"] == pytest.approx((1 / ordered).mean())
    assert result["queries"] == QUERIES
    assert result["gain"]["mrr"]["value"] == pytest.approx(
        result["after"]["mrr"]["value"] - result["before"]["mrr"]["value"]
    )


def test_by_default_the_published_point_is_judged(judged: dict[str, Any]) -> None:
    assert judged["point"] == {"k": 4, "alpha": 0.5}


def test_a_choice_is_reported_on_queries_that_did_not_make_it(tuned: dict[str, Any], published: Path) -> None:
    chose = choosing_half([f"q{row}" for row in range(QUERIES)]).sum()
    assert (tuned["choosing"], tuned["queries"]) == (chose, QUERIES - chose)
    assert tuned["choice"]["point"] == tuned["point"]
    ranks = brute_force_ranks(published, 4, 0.0)
    reporting = [ranks[name] for name in ranks if not choosing_half([name])[0]]
    assert tuned["before"]["recall@5"]["value"] == pytest.approx(np.mean([rank <= 5 for rank in reporting]))


def test_judgements_may_be_graded_and_several(evaluate: Any, tmp_path: Path) -> None:
    judged = tmp_path / "judged.jsonl"
    write_jsonl(
        judged,
        [
            {"query_id": "q0", "candidate_id": "c0", "grade": 2.0},
            {"query_id": "q0", "candidate_id": "c7", "grade": 1.0},
            {"query_id": "q1", "candidate_id": "nowhere", "grade": 1.0},
            {"query_id": "q1", "candidate_id": "c1", "grade": 0.0},
            {"query_id": "q2", "candidate_id": "c2", "grade": 1.0},
        ],
    )
    code, result, _ = evaluate("--relevance", str(judged))
    assert (code, result["queries"], result["missing"]) == (0, 2, 1)


def test_queries_from_the_bank_are_refused(evaluate: Any, published: Path) -> None:
    code, _, error = evaluate("--references", str(published / "queries" / "part-0.parquet"))
    assert code == 3
    assert "40 validation queries have the content, and 40 the id, of a reference query" in error
    assert "--allow-overlap" in error
    assert evaluate("--references", str(published / "queries" / "part-0.parquet"), "--allow-overlap")[0] == 0


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--k", "3"], 3, "--k 3 is not in the grid of version 1"),
        (["--alpha", "-1"], 2, "--alpha -1.0"),
        (["--tune", "--k", "4"], 2, "--tune chooses k and alpha"),
        (["--relevance", "{table}/versions/000001.json"], 3, "has no known format"),
    ],
)
def test_settings_that_cannot_work(evaluate: Any, published: Path, flags: list[str], code: int, message: str) -> None:
    found, _, error = evaluate(*(flag.format(table=published / "table") for flag in flags))
    assert found == code
    assert message in error


def test_candidates_that_the_table_does_not_know(evaluate: Any, tmp_path: Path) -> None:
    other = write_vectors(tmp_path / "other", ["c0", "stranger"], gaussian(2, DIM, 1), 1)
    code, _, error = evaluate(candidates=other)
    assert code == 3
    assert "1 of 2 candidates have no bias in version 1 of the table (first: 'stranger')" in error


def test_queries_without_answers(evaluate: Any, tmp_path: Path) -> None:
    judged = tmp_path / "judged.tsv"
    judged.write_text("query_id\tcandidate_id\nq0\tnowhere\n")
    code, _, error = evaluate("--relevance", str(judged))
    assert code == 3
    assert "none of the candidates that answer the 1 validation queries is in the index" in error
    judged.write_text("query_id\tcandidate_id\nstranger\tc0\n")
    code, _, error = evaluate("--relevance", str(judged))
    assert code == 3
    assert "none of the 80 validation queries says which candidate answers it" in error


@pytest.fixture
def refresh(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, dict[str, Any], str]]:
    """Run ``nnn refresh --json`` with validation queries on the inputs of ``published``."""
    flags = flags_of_refresh(published, tmp_path)

    def run(*extra: str, **changes: str) -> tuple[int, dict[str, Any], str]:
        code = cli.main(["refresh", *as_flags({**flags, **changes}), *extra, "--json"])
        out = capsys.readouterr()
        return code, json.loads(out.out.splitlines()[-1]) if code == 0 else {}, out.err

    return run


def test_a_refresh_judges_what_it_publishes(refreshed: tuple[Path, dict[str, Any]], judged: dict[str, Any]) -> None:
    folder, summary = refreshed
    manifest = load_bias_table(str(folder / "table")).manifest
    assert manifest.evaluation is not None
    for part in ("before", "after", "gain", "surface", "median_rank"):
        assert manifest.evaluation[part] == judged[part]
    assert summary["evaluation"] == manifest.evaluation
    assert {gate.name: gate.verdict for gate in manifest.gates}["gain"] == "pass"


def test_a_refresh_publishes_what_it_chose(refresh: Any, tuned: dict[str, Any], tmp_path: Path) -> None:
    assert refresh("--tune")[0] == 0
    table = load_bias_table(str(tmp_path / "table"))
    chosen, settings = tuned["choice"]["point"], table.manifest.settings
    assert settings.alpha == chosen["alpha"]
    expected = (settings.alpha * table.mean_k[:, settings.grid.index(settings.k)].astype(np.float64)).astype(np.float32)
    assert np.array_equal(table.bias, expected)


def test_validation_does_not_change_the_table(refreshed: tuple[Path, dict[str, Any]], published: Path) -> None:
    files = [load_bias_table(str(where / "table")).manifest.files for where in (refreshed[0], published)]
    assert [part.sha256 for part in files[0]] == [part.sha256 for part in files[1]]


def test_a_refresh_refuses_queries_from_the_bank(refresh: Any, published: Path, tmp_path: Path) -> None:
    code, _, error = refresh(references=str(published / "queries" / "part-*.parquet"))
    assert code == 3
    assert "80 validation queries have the content" in error
    assert not list((tmp_path / "table").glob("versions/*.json"))


def test_validation_flags_need_queries(capsys: pytest.CaptureFixture[str]) -> None:
    flags = {"candidates": "c", "references": "r", "table": "t", "work": "w"}
    assert cli.main(["refresh", *as_flags(flags), "--tune"]) == 2
    assert "name them with --validation" in capsys.readouterr().err


def test_the_report_is_one_page_under_a_new_name(evaluate: Any, tuned: dict[str, Any]) -> None:
    page = Path(tuned["page"])
    text = page.read_text()
    assert ("<script" in text, "Evaluation of version 1" in text) == (False, True)
    assert tuned["hubs"][0]["id"] in text
    code, _, error = evaluate("--report", str(page))
    assert (code, "is there already and was left as it is" in error) == (7, True)
    assert page.read_text() == text
