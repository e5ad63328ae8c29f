"""The two towers of BEiT-3: one transformer whose every layer has weights for images (A) and for texts (B).

Names of modules are those of its checkpoints. Layers are normalised before attention and before the network that
follows it, and once more within each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

_HEAD_WIDTH = 64

#: The token that only fills a row.
PAD = 1

#: Position embeddings before the first that is used.
SPARE_POSITIONS = 2


@dataclass(frozen=True)
class Sizes:
    """What a checkpoint's shapes say; the width of a head is always 64.

    Attributes:
        width: length of the vectors between layers, and of those that leave the model.
        hidden: length of the vectors within the network that follows attention.
        layers: how many layers there are.
        patch: side of a patch, in pixels.
        image: side of an image, in pixels.
        words: size of the vocabulary.
        text_positions: position embeddings of texts, the spare ones included.
    """

    width: int
    hidden: int
    layers: int
    patch: int
    image: int
    words: int
    text_positions: int


class _Multiway(nn.Module):
    """A module for images and another for texts."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.A, self.B = make(), make()

    def forward(self, x: torch.Tensor, way: str) -> torch.Tensor:
        return cast(torch.Tensor, getattr(self, way)(x))


class _Attention(nn.Module):
    """Self-attention, normalised before its last projection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            _Multiway(lambda: nn.Linear(width, width)) for _ in range(4)
        )
        self.inner_attn_ln = _Multiway(lambda: nn.LayerNorm(width))

    def forward(self, x: torch.Tensor, way: str, mask: torch.Tensor | None) -> torch.Tensor:
        """``mask`` (rows, 1, 1, length) is true where there is something to look at."""
        q, k, v = (
            projection(x, way).unflatten(-1, (-1, _HEAD_WIDTH)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        return cast(torch.Tensor, self.out_proj(self.inner_attn_ln(found, way), way))


class _FeedForward(nn.Module):
    """The network after attention, normalised before its last projection."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.ffn_layernorm = nn.LayerNorm(hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.fc2(self.ffn_layernorm(F.gelu(self.fc1(x)))))


class _Layer(nn.Module):
    """Attention, then the network, each added to what came in."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.self_attn = _Attention(sizes.width)
        self.self_attn_layer_norm = _Multiway(lambda: nn.LayerNorm(sizes.width))
        self.ffn = _Multiway(lambda: _FeedForward(sizes.width, sizes.hidden))
        self.final_layer_norm = _Multiway(lambda: nn.LayerNorm(sizes.width))

    def forward(self, x: torch.Tensor, way: str, mask: torch.Tensor | None) -> torch.Tensor:
        x = x + self.self_attn(self.self_attn_layer_norm(x, way), way, mask)
        return cast(torch.Tensor, x + self.ffn(self.final_layer_norm(x, way), way))


class _Encoder(nn.Module):
    """Adds positions to tokens or patches, and sends them through all layers."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        image_positions = (sizes.image // sizes.patch) ** 2 + 1 + SPARE_POSITIONS
        positions = {"A": image_positions, "B": sizes.text_positions}
        self.embed_positions = nn.ModuleDict({way: nn.Embedding(most, sizes.width) for way, most in positions.items()})
        self.layers = nn.ModuleList(_Layer(sizes) for _ in range(sizes.layers))
        self.layer_norm = _Multiway(lambda: nn.LayerNorm(sizes.width))

    def forward(self, x: torch.Tensor, way: str, mask: torch.Tensor | None = None) -> torch.Tensor:
        positions = torch.arange(SPARE_POSITIONS, x.shape[1] + SPARE_POSITIONS, device=x.device)
        x = x + self.embed_positions[way](positions)
        for layer in self.layers:
            x = layer(x, way, mask)
        return cast(torch.Tensor, self.layer_norm(x, way))


class _VisionEmbedding(nn.Module):
    """Patches after a mark for the whole."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, sizes.width))
        self.proj = nn.Conv2d(3, sizes.width, sizes.patch, sizes.patch)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        patches = self.proj(pixels).flatten(2).transpose(1, 2)
        return torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1)


class Beit3(nn.Module):
    """Both towers and the heads for retrieval."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.beit3 = nn.ModuleDict(
            {
                "text_embed": nn.Embedding(sizes.words, sizes.width),
                "vision_embed": _VisionEmbedding(sizes),
                "encoder": _Encoder(sizes),
            }
        )
        self.vision_head = nn.Linear(sizes.width, sizes.width, bias=False)
        self.language_head = nn.Linear(sizes.width, sizes.width, bias=False)

    def images(self, pixels: torch.Tensor) -> torch.Tensor:
        """(rows, 3, size, size) to (rows, width)."""
        return cast(
            torch.Tensor, self.vision_head(self.beit3["encoder"](self.beit3["vision_embed"](pixels), "A")[:, 0])
        )

    def texts(self, ids: torch.Tensor) -> torch.Tensor:
        """(rows, length) tokens to (rows, width)."""
        there = (ids != PAD)[:, None, None, :]
        x = self.beit3["text_embed"](ids)
        return cast(torch.Tensor, self.language_head(self.beit3["encoder"](x, "B", there)[:, 0]))
