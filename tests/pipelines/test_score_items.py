"""Items that arrive between refreshes: their biases are the bits that the next refresh publishes."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import uuid
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.ml.rag.types import Content, EmbeddableItem, Embedding
from apache_beam.testing.util import assert_that
from corpora import brute_force_means, gaussian, write_vectors

from nnn_core import BiasScorer, BiasTable, compute_biases, load_bias_table
from nnn_core.consumers.engines.recipe import BiasRange, Recipe
from nnn_core.consumers.scorer import Scores
from nnn_core.errors import BankTooSmallError, ConfigError, DuplicateIdError, InputError, StorageError
from nnn_core.table.lifecycle.cleaning import Needs
from nnn_core.vectors import unit_vectors
from pipelines.commands import cli
from pipelines.stages.score_items import ScoreItems

DIM, OLD, NEW, BANK = 24, 40, 30, 50
IDS = [f"c{row:02d}" for row in range(OLD + NEW)]
VECTORS = gaussian(OLD + NEW, DIM, 1)
#: Some references belong to candidates, which do without them; one has more of them than the table's k.
PAIRS = [IDS[0]] * 9 + [IDS[row * 3] if row < 20 else "" for row in range(9, BANK)]


@pytest.fixture(scope="module")
def refreshed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, BiasTable]:
    """A table of the old candidates, and what the next refresh of old and new ones publishes."""
    folder = tmp_path_factory.mktemp("refreshed")
    write_vectors(folder / "references", [f"r{row}" for row in range(BANK)], gaussian(BANK, DIM, 2), 3, PAIRS)
    write_vectors(folder / "old", IDS[:OLD], VECTORS[:OLD], 2)
    write_vectors(folder / "new", IDS[OLD:], VECTORS[OLD:], 2)
    write_vectors(folder / "all", IDS, VECTORS, 1)
    for side in ("old", "all"):
        flags = {"candidates": folder / side / "part-*.parquet", "references": folder / "references" / "part-*.parquet"}
        flags |= {"table": folder / f"{side}-table", "work": folder / "work", "k": 4, "reference-shard-rows": 20}
        flags |= {"reference-pair-id-column": "pair_id"}
        assert cli.main(["refresh", "--exclude-own-pairs", *as_flags(flags)]) == 0
    return folder, load_bias_table(str(folder / "all-table"))


def as_flags(flags: dict[str, Any]) -> list[str]:
    return [part for name, value in flags.items() for part in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def scorer(refreshed: tuple[Path, BiasTable]) -> BiasScorer:
    return BiasScorer.open(str(refreshed[0] / "old-table"), str(refreshed[0] / "work"))


def test_the_bits_are_those_of_the_next_refresh(refreshed: tuple[Path, BiasTable], scorer: BiasScorer) -> None:
    published = refreshed[1].bias_of(IDS)
    assert scorer.bias(VECTORS, IDS).tobytes() == published.tobytes()
    one_by_one = [scorer.bias(VECTORS[[row]], [IDS[row]])[0] for row in range(OLD, OLD + NEW)]
    assert np.array(one_by_one).tobytes() == published[OLD:].tobytes()
    assert scorer.bias((8 * VECTORS).astype(np.float64), IDS, IDS).tobytes() == published.tobytes()
    # Own references matter here.
    assert scorer.bias(VECTORS, ["x"] * len(IDS)).tobytes() != published.tobytes()
    assert scorer.bias(VECTORS[:0], []).shape == (0,)
    assert scorer.nbytes >= 4 * DIM * BANK


def test_own_pairs_are_left_out_of_all_means(refreshed: tuple[Path, BiasTable]) -> None:
    """Those beyond k too."""
    table = refreshed[1]
    settings = table.manifest.settings
    own = np.array([[name == pair for pair in PAIRS] for name in IDS])
    assert (settings.exclude_own_pairs, settings.k, own.sum(axis=1).max()) == (True, 4, 9)
    means = brute_force_means(VECTORS, gaussian(BANK, DIM, 2), settings.grid, own)
    np.testing.assert_allclose(table.means_for(IDS), means, rtol=0, atol=1e-6)
    expected = settings.alpha * means[:, settings.grid.index(4)]
    np.testing.assert_allclose(table.bias_of(IDS), expected, rtol=0, atol=1e-6)


def test_arrays_in_memory_get_the_bits_of_a_refresh(refreshed: tuple[Path, BiasTable], scorer: BiasScorer) -> None:
    """By default too: of this bank k is 4, as in the refresh. References of candidates are left out by name only."""
    bank, settings = gaussian(BANK, DIM, 2), scorer.manifest.settings
    found = compute_biases(VECTORS, 4 * bank)
    assert found.tobytes() == scorer.bias(VECTORS, ["x"] * len(IDS)).tobytes()
    others = [row for row, name in enumerate(IDS) if name not in PAIRS]
    assert found[others].tobytes() == refreshed[1].bias_of([IDS[row] for row in others]).tobytes()
    assert compute_biases(VECTORS, 4 * bank, settings.k, settings.alpha).tobytes() == found.tobytes()
    scores = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (VECTORS, bank)]
    best = -np.sort(-(scores[0].astype(np.float64) @ scores[1].T.astype(np.float64)), axis=1)
    for k, alpha in ((settings.k, settings.alpha), (1, 1.0), (BANK, 0.25), (7, 0.0)):
        expected = alpha * best[:, :k].mean(axis=1)
        np.testing.assert_allclose(compute_biases(VECTORS, bank, k, alpha), expected, rtol=0, atol=1e-6)
    assert compute_biases(VECTORS[:0], bank).shape == (0,)
    with pytest.raises(BankTooSmallError, match="51"):
        compute_biases(VECTORS, bank, k=51)
    with pytest.raises(InputError, match="1 of 50 references are zero"):
        compute_biases(VECTORS, np.where(np.arange(BANK)[:, None] == 3, 0, bank))
    with pytest.raises(ConfigError, match=r"must both be \(rows, dim\)"):
        compute_biases(VECTORS[0], bank)
    with pytest.raises(ConfigError, match="alpha"):
        compute_biases(VECTORS, bank, alpha=-1.0)


def test_what_cannot_be_scored(refreshed: tuple[Path, BiasTable], scorer: BiasScorer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="so ids are needed"):
        scorer.bias(VECTORS)
    with pytest.raises(ConfigError, match="one id for each row"):
        scorer.bias(VECTORS, IDS[:3])
    with pytest.raises(InputError, match="dimension"):
        scorer.bias(VECTORS[:, :5], IDS)
    broken = VECTORS.copy()
    broken[3], broken[4, 0] = 0.0, np.nan
    with pytest.raises(InputError, match="2 of 70 vectors are zero or not finite"):
        scorer.bias(broken, IDS)
    with pytest.raises(InputError, match=r"has no record of the bank's vectors for version 1"):
        BiasScorer.open(str(refreshed[0] / "old-table"), str(tmp_path))


def test_a_bank_that_is_not_the_tables_is_refused(
    refreshed: tuple[Path, BiasTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Needs.find

    def shorter(manifest: Any, work: str) -> list[Needs]:
        (needs, *_) = real(manifest, work)
        return [Needs(**{**vars(needs), "bank": needs.bank[1:]})]

    monkeypatch.setattr(Needs, "find", shorter)
    with pytest.raises(InputError, match="has no record of the bank's vectors"):
        BiasScorer.open(str(refreshed[0] / "old-table"), str(refreshed[0] / "work"))


def test_too_few_references_are_refused_as_in_a_refresh(scorer: BiasScorer) -> None:
    settings = dataclasses.replace(scorer.manifest.settings, k=BANK, grid=(1, BANK))
    wide = BiasScorer(dataclasses.replace(scorer.manifest, settings=settings), scorer.searches)
    assert wide.bias(VECTORS[:1], ["a stranger"]).shape == (1,)
    with pytest.raises(BankTooSmallError, match=r"only 41 reference queries .* the table's k = 50"):
        wide.bias(VECTORS, IDS)


def test_the_command_writes_a_file_of_biases(refreshed: tuple[Path, BiasTable], tmp_path: Path) -> None:
    folder, published = refreshed
    flags = {"table": folder / "old-table", "work": folder / "work", "output": tmp_path / "new.parquet"}
    flags |= {"candidates": folder / "new" / "part-*.parquet"}
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert cli.main(["score", *as_flags(flags), "--json"]) == 0
    result = json.loads(out.getvalue().splitlines()[-1])
    assert (result["rows"], result["version"]) == (NEW, 1)
    written = pq.read_table(flags["output"])
    assert written.column("id").to_pylist() == sorted(IDS[OLD:])
    assert written.column("bias").to_numpy().tobytes() == published.bias_of(sorted(IDS[OLD:])).tobytes()
    assert load_bias_table(str(folder / "old-table")).manifest.rows == OLD


def test_a_file_of_scores(scorer: BiasScorer, tmp_path: Path) -> None:
    part = Scores(("b", "a"), np.array([0.5, 0.25], "<f4").tobytes())
    output = str(tmp_path / "scores.parquet")
    assert Scores.merge([part, Scores(("c",), np.array([1.0], "<f4").tobytes())]).write(output, scorer.manifest) == 3
    assert pq.read_table(output).to_pydict() == {"id": ["a", "b", "c"], "bias": [0.25, 0.5, 1.0]}
    with pytest.raises(StorageError, match="exists already with other content"):
        part.write(output, scorer.manifest)
    with pytest.raises(DuplicateIdError, match="'b' occurs more than once"):
        Scores(("b", "a", "b"), bytes(12)).write(str(tmp_path / "twice"), scorer.manifest)
    with pytest.raises(InputError, match="no row of --candidates"):
        Scores.merge([]).write(str(tmp_path / "none"), scorer.manifest)


def items(rows: list[int]) -> list[EmbeddableItem]:
    return [
        EmbeddableItem(
            Content(text=IDS[row]), IDS[row], metadata={"n": row}, embedding=Embedding(VECTORS[row].tolist())
        )
        for row in rows
    ]


def transform(refreshed: tuple[Path, BiasTable], **more: Any) -> ScoreItems:
    return ScoreItems(str(refreshed[0] / "old-table"), str(refreshed[0] / "work"), **more)


@pytest.mark.slow
def test_items_get_their_bias_in_a_pipeline(refreshed: tuple[Path, BiasTable]) -> None:
    published = refreshed[1].bias_of(IDS).tolist()

    def check(found: list[EmbeddableItem]) -> None:
        assert sorted(item.id for item in found) == IDS[OLD:]
        for item in found:
            assert item.metadata == {"n": int(item.id[1:]), "bias": published[int(item.id[1:])]}

    with beam.Pipeline("FnApiRunner") as root:
        assert_that(root | beam.Create(items([*range(OLD, OLD + NEW)])) | transform(refreshed), check)


def test_a_bias_inside_the_vector(refreshed: tuple[Path, BiasTable], scorer: BiasScorer) -> None:
    recipe = Recipe.make("qdrant", "cosine", DIM, BiasRange.of(scorer.manifest))
    bias, (unit, _, _) = refreshed[1].bias_of(IDS), unit_vectors(VECTORS)
    inside = [row for row in range(OLD) if abs(bias[row] - recipe.bias_shift) <= recipe.max_abs_bias]
    given = items(inside)
    found = list(transform(refreshed, recipe=recipe, field="b").score(given, scorer))
    stored = recipe.stored(unit[inside], bias[inside])
    assert [item.dense_embedding for item in found] == stored.tolist()
    assert [item.metadata["b"] for item in found] == bias[inside].tolist()
    assert given == items(inside)


def test_an_item_without_a_vector_is_refused(refreshed: tuple[Path, BiasTable], scorer: BiasScorer) -> None:
    bare = EmbeddableItem(Content(text="x"), "bare")
    with pytest.raises(InputError, match=r"1 of 3 items have no dense embedding \(first: 'bare'\)"):
        list(transform(refreshed).score([*items([0, 1]), bare], scorer))
    paired = transform(refreshed, pair_id="own")
    given = items([0, 1])
    given[0].metadata["own"] = IDS[27]
    biases = [item.metadata["bias"] for item in paired.score(given, scorer)]
    assert biases == scorer.bias(VECTORS[:2], IDS[:2], [IDS[27], ""]).tolist()
    assert pa.array(biases).null_count == 0


@pytest.mark.engines
@pytest.mark.filterwarnings("ignore")
def test_before_beams_own_sink_of_qdrant(refreshed: tuple[Path, BiasTable], scorer: BiasScorer, tmp_path: Path) -> None:
    """Old items are in the index with their biases, new ones come by Beam; the order is the exact debiased one."""
    client_of = pytest.importorskip("qdrant_client")
    from apache_beam.ml.rag.ingestion.base import VectorDatabaseWriteTransform
    from apache_beam.ml.rag.ingestion.qdrant import QdrantConnectionParameters, QdrantWriteConfig

    names = [str(uuid.uuid5(uuid.NAMESPACE_DNS, row_id)) for row_id in IDS]
    bias, (unit, _, _) = scorer.bias(VECTORS, names), unit_vectors(VECTORS)
    recipe = Recipe.make("qdrant", "ip", DIM, BiasRange.of(scorer.manifest))
    params = client_of.models.VectorParams(size=recipe.dimensions, distance=client_of.models.Distance.DOT)
    client = client_of.QdrantClient(path=str(tmp_path))
    client.create_collection("items", vectors_config={"dense": params})
    client.close()
    arrived = [
        EmbeddableItem(Content(text="x"), name, embedding=Embedding(vector.tolist()))
        for name, vector in zip(names, VECTORS, strict=True)
    ]
    sink = QdrantWriteConfig(QdrantConnectionParameters.local(str(tmp_path)), "items")
    with beam.Pipeline("FnApiRunner") as root:
        scored = root | beam.Create(arrived, reshuffle=False) | transform(refreshed, recipe=recipe)
        scored | VectorDatabaseWriteTransform(sink)
    client = client_of.QdrantClient(path=str(tmp_path))
    queries, _, _ = unit_vectors(gaussian(10, DIM, 5))
    exact = queries.astype(np.float64) @ unit.T.astype(np.float64) - bias.astype(np.float64)
    for query, truth in zip(queries, exact, strict=True):
        asked = recipe.asked(query[None])[0].tolist()
        found = client.query_points("items", query=asked, using="dense", limit=10, with_payload=True).points
        assert [point.id for point in found] == [names[row] for row in np.argsort(-truth)[:10]]
        np.testing.assert_allclose(recipe.debiased([point.score for point in found]), -np.sort(-truth)[:10], atol=1e-5)
        assert [point.payload["bias"] for point in found] == [bias[names.index(point.id)] for point in found]
    client.close()
