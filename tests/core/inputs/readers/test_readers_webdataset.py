"""webdataset tars: every sample is a row or a reject, and a broken archive is never a short one."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import hostile
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import Everything, make_tar, packed, read_all
from hypothesis import given
from hypothesis import strategies as st

from nnn_core.errors import InputError
from nnn_core.inputs.listing import describe_shard, list_shards
from nnn_core.inputs.readers import Columns, read_rows
from nnn_core.inputs.readers import _rows as reader_rows
from nnn_core.inputs.readers import _webdataset as webdataset
from nnn_core.inputs.readers._webdataset import split_name
from nnn_core.inputs.shards import InputShard

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shard.tar"


def read_tar(path: Path, members: list[tuple[str, bytes]], modality: str = "text", **columns: object) -> Everything:
    path.write_bytes(make_tar(members))
    return read_all(path, modality, **columns)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("000.jpg", ("000", "jpg")),
        ("dir/000.seg.PNG", ("dir/000", "seg.png")),
        ("a.b/c.d.e", ("a.b/c", "d.e")),
        ("./x.txt", ("./x", "txt")),
        ("plain", ("plain", "")),
        ("dir/.hidden", ("dir/", "hidden")),
    ],
)
def test_split_name(name: str, parts: tuple[str, str]) -> None:
    assert split_name(name) == parts


@pytest.mark.parametrize("format", FORMATS)
def test_images_keep_order_and_bytes(path: Path, format: int) -> None:
    long = "deep/" * 30 + "x" * 90
    members = [
        (f"{key}.{suffix}", key.encode() * 700) for key, suffix in zip("cab", ("jpg", "png", "webp"), strict=True)
    ]
    members += [(f"{long}.JPEG", b""), ("é.jpg", b"1")]
    path.write_bytes(make_tar(members if format != tarfile.USTAR_FORMAT else members[:3], format))
    found = read_all(path, "image")
    wanted = members if format != tarfile.USTAR_FORMAT else members[:3]
    assert found.ids == found.pair_ids == [name.rpartition(".")[0] for name, _ in wanted]
    assert found.items == [data for _, data in wanted]
    assert found.rejects == []


def test_members_of_one_key_are_one_sample(path: Path) -> None:
    members = [("a.txt", b"an a"), ("a.jpg", b"A"), ("a.json", b"{}"), ("b.jpg", b"B"), ("b.txt", b"a b")]
    assert read_tar(path, members, "image").ids == ["a", "b"]
    assert read_tar(path, members, "text").items == ["an a", "a b"]


def test_a_suffix_that_comes_again_starts_another_sample(path: Path) -> None:
    found = read_tar(path, [("a.jpg", b"1"), ("a.jpg", b"2"), ("b.jpg", b"3"), ("a.jpg", b"4")], "image")
    assert (found.ids, found.items) == (["a", "a", "b", "a"], [b"1", b"2", b"3", b"4"])


def test_image_rejects(path: Path) -> None:
    members = [("a.txt", b"no image"), ("b.jpg", b"1"), ("b.png", b"2"), ("b.seg.png", b"3"), ("c.gif", b"4")]
    found = read_tar(path, members, "image")
    assert (found.ids, found.items) == (["b"], [b"1"])
    assert found.reasons == [
        ("a", "no image"),
        ("b.png", "a second image under one key"),
        ("b.seg.png", "a second image under one key"),
        ("c", "no image"),
    ]
    assert "'jpg' was used" in found.rejects[1].detail
    assert found.rejects[0].detail == "the sample holds only: txt"


@pytest.mark.parametrize("names", [["depth.png", "jpg"], ["jpg", "depth.png"], ["a.b.webp", "depth.png", "jpg"]])
def test_the_image_without_a_further_dot_is_taken(path: Path, names: list[str]) -> None:
    found = read_tar(path, [(f"k1.{name}", name.encode()) for name in names], "image")
    assert (found.ids, found.items) == (["k1"], [b"jpg"])
    others = [f"k1.{name}" for name in names if name != "jpg"]
    assert found.reasons == [(name, "a second image under one key") for name in others]


def test_the_image_that_is_named_is_taken(path: Path) -> None:
    members = [("a.left.jpg", b"1"), ("a.right.jpg", b"2"), ("b.left.jpg", b"3"), ("b.cls", b"4")]
    found = read_tar(path, members, "image", image="right.jpg")
    assert (found.ids, found.items, found.reasons) == (["a"], [b"2"], [("b", "no image")])
    assert found.rejects[0].detail == "it has no member 'right.jpg'; the sample holds only: left.jpg, cls"
    found = read_tar(path, [("a.img", b"1"), ("a.jpg", b"2")], "image", image="img")
    assert (found.ids, found.items) == (["a"], [b"1"])
    found = read_tar(path, members[1:2], "image", image="photo", inherited=("image",))
    assert found.items == [b"2"]


def test_the_caption_that_is_named_is_a_field_or_a_member(path: Path) -> None:
    members = [
        ("a.cap", b" one "),
        ("a.txt", b"two"),
        ("b.json", b'{"cap": "three"}'),
        ("b.cap", b"four"),
        ("c.txt", b"x"),
    ]
    found = read_tar(path, members, "text", caption="cap")
    assert (found.ids, found.items) == (["a", "b"], ["one", "three"])
    assert found.reasons == [("c", "no caption")]


def test_an_image_with_a_further_dot_is_better_than_none(path: Path) -> None:
    found = read_tar(path, [("k1.depth.png", b"1"), ("k1.full.png", b"2")], "image")
    assert (found.items, found.reasons) == ([b"1"], [("k1.full.png", "a second image under one key")])


def test_a_byte_order_mark_is_no_part_of_a_caption(path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    found = read_tar(path, [("a.txt", mark + b"cat"), ("b.json", mark + b'{"caption": "dog"}'), ("c.txt", mark)])
    assert (found.items, found.reasons) == (["cat", "dog"], [("c", "empty caption")])


def test_caption_rejects(path: Path) -> None:
    deep = b"[" * 100_000
    members = [
        ("a.txt", b" good \n"),
        ("b.txt", b"\xff\xfe"),
        ("c.json", b"\xff"),
        ("d.json", b"{"),
        ("e.json", b'{"title": "x"}'),
        ("f.json", b'["caption"]'),
        ("g.jpg", b"1"),
        ("h.txt", b" \n"),
        ("i.json", b'{"caption": null}'),
        ("j.json", b'{"caption": 7}'),
        ("k.json", b'{"caption": []}'),
        ("l.json", b'{"caption": "\\ud800"}'),
        ("m.json", deep),
        ("n.json", b'{"caption": ""}'),
    ]
    found = read_tar(path, members)
    assert (found.ids, found.items) == (["a"], ["good"])
    assert found.reasons == [
        ("b", "not UTF-8"),
        ("c", "not UTF-8"),
        ("d", "malformed JSON"),
        ("e", "no caption"),
        ("f", "no caption"),
        ("g", "no caption"),
        ("h", "empty caption"),
        ("i", "no caption"),
        ("j", "no caption"),
        ("k", "no caption"),
        ("'l'", "not UTF-8"),
        ("m", "malformed JSON"),
        ("n", "empty caption"),
    ]
    details = {reject.id: reject.detail for reject in found.rejects}
    assert details["e"] == "the JSON has no field 'caption'"
    assert details["g"] == "the sample holds only: jpg"
    assert details["j"] == "the caption is of type int"


def test_json_lists_of_captions(path: Path) -> None:
    record = {"caption": ["one", "", "three", None], "image": 17}
    found = read_tar(path, [("x.json", json.dumps(record).encode())])
    assert (found.ids, found.pair_ids, found.items) == (["x#0", "x#2"], ["x", "x"], ["one", "three"])
    assert found.reasons == [("x#1", "empty caption"), ("x#3", "no caption")]
    assert read_tar(path, [("x.json", json.dumps(record).encode())], pair_id="image").pair_ids == ["17", "17"]


@pytest.mark.parametrize(("suffix", "modality"), [("jpg", "image"), ("txt", "text"), ("cls", "text")])
def test_a_named_pair_field_is_read_from_the_json(path: Path, suffix: str, modality: str) -> None:
    records = [{"image": 17}, {"image": None}, {}, {"image": [1]}]
    members = [
        member
        for key, record in zip("abcd", records, strict=True)
        for member in ((f"{key}.{suffix}", b"x"), (f"{key}.json", json.dumps({**record, "caption": "x"}).encode()))
    ]
    found = read_tar(path, [*members, (f"e.{suffix}", b"x")], modality, pair_id="image")
    lone = ["e"] if suffix != "cls" else []
    assert (found.ids, found.pair_ids) == ([*"abc", *lone], ["17", "", "", *("" for _ in lone)])
    assert found.reasons[0] == ("d", "pair id is not text")


@pytest.mark.parametrize(("suffix", "modality"), [("jpg", "image"), ("txt", "text"), ("json", "text")])
def test_a_pair_field_that_no_sample_has_is_an_error(path: Path, suffix: str, modality: str) -> None:
    members = [(f"{key}.{suffix}", b'{"caption": "x"}') for key in "ab"]
    with pytest.raises(InputError, match=r"none of its 2 records has a field 'imgae' \(--pair-id-column\)"):
        read_tar(path, members, modality, pair_id="imgae")


@pytest.mark.parametrize("name", [".jpg", "dir/.name.jpg", ".cache/a.jpg"])
def test_hidden_members_are_no_samples(path: Path, name: str) -> None:
    found = read_tar(path, [(name, b"1"), ("./a.jpg", b"2"), ("../b.jpg", b"3")], "image")
    assert (found.ids, found.reasons, found.left_out) == (["./a", "../b"], [], {"hidden": 1})


@pytest.mark.parametrize("modality", ["image", "text"])
def test_what_macos_adds_does_not_part_a_sample(tmp_path: Path, modality: Any) -> None:
    """A folder as macOS leaves it on other disks, packed by tar in the order of the archives that people have."""
    names = ["dir/k.jpg", "dir/k.txt", "dir/l.jpg", "dir/l.txt"]
    beside = [f"dir/._{Path(name).name}" for name in names]
    more = ["__MACOSX/dir/._k.jpg", "PaxHeaders.17/k.jpg", "dir/.DS_Store"]
    for name in names + beside + more:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X" if name not in names else name.encode())
    order = [name for pair in zip(beside, names, strict=True) for name in pair] + more
    subprocess.run(["tar", "-cf", "s.tar", *order], cwd=tmp_path, check=True)
    found = read_all(tmp_path / "s.tar", modality)
    assert (found.ids, found.pair_ids, found.rejects) == (["dir/k", "dir/l"], ["dir/k", "dir/l"], [])
    assert found.left_out == {"attributes of a file on macOS": 5, "headers of PAX as a file": 1, "hidden": 1}


def test_a_named_field_comes_before_the_text_file(path: Path) -> None:
    members = [("a.txt", b"text"), ("a.json", b'{"caption": "json", "title": "title"}'), ("b.txt", b"text")]
    assert read_tar(path, members).items == ["text", "text"]
    found = read_tar(path, members, caption="title")
    assert found.items == ["title"]
    assert found.reasons == [("b", "no caption")]


def test_broken_names_are_rejected(path: Path) -> None:
    """Bytes of a name that are not UTF-8 cannot be an id."""
    broken = b"caf\xe9".decode("utf-8", "surrogateescape")
    found = read_tar(path, [(f"{broken}.jpg", b"1"), ("fine.jpg", b"2"), (f"{broken}.txt", b"3")], "image")
    assert found.ids == ["fine"]
    assert found.reasons == [(r"'caf\udce9'", "not UTF-8"), (broken, "no image")]


def test_folders_are_skipped_and_links_are_rejects(path: Path) -> None:
    """A link has no content of its own: an image or a caption that would just be missing."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, kind in (("dir", tarfile.DIRTYPE), ("link.jpg", tarfile.SYMTYPE), ("hard.jpg", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        info = tarfile.TarInfo("real.jpg")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"123"))
    path.write_bytes(sink.getvalue())
    found = read_all(path, "image")
    assert (found.ids, found.items) == (["real"], [b"123"])
    assert found.reasons == [("link.jpg", "a link in the tar"), ("hard.jpg", "a link in the tar")]
    assert found.rejects[0].detail == (
        "it links to '/etc/passwd'; pack the files with tar --dereference --hard-dereference"
    )


