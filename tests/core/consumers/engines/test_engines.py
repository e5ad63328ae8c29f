"""What an export stores and asks with, what it refuses, and files against the engines' documentation."""

from __future__ import annotations

import dataclasses
import json
import re
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import grid_vectors

from nnn_core.consumers.engines._engine import Engine, engines
from nnn_core.consumers.engines._faiss_file import Tuned, build_index, check_size, tune
from nnn_core.consumers.engines._layouts import POINTS_PER_REQUEST, read_rows, write_removal, write_rows
from nnn_core.consumers.engines._page import engines_page
from nnn_core.consumers.engines._readings import READINGS
from nnn_core.consumers.engines._rows import Rows
from nnn_core.consumers.engines.overlap import Sample, TopOverlap
from nnn_core.consumers.engines.recipe import BiasRange, Recipe, sub_vectors_of
from nnn_core.consumers.engines.registry import METRICS, engine_names, find_engine
from nnn_core.errors import ConfigError, CorruptArtifactError, InputError
from nnn_core.evaluation.rankings import Ranking

ROWS, DIM = 250, 12
IDS = [f"c{row}" for row in range(ROWS - 3)] + ['a\\t\tb\nc\\\\"', "é\u2028x", "x y/z"]
VECTORS = grid_vectors(ROWS, DIM, 1)
BIAS = (0.2 + 0.3 * np.random.default_rng(2).random(ROWS)).astype(np.float32)
BIASES = BiasRange(float(BIAS.min()), float(BIAS.mean()), float(BIAS.max()), 0.5)
QUERIES = grid_vectors(20, DIM, 3)
PLAIN = QUERIES.astype(np.float64) @ VECTORS.astype(np.float64).T
DEBIASED = PLAIN - BIAS.astype(np.float64)
EACH = [(engine.name, metric) for engine in engines() for metric in engine.metrics]
FILES = [engine for engine in engines() if engine.layout != "index"]


def written(engine: Engine, metric: str = "ip", **changes: Any) -> tuple[Recipe, bytes]:
    recipe = Recipe.make(engine.name, metric, DIM, BIASES)
    rows = dataclasses.replace(Rows(IDS, recipe.stored(VECTORS, BIAS), BIAS), **changes)
    return recipe, write_rows(engine, rows, {"version": 7})


@pytest.mark.parametrize("centre", ["mean", "none", "nonnegative"])
@pytest.mark.parametrize("alpha", [None, 0.0, 0.25, 0.75])
@pytest.mark.parametrize(("name", "metric"), EACH)
def test_the_engines_metric_gives_the_debiased_score(name: str, metric: str, centre: str, alpha: float | None) -> None:
    recipe = Recipe.make(name, metric, DIM, BIASES, centre=centre)
    stored, asked = recipe.stored(VECTORS, BIAS).astype(np.float64), recipe.asked(QUERIES, alpha).astype(np.float64)
    assert stored.shape == (ROWS, recipe.dimensions)
    products = asked @ stored.T
    lengths = np.linalg.norm(asked, axis=1)[:, None], np.linalg.norm(stored, axis=1)
    if metric != "ip":
        np.testing.assert_allclose(lengths[1], lengths[1][0], rtol=1e-6)
    computed = {
        "ip": products,
        "cosine": products / lengths[0] / lengths[1],
        "l2": np.sqrt(lengths[0] ** 2 + lengths[1] ** 2 - 2 * products),
    }[metric]
    words = {
        "dot": lambda x: x,
        "minus_dot": lambda x: -x,
        "one_minus_dot": lambda x: 1 - x,
        "positive_dot": lambda x: np.where(x < 0, 1 / (1 - x), x + 1),
        "cosine": lambda x: x,
        "one_minus_cosine": lambda x: 1 - x,
        "half_cosine": lambda x: (1 + x) / 2,
        "l2": lambda x: x,
        "squared_l2": lambda x: x**2,
        "inverse_squared_l2": lambda x: 1 / (1 + x**2),
    }
    said = words[find_engine(name).metrics[recipe.metric].reading](computed)
    weight = 1.0 if alpha is None else alpha / 0.5
    np.testing.assert_allclose(recipe.debiased(said, alpha), PLAIN - weight * BIAS.astype(np.float64), atol=3e-6)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("pad_to", "dimensions"), [(1, (13, 14)), (8, (16, 16)), (13, (13, 26)), (None, (16, 16))])
