"""Real pictures, both directions, with the demo encoder: the table is that of its own vectors.

``NNN_TEST_DATA`` names a folder with ``fxemoji`` and ``exercises``; without it the tests are skipped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from corpora import brute_force_means, write_tar

from nnn_core import load_bias_table
from nnn_core.embedded.embedding import EmbeddingRequest
from nnn_core.embedded.shards import read_shard
from nnn_core.inputs.listing import describe_shard, list_uris
from nnn_core.inputs.readers import Columns
from nnn_core.inputs.shards import Modality
from pipelines.commands import _demo_data as demo
from pipelines.commands import cli

pytestmark = pytest.mark.slow

Samples = dict[str, dict[str, bytes]]


def data() -> Path:
    folder = os.environ.get("NNN_TEST_DATA")
    if not folder:
        pytest.skip("NNN_TEST_DATA names no folder of real images")
    return Path(folder)


def emoji() -> Samples:
    """PNG with the name as one of several captions."""
    records = json.loads((data() / "fxemoji" / "captions.json").read_text(encoding="utf-8"))
    return {
        Path(record["file"]).stem.replace(".", "_"): {
            "png": (data() / "fxemoji" / "png128" / record["file"]).read_bytes(),
            "json": json.dumps({"caption": [record["unicode_name"], *record["keywords"]]}).encode(),
        }
        for record in records
    }


def exercises() -> Samples:
    """JPEG photographs with the name as caption."""
    records = json.loads((data() / "exercises" / "exercises.json").read_text(encoding="utf-8"))
    return {
        record["id"].replace(".", "_"): {
            "jpg": (data() / "exercises" / "images" / f"{record['id']}.jpg").read_bytes(),
            "txt": record["name"].encode(),
        }
        for record in records
    }


def pack(folder: Path, samples: Samples, shards: int) -> str:
    keys = sorted(samples)
    for number in range(shards):
        write_tar(folder / f"{number:05d}.tar", {key: samples[key] for key in keys[number::shards]})
    return str(folder / f"{{00000..{shards - 1:05d}}}.tar")


def vectors(pattern: str, modality: Modality, require_id: bool, work: str) -> tuple[Sequence[str], np.ndarray]:
    """What the refresh stored for one side."""
    request = EmbeddingRequest(modality, Columns(require_id=require_id), demo.demo_encoder().fingerprint.digest, work)
    blocks = []
    for uri in list_uris(pattern, "--candidates"):
        found = request.find(request.plan(describe_shard(uri)))
        assert found is not None
        blocks += [read_shard(shard) for shard in found.shards]
    return [i for block in blocks for i in block.ids.to_pylist()], np.concatenate([b.vectors for b in blocks])


@pytest.mark.parametrize("modality", ["image", "text"])
@pytest.mark.parametrize(("corpus", "shards"), [(emoji, 4), (exercises, 3)], ids=["fxemoji", "exercises"])
def test_both_directions(tmp_path: Path, corpus: object, shards: int, modality: Modality) -> None:
    samples: Samples = corpus()  # type: ignore[operator]
    pattern = pack(tmp_path / "shards", samples, shards)
    work, table_uri = str(tmp_path / "work"), str(tmp_path / "table")
    flags = ["--candidates", pattern, "--references", pattern, "--table", table_uri, "--work", work, "--k", "16"]
    spec = f"open_clip:{demo.demo_encoder().spec}"
    # The demo's encoder knows shapes, and finds many names of emoji equally near.
    flags += ["--encoder", spec, "--candidate-modality", modality, "--accept", "hubs"]
    assert cli.main(["refresh", *flags]) == 0
    table = load_bias_table(table_uri)
    ids, candidates = vectors(pattern, modality, True, work)
    _, references = vectors(pattern, "text" if modality == "image" else "image", False, work)
    captions = sum(len(json.loads(s["json"])["caption"]) if "json" in s else 1 for s in samples.values())
    assert (len(candidates), len(references)) == (
        (len(samples), captions) if modality == "image" else (captions, len(samples))
    )
    assert table.ids.to_pylist() == sorted(ids)
    means = brute_force_means(candidates, references, table.manifest.settings.grid)
    np.testing.assert_allclose(table.mean_k[np.argsort(np.argsort(ids))], means, rtol=0, atol=1e-6)