@pytest.mark.parametrize("limit", ["rows", "bytes"])
def test_batches_are_bounded(path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(reader_rows, "BATCH_ROWS" if limit == "rows" else "BATCH_BYTES", 7)
    members = [(f"{number}.{'jpg' if number % 5 else 'gif'}", b"1234") for number in range(40)]
    whole = read_tar(path, members, "image")
    assert len(whole.ids) + len(whole.rejects) == 40
    batches = list(read_rows(describe_shard(str(path)), "image", Columns()))
    sizes = [len(batch.ids) + len(batch.rejects) for batch in batches]
    assert max(sizes) <= 7
    assert len(sizes) > 5
    assert [name for batch in batches for name in batch.ids] == whole.ids


def test_numbered_members_are_rows_of_their_own(path: Path) -> None:
    members = [("k.0.jpg", b"0"), ("k.1.PNG", b"1"), ("k.0.txt", b"zero"), ("k.10.txt", b"ten"), ("l.jpg", b"L")]
    found = read_tar(path, members, "image")
    assert (found.ids, found.pair_ids, found.items) == (["k.0", "k.1", "l"], ["k", "k", "l"], [b"0", b"1", b"L"])
    assert found.rejects == []
    found = read_tar(path, members, "text")
    assert (found.ids, found.pair_ids, found.items) == (["k.0", "k.10"], ["k", "k"], ["zero", "ten"])
    assert found.reasons == [("l", "no caption")]


def test_of_numbered_and_other_images_none_is_lost(path: Path) -> None:
    names = ["depth.png", "1.jpg", "1.png", "jpg", "webp", "0.png", "1.2.jpg", "x1.jpg"]
    found = read_tar(path, [(f"k.{name}", name.encode()) for name in names], "image")
    assert found.ids == ["k", "k.1", "k.0"]
    assert found.items == [b"jpg", b"1.jpg", b"0.png"]
    rejected = ["k.webp", "k.depth.png", "k.1.png", "k.1.2.jpg", "k.x1.jpg"]
    assert found.reasons == [(name, "a second image under one key") for name in rejected]


def test_numbered_images_come_before_one_of_another_name(path: Path) -> None:
    found = read_tar(path, [("k.depth.png", b"d"), ("k.3.jpg", b"3")], "image")
    assert (found.ids, found.reasons) == (["k.3"], [("k.depth.png", "a second image under one key")])


RECORD = {
    "meta": {"caption": "a cat", "id": 7, "a.b": "dotted"},
    "meta.caption": "literal",
    "captions": [{"text": "one"}, {"text": "two"}, {"no": "text"}],
    "lines": ["x", "y"],
}


@pytest.mark.parametrize(
    ("field", "captions"),
    [
        ("meta.caption", ["literal"]),
        ("meta.a.b", ["dotted"]),
        ("captions.0.text", ["one"]),
        ("captions.text", ["one", "two"]),
        ("lines.1", ["y"]),
        ("lines", ["x", "y"]),
        ("lines.2", []),
        ("lines.-1", []),
        ("meta.id", []),
        ("meta.caption.more", []),
        ("lines.1.more", []),
        ("captions.²", []),
    ],
)
def test_captions_by_path(path: Path, field: str, captions: list[str]) -> None:
    found = read_tar(path, [("k.json", json.dumps(RECORD).encode())], caption=field)
    assert found.items == captions
    assert len(found.items) + len(found.rejects) in (1, 2, 3)
    assert bool(captions) or found.reasons[0][1] == "no caption"


def test_ids_by_path(path: Path) -> None:
    records = [{"meta": {"url": "u1"}}, {"meta": {"url": 2}}, {"meta": {"url": None}}, {}, {"meta": {"url": ["x"]}}]
    members = [(f"k{number}.json", json.dumps(record).encode()) for number, record in enumerate(records)]
    members += [(f"k{number}.0.jpg", b"x") for number in range(5)]
    found = read_tar(path, sorted(members), "image", id="meta.url")
    assert (found.ids, found.pair_ids) == (["u1.0", "2.0"], ["k0", "k1"])
    assert found.reasons == [(f"k{number}.0", "no id") for number in (2, 3, 4)]
    bank = read_tar(path, sorted(members), "image", id="meta.url", require_id=False)
    assert bank.ids == ["u1.0", "2.0", "k2.0", "k3.0", "k4.0"]
    inherited = read_tar(path, [("k.jpg", b"x")], "image", id="meta.url", inherited=("id",))
    assert inherited.ids == ["k"]


def write_metadata(path: Path, columns: dict[str, object]) -> None:
    pq.write_table(pa.table(columns), path.with_suffix(".parquet"))


def test_fields_are_looked_up_in_the_table_beside_the_tar(path: Path) -> None:
    write_metadata(path, {"key": ["a", "b", "c"], "url": ["ua", "ub", None], "caption": ["ca", "cb", "cc"]})
    members = [("a.jpg", b"1"), ("a.json", b'{"url": "own"}'), ("b.jpg", b"2"), ("c.jpg", b"3"), ("d.jpg", b"4")]
    found = read_tar(path, members, "image", id="url", pair_id="url")
    assert (found.ids, found.pair_ids) == (["own", "ub"], ["own", "ub"])
    assert found.reasons == [("c", "no id"), ("d", "no id")]
    assert read_tar(path, members, caption="caption").items == ["ca", "cb", "cc"]
    assert read_tar(path, members).items == []
    assert read_tar(path, members, "image").ids == list("abcd")


def test_the_table_is_part_of_what_was_read(path: Path) -> None:
    path.write_bytes(make_tar([("a.jpg", b"1")]))
    first = describe_shard(str(path))
    write_metadata(path, {"key": ["a"], "url": ["u"]})
    second = describe_shard(str(path))
    assert second.companion == str(path.with_suffix(".parquet"))
    write_metadata(path, {"key": ["a"], "url": ["v"]})
    assert len({first.digest, second.digest, describe_shard(str(path)).digest}) == 3


def test_a_table_that_is_no_metadata_is_left_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_metadata(path, {"id": ["a"], "url": ["u"]})
    assert read_tar(path, [("a.jpg", b"1")], "image", id="url").reasons == [("a", "no id")]
    write_metadata(path, {"key": ["a", "b"], "url": ["u", "v"]})
    path.with_suffix(".parquet").write_bytes(b"broken")
    assert read_tar(path, [("a.json", b"{}"), ("b.txt", b"x")]).items == ["x"]
    write_metadata(path, {"key": ["a", "b"], "url": ["u", "v"]})
    monkeypatch.setattr(webdataset, "METADATA_ROWS", 1)
    assert read_tar(path, [("a.jpg", b"1")], "image").ids == ["a"]
    assert read_tar(path, [("a.json", b"{}")]).reasons == [("a", "no caption")]
    with pytest.raises(InputError, match=r"shard\.parquet' has 2 rows .*too many for the metadata of one tar"):
        read_tar(path, [("a.jpg", b"1")], "image", id="url")


@pytest.mark.parametrize("beside", ["shard.parquet", "shard_stats.json"])
def test_a_glob_of_tars_and_their_metadata_says_what_to_name(path: Path, beside: str) -> None:
    path.write_bytes(make_tar([("a.jpg", b"1")]))
    (path.parent / beside).write_bytes(b"x")
    with pytest.raises(
        InputError, match=rf"matches .*shard\.tar' and also .*{beside}', which holds its metadata.*\*\.tar"
    ):
        list_shards(str(path.parent / "*"), "--candidates")
    assert [name.uri for name in list_shards(str(path.parent / "*.tar"), "--candidates")] == [str(path)]


@pytest.mark.parametrize("suffix", ["tar.gz", "tgz", "TAR.GZ", "tar.zst", "tzst"])
@pytest.mark.parametrize("modality", ["image", "text"])
def test_a_compressed_tar_is_what_it_holds(path: Path, suffix: str, modality: str) -> None:
    members = [("a.jpg", b"A" * 90_000), ("a.txt", b"an a"), ("long-" * 50 + ".jpg", b"B"), ("c.txt", b"a c")]
    path.write_bytes(make_tar(members, tarfile.PAX_FORMAT))
    small = path.with_name(f"packed.{suffix}")
    small.write_bytes(packed(small.name, path.read_bytes()))
    assert read_all(small, modality) == read_all(path, modality)  # type: ignore[arg-type]
    small.write_bytes(small.read_bytes()[:-12])
    with pytest.raises(InputError, match="packed"):
        read_all(small, modality)  # type: ignore[arg-type]


def test_what_is_not_needed_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(
        make_tar([("a.jpg", b"1" * 1000), ("a.txt", b"caption"), ("a.mp4", b"v" * 5000), ("a.json", b"{}")])
    )
    read: list[str] = []
    monkeypatch.setattr(webdataset, "_read", lambda uri, member: read.append(member.name) or member.read())
    read_all(path, "image")
    read_all(path, "text")
    assert read == ["a.jpg", "a.txt", "a.json"]


def test_a_member_beyond_the_limit_is_a_reject_and_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webdataset, "IMAGE_BYTES", 10)
    monkeypatch.setattr(webdataset, "LINE_BYTES", 10)
    members = [("a.jpg", b"1" * 11), ("b.jpg", b"1" * 10), ("c.txt", b"x" * 11), ("d.json", b'{"caption": "too long"}')]
    image, text = read_tar(path, members, "image"), read_tar(path, members, "text")
    assert (image.ids, image.reasons) == (["b"], [("a", "too large"), ("c", "no image"), ("d", "no image")])
    assert text.reasons == [("a", "no caption"), ("b", "no caption"), ("c", "too large"), ("d", "too large")]
    assert text.rejects[2].detail == "txt: 11 bytes (limit: 10)"


