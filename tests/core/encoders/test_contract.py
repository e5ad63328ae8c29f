"""What a table records of its encoder: equal wherever it runs, different as soon as a vector would be."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import FormulaEncoder
from PIL import Image

import nnn_core
from nnn_core.digests import sha256
from nnn_core.encoders import Encoder, EncoderSource, Fingerprint, load_once, parse_encoder
from nnn_core.encoders.fingerprints import PROBES, check_encoder, differing
from nnn_core.encoders.probes import (
    STEPS,
    TOLERANCES,
    _measure,
    _to_text,
    distances,
    from_text,
    probe_images,
    probe_texts,
    recorded,
    static_parts,
)
from nnn_core.encoders.prompts import Prompts
from nnn_core.errors import ConfigError, CorruptArtifactError, InputError

DIRECTORY = Path(nnn_core.__file__).parent / "demo" / "encoder"
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"


@pytest.fixture(scope="module")
def parts() -> dict[str, str]:
    return recorded(parse_encoder(f"open_clip:local-dir:{DIRECTORY}"))


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DIRECTORY, tmp_path / "encoder"))


def of(directory: Path, precision: str = "float32") -> dict[str, str]:
    return recorded(parse_encoder(f"open_clip:local-dir:{directory}", precision))


def test_the_same_files_elsewhere_are_the_same_encoder(parts: dict[str, str], copied: Path) -> None:
    assert differing(parts, of(copied)) == ()


def test_neither_batches_nor_threads_nor_the_last_digits_of_hardware_matter(parts: dict[str, str]) -> None:
    """Other tilings, thread counts and vector widths add in another order; float64 stands for the worst of them."""
    import torch

    encoder = parse_encoder(f"open_clip:local-dir:{DIRECTORY}").load()
    encoder.batch_size = 5
    torch.set_num_threads(2)
    try:
        batched = _measure(encoder)
    finally:
        torch.set_num_threads(1)
    towers = encoder._towers  # type: ignore[attr-defined]
    towers.model.double()
    tower = replace(towers, images=lambda batch: towers.images(batch.double()))
    encoder._towers = tower  # type: ignore[attr-defined]
    for other in (batched, _measure(encoder)):
        assert differing(parts, {**parts, PROBES: _to_text(other)}) == ()
        assert max(distances(from_text(parts[PROBES]), other).values()) < TOLERANCES["float32"] / 20


def test_one_flipped_weight_is_another_encoder(parts: dict[str, str], copied: Path) -> None:
    weights = bytearray((copied / WEIGHTS).read_bytes())
    weights[-1] ^= 1
    (copied / WEIGHTS).write_bytes(weights)
    assert "weights" in differing(parts, of(copied))


def test_another_resize_filter_is_another_encoder_by_its_vectors_too(parts: dict[str, str], copied: Path) -> None:
    config = json.loads((copied / CONFIG).read_text())
    config["preprocess_cfg"]["interpolation"] = "bilinear"
    (copied / CONFIG).write_text(json.dumps(config))
    assert differing(parts, of(copied)) == ("preprocessing", PROBES)


def test_another_prompt_is_another_encoder_by_its_vectors_too(parts: dict[str, str]) -> None:
    source = parse_encoder(f"open_clip:local-dir:{DIRECTORY}")
    assert differing(parts, recorded(source, Prompts(reference="a photo of {}"))) == (PROBES, "prompts")
    ours = recorded(source, Prompts(candidate="a photo of {}"))
    assert differing(parts, ours) == ("prompts",)
    assert sorted(from_text(ours[PROBES])) == [
        *(f"candidate-text-{n}" for n in (1, 2)),
        *("image-1", "image-2", "text-1", "text-2"),
    ]


def test_another_precision_is_another_encoder(parts: dict[str, str]) -> None:
    assert "precision" in differing(parts, of(DIRECTORY, "bfloat16"))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_stays_within_its_tolerance_and_gives_float32(parts: dict[str, str], precision: str) -> None:
    encoder = load_once(parse_encoder(f"open_clip:local-dir:{DIRECTORY}", precision))
    assert encoder.encode_texts(["a red circle"]).dtype == np.float32
    away = distances(from_text(parts[PROBES]), _measure(encoder))
    assert TOLERANCES["float32"] / 20 < max(away.values()) < TOLERANCES[precision]


def test_probes_are_recorded_within_their_rounding(encoder_vectors: dict[str, np.ndarray]) -> None:
    read = from_text(_to_text(encoder_vectors))
    assert read.keys() == encoder_vectors.keys()
    for name, vector in encoder_vectors.items():
        assert np.abs(read[name] - vector).max() <= 0.5 / STEPS + 1e-7


@pytest.fixture
def encoder_vectors() -> dict[str, np.ndarray]:
    return _measure(FormulaEncoder())


@pytest.mark.parametrize("text", ["", "[]", '{"text-1": 3}', '{"text-1": "?"}', '{"text-1": "YQ=="}'])
def test_damaged_probes_are_told(text: str) -> None:
    with pytest.raises(CorruptArtifactError, match="probes are damaged"):
        from_text(text)


def test_vectors_need_not_be_unit_and_other_dimensions_are_infinitely_far() -> None:
    one = {"text-1": np.array([1.0, 0.0], np.float32)}
    assert distances(one, {"text-1": np.array([7.0, 0.0], np.float32)}) == {"text-1": 0.0}
    assert distances(one, {"text-1": np.array([1.0, 0.0, 0.0], np.float32)}) == {"text-1": float("inf")}
    with pytest.raises(InputError, match="'text-1' is zero or not finite"):
        distances(one, {"text-1": np.zeros(2, np.float32)})


def test_the_probes_are_what_they_always_were() -> None:
    """Other probes would make every table that was recorded before look like another encoder's."""
    pixels = [Image.open(io.BytesIO(data)).tobytes() for data in probe_images().values()]
    assert [sha256(each)[:16] for each in pixels] == ["95b87c9f5e4ce4e6", "952ded4f5cc4f9bf"]
    assert sha256(json.dumps(probe_texts()).encode())[:16] == "45c81c8ceda08a9e"


