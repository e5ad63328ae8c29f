"""``nnn evaluate``: figures of rankings that anyone can compute by sorting, and honest choices."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import brute_force_means, gaussian, write_jsonl, write_vectors
from graphs import Steps
from sides import bank_of, embed_side

from nnn_core import compute_biases, load_bias_table, storage
from nnn_core.embedded.shards import EmbeddedShard, read_ids
from nnn_core.errors import InputError, StorageError
from nnn_core.evaluation.agreement import agreement_of, moments_of
from nnn_core.evaluation.choice import _choose
from nnn_core.evaluation.means import ShardMeans
from nnn_core.evaluation.points import Point
from nnn_core.evaluation.queries import Overlap, QuerySet
from nnn_core.evaluation.summary import ALPHAS
from nnn_core.report.archive import read_report, write_report
from pipelines.commands import cli
from pipelines.config import RefreshConfig
from pipelines.running import _progress
from pipelines.running._progress import Tally

DIM, CANDIDATES, QUERIES = 8, 60, 80


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 candidates in three files, and 80 queries that lie near to one candidate each."""
    folder = tmp_path_factory.mktemp("inputs")
    candidates = gaussian(CANDIDATES, DIM, 1)
    owners = np.arange(QUERIES) % CANDIDATES
    queries = candidates[owners] + gaussian(QUERIES, DIM, 3)
    names = [f"c{row}" for row in range(CANDIDATES)]
    further = {"title": [f"title of {name}" for name in names], "url": [f"https://shop.example/{n}" for n in names]}
    write_vectors(folder / "candidates", names, candidates, 3, **further)
    write_vectors(folder / "references", [f"r{row}" for row in range(50)], gaussian(50, DIM, 2), 2)
    pairs = [f"c{row}" for row in owners]
    write_vectors(folder / "queries", [f"q{row}" for row in range(QUERIES)], queries, 2, pairs)
    return folder


def as_flags(flags: dict[str, str]) -> list[str]:
    return [part for name, value in flags.items() for part in (f"--{name}", value)]


def flags_of_evaluate(published: Path) -> dict[str, str]:
    flags = {name: str(published / name / "part-*.parquet") for name in ("candidates", "queries")}
    flags |= {name: str(published / name) for name in ("table", "work")}
    return flags | {"query-pair-id-column": "pair_id"}


def flags_of_refresh(inputs: Path, folder: Path) -> dict[str, str]:
    """The ``inputs`` with validation queries, to a table and artefacts of its own."""
    flags = {name: str(inputs / name / "part-*.parquet") for name in ("candidates", "references")}
    flags |= {"validation": str(inputs / "queries" / "part-*.parquet"), "validation-pair-id-column": "pair_id"}
    return flags | {name: str(folder / name) for name in ("table", "work")} | {"k": "4", "k-max": "8", "alpha": "0.5"}


def warnings_of(error: str) -> str:
    """Standard error without the lines by which a slow stage says how far it is, and without the lengths of vectors."""
    lines = error.splitlines(keepends=True)
    return "".join(
        line for line in lines if not re.match(r"\w+ +[\d,]+ (of [\d,]+|so far), |.* are not unit length, ", line)
    )


def result_of(*command: str) -> dict[str, Any]:
    """What a command that succeeds without a word of warning prints as JSON."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as error:
        assert (cli.main([*command, "--json"]), warnings_of(error.getvalue())) == (0, "")
    result: dict[str, Any] = json.loads(out.getvalue().splitlines()[-1])
    return result


@pytest.fixture(scope="module")
def tuned(published: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same with a choice of k and alpha; ``page`` is its report."""
    page = str(tmp_path_factory.mktemp("tuned") / "report.html")
    command = ["evaluate", *as_flags(flags_of_evaluate(published)), "--tune", "--report", page, "--show", "title"]
    return result_of(*command) | {"page": page}