def test_a_sample_is_not_held_beyond_the_limit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webdataset, "IMAGE_BYTES", 10)
    found = read_tar(path, [(f"a.{number}.jpg", b"1" * 4) for number in range(4)], "image")
    assert (found.ids, found.reasons) == (["a.0", "a.1"], [("a.2", "too large"), ("a.3", "too large")])


def test_a_tar_of_one_key_is_not_held_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webdataset, "_SAMPLE_MEMBERS", 3)
    found = read_tar(path, [(f"a.{number}.jpg", b"1") for number in range(7)], "image")
    assert found.ids == [f"a.{number}" for number in range(7)]
    found = read_tar(path, [(f"a.{number}.txt", b"1") for number in range(7)], "image")
    assert found.reasons == [("a", "no image")] * 3


def test_names_that_lead_elsewhere_are_only_names(path: Path, tmp_path: Path) -> None:
    names = ["../up.jpg", "/tmp/nnn-absolute.jpg", "a/../../b.jpg"]
    found = read_tar(path, [(name, b"x") for name in names], "image")
    assert found.ids == [name.removesuffix(".jpg") for name in names]
    assert list(tmp_path.iterdir()) == [path]
    assert not Path("/tmp/nnn-absolute.jpg").exists()


SAMPLES = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["jpg", "png", "txt", "json", "cls"]), st.binary(max_size=30)),
    max_size=15,
)


