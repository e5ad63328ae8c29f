"""What libjpeg's scaled decoding would save, and how far it would move vectors from open_clip's own transform.

python tests/benchmarks/jpeg.py --images FOLDER

Pictures are scaled up to stand for larger photographs. The program does not decode so: vectors move by more than
``probes.TOLERANCES`` allows between two services that run one encoder.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image

import nnn_core
from nnn_core.encoders.probes import TOLERANCES

DEMO = f"local-dir:{Path(nnn_core.__file__).parent / 'demo' / 'encoder'}"
FACTORS, GAPS = (1.0, 2.5, 5.0), (1, 2, 3)


def load(name: str) -> tuple[Any, Any, int]:
    torch.manual_seed(0)
    model, _, transform = open_clip.create_model_and_transforms(name)
    return model.eval(), transform, int(np.max(model.visual.image_size))


def enlarged(path: Path, factor: float) -> bytes:
    image = Image.open(path).convert("RGB")
    buffer = io.BytesIO()
    size = (round(image.width * factor), round(image.height * factor))
    image.resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def decode(data: bytes, least: int | None) -> Image.Image:
    """The picture, or a scaled one of at least ``least`` pixels a side."""
    image = Image.open(io.BytesIO(data))
    if least:
        image.draft("RGB", (least, least))
    image.load()
    return image


def unit(model: Any, pixels: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        vector = model.encode_image(pixels[None])[0].double().numpy()
    return np.asarray(vector / np.linalg.norm(vector))


def timed(program: Callable[[], torch.Tensor]) -> tuple[float, torch.Tensor]:
    start = time.process_time()
    found = program()
    return time.process_time() - start, found


def compare(name: str, pictures: list[bytes], gap: int) -> dict[str, float]:
    """Medians of milliseconds, and the largest distance between unit vectors."""
    model, transform, size = load(name)
    rows = []
    for data in pictures:
        exact, one = timed(lambda data=data: transform(decode(data, None)))  # type: ignore[misc]
        scaled, other = timed(lambda data=data: transform(decode(data, gap * size)))  # type: ignore[misc]
        rows.append((exact, scaled, float(np.linalg.norm(unit(model, one) - unit(model, other)))))
    return {
        "exact_ms": round(1000 * statistics.median(row[0] for row in rows), 1),
        "scaled_ms": round(1000 * statistics.median(row[1] for row in rows), 1),
        "distance": float(f"{max(row[2] for row in rows):.2g}"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, help="folder of JPEGs")
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--models", nargs="*", default=[DEMO, "ViT-B-32"], help="the latter with random weights")
    args = parser.parse_args()
    torch.set_num_threads(1)
    paths = sorted(Path(args.images).rglob("*.jpg"))
    chosen = paths[:: max(1, len(paths) // args.pictures)][: args.pictures]
    print(f"distance allowed between unit vectors of one encoder: {TOLERANCES['float32']:g}")
    for factor in FACTORS:
        pictures = [enlarged(path, factor) for path in chosen]
        for gap in GAPS:
            for name in args.models:
                found = compare(name, pictures, gap)
                print(json.dumps({"model": name, "factor": factor, "least": f"{gap} x", **found}), flush=True)


if __name__ == "__main__":
    main()
