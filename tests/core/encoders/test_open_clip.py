"""The open_clip encoder, with the checkpoint that comes with the package."""

from __future__ import annotations

import io
import json
import shutil
import sys
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nnn_core
from nnn_core.encoders import Encoder, _open_clip, load_once, parse_encoder
from nnn_core.encoders._open_clip import OpenClipSource
from nnn_core.errors import ConfigError, InputError

DIRECTORY = Path(nnn_core.__file__).parent / "demo" / "encoder"


@pytest.fixture(scope="module")
def source() -> OpenClipSource:
    return OpenClipSource.parse(f"local-dir:{DIRECTORY}")


@pytest.fixture(scope="module")
def encoder(source: OpenClipSource) -> Encoder:
    return load_once(source)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DIRECTORY, tmp_path / "encoder"))


def picture(seed: int, mode: str = "RGB", kind: str = "PNG", size: int = 64) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (size, size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def test_a_vector_does_not_depend_on_its_batch(encoder: Encoder) -> None:
    rows = encoder.batch_size
    assert rows > 40
    images = [encoder.preprocess_image(picture(seed)) for seed in range(rows)]
    texts = [f"a red circle number {number}" for number in range(rows)]
    whole = encoder.encode_images(images), encoder.encode_texts(texts)
    for first in (0, 7, rows - 3):
        part = slice(first, first + 3)
        np.testing.assert_array_equal(encoder.encode_images(images[part]), whole[0][part])
        np.testing.assert_array_equal(encoder.encode_texts(texts[part]), whole[1][part])


def test_vectors_are_those_of_open_clip_itself(encoder: Encoder) -> None:
    import open_clip
    import torch

    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{DIRECTORY}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{DIRECTORY}")
    data = [picture(seed, size=80) for seed in range(5)]
    texts = ["a red circle", "two shapes on a blue background"]
    with torch.no_grad():
        images = model.encode_image(torch.stack([preprocess(Image.open(io.BytesIO(d))) for d in data]))
        captions = model.encode_text(tokenizer(texts))
    ours = encoder.encode_images([encoder.preprocess_image(d) for d in data])
    np.testing.assert_allclose(ours, images.numpy(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_texts(texts), captions.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_every_colour_mode_becomes_rgb(encoder: Encoder, mode: str) -> None:
    assert tuple(encoder.preprocess_image(picture(1, mode)).shape) == (3, 64, 64)


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", picture(1)[:200], picture(1, kind="GIF"), picture(1, kind="TIFF"), b"%!PS-Adobe-3.0 EPSF-3.0\n"],
    ids=["empty", "text", "cut short", "gif", "tiff", "eps"],
)
def test_what_is_no_image_is_a_value_error(encoder: Encoder, data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        encoder.preprocess_image(data)


def test_a_pixel_bomb_is_a_value_error(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 64 - 1)
    with pytest.raises(ValueError, match="exceeds limit"):
        encoder.preprocess_image(picture(1))


def test_fingerprint_changes_with_each_part_alone(source: OpenClipSource, copied: Path) -> None:
    def changed() -> set[str]:
        now = OpenClipSource.parse(f"local-dir:{copied}").fingerprint
        assert (now.digest == source.fingerprint.digest) == (now == source.fingerprint)
        return {name for name, value in asdict(now).items() if value != asdict(source.fingerprint)[name]}

    assert changed() == set()
    (copied / "merges.txt").write_text("another tokenizer")
    assert changed() == {"tokenizer"}
    (copied / "merges.txt").unlink()
    config = json.loads((copied / "open_clip_config.json").read_text())
    config["preprocess_cfg"]["interpolation"] = "bilinear"
    (copied / "open_clip_config.json").write_text(json.dumps(config))
    assert changed() == {"preprocessing"}
    weights = bytearray((copied / "open_clip_model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copied / "open_clip_model.safetensors").write_bytes(weights)
    assert changed() == {"preprocessing", "weights"}


def test_a_worker_with_other_weights_refuses(copied: Path) -> None:
    source = OpenClipSource.parse(f"local-dir:{copied}")
    weights = bytearray((copied / "open_clip_model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copied / "open_clip_model.safetensors").write_bytes(weights)
    with pytest.raises(InputError, match="differs from the one that the job was started with"):
        source.load()


def test_a_checkpoint_of_another_architecture_is_refused(copied: Path) -> None:
    config = json.loads((copied / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["layers"] += 1
    (copied / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="these weights do not fit the model"):
        OpenClipSource.parse(f"local-dir:{copied}").load()


def test_a_directory_without_weights_is_refused(copied: Path) -> None:
    (copied / "open_clip_model.safetensors").unlink()
    with pytest.raises(InputError, match="holds no weights"):
        OpenClipSource.parse(f"local-dir:{copied}")


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("resnet50", ConfigError, "is not understood"),
        ("open_clip:", ConfigError, "is not understood"),
        ("open_clip:ViT-B-32", InputError, "names no weights"),
        ("open_clip:ViT-B-32/no-such-tag", InputError, "neither a file nor a pretrained tag of ViT-B-32"),
        ("open_clip:ViT-B32/tag", InputError, "open_clip has no model 'ViT-B32'; did you mean ViT-B-32\\? It has "),
        ("open_clip:NoSuchModel/tag", InputError, "open_clip has no model 'NoSuchModel'. It has "),
        ("open_clip:local-dir:/nowhere", InputError, "is not an open_clip model directory"),
    ],
)
def test_specs_that_cannot_work(spec: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        parse_encoder(spec)


def test_a_file_here_is_not_below_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights.pt").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"For the file here, write open_clip:ViT-B-32/weights\.pt\."):
        parse_encoder("open_clip:ViT-B-32//weights.pt")


def test_weights_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    import open_clip

    def fail(tag: object) -> str:
        raise OSError("no route to host.")

    monkeypatch.setattr(open_clip, "download_pretrained", fail)
    words = "cannot be downloaded from laion/.*: no route to host. For a machine without network, download them"
    with pytest.raises(InputError, match=words):
        parse_encoder("open_clip:ViT-B-32/laion2b_s34b_b79k")


def test_a_model_name_with_a_checkpoint_path(tmp_path: Path) -> None:
    import open_clip
    import torch

    torch.manual_seed(0)
    checkpoint = tmp_path / "weights.pt"
    torch.save(open_clip.create_model("ViT-S-32-alt").state_dict(), checkpoint)
    source = parse_encoder(f"open_clip:ViT-S-32-alt/{checkpoint}")
    vectors = source.load().encode_texts(["a red circle"])
    assert vectors.shape == (1, 256)
    assert np.isfinite(vectors).all()
    other = parse_encoder(f"open_clip:ViT-B-32/{checkpoint}")
    with pytest.raises(InputError, match=r"these weights do not fit the model \(.*\)\. Name or describe the model"):
        other.load()


def test_an_unknown_model_is_refused_before_seconds_of_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_spec("open_clip")
    monkeypatch.setattr(_open_clip, "find_spec", lambda name: found)
    monkeypatch.setitem(sys.modules, "open_clip", None)  # an import of it fails
    with pytest.raises(InputError, match="open_clip has no model 'ViT-B32'; did you mean ViT-B-32"):
        OpenClipSource.parse("ViT-B32/tag")


def test_captions_that_are_cut_are_counted(encoder: Encoder) -> None:
    before = encoder.truncated  # type: ignore[attr-defined]
    encoder.encode_texts(["red " * 38, "red " * 39, "red " * 10_000, "short", ""])
    assert encoder.truncated - before == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("model", ["ViT-B-16-SigLIP2", "ViT-B-16-SigLIP", "MobileCLIP-S1"])
def test_a_bare_file_whose_preprocessing_would_be_wrong_is_refused(tmp_path: Path, model: str) -> None:
    (tmp_path / "model.pt").write_bytes(b"weights")
    with pytest.raises(InputError, match=rf"every published {model} was trained with a preprocessing"):
        parse_encoder(f"open_clip:{model}/{tmp_path / 'model.pt'}")


def test_a_directory_that_says_nothing_of_preprocessing_is_refused(copied: Path) -> None:
    config = json.loads((copied / "open_clip_config.json").read_text())
    del config["preprocess_cfg"]
    (copied / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="has no preprocess_cfg"):
        OpenClipSource.parse(f"local-dir:{copied}")


def test_a_tokenizer_of_the_hub_is_part_of_the_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: tmp_path)
    (tmp_path / "weights.pt").write_bytes(b"weights")
    digests = set()
    for words in ("a", "b"):
        (tmp_path / "tokenizer.json").write_text(words)
        digests.add(OpenClipSource.parse(f"xlm-roberta-base-ViT-B-32/{tmp_path / 'weights.pt'}").fingerprint.tokenizer)
    assert len(digests) == 2


def test_another_vocabulary_of_open_clip_is_another_tokenizer(
    source: OpenClipSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from open_clip import tokenizer

    assert _open_clip._own_file("bpe_simple_vocab_16e6.txt.gz").samefile(tokenizer.default_bpe())
    (tmp_path / "bpe.txt.gz").write_bytes(b"other merges")
    monkeypatch.setattr(_open_clip, "_own_file", lambda name: tmp_path / "bpe.txt.gz")
    now = OpenClipSource.parse(f"local-dir:{DIRECTORY}").fingerprint
    assert now.tokenizer != source.fingerprint.tokenizer
    assert now.weights == source.fingerprint.weights