@given(SAMPLES)
def test_every_sample_is_accounted_for(path: Path, members: list[tuple[str, str, bytes]]) -> None:
    """An oracle that cuts the member list by hand."""
    samples: list[tuple[str, dict[str, bytes]]] = []
    for key, suffix, data in members:
        if not samples or samples[-1][0] != key or suffix in samples[-1][1]:
            samples.append((key, {}))
        samples[-1][1][suffix] = data
    found = read_tar(path, [(f"{key}.{suffix}", data) for key, suffix, data in members], "image")
    images = [[suffix for suffix in sample if suffix in ("jpg", "png")] for _, sample in samples]
    assert found.ids == [key for (key, _), suffixes in zip(samples, images, strict=True) if suffixes]
    assert found.items == [
        sample[suffixes[0]] for (_, sample), suffixes in zip(samples, images, strict=True) if suffixes
    ]
    assert len(found.rejects) == sum(1 if not suffixes else len(suffixes) - 1 for suffixes in images)


def test_an_empty_archive_has_no_rows(path: Path) -> None:
    found = read_tar(path, [], "image")
    assert (found.ids, found.rejects) == ([], [])


MEMBERS = [("a.jpg", b"A" * 700), ("b.jpg", b""), ("c.jpg", b"C" * 512), ("d.jpg", b"D" * 40), ("e.json", b"{}")]