def test_zeros_change_no_score(metric: str, pad_to: int | None, dimensions: tuple[int, int]) -> None:
    """LanceDB's default index cuts vectors into sub-vectors, of which 513 dimensions would give 1 or 513."""
    plain, padded = (Recipe.make("lancedb", metric, DIM, BIASES, pad_to=each) for each in (1, pad_to))
    width = dimensions[metric != "ip"]
    assert (padded.dimensions, padded.zeros) == (width, width - plain.dimensions)
    stored, asked = padded.stored(VECTORS, BIAS), padded.asked(QUERIES, 0.3)
    assert stored.shape[1] == asked.shape[1] == width
    assert stored[:, : plain.dimensions].tolist() == plain.stored(VECTORS, BIAS).tolist()
    assert asked[:, : plain.dimensions].tolist() == plain.asked(QUERIES, 0.3).tolist()
    assert not stored[:, plain.dimensions :].any()
    assert not asked[:, plain.dimensions :].any()


def test_what_cannot_be_padded() -> None:
    with pytest.raises(ConfigError, match="--pad-to 0 must be 1 or more"):
        Recipe.make("qdrant", "ip", DIM, BIASES, pad_to=0)
    with pytest.raises(ConfigError, match="for vectors of 13 dimensions with the bias, and these have 12"):
        Recipe.make("qdrant", "ip", DIM, BIASES).asked(
            QUERIES[:, :-1] / np.linalg.norm(QUERIES[:, :-1], axis=1)[:, None]
        )


@pytest.mark.parametrize(
    ("factory", "number"), [("Flat", 1), ("PQ16", 16), ("IVF32,PQ8", 8), ("OPQ8_64,IVF4,PQ12x4fs", 24), ("SQ8", 1)]
)
def test_what_a_product_quantiser_divides(factory: str, number: int) -> None:
    assert sub_vectors_of(factory) == number


class Pretended:
    """An overlap that grows with how far an index looks."""

    def __init__(self, *shares: float) -> None:
        self.shares = iter(shares)

    def __call__(self) -> float:
        return next(self.shares)


def test_an_index_looks_as_far_as_it_must() -> None:
    recipe = Recipe.make("faiss", "ip", DIM, BIASES)
    index = build_index("IVF8,Flat", recipe, recipe.stored(VECTORS, BIAS))
    assert tune(index, Pretended(0.5, 0.9, 0.995), 0.99, None) == Tuned(
        "nprobe", 4, ((1, 0.5), (2, 0.9), (4, 0.995)), 0.0
    )
    assert index.nprobe == 4
    # A quantiser may keep it from the target: then no further than helps.
    found = tune(index, Pretended(0.5, 0.7, 0.7, 0.7), 0.99, None)
    assert (found.value, [value for value, _ in found.overlaps]) == (2, [1, 2, 4, 8])
    assert tune(index, Pretended(0.6), 0.99, 3) == Tuned("nprobe", 3, ((3, 0.6),), 0.0)
    other = build_index("HNSW8", recipe, recipe.stored(VECTORS, BIAS))
    assert tune(other, Pretended(0.6, 1.0), 0.9, None).overlaps == ((16, 0.6), (32, 1.0))
    assert other.hnsw.efSearch == 32
    assert tune(build_index("SQ8", recipe, recipe.stored(VECTORS, BIAS)), Pretended(), 0.9, None).parameter is None


def test_an_alpha_that_an_index_cannot_give() -> None:
    recipe = Recipe.make("faiss", "ip", DIM, BIASES)
    for alpha in (-0.5, float("nan")):
        with pytest.raises(ConfigError, match="must be a finite number of at least 0"):
            recipe.asked(QUERIES, alpha)
    for held, said in ((None, "an unknown one"), (0.0, "0")):
        other = dataclasses.replace(recipe, alpha=held)
        with pytest.raises(ConfigError, match=f"have alpha = {said}. Export again"):
            other.asked(QUERIES, 0.3)
        assert other.asked(QUERIES, 0.0).tolist() == recipe.asked(QUERIES, 0.0).tolist()


