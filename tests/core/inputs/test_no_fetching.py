"""Addresses in input are text: nothing connects to them."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import NoReturn

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from corpora import write_tar
from fakes import read_all

from nnn_core.inputs.inspection import Inspection
from nnn_core.inputs.readers import Columns, format_of
from nnn_core.inputs.readers._known import formats

URL = "http://127.0.0.1:9/cat.jpg"
RECORD = {"id": URL, "key": URL, "url": URL, "image": URL, "image_path": URL, "caption": f"{URL} s3://bucket/key"}
IMAGES = [{"id": 1, "file_name": URL, "coco_url": URL, "flickr_url": URL}]
SENTENCES = [{"raw": URL, "sentid": 1}]


def write_all(folder: Path) -> list[Path]:
    """A file of every format of captions, of nothing but addresses."""
    header, values = list(RECORD), list(RECORD.values())
    texts = {
        "a.tsv": "\t".join(header) + "\n" + "\t".join(values),
        "a.csv": ",".join(header) + "\n" + ",".join(values),
        "a.jsonl": json.dumps(RECORD),
        "a.txt": URL,
        "coco.json": json.dumps({"images": IMAGES, "annotations": [{"id": 1, "image_id": 1, "caption": URL}]}),
        "karpathy.json": json.dumps({"images": [{"filename": URL, "sentences": SENTENCES}]}),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    table = pa.table({name: [value] for name, value in RECORD.items()})
    pq.write_table(table, folder / "a.parquet")
    pyarrow.feather.write_feather(table, folder / "a.feather")
    write_tar(folder / "a.tar", {"k": {"json": json.dumps(RECORD).encode(), "url": URL.encode()}})
    return sorted(folder.iterdir())


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every attempt to connect or to look up a host is noted, and fails."""
    attempts: list[object] = []

    def refuse(*arguments: object, **options: object) -> NoReturn:
        attempts.append(arguments)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return attempts


def test_readers_fetch_nothing(tmp_path: Path, no_network: list[object]) -> None:
    read = set()
    for path in write_all(tmp_path):
        found = read_all(path, "text", require_id=False)
        assert len(found.items) == 1, path
        assert "://" in str(found.items[0])
        Inspection.of(str(path), None, Columns())
        read.add(format_of(str(path)).name)
    assert no_network == []
    numbers = {"npy", "npz", "safetensors", "hdf5"}
    assert read == {each.name for each in formats().values() if not each.grouped} - numbers


def test_an_attempt_would_be_noted(no_network: list[object]) -> None:
    with pytest.raises(OSError, match="no network"):
        socket.create_connection(("127.0.0.1", 9), timeout=1)
    assert no_network