@pytest.fixture(scope="module")
def refreshed(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A refresh that chooses k and alpha by the queries: the folder of its table, and its summary.

    ``tallies`` are those of its progress, by stage.
    """
    folder = tmp_path_factory.mktemp("refreshed")
    tallies: dict[str, Tally] = {}
    with mock.patch.object(_progress.Lines, "show", lambda self, stage, tally: tallies.update({stage: tally})):
        summary = result_of("refresh", *as_flags(flags_of_refresh(inputs, folder)), "--tune")
    return folder, summary | {"tallies": tallies}


@pytest.fixture(scope="module")
def given(refreshed: tuple[Path, dict[str, Any]], inputs: Path) -> dict[str, Any]:
    """Summary of a refresh into another table, of a point that is given, with the artefacts of ``refreshed``."""
    flags = flags_of_refresh(inputs, refreshed[0]) | {"table": str(inputs / "table"), "show": "title,url"}
    return result_of("refresh", *as_flags(flags))


@pytest.fixture(scope="module")
def published(inputs: Path, given: dict[str, Any]) -> Path:
    """The folder of the inputs and of that table, with artefacts of its own."""
    return inputs


@pytest.fixture
def evaluate(published: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any], str]]:
    """Run ``nnn evaluate --json``; keyword arguments replace flags."""
    flags = flags_of_evaluate(published)

    def run(*extra: str, **changes: str) -> tuple[int, dict[str, Any], str]:
        code = cli.main(["evaluate", *as_flags({**flags, **changes}), *extra, "--json"])
        out = capsys.readouterr()
        return code, json.loads(out.out.splitlines()[-1]) if code == 0 else {}, warnings_of(out.err)

    return run


@pytest.fixture
def refresh(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, dict[str, Any], str]]:
    """Run ``nnn refresh --json`` with validation queries on the inputs of ``published``."""
    flags = flags_of_refresh(published, tmp_path)

    def run(*extra: str, **changes: str) -> tuple[int, dict[str, Any], str]:
        code = cli.main(["refresh", *as_flags({**flags, **changes}), *extra, "--json"])
        out = capsys.readouterr()
        return code, json.loads(out.out.splitlines()[-1]) if code == 0 else {}, warnings_of(out.err)

    return run


def raw_of(published: Path, side: str) -> tuple[list[str], np.ndarray]:
    """Ids and vectors as they were written."""
    parts = pa.concat_tables([pq.read_table(path) for path in sorted((published / side).glob("*.parquet"))])
    return parts["id"].to_pylist(), np.stack(parts["vector"].to_pylist())


def vectors_of(published: Path, side: str) -> dict[str, np.ndarray]:
    """Unit vectors by id."""
    ids, raw = raw_of(published, side)
    wide = raw.astype(np.float64)
    return dict(zip(ids, wide / np.linalg.norm(wide, axis=1)[:, None], strict=True))


def brute_force_ranks(published: Path, k: int, alpha: float) -> dict[str, int]:
    """Rank of each query's candidate, by sorting all of them in float64."""
    table = load_bias_table(str(published / "table"))
    means = table.means_for([f"c{row}" for row in range(CANDIDATES)])
    bias = (alpha * means[:, table.manifest.settings.grid.index(k)].astype(np.float64)).astype(np.float32)
    vectors = {side: vectors_of(published, side) for side in ("candidates", "queries")}
    held = np.stack([vectors["candidates"][f"c{row}"] for row in range(CANDIDATES)])
    ranks = {}
    for name, query in vectors["queries"].items():
        scores = held @ query - bias.astype(np.float64)
        ranks[name] = int((scores > scores[int(name[1:]) % CANDIDATES]).sum()) + 1
    return ranks


@pytest.mark.parametrize(
    "point",
    [None, *(pytest.param(point, marks=pytest.mark.slow) for point in ((1, 1.5), (8, 0.3)))],
)
def test_figures_are_those_of_sorting(
    given: dict[str, Any], evaluate: Any, published: Path, point: tuple[int, float] | None
) -> None:
    """At the point that a refresh publishes, and at others."""
    k, alpha = point or (4, 0.5)
    result = evaluate("--k", str(k), "--alpha", str(alpha))[1] if point else given["evaluation"]
    assert result["point"] == {"k": k, "alpha": alpha}
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


def test_a_choice_is_that_of_brute_force_ranks(tuned: dict[str, Any], published: Path) -> None:
    points = Point.of_grid((1, 2, 4, 8), ALPHAS)
    first = np.array([list(brute_force_ranks(published, point.k, point.alpha).values()) for point in points])
    answers = [f"c{int(name[1:]) % CANDIDATES}" for name in brute_force_ranks(published, 4, 0.0)]
    recalls = (first == 1).astype(np.float64)
    choice, unseen = _choose(points, first, answers, ("recall@1", recalls), tuned["agreement"])
    assert tuned["choice"] == json.loads(json.dumps(dataclasses.asdict(choice)))
    assert (tuned["queries"], tuned["answers"]) == (QUERIES, CANDIDATES)
    every = np.arange(QUERIES)
    assert tuned["choice"]["gain"]["value"] == pytest.approx((recalls[unseen, every] - recalls[0]).mean())
    after = recalls[unseen, every] if choice.proven else recalls[0]
    assert tuned["after"]["recall@1"]["value"] == pytest.approx(after.mean())


def test_agreement_is_that_of_all_candidates_at_once(given: dict[str, Any], published: Path) -> None:
    held, asked, bank = (vectors_of(published, side) for side in ("candidates", "queries", "references"))
    names, ordered = list(held), sorted(asked)
    relevant = [[f"c{int(name[1:]) % CANDIDATES}"] for name in ordered]
    mean = np.stack(list(bank.values())).mean(axis=0)
    vectors = np.stack([held[name] for name in names]), np.stack([asked[name] for name in ordered])
    moments = moments_of(*vectors[:1], names, mean, vectors[1], relevant)  # type: ignore[arg-type]
    assert given["evaluation"]["agreement"] == agreement_of(moments)


def asked_in_vain(published: Path, folder: Path) -> str:
    """The queries without their answers, and two that are rejected."""
    ids, vectors = raw_of(published, "queries")
    zeros = np.zeros((2, DIM), np.float32)
    return write_vectors(
        folder / "asked", [*ids, "z0", "z1"], np.concatenate([vectors, zeros]), 1, [""] * (QUERIES + 2)
    )


def test_judgements_of_a_part_of_the_candidates(evaluate: Any, published: Path, tmp_path: Path) -> None:
    """Graded and several; of queries that are in the bank, and of a part of the index, which both are allowed here.

    Two rows of queries are rejected.
    """
    queries = asked_in_vain(published, tmp_path)
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
    bank, part = (str(published / name) for name in ("queries/part-0.parquet", "candidates/part-[01].parquet"))
    flags = ["--relevance", str(judged), "--references", bank, "--allow-overlap", "--subset"]
    code, result, _ = evaluate(*flags, "--max-reject-rate", "0.1", candidates=part, queries=queries)
    assert (code, result["queries"], result["missing"]) == (0, 2, 1)
    assert result["unused"] == {"rejected": 2, "unanswered": QUERIES - 3, "absent": 1}
    assert (result["candidates"], result["of_candidates"], result["fair"]) == (40, 60, None)
    note = '40 of the table&#x27;s 60 candidates were given (<span class="flag">--subset</span>)'
    page = Path(result["report"]).read_text().replace("&#39;", "&#x27;")
    words = f"2 rejected, {QUERIES - 3} without an answer, 1 with no answer in the index"
    assert (note in page, "vector has zero norm" in page) == (True, True)
    assert f"{QUERIES} of {QUERIES + 2} rows of queries (97.56%) are left out of all figures: {words}." in page


def test_no_row_of_queries_is_left(tmp_path: Path) -> None:
    queries = write_vectors(tmp_path / "asked", ["q0"], np.zeros((1, DIM), np.float32), 1, ["c0"])
    inputs = embed_side(queries, str(tmp_path), "--queries", pair_id="pair_id")
    with pytest.raises(InputError, match="no query is left: all 1 rows of --queries were rejected"):
        QuerySet.gather(inputs, None, 1.0, "--queries", str(tmp_path))


def shards_of(pattern: str, work: Path, **columns: object) -> list[EmbeddedShard]:
    """Embedded shards of some files."""
    embedded = embed_side(pattern, str(work), "--queries", modality="text", **columns)
    return [shard for each in embedded for shard in each.shards]


def test_queries_from_the_bank_are_refused(published: Path, tmp_path: Path) -> None:
    inputs = embed_side(str(published / "queries" / "*"), str(tmp_path), "--queries", pair_id="pair_id")
    queries, _ = QuerySet.gather(inputs, None, 0.0, "--queries", str(tmp_path))
    shards = [shard for each in inputs for shard in each.shards]
    assert Overlap.find(queries, shards[0]).queries == set(read_ids(shards[0]).to_pylist())
    whole = Overlap.find(queries, shards[0]) | Overlap.find(queries, shards[1])
    with pytest.raises(InputError, match=r"80 .* in the bank too: 80 by their content and 80 by their id.*--allow"):
        whole.refuse()


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--k", "3"], 3, "--k 3 is not in the grid of version 1"),
        (["--max-reject-rate", "2"], 2, "--max-reject-rate 2.0 must lie between 0 and 1"),
        (["--alpha", "-1"], 2, "--alpha -1.0"),
        (["--tune", "--k", "4"], 2, "--tune chooses k and alpha"),
    ],
)
def test_settings_that_cannot_work(evaluate: Any, flags: list[str], code: int, message: str) -> None:
    found, _, error = evaluate(*flags)
    assert found == code
    assert message in error