def test_every_reading_is_used() -> None:
    assert {use.reading for engine in engines() for use in engine.metrics.values()} == set(READINGS)


def test_nonnegative_scores() -> None:
    recipe = Recipe.make("elasticsearch", "ip", DIM, BIASES, centre="nonnegative")
    assert (recipe.asked(QUERIES).astype(np.float64) @ recipe.stored(VECTORS, BIAS).T >= 0).all()


def test_centring_makes_the_stored_bias_small() -> None:
    limits = {
        centre: Recipe.make("faiss", "ip", DIM, BIASES, centre=centre).max_abs_bias for centre in ("mean", "none")
    }
    assert limits["mean"] < 0.5 * limits["none"]


def test_a_block_of_the_table_is_stored_as_within_the_whole() -> None:
    recipe = Recipe.make("qdrant", "cosine", DIM, BIASES)
    whole = recipe.stored(VECTORS, BIAS)
    parts = [recipe.stored(VECTORS[rows], BIAS[rows]) for rows in (slice(0, 7), slice(7, ROWS))]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"metric": "cosine", "form": "inner_product"}, "divides .* by its length"),
        ({"metric": "l2", "form": "inner_product"}, "the distance depends on the length"),
        ({"metric": "hamming"}, "none of ip, cosine, l2"),
        ({"quantisation": "int8"}, "one range for all dimensions"),
        ({"quantisation": "int4"}, "none of none, int8"),
        ({"form": "other"}, "choose from"),
        ({"name": "pgvector", "dim": 4_000}, "up to 4,000 dimensions"),
        ({"name": "vertex", "quantisation": "int8"}, "documents no eight-bit"),
        ({"name": "milvus", "form": "attribute"}, "Milvus cannot subtract an attribute"),
        ({"metric": "l2", "form": "attribute"}, "--form attribute needs --metric ip"),
        ({"name": "annoy"}, "none of faiss, qdrant"),
    ],
)
def test_unsafe_combinations_are_refused_with_the_reason(flags: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Recipe.make(**{"name": "qdrant", "metric": "ip", "dim": DIM, "biases": BIASES, **flags})


def test_an_engine_without_the_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = find_engine("milvus")
    without = dataclasses.replace(engine, metrics={name: use for name, use in engine.metrics.items() if name != "ip"})
    monkeypatch.setattr("nnn_core.consumers.engines.recipe.find_engine", lambda name: without)
    with pytest.raises(ConfigError, match="Milvus has no inner product\\. Choose one of cosine, l2"):
        Recipe.make("milvus", "ip", DIM, BIASES)


@pytest.mark.parametrize("name", ["faiss", "milvus"])
def test_ranges_of_their_own_are_allowed(name: str) -> None:
    assert Recipe.make(name, "ip", DIM, BIASES, quantisation="int8").metric == "ip"


def test_a_shared_range_loses_what_a_range_for_each_dimension_keeps() -> None:
    """Why the first is refused: the same eight bits, without the centring that would soften it."""
    recipe = Recipe.make("qdrant", "ip", DIM, BIASES, centre="none")
    stored, wide = recipe.stored(VECTORS, BIAS), recipe.asked(QUERIES).astype(np.float64)

    def error(low: Any, high: Any) -> float:
        steps = np.rint((stored - low) / (high - low) * 255)
        return float(np.abs(wide @ (low + steps * (high - low) / 255 - stored).T).mean())

    assert error(stored.min(), stored.max()) > 1.5 * error(stored.min(axis=0), stored.max(axis=0))


ATTRIBUTES = [engine.name for engine in engines() if engine.attribute]


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_an_index_of_plain_vectors(name: str) -> None:
    """The bias is beside the vectors and not in them, so that it is not subtracted twice."""
    recipe = Recipe.make(name, "ip", DIM, BIASES, form="attribute")
    assert recipe.stored(VECTORS, BIAS).tolist() == VECTORS.tolist()
    assert recipe.asked(QUERIES).tolist() == QUERIES.tolist()
    assert (recipe.dimensions, recipe.bias_shift) == (DIM, 0.0)
    plain = Ranking.of(QUERIES, VECTORS, IDS, np.zeros_like(BIAS))
    assert recipe.rank(QUERIES, VECTORS, IDS).ids == plain.ids
    record = json.loads(json.dumps(recipe.to_record(75)))
    assert Recipe.from_record(record) == recipe
    # Nothing is left to fill in but the query's vector.
    assert set(re.findall(r"<[a-zA-Z][^>]*>", record["query"])) <= {"<q>", "<float>"}
    assert "75" in record["query"]
    assert f"{BIASES.mean:.9g}" in record["query"]
    assert "<" not in record["score_read_back"]
    for wrong in (lambda: recipe.asked(QUERIES, 0.3), lambda: recipe.debiased(0.5)):
        with pytest.raises(ConfigError, match="attribute"):
            wrong()


@pytest.mark.parametrize("highest", [0.0, -0.2, 0.49953, 1.75])
def test_the_shift_keeps_scores_above_zero_in_float32(highest: float) -> None:
    recipe = Recipe.make("elasticsearch", "ip", DIM, BiasRange(-0.5, 0.1, highest), form="attribute")
    query = json.loads(recipe.to_record(100)["query"].replace("<q>", "[0.5, 0.5]"))
    rescore = query["rescore"]["query"]
    shift = rescore["rescore_query"]["script_score"]["script"]["params"]["shift"]
    assert np.float32(-1.0) - np.float32(highest) + np.float32(shift) > 1e-4
    # Else the engine adds the first score.
    assert (rescore["query_weight"], rescore["rescore_query_weight"]) == (0, 1)
    assert query["rescore"]["window_size"] == query["knn"]["k"] == 100


@pytest.mark.parametrize(("name", "metric"), EACH)
def test_recipes_survive_the_manifest(name: str, metric: str) -> None:
    recipe = Recipe.make(name, metric, DIM, BIASES)
    assert Recipe.from_record(json.loads(json.dumps(recipe.to_record()))) == recipe


def test_what_is_no_recipe() -> None:
    with pytest.raises(InputError, match="not the recipe of an export"):
        Recipe.from_record({"engine": "faiss"})


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("engine", FILES, ids=lambda engine: engine.name)
def test_files_hold_every_bit(engine: Engine, metric: str) -> None:
    recipe, data = written(engine, metric)
    ids, stored = read_rows(engine, data, "file")
    assert ids == IDS
    np.testing.assert_array_equal(stored, recipe.stored(VECTORS, BIAS))
    assert written(engine, metric)[1] == data


@pytest.mark.parametrize("engine", FILES, ids=lambda engine: engine.name)
def test_numbers_of_every_size_survive(engine: Engine) -> None:
    numbers = np.array([[1e-12, -1e-5, 0.1, 1 / 3, -1.0, 0.0, np.float32(2) ** -25]], np.float32)
    data = write_rows(engine, Rows(["a"], numbers, np.zeros(1, np.float32)), {})
    np.testing.assert_array_equal(read_rows(engine, data, "file")[1], numbers)


@pytest.mark.parametrize("engine", FILES, ids=lambda engine: engine.name)
def test_damaged_files_are_noticed(engine: Engine) -> None:
    with pytest.raises(CorruptArtifactError, match="is damaged"):
        read_rows(engine, written(engine)[1][:-9], "file")


@pytest.mark.parametrize("name", ["elasticsearch", "pinecone"])
def test_ids_that_are_too_long(name: str) -> None:
    engine = find_engine(name)
    with pytest.raises(InputError, match=r"has 514 bytes.* allows 512"):
        written(engine, ids=["é" * 257, *IDS[1:]])


def test_ids_that_postgresql_cannot_hold() -> None:
    with pytest.raises(InputError, match="NUL character"):
        written(find_engine("pgvector"), ids=["a\0b", *IDS[1:]])
    rows = Rows(["a"], np.zeros((1, 2), np.float32), np.zeros(1, np.float32), pa.table({"title": ["b\0c"]}))
    with pytest.raises(InputError, match="--payload title of candidate 'a' has a NUL character"):
        write_rows(find_engine("pgvector"), rows, {})


def test_more_files_than_an_engine_imports() -> None:
    find_engine("vertex").check_files(5_000)
    find_engine("lancedb").check_files(1_000_000)
    with pytest.raises(InputError, match="at most 5,000 files, and these embeddings would be 5,001"):
        find_engine("vertex").check_files(5_001)


def lines_of(name: str) -> list[Any]:
    data = written(find_engine(name))[1]
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.decode().split("\n")[:-1]]