def unpadded(format: int) -> bytes:
    """An archive up to and including the first block of its end mark."""
    data = make_tar([*MEMBERS[:2], ("long-" * 30 + ".jpg", b"L" * 600), *MEMBERS[2:]], format)
    end = len(data.rstrip(b"\0"))
    return data[: -(-end // 512) * 512 + 512]


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("modality", ["image", "text"])
def test_truncation_is_always_an_error(path: Path, format: int, modality: str) -> None:
    whole = unpadded(format)
    path.write_bytes(whole)
    read_all(path, modality)  # type: ignore[arg-type]
    blocks = range(0, len(whole), 512)
    lengths = {length for block in blocks for length in (block, block + 1, block + 257, block + 511)}
    for length in sorted(lengths - {len(whole)}):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"shard\.tar' is broken: .*[Rr]estore the file"):
            read_all(path, modality)  # type: ignore[arg-type]


def test_truncation_says_where(path: Path) -> None:
    whole = make_tar(MEMBERS)
    path.write_bytes(whole[:1000])
    with pytest.raises(InputError, match=r"cut short|unexpected end of data"):
        read_all(path, "image")
    path.write_bytes(whole[: 3 * 512])
    with pytest.raises(InputError, match="no end-of-archive mark, and was cut short at byte 1536"):
        read_all(path, "image")


def headers(data: bytes) -> list[int]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return [member.offset for member in archive]


@pytest.mark.parametrize("damage", [b"\xff", b"\0" * 512, b"garbage!"])
@pytest.mark.parametrize("number", range(5))
def test_a_corrupt_header_is_an_error(path: Path, number: int, damage: bytes) -> None:
    data = bytearray(make_tar(MEMBERS))
    at = headers(bytes(data))[number]
    data[at : at + len(damage)] = damage
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match="is broken"):
        read_all(path, "image")


