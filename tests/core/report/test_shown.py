"""Captions and thumbnails of rows, from the files that they came from."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import gaussian, write_jsonl, write_tar, write_vectors
from fakes import FormulaEncoder
from PIL import Image

from nnn_core.embedded.embedding import EmbeddingRequest, embed_shard
from nnn_core.errors import ConfigError
from nnn_core.inputs.listing import describe_shard, list_shards
from nnn_core.inputs.readers import Columns
from nnn_core.inputs.shards import Modality
from nnn_core.report import Shown
from nnn_core.report.shown import check_fields, show_again, show_rows


def jpeg(colour: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (300, 200), colour).save(stream, "JPEG")
    return stream.getvalue()


def request(tmp_path: Path, modality: Modality, encoder: str | None = "e") -> EmbeddingRequest:
    return EmbeddingRequest(modality, Columns(), encoder, str(tmp_path / "work"))


def test_images_of_a_tar_are_shown_small(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {name: {"jpg": jpeg(name), "txt": b"a " + name.encode()} for name in ("red", "blue")})
    shard = describe_shard(str(tmp_path / "a.tar"))
    (blue,) = show_rows(shard, request(tmp_path, "image"), frozenset({"blue", "elsewhere"}))
    assert blue.id == "blue"
    assert blue.image is not None
    with Image.open(io.BytesIO(blue.image)) as picture:
        assert max(picture.size) <= 128
        red, _, most = picture.convert("RGB").getpixel((60, 40))  # type: ignore[misc]
        assert (red < 30, most > 200) == (True, True)
    shown = {one.id: one.text for one in show_rows(shard, request(tmp_path, "text"), frozenset({"red", "blue"}))}
    assert shown == {"red": "a red", "blue": "a blue"}


def test_single_images_are_found_in_their_group(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / f"{name}.jpg").write_bytes(jpeg("green"))
    (name,) = list_shards(str(tmp_path / "*.jpg"), "--candidates")
    shown = list(show_rows(describe_shard(name), request(tmp_path, "image"), frozenset({"two.jpg"})))
    assert [(one.id, one.image is not None) for one in shown] == [("two.jpg", True)]


def test_what_was_embedded_is_shown_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A tar, a group of single images, and captions beside vectors with their metadata in a file of its own."""
    (tmp_path / "images").mkdir()
    for name in ("one", "two", "three"):
        (tmp_path / "images" / f"{name}.jpg").write_bytes(jpeg("green"))
    write_tar(tmp_path / "a.tar", {name: {"jpg": jpeg(name), "txt": b"x"} for name in ("red", "blue")})
    np.save(tmp_path / "img_emb_0.npy", gaussian(2, 4, 1))
    pq.write_table(
        pa.table({"id": ["a", "b"], "n": [1, 2], "caption": ["red shoe", "blue hat"]}), tmp_path / "metadata_0.parquet"
    )
    wanted, again = frozenset({"two.jpg", "blue", "b", "elsewhere"}), {}
    for pattern in ("images/*.jpg", "img_emb_0.npy", "a.tar"):
        (name,) = list_shards(str(tmp_path / pattern), "--candidates")
        asked = request(tmp_path, "image", None if pattern.endswith("npy") else "e")
        model = FormulaEncoder() if asked.encoder else None
        embedded = embed_shard(asked.plan(describe_shard(name)), asked, model)
        again[pattern] = [
            (one.id, one.text, one.image is not None) for one in show_again(embedded, asked, embedded.ids_among(wanted))
        ]
        assert show_again(embedded, asked, embedded.ids_among(frozenset({"elsewhere"}))) == ()
        if pattern == "img_emb_0.npy":
            pair = frozenset({"a", "b"})
            assert [one.text for one in show_again(embedded, asked, pair, ["n", "caption"])] == [
                "1 \u00b7 red shoe",
                "2 \u00b7 blue hat",
            ]
    assert again == {
        "images/*.jpg": [("two.jpg", "", True)],
        "a.tar": [("blue", "", True)],
        "img_emb_0.npy": [("b", "blue hat", False)],
    }
    (tmp_path / "a.tar").unlink()
    assert show_again(embedded, asked, embedded.ids_among(wanted)) == ()
    assert "cannot show 1 of the hubs" in caplog.text


def test_of_vectors_there_is_nothing_to_show(tmp_path: Path) -> None:
    write_vectors(tmp_path, ["a", "b"], gaussian(2, 4, 1), 1)
    shard = describe_shard(str(tmp_path / "part-0.parquet"))
    assert list(show_rows(shard, request(tmp_path, "image", None), frozenset({"a"}))) == []


