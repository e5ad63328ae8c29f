"""The memory of a worker process, by hand; whole refreshes are in ``tests/benchmarks/planned_memory.py``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from nnn_core.encoders.weights import weights_of
from nnn_core.planning.costs import Work

MIB = 1 << 20

#: A shard of candidates takes 64 MiB, all of the bank 16 MiB.
WORK = Work(
    images=0,
    texts=0,
    vectors=0,
    pairs=1 << 28,
    partials=1,
    merging=1 << 16,
    candidates=1 << 16,
    references=1 << 14,
    dim=256,
    kept=128,
    k_max=128,
    grid=8,
    groups=1,
    group_rows=1 << 14,
    shard_rows=1 << 16,
    file_rows=0,
    prefilter=False,
)


def test_one_shard_against_one_shard() -> None:
    memory, searching = WORK.memory, 50 * MIB + (4 << 20) + 128 * (100 << 10)
    # Vectors and bank; scores of 32 MiB in tiles, together, and as a file.
    assert memory.scoring == pytest.approx(searching + (64 + 16 + 2.8 * 32) * MIB)
    # The bank stays; one partial takes four times its scores while it is read.
    assert memory.merging == searching + (16 + 4 * 32) * MIB
    assert memory.writing == searching + 16 * MIB + 500 * (1 << 16)
    assert (memory.model, memory.embedding, memory.judging) == (0, 0, 0)
    assert memory.most == "scoring"
    assert WORK.peak_bytes == memory.peak == 300 * MIB + memory.scoring


def test_what_more_work_takes() -> None:
    threads = replace(WORK, threads=3).memory.scoring - WORK.memory.scoring
    assert threads == pytest.approx(2 * ((4 << 20) + 128 * (100 << 10)))
    # int8 and a sample of the bank.
    assert replace(WORK, prefilter=True).memory.scoring - WORK.memory.scoring == pytest.approx(0.3 * 16 * MIB)
    assert replace(WORK, judged=True).memory.judging > 2 * 64 * MIB
    vectors = replace(WORK, vectors=3 << 16, file_rows=1 << 20, threads=2)
    assert vectors.memory.embedding == (2 << 16) * (2.5 * 1024 + 200)
    embedded = replace(WORK, texts=10, weights=7 * MIB).memory
    assert embedded.model == (750 + 100 + 7) * MIB
    assert replace(WORK, images=10).memory.model == (750 + 100 + 600) * MIB
    idle = replace(WORK, pairs=0).memory
    assert idle.scoring < WORK.memory.scoring
    assert idle.most == "writing"


def test_a_bank_of_several_shards_is_kept_up_to_a_bound() -> None:
    # 64 shards of 32 MiB each: 512 MiB of them stay while the next is read.
    large = replace(WORK, references=1 << 21, groups=64, group_rows=1 << 15, kept=12)
    searching, top = 50 * MIB + (4 << 20) + 12 * (100 << 10), 3 * MIB
    assert large.memory.scoring == pytest.approx(searching + (64 + 512 + 32 + 32) * MIB + 4.8 * top)
    # Side by side lie at most 255 and k scores of each candidate; a second look reads vectors again.
    looks = 2 * 64 * MIB + (256 + 32 + 32) * MIB
    assert large.memory.merging == searching + 512 * MIB + 4 * (1 << 16) * (128 + 12) + looks
    assert replace(large, kept=128).memory.merging == 50 * MIB + (4 << 20) + 128 * (100 << 10) + 512 * MIB + 4 * (
        1 << 16
    ) * (383 + 512)


def test_the_size_of_a_model_is_that_of_its_files(tmp_path: Path) -> None:
    for name, size in (("a.safetensors", 5), ("b.safetensors", 6), ("model.bin", 9), ("config.json", 99)):
        (tmp_path / name).write_bytes(bytes(size))
    (tmp_path / "empty").mkdir()
    found = {
        f"local-dir:{tmp_path}": 11,
        f"{tmp_path}": 11,
        f"ViT-B-32/{tmp_path / 'model.bin'}": 9,
        f"{tmp_path / 'empty'}": None,
        "ViT-B-32/laion2b_s34b_b79k": None,
        "openai/clip-vit-base-patch32": None,
    }
    for spec, size in found.items():
        source = SimpleNamespace(spec=spec)
        assert weights_of(source) == weights_of(SimpleNamespace(bare=source)) == size, spec  # type: ignore[arg-type]
    assert weights_of(object()) is None  # type: ignore[arg-type]
