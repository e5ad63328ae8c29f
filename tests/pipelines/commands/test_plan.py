"""``nnn plan``: what it foretells is what a refresh then does."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from corpora import gaussian, write_tar, write_vectors
from fakes import FormulaEncoder
from jobs import CANDIDATES, DIM, REFERENCES, TwoVersions, refresh_arguments

from nnn_core.embedded.embedding import EmbeddingRequest
from nnn_core.embedded.side import Side
from nnn_core.encoders.prompts import Prompts
from nnn_core.inputs.listing import describe_shard
from nnn_core.inputs.readers import Columns, Rows
from nnn_core.inputs.shards import MODALITIES
from nnn_core.planning import measuring, scaling
from nnn_core.planning import plan as planning
from nnn_core.planning.costs import DEFAULT_RATES, Rates, Work
from nnn_core.planning.plan import FIRST, GONE, SidePlan
from nnn_core.planning.preflight import Head
from pipelines.commands import _demo_data as demo
from pipelines.commands import cli
from pipelines.commands._compare_plan import compare, describe_comparison
from pipelines.commands._foretold import Foretold, _changed_parts, _rows_to_encode, format_dollars
from pipelines.commands._output import in_columns
from pipelines.commands._plan import _describe_side
from pipelines.commands._preflight import describe_head

ROOT = Path(__file__).parents[3]

#: Of which a hundredth of the pairs is new.
WORK = Work(
    images=7200,
    texts=3600,
    vectors=10**5,
    pairs=10**9,
    partials=1000,
    merging=10**6,
    candidates=10**6,
    references=10**5,
    dim=500,
    kept=75,
    k_max=75,
    grid=8,
    groups=2,
    group_rows=1 << 16,
    shard_rows=1 << 16,
    file_rows=1 << 16,
)

Call = Callable[..., dict[str, Any]]


@pytest.fixture
def plan(two_versions: TwoVersions, capsys: pytest.CaptureFixture[str]) -> Call:
    """``nnn plan`` of the next refresh in the folder of the tiny job; returns its JSON."""

    def run(version: int, *flags: str) -> dict[str, Any]:
        arguments = refresh_arguments(str(two_versions.place), str(two_versions.place), version)
        assert cli.main(["plan", *arguments[1:], *flags, "--json"]) == 0
        record: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return record

    return run


def test_a_plan_foretells_what_is_scored(plan: Call, two_versions: TwoVersions) -> None:
    two_versions.restore(0)
    first, scored = plan(1), two_versions.summaries[0]["stages"]["score_candidates"]
    assert first["candidates"]["reasons"] == {"first refresh of this table": 2}
    assert {each["why"] for each in first["candidates"]["todo"]} == {"first refresh of this table"}
    assert first["previous"] is None
    # Each file of both sides can be embedded at the same time; then both files of candidates are scored.
    assert first["slots"] == len(first["candidates"]["todo"]) + len(first["references"]["todo"])
    assert first["pairs_todo"] == scored["pairs"] == 2 * CANDIDATES // 3 * REFERENCES
    assert first["partials_todo"] == scored["computed"]
    assert first["merging"] == 2 * CANDIDATES // 3
    two_versions.restore(1)
    again = plan(1)
    assert (again["pairs_todo"], again["partials_todo"], again["previous"], again["slots"]) == (0, 0, 1, 2)
    assert again["merging"] == 0
    assert again["candidates"]["todo"] == []
    assert first["costs"][0]["hours"]["embed"] > 0 == again["costs"][0]["hours"]["embed"]
    # Every file of the bank is scored by itself. What another size of group would cost is what its plan says.
    proposed = again["regrouping"]
    regrouped = plan(1, "--reference-shard-rows", str(proposed["rows"]))
    assert (regrouped["pairs_todo"], regrouped["regrouping"]) == (proposed["pairs_now"], None)
    assert regrouped["groups"] < again["groups"]
    grown = plan(2)
    assert grown["candidates"]["reasons"] == {"new or changed": 1}
    assert grown["reasons"] == {"candidates to embed": CANDIDATES // 3 * REFERENCES}
    assert grown["merging"] == CANDIDATES // 3
    # A window of which the oldest file goes: nothing is scored, all is merged.
    shrunk = plan(1, "--references", str(two_versions.place / "references" / "part-0.parquet"))
    assert (shrunk["pairs_todo"], shrunk["merging"]) == (0, 2 * CANDIDATES // 3)


def test_a_plan_says_what_digests_cost(
    two_versions: TwoVersions, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the store tells none, files are fetched for theirs."""
    place = str(two_versions.restore(1))
    arguments = ["plan", *refresh_arguments(place, place, 1)[1:]]
    assert cli.main(arguments) == 0
    assert "fetched for their digests" not in capsys.readouterr().out
    monkeypatch.setattr("nnn_core.planning.plan.storage.is_local", lambda uri: False)
    assert cli.main(arguments) == 0
    assert "KiB are fetched for their digests, because their store gives no MD5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("pair_ids", "said"),
    [(["", ""], "no query names its answer"), (["a", "b"], "candidate 'a' answers query 'a', by its own id")],
)
def test_a_dry_run_tells_what_answers_the_queries(pair_ids: list[str], said: str) -> None:
    head = Head("validation", 1, {}, "captions", ("q.jsonl",), (Rows(["a", "b"], pair_ids, ["x", "y"]),))
    (told,) = (line for line in describe_head(head) if "--relevance" in line)
    assert told.strip().startswith(said)
    assert not any("--relevance" in line for line in describe_head(head, "answers.parquet"))
    assert not any("('')" in line for line in describe_head(head))


