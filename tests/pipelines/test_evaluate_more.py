"""What ``nnn evaluate`` measures beyond the bias: fair figures, other methods, attributes; and what it publishes."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora import gaussian, write_vectors

from nnn_core import load_bias_table
from nnn_core.errors import InputError
from nnn_core.evaluation.attributes import add_counts, compare_values, count_values
from nnn_core.table.manifest import read_manifest
from pipelines.commands import cli

DIM, CANDIDATES, QUERIES, REFERENCES = 8, 60, 80, 50
OWN_PAIRS = 20

Run = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table whose bank describes the first 20 of 60 candidates; queries ask for the last 40."""
    folder = tmp_path_factory.mktemp("published")
    candidates = gaussian(CANDIDATES, DIM, 1)
    owners = OWN_PAIRS + np.arange(QUERIES) % (CANDIDATES - OWN_PAIRS)
    references = np.concatenate([candidates[:OWN_PAIRS], gaussian(REFERENCES - OWN_PAIRS, DIM, 2)])
    write_vectors(folder / "candidates", [f"c{row}" for row in range(CANDIDATES)], candidates, 3)
    pairs = [f"c{row}" if row < OWN_PAIRS else "" for row in range(REFERENCES)]
    order = np.random.default_rng(7).permutation(REFERENCES)
    for name, rows in (("references", order), ("rest", order[order >= OWN_PAIRS])):
        write_vectors(folder / name, [f"r{row}" for row in rows], references[rows], 2, [pairs[row] for row in rows])
    queries = candidates[owners] + 2 * gaussian(QUERIES, DIM, 3, 0.0)
    write_vectors(folder / "queries", [f"q{row}" for row in range(QUERIES)], queries, 2, [f"c{row}" for row in owners])
    assert cli.main(["refresh", *as_flags(flags_of(folder, "references"))]) == 0
    assert cli.main(["refresh", *as_flags(flags_of(folder, "rest") | {"table": str(folder / "fair")})]) == 0
    return folder


def flags_of(folder: Path, bank: str) -> dict[str, str]:
    flags = {"candidates": str(folder / "candidates" / "part-*.parquet")}
    flags |= {"references": str(folder / bank / "part-*.parquet"), "reference-pair-id-column": "pair_id"}
    flags |= {name: str(folder / name) for name in ("table", "work")}
    return flags | {"k": "4", "k-max": "8", "alpha": "0.5", "accept": "near_copies"}


def as_flags(flags: dict[str, str]) -> list[str]:
    return [part for name, value in flags.items() for part in (f"--{name}", value)]


