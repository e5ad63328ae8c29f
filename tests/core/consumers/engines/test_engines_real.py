"""Real engines, fed with the files of an export and asked by its recipe: the order must be the exact debiased one."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import clustered_vectors, grid_vectors

from nnn_core.consumers.engines._faiss_file import build_index, search_ids, to_bytes
from nnn_core.consumers.engines._layouts import Rows, write_rows
from nnn_core.consumers.engines.recipe import BiasRange, Recipe, make_recipe
from nnn_core.consumers.engines.registry import METRICS, find_engine

ROWS, DIM, QUERIES, DEPTH = 1_500, 32, 100, 10

Hits = list[list[tuple[str, float]]]


@dataclass(frozen=True)
class Corpus:
    """Candidates with biases that matter, queries, and the exact answer in float64."""

    ids: list[str]
    vectors: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    queries: npt.NDArray[np.float32]

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        return self.queries.astype(np.float64) @ self.vectors.astype(np.float64).T - self.bias.astype(np.float64)

    def recipe(self, engine: str, metric: str, **options: str) -> Recipe:
        biases = BiasRange(float(self.bias.min()), float(self.bias.mean()), float(self.bias.max()))
        return make_recipe(engine, metric, DIM, biases, **options)

    def file(self, recipe: Recipe) -> bytes:
        rows = Rows(self.ids, recipe.stored(self.vectors, self.bias), self.bias)
        return write_rows(find_engine(recipe.engine), rows, {})

    def overlap(self, recipe: Recipe, hits: Hits, tolerance: float) -> float:
        """Share of the exact top 10; scores read back must be the debiased ones."""
        return self.debiased_overlap(
            [[(name, float(recipe.debiased(x))) for name, x in row] for row in hits], tolerance
        )

    def debiased_overlap(self, hits: Hits, tolerance: float) -> float:
        """Share of the exact top 10; scores must be the debiased ones."""
        scores, place = self.scores, {name: row for row, name in enumerate(self.ids)}
        exact = [{self.ids[row] for row in np.argsort(-query, kind="stable")[:DEPTH]} for query in scores]
        assert [len(row) for row in hits] == [DEPTH] * QUERIES
        for query, row in enumerate(hits):
            truth = [scores[query, place[name]] for name, _ in row]
            np.testing.assert_allclose([score for _, score in row], truth, atol=tolerance)
        return float(
            np.mean([len(one & {name for name, _ in row}) / DEPTH for one, row in zip(exact, hits, strict=True)])
        )


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    rng = np.random.default_rng(7)
    # Quotes, separators and what is no ASCII must survive every format.
    ids = [f"c{row}" for row in range(ROWS - 2)] + ['quo"te\\ \t', "é/ü#1"]
    bias = (0.25 + 0.06 * rng.standard_normal(ROWS)).astype(np.float32)
    return Corpus(ids, grid_vectors(ROWS, DIM, 1), bias, grid_vectors(QUERIES, DIM, 2))


def plain_overlap(corpus: Corpus) -> float:
    """What is left of the exact top 10 without the bias: had it no effect, these tests would show nothing."""
    plain = np.argsort(-(corpus.scores + corpus.bias), axis=1)[:, :DEPTH]
    exact = np.argsort(-corpus.scores, axis=1)[:, :DEPTH]
    return float(np.mean([len({*a} & {*b}) / DEPTH for a, b in zip(plain.tolist(), exact.tolist(), strict=True)]))


def test_the_bias_matters_here(corpus: Corpus) -> None:
    assert plain_overlap(corpus) < 0.8


@pytest.mark.parametrize("centre", ["mean", "none", "nonnegative"])
@pytest.mark.parametrize("metric", METRICS)
def test_faiss_flat(corpus: Corpus, metric: str, centre: str) -> None:
    recipe = corpus.recipe("faiss", metric, centre=centre)
    data = to_bytes(build_index("Flat", recipe, recipe.stored(corpus.vectors, corpus.bias)))
    index = faiss.deserialize_index(np.frombuffer(data, np.uint8))
    scores, rows = index.search(recipe.asked(corpus.queries), DEPTH)
    hits = [[(corpus.ids[r], s) for r, s in zip(*row, strict=True)] for row in zip(rows.tolist(), scores, strict=True)]
    assert corpus.overlap(recipe, hits, 2e-6) == 1.0


@pytest.mark.parametrize("factory", ["IVF16,Flat", "HNSW32", "SQ8"])
@pytest.mark.parametrize("metric", METRICS)
def test_faiss_indexes_that_do_not_search_exactly(metric: str, factory: str) -> None:
    vectors = clustered_vectors(ROWS, DIM, 3)
    bias = (0.3 + 0.05 * np.random.default_rng(8).standard_normal(ROWS)).astype(np.float32)
    near = Corpus([f"c{row}" for row in range(ROWS)], vectors, bias, clustered_vectors(QUERIES, DIM, 4))
    recipe = near.recipe("faiss", metric)
    index = build_index(factory, recipe, recipe.stored(vectors, bias))
    if "IVF" in factory:
        index.nprobe = 16  # every list, so that this search is exact as well
    if "HNSW" in factory:
        index.hnsw.efSearch = 400
    hits = [[(name, score) for score, name in row] for row in search_ids(index, recipe, near.queries, near.ids, DEPTH)]
    overlap = near.debiased_overlap(hits, 2e-2 if factory == "SQ8" else 2e-6)
    assert overlap == 1.0 if "IVF" in factory else overlap > (0.9 if factory == "SQ8" else 0.99)


def test_the_same_vectors_give_the_same_index(corpus: Corpus) -> None:
    recipe = corpus.recipe("faiss", "ip")
    stored = recipe.stored(corpus.vectors, corpus.bias)
    assert len({to_bytes(build_index("HNSW16", recipe, stored)) for _ in range(2)}) == 1


_DUCKDB = {
    "ip": ("array_inner_product", "DESC", "lancedb", lambda x: 1.0 - x),
    "cosine": ("array_cosine_similarity", "DESC", "lancedb", lambda x: 1.0 - x),
    "l2": ("array_distance", "ASC", "lancedb", lambda x: x * x),
}


@pytest.mark.parametrize("metric", METRICS)
def test_duckdb(corpus: Corpus, tmp_path: Path, metric: str) -> None:
    """DuckDB's vector functions over the Parquet files for LanceDB, whose metrics say the same in other words."""
    duckdb = pytest.importorskip("duckdb")
    function, order, engine, converted = _DUCKDB[metric]
    recipe = corpus.recipe(engine, metric)
    (tmp_path / "part.parquet").write_bytes(corpus.file(recipe))
    vector = f"vector::FLOAT[{recipe.dimensions}]"
    statement = (
        f"SELECT id, {function}({vector}, ?::FLOAT[{recipe.dimensions}]) AS score "
        f"FROM '{tmp_path}/part.parquet' ORDER BY score {order} LIMIT {DEPTH}"
    )
    with duckdb.connect() as connection:
        found = [connection.execute(statement, [row.tolist()]).fetchall() for row in recipe.asked(corpus.queries)]
    hits = [[(name, converted(score)) for name, score in row] for row in found]
    assert corpus.overlap(recipe, hits, 2e-6) == 1.0


