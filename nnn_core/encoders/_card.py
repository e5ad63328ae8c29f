"""The towers of a model on an NVIDIA card, each launched by one call.

A call of a kernel takes Python's lock, which the threads that decode images hold most of the time: beside sixteen of
them a forward pass of ViT-B/32 took 190 ms in place of 8 (H100). As a CUDA graph all its kernels are one call.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import torch

_log = logging.getLogger(__name__)

#: Passes before the capture, in which libraries choose their algorithms and take their memory.
_WARM_UP = 3

#: A tensor on the host, a list of such that make a batch, or a mapping of tensors by name.
Inputs = Any
Tower = Callable[[Any], torch.Tensor]


class Card:
    """Runs towers on the card, one batch at a time, all of one shape for each tower."""

    def __init__(self) -> None:
        self._using = threading.Lock()
        self._towers: dict[str, Callable[[Inputs], torch.Tensor]] = {}
        self._staged: torch.Tensor | None = None

    def run(self, name: str, tower: Tower, inputs: Inputs) -> torch.Tensor:
        """The vectors (rows, dim) float32 on the host.

        Args:
            name: name of the tower.
            tower: function of tensors on the card.
            inputs: its tensors on the host, as a first batch gave them.
        """
        with self._using:  # a captured tower has one place for its inputs and one for its vectors
            if isinstance(inputs, list):
                inputs = self._stack(inputs)
            if name not in self._towers:
                self._towers[name] = _capture(name, tower, inputs)
            return self._towers[name](inputs).float().cpu()

    def _stack(self, images: list[torch.Tensor]) -> torch.Tensor:
        # Memory that the card reads by itself, taken once: to touch it for the first time is slow.
        if self._staged is None:
            self._staged = torch.empty((len(images), *images[0].shape), pin_memory=True)
        return torch.stack(images, out=self._staged)


def _capture(name: str, tower: Tower, inputs: Inputs) -> Callable[[Inputs], torch.Tensor]:
    """``tower`` as a graph, if it can be one and gives the same bits."""
    held = _to_card(inputs)
    expected = tower(held)
    graph = torch.cuda.CUDAGraph()
    try:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                tower(held)
        torch.cuda.current_stream().wait_stream(stream)
        # Other threads may go on: only what this one does is captured.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            vectors = tower(held)
        graph.replay()
        same = torch.equal(vectors, expected)
    except RuntimeError as error:
        _log.info("the %s tower runs more slowly, without a CUDA graph: it cannot be captured (%s)", name, error)
        return lambda inputs: tower(_to_card(inputs))
    if not same:
        _log.warning("the %s tower runs more slowly, without a CUDA graph: as a graph it gives different vectors", name)
        return lambda inputs: tower(_to_card(inputs))

    def replay(inputs: Inputs) -> torch.Tensor:
        if isinstance(inputs, torch.Tensor):
            held.copy_(inputs, non_blocking=True)
        else:
            for each, tensor in inputs.items():
                held[each].copy_(tensor, non_blocking=True)
        graph.replay()
        return vectors

    return replay


def _to_card(inputs: Inputs) -> Inputs:
    if isinstance(inputs, torch.Tensor):
        return inputs.to("cuda", copy=True)
    return {name: tensor.to("cuda", copy=True) for name, tensor in inputs.items()}