def test_candidates_that_the_table_does_not_know(published: Path, tmp_path: Path) -> None:
    (shard,) = shards_of(write_vectors(tmp_path / "other", ["c0", "stranger"], gaussian(2, DIM, 1), 1), tmp_path)
    with pytest.raises(InputError, match=r"1 of 2 candidates have no bias in version 1 of the table .*'stranger'"):
        ShardMeans.look_up(shard, str(published / "table"), 1, str(tmp_path))


def test_queries_without_answers(published: Path, tmp_path: Path) -> None:
    inputs = embed_side(str(published / "queries" / "*"), str(tmp_path), "--queries")
    with pytest.raises(InputError, match="none of the 80 validation queries names the candidate that answers it"):
        QuerySet.gather(inputs, {"stranger": {"c0": 1.0}}, 0.0, "--queries", str(tmp_path))
    queries, _ = QuerySet.gather(inputs, {"q0": {"nowhere": 1.0}}, 0.0, "--queries", str(tmp_path))
    candidates = embed_side(str(published / "candidates" / "*"), str(tmp_path), "--candidates")
    words = "no answer of the 80 validation queries is in the index.* Query 'q0' names 'nowhere'; .* such as 'c0'"
    with pytest.raises(InputError, match=words):
        queries.check_answers(candidates, need_answers=False)
    queries, _ = QuerySet.gather(inputs, {"q0": {"C15": 1.0}}, 0.0, "--queries", str(tmp_path))
    with pytest.raises(InputError, match="They differ in upper and lower case: 'C15' and 'c15'"):
        queries.check_answers(candidates, need_answers=False)
    queries, _ = QuerySet.gather(inputs, {"q0": {"c15": 1.0, "nowhere": 1.0}}, 0.0, "--queries", str(tmp_path))
    assert queries.check_answers(candidates, need_answers=True) is queries


