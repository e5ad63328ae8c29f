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
from nnn_core.consumers.engines._layouts import write_removal, write_rows, write_update
from nnn_core.consumers.engines._rows import Rows
from nnn_core.consumers.engines.recipe import BiasRange, Recipe
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
        return Recipe.make(engine, metric, DIM, biases, **options)

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


@dataclass(frozen=True)
class Moved:
    """What a later version changes: biases of some candidates, and some are gone."""

    ids: list[str]
    bias: npt.NDArray[np.float32]
    gone: list[str]
    later: Corpus

    @classmethod
    def of(cls, corpus: Corpus) -> Moved:
        bias = corpus.bias.copy()
        rows, gone = np.arange(0, 400), [corpus.ids[row] for row in range(ROWS - 20, ROWS)]
        bias[rows] += np.float32(0.08)
        later = Corpus(corpus.ids[:-20], corpus.vectors[:-20], bias[:-20], corpus.queries)
        return cls([corpus.ids[row] for row in rows], bias[rows], gone, later)

    def file(self, engine: str) -> str:
        rows = Rows(self.ids, np.zeros((len(self.ids), 0), np.float32), self.bias)
        return write_update(find_engine(engine), rows, find_engine(engine).names).decode()

    def removal(self, engine: str) -> str:
        return write_removal(find_engine(engine), self.gone, find_engine(engine).names, False)[0].decode()


@pytest.mark.engines
@pytest.mark.filterwarnings("ignore")
def test_updates_of_qdrant(corpus: Corpus) -> None:
    """Named vectors, ids that the points had before, a payload; then biases move, and points go."""
    models = pytest.importorskip("qdrant_client").models
    client = pytest.importorskip("qdrant_client").QdrantClient(":memory:")
    names = {"collection": "photos", "vector": "clip", "id": "photo"}
    recipe = Recipe.make("qdrant", "ip", DIM, BiasRange(0.0, float(corpus.bias.mean()), 1.0), "attribute", names=names)
    params = {"clip": models.VectorParams(size=DIM, distance=models.Distance.DOT)}
    client.create_collection("photos", vectors_config=params)
    payload = pa.table({"title": [f"title of {name}" for name in corpus.ids]})
    rows = Rows(corpus.ids, recipe.stored(corpus.vectors, corpus.bias), corpus.bias, payload)
    for line in write_rows(find_engine("qdrant"), rows, {}, recipe.engine_names).decode().splitlines():
        client.upsert("photos", [models.PointStruct(**point) for point in json.loads(line)["points"]])
    moved = Moved.of(corpus)
    for line in moved.file("qdrant").splitlines():
        steps = [models.SetPayloadOperation(**step) for step in json.loads(line)["operations"]]
        client.batch_update_points("photos", steps)
    for line in moved.removal("qdrant").splitlines():
        client.delete("photos", models.PointIdsList(**json.loads(line)))
    hits = []
    for query in corpus.queries:
        body = recipe.attribute_query(ROWS)["query"].replace("<q>", json.dumps(query.tolist()))
        asked = models.QueryRequest.model_validate_json(body)
        found = client.query_points("photos", prefetch=asked.prefetch, query=asked.query, limit=asked.limit)
        assert all(point.payload["title"] == f"title of {point.payload['photo']}" for point in found.points)
        hits.append([(point.payload["photo"], point.score) for point in found.points])
    assert moved.later.debiased_overlap(hits, 1e-5) == 1.0
    by_field = write_removal(find_engine("qdrant"), [corpus.ids[0]], recipe.engine_names, True)[0]
    client.delete("photos", models.FilterSelector(**json.loads(by_field)))
    assert client.count("photos").count == ROWS - 21


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