def test_what_an_older_table_does_not_record_is_not_held_against_it(parts: dict[str, str]) -> None:
    older = {name: parts[name] for name in ("weights", "architecture", "preprocessing", "tokenizer")}
    assert differing(older, parts) == ()
    assert differing(older, {**parts, "weights": "other"}) == ("weights",)


def test_a_refusal_names_what_differs(parts: dict[str, str]) -> None:
    check_encoder(parts, parts, "t", "this")
    with pytest.raises(InputError, match=r"differ in precision \(float32 there, float16 here\), weights"):
        check_encoder(parts, {**parts, "weights": "w" * 64, "precision": "float16"}, "t", "this")


def test_a_recorded_encoder_names_the_vectors_that_were_computed_with_it(parts: dict[str, str]) -> None:
    source = parse_encoder(f"open_clip:local-dir:{DIRECTORY}")
    prompts = Prompts("a photo of {}", "{}")
    written = static_parts(source, prompts)
    assert Fingerprint.from_parts({**parts, **written}).digest == source.fingerprint.digest
    assert Prompts.from_json(written["prompts"]) == prompts
    assert replace(source.fingerprint, precision="float16").digest != source.fingerprint.digest
    with pytest.raises(InputError, match="incomplete"):
        Fingerprint.from_parts({"weights": "w"})
    with pytest.raises(CorruptArtifactError, match="prompts are damaged"):
        Prompts.from_json("{")


class _Source:
    fingerprint = Fingerprint("w", "a", "p", "t")
    loads = 0

    def load(self) -> Encoder:
        self.loads += 1
        return FormulaEncoder()  # type: ignore[return-value]


def test_a_work_folder_keeps_the_vectors_of_the_first_machine(tmp_path: Path) -> None:
    source: EncoderSource = _Source()
    first = recorded(source, work=str(tmp_path))
    load_once(_Source())  # only one model stays loaded, so that another use of the first would load it again
    assert recorded(source, work=str(tmp_path)) == first
    assert source.loads == 1  # type: ignore[attr-defined]
    assert {name: first[name] for name in static_parts(source)} == static_parts(source)
    (kept,) = (tmp_path / "probes").iterdir()
    kept.write_text("damaged")
    assert recorded(source, work=str(tmp_path)) == first  # a damaged record is made anew
    assert source.loads == 2  # type: ignore[attr-defined]


class _ImagesOnly(FormulaEncoder):
    def encode_texts(self, texts: object) -> np.ndarray:
        raise AssertionError("this model knows no words")


def test_probes_are_those_of_the_sides() -> None:
    found = _measure(_ImagesOnly(), modalities=("image",))  # type: ignore[arg-type]
    assert sorted(found) == ["image-1", "image-2"]
    assert sorted(_measure(FormulaEncoder(), modalities={"text"})) == ["text-1", "text-2"]  # type: ignore[arg-type]


def test_probes_of_other_sides_have_names_of_their_own(tmp_path: Path) -> None:
    source: EncoderSource = _Source()
    both, texts = (recorded(source, work=str(tmp_path), modalities=each) for each in (("image", "text"), ("text",)))  # type: ignore[arg-type]
    assert sorted(from_text(texts[PROBES])) == ["text-1", "text-2"]
    assert sorted(from_text(both[PROBES])) == ["image-1", "image-2", "text-1", "text-2"]
    assert differing(both, texts) == ()


@pytest.mark.parametrize("template", ["a photo", "{} and {}", ""])
def test_a_template_has_one_place(template: str) -> None:
    with pytest.raises(ConfigError, match="--reference-prompt"):
        Prompts(reference=template)


def test_braces_of_captions_are_left_alone() -> None:
    assert Prompts.fill("a photo of {}", "a {} {0} sign") == "a photo of a {} {0} sign"
    assert Prompts.fill("{}", "x") == "x"