@pytest.fixture
def evaluate(published: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``nnn evaluate --json``; keyword arguments replace flags, None leaves one out."""
    flags: dict[str, str | None] = {
        name: str(published / name / "part-*.parquet") for name in ("candidates", "queries")
    }
    flags |= {name: str(published / name) for name in ("table", "work")}
    flags |= {"query-pair-id-column": "pair_id", "reference-pair-id-column": "pair_id"}
    flags |= {"references": str(published / "references" / "part-*.parquet")}

    def run(*extra: str, **changes: str | None) -> tuple[int, dict[str, Any], str]:
        kept = {name: value for name, value in {**flags, **changes}.items() if value is not None}
        code = cli.main(["evaluate", *as_flags(kept), *extra, "--json"])
        out = capsys.readouterr()
        return code, json.loads(out.out.splitlines()[-1]) if code == 0 else {}, out.out + out.err

    return run


def test_bank_rows_that_belong_to_candidates_are_counted(evaluate: Run) -> None:
    code, result, text = evaluate()
    assert (code, result["own_pairs"], result["fair"]) == (0, OWN_PAIRS, None)
    assert "20 of 50 bank rows (40.0 %) belong to candidates of the pool" in text
    assert "Run nnn evaluate with --drop-own-pairs for the fair figure." in text


def test_the_fair_figure_is_that_of_a_bank_without_them(evaluate: Run, published: Path) -> None:
    code, result, text = evaluate("--drop-own-pairs")
    assert code == 0
    other = evaluate(table=str(published / "fair"), references=str(published / "rest" / "part-*.parquet"))[1]
    assert other["own_pairs"] == 0
    for part in ("before", "after", "gain", "surface"):
        assert result["fair"][part] == other[part]
    assert result["after"] != result["fair"]["after"]
    assert "without them, which is the fair figure" in text


def test_the_fair_figure_needs_the_bank_of_the_table(evaluate: Run) -> None:
    code, _, text = evaluate("--drop-own-pairs", references=None, **{"reference-pair-id-column": None})
    assert (code, "need the bank that the table was made with" in text) == (2, True)


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


def test_all_methods_are_compared_on_the_same_queries(evaluate: Run) -> None:
    code, result, text = evaluate("--tune", "--compare")
    rivals = {row["method"]: row for row in result["rivals"]}
    assert (code, len(rivals)) == (0, 7)
    plain = next(iter(rivals.values()))
    for name in ("recall@1", "recall@5", "recall@10", "mrr"):
        assert plain["figures"][name] == pytest.approx(result["before"][name])
    assert {row["queries"] for row in result["rivals"]} == {result["queries"]}
    assert "QB-Norm" in text


def test_comparing_needs_the_bank(evaluate: Run) -> None:
    code, _, text = evaluate("--compare", references=None, **{"reference-pair-id-column": None})
    assert (code, "name it with --references" in text) == (2, True)


def test_attributes_are_measured_over_the_same_rankings(evaluate: Run, published: Path, tmp_path: Path) -> None:
    values = {f"c{row}": ("round", "square", "")[row % 3] for row in range(CANDIDATES)}
    table = tmp_path / "attributes.tsv"
    table.write_text("id\tshape\n" + "".join(f"{name}\t{value}\n" for name, value in values.items()))
    code, result, _ = evaluate("--attributes", str(table))
    assert code == 0
    (section,) = result["fairness"]
    before, after, relevant = brute_force_rankings(published)
    given = {name: value for name, value in values.items() if value}
    kinds, figures = compare_values(before, after, relevant, given, Counter(given.values()))
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
    with pytest.raises(InputError, match=r"the attribute has values \('1',\) among the candidates"):
        compare_values([ids], [ids], [ids], sizes, counts)


def brute_force_rankings(published: Path) -> tuple[list[list[str]], list[list[str]], list[list[str]]]:
    """The first 10 of each query in order of id, without and with the table's biases, and what answers it."""
    candidates = gaussian(CANDIDATES, DIM, 1).astype(np.float64)
    candidates /= np.linalg.norm(candidates, axis=1)[:, None]
    owners = OWN_PAIRS + np.arange(QUERIES) % (CANDIDATES - OWN_PAIRS)
    queries = gaussian(CANDIDATES, DIM, 1)[owners] + 2 * gaussian(QUERIES, DIM, 3, 0.0)
    queries = queries.astype(np.float64) / np.linalg.norm(queries.astype(np.float64), axis=1)[:, None]
    ids = [f"c{row}" for row in range(CANDIDATES)]
    bias = load_bias_table(str(published / "table"), 1).bias_of(ids).astype(np.float64)
    order = sorted(range(QUERIES), key=lambda row: f"q{row}")
    sides = []
    for subtracted in (0.0 * bias, bias):
        rows = np.argsort(subtracted - queries[order] @ candidates.T, axis=1, kind="stable")[:, :10]
        sides.append([[ids[row] for row in each] for each in rows])
    return sides[0], sides[1], [[ids[owners[row]]] for row in order]


def test_what_was_judged_can_be_published(evaluate: Run, published: Path, tmp_path: Path) -> None:
    code, result, text = evaluate("--k", "8", "--alpha", "0.25", "--publish")
    assert (code, result["published"]) == (0, 2)
    table = load_bias_table(str(published / "table"))
    assert (table.manifest.version, table.manifest.settings.k, table.manifest.settings.alpha) == (2, 8, 0.25)
    assert table.manifest.evaluation is not None
    assert table.manifest.evaluation["gain"] == result["gain"]
    assert "published    version 2" in text
    gates = {gate.name: gate for gate in table.manifest.gates}
    assert (gates["gain"].value, gates["alpha"].value) == (pytest.approx(result["gain"]["recall@1"]["high"], 1e-5), 2.0)
    # More than 1 % of the candidates are in the bank, which was accepted when version 1 was computed.
    assert gates["near_copies"].sentence == "judged before: the means are those of version 1"
    # The same again says the same.
    assert evaluate("--k", "8", "--alpha", "0.25", "--publish")[1]["published"] == 2
    assert read_manifest(str(published / "table")).version == 2


@pytest.mark.slow
def test_what_harms_is_not_published(evaluate: Run, published: Path) -> None:
    before = read_manifest(str(published / "table")).version
    code, _, text = evaluate("--k", "1", "--alpha", "20", "--publish")
    assert (code, "k = 1, alpha = 20 lowers recall@1 by" in text) == (10, True)
    assert re.search(r"\n  alpha: .*\n  gain: the upper end of the gain's interval is -0\.\d+, allowed ", text)
    assert read_manifest(str(published / "table")).version == before


@pytest.mark.slow
def test_an_earlier_report_is_shown_beside(evaluate: Run, published: Path, tmp_path: Path) -> None:
    first = evaluate(references=None, **{"reference-pair-id-column": None})[1]["report"]
    fair = str(published / "fair")
    code, result, text = evaluate("--beside", first, table=fair, references=str(published / "rest" / "part-*.parquet"))
    assert code == 0
    page = Path(result["report"]).read_text()
    for name in (fair, str(published / "table")):
        assert f"of {name}, bank" in text
        assert f"of {name}, bank" in page
    code, _, text = evaluate("--beside", str(tmp_path / "nowhere.html"))
    assert (code, "nowhere.json" in text) == (3, True)


@pytest.mark.parametrize("flag", ["queries", "relevance", "attributes", "report"])
def test_credentials_are_refused(evaluate: Run, flag: str) -> None:
    code, _, text = evaluate(**{flag: "s3://user:secret@bucket/file.tsv"})
    assert (code, "holds credentials" in text, "secret" in text) == (2, True, False)