def test_a_corrupt_header_says_where(path: Path) -> None:
    data = bytearray(make_tar(MEMBERS))
    at = headers(bytes(data))[2]
    data[at + 150] ^= 0x10
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match=f"a corrupt header at byte {at}"):
        read_all(path, "image")


@pytest.mark.parametrize("format", FORMATS)
def test_a_flipped_bit_is_an_error_or_harmless(path: Path, format: int) -> None:
    """In headers only: content has no checksum in a tar. Every answer is all five samples or an InputError."""
    whole = make_tar(MEMBERS, format)
    seen = 0
    for at in headers(whole):
        for byte in range(0, 512, 9):
            data = bytearray(whole)
            data[at + byte] ^= 1 << byte % 8
            path.write_bytes(bytes(data))
            try:
                found = read_all(path, "image")
            except InputError:
                seen += 1
            else:
                assert len(found.ids) + len(found.rejects) == 5
    assert seen > 150


def test_samples_after_an_end_mark_are_not_lost_in_silence(path: Path) -> None:
    """Two archives glued together, or a hole of zeros: the samples behind it exist, and must not just go."""
    path.write_bytes(make_tar(MEMBERS) + make_tar([("z.jpg", b"Z")]))
    with pytest.raises(InputError, match="is broken"):
        read_all(path, "image")