def search_qdrant(corpus: Corpus, recipe: Recipe, folder: Path) -> Hits:
    client_of = pytest.importorskip("qdrant_client")
    models = client_of.models
    client = client_of.QdrantClient(":memory:")
    distance = find_engine("qdrant").metrics[recipe.metric].setting.upper()
    params = models.VectorParams(size=recipe.dimensions, distance=models.Distance[distance])
    client.create_collection("items", vectors_config=params)
    for line in corpus.file(recipe).decode().splitlines():
        client.upsert("items", [models.PointStruct(**point) for point in json.loads(line)["points"]])
    found = [client.query_points("items", query=row.tolist(), limit=DEPTH) for row in recipe.asked(corpus.queries)]
    return [[(point.payload["id"], point.score) for point in each.points] for each in found]


def search_lancedb(corpus: Corpus, recipe: Recipe, folder: Path) -> Hits:
    lancedb = pytest.importorskip("lancedb")
    rows = pq.read_table(io.BytesIO(corpus.file(recipe)))
    table = lancedb.connect(folder / "lance").create_table("items", rows)
    setting = find_engine("lancedb").metrics[recipe.metric].setting
    return [
        [
            (hit["id"], hit["_distance"])
            for hit in table.search(row, vector_column_name="vector").distance_type(setting).limit(DEPTH).to_list()
        ]
        for row in recipe.asked(corpus.queries)
    ]


