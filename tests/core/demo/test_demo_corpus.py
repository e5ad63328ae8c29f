"""The demo corpus: the same bytes every time, and captions that are true exactly where it says so."""

from __future__ import annotations

import io
import itertools
import json
import re
import tarfile
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from nnn_core.demo import _scenes as scenes
from nnn_core.demo.corpus import _make_queries, _reference_captions, corpus_files

SMALL: dict[str, int] = {
    "images": 150,
    "image_shards": 4,
    "references": 400,
    "reference_shards": 3,
    "queries": 120,
    "seed": 3,
}


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return dict(corpus_files(**SMALL))


@pytest.fixture(scope="module")
def samples(files: dict[str, bytes]) -> dict[str, dict[str, Any]]:
    """The JSON of every candidate, by key, with its decoded image under ``image``."""
    found: dict[str, dict[str, Any]] = {}
    for name in sorted(files):
        if name.endswith(".tar"):
            for member, content in _members(files[name]):
                key, _, suffix = member.name.partition(".")
                sample = found.setdefault(key, {})
                if suffix == "json":
                    sample.update(json.loads(content))
                else:
                    sample["image"] = Image.open(io.BytesIO(content))
    return found


def _members(tar: bytes) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as archive:
        for member in archive:
            reader = archive.extractfile(member)
            assert reader is not None
            yield member, reader.read()


def _images(files: dict[str, bytes]) -> set[bytes]:
    tars = [content for name, content in files.items() if name.endswith(".tar")]
    return {content for tar in tars for member, content in _members(tar) if member.name.endswith(".jpg")}


def _table(files: dict[str, bytes], folder: str) -> list[dict[str, Any]]:
    names = sorted(name for name in files if name.startswith(f"{folder}/"))
    return [row for name in names for row in pq.read_table(io.BytesIO(files[name])).to_pylist()]


# --- files --------------------------------------------------------------------------------------


def test_same_arguments_give_the_same_bytes(files: dict[str, bytes]) -> None:
    assert dict(corpus_files(**SMALL)) == files


def test_another_seed_gives_other_files(files: dict[str, bytes]) -> None:
    other = dict(corpus_files(**{**SMALL, "seed": 4}))
    assert other.keys() == files.keys()
    assert not [name for name in files if other[name] == files[name]]
    assert _images(other).isdisjoint(_images(files))


def test_shards_hold_all_rows_once(files: dict[str, bytes], samples: dict[str, dict[str, Any]]) -> None:
    assert sorted(files) == [
        *(f"candidates/{number:05}.tar" for number in range(4)),
        "queries/00000.parquet",
        *(f"references/{number:05}.parquet" for number in range(3)),
    ]
    assert list(samples) == [f"img-{index:06}" for index in range(SMALL["images"])]
    for folder, prefix in (("references", "ref"), ("queries", "query")):
        ids = [row["id"] for row in _table(files, folder)]
        assert ids == [f"{prefix}-{index:06}" for index in range(SMALL[folder])]


def test_tar_headers_tell_nothing_of_when_and_where(files: dict[str, bytes]) -> None:
    tar = files["candidates/00000.tar"]
    headers = {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m, _ in _members(tar)}
    assert headers == {(0, 0, 0, "", "", 0o644)}


def test_images_decode(samples: dict[str, dict[str, Any]]) -> None:
    kinds = {(s["image"].format, s["image"].mode, s["image"].size) for s in samples.values()}
    assert kinds == {("JPEG", "RGB", (64, 64))}
    assert len({s["image"].tobytes() for s in samples.values()}) == SMALL["images"]


@pytest.mark.parametrize("name", ["images", "image_shards", "references", "reference_shards", "queries"])
def test_counts_below_one_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        next(corpus_files(**{**SMALL, name: 0}))


def test_a_pool_too_small_for_the_queries_is_refused() -> None:
    pool = [scenes.scene("candidates", 0, 0)]
    with pytest.raises(ValueError, match=r"1 images gave only \d+ different captions"):
        _make_queries(pool, frozenset(), 10_000, 0)


# --- queries and bank ---------------------------------------------------------------------------


def test_no_query_is_in_the_bank(files: dict[str, bytes]) -> None:
    bank = {row["caption"] for row in _table(files, "references")}
    queries = [row["caption"] for row in _table(files, "queries")]
    assert len(set(queries)) == len(queries) == SMALL["queries"]
    assert bank.isdisjoint(queries)


def test_a_caption_in_the_bank_is_never_drawn_as_a_query() -> None:
    pool = [scenes.scene("candidates", 0, index) for index in range(20)]
    free = [query.caption for query in _make_queries(pool, frozenset(), 40, 0)]
    banned = frozenset(free[::2])
    again = {query.caption for query in _make_queries(pool, banned, 40, 0)}
    assert banned.isdisjoint(again)
    assert again & set(free[1::2])


def test_vague_captions_repeat_in_the_bank() -> None:
    bank = _reference_captions(1500, 0)
    assert 0.6 < len(set(bank)) / len(bank) < 0.95


def test_relevant_is_what_the_words_say(files: dict[str, bytes], samples: dict[str, dict[str, Any]]) -> None:
    """The oracle reads the caption's words and the candidates' JSON, and tries every assignment."""
    several = 0
    for row in _table(files, "queries"):
        expected = [key for key, sample in samples.items() if _true_of(row["caption"], sample)]
        assert row["relevant"] == expected, row["caption"]
        assert expected
        several += len(expected) > 1
    assert several > 5


def test_captions_are_true_of_their_own_image(samples: dict[str, dict[str, Any]]) -> None:
    for sample in samples.values():
        assert len(sample["caption"]) == 5
        assert all(_true_of(caption, sample) for caption in sample["caption"])


