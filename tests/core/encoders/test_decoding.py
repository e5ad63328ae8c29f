"""Decoding: pixels become what open_clip's own transform makes of the upright image, bit for bit."""

from __future__ import annotations

import contextlib
import io
import threading
from pathlib import Path
from typing import Any

import hostile
import numpy as np
import pytest
from PIL import Image, ImageOps

import nnn_core
from nnn_core.encoders import Encoder, load_once
from nnn_core.encoders import _decoding as decoding
from nnn_core.encoders._decoding import turns_white, upright
from nnn_core.encoders._open_clip import OpenClipSource

DIRECTORY = Path(nnn_core.__file__).parent / "demo" / "encoder"

pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning")


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_once(OpenClipSource.parse(f"local-dir:{DIRECTORY}"))


@pytest.fixture(scope="module")
def own_preprocess() -> Any:
    import open_clip

    return open_clip.create_model_from_pretrained(f"local-dir:{DIRECTORY}")[1]


@pytest.mark.parametrize("name", [name for name in hostile.good_images() if name != "broken-exif.jpg"])
def test_what_turns_white_is_known_by_its_header(name: str) -> None:
    data = hostile.good_images()[name]
    with Image.open(io.BytesIO(data)) as image:
        scaled = np.asarray(image, np.float64) * (255 / 65535 if image.mode.startswith("I") else 1)
        assert turns_white(data) == (image.mode.startswith("I"))
        if turns_white(data):
            assert scaled.mean() < 200
            assert np.asarray(image.convert("RGB")).mean() > 250


@pytest.mark.parametrize("name", [name for name in hostile.good_images() if name != "broken-exif.jpg"])
def test_tensors_are_those_of_open_clip(name: str, encoder: Encoder, own_preprocess: Any) -> None:
    data = hostile.good_images()[name]
    with Image.open(io.BytesIO(data)) as image:
        expected = own_preprocess(ImageOps.exif_transpose(image))
    found = encoder.preprocess_image(data)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found.numpy(), expected.numpy())


@pytest.mark.parametrize("kind", ["squash", "longest"])
def test_tensors_are_those_of_other_transforms(kind: str, encoder: Encoder) -> None:
    """Models that squeeze or pad, and size images that are not square."""
    from open_clip.transform import image_transform

    transform = image_transform((24, 40), is_train=False, resize_mode=kind)
    for name, data in hostile.good_images().items():
        if name not in ("broken-exif.jpg", "thin.png"):  # open_clip itself cannot pad what is as thin
            with Image.open(io.BytesIO(data)) as image, upright(data) as ours:
                expected = transform(ImageOps.exif_transpose(image))
                np.testing.assert_array_equal(transform(ours).numpy(), expected.numpy())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_stand_upright(orientation: int) -> None:
    """Against numpy: the eight ways in which a camera may have been held."""
    raw = hostile.pixels(7, 4)
    turns = {
        1: raw,
        2: raw[:, ::-1],
        3: raw[::-1, ::-1],
        4: raw[::-1],
        5: raw.swapaxes(0, 1),
        6: np.rot90(raw, -1),
        7: raw[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(raw),
    }
    data = hostile.encoded(Image.fromarray(raw), "PNG", exif=hostile.with_orientation(orientation))
    with upright(data) as image:
        np.testing.assert_array_equal(np.asarray(image), turns[orientation])


def test_broken_exif_leaves_the_image_as_it_is() -> None:
    with upright(hostile.good_images()["broken-exif.jpg"]) as image, upright(hostile.good_images()["rgb.jpg"]) as plain:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(plain))


@pytest.mark.parametrize("name", ["animated.png", "animated.webp", "several.jpg"])
def test_the_first_frame_is_taken(name: str) -> None:
    with upright(hostile.good_images()[name]) as image:
        first = np.asarray(image.convert("RGB"), int)
    assert np.abs(first - hostile.pixels()).mean() < 20
    assert np.abs(first - hostile.pixels(seed=1)).mean() > 20


@pytest.mark.parametrize("name", hostile.bad_images())
def test_what_cannot_be_decoded_is_a_value_error_that_says_why(name: str, encoder: Encoder) -> None:
    messages = set()
    for _ in range(2):
        with pytest.raises(ValueError, match=r"\w") as caught:
            encoder.preprocess_image(hostile.bad_images()[name])
        messages.add(str(caught.value))
    assert len(messages) == 1
    assert "object at 0x" not in messages.pop()


@pytest.mark.parametrize("name", ["drawing", "postscript", "stars", "gif", "bitmap", "icon", "pcx", "ppm", "tiff"])
def test_only_three_formats_are_taken_whatever_the_name(name: str) -> None:
    data = next(data for file, data in hostile.bad_images().items() if file.startswith(f"{name}."))
    with pytest.raises(ValueError, match="not one of JPEG, PNG, WEBP"), upright(data):
        pass


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_pillows_limit_holds_from_the_first_pixel_beyond(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between one and two times its limit Pillow only warns."""
    data = hostile.encoded(hostile.rgb(), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 48 * 32)
    with upright(data):
        pass
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 48 * 32 - 1)
    with pytest.raises(ValueError, match=r"1536 pixels\) exceeds limit of 1535 pixels"), upright(data):
        pass


def test_a_failure_of_the_transform_is_one_of_the_image() -> None:
    with pytest.raises(ValueError, match="cannot convert"), upright(hostile.encoded(hostile.rgb(), "PNG")):
        raise RuntimeError("cannot convert")


def test_out_of_memory_is_not_a_fault_of_the_image() -> None:
    with pytest.raises(MemoryError), upright(hostile.encoded(hostile.rgb(), "PNG")):
        raise MemoryError


@pytest.mark.parametrize(("limit", "together"), [(48 * 32, True), (48 * 32 - 1, False)])
def test_large_images_are_decoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch, limit: int, together: bool) -> None:
    monkeypatch.setattr(decoding, "LARGE_PIXELS", limit)
    data, met = hostile.encoded(hostile.rgb(), "PNG"), threading.Barrier(2)

    def decode() -> None:
        with upright(data):
            met.wait(0.5)

    threads = [threading.Thread(target=decode_quietly, args=(decode,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert met.broken is not together


def decode_quietly(decode: Any) -> None:
    with contextlib.suppress(ValueError):  # the barrier was broken: nobody else came
        decode()


def test_only_the_tokens_of_a_long_caption_cost_time(encoder: Encoder) -> None:
    """A word of a megabyte takes its tokenizer days. What cannot become a token changes nothing."""
    letters = "".join(np.random.default_rng(0).choice(list("abcdefgh"), 1 << 20))
    words = [f"a red circle{' ' * 9000}on a {'blue ' * 4000}", f"a red circle on a {'blue ' * 4000}"]
    found = encoder.encode_texts([letters, *words])
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[1], found[2])
    np.testing.assert_array_equal(found[2], encoder.encode_texts([f"a red circle on a {'blue ' * 200}"])[0])
