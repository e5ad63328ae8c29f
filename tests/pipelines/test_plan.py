"""``nnn plan``: what it foretells is what a refresh then does."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from corpora import write_tar
from jobs import CANDIDATES, REFERENCES, plant_inputs, refresh_arguments

from nnn_core import costs, scaling
from nnn_core.costs import DEFAULT_RATES, Rates, Work, estimate
from nnn_core.embedding import EmbeddingRequest
from nnn_core.listing import describe_shard
from nnn_core.manifest import Side
from nnn_core.plan import GONE, plan_side
from nnn_core.readers import Columns
from nnn_core.shards import MODALITIES
from pipelines import cli, demo
from pipelines.plan import _rows_to_encode, changed_parts

ROOT = Path(__file__).parent.parent.parent

Call = Callable[..., dict[str, Any]]


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run ``plan`` or ``refresh`` on the first files of the tiny job; returns its JSON."""
    plant_inputs(tmp_path, str(tmp_path))

    def run(command: str, version: int, *flags: str) -> dict[str, Any]:
        arguments = refresh_arguments(str(tmp_path), str(tmp_path), version)
        assert cli.main([command, *arguments[1:], *flags, "--json"]) == 0
        record: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return record

    return run


def test_a_plan_foretells_what_is_scored(call: Call) -> None:
    first = call("plan", 1)
    assert first["candidates"]["reasons"] == {"first refresh of this table": 2}
    assert first["previous"] is None
    done = call("refresh", 1)
    assert first["pairs_todo"] == done["stages"]["score_candidates"]["pairs"] == 2 * CANDIDATES // 3 * REFERENCES
    assert first["partials_todo"] == done["stages"]["score_candidates"]["computed"]
    again = call("plan", 1)
    assert (again["pairs_todo"], again["partials_todo"], again["previous"]) == (0, 0, 1)
    assert again["candidates"]["todo"] == []
    # Every file of the bank is scored by itself. What another size of group would cost is what its plan says.
    proposed = again["regrouping"]
    regrouped = call("plan", 1, "--reference-shard-rows", str(proposed["rows"]))
    assert (regrouped["pairs_todo"], regrouped["regrouping"]) == (proposed["pairs_now"], None)
    assert regrouped["groups"] < again["groups"]
    grown = call("plan", 2)
    assert grown["candidates"]["reasons"] == {"new or changed": 1}
    assert grown["reasons"] == {"candidates to embed": CANDIDATES // 3 * REFERENCES}
    # One of the new rows cannot be used, which only reading tells.
    done = call("refresh", 2, "--with-plan")
    assert done["stages"]["score_candidates"]["pairs"] == (CANDIDATES // 3 - 1) * REFERENCES
    assert done["plan"] == {
        "embed_candidates": {"planned": CANDIDATES // 3, "done": CANDIDATES // 3},
        "embed_references": {"planned": 0, "done": 0},
        "score_candidates": {"planned": CANDIDATES // 3 * REFERENCES, "done": (CANDIDATES // 3 - 1) * REFERENCES},
    }


def test_reasons_name_what_is_missing(call: Call, tmp_path: Path) -> None:
    call("refresh", 1)
    partials = sorted((tmp_path / "work" / "partials").iterdir())
    partials[0].unlink()
    assert call("plan", 1)["reasons"] == {"scores not under --work": CANDIDATES // 3 * REFERENCES // 2}
    regrouped = call("plan", 1, "--reference-shard-rows", "80")
    assert set(regrouped["reasons"]) == {"candidates never scored"}
    for path in (tmp_path / "work" / "embedded").glob("*.json"):
        path.unlink()
    lost = call("plan", 1)["candidates"]["reasons"]
    assert lost == {"known, but its result is not under --work (or columns changed)": 2}


def test_a_changed_encoder_is_named(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {f"{row}": {"jpg": b"x" * 1000} for row in range(40)})
    shard = describe_shard(str(tmp_path / "a.tar"))
    request = EmbeddingRequest("image", Columns(), "now", str(tmp_path / "work"))
    before = Side(40, 0, "0", (shard.digest, "gone"))
    for changed, reason in ((("tokenizer", "weights"), "the encoder changed: tokenizer, weights"), ((), GONE)):
        found = plan_side("candidates", str(tmp_path / "*.tar"), request, before, changed)
        assert found.reasons == {reason: 1}
        assert (found.model, found.estimated, found.removed, found.rows_known) == (True, True, 1, 0)
    assert found.rows_todo == round(shard.bytes / 50_000)
    fingerprint = demo.demo_encoder().fingerprint
    old = SimpleNamespace(settings=SimpleNamespace(encoder={**dataclasses.asdict(fingerprint), "weights": "old"}))
    assert changed_parts(old, demo.demo_encoder()) == ("weights",)  # type: ignore[arg-type]


def test_both_sides_of_one_modality_are_embedded() -> None:
    sides = {
        "candidates": SimpleNamespace(modality="image", rows_todo=5, model=True),
        "references": SimpleNamespace(modality="image", rows_todo=7, model=True),
    }
    found: Any = SimpleNamespace(**sides)
    assert [sum(_rows_to_encode(found, modality)) for modality in MODALITIES] == [12, 0]
    found.references.modality, found.candidates.model = "text", False
    assert [sum(_rows_to_encode(found, modality)) for modality in MODALITIES] == [0, 7]


def test_costs_by_hand() -> None:
    work = Work(7200, 3600, 10**9, 10**6, 10**5, 500, 128, 8, 2, 1 << 16)
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
    (cost,) = estimate(work, rates)
    assert (cost.embed_hours, cost.score_hours) == (2.0, pytest.approx(1000 / 3600))
    assert cost.dollars == pytest.approx(3 * cost.hours)
    assert not cost.fits
    assert work.flop == 10**12


def test_pages_are_up_to_date(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (ROOT / "deploy" / "SCALING.md").read_text() == scaling.page()
    assert (ROOT / "deploy" / "rates.yaml").read_text() == costs.to_yaml(DEFAULT_RATES)
    assert costs.read_rates(str(ROOT / "deploy" / "rates.yaml")) == DEFAULT_RATES
    wrong = tmp_path / "rates.yaml"
    wrong.write_text("workers: {a: {gflops: -1}}\nprice: 3\n")
    flags = ["--candidates", "c", "--references", "r", "--table", "t", "--work", "w", "--rates", str(wrong)]
    assert cli.main(["plan", *flags]) == 2
    message = capsys.readouterr().err
    assert "price: Extra inputs are not permitted" in message
    assert "workers.a.gflops" in message