def is_vector(value: Any) -> bool:
    return isinstance(value, list) and len(value) == DIM + 1 and all(type(x) in (int, float) for x in value)


def test_vertex_records() -> None:
    """cloud.google.com/vertex-ai/docs/vector-search/setup/format-structure: ``id`` (string), ``embedding``."""
    records = lines_of("vertex")
    assert [record["id"] for record in records] == IDS
    assert all(set(record) == {"id", "embedding"} and is_vector(record["embedding"]) for record in records)


@pytest.mark.parametrize("name", ["elasticsearch", "opensearch"])
def test_bulk_actions(name: str) -> None:
    """Bulk API: an action line and a source line in turn, the last line ends in a newline."""
    lines = lines_of(name)
    assert [line["index"]["_id"] for line in lines[::2]] == IDS
    assert all(set(line) == {"index"} and set(line["index"]) == {"_id"} for line in lines[::2])
    assert all(is_vector(line["embedding"]) and type(line["bias"]) is float for line in lines[1::2])
    assert [line["id"] for line in lines[1::2]] == IDS


def test_vespa_puts() -> None:
    """docs.vespa.ai/en/reference/document-json-format.html: ``put`` and ``fields``; an indexed tensor is ``values``."""
    records = lines_of("vespa")
    assert [record["put"].split("::", 1)[1] for record in records] == IDS
    assert all(re.match(r"id:[a-z]+:[a-z]+::", record["put"]) for record in records)
    assert all(is_vector(record["fields"]["embedding"]["values"]) for record in records)


