"""No input is ever unpickled: a canary that writes a file when it is loaded, wherever a loader might load it."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import gaussian, write_tar, write_vectors
from fakes import FormulaEncoder, read_all
from sides import bank_of, embed_side
from tables import publish

import nnn_core
from nnn_core import load_bias_table
from nnn_core.embedded.shards import read_shard
from nnn_core.encoders import parse_encoder
from nnn_core.encoders.encoding import encode_rows
from nnn_core.errors import NNNError
from nnn_core.inputs.listing import describe_shard
from nnn_core.inputs.readers import Columns, Rows, holds_vectors, read_rows
from nnn_core.scoring.bank import ReferenceIndex
from nnn_core.scoring.partials import Partial
from nnn_core.scoring.score import score_block
from nnn_core.scoring.search.calibration import CalibratedShard, measure_all
from nnn_core.scoring.search.searches import exact_search

pytestmark = pytest.mark.counted

ENCODER = Path(nnn_core.__file__).parent / "demo" / "encoder"
CLEAR = "a clear error"
COUNTED = "counted rejects"


class Canary:
    """Writes ``marker`` when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.write_text, (self.marker, "executed")


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "marker"
    yield path
    assert not path.exists(), "a pickle was executed"


@pytest.fixture
def canary(marker: Path) -> bytes:
    """A pickle that bites: it is tried once, so that a test cannot pass with one that does not."""
    data = pickle.dumps(Canary(marker), protocol=2)
    data += b"\0" * (1 - len(data) % 2)  # an even number of bytes, as some folders' names give, may be a vector
    pickle.loads(data)
    assert marker.read_text() == "executed"
    marker.unlink()
    return data


def error_of(act: Callable[[], object]) -> str:
    try:
        act()
    except NNNError as error:
        return CLEAR if str(error) else "an error without words"
    return "nothing"


def outcome_of_file(path: Path, modality: str = "image") -> str:
    """Read a file as the job does, images included."""

    def read() -> None:
        shard = describe_shard(str(path))
        batches: Iterator[Rows] = read_rows(shard, modality, Columns())  # type: ignore[arg-type, assignment]
        if not holds_vectors(shard, modality, Columns()):  # type: ignore[arg-type]
            encoder = (
                parse_encoder(f"open_clip:local-dir:{ENCODER}").load() if modality == "image" else FormulaEncoder()
            )
            batches = encode_rows(batches, modality, encoder)  # type: ignore[arg-type]
        rows = list(batches)
        assert not any(each.ids for each in rows)
        rejects.extend(reject for each in rows for reject in each.rejects)

    rejects: list[object] = []
    return COUNTED if (found := error_of(read)) == "nothing" and rejects else found


# Every case: canary -> the file to read, in an empty folder.


def _member(name: str) -> Callable[[Path, bytes], Path]:
    def build(folder: Path, canary: bytes) -> Path:
        key, _, suffix = name.partition(".")
        write_tar(folder / "x.tar", {key: {suffix: canary}})
        return folder / "x.tar"

    return build


def _named(name: str) -> Callable[[Path, bytes], Path]:
    def build(folder: Path, canary: bytes) -> Path:
        (folder / name).write_bytes(canary)
        pq.write_table(pa.table({"id": ["a"]}), folder / "metadata_0.parquet")
        return folder / name

    return build


def _object_array(folder: Path, canary: bytes, fortran: bool = False) -> Path:
    path = _named("img_emb_0.npy")(folder, canary)
    array = np.array([[pickle_of(canary)] * 2] * 2, dtype=object)
    np.save(path, np.asfortranarray(array) if fortran else array, allow_pickle=True)
    return path


def _header_that_lies(folder: Path, canary: bytes) -> Path:
    """The header of floats says objects: the pickle follows it."""
    path = _named("img_emb_0.npy")(folder, canary)
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1, 1), }"
    header += b" " * (118 - len(header) - 1) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + canary)
    return path


def _npz(name: str) -> Callable[[Path, bytes], Path]:
    def build(folder: Path, canary: bytes) -> Path:
        path = _named(name)(folder, canary)
        sink = io.BytesIO()
        np.savez(sink, vectors=np.array([[pickle_of(canary)]], dtype=object))
        path.write_bytes(sink.getvalue())
        return path

    return build


def _pickled_metadata(folder: Path, canary: bytes) -> Path:
    path = _named("img_emb_0.npy")(folder, canary)
    np.save(path, gaussian(1, 8, 1))
    (folder / "metadata_0.parquet").write_bytes(canary)
    return path


