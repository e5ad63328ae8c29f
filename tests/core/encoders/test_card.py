"""Towers on an NVIDIA card; skipped where there is none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from nnn_core.encoders._card import Card

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def make_tower() -> torch.nn.Module:
    torch.manual_seed(0)
    layers = [torch.nn.Linear(64, 64), torch.nn.GELU(), torch.nn.LayerNorm(64)]
    return torch.nn.Sequential(*layers, torch.nn.Linear(64, 16)).requires_grad_(False).cuda()


@torch.inference_mode()
def test_a_graph_gives_the_bits_of_the_kernels_one_by_one() -> None:
    tower, card = make_tower(), Card()
    for seed in range(5):
        batch = list(torch.randn((8, 64), generator=torch.Generator().manual_seed(seed)))
        assert torch.equal(card.run("image", tower, batch), tower(torch.stack(batch).cuda()).cpu())
    assert card._towers["image"].__name__ == "replay"


@torch.inference_mode()
def test_named_inputs() -> None:
    tower, card = make_tower(), Card()
    for seed in range(3):
        tokens = {"one": torch.full((8, 64), float(seed)), "other": torch.ones((8, 64))}
        found = card.run("text", lambda inputs: tower(inputs["one"] - inputs["other"]), tokens)
        assert torch.equal(found, tower((tokens["one"] - tokens["other"]).cuda()).cpu())


@torch.inference_mode()
def test_a_tower_that_asks_for_a_value_runs_kernel_by_kernel() -> None:
    tower, card = make_tower(), Card()

    def asks(batch: torch.Tensor) -> torch.Tensor:
        return tower(batch) * (2.0 if batch.max().item() > 0 else 1.0)

    for sign in (1.0, -1.0, 1.0):
        batch = torch.full((8, 64), sign)
        assert torch.equal(card.run("image", asks, batch), asks(batch.cuda()).cpu())
    assert card._towers["image"].__name__ != "replay"


def test_threads_do_not_get_each_others_vectors() -> None:
    tower, card = make_tower(), Card()
    batches = [torch.full((8, 64), float(number)) for number in range(64)]

    @torch.inference_mode()
    def run(batch: torch.Tensor) -> torch.Tensor:
        return card.run("image", tower, batch)

    with ThreadPoolExecutor(8) as pool:
        for batch, found in zip(batches, pool.map(run, batches), strict=True):
            assert torch.equal(found, run(batch))