def test_qdrant_points() -> None:
    """PUT /collections/{name}/points: ``points`` of ``id`` (unsigned integer or UUID), ``vector``, ``payload``."""
    bodies = lines_of("qdrant")
    assert all(set(body) == {"points"} and len(body["points"]) <= POINTS_PER_REQUEST for body in bodies)
    points = [point for body in bodies for point in body["points"]]
    assert all(set(point) == {"id", "vector", "payload"} and is_vector(point["vector"]) for point in points)
    assert len({uuid.UUID(point["id"]) for point in points}) == ROWS
    assert [point["payload"]["id"] for point in points] == IDS


def test_weaviate_objects() -> None:
    """POST /v1/batch/objects: ``objects`` of ``class``, ``id`` (UUID), ``properties``, ``vector``."""
    bodies = lines_of("weaviate")
    objects = [each for body in bodies for each in body["objects"]]
    assert all(set(body) == {"objects"} for body in bodies)
    assert all(set(each) == {"class", "id", "properties", "vector"} and is_vector(each["vector"]) for each in objects)
    # ``id`` is reserved, so it must not be a property; class names begin with a capital.
    assert all("id" not in each["properties"] and each["class"][0].isupper() for each in objects)
    assert objects[0]["id"] == str(uuid.uuid5(uuid.NAMESPACE_DNS, IDS[0]))


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("milvus", {"id": "string", "vector": "list<float>", "bias": "float"}),
        ("pinecone", {"id": "string", "values": "list<float>", "metadata": "string"}),
        ("lancedb", {"id": "string", "vector": "fixed_size_list<float>[16]", "bias": "float"}),
    ],
)
def test_parquet_schemas(name: str, columns: dict[str, str]) -> None:
    """Milvus: prepare-source-data; Pinecone: import-data (STRING, LIST<FLOAT>, STRING of JSON); LanceDB: Arrow."""
    table = pq.read_table(pa.BufferReader(written(find_engine(name))[1]))
    shown = {field.name: re.sub(r"<\w+: float[^>]*>", "<float>", str(field.type)) for field in table.schema}
    assert shown == columns
    assert not any(column.null_count for column in table.columns)
    if name == "pinecone":
        assert json.loads(table["metadata"][0].as_py()) == {"bias": pytest.approx(float(BIAS[0]))}


def test_parquet_says_what_it_is() -> None:
    data = written(find_engine("lancedb"))[1]
    assert json.loads(pq.read_schema(pa.BufferReader(data)).metadata[b"nnn_export"]) == {"version": 7}