def _parquet(column: pa.Array, metadata: dict[bytes, bytes]) -> Callable[[Path, bytes], Path]:
    def build(folder: Path, canary: bytes) -> Path:
        filled = {key: value or canary for key, value in metadata.items()}
        values = column if len(column) else pa.array([canary])
        schema = pa.schema([pa.field("id", pa.string()), pa.field("vector", values.type, metadata=filled)])
        pq.write_table(pa.table([pa.array(["a"]), values], schema=schema), folder / "x.parquet")
        return folder / "x.parquet"

    return build


#: How Arrow once stored Python's own extension types: their class as a pickle in the schema.
_EXTENSION = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": b""}

FILES: dict[str, Callable[[Path, bytes], Path]] = {
    **{
        f"tar member {name}": _member(name)
        for name in ("k.pkl", "k.pickle", "k.pth", "k.pt", "k.pyd", "k.npy", "k.npz")
    },
    **{f"tar member {name}": _member(name) for name in ("k.jpg", "k.png", "k.webp", "k.json", "k.txt", "k.cls")},
    **{f"a pickle as {name}": _named(name) for name in ("x.tar", "x.parquet", "x.tsv", "x.jsonl", "img_emb_0.npy")},
    **{f"a pickle as {name}": _named(name) for name in ("x.pkl", "x.pickle", "x.pt", "x.bin")},
    "npy of objects": _object_array,
    "npy of objects in Fortran order": lambda folder, canary: _object_array(folder, canary, True),
    "npy with a header of objects": _header_that_lies,
    "npz as npy": _npz("img_emb_0.npy"),
    "npz": _npz("img_emb_0.npz"),
    "metadata of an npy": _pickled_metadata,
    "Parquet column of pickles": _parquet(pa.array([], pa.binary()), {}),
    "Parquet extension type": _parquet(pa.array([], pa.binary()), _EXTENSION),
}


class _Bytes:
    """Stands for an object whose pickle is given."""

    def __init__(self, reduced: tuple[object, ...]) -> None:
        self._reduced = reduced

    def __reduce__(self) -> tuple[object, ...]:
        return self._reduced


def pickle_of(canary: bytes) -> object:
    """An object that, pickled, loads ``canary``."""
    return _Bytes((pickle.loads, (canary,)))


@pytest.mark.parametrize("case", FILES)
@pytest.mark.parametrize("modality", ["image", "text"])
def test_input(
    case: str, modality: str, canary: bytes, marker: Path, tmp_path: Path, record_count: Callable[[str, int, int], None]
) -> None:
    folder = tmp_path / "input"
    folder.mkdir()
    path = FILES[case](folder, canary)
    outcome = outcome_of_file(path, modality)
    record_count("pickle canaries that stayed unread", not marker.exists(), 1)
    assert outcome in (CLEAR, COUNTED)


def test_vectors_beside_an_extension_type(canary: bytes, marker: Path, tmp_path: Path) -> None:
    """A schema is read before anything is known of its columns; the good column is still used."""
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(gaussian(1, 8, 1).ravel()), 8)
    extension = {key: value or canary for key, value in _EXTENSION.items()}
    schema = pa.schema([("id", pa.string()), ("vector", vectors.type), pa.field("x", pa.binary(), metadata=extension)])
    pq.write_table(pa.table([pa.array(["a"]), vectors, pa.array([canary])], schema=schema), tmp_path / "x.parquet")
    assert read_all(tmp_path / "x.parquet", "image").ids == ["a"]