def search_milvus(corpus: Corpus, recipe: Recipe, folder: Path) -> Hits:
    pymilvus = pytest.importorskip("pymilvus")
    pytest.importorskip("milvus_lite")
    client = pymilvus.MilvusClient(str(folder / "milvus.db"))
    try:
        schema = client.create_schema(auto_id=False)
        schema.add_field("id", pymilvus.DataType.VARCHAR, is_primary=True, max_length=512)
        schema.add_field("vector", pymilvus.DataType.FLOAT_VECTOR, dim=recipe.dimensions)
        schema.add_field("bias", pymilvus.DataType.FLOAT)
        setting = find_engine("milvus").metrics[recipe.metric].setting
        index = client.prepare_index_params()
        index.add_index("vector", index_type="FLAT", metric_type=setting)
        client.create_collection("items", schema=schema, index_params=index)
        # Milvus Lite has no bulk import; the rows are those of the file.
        client.insert("items", pq.read_table(io.BytesIO(corpus.file(recipe))).to_pylist())
        asked = recipe.asked(corpus.queries).tolist()
        found = client.search("items", asked, limit=DEPTH, search_params={"metric_type": setting})
        return [[(hit["id"], hit["distance"]) for hit in row] for row in found]
    finally:
        client.close()


_SEARCHES: dict[str, Callable[[Corpus, Recipe, Path], Hits]] = {
    "qdrant": search_qdrant,
    "lancedb": search_lancedb,
    "milvus": search_milvus,
}


@pytest.mark.engines
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("engine", _SEARCHES)
@pytest.mark.filterwarnings("ignore")
def test_embedded_engines(corpus: Corpus, tmp_path: Path, engine: str, metric: str) -> None:
    recipe = corpus.recipe(engine, metric)
    assert corpus.overlap(recipe, _SEARCHES[engine](corpus, recipe, tmp_path), 1e-5) == 1.0


@pytest.mark.engines
@pytest.mark.filterwarnings("ignore")
def test_the_attribute_of_qdrant(corpus: Corpus) -> None:
    """The body as it stands in export.json; an item without the field gets the mean, and does not fail the query."""
    client_of = pytest.importorskip("qdrant_client")
    models = client_of.models
    recipe = corpus.recipe("qdrant", "ip", form="attribute")
    client = client_of.QdrantClient(":memory:")
    client.create_collection("items", vectors_config=models.VectorParams(size=DIM, distance=models.Distance.DOT))
    for line in corpus.file(recipe).decode().splitlines():
        client.upsert("items", [models.PointStruct(**point) for point in json.loads(line)["points"]])
    hits = []
    for query in corpus.queries:
        body = recipe.attribute_query(ROWS)["query"].replace("<q>", json.dumps(query.tolist()))
        asked = models.QueryRequest.model_validate_json(body)
        found = client.query_points(
            "items", prefetch=asked.prefetch, query=asked.query, limit=asked.limit, with_payload=asked.with_payload
        )
        hits.append([(point.payload["id"], point.score) for point in found.points])
    assert corpus.debiased_overlap(hits, 1e-5) == 1.0
    client.delete_payload("items", ["bias"], points=models.Filter(must=[]))
    found = client.query_points("items", prefetch=asked.prefetch, query=asked.query, limit=3)
    plain = np.sort(corpus.queries[-1].astype(np.float64) @ corpus.vectors.T.astype(np.float64))[::-1][:3]
    mean = float(corpus.bias.mean())
    np.testing.assert_allclose([point.score for point in found.points], plain - mean, atol=1e-5)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Any]:
    """A server with pgvector, as the pgserver package brings it, on a socket only."""
    pgserver = pytest.importorskip("pgserver")
    # Run by root it starts the server as another user, who may not enter pytest's own folders.
    server = pgserver.get_server(tempfile.mkdtemp(prefix="nnn-postgres-"), cleanup_mode="delete")
    server.psql("CREATE EXTENSION vector;")
    yield server
    server.cleanup()