@pytest.mark.parametrize("metric", METRICS)
def test_overlap_is_measured_on_what_was_written(metric: str) -> None:
    recipe = Recipe.make("qdrant", metric, DIM, BIASES)
    exact = Ranking.of(QUERIES, VECTORS, IDS, BIAS)
    stored = recipe.stored(VECTORS, BIAS)
    assert TopOverlap.of(exact, recipe.rank(QUERIES, stored, IDS)).mean == 1.0
    stored[:, DIM] = 0.0
    plain = Ranking.of(QUERIES, VECTORS, IDS, np.zeros_like(BIAS))
    without = TopOverlap.of(exact, recipe.rank(QUERIES, stored, IDS), plain)
    assert without.mean < 0.9
    assert without.changed == pytest.approx(1 - TopOverlap.of(exact, plain).mean)


def test_distances_see_the_length_of_what_is_stored() -> None:
    """Were it not of one length, a ranking by distance would be another than one by inner product."""
    recipe = Recipe.make("qdrant", "l2", DIM, BIASES)
    stored = recipe.stored(VECTORS, BIAS) * np.linspace(0.5, 1.5, ROWS, dtype=np.float32)[:, None]
    distances = np.linalg.norm(recipe.asked(QUERIES)[:, None, :].astype(np.float64) - stored, axis=2)
    wanted = [[IDS[row] for row in query] for query in np.argsort(distances, axis=1)[:, :10]]
    assert recipe.rank(QUERIES, stored, IDS).ids == wanted


def test_overlap_by_hand() -> None:
    one = Ranking((((1.0, "a"), (0.5, "b")), ((1.0, "a"), (0.5, "b"))))
    other = Ranking((((1.0, "b"), (0.5, "a")), ((1.0, "c"), (0.5, "b"))))
    overlap = TopOverlap.of(one, other)
    assert (overlap.queries, overlap.depth, overlap.mean, overlap.lowest) == (2, 2, 0.75, 0.5)


def test_samples_do_not_depend_on_the_cut() -> None:
    rows = tuple((bytes([number]), f"q{number}", b"v") for number in range(9))
    whole = Sample(4, rows[:4])
    parts = [Sample(4, rows[3:7]), Sample(4, rows[:3]), Sample(4, rows[7:])]
    assert Sample.merge(parts) == Sample.merge(reversed(parts)) == whole


def test_an_index_that_would_not_fit() -> None:
    recipe = Recipe.make("faiss", "ip", 511, BIASES)
    check_size(1 << 20, recipe, 1 << 31)
    with pytest.raises(ConfigError, match=r"takes 2\.0 GiB in memory"):
        check_size((1 << 20) + 1, recipe, 1 << 31)


@pytest.mark.parametrize("factory", ["nonsense", "IVF4096,Flat"])
def test_indexes_that_faiss_cannot_build(factory: str) -> None:
    recipe = Recipe.make("faiss", "ip", DIM, BIASES)
    with pytest.raises(ConfigError, match="FAISS cannot build --index"):
        build_index(factory, recipe, recipe.stored(VECTORS, BIAS))


def test_every_engine_is_documented() -> None:
    assert engine_names()[-1] == "rerank"
    for engine in engines():
        assert engine.sources
        assert all(source.startswith("https://") for source in engine.sources)


def test_the_page_is_up_to_date() -> None:
    page = Path(__file__).parents[4] / "deploy" / "ENGINES.md"
    remedy = "run python -m nnn_core.consumers.engines._page > deploy/ENGINES.md"
    assert page.read_text(encoding="utf-8") == engines_page(), remedy


PAYLOAD = pa.table(
    {
        "title": ['A\t"x"', None, *("t" for _ in IDS[2:])],
        "tags": [["x", "y"], [], *(None for _ in IDS[2:])],
        "price": [1.5, float("nan"), *(2.0 for _ in IDS[2:])],
    }
)


