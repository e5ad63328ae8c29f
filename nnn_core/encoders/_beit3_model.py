"""The two towers of BEiT-3: one transformer whose every layer has weights for images (A) and for texts (B).

Names of modules are those of its checkpoints. Layers are normalised before attention and before the network that
follows it, and once more within each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

_HEAD_WIDTH = 64
_PAD = 1

#: Position embeddings before the first that is used.
SPARE_POSITIONS = 2


@dataclass(frozen=True)
class Sizes:
    """What a checkpoint's shapes say; the width of a head is always 64."""

    width: int
    hidden: int
    layers: int
    patch: int
    image: int
    words: int
    text_positions: int


class Multiway(nn.Module):
    """A module for images and another for texts."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.A, self.B = make(), make()

    def forward(self, x: torch.Tensor, way: str) -> torch.Tensor:
        found: torch.Tensor = getattr(self, way)(x)
        return found


class Attention(nn.Module):
    """Self-attention, normalised before its last projection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q_proj, self.k_proj = Multiway(lambda: nn.Linear(width, width)), Multiway(lambda: nn.Linear(width, width))
        self.v_proj, self.out_proj = (
            Multiway(lambda: nn.Linear(width, width)),
            Multiway(lambda: nn.Linear(width, width)),
        )
        self.inner_attn_ln = Multiway(lambda: nn.LayerNorm(width))

    def forward(self, x: torch.Tensor, way: str, mask: torch.Tensor | None) -> torch.Tensor:
        """``mask`` (rows, 1, 1, length) is true where there is something to look at."""
        q, k, v = (
            projection(x, way).unflatten(-1, (-1, _HEAD_WIDTH)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        projected: torch.Tensor = self.out_proj(self.inner_attn_ln(found, way), way)
        return projected


class FeedForward(nn.Module):
    """The network after attention, normalised before its last projection."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.ffn_layernorm = nn.LayerNorm(hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.fc2(self.ffn_layernorm(F.gelu(self.fc1(x))))
        return found


class Layer(nn.Module):
    """Attention, then the network, each added to what came in."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.self_attn = Attention(sizes.width)
        self.self_attn_layer_norm = Multiway(lambda: nn.LayerNorm(sizes.width))
        self.ffn = Multiway(lambda: FeedForward(sizes.width, sizes.hidden))
        self.final_layer_norm = Multiway(lambda: nn.LayerNorm(sizes.width))

    def forward(self, x: torch.Tensor, way: str, mask: torch.Tensor | None) -> torch.Tensor:
        x = x + self.self_attn(self.self_attn_layer_norm(x, way), way, mask)
        found: torch.Tensor = x + self.ffn(self.final_layer_norm(x, way), way)
        return found


class Encoder(nn.Module):
    """Positions and layers."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        image_positions = (sizes.image // sizes.patch) ** 2 + 1 + SPARE_POSITIONS
        self.embed_positions = nn.ModuleDict(
            {
                "A": nn.Embedding(image_positions, sizes.width),
                "B": nn.Embedding(sizes.text_positions, sizes.width),
            }
        )
        self.layers = nn.ModuleList(Layer(sizes) for _ in range(sizes.layers))
        self.layer_norm = Multiway(lambda: nn.LayerNorm(sizes.width))

    def forward(self, x: torch.Tensor, way: str, mask: torch.Tensor | None = None) -> torch.Tensor:
        positions = torch.arange(SPARE_POSITIONS, x.shape[1] + SPARE_POSITIONS, device=x.device)
        x = x + self.embed_positions[way](positions)
        for layer in self.layers:
            x = layer(x, way, mask)
        normalised: torch.Tensor = self.layer_norm(x, way)
        return normalised


class VisionEmbedding(nn.Module):
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
                "vision_embed": VisionEmbedding(sizes),
                "encoder": Encoder(sizes),
            }
        )
        self.vision_head = nn.Linear(sizes.width, sizes.width, bias=False)
        self.language_head = nn.Linear(sizes.width, sizes.width, bias=False)

    def images(self, pixels: torch.Tensor) -> torch.Tensor:
        """(rows, 3, size, size) to (rows, width)."""
        found: torch.Tensor = self.vision_head(self.beit3["encoder"](self.beit3["vision_embed"](pixels), "A")[:, 0])
        return found

    def texts(self, ids: torch.Tensor) -> torch.Tensor:
        """(rows, length) tokens to (rows, width)."""
        there = (ids != _PAD)[:, None, None, :]
        x = self.beit3["text_embed"](ids)
        found: torch.Tensor = self.language_head(self.beit3["encoder"](x, "B", there)[:, 0])
        return found