@pytest.mark.engines
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.filterwarnings("ignore")
def test_pgvector(corpus: Corpus, postgres: Any, tmp_path: Path, metric: str) -> None:
    recipe = corpus.recipe("pgvector", metric)
    operator = find_engine("pgvector").metrics[recipe.metric].setting.split(", ")[1]
    lines = corpus.file(recipe).decode()
    postgres.psql(
        f"CREATE TABLE {metric} (id text PRIMARY KEY, bias real, embedding vector({recipe.dimensions}));\n"
        f"COPY {metric} (id, bias, embedding) FROM STDIN;\n{lines}\\.\n"
    )
    asked = [json.dumps([float(number) for number in row]) for row in recipe.asked(corpus.queries)]
    found = postgres.psql(
        "\\pset format unaligned\n\\t on\n"
        + "".join(
            f"SELECT jsonb_agg(t ORDER BY score) FROM (SELECT id, embedding {operator} '{query}' AS score "
            f"FROM {metric} ORDER BY embedding {operator} '{query}' LIMIT {DEPTH}) t;\n"
            for query in asked
        )
    )
    rows = [json.loads(line) for line in found.splitlines() if line.startswith("[")]
    assert corpus.overlap(recipe, [[(hit["id"], hit["score"]) for hit in row] for row in rows], 1e-5) == 1.0


@pytest.mark.engines
@pytest.mark.filterwarnings("ignore")
def test_the_attribute_of_pgvector(corpus: Corpus, postgres: Any) -> None:
    """The statement as it stands in export.json, on an HNSW index: its inner search must find K hits."""
    recipe = corpus.recipe("pgvector", "ip", form="attribute")
    lines = corpus.file(recipe).decode()
    postgres.psql(
        f"CREATE TABLE items (id text PRIMARY KEY, bias real, embedding vector({DIM}));\n"
        f"COPY items (id, bias, embedding) FROM STDIN;\n{lines}\\.\n"
        "CREATE INDEX ON items USING hnsw (embedding vector_ip_ops);\n"
    )
    hits = []
    for query in corpus.queries:
        text = recipe.attribute_query(1000)["query"].replace("<q>", f"'{json.dumps(query.tolist())}'")
        text = text.replace("SELECT id, distance", "SELECT '>' || to_json(id)::text, distance")
        found = postgres.psql(f"\\pset format unaligned\n\\t on\n{text}\n")
        rows = [line[1:].rsplit("|", 1) for line in found.splitlines() if line.startswith(">")]
        hits.append([(json.loads(name), -float(number)) for name, number in rows])
    assert corpus.debiased_overlap(hits, 1e-5) > 0.97


@pytest.mark.engines
@pytest.mark.filterwarnings("ignore")
def test_pgvector_in_half_precision(corpus: Corpus, postgres: Any) -> None:
    """What is left above 2,000 dimensions; the file is the same."""
    if "halfvec" not in postgres.psql("SELECT typname FROM pg_type WHERE typname = 'halfvec';"):
        pytest.skip("this pgvector is older than 0.7")
    recipe = corpus.recipe("pgvector", "ip")
    lines = corpus.file(recipe).decode()
    postgres.psql(
        f"CREATE TABLE halves (id text PRIMARY KEY, bias real, embedding halfvec({recipe.dimensions}));\n"
        f"COPY halves (id, bias, embedding) FROM STDIN;\n{lines}\\.\n"
        "CREATE INDEX ON halves USING hnsw (embedding halfvec_ip_ops);\nSET hnsw.ef_search = 400;\n"
    )
    hits = []
    for query in recipe.asked(corpus.queries):
        asked = json.dumps(query.tolist())
        found = postgres.psql(
            "\\pset format unaligned\n\\t on\nSET hnsw.ef_search = 400;\n"
            f"SELECT '>' || to_json(id)::text, embedding <#> '{asked}' AS x FROM halves ORDER BY x LIMIT {DEPTH};\n"
        )
        rows = [line[1:].rsplit("|", 1) for line in found.splitlines() if line.startswith(">")]
        hits.append([(json.loads(name), float(number)) for name, number in rows])
    assert corpus.overlap(recipe, hits, 2e-3) > 0.97


def test_parquet_is_what_the_documentation_says(corpus: Corpus) -> None:
    types = {
        "milvus": {"id": pa.string(), "vector": pa.list_(pa.float32()), "bias": pa.float32()},
        "pinecone": {"id": pa.string(), "values": pa.list_(pa.float32()), "metadata": pa.string()},
    }
    for engine, wanted in types.items():
        recipe = corpus.recipe(engine, "ip")
        schema = pq.read_schema(io.BytesIO(corpus.file(recipe)))
        assert {field.name: field.type for field in schema} == {
            name: pa.list_(pa.field("element", pa.float32())) if pa.types.is_list(kind) else kind
            for name, kind in wanted.items()
        }