def fields_of(engine: str, data: bytes) -> list[dict[str, Any]]:
    """The fields of each row, as the engine would hold them."""
    if engine in ("lancedb", "milvus"):
        return pq.read_table(pa.BufferReader(data)).to_pylist()  # type: ignore[no-any-return]
    if engine == "pinecone":
        return [json.loads(each) for each in pq.read_table(pa.BufferReader(data))["metadata"].to_pylist()]
    lines = [json.loads(line) for line in data.decode().rstrip("\n").split("\n")]
    return {
        "qdrant": lambda: [point["payload"] for body in lines for point in body["points"]],
        "weaviate": lambda: [each["properties"] for body in lines for each in body["objects"]],
        "elasticsearch": lambda: lines[1::2],
        "opensearch": lambda: lines[1::2],
        "vespa": lambda: [each["fields"] for each in lines],
        "vertex": lambda: [each["embedding_metadata"] for each in lines],
    }[engine]()


@pytest.mark.parametrize("engine", [each for each in FILES if each.name != "pgvector"], ids=lambda each: each.name)
def test_a_payload_travels_along(engine: Engine) -> None:
    _, data = written(engine, payload=PAYLOAD)
    first, second = fields_of(engine.name, data)[:2]
    assert (first["title"], first["tags"], first["price"]) == ('A\t"x"', ["x", "y"], 1.5)
    assert (second.get("title"), second["tags"]) == (None, [])
    if engine.layout not in ("lancedb", "milvus"):  # JSON has no word for what is no number
        assert "price" not in second
    assert read_rows(engine, data, "x")[0] == IDS


def test_a_payload_of_postgresql() -> None:
    _, data = written(find_engine("pgvector"), payload=PAYLOAD)
    first, second = (line.split("\t") for line in data.decode().split("\n")[:2])
    assert first[3:] == ['A\\t"x"', '["x", "y"]', "1.5"]
    assert second[3:] == ["\\N", "[]", "\\N"]
    recipe = Recipe.make("pgvector", "ip", DIM, BIASES, payload=["title", "tags", "price"])
    assert "COPY items (id, bias, embedding, title, tags, price) FROM STDIN" in recipe.to_record()["imports"]


NAMED = {
    "qdrant": {"collection": "photos-2", "vector": "clip", "id": "photo"},
    "milvus": {"vector": "clip", "id": "photo"},
    "lancedb": {"vector": "clip", "id": "photo"},
    "pgvector": {"collection": "shop.photos", "vector": "clip", "id": "photo"},
    "elasticsearch": {"collection": "photos-2", "vector": "clip", "id": "photo"},
    "opensearch": {"collection": "photos-2", "vector": "clip", "id": "photo"},
    "vespa": {"collection": "photo", "namespace": "shop", "vector": "clip", "id": "name"},
    "weaviate": {"collection": "Photo", "vector": "clip", "id": "photo"},
    "pinecone": {"namespace": "photos-2"},
}


@pytest.mark.parametrize("name", NAMED)
def test_names_are_those_of_the_engine(name: str) -> None:
    engine, names = find_engine(name), NAMED[name]
    recipe = Recipe.make(name, "ip", DIM, BIASES, names=names)
    stored = recipe.stored(VECTORS, BIAS)
    data = write_rows(engine, Rows(IDS, stored, BIAS), {}, recipe.engine_names)
    ids, vectors = read_rows(engine, data, "x", recipe.engine_names)
    assert ids == IDS
    np.testing.assert_array_equal(vectors, stored)
    if name not in ("pinecone", "pgvector"):  # whose files name nothing, or nothing that can be chosen
        with pytest.raises(CorruptArtifactError):
            read_rows(engine, data, "x")
    text = json.dumps(recipe.to_record()) + data.decode("latin-1")
    if engine.attribute:
        text += json.dumps(Recipe.make(name, "ip", DIM, BIASES, "attribute", names=names).to_record(50))
    assert all(each in text for each in names.values())
    assert not re.search(r"<(collection|namespace|vector|id|using|type|dim|payload)>", text)
    assert Recipe.from_record(json.loads(json.dumps(recipe.to_record()))) == recipe
    if name == "pinecone":
        assert recipe.folder == "photos-2"