@pytest.mark.parametrize("data", [b"", b"x", b"\x1f\x8b" + b"\0" * 600, b"PK\x03\x04" + b"x" * 2000])
def test_what_is_no_tar_is_an_error(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"shard\.tar' (is broken|cannot be decompressed)"):
        read_all(path, "image")


def test_a_tar_that_is_compressed_without_saying_so_is_read(path: Path) -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.jpg"))
    path.write_bytes(sink.getvalue())
    assert read_all(path, "image").ids == ["a"]


def test_a_missing_tar_is_an_error(path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*shard\.tar'"):
        list(read_rows(InputShard(str(path), "", 0), "image", Columns()))


HOSTILE = {**hostile.header_bombs(), **hostile.odd_members()}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("modality", ["image", "text"])
@pytest.mark.timeout(20)
def test_hostile_headers_are_refused_or_counted(path: Path, name: str, modality: str) -> None:
    data, rows, _ = HOSTILE[name]
    path.write_bytes(data)
    if rows is None and name != "a name without an end":
        with pytest.raises(InputError, match="is broken"):
            read_all(path, modality)  # type: ignore[arg-type]
    else:
        found = read_all(path, modality)  # type: ignore[arg-type]
        assert len(found.ids) + len(found.rejects) == rows or rows is None


def test_a_shared_header_holds_until_a_member_has_its_own(path: Path) -> None:
    shared = hostile.member(hostile.record(b"path", b"shared.jpg"), kind=b"g")
    own = hostile.member(hostile.record(b"path", b"own.jpg"), kind=b"x")
    path.write_bytes(hostile.GOOD + shared + hostile.GOOD + own + hostile.GOOD + hostile.GOOD + hostile.END)
    assert read_all(path, "image").ids == ["good", "shared", "own", "shared"]


def test_a_header_is_bounded_but_not_tight(path: Path) -> None:
    name = b"x" * 4000 + b".jpg"
    path.write_bytes(hostile.member(name + b"\0", kind=b"L") + hostile.member(b"1", b"short.jpg") + hostile.END)
    assert read_all(path, "image").ids == [name.decode().removesuffix(".jpg")]
    padding = hostile.member(hostile.record(b"comment", b"x" * 1_000_000), kind=b"x")
    path.write_bytes(padding + hostile.GOOD + hostile.END)
    assert read_all(path, "image").ids == ["good"]
    path.write_bytes(padding * 2 + hostile.GOOD + hostile.END)
    with pytest.raises(InputError, match="the header at byte 0 has more than 1,048,576 bytes"):
        read_all(path, "image")
