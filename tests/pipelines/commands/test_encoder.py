"""``nnn encoder``: fingerprints, and services compared with a table by the vectors of the probes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import nnn_core
from nnn_core.embedded.side import Side
from nnn_core.encoders import load_once, parse_encoder
from nnn_core.encoders.fingerprints import PROBES, shown_parts
from nnn_core.encoders.probes import _measure, recorded
from nnn_core.report._sections import Run
from nnn_core.table.manifest import Manifest, SearchReport, commit_version, read_manifest
from nnn_core.table.parts import BiasSettings, RowSlice, TablePart, collect_rows
from pipelines.commands import cli

DIRECTORY = Path(nnn_core.__file__).parent / "demo" / "encoder"
SPEC = f"open_clip:local-dir:{DIRECTORY}"
SIDE = Side(1, 0, "c" * 64, ("sha256:1",))


@pytest.fixture
def table(tmp_path: Path) -> Callable[[dict[str, str]], str]:
    def publish(encoder: dict[str, str]) -> str:
        uri = str(tmp_path / "table")
        settings = BiasSettings(1, 0.75, (1,), "image", "text", False, encoder, "b" * 64)
        pieces = RowSlice.cut(pa.array(["a"]), np.ones((1, 1), np.float32), "x", ())
        parts = [TablePart.write(uri, 1, n, collect_rows([piece]), settings, {}) for n, piece in pieces]
        commit_version(uri, Manifest(1, settings, 8, SIDE, SIDE, SearchReport(("exact",)), tuple(parts)))
        return uri

    return publish


@pytest.fixture(scope="module")
def parts() -> dict[str, str]:
    return recorded(parse_encoder(SPEC))


@pytest.fixture(scope="module")
def vectors() -> dict[str, np.ndarray]:
    return _measure(load_once(parse_encoder(SPEC)))


def write(path: Path, vectors: dict[str, np.ndarray]) -> str:
    column = pa.array([vector.tolist() for vector in vectors.values()], pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": list(vectors), "vector": column}), path)
    return str(path)


def test_fingerprint_prints_every_part(parts: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["encoder", "fingerprint", SPEC, "--json"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(parts)
    assert json.loads(last) == parts
    assert max(map(len, lines)) < 200


def test_probes_are_written_for_a_service(
    tmp_path: Path, vectors: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["encoder", "probes", "--output", str(tmp_path / "probes")]) == 0
    texts = [json.loads(line) for line in (tmp_path / "probes" / "texts.jsonl").read_text().splitlines()]
    encoder = load_once(parse_encoder(SPEC))
    pictures = [encoder.preprocess_image((tmp_path / "probes" / f"image-{n}.png").read_bytes()) for n in (1, 2)]
    np.testing.assert_allclose(
        encoder.encode_images(pictures) / np.linalg.norm(encoder.encode_images(pictures), axis=1, keepdims=True),
        [vectors["image-1"], vectors["image-2"]],
        atol=1e-6,
    )
    assert [text["id"] for text in texts] == ["text-1", "text-2"]
    assert cli.main(["encoder", "probes", "--output", str(tmp_path / "probes")]) == 0
    (tmp_path / "probes" / "image-2.png").write_bytes(b"another image")
    assert cli.main(["encoder", "probes", "--output", str(tmp_path / "probes")]) == 7
    assert "image-2.png' exists already with other content" in capsys.readouterr().err


def test_a_service_that_agrees(
    table: Callable[[dict[str, str]], str],
    tmp_path: Path,
    parts: dict[str, str],
    vectors: dict[str, np.ndarray],
    capsys: pytest.CaptureFixture[str],
) -> None:
    uri = table(parts)
    file = write(tmp_path / "service.parquet", {name: 11 * vector for name, vector in vectors.items()})
    assert cli.main(["encoder", "check", "--table", uri, "--vectors", file]) == 0
    assert "(limit: 0.002)" in capsys.readouterr().out
    assert cli.main(["encoder", "check", SPEC, "--table", uri, "--vectors", file, "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["verdict"] == "same"
    assert max(result["distances"].values()) < 1e-3


@pytest.mark.parametrize(
    ("changed", "advice"),
    [("image", "how the service prepares images"), ("text", "prompt, tokenizer and truncation"), ("", "weights first")],
)
def test_a_service_that_differs(
    table: Callable[[dict[str, str]], str],
    tmp_path: Path,
    parts: dict[str, str],
    vectors: dict[str, np.ndarray],
    capsys: pytest.CaptureFixture[str],
    changed: str,
    advice: str,
) -> None:
    nudge = np.zeros_like(vectors["image-1"])
    nudge[3] = 0.01
    served = {name: vector + nudge * name.startswith(changed) for name, vector in vectors.items()}
    file = write(tmp_path / "service.parquet", served)
    assert cli.main(["encoder", "check", "--table", table(parts), "--vectors", file]) == 3
    error = capsys.readouterr().err
    assert advice in error
    assert "(limit: 0.002)" in error
    assert cli.main(["encoder", "check", "--table", str(tmp_path / "table"), "--vectors", file, "--tolerance=.1"]) == 0


def test_a_tolerance_of_0_allows_no_distance(
    table: Callable[[dict[str, str]], str],
    tmp_path: Path,
    parts: dict[str, str],
    vectors: dict[str, np.ndarray],
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = write(tmp_path / "service.parquet", {"image-1": vectors["image-1"] + np.float32(0.001)})
    assert cli.main(["encoder", "check", "--table", table(parts), "--vectors", file, "--tolerance", "0"]) == 3
    error = capsys.readouterr().err
    assert "(limit: 0)" in error
    assert "Texts agree, or were not given." in error


def test_an_encoder_that_differs_is_refused_by_part(
    table: Callable[[dict[str, str]], str], parts: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    uri = table(parts)
    assert cli.main(["encoder", "check", SPEC, "--table", uri]) == 0
    assert cli.main(["encoder", "check", SPEC, "--table", uri, "--reference-prompt", "a photo of {}"]) == 3
    assert "they differ in probes (other vectors there, other vectors here), prompts ({" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("encoder", "flags", "message", "code"),
    [
        ({"kind": "precomputed"}, [SPEC], "it is unknown whether", 3),
        ({"kind": "precomputed"}, [], "made from ready-made vectors", 3),
        ({"weights": "w"}, [], "records no probes", 3),
        (None, [], "no vector of a probe", 3),
    ],
)
def test_nothing_to_compare(
    table: Callable[[dict[str, str]], str],
    tmp_path: Path,
    parts: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    encoder: dict[str, str] | None,
    flags: list[str],
    message: str,
    code: int,
) -> None:
    file = write(tmp_path / "service.parquet", {"other": np.ones(64, np.float32)})
    uri = table(parts if encoder is None else encoder)
    assert cli.main(["encoder", "check", *flags, "--table", uri, "--vectors", file]) == code
    assert message in capsys.readouterr().err


def test_whoever_shows_a_version_shows_no_vectors(
    table: Callable[[dict[str, str]], str], parts: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    uri = table(parts)
    assert cli.main(["table", "show", "--table", uri, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out.splitlines()[-1])["settings"]["encoder"]
    assert shown == shown_parts(parts)
    assert {**shown, PROBES: parts[PROBES]} == parts
    assert shown[PROBES].startswith("4 vectors of 64 dimensions (image-1, image-2, text-1, text-2), SHA-256 ")
    manifest = read_manifest(uri)
    run = Run.of("nnn refresh", uri, manifest, 1, None, None)
    assert dict(run.fingerprints) == shown


def test_a_check_needs_something_to_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["encoder", "check", "--table", str(tmp_path)]) == 2
    assert "Give SPEC or --vectors" in capsys.readouterr().err