def test_of_vectors_the_captions_beside_them_are_shown(tmp_path: Path) -> None:
    rows = {"id": ["a", "b"], "vector": gaussian(2, 4, 1).tolist(), "caption": ["red shoe", "blue hat"]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    shard = describe_shard(str(tmp_path / "a.parquet"))
    assert list(show_rows(shard, request(tmp_path, "image", None), frozenset({"b"}))) == [Shown("b", "blue hat")]


def test_columns_are_shown_in_place_of_captions(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = {"id": ["a", "b", "c"], "caption": ["x", "y", "z"], "title": ["red", None, None], "meta": [{"url": "u"}] * 3}
    pq.write_table(pa.table(rows), tmp_path / "texts.parquet")
    pq.write_table(pa.table({**rows, "vector": gaussian(3, 4, 1).tolist()}), tmp_path / "vectors.parquet")
    wanted, fields = frozenset({"a", "b"}), ["title", "meta.url"]
    cases: list[tuple[str, str | None, Modality]] = [("texts", "e", "text"), ("vectors", None, "image")]
    for name, encoder, modality in cases:
        shard, asked = describe_shard(str(tmp_path / f"{name}.parquet")), request(tmp_path, modality, encoder)
        assert list(show_rows(shard, asked, wanted, fields)) == [Shown("a", "red · u"), Shown("b", "u")]
        # A file that was not looked at before the work costs its own words, and not the work.
        assert list(show_rows(shard, asked, wanted, ["link"])) == [Shown("a", "x"), Shown("b", "y")]
        assert "cannot show link of 2 rows" in caplog.text
        caplog.clear()


def test_columns_that_cannot_be_shown_are_told_of_before_the_work(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "title": ["x"], "raw": [b"x"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"id": ["b"], "titel": ["x"]}), tmp_path / "b.parquet")
    write_tar(tmp_path / "c.tar", {"red": {"jpg": jpeg("red")}})
    uris = [str(tmp_path / name) for name in ("a.parquet", "b.parquet", "c.tar")]
    check_fields(uris[:1], Columns(), ["title"])
    check_fields(uris, Columns(), [])
    after = "Nothing was computed. Correct --show, or leave it out."
    for named, field, told in (
        (uris[:2], "title", f"{uris[1]!r} has no column 'title'; it has: id, titel. {after}"),
        (uris[:1], "raw", f"{uris[0]!r}: column 'raw' is of type binary, which cannot be written as JSON. {after}"),
        (uris[2:], "title", f"{uris[2]!r} has no further columns. Leave --show out, or write"),
    ):
        with pytest.raises(ConfigError, match=re.escape(told)):
            check_fields(named, Columns(), [field])
    with pytest.raises(ConfigError, match="--id-column @row is not a column"):
        check_fields(uris[:1], Columns(id="@row"), ["title"])


def test_an_address_stays_one_and_whole(tmp_path: Path) -> None:
    """What would end it on the page is written as browsers write it; only what is too long for any of them is cut."""
    long = "https://shop.example/" + "x" * 1900
    addresses = ['https://shop.example/o\'a "b" <c>', long, long * 2, "javascript:alert(1)", "see " + "y" * 600]
    rows = {"id": list("abcde"), "url": addresses, "vector": gaussian(5, 4, 1).tolist()}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    shard = describe_shard(str(tmp_path / "a.parquet"))
    shown = [one.text for one in show_rows(shard, request(tmp_path, "image", None), frozenset("abcde"), ["url"])]
    assert shown[:4] == [
        "https://shop.example/o%27a%20%22b%22%20%3Cc%3E",
        long,
        f"{long * 2:.1999}\u2026",
        "javascript:alert(1)",
    ]
    assert shown[4] == f"{addresses[4]:.499}\u2026"


def test_reading_stops_when_all_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"id": f"t{row}", "caption": f"text {row}"} for row in range(500)])
    shard = describe_shard(str(tmp_path / "a.jsonl"))
    batches = []
    from nnn_core.report import shown as module

    read = module.read_rows

    def counted(*arguments: object):  # type: ignore[no-untyped-def]
        for rows in read(*arguments):  # type: ignore[arg-type]
            batches.append(len(rows.ids))
            yield rows

    monkeypatch.setattr(module, "read_rows", counted)
    (first,) = show_rows(shard, request(tmp_path, "text"), frozenset({"t3"}))
    assert (first.id, first.text, len(batches)) == ("t3", "text 3", 1)
    assert list(show_rows(shard, request(tmp_path, "text"), frozenset())) == []


def test_rows_are_looked_up_in_what_a_file_became(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"id": f"t{row}", "caption": f"text {row}"} for row in range(20)])
    asked = request(tmp_path, "text")
    embedded = embed_shard(asked.plan(describe_shard(str(tmp_path / "a.jsonl"))), asked, FormulaEncoder())
    assert embedded.ids_among(frozenset({"t3", "t19", "t20"})) == {"t3", "t19"}