@pytest.mark.parametrize(
    ("engine", "names", "reason"),
    [
        ("faiss", {"collection": "x"}, "--collection x has no effect on --engine faiss, where you can name nothing"),
        (
            "pinecone",
            {"vector": "x"},
            "--vector-field x has no effect on --engine pinecone, where you can name namespace",
        ),
        ("pgvector", {"collection": "a; DROP TABLE b"}, "has characters that would need quotes in a query of pgvector"),
        ("pgvector", {"vector": "a.b"}, "--vector-field a.b has characters that would need quotes"),
        ("elasticsearch", {"vector": "x'y"}, "dots and hyphens, and begin with a letter"),
        ("vespa", {"id": "2nd"}, "--id-field 2nd"),
    ],
)
def test_names_that_no_query_could_hold(engine: str, names: dict[str, str], reason: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(reason)):
        Recipe.make(engine, "ip", DIM, BIASES, names=names)


@pytest.mark.parametrize("payload", [["bias"], ["id"], ["embedding"], ["a", "a"], [""], ["a b"]])
def test_further_columns_that_would_stand_for_something_else(payload: list[str]) -> None:
    with pytest.raises(ConfigError, match="--payload"):
        Recipe.make("pgvector", "ip", DIM, BIASES, payload=payload)


def test_points_keep_the_ids_that_they_have() -> None:
    uuids = [f"00000000-0000-0000-0000-{row:012d}" for row in range(ROWS)]
    for name, inside in (("qdrant", "points"), ("weaviate", "objects")):
        lines = [json.loads(line) for line in written(find_engine(name), uuids=uuids)[1].decode().splitlines()]
        assert [each["id"] for body in lines for each in body[inside]] == uuids
    whole = written(find_engine("qdrant"), uuids=[str(row) for row in range(ROWS)])[1].decode().splitlines()
    assert [point["id"] for line in whole for point in json.loads(line)["points"]] == list(range(ROWS))
    for name, bad in (("weaviate", "7"), ("qdrant", "c7")):
        with pytest.raises(InputError, match=f"'{bad}' in --uuid-column is not a UUID"):
            written(find_engine(name), uuids=[bad, *uuids[1:]])


def test_points_that_are_removed_are_found() -> None:
    qdrant, weaviate, lancedb = map(find_engine, ("qdrant", "weaviate", "lancedb"))
    ids = [f"c{row}" for row in range(POINTS_PER_REQUEST + 1)]
    lines = [json.loads(line) for line in write_removal(qdrant, ids, qdrant.names, False)[0].decode().splitlines()]
    assert [len(line["points"]) for line in lines] == [POINTS_PER_REQUEST, 1]
    lines = [json.loads(line) for line in write_removal(qdrant, ids, qdrant.names, True)[0].decode().splitlines()]
    assert [len(line["filter"]["should"]) for line in lines] == [POINTS_PER_REQUEST, 1]
    assert lines[1]["filter"]["should"][0] == {"key": "id", "match": {"value": ids[-1]}}
    data, suffix = write_removal(weaviate, ids[:1], weaviate.names, False)
    assert (data.decode(), suffix) == (f"{uuid.uuid5(uuid.NAMESPACE_DNS, ids[0])}\n", ".txt")
    with pytest.raises(InputError, match="has a line break"):
        write_removal(lancedb, ["a\nb"], lancedb.names, False)


def test_wide_vectors_of_pgvector_are_halves() -> None:
    """What a type indexes: github.com/pgvector/pgvector#readme."""
    narrow, wide = (Recipe.make("pgvector", "ip", dim, BIASES) for dim in (1999, 2000))
    assert narrow.to_record()["setting"] == "vector_ip_ops, <#>"
    assert wide.to_record()["setting"] == "halfvec_ip_ops, <#>"
    assert "embedding halfvec(2001)" in wide.to_record()["imports"]
    vectors, queries = grid_vectors(40, 2000, 7), grid_vectors(5, 2000, 8)
    bias, ids = BIAS[:40], [f"c{row}" for row in range(40)]
    stored = wide.stored(vectors, bias)
    halves = stored.astype(np.float16).astype(np.float32)
    asked = wide.asked(queries).astype(np.float16).astype(np.float32)
    order = np.argsort(-(asked.astype(np.float64) @ halves.astype(np.float64).T), axis=1)[:, :10]
    assert wide.rank(queries, stored, ids).ids == [[ids[row] for row in each] for each in order]
    with pytest.raises(ConfigError, match="up to 4,000 dimensions"):
        Recipe.make("pgvector", "ip", 4000, BIASES)
