"""Each side of a refresh in plain calls, without a pipeline: what its files become, and what is refused."""

from __future__ import annotations

from nnn_core.embedded.corpus import Corpus
from nnn_core.embedded.embedding import EmbeddingRequest, embed_shard
from nnn_core.embedded.shards import EmbeddedInput
from nnn_core.encoders import Encoder
from nnn_core.inputs.listing import describe_shard, list_shards
from nnn_core.inputs.readers import Columns
from nnn_core.inputs.shards import Modality
from nnn_core.scoring.bank import Bank


def embed_side(
    pattern: str,
    work: str,
    flag: str = "--candidates",
    encoder: Encoder | None = None,
    modality: Modality = "image",
    **columns: object,
) -> list[EmbeddedInput]:
    """Every file of a side, embedded or found."""
    request = EmbeddingRequest(modality, Columns(**columns), "e" if encoder else None, work)  # type: ignore[arg-type]
    planned = [request.plan(describe_shard(uri)) for uri in list_shards(pattern, flag)]
    return [request.find(each) or embed_shard(each, request, encoder) for each in planned]


def candidates_of(pattern: str, work: str, max_reject_rate: float = 0.0, **how: object) -> Corpus:
    """The candidates as a whole; ``how`` goes to ``embed_side``."""
    return Corpus.gather(embed_side(pattern, work, **how), max_reject_rate, f"{work}/rejects")  # type: ignore[arg-type]


def bank_of(
    pattern: str, work: str, max_reject_rate: float = 0.0, exclude_own_pairs: bool = False, **how: object
) -> Bank:
    """The bank as a whole, whose rows need no id; ``how`` goes to ``embed_side``."""
    inputs = embed_side(pattern, work, "--references", require_id=False, **how)  # type: ignore[arg-type]
    return Bank.gather(inputs, 1 << 16, None, max_reject_rate, f"{work}/rejects", exclude_own_pairs)