@pytest.mark.engines
@pytest.mark.filterwarnings("ignore")
def test_updates_of_pgvector(corpus: Corpus, postgres: Any) -> None:
    """The statements that the page shows, as they stand there."""
    names = {"collection": "photos", "vector": "clip", "id": "photo"}
    biases = BiasRange(0.0, float(corpus.bias.mean()), 1.0)
    recipe = Recipe.make("pgvector", "ip", DIM, biases, "attribute", names=names, payload=["title"])
    payload = pa.table({"title": [f"title\tof {name}" for name in corpus.ids]})
    rows = Rows(corpus.ids, recipe.stored(corpus.vectors, corpus.bias), corpus.bias, payload)
    lines = write_rows(find_engine("pgvector"), rows, {}, recipe.engine_names).decode()
    moved, said = Moved.of(corpus), recipe.to_record(ROWS)
    copy = next(part for part in said["imports"].split("`") if part.startswith("COPY"))
    postgres.psql(
        f"CREATE TABLE photos (photo text PRIMARY KEY, bias real, clip vector({DIM}), title text);\n"
        f"{copy};\n{lines}\\.\n"
    )
    for text, file in ((said["sets"], moved.file("pgvector")), (said["removes"], moved.removal("pgvector"))):
        make, fill, act = [part for part in text.split("`") if part.isascii() and part[:1].isupper()][:3]
        postgres.psql(f"{make};\n{fill};\n{file}\\.\n{act};\n")
    hits = []
    for query in corpus.queries:
        text = recipe.attribute_query(ROWS)["query"].replace("<q>", f"'{json.dumps(query.tolist())}'")
        text = text.replace("SELECT photo, distance", "SELECT '>' || to_json(photo)::text, distance")
        found = postgres.psql(f"\\pset format unaligned\n\\t on\n{text}\n")
        named = [line[1:].rsplit("|", 1) for line in found.splitlines() if line.startswith(">")]
        hits.append([(json.loads(name), -float(number)) for name, number in named])
    assert moved.later.debiased_overlap(hits, 1e-5) == 1.0
    titles = postgres.psql("\\pset format unaligned\n\\t on\nSELECT '>' || to_json(title)::text FROM photos;\n")
    assert {json.loads(line[1:]) for line in titles.splitlines() if line.startswith(">")} == {
        f"title\tof {name}" for name in moved.later.ids
    }


@pytest.mark.engines
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("engine", ["lancedb", "milvus"])
def test_updates_of_whole_rows(corpus: Corpus, tmp_path: Path, engine: str) -> None:
    """Rows whose bias moved are imported over those that are there; the others stay as they are."""
    moved = Moved.of(corpus)
    recipe = corpus.recipe(engine, "cosine")
    whole = pq.read_table(io.BytesIO(corpus.file(recipe)))
    places = [corpus.ids.index(name) for name in moved.ids]
    rows = Rows(moved.ids, recipe.stored(corpus.vectors[places], moved.bias), moved.bias)
    fresh = pq.read_table(io.BytesIO(write_rows(find_engine(engine), rows, {}, recipe.engine_names)))
    gone = moved.removal(engine).splitlines()
    if engine == "lancedb":
        lancedb = pytest.importorskip("lancedb")
        table = lancedb.connect(tmp_path / "lance").create_table("items", whole)
        table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(fresh)
        quoted = ", ".join("'" + name.replace("'", "''") + "'" for name in gone)
        table.delete(f"id IN ({quoted})")
        found = [
            [(hit["id"], hit["_distance"]) for hit in table.search(row).distance_type("cosine").limit(DEPTH).to_list()]
            for row in recipe.asked(corpus.queries)
        ]
    else:
        found = updated_milvus(corpus, recipe, tmp_path, (whole, fresh, gone))
    assert moved.later.overlap(recipe, found, 1e-5) == 1.0


def updated_milvus(corpus: Corpus, recipe: Recipe, folder: Path, steps: tuple[pa.Table, pa.Table, list[str]]) -> Hits:
    pymilvus = pytest.importorskip("pymilvus")
    pytest.importorskip("milvus_lite")
    client = pymilvus.MilvusClient(str(folder / "milvus.db"))
    whole, fresh, gone = steps
    try:
        schema = client.create_schema(auto_id=False)
        schema.add_field("id", pymilvus.DataType.VARCHAR, is_primary=True, max_length=512)
        schema.add_field("vector", pymilvus.DataType.FLOAT_VECTOR, dim=recipe.dimensions)
        schema.add_field("bias", pymilvus.DataType.FLOAT)
        index = client.prepare_index_params()
        index.add_index("vector", index_type="FLAT", metric_type="COSINE")
        client.create_collection("items", schema=schema, index_params=index)
        client.insert("items", whole.to_pylist())
        client.upsert("items", fresh.to_pylist())
        # The client puts ids into an expression as they are, in which a backslash escapes.
        client.delete("items", ids=[name.replace("\\", "\\\\") for name in gone])
        asked = recipe.asked(corpus.queries).tolist()
        found = client.search("items", asked, limit=DEPTH, search_params={"metric_type": "COSINE"})
        return [[(hit["id"], hit["distance"]) for hit in row] for row in found]
    finally:
        client.close()
