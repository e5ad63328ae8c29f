"""What ``nnn evaluate`` measures beyond the bias: fair figures, other methods, attributes; and what it publishes."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora import brute_force_means, gaussian, write_vectors

from nnn_core import load_bias_table
from nnn_core.errors import InputError
from nnn_core.evaluation.attributes import add_counts, compare_values, count_values
from nnn_core.evaluation.rivals import _choosing_half
from nnn_core.table.manifest import read_manifest
from pipelines.commands import cli

DIM, CANDIDATES, QUERIES, REFERENCES = 8, 60, 80, 50
OWN_PAIRS = 20
#: What is judged, of a table that was published with another.
K, ALPHA = 8, 0.25
IDS = [f"c{row}" for row in range(CANDIDATES)]
#: The candidate that each query asks for, the queries in order of id, and their answers in that order.
OWNERS = OWN_PAIRS + np.arange(QUERIES) % (CANDIDATES - OWN_PAIRS)
ORDER = sorted(range(QUERIES), key=lambda row: f"q{row}")
ANSWERS = [IDS[OWNERS[row]] for row in ORDER]
SHAPES = {name: ("round", "square", "")[row % 3] for row, name in enumerate(IDS)}

Run = Callable[..., tuple[int, dict[str, Any], str]]


def query_vectors() -> np.ndarray:
    return np.asarray(gaussian(CANDIDATES, DIM, 1)[OWNERS] + 2 * gaussian(QUERIES, DIM, 3, 0.0))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table whose bank describes the first 20 of 60 candidates; queries ask for the last 40."""
    folder = tmp_path_factory.mktemp("published")
    candidates = gaussian(CANDIDATES, DIM, 1)
    references = np.concatenate([candidates[:OWN_PAIRS], gaussian(REFERENCES - OWN_PAIRS, DIM, 2)])
    write_vectors(folder / "candidates", IDS, candidates, 3)
    pairs = [f"c{row}" if row < OWN_PAIRS else "" for row in range(REFERENCES)]
    order = np.random.default_rng(7).permutation(REFERENCES)
    for name, rows in (("references", order), ("rest", order[order >= OWN_PAIRS])):
        write_vectors(folder / name, [f"r{row}" for row in rows], references[rows], 2, [pairs[row] for row in rows])
    names = [f"q{row}" for row in range(QUERIES)]
    write_vectors(folder / "queries", names, query_vectors(), 2, [IDS[row] for row in OWNERS])
    assert cli.main(["refresh", *as_flags(flags_of(folder, "references")), "--accept", "alpha"]) == 0
    return folder


def flags_of(folder: Path, bank: str) -> dict[str, str]:
    flags = {"candidates": str(folder / "candidates" / "part-*.parquet")}
    flags |= {"references": str(folder / bank / "part-*.parquet"), "reference-pair-id-column": "pair_id"}
    flags |= {name: str(folder / name) for name in ("table", "work")}
    return flags | {"k": "4", "k-max": "8", "alpha": "0.5", "accept": "near_copies"}


def as_flags(flags: dict[str, str]) -> list[str]:
    return [part for name, value in flags.items() for part in (f"--{name}", value)]


def flags_of_evaluate(published: Path) -> dict[str, str | None]:
    flags = {name: str(published / name / "part-*.parquet") for name in ("candidates", "queries", "references")}
    flags |= {name: str(published / name) for name in ("table", "work")}
    return flags | {"query-pair-id-column": "pair_id", "reference-pair-id-column": "pair_id"}


