"""Prompts and precision reach the vectors, the manifest, and whoever works with the table later."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora import tree, write_jsonl, write_tar

from nnn_core import load_bias_table
from nnn_core.demo import _scenes as scenes
from nnn_core.encoders import load_once
from nnn_core.vectors import unit_vectors
from pipelines.commands import _demo_data as demo
from pipelines.commands import cli

CAPTIONS = [f"a {colour} {shape}" for colour in ("red", "blue", "green") for shape in ("circle", "square")]


@pytest.fixture
def flags(tmp_path: Path) -> dict[str, str]:
    """A few rendered images and captions, and the demo's encoder."""
    images = {f"{row}": {"jpg": scenes.jpeg(scenes.scene("candidates", 0, row))} for row in range(5)}
    write_tar(tmp_path / "images.tar", images)
    write_jsonl(tmp_path / "bank.jsonl", [{"id": f"b{row}", "caption": text} for row, text in enumerate(CAPTIONS)])
    return {
        "candidates": str(tmp_path / "images.tar"),
        "table": str(tmp_path / "table"),
        "work": str(tmp_path / "work"),
        "encoder": f"open_clip:local-dir:{files('nnn_core') / 'demo' / 'encoder'}",
    }


def call(command: str, flags: dict[str, str], capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any], str]:
    code = cli.main([command, *(part for name, value in flags.items() for part in (f"--{name}", value)), "--json"])
    out = capsys.readouterr()
    return code, json.loads(out.out.splitlines()[-1]) if code == 0 else {}, out.err


def test_a_prompt_is_part_of_the_bank(
    flags: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bank = {"references": str(tmp_path / "bank.jsonl"), "k": "2", "alpha": "1"}
    prompt = {"reference-prompt": "a drawing of {}"}
    assert call("refresh", {**flags, **bank, **prompt}, capsys)[0] == 0
    table = load_bias_table(flags["table"])
    assert json.loads(table.manifest.settings.encoder["prompts"])["reference"] == "a drawing of {}"
    encoder = load_once(demo.demo_encoder())
    images = [encoder.preprocess_image(scenes.jpeg(scenes.scene("candidates", 0, row))) for row in range(5)]
    held = unit_vectors(np.asarray(encoder.encode_images(images)))[0].astype(np.float64)
    for template, same in (("a drawing of {}", True), ("{}", False)):
        asked = unit_vectors(np.asarray(encoder.encode_texts([template.format(text) for text in CAPTIONS])))[0]
        means = -np.sort(-(held @ asked.astype(np.float64).T), axis=1)[:, :2].mean(axis=1)
        assert np.allclose(table.bias_of([f"{row}" for row in range(5)]), means, atol=1e-5) == same
    check = ["encoder", "check", flags["encoder"], "--table", flags["table"]]
    assert cli.main([*check, "--reference-prompt", "a drawing of {}"]) == 0
    assert cli.main(check) == 3
    assert "differ in probes (other vectors there" in capsys.readouterr().err
    # Planning without the prompt says what has changed, which the gate for settings goes by.
    assert call("plan", {**flags, **bank, **prompt}, capsys)[1]["pairs_todo"] == 0
    assert call("plan", {**flags, **bank}, capsys)[1]["changed"] == ["prompts"]


@pytest.mark.slow
def test_a_second_refresh_publishes_nothing_and_loads_no_model(
    flags: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = {"references": str(tmp_path / "bank.jsonl"), "k": "2", "alpha": "1"}
    assert call("refresh", {**flags, **bank}, capsys)[0] == 0
    first = tree(tmp_path / "table")
    monkeypatch.setattr("nnn_core.encoders._LOADED", {})
    monkeypatch.setattr("nnn_core.encoders._open_clip.OpenClipSource.load", None)
    assert call("refresh", {**flags, **bank}, capsys)[1]["version"] == 1
    assert tree(tmp_path / "table") == first
    # The same from nothing: the same bytes.
    monkeypatch.undo()
    again = {**flags, "table": str(tmp_path / "again" / "table"), "work": str(tmp_path / "again" / "work")}
    assert call("refresh", {**again, **bank}, capsys)[0] == 0
    assert tree(tmp_path / "again" / "table") == first


@pytest.mark.slow
def test_an_evaluation_asks_with_the_table_s_prompt(
    flags: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bank = {"references": str(tmp_path / "bank.jsonl"), "k": "2", "alpha": "1"}
    assert call("refresh", {**flags, **bank, "reference-prompt": "a drawing of {}"}, capsys)[0] == 0
    # The bank's first caption, said without the prompt: the same content, so it is found out.
    write_jsonl(tmp_path / "asked.jsonl", [{"id": "q", "caption": CAPTIONS[0], "answer": "1"}])
    asked = {"queries": str(tmp_path / "asked.jsonl"), "query-pair-id-column": "answer"}
    code, _, error = call("evaluate", {**flags, **asked, "references": bank["references"]}, capsys)
    assert (code, "1 validation queries are in the bank too" in error) == (3, True)
    assert call("evaluate", {**flags, **asked}, capsys)[0] == 0
