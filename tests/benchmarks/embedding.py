"""Embedding a file of JPEGs, from bytes to stored vectors, relative to the bare model on tensors that lie in memory.

python tests/benchmarks/embedding.py --model ViT-B-32 --images FOLDER --threads 1,2

Weights are random: nothing is downloaded, and time does not depend on them.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))
from corpora import write_tar

from nnn_core.embedded.embedding import EmbeddingRequest, embed_shard
from nnn_core.encoders import FLOAT32, PRECISIONS
from nnn_core.encoders._open_clip import _towers
from nnn_core.encoders._towers import TowersEncoder
from nnn_core.encoders.encoding import Usage
from nnn_core.inputs.listing import describe_shard
from nnn_core.inputs.readers import Columns


def load(name: str, precision: str) -> TowersEncoder:
    torch.manual_seed(0)
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    return TowersEncoder(_towers(model, preprocess, open_clip.get_tokenizer(name)), precision)


def photographs(folder: str | None, width: int, height: int) -> list[bytes]:
    """The JPEGs of a folder, or one that is as costly to decode: slopes with fine noise."""
    if folder:
        found = [path.read_bytes() for path in sorted(Path(folder).rglob("*.jpg"))]
        if not found:
            raise SystemExit(f"no *.jpg below {folder!r}")
        return found
    rng = np.random.default_rng(1)
    found = []
    for _ in range(16):
        slopes = rng.normal(128, 60, (height // 8, width // 8, 3)).clip(0, 255).astype(np.uint8)
        pixels = np.asarray(Image.fromarray(slopes).resize((width, height), Image.Resampling.BICUBIC), np.int16)
        noisy = (pixels + rng.normal(0, 6, pixels.shape)).clip(0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noisy).save(buffer, "JPEG", quality=90)
        found.append(buffer.getvalue())
    return found


def seconds(program: Callable[[], object]) -> float:
    return times(program)[0]


def times(program: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock, and of all cores together."""
    start, used = time.perf_counter(), time.process_time()
    program()
    return time.perf_counter() - start, time.process_time() - used


def measure(encoder: TowersEncoder, images: Sequence[bytes], threads: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Medians over alternating rounds."""
    shard = folder / "images.tar"
    write_tar(shard, {f"{row:06d}": {"jpg": data} for row, data in enumerate(images)})
    tensors = [encoder.preprocess_image(data) for data in images[: encoder.batch_size]]
    batch = torch.stack(tensors).to(encoder._device)
    batches = len(images) // encoder.batch_size
    usages: list[float] = []

    def bare() -> None:
        torch.set_num_threads(threads)
        for _ in range(batches):
            encoder._run("image", encoder._towers.images, batch, encoder.batch_size)
        torch.set_num_threads(1)

    def stage() -> None:
        usage = Usage(threads)
        work = tempfile.mkdtemp(dir=folder)
        request = EmbeddingRequest("image", Columns(), "benchmark", work)
        planned = request.plan(describe_shard(str(shard)))
        start = time.perf_counter()
        result = embed_shard(planned, request, encoder, usage)
        assert sum(each.rows for each in result.shards) == len(images)
        usages.append(usage.seconds / (time.perf_counter() - start) / usage.used)

    encoder.encode_images(tensors[:1])
    rows, pairs = len(images), [(times(bare), times(stage)) for _ in range(rounds)]
    return {
        "threads": threads,
        "bare_images_per_second": round(rows / statistics.median(bare for (bare, _), _ in pairs), 1),
        "stage_images_per_second": round(rows / statistics.median(stage for _, (stage, _) in pairs), 1),
        "ratio": round(statistics.median(bare / stage for (bare, _), (stage, _) in pairs), 3),
        "ratios": [round(bare / stage, 3) for (bare, _), (stage, _) in pairs],
        # What is left where every core is busy, as with a process a core.
        "ratio_of_cpu_time": round(statistics.median(bare / stage for (_, bare), (_, stage) in pairs), 3),
        "model_utilisation": round(statistics.median(usages), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--precision", default=FLOAT32, choices=PRECISIONS)
    parser.add_argument("--images", help="folder of JPEGs (default: made up)")
    parser.add_argument("--size", default="850x567", help="of what is made up (default: %(default)s)")
    parser.add_argument("--batch", type=int, metavar="ROWS", help="by default the program's own")
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", default="1", help="such as 1,2 (default: %(default)s)")
    args = parser.parse_args()

    encoder = load(args.model, args.precision)
    encoder.batch_size = args.batch or encoder.batch_size
    width, height = map(int, args.size.split("x"))
    photos = photographs(args.images, width, height)
    images = [photos[row % len(photos)] for row in range(args.batches * encoder.batch_size)]
    decode = seconds(lambda: [encoder.preprocess_image(data) for data in images[:64]]) / 64
    where = torch.cuda.get_device_name() if encoder._device == "cuda" else "cpu"
    print(f"{args.model}, {args.precision} on {where}, batches of {encoder.batch_size}")
    print(f"{1000 * decode:.1f} ms to decode and transform an image")
    with tempfile.TemporaryDirectory() as folder:
        for threads in map(int, args.threads.split(",")):
            print(json.dumps(measure(encoder, images, threads, args.rounds, Path(folder))), flush=True)


if __name__ == "__main__":
    main()