def test_a_refresh_says_how_good_its_plan_was(
    plan: Call, two_versions: TwoVersions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of queries that judge too; one file of flags serves the plan and the refresh."""
    place = two_versions.restore(1)
    queries, targets = [f"held-out-{row}" for row in range(9)], [f"item-{row:03d}" for row in range(9)]
    asked = write_vectors(tmp_path / "queries", queries, gaussian(9, DIM, 7), 3, targets)
    flags = refresh_arguments(str(place), str(place), 2)[1:]
    record: dict[str, Any] = dict(zip((flag[2:] for flag in flags[::2]), flags[1::2], strict=True))
    record |= {"k": 4, "k-max": 4, "reference-shard-rows": 1, "max-reject-rate": 0.1, "accept": ["candidate_rejects"]}
    record |= {"validation": asked, "validation-pair-id-column": "pair_id"}
    record = {name.replace("-", "_"): value for name, value in record.items()}
    record |= {"with_plan": True, "rates": str(ROOT / "deploy" / "rates.yaml"), "beam": {"runner": "DirectRunner"}}
    (tmp_path / "refresh.yaml").write_text(yaml.safe_dump(record))
    assert cli.main(["plan", "--config", str(tmp_path / "refresh.yaml")]) == 0
    said = capsys.readouterr().out
    pairs = CANDIDATES // 3 * REFERENCES
    assert f"pairs to score    {pairs:,} of" in said
    assert "cpu-4: 250 GFLOP/s, 40 images/s, 250 texts/s, $0.20/h, 4 processes" in said
    assert cli.main(["refresh", "--config", str(tmp_path / "refresh.yaml"), "--dry-run", "--json"]) == 0
    said = capsys.readouterr().out
    other = "(--validation-pair-id-column names another column, --relevance a table)"
    assert f"candidate 'item-000' answers query 'held-out-0' {other}" in said
    dry = json.loads(said.splitlines()[-1])
    assert [(head["side"], head["files"], head["holds"]) for head in dry["heads"]] == [
        ("candidates", 3, "vectors"),
        ("references", 2, "vectors"),
        ("validation", 3, "vectors"),
    ]
    assert dry["plan"]["pairs_todo"] == pairs

    before = {path.name for path in (place / "work" / "partials").iterdir()}
    assert cli.main(["refresh", "--config", str(tmp_path / "refresh.yaml"), "--json"]) == 0
    said = capsys.readouterr().out
    assert "planned and done" in said
    done = json.loads(said.splitlines()[-1])
    compared, scored = done["plan"]["amounts"], done["stages"]["score_candidates"]
    assert compared["embed_candidates"] == {"planned": CANDIDATES // 3, "done": CANDIDATES // 3}
    assert compared["embed_references"] == {"planned": 0, "done": 0}
    assert compared["embed_validation"] == {"planned": 9, "done": 9}
    # One of the new rows cannot be used, which only reading tells.
    assert scored["pairs"] == pairs - REFERENCES
    assert compared["score_candidates"] == {"planned": pairs, "done": pairs - REFERENCES}
    # Of the new file's candidates alone, whose partials are small beside what a file takes by itself.
    assert done["stages"]["merge_partials"]["computed"] == 1
    assert compared["merging_bytes"]["done"] == scored["written"]
    assert 0 < compared["merging_bytes"]["planned"] < scored["written"]
    new = [path for path in (place / "work" / "partials").iterdir() if path.name not in before]
    assert len(new) == scored["computed"] > 0
    assert scored["written"] == sum(path.stat().st_size for path in new)
    assert done["peak_bytes"] > 1 << 27

    again = plan(2, "--validation", asked, "--validation-pair-id-column", "pair_id")["validation"]
    assert (again["rows_todo"], again["rows_known"], again["reasons"]) == (0, 9, {})
    (tmp_path / "queries" / "part-1.parquet").unlink()
    write_vectors(tmp_path / "more", queries, gaussian(9, DIM, 8), 3, targets)
    (tmp_path / "more" / "part-1.parquet").rename(tmp_path / "queries" / "part-1.parquet")
    again = plan(2, "--validation", asked, "--validation-pair-id-column", "pair_id")["validation"]
    assert again["reasons"] == {"new or changed": 1}


def test_reasons_name_what_is_missing(plan: Call, two_versions: TwoVersions) -> None:
    place = two_versions.restore(1)
    partials = sorted((place / "work" / "partials").iterdir())
    partials[0].unlink()
    assert plan(1)["reasons"] == {
        "scores not below --work, or kept with other settings": CANDIDATES // 3 * REFERENCES // 2
    }
    regrouped = plan(1, "--reference-shard-rows", "80")
    assert set(regrouped["reasons"]) == {"references grouped anew"}
    for path in (place / "work" / "embedded").glob("*.json"):
        path.unlink()
    lost = plan(1)["candidates"]["reasons"]
    assert lost == {"seen before, but its result is not below --work (or columns changed)": 2}


def test_the_dimension_of_vectors_is_read_from_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "emb_0.npy", np.ones((3, 24), np.float16))
    pq.write_table(pa.table({"id": ["a", "b", "c"]}), tmp_path / "metadata_0.parquet")
    request = EmbeddingRequest("image", Columns(), None, str(tmp_path / "work"))
    side = SidePlan.of("candidates", str(tmp_path / "*.npy"), request, None, ())
    assert (side.dim, side.largest, side.rows_todo) == (24, 3, 3)
    write_vectors(tmp_path, ["a", "b"], np.ones((2, 20), np.float32), 1)
    lists = dataclasses.replace(request, columns=Columns(vector="vector"))
    side = SidePlan.of("candidates", str(tmp_path / "part-*.parquet"), lists, None, ())
    assert (side.dim, side.largest) == (20, 2)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [("*.tar", "1 file, "), ("*.jpg", "1 group of images, "), ("*", "2 files or groups of images, ")],
)
def test_single_images_are_groups(tmp_path: Path, pattern: str, said: str) -> None:
    write_tar(tmp_path / "a.tar", {"0": {"jpg": b"x"}})
    for name in ("b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(b"x")
    request = EmbeddingRequest("image", Columns(), "now", str(tmp_path / "work"))
    side = SidePlan.of("candidates", str(tmp_path / pattern), request, None, ())
    lines = list(_describe_side(side))
    assert lines[0].startswith(f"candidates        {said}")
    assert lines[1].strip() == f"{said.strip(' ,')}: {FIRST}"


def test_a_changed_encoder_is_named(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {f"{row}": {"jpg": b"x" * 1000} for row in range(40)})
    shard = describe_shard(str(tmp_path / "a.tar"))
    request = EmbeddingRequest("image", Columns(), "now", str(tmp_path / "work"))
    before = Side(40, 0, "0", (shard.digest, "gone"))
    for changed, reason in ((("tokenizer", "weights"), "the encoder changed: tokenizer, weights"), ((), GONE)):
        found = SidePlan.of("candidates", str(tmp_path / "*.tar"), request, before, changed)
        assert found.reasons == {reason: 1}
        assert (found.model, found.estimated, found.removed, found.rows_known) == (True, True, 1, 0)
    assert found.rows_todo == round(shard.bytes / 50_000)
    fingerprint = demo.demo_encoder().fingerprint
    old = SimpleNamespace(settings=SimpleNamespace(encoder={**dataclasses.asdict(fingerprint), "weights": "old"}))
    assert _changed_parts(old, demo.demo_encoder(), Prompts()) == ("weights",)  # type: ignore[arg-type]


@pytest.mark.parametrize(("rows", "exact"), [(3, True), (6000, True), (100_000, False)])
def test_lines_of_a_log_are_counted_by_its_beginning(tmp_path: Path, rows: int, exact: bool) -> None:
    (tmp_path / "log.txt").write_text("\n".join(f"red shoe {row % 900}" for row in range(rows)))
    request = EmbeddingRequest("text", Columns(), "now", str(tmp_path / "work"))
    found = SidePlan.of("references", str(tmp_path / "*.txt"), request, None, ())
    assert found.estimated
    assert found.rows_todo == (rows if exact else pytest.approx(rows, rel=0.01))


def test_further_logs_are_taken_to_be_like_those_that_were_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "_SAMPLED", 1)
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("red shoe\n" * 5000)
    request = EmbeddingRequest("text", Columns(), "now", str(tmp_path / "work"))
    opened: list[str] = []
    lines = planning._lines
    monkeypatch.setattr(planning, "_lines", lambda shard: opened.append(shard.uri) or lines(shard))
    assert SidePlan.of("references", str(tmp_path / "*.txt"), request, None, ()).rows_todo == 10_000
    assert len(opened) == 1


def test_both_sides_of_one_modality_are_embedded() -> None:
    sides = {
        "candidates": SimpleNamespace(modality="image", rows_todo=5, model=True),
        "references": SimpleNamespace(modality="image", rows_todo=7, model=True),
    }
    found: Any = SimpleNamespace(**sides, sides=tuple(sides.values()))
    assert [sum(_rows_to_encode(found, modality)) for modality in MODALITIES] == [12, 0]
    found.references.modality, found.candidates.model = "text", False
    assert [sum(_rows_to_encode(found, modality)) for modality in MODALITIES] == [0, 7]


def test_costs_by_hand() -> None:
    work = WORK
    rates = Rates.model_validate(
        {
            "workers": {
                "w": {
                    "gflops": 1,
                    "images_per_second": 2,
                    "texts_per_second": 1,
                    "dollars_per_hour": 3,
                    "memory_gib": 1,
                    "processes": 2,
                }
            },
            "shuffle_dollars_per_gib": 0,
        }
    )
    (cost,) = rates.estimate(work)
    # Two processes: 10^5 vectors of 2,000 bytes at 50 MB/s each, 1,000 partials of 5 ms, 1.5e8 scores at 1.5e7/s each.
    assert cost.hours.embed == pytest.approx(2 + 2 / 3600)
    assert cost.hours.score == pytest.approx((1000 + 2.5) / 3600)
    assert cost.hours.merge == pytest.approx(5 / 3600)
    assert cost.dollars == pytest.approx(3 * cost.hours.total)
    assert not cost.fits
    assert work.flop == 10**12
    # A hundredth of the pairs is new, and so of the scores.
    means = work.merged_bytes + work.table_bytes
    assert work.written_bytes == pytest.approx(110_800 * 2012 + work.partial_bytes / 100 + means)
    nothing = dataclasses.replace(work, images=0, texts=0, vectors=0, pairs=0, partials=0, merging=0)
    assert (work.merging_bytes, nothing.merging_bytes) == (work.partial_bytes, 0)
    assert (nothing.written_bytes, rates.estimate(nothing)[0].hours.total) == (0, 0)


def test_pages_are_up_to_date(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "deploy" / "SCALING.md").read_text()
    assert "## First refresh" in page
    assert scaling._renew(page) == page
    said = yaml.safe_dump(DEFAULT_RATES.model_dump(), sort_keys=False)
    assert (ROOT / "deploy" / "rates.yaml").read_text().partition("\n")[2] == said
    assert Rates.read(str(ROOT / "deploy" / "rates.yaml")) == DEFAULT_RATES
    wrong = tmp_path / "rates.yaml"
    wrong.write_text("workers: {a: {gflops: -1}}\nprice: 3\n")
    flags = ["--candidates", "c", "--references", "r", "--table", "t", "--work", "w", "--rates", str(wrong)]
    assert cli.main(["plan", *flags]) == 2
    message = capsys.readouterr().err
    assert "price: there is no such key" in message
    assert "workers.a.gflops" in message
    wrong.write_text("workers: {a: {gflop: 1, dollars: 3}}\n")
    assert cli.main(["plan", *flags]) == 2
    assert "workers.a.gflop: there is no such key; did you mean gflops?" in capsys.readouterr().err


def test_a_run_is_compared_with_its_plan_by_hand(tmp_path: Path) -> None:
    worker = {"gflops": 1, "images_per_second": 2, "texts_per_second": 1, "dollars_per_hour": 3, "memory_gib": 1}
    rates = Rates.model_validate({"workers": {"w": worker}, "shuffle_dollars_per_gib": 1})
    candidates = SimpleNamespace(flag="candidates", modality="image", rows_todo=7200, model=True)
    references = SimpleNamespace(flag="references", modality="text", rows_todo=3600, model=True)
    found: Any = SimpleNamespace(sides=(candidates, references), pairs_todo=10**9)
    work = dataclasses.replace(WORK, vectors=0, partials=0)
    stages = {
        "embed_candidates": {"seconds": 3600.0, "rows": 7000, "written": 1 << 20},
        "embed_references": {"seconds": 9.0, "rows": 3600, "written": 1 << 20},
        "score_candidates": {"seconds": 30.0, "search_seconds": 20.0, "pairs": 9 * 10**8, "written": 1 << 20},
        "merge_partials": {"seconds": 12.0, "read": 3 << 20, "shuffled": 1 << 30},
        "commit_bias_table": {"seconds": 1.0, "written": 1 << 20},
    }
    summary = {"stages": stages, "dim": 500, "seconds": 2000.0, "peak_bytes": 1 << 30}
    compared = compare(Foretold(found, work, rates), summary, 2)
    assert compared["amounts"]["embed_candidates"] == {"planned": 7200, "done": 7000}
    assert compared["amounts"]["score_candidates"] == {"planned": 10**9, "done": 9 * 10**8}
    sizes = {name: amount["done"] for name, amount in compared["amounts"].items() if name.endswith("_bytes")}
    assert sizes == {
        "merging_bytes": 3 << 20, "written_bytes": 4 << 20, "shuffled_bytes": 1 << 30, "peak_bytes": 1 << 30,
    }  # fmt: skip
    assert compared["planned"]["w"]["hours"]["embed"] == 2.0
    assert compared["done"]["hours"] == {"embed": 3609 / 7200, "score": 30 / 7200, "merge": 12 / 7200}
    assert compared["done"]["dollars"] == pytest.approx(3 * 3651 / 7200 + 1)
    # 9 * 10^11 operations in 20 s, by two processes; the captions took too little time to tell.
    measured = compared["rates"]
    assert (measured["gflops"], measured["images_per_second"], measured["processes"]) == (90.0, 3.89, 2)
    assert "texts_per_second" not in measured
    text = "\n".join(describe_comparison(compared, rates))
    assert "The run took 33 min 20 s" in text
    assert "texts_per_second: 1  # not measured" in text
    own = tmp_path / "rates.yaml"
    own.write_text(text[text.index("workers:") :])
    assert Rates.read(str(own)).workers["this machine"].images_per_second == 3.89
    elsewhere = compare(Foretold(found, work, rates), summary, None)
    assert elsewhere["done"]["hours"]["score"] == 30 / 3600
    assert elsewhere["rates"] == {}
    # Of several types nobody knows on which it ran.
    assert compare(Foretold(found, work, DEFAULT_RATES), summary, 2)["done"]["dollars"] is None


def test_flags_of_beam_are_understood(two_versions: TwoVersions, capsys: pytest.CaptureFixture[str]) -> None:
    place = str(two_versions.restore(0))
    flags = refresh_arguments(place, place, 1)[1:]
    assert cli.main(["plan", *flags, "--runner=DataflowRunner", "--project=p", "--region=r"]) == 0
    assert cli.main(["plan", *flags, "--runer=DataflowRunner"]) == 2
    assert "did you mean --runner" in capsys.readouterr().err
    assert cli.main(["plan", *flags, "--workers", "0"]) == 2
    assert "--workers 0 must be at least 1." in capsys.readouterr().err


def test_rates_without_a_plan_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = refresh_arguments(str(tmp_path), str(tmp_path), 1)[1:]
    assert cli.main(["refresh", *flags, "--rates", "rates.yaml"]) == 2
    assert "Add --with-plan" in capsys.readouterr().err


def test_this_machine_is_measured(
    two_versions: TwoVersions, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measuring, "_SECONDS", 0.0)
    place = str(two_versions.restore(1))
    assert cli.main(["plan", *refresh_arguments(place, place, 2)[1:], "--rates", "auto", "--json"]) == 0
    out = capsys.readouterr().out
    (cost,) = json.loads(out.splitlines()[-1])["costs"]
    assert cost["worker"] == "this machine"
    assert cost["hours"]["score"] > 0
    assert cost["dollars"] < 1e-6  # the shuffle alone has a price
    assert re.search(r"this machine .* no price\n", out)
    assert not Path("auto").exists()


def test_a_model_is_measured_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "_SECONDS", 0.0)
    monkeypatch.setattr(measuring, "load_once", lambda source: FormulaEncoder())
    work = dataclasses.replace(WORK, images=3, texts=0, group_rows=100, references=100, kept=4)
    worker = measuring.this_machine(work, "exact", 2, object())  # type: ignore[arg-type]
    assert worker.images_per_second > 1.0 == worker.texts_per_second
    assert worker.gflops > 0 == worker.dollars_per_hour


@pytest.mark.parametrize(
    ("value", "shown"),
    [(12.5, "$12.50"), (1234.567, "$1,234.57"), (0.2, "$0.20"), (0.011, "$0.011"), (0.00123, "$0.0012"), (0, "$0.00")],
)
def test_money_has_two_digits_that_say_something(value: float, shown: str) -> None:
    assert format_dollars(value) == shown


def test_no_column_of_a_table_runs_into_another() -> None:
    rows = [
        ("worker", "scoring", "cost"),
        ("a type of worker with a very long name, and more", "70,560 h 12 min", "$1.00"),
    ]
    heading, line = in_columns(rows)
    assert re.split(r" {2,}", line) == list(rows[1])
    assert len(heading) == len(line)