def test_queries_that_name_themselves_have_no_known_answer(
    published: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As in a log of queries with ids of their own, whose pair ids are these ids."""
    inputs = embed_side(str(published / "queries" / "*"), str(tmp_path), "--queries")
    candidates = embed_side(str(published / "candidates" / "*"), str(tmp_path), "--candidates")
    themselves = {f"q{row}": {f"q{row}": 1.0} for row in range(QUERIES)}
    queries, _ = QuerySet.gather(inputs, themselves, 0.0, "--queries", str(tmp_path))
    with pytest.raises(InputError, match=r"Query 'q0' names 'q0'.*--validation-pair-id-column"):
        queries.check_answers(candidates, need_answers=True)
    unanswered = queries.check_answers(candidates, need_answers=False)
    assert (unanswered.ids, unanswered.relevant) == (queries.ids, ((),) * QUERIES)
    assert f"no answer of the {QUERIES} validation queries is known" in caplog.text
    assert unanswered.store(str(tmp_path)).load().relevant == unanswered.relevant


def test_a_refresh_publishes_what_it_chose(refreshed: tuple[Path, dict[str, Any]], tuned: dict[str, Any]) -> None:
    """It judges it as an evaluation does."""
    folder, summary = refreshed
    table = load_bias_table(str(folder / "table"))
    chosen, settings = tuned["choice"]["point"], table.manifest.settings
    assert settings.alpha == chosen["alpha"]
    expected = (settings.alpha * table.mean_k[:, settings.grid.index(settings.k)].astype(np.float64)).astype(np.float32)
    assert np.array_equal(table.bias, expected)
    evaluation = table.manifest.evaluation
    assert evaluation is not None
    for part in ("choice", "before", "after", "gain", "surface", "median_rank"):
        assert evaluation[part] == tuned[part]
    assert summary["evaluation"] == evaluation
    assert {gate.name: gate.verdict for gate in table.manifest.gates}["gain"] == "pass"


def test_queries_tell_of_the_bank_without_answers(refresh: Any, published: Path, tmp_path: Path) -> None:
    queries = asked_in_vain(published, tmp_path)
    code, summary, error = refresh("--max-reject-rate", "0.1", validation=queries)
    evaluation = summary["evaluation"]
    assert (code, error, evaluation["queries"], evaluation["gain"]) == (0, "", 0, {})
    assert evaluation["unused"] == {"rejected": 2, "unanswered": QUERIES, "absent": 0}
    page = Path(summary["report"]).read_text()
    words = f"2 rejected, {QUERIES} without an answer"
    assert f"{QUERIES + 2} of {QUERIES + 2} rows of queries (100.00%) are left out of all figures: {words}." in page
    assert "vector has zero norm" in page
    assert "Not evaluated: no query has an answer." in page
    assert "Hubness" in page
    # Tables of no figures, and ranks of no answers, would only be in the way.
    assert ": 0 queries" not in page
    assert "changed most" not in page


@pytest.mark.parametrize("tune", [False, True])
def test_only_a_choice_needs_answers(published: Path, tmp_path: Path, tune: bool) -> None:
    """What ``test_queries_without_answers`` asks for is asked for where k and alpha are chosen."""
    sides = (str(published / name / "part-*.parquet") for name in ("candidates", "references"))
    where = (str(tmp_path / "table"), str(tmp_path / "work"))
    queries = str(published / "queries" / "part-*.parquet")
    steps = Steps(RefreshConfig(*sides, *where, validation=queries, tune=tune, show="title, url,"))
    assert steps.named["GatherQueries"].transform.need_answers == tune
    assert steps.named["CommitBiasTable"].transform.show == ("title", "url")


def test_nothing_is_judged_twice(
    refreshed: tuple[Path, dict[str, Any]], given: dict[str, Any], published: Path
) -> None:
    """Three shards, each with its targets, counts and rankings."""
    folder, first = refreshed
    again = result_of("refresh", *as_flags(flags_of_refresh(published, folder)), "--tune")
    both = [each["stages"]["judge_bias"] for each in (first, again)]
    assert [(each["computed"], each["reused"]) for each in both] == [(9, 0), (0, 9)]
    assert [first["tallies"]["judge_bias"].done, first["tallies"]["judge_bias"].expected] == [9, 9]
    assert (again["version"], again["evaluation"]) == (first["version"], first["evaluation"])
    # A point that is given is judged by the same counts.
    moved = given["stages"]["judge_bias"]
    assert (moved["computed"], moved["reused"]) == (3, 6)


def test_validation_does_not_change_the_means(refreshed: tuple[Path, dict[str, Any]], published: Path) -> None:
    table = load_bias_table(str(refreshed[0] / "table"))
    (ids, candidates), (_, bank) = raw_of(published, "candidates"), raw_of(published, "references")
    for column, k in enumerate(table.manifest.settings.grid):
        means = dict(zip(ids, compute_biases(candidates, bank, k, alpha=1.0).tolist(), strict=True))
        assert table.mean_k[:, column].tolist() == [means[name] for name in table.ids.to_pylist()]


def test_a_refresh_refuses_queries_from_the_bank(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = flags_of_refresh(published, tmp_path) | {"references": str(published / "queries" / "part-*.parquet")}
    assert cli.main(["refresh", *as_flags(flags)]) == 3
    assert "80 validation queries are in the bank too" in capsys.readouterr().err
    assert not list((tmp_path / "table").glob("versions/*.json"))


def test_a_bank_without_the_queries_is_that_of_files_without_them(
    refresh: Any, published: Path, tmp_path: Path
) -> None:
    """Of a bank of 60 rows four are queries: two by id, one by content and one by both."""
    vectors, asked = gaussian(60, DIM, 4), pq.read_table(published / "queries" / "part-0.parquet")
    candidates = gaussian(CANDIDATES, DIM, 1)
    ids = [f"r{row}" for row in range(60)]
    for row, name in ((3, "q1"), (31, "q2"), (40, "q3")):
        ids[row] = name
    for row, query in ((40, 3), (59, 4)):
        vectors[row] = asked["vector"][query].as_py()
    rest = np.setdiff1d(np.arange(60), [3, 31, 40, 59])
    bank, without = (
        write_vectors(tmp_path / name, [ids[row] for row in rows], vectors[rows], 2)
        for name, rows in (("bank", np.arange(60)), ("rest", rest))
    )
    dropping = {"references": bank, "table": str(tmp_path / "dropped")}
    code, summary, error = refresh("--drop-overlap", **dropping)
    assert (code, error, summary["references"]) == (0, "", 56)
    note = "4 references are validation queries, and were left out of the bank."
    assert note in Path(summary["report"]).read_text()
    table, expected = load_bias_table(dropping["table"]), bank_of(without, str(tmp_path / "fresh"))
    assert (table.manifest.settings.bank_digest, table.manifest.references.rows) == (expected.digest, expected.rows)
    means = brute_force_means(candidates, vectors[rest], table.manifest.settings.grid)
    np.testing.assert_allclose(table.means_for([f"c{row}" for row in range(CANDIDATES)]), means, rtol=0, atol=1e-6)
    # The next refresh starts from the whole bank, which cleaning keeps; what queries saw is judged anew.
    work = {path: path.read_bytes() for path in (tmp_path / "work").rglob("*") if path.is_file()}
    for path in work:
        os.utime(path, (0, 0))
    flags = ["--work", str(tmp_path / "work"), "--table", dropping["table"]]
    assert cli.main(["work", "gc", *flags, "--yes"]) == 0
    removed = [path for path in work if not path.exists()]
    assert {path.parent.name for path in removed} == {"embedded", "evaluation", "runs", "standing"}
    forgotten = {json.loads(work[path])["content"]["digest"] for path in removed if path.match("embedded/*.json")}
    assert forgotten == {storage.content_digest(str(path)) for path in (published / "queries").iterdir()}


def test_overlap_is_dropped_or_allowed(refresh: Any) -> None:
    code, _, error = refresh("--drop-overlap", "--allow-overlap")
    assert (code, "Give only one of them" in error) == (2, True)


def test_validation_flags_need_queries(capsys: pytest.CaptureFixture[str]) -> None:
    flags = {"candidates": "c", "references": "r", "table": "t", "work": "w"}
    assert cli.main(["refresh", *as_flags(flags), "--tune"]) == 2
    assert "Name them with --validation" in capsys.readouterr().err


def test_the_report_is_one_page_under_a_new_name(tuned: dict[str, Any], tmp_path: Path) -> None:
    page = Path(tuned["page"])
    text = page.read_text()
    assert ("<script" in text, "Evaluation of version 1" in text) == (False, True)
    assert tuned["hubs"][0]["id"] in text
    assert (tuned["published"], tuned["in_force"]) == (None, {"k": 4, "alpha": 0.5})
    assert "Nothing was published: version 1 keeps k = 4, alpha = 0.5." in text
    with pytest.raises(StorageError, match="exists already and was left as it is"):
        write_report(read_report(str(page)), str(tmp_path), "evaluation", str(page))
    assert page.read_text() == text


def test_columns_that_are_named_stand_beside_ids(
    given: dict[str, Any], tuned: dict[str, Any], refreshed: tuple[Path, dict[str, Any]], published: Path
) -> None:
    """Of every candidate on the page, and with no part in the table."""
    for page, after in ((given["report"], " \u00b7 https://shop.example/{}"), (tuned["page"], "")):
        report = read_report(page)
        assert report.hubs
        said = {name: one.text for name, one in report.shown.items()}
        assert said == {name: f"title of {name}" + after.format(name) for name in report.wanted()}
        text = Path(page).read_text()
        links = set(re.findall(r'<a href="https://shop.example/(c\d+)" rel="noreferrer">', text))
        assert links == (set(report.wanted()) if after else set())
    flags = flags_of_refresh(published, refreshed[0]) | {"table": str(published / "table")}
    again = result_of("refresh", *as_flags(flags))
    assert again["version"] == given["version"]
    page = Path(again["report"]).read_text()
    assert ("Nothing changed since version 1" in page, "title of c" in page) == (True, False)


@pytest.mark.parametrize("command", ["evaluate", "refresh"])
def test_a_column_that_is_not_there_is_told_of_at_once(
    command: str, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = flags_of_evaluate(published) if command == "evaluate" else flags_of_refresh(published, tmp_path)
    work = tmp_path / "new"
    assert cli.main([command, *as_flags(flags | {"work": str(work), "show": "title,link"})]) == 2
    uri = str(published / "candidates" / "part-0.parquet")
    told = f"{uri!r} has no column 'link'; it has: id, title, url, vector. Nothing was computed. Correct --show,"
    assert told in " ".join(capsys.readouterr().err.split())
    assert not work.exists()