def torch_zip(canary: bytes) -> bytes:
    """What ``torch.save`` writes, with the canary as its pickle."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("archive/data.pkl", canary)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return sink.getvalue()


def torch_script(canary: bytes) -> bytes:
    """A TorchScript archive, which ``torch.load`` hands to another loader."""
    sink = io.BytesIO(torch_zip(canary))
    with zipfile.ZipFile(sink, "a") as archive:
        archive.writestr("archive/constants.pkl", canary)
        archive.writestr("archive/code/__torch__.py", "raise SystemExit")
    return sink.getvalue()


def legacy(canary: bytes) -> bytes:
    """The format before zip: magic number, protocol and system information, then the object."""
    head = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}})
    return b"".join(pickle.dumps(part, protocol=2) for part in head) + canary + pickle.dumps([], protocol=2)


def state_dict(canary: bytes) -> bytes:
    """A dictionary of weights, one of which is the canary."""
    import torch

    sink = io.BytesIO()
    torch.save({"logit_scale": torch.ones(()), "state_dict": pickle_of(canary)}, sink)
    return sink.getvalue()


def type_error_first(canary: bytes) -> bytes:
    """Fails in a way for which open_clip tries again with other arguments, then loads the canary."""
    first = b"\x80\x02ccollections\nOrderedDict\n)R" + b"N}\x86b" + b"0"  # a state that only pickle itself accepts
    return torch_zip(first + canary.removeprefix(b"\x80\x02"))


CHECKPOINTS = {
    "bare pickle": lambda canary: canary,
    "zip": torch_zip,
    "TorchScript": torch_script,
    "legacy": legacy,
    "state_dict": state_dict,
    "TypeError first": type_error_first,
}


@pytest.mark.parametrize("suffix", ["pt", "bin", "pth", "safetensors"])
@pytest.mark.parametrize("kind", CHECKPOINTS)
@pytest.mark.parametrize("where", ["path", "local-dir"])
def test_checkpoint(
    kind: str,
    suffix: str,
    where: str,
    canary: bytes,
    marker: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_count: Callable[[str, int, int], None],
) -> None:
    # A user may have this for other programs.
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    data = CHECKPOINTS[kind](canary)
    if where == "path":
        (tmp_path / f"x.{suffix}").write_bytes(data)
        spec = f"open_clip:RN50/{tmp_path / f'x.{suffix}'}"
        monkeypatch.setattr("open_clip.factory._MODEL_CONFIGS", {"RN50": demo_config()})
    else:
        (tmp_path / "model").mkdir()
        shutil.copy(ENCODER / "open_clip_config.json", tmp_path / "model")
        (tmp_path / "model" / f"open_clip_model.{suffix}").write_bytes(data)
        spec = f"open_clip:local-dir:{tmp_path / 'model'}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in production, where they stop nothing
        outcome = error_of(lambda: parse_encoder(spec).load())
    record_count("pickle canaries that stayed unread", not marker.exists(), 1)
    assert outcome == CLEAR


def demo_config() -> dict[str, object]:
    """A model small enough to be built for each case."""
    config: dict[str, object] = json.loads((ENCODER / "open_clip_config.json").read_text())["model_cfg"]
    return config


def artefacts(folder: Path) -> dict[str, tuple[str, Callable[[], object]]]:
    """Everything that a job stores below ``folder``: of each kind the pattern of its files, and who reads them."""
    rows = [f"c{row}" for row in range(20)], gaussian(20, 8, 1)
    candidates, work = write_vectors(folder / "candidates", *rows, 1), str(folder / "work")
    references = write_vectors(folder / "references", [f"r{row}" for row in range(30)], gaussian(30, 8, 2), 1)
    (shard,), (reference,) = embed_side(candidates, work)[0].shards, bank_of(references, work).shards
    partial = Partial.of(shard, reference, 4, False, work)
    partial.write(score_block(read_shard(shard), exact_search(ReferenceIndex.load(reference, False)), 4))

    def calibrate() -> CalibratedShard:
        return CalibratedShard.of(reference, [shard], (1, 2, 4), 1e-3, False, work)

    calibrated = calibrate()
    table = str(folder / "table")
    publish(table)
    return {
        "embedded shard": ("work/embedded/*.parquet", lambda: read_shard(shard)),
        "completion mark": ("work/embedded/*.json", lambda: embed_side(candidates, work)),
        "partial": ("work/partials/*.parquet", partial.read),
        "clusters": (f"work/clusters/{Path(calibrated.clusters).name}", calibrate),
        "search settings": ("work/clusters/*.json", calibrate),
        "check of a search": (f"work/clusters/{Path(calibrated.check).name}", lambda: measure_all([calibrated], (4,))),
        "table part": ("table/versions/*/part-*.parquet", lambda: load_bias_table(table)),
        "manifest": ("table/versions/*.json", lambda: load_bias_table(table)),
    }


def test_artefacts(canary: bytes, marker: Path, tmp_path: Path, record_count: Callable[[str, int, int], None]) -> None:
    """Someone who may write the work folder or the table still runs nothing in the job or in a reader."""
    kinds = artefacts(tmp_path)
    outcomes = {}
    for kind, (pattern, read) in kinds.items():
        read()
        whole = {path: path.read_bytes() for path in tmp_path.glob(pattern)}
        assert whole
        for path in whole:
            path.write_bytes(canary)
        outcomes[kind] = error_of(read)
        record_count("pickle canaries that stayed unread", not marker.exists(), 1)
        for path, data in whole.items():
            path.write_bytes(data)
    anew = dict.fromkeys(("clusters", "search settings", "completion mark"), "nothing")
    assert outcomes == dict.fromkeys(kinds, CLEAR) | anew