def test_captions_are_false_of_most_other_images(samples: dict[str, dict[str, Any]]) -> None:
    """So that the oracle itself cannot simply say yes."""
    full = [sample["caption"][-1] for sample in samples.values()]
    true = sum(_true_of(caption, sample) for caption in full for sample in samples.values())
    assert true < 0.02 * len(full) * len(samples)


# --- scenes -------------------------------------------------------------------------------------


def test_no_composition_is_in_two_splits() -> None:
    """Whatever the seeds: training scenes of any seed are new to the encoder in any corpus."""
    shown: dict[scenes.Split, set[str]] = {"candidates": set(), "references": set(), "training": set()}
    for split, compositions in shown.items():
        for seed, index in itertools.product(range(3), range(300)):
            drawn = scenes.scene(split, seed, index)
            assert scenes.split_of(drawn) == split
            compositions.add(f"{drawn.background} {sorted(map(repr, drawn.items))}")
    for one, other in itertools.combinations(shown.values(), 2):
        assert one.isdisjoint(other)


def test_split_looks_only_at_what_is_shown() -> None:
    drawn = next(s for i in range(50) if len((s := scenes.scene("training", 0, i)).items) > 1)
    same = scenes.Scene(drawn.background, drawn.items[::-1], drawn.jitter + 1)
    assert scenes.split_of(same) == "training"


def test_every_object_leaves_a_mark() -> None:
    """Each kind, texture and size is drawn, and no two kinds or textures look alike."""
    looks = {
        (kind, texture, size): _single(kind, texture, size)
        for kind, texture, size in itertools.product(scenes.KINDS, scenes.TEXTURES, scenes.SIZES)
    }
    assert len(set(looks.values())) == len(looks)
    assert _single("circle", "solid", "large") == _single("circle", "solid", "large")


def _single(kind: str, texture: str, size: str) -> bytes:
    item = scenes.Item(kind, "red", texture, size, 1, 1)
    return scenes.render(scenes.Scene("white", (item,), jitter=7)).tobytes()


def test_an_object_is_in_its_cell() -> None:
    for row, column in itertools.product(range(3), repeat=2):
        item = scenes.Item("circle", "black", "solid", "medium", row, column)
        image = scenes.render(scenes.Scene("white", (item,), jitter=1)).convert("L")
        left, top, right, bottom = image.point(lambda value: 255 * (value < 90)).getbbox() or (0, 0, 0, 0)
        assert [(top + bottom) // 2 * 3 // 64, (left + right) // 2 * 3 // 64] == [row, column]


def test_count_and_background_must_hold() -> None:
    red = scenes.Item("circle", "red", "solid", "large", 0, 0)
    shown = scenes.Scene("white", (red,), 0)
    assert scenes.matches(scenes.Description(count=1, background="white"), shown)
    assert not scenes.matches(scenes.Description(count=2), shown)
    assert not scenes.matches(scenes.Description(background="black"), shown)


def test_two_mentions_need_two_objects() -> None:
    red = scenes.Item("circle", "red", "solid", "large", 0, 0)
    blue = scenes.Item("circle", "blue", "solid", "large", 2, 2)
    circle = scenes.Mention("circle")
    twice = scenes.Description((circle, scenes.Mention("circle", "red")))
    assert scenes.matches(twice, scenes.Scene("white", (red, blue), 0))
    assert not scenes.matches(twice, scenes.Scene("white", (red,), 0))
    assert not scenes.matches(twice, scenes.Scene("white", (blue, blue), 0))


# --- an oracle that knows only words ------------------------------------------------------------

_MEANING = {
    "disc": "circle",
    "rhombus": "diamond",
    "violet": "purple",
    "teal": "turquoise",
    "hollow": "outlined",
}
_OPENING = re.compile(r"^(a picture of|an image of|a drawing of|a view of|this shows) ")
_BACKGROUND = re.compile(r" (?:on a (\w+) background|over a (\w+) backdrop|in front of a (\w+) wall)$")
_COUNT = re.compile(r"^(one|two|three) shapes?(?:, among them )?")


def _true_of(caption: str, sample: dict[str, Any]) -> bool:
    text = _OPENING.sub("", caption)
    if found := _BACKGROUND.search(text):
        if sample["background"] not in found.groups():
            return False
        text = text[: found.start()]
    if found := _COUNT.match(text):
        if len(sample["objects"]) != ("one", "two", "three").index(found[1]) + 1:
            return False
        text = text[found.end() :]
    phrases = re.split(r", | and ", text.removeprefix("only ")) if text else []
    if text.startswith("only ") and len(phrases) != len(sample["objects"]):
        return False
    choices = itertools.permutations(sample["objects"], len(phrases))
    return any(all(map(_phrase_true_of, phrases, choice)) for choice in choices)


def _phrase_true_of(phrase: str, item: dict[str, Any]) -> bool:
    thing, _, place = phrase.partition(" in the ") if " in the " in phrase else _partition_place(phrase)
    known = {item["size"], item["texture"], item["colour"], item["kind"], "shape"}
    words = [_MEANING.get(word, word) for word in thing.split()[1:]]
    sides = {("top", "middle", "bottom")[item["row"]], ("left", "middle", "right")[item["column"]]}
    named = set(place.removesuffix(" corner").split())
    in_place = sides == {"middle"} if named == {"middle"} else named <= sides
    return known.issuperset(words) and in_place


def _partition_place(phrase: str) -> tuple[str, str, str]:
    return phrase.partition(" on the ") if " on the " in phrase else phrase.partition(" at the ")