@pytest.fixture
def evaluate(published: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``nnn evaluate --json``; keyword arguments replace flags, None leaves one out."""
    flags = flags_of_evaluate(published)

    def run(*extra: str, **changes: str | None) -> tuple[int, dict[str, Any], str]:
        kept = {name: value for name, value in {**flags, **changes}.items() if value is not None}
        code = cli.main(["evaluate", *as_flags(kept), *extra, "--json"])
        out = capsys.readouterr()
        return code, json.loads(out.out.splitlines()[-1]) if code == 0 else {}, out.out + out.err

    return run


@pytest.fixture(scope="module")
def judged(published: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """A copy of the table judged with and without own pairs, by an attribute, and beside others, and what was judged
    published: the result, and the text.
    """
    folder = tmp_path_factory.mktemp("judged")
    (folder / "attributes.tsv").write_text(
        "id\tshape\n" + "".join(f"{name}\t{value}\n" for name, value in SHAPES.items())
    )
    table = str(shutil.copytree(published / "table", folder / "table"))
    flags = {name: value for name, value in flags_of_evaluate(published).items() if value is not None}
    flags |= {
        "metrics-file": str(folder / "nnn.prom"),
        "table": table,
        "k": str(K),
        "alpha": str(ALPHA),
        "attributes": str(folder / "attributes.tsv"),
    }
    with contextlib.redirect_stdout(io.StringIO()) as out:
        more = ["--drop-own-pairs", "--compare", "--publish", "--json"]
        assert cli.main(["evaluate", *as_flags(flags), *more]) == 0
    return json.loads(out.getvalue().splitlines()[-1]), out.getvalue()


def test_the_fair_figure_is_that_of_a_bank_without_own_pairs(judged: tuple[dict[str, Any], str]) -> None:
    result, text = judged
    assert "20 of 50 bank rows (40.0 %) belong to candidates" in text
    assert "without them, which is the fair figure" in text
    assert result["own_pairs"] == OWN_PAIRS
    rest = brute_force_means(gaussian(CANDIDATES, DIM, 1), gaussian(REFERENCES - OWN_PAIRS, DIM, 2), (K,))
    bias = load_bias_table(result["table"], 2).bias_of(IDS)
    for found, given in (
        (result["before"], np.zeros(CANDIDATES)),
        (result["after"], bias),
        (result["fair"]["after"], ALPHA * rest[:, 0]),
    ):
        rankings = brute_force_rankings(given)
        for cut in (1, 5, 10):
            recall = np.mean([answer in ranking[:cut] for ranking, answer in zip(rankings, ANSWERS, strict=True)])
            assert found[f"recall@{cut}"]["value"] == pytest.approx(recall)
    assert result["fair"]["before"] == result["before"]
    assert result["fair"]["after"] != result["after"]


def test_the_fair_figure_needs_the_bank_of_the_table(evaluate: Run) -> None:
    code, _, text = evaluate("--drop-own-pairs", references=None, **{"reference-pair-id-column": None})
    assert (code, "need the bank of the table" in text) == (2, True)


@pytest.mark.slow
def test_a_bank_of_own_pairs_alone_leaves_nothing_to_judge_by(evaluate: Run, published: Path, tmp_path: Path) -> None:
    """All references described a candidate: too few are left for the grid."""
    own = [f"c{row}" for row in range(CANDIDATES)]
    bank = write_vectors(tmp_path / "bank", [f"o{row}" for row in range(CANDIDATES)], gaussian(60, DIM, 5), 2, own)
    flags = flags_of(published, "references") | {"references": bank, "table": str(tmp_path / "table")}
    assert cli.main(["refresh", *as_flags(flags)]) == 0
    code, _, text = evaluate("--drop-own-pairs", references=bank, table=str(tmp_path / "table"))
    assert code == 5
    assert "the bank is empty" in text or "--drop-own-pairs leaves" in text


def test_all_methods_are_compared_on_the_same_queries(judged: tuple[dict[str, Any], str]) -> None:
    result, text = judged
    rivals = {row["method"]: row for row in result["rivals"]}
    assert len(rivals) == 7
    reporting = int((~_choosing_half([[name] for name in ANSWERS])).sum())
    assert {row["queries"] for row in result["rivals"]} == {reporting}
    assert 0 < reporting < result["queries"]
    assert all(gain["value"] == 0 for gain in rivals["none"]["gains"].values())
    assert "QB-Norm" in text


def test_a_version_names_the_gates_that_failed_and_were_accepted(published: Path) -> None:
    """More than 1 % of the candidates are in the bank; alpha was accepted too, and passed."""
    gates = read_manifest(str(published / "table")).gates
    assert [gate.name for gate in gates if gate.accepted] == ["near_copies"]


def test_comparing_needs_the_bank(evaluate: Run) -> None:
    code, _, text = evaluate("--compare", references=None, **{"reference-pair-id-column": None})
    assert (code, "Name it with --references" in text) == (2, True)


def test_attributes_are_measured_over_the_same_rankings(judged: tuple[dict[str, Any], str]) -> None:
    (section,) = judged[0]["fairness"]
    bias = load_bias_table(judged[0]["table"], 2).bias_of(IDS).astype(np.float64)
    before, after = brute_force_rankings(np.zeros(CANDIDATES)), brute_force_rankings(bias)
    given = {name: value for name, value in SHAPES.items() if value}
    kinds, figures = compare_values(before, after, [[name] for name in ANSWERS], given, Counter(given.values()))
    assert (section["attribute"], tuple(section["values"])) == ("shape", kinds)
    found = {figure["name"]: (figure["before"]["value"], figure["after"]["value"]) for figure in section["figures"]}
    expected = {
        figure.name.replace("_", " ") + (f" ({' or '.join(figure.values)})" if figure.values else ""): (
            figure.before.value,
            figure.after.value,
        )
        for figure in figures
    }
    assert found == {name: pytest.approx(values) for name, values in expected.items()}


def test_an_attribute_of_one_value_is_refused() -> None:
    ids, sizes = ["c0", "c1"], {"c0": "1", "c1": "1", "stranger": "2"}
    counts = add_counts([count_values(ids, {"size": sizes})])["size"]
    with pytest.raises(InputError, match=r"the attribute has the values \('1',\) among the candidates"):
        compare_values([ids], [ids], [ids], sizes, counts)


def brute_force_rankings(bias: np.ndarray) -> list[list[str]]:
    """The first 10 candidates of each query, by sorting in float64; queries in order of id."""
    candidates, queries = (rows.astype(np.float64) for rows in (gaussian(CANDIDATES, DIM, 1), query_vectors()))
    candidates /= np.linalg.norm(candidates, axis=1)[:, None]
    queries /= np.linalg.norm(queries, axis=1)[:, None]
    rows = np.argsort(bias - queries[ORDER] @ candidates.T, axis=1, kind="stable")[:, :10]
    return [[IDS[row] for row in each] for each in rows]


def test_what_was_judged_can_be_published(judged: tuple[dict[str, Any], str]) -> None:
    result, text = judged
    assert result["published"] == 2
    told = Path(result["table"]).with_name("nnn.prom").read_text()
    labels = f'{{command="evaluate",table="{result["table"]}"}}'
    assert all(f"nnn_{name}{labels} {value}.0\n" in told for name, value in (("run_success", 1), ("table_version", 2)))
    table = load_bias_table(result["table"])
    assert (table.manifest.version, table.manifest.settings.k, table.manifest.settings.alpha) == (2, K, ALPHA)
    assert table.manifest.evaluation is not None
    assert table.manifest.evaluation["gain"] == result["gain"]
    assert "published    version 2" in text
    gates = {gate.name: gate for gate in table.manifest.gates}
    bits, error = result["bits"]
    assert (gates["gain"].value, gates["alpha"].value) == (pytest.approx(bits + 0.842 * error, 1e-5), 2.0)
    assert gates["agreement"].value == pytest.approx(result["agreement"])
    # More than 1 % of the candidates are in the bank, which was accepted when version 1 was computed.
    assert gates["near_copies"].sentence == "judged before: the means are those of version 1"


@pytest.mark.slow
def test_what_harms_is_not_published(evaluate: Run, published: Path) -> None:
    before = read_manifest(str(published / "table")).version
    code, _, text = evaluate("--k", "1", "--alpha", "20", "--publish")
    assert (code, "k = 1, alpha = 20 lowers recall@1 by" in text) == (10, True)
    assert re.search(
        r"\n  alpha: .*\n  gain: the gain is at most -\d\.\d+ halvings of the right answer's rank .*limit: ", text
    )
    assert read_manifest(str(published / "table")).version == before


@pytest.mark.slow
def test_an_earlier_report_is_shown_beside(evaluate: Run, published: Path, tmp_path: Path) -> None:
    first = evaluate(references=None, **{"reference-pair-id-column": None})[1]["report"]
    fair = str(tmp_path / "fair")
    assert cli.main(["refresh", *as_flags(flags_of(published, "rest") | {"table": fair})]) == 0
    code, result, text = evaluate("--beside", first, table=fair, references=str(published / "rest" / "part-*.parquet"))
    assert code == 0
    page = Path(result["report"]).read_text()
    for name in (fair, str(published / "table")):
        assert f"of {name}, bank" in text
        assert f"of {name}, bank" in page
    code, _, text = evaluate("--beside", str(tmp_path / "nowhere.html"))
    assert (code, "nowhere.json" in text) == (3, True)


def test_files_are_listed_before_a_model_is_looked_at(evaluate: Run) -> None:
    code, _, text = evaluate("--encoder", "open_clip:local-dir:nowhere", queries="nosuch.parquet")
    assert (code, "no files found for --queries 'nosuch.parquet'" in text) == (3, True)


def test_a_page_that_is_there_is_found_before_the_work(evaluate: Run, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("mine")
    code, _, text = evaluate("--report", str(tmp_path / "page.html"), queries="nosuch.parquet")
    assert (code, "page.html' exists already and was left as it is" in text) == (7, True)


@pytest.mark.parametrize("flag", ["queries", "relevance", "attributes", "report", "beside"])
def test_credentials_are_refused(evaluate: Run, flag: str) -> None:
    code, _, text = evaluate(**{flag: "s3://user:secret@bucket/file.tsv"})
    assert (code, "holds credentials" in text, "secret" in text) == (2, True, False)
