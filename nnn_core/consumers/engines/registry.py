"""The engines, as data. What is stated here is from the pages named in ``sources``."""

from __future__ import annotations

from nnn_core.consumers.engines.engine import Engine, Metric, MetricUse
from nnn_core.errors import ConfigError


def _metrics(**uses: tuple[str, str]) -> dict[Metric, MetricUse]:
    return {name: MetricUse(*use) for name, use in uses.items()}  # type: ignore[misc]


ENGINES: tuple[Engine, ...] = (
    Engine(
        name="faiss",
        title="FAISS",
        layout="index",
        imports="`faiss.read_index` of the `.faiss` file; row n of the `.parquet` file has the id of position n",
        metrics=_metrics(
            ip=("METRIC_INNER_PRODUCT", "dot"),
            cosine=("METRIC_INNER_PRODUCT of unit vectors", "cosine"),
            l2=("METRIC_L2", "squared_l2"),
        ),
        settings="`--index` takes any factory string: `Flat` is exact; `IVF...`, `HNSW...`, `SQ8` and `PQ...` are not, "
        "so look at the measured overlap; raise `nprobe` or `efSearch` where it is low",
        sources=(
            "https://github.com/facebookresearch/faiss/wiki/The-index-factory",
            "https://github.com/facebookresearch/faiss/wiki/MetricType-and-distances",
        ),
        per_dimension="SQ8",
    ),
    Engine(
        name="qdrant",
        title="Qdrant",
        layout="qdrant",
        imports="each line is a body for `PUT /collections/NAME/points`",
        metrics=_metrics(ip=("Dot", "dot"), cosine=("Cosine", "cosine"), l2=("Euclid", "l2")),
        settings="no scalar quantization (one range for all dimensions); `exact: true`, or a higher `hnsw_ef`, where "
        "recall matters; point ids are UUIDs (version 5) of the id, which is in the payload",
        sources=(
            "https://qdrant.tech/documentation/concepts/points/",
            "https://qdrant.tech/documentation/concepts/collections/",
            "https://qdrant.tech/documentation/guides/quantization/",
            "https://qdrant.tech/documentation/concepts/hybrid-queries/",
        ),
        most_dimensions=65_535,
        shared_range="scalar quantization (type int8)",
        attribute='`{"prefetch": {"query": q, "limit": K}, "query": {"formula": {"sum": '
        '["$score", {"neg": "bias"}]}}}`',
    ),
    Engine(
        name="milvus",
        title="Milvus",
        layout="milvus",
        imports="`bulk_import` of the Parquet files into fields `id` (VARCHAR, primary), `vector`, `bias` (FLOAT)",
        metrics=_metrics(ip=("IP", "dot"), cosine=("COSINE", "cosine"), l2=("L2", "squared_l2")),
        settings="`FLAT` is exact; with `IVF_SQ8` and `HNSW_SQ` each dimension has a range of its own",
        sources=(
            "https://milvus.io/docs/prepare-source-data.md",
            "https://milvus.io/docs/import-data.md",
            "https://milvus.io/docs/metric.md",
        ),
        most_dimensions=32_768,
        longest_id=65_535,
        per_dimension="IVF_SQ8, HNSW_SQ",
    ),
    Engine(
        name="lancedb",
        title="LanceDB",
        layout="lancedb",
        imports="`db.create_table(name, pyarrow.dataset.dataset(files).to_batches(), schema=...)`",
        metrics=_metrics(ip=("dot", "one_minus_dot"), cosine=("cosine", "one_minus_cosine"), l2=("l2", "squared_l2")),
        settings="without an index, or with `bypass_vector_index()`, search is exact; no `IVF_HNSW_SQ` "
        "(one range for all dimensions); name the metric at index time and at query time",
        sources=(
            "https://lancedb.github.io/lancedb/ann_indexes/",
            "https://lancedb.github.io/lancedb/search/",
        ),
        shared_range="IVF_HNSW_SQ",
    ),
    Engine(
        name="pgvector",
        title="pgvector",
        layout="pgvector",
        imports="`COPY items (id, bias, embedding) FROM STDIN` in text format, into `id text, bias real, "
        "embedding vector(DIM)`",
        metrics=_metrics(
            ip=("vector_ip_ops, <#>", "minus_dot"),
            cosine=("vector_cosine_ops, <=>", "one_minus_cosine"),
            l2=("vector_l2_ops, <->", "l2"),
        ),
        settings="without an index search is exact; `hnsw` and `ivfflat` index at most 2,000 dimensions; raise "
        "`hnsw.ef_search` or `ivfflat.probes` where recall matters",
        sources=(
            "https://github.com/pgvector/pgvector#readme",
            "https://www.postgresql.org/docs/current/sql-copy.html",
        ),
        most_dimensions=2_000,
        attribute="`SELECT id FROM (SELECT * FROM items ORDER BY embedding <#> q LIMIT K) t "
        "ORDER BY (embedding <#> q) + bias LIMIT 10`",
    ),
    Engine(
        name="elasticsearch",
        title="Elasticsearch",
        layout="bulk",
        imports="lines for `POST /INDEX/_bulk`, an action and a document in turn, at most 100 MB a request",
        metrics=_metrics(
            ip=("max_inner_product", "positive_dot"),
            cosine=("cosine", "half_cosine"),
            l2=("l2_norm", "inverse_squared_l2"),
        ),
        settings='`"index_options": {"type": "hnsw"}`: the default quantises (`int8_hnsw`, `bbq_hnsw`); `dot_product` '
        "demands unit vectors, so it is never the metric to take",
        sources=(
            "https://www.elastic.co/docs/reference/elasticsearch/mapping-reference/dense-vector",
            "https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk",
            "https://www.elastic.co/docs/reference/query-languages/query-dsl/query-dsl-script-score-query",
        ),
        most_dimensions=4_096,
        longest_id=512,
        shared_range="int8_hnsw, int8_flat",
        attribute="`rescore` with `script_score`: `dotProduct(params.q, 'embedding') - doc['bias'].value + 1 + "
        "max bias`, which must not be negative",
    ),
    Engine(
        name="opensearch",
        title="OpenSearch",
        layout="bulk",
        imports="lines for `POST /INDEX/_bulk`, an action and a document in turn",
        metrics=_metrics(
            ip=("innerproduct", "positive_dot"),
            cosine=("cosinesimil", "half_cosine"),
            l2=("l2", "inverse_squared_l2"),
        ),
        settings="`knn_vector` with method `hnsw`, engine `faiss` or `lucene`, and without an `sq` encoder of the "
        "`lucene` engine (one range for all dimensions); `fp16` of `faiss` is no such thing",
        sources=(
            "https://docs.opensearch.org/latest/mappings/supported-field-types/knn-spaces/",
            "https://docs.opensearch.org/latest/api-reference/document-apis/bulk/",
        ),
        most_dimensions=16_000,
        longest_id=512,
        shared_range="lucene sq",
        attribute="`rescore` with `script_score`: `innerProduct(params.q, doc['embedding']) - doc['bias'].value + 1 + "
        "max bias`, which must not be negative",
    ),
    Engine(
        name="vespa",
        title="Vespa",
        layout="vespa",
        imports="`vespa feed FILE`, a `put` a line, into a schema `item` of `id`, `bias` and `embedding`",
        metrics=_metrics(
            ip=("dotproduct", "dot"),
            cosine=("angular", "cosine"),
            l2=("euclidean", "l2"),
        ),
        settings="`field embedding type tensor<float>(x[DIM])`, `indexing: attribute | index`; rank by `sum(query(q) * "
        "attribute(embedding))`, `cosine_similarity(query(q), attribute(embedding), x)` or `-euclidean_distance(...)`; "
        "`approximate: false` is exact; not `prenormalized-angular`",
        sources=(
            "https://docs.vespa.ai/en/reference/document-json-format.html",
            "https://docs.vespa.ai/en/reference/schema-reference.html#distance-metric",
            "https://blog.vespa.ai/announcing-maximum-inner-product-search/",
            "https://docs.vespa.ai/en/phased-ranking.html",
        ),
        shared_range="tensor<int8>",
        attribute="second phase: `sum(query(q) * attribute(embedding)) - attribute(bias)`, `rerank-count: K`",
    ),
    Engine(
        name="vertex",
        title="Vertex AI Vector Search",
        layout="vertex",
        imports="`contentsDeltaUri` is the folder `data`: `.json` files of records and nothing else",
        metrics=_metrics(
            ip=("DOT_PRODUCT_DISTANCE", "minus_dot"),
            cosine=("COSINE_DISTANCE", "one_minus_cosine"),
            l2=("SQUARED_L2_DISTANCE", "squared_l2"),
        ),
        settings="`featureNormType: NONE` (`UNIT_L2_NORM` would undo the bias); `bruteForceConfig` is exact; the "
        "documentation defines the first as minus the dot product, so compare the sign of a known pair",
        sources=(
            "https://cloud.google.com/vertex-ai/docs/vector-search/setup/format-structure",
            "https://cloud.google.com/vertex-ai/docs/vector-search/configuring-indexes",
        ),
        most_files=5_000,
    ),
    Engine(
        name="weaviate",
        title="Weaviate",
        layout="weaviate",
        imports="each line is a body for `POST /v1/batch/objects`, class `Item`",
        metrics=_metrics(
            ip=("dot", "minus_dot"), cosine=("cosine", "one_minus_cosine"), l2=("l2-squared", "squared_l2")
        ),
        settings="`vectorizer: none`, no `sq` (one range for all dimensions); `flat` is exact; object ids are UUIDs "
        "(version 5, as `generate_uuid5(id)`), the id is the property `item_id`",
        sources=(
            "https://docs.weaviate.io/weaviate/config-refs/distances",
            "https://docs.weaviate.io/weaviate/manage-objects/import",
            "https://weaviate.io/developers/weaviate/api/rest_legacy/batch",
        ),
        most_dimensions=65_535,
        shared_range="sq",
    ),
    Engine(
        name="pinecone",
        title="Pinecone",
        layout="pinecone",
        imports="`start_import(uri=OUTPUT)`: Parquet of `id`, `values`, `metadata`; the folder is the namespace",
        metrics=_metrics(ip=("dotproduct", "dot"), cosine=("cosine", "cosine"), l2=("euclidean", "squared_l2")),
        settings="a dense serverless index of the stored dimension",
        sources=(
            "https://docs.pinecone.io/guides/index-data/import-data",
            "https://docs.pinecone.io/guides/index-data/indexing-overview",
        ),
        folder="__default__",
        most_dimensions=20_000,
        longest_id=512,
        most_files=100_000,
    ),
)

#: The engine that is none: its plain search stays as it is, and the order is corrected afterwards.
RERANK = "rerank"


def engine_names() -> list[str]:
    """Every name that ``--engine`` takes."""
    return [*(engine.name for engine in ENGINES), RERANK]


def find_engine(name: str) -> Engine:
    """The engine of that name.

    Raises:
        ConfigError: there is none.
    """
    found = next((engine for engine in ENGINES if engine.name == name), None)
    if found is None:
        raise ConfigError(f"--engine {name} is none of {', '.join(engine_names())}.")
    return found
