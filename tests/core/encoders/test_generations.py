"""A library changes and the weights stay: vectors of before and after never meet."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FormulaEncoder

from nnn_core.encoders import Encoder, EncoderSource, Fingerprint, generations, load_once
from nnn_core.encoders.fingerprints import PROBES, differing
from nnn_core.encoders.generations import SettledSource, _Generation, digest_of, settle
from nnn_core.encoders.probes import recorded
from nnn_core.errors import CorruptArtifactError, InputError

FINGERPRINT = Fingerprint("w", "a", "p", "t")


class _Turned(FormulaEncoder):
    """Vectors that are turned by so much, as another library might."""

    def __init__(self, angle: float) -> None:
        super().__init__(8)
        self._angle = angle

    def encode_texts(self, texts: Any) -> Any:
        return super().encode_texts(texts) + np.float32(self._angle) * 300

    def encode_images(self, images: Any) -> Any:
        return super().encode_images(images) + np.float32(self._angle) * 300


@dataclass(frozen=True)
class Source:
    """An encoder under libraries that turn its vectors."""

    angle: float
    loadable: bool = True

    fingerprint = FINGERPRINT

    def load(self) -> Encoder:
        assert self.loadable, "no model is needed for that"
        return _Turned(self.angle)  # type: ignore[return-value]


Libraries = Callable[[str], None]


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> Libraries:
    """Have other libraries, in what counts as a process of its own."""

    def change(version: str) -> None:
        monkeypatch.setattr(generations, "_libraries", lambda: {"torch": version})
        generations._check_vectors.cache_clear()
        generations._measured.cache_clear()

    change("1")
    return change


def work_with(source: EncoderSource, work: Path, *modalities: Any) -> SettledSource:
    """What a refresh does that embeds something."""
    settled = settle(source, str(work), modalities or ("text",))
    for each in settled.generations:
        settled.check_vectors(each.modality)
    return settled


def test_first_vectors_have_the_name_of_the_fingerprint(tmp_path: Path, libraries: Libraries) -> None:
    settled = settle(Source(0.0, loadable=False), str(tmp_path), ("text", "image"))
    assert (
        digest_of(settled, "text")
        == digest_of(settled, "image")
        == FINGERPRINT.digest
        == digest_of(settled.bare, "text")
    )
    assert not list(tmp_path.iterdir())


def test_libraries_that_give_the_same_vectors_change_nothing(tmp_path: Path, libraries: Libraries) -> None:
    first = work_with(Source(0.0), tmp_path)
    libraries("2")
    second = settle(Source(1e-6), str(tmp_path), ("text",))
    assert [each.digest for each in second.generations] == [each.digest for each in first.generations]
    generations._measured.cache_clear()
    assert settle(Source(0.0, loadable=False), str(tmp_path), ("text",)).generations == first.generations


def test_other_vectors_are_another_encoder(
    tmp_path: Path, libraries: Libraries, caplog: pytest.LogCaptureFixture
) -> None:
    first = work_with(Source(0.0), tmp_path)
    before = recorded(first, work=str(tmp_path), modalities=("text",))
    libraries("2")
    with caplog.at_level(logging.WARNING):
        second = work_with(Source(0.1), tmp_path)
    assert "because a library changed" in caplog.text
    assert digest_of(second, "text") != digest_of(first, "text")
    after = recorded(second, work=str(tmp_path), modalities=("text",))
    assert differing(before, after) == (PROBES,)
    # Going back finds what was there, and so does going on, without a model.
    for version, expected in (("1", first), ("2", second)):
        libraries(version)
        assert settle(Source(0.0, loadable=False), str(tmp_path), ("text",)).generations == expected.generations
    libraries("3")
    assert settle(Source(0.1), str(tmp_path), ("text",)).generations == second.generations
    libraries("4")
    assert settle(Source(0.3), str(tmp_path), ("text",)).generations == (_Generation.of(FINGERPRINT, "text", 2),)


def test_a_process_with_other_libraries_than_the_others_stores_nothing(tmp_path: Path, libraries: Libraries) -> None:
    work_with(Source(0.0), tmp_path)
    libraries("1")
    settled = settle(Source(0.2), str(tmp_path), ("text",))  # the same versions, and other vectors all the same
    for _ in range(2):
        with pytest.raises(
            InputError, match=r"text vectors in this process differ .*\(here torch 1\).* delete '(.*)'"
        ) as e:
            settled.check_vectors("text")
    Path(str(e.value).split("delete '")[1].split("'")[0]).unlink()
    assert work_with(Source(0.2), tmp_path).generations == (_Generation.of(FINGERPRINT, "text", 1),)


def test_two_jobs_with_new_libraries_each_agree_on_one(tmp_path: Path, libraries: Libraries) -> None:
    work_with(Source(0.0), tmp_path)
    libraries("2")
    one = settle(Source(0.2), str(tmp_path), ("text",))
    libraries("3")
    other = settle(Source(0.4), str(tmp_path), ("text",))
    other.check_vectors("text")
    libraries("2")
    with pytest.raises(InputError, match="text vectors in this process differ"):
        one.check_vectors("text")
    assert work_with(Source(0.2), tmp_path).generations == (_Generation.of(FINGERPRINT, "text", 2),)


def test_a_look_ahead_leaves_nothing(tmp_path: Path, libraries: Libraries) -> None:
    work_with(Source(0.0), tmp_path)
    names = set(tmp_path.rglob("*"))
    libraries("2")
    for angle in (0.0, 0.5):
        generations._measured.cache_clear()
        settle(Source(angle), str(tmp_path), ("text",), remember=False)
    assert set(tmp_path.rglob("*")) == names


def test_damaged_records_are_named(tmp_path: Path, libraries: Libraries) -> None:
    work_with(Source(0.0), tmp_path)
    for path in (tmp_path / "probes").glob("*.json"):
        path.write_text("{")
    with pytest.raises(CorruptArtifactError, match="-lib-"):
        settle(Source(0.0), str(tmp_path), ("text",))
    libraries("2")
    with pytest.raises(CorruptArtifactError, match=r"-000\.json"):
        settle(Source(0.0), str(tmp_path), ("text",))


def test_the_model_of_a_settled_source_is_that_of_the_bare_one(tmp_path: Path) -> None:
    bare = Source(0.7)
    assert load_once(settle(bare, str(tmp_path), ("text",))) is load_once(bare)
