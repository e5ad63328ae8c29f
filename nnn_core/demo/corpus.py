"""The demo corpus as files in memory: candidate images, a bank of reference captions, test queries."""

from __future__ import annotations

import io
import itertools
import json
import random
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from nnn_core.demo import _scenes as scenes
from nnn_core.demo._scenes import Description, Detail, Fact, Scene

#: How detailed the captions of one candidate image are.
_CANDIDATE_DETAILS: tuple[Detail, ...] = ("vague", "partial", "partial", "full", "full")
#: A query log holds all kinds of queries; benchmark queries are mostly specific.
_REFERENCE_DETAILS: tuple[Detail, ...] = ("vague", "partial", "full")
_QUERY_DETAILS: tuple[Detail, ...] = ("partial", "full", "full", "full")
#: Captions tried for each image, all told, before there are too few queries.
_QUERY_ROUNDS = 50


@dataclass(frozen=True)
class _Query:
    """A test caption.

    Attributes:
        id: id of the query, ``query-000000`` and so on.
        caption: words of the query; they do not occur in the bank, nor in another query.
        relevant: ids of every candidate of which the caption is true, ascending; at least one.
    """

    id: str
    caption: str
    relevant: tuple[str, ...]


def corpus_files(
    *,
    images: int = 3000,
    image_shards: int = 4,
    references: int = 6000,
    reference_shards: int = 3,
    queries: int = 5000,
    seed: int = 0,
) -> Iterator[tuple[str, bytes]]:
    """Every file of the corpus as (relative path, content); nothing is read or written.

    - ``candidates/00000.tar``...: webdataset shards, ``KEY.jpg`` and ``KEY.json`` a sample.
    - ``references/00000.parquet``...: ``id``, ``caption``, of scenes that are not candidates.
    - ``queries/00000.parquet``: ``id``, ``caption``, ``relevant`` (list of candidate ids).

    Equal arguments give equal bytes, on equal versions of Pillow and pyarrow.

    Raises:
        ValueError: a count below 1, or so few images that there are not ``queries`` different captions.
    """
    if min(images, image_shards, references, reference_shards, queries) < 1:
        raise ValueError("images, references, queries and both numbers of shards must be at least 1")
    pool = [scenes.scene("candidates", seed, index) for index in range(images)]
    bank = _reference_captions(references, seed)
    tests = _make_queries(pool, frozenset(bank), queries, seed)
    for number, rows in enumerate(_split(images, image_shards)):
        yield f"candidates/{number:05}.tar", _tar(pool, rows, seed)
    for number, rows in enumerate(_split(references, reference_shards)):
        columns = {"id": [f"ref-{row:06}" for row in rows], "caption": [bank[row] for row in rows]}
        yield f"references/{number:05}.parquet", _parquet(columns)
    queries_said = {name: [getattr(query, name) for query in tests] for name in ("id", "caption", "relevant")}
    yield "queries/00000.parquet", _parquet(queries_said)


def _candidate_id(index: int) -> str:
    """The id, and the webdataset key, of a candidate image."""
    return f"img-{index:06}"


def _reference_captions(count: int, seed: int) -> list[str]:
    """A caption each of ``count`` scenes that are never candidates; vague ones repeat, as in a query log."""
    said = []
    for index in range(count):
        rng = random.Random(f"reference caption/{seed}/{index}")
        shown = scenes.scene("references", seed, index)
        said += scenes.captions(shown, [rng.choice(_REFERENCE_DETAILS)], rng)
    return said


def _make_queries(pool: Sequence[Scene], bank: Set[str], count: int, seed: int) -> list[_Query]:
    """New captions of candidates, spread evenly over the pool, with all candidates that they are true of.

    Args:
        pool: scenes of the candidates, by index.
        bank: captions that no query may repeat.
        count: how many queries to make.
        seed: seed of the choice of images and words.

    Raises:
        ValueError: the pool is too small for so many different captions.
    """
    holding: defaultdict[Fact, set[int]] = defaultdict(set)
    for index, shown in enumerate(pool):
        for fact in scenes.facts(shown):
            holding[fact].add(index)
    tests: list[_Query] = []
    for words, description in _new_captions(pool, bank, seed):
        relevant = tuple(_candidate_id(index) for index in _matching(description, pool, holding))
        tests.append(_Query(f"query-{len(tests):06}", words, relevant))
        if len(tests) == count:
            return tests
    raise ValueError(
        f"{len(pool)} images gave only {len(tests)} different captions that the bank does not hold. {count} "
        "queries need as many: ask for fewer queries or more images."
    )


def _new_captions(pool: Sequence[Scene], bank: Set[str], seed: int) -> Iterator[tuple[str, Description]]:
    """Captions neither in the bank nor given before, one image after the other in random order."""
    rng = random.Random(f"queries/{seed}")
    taken = set(bank)
    for _ in range(_QUERY_ROUNDS):
        for shown in rng.sample(pool, len(pool)):
            description = scenes.describe(shown, rng.choice(_QUERY_DETAILS), rng)
            words = scenes.caption(description, rng)
            if words not in taken:
                taken.add(words)
                yield words, description


def _matching(description: Description, pool: Sequence[Scene], holding: Mapping[Fact, set[int]]) -> list[int]:
    """Indices, ascending, of the scenes that a description is true of; ``holding`` has those of each fact."""
    sets = sorted((holding.get(claim, set()) for claim in scenes.claims(description)), key=len)
    # The facts may belong to different objects, so they only narrow the choice.
    possible = sets[0].intersection(*sets[1:]) if sets else range(len(pool))
    return sorted(index for index in possible if scenes.matches(description, pool[index]))


def _split(rows: int, shards: int) -> Iterator[range]:
    """Consecutive ranges whose lengths differ by at most one."""
    bounds = [rows * shard // shards for shard in range(shards + 1)]
    return (range(start, stop) for start, stop in itertools.pairwise(bounds))


def _tar(pool: Sequence[Scene], rows: range, seed: int) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for index in rows:
            for suffix, content in (
                ("jpg", scenes.jpeg(pool[index])),
                ("json", _sample_json(pool[index], seed, index)),
            ):
                # A fresh TarInfo has mtime, uid and gid 0, no user names and mode 0o644: nothing of this machine.
                member = tarfile.TarInfo(f"{_candidate_id(index)}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def _sample_json(shown: Scene, seed: int, index: int) -> bytes:
    rng = random.Random(f"candidate captions/{seed}/{index}")
    record = {
        "caption": scenes.captions(shown, _CANDIDATE_DETAILS, rng),
        "background": shown.background,
        "objects": [vars(item) for item in shown.items],
    }
    return json.dumps(record).encode()


def _parquet(columns: Mapping[str, Sequence[object]]) -> bytes:
    types = {"relevant": pa.list_(pa.string())}
    arrays = {name: pa.array(values, types.get(name, pa.string())) for name, values in columns.items()}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(arrays), sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())
