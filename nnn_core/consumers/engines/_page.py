"""The page of all engines, ``deploy/ENGINES.md``, from the registry: ``python -m nnn_core.consumers.engines._page``."""

from __future__ import annotations

from nnn_core.consumers.augment import Form
from nnn_core.consumers.engines._engine import Engine, Metric, engines
from nnn_core.consumers.engines._readings import READINGS, asked_text, stored_text

_COLUMNS = """\
| `--engine` | files, and what imports them | `--metric`: its name | stored | query | s | index | sources |
|---|---|---|---|---|---|---|---|"""

_HEAD = """# Vector engines

This page says for each engine what `nnn export` writes, and which index takes it. It also gives the vector to ask with,
and how the number that the engine returns becomes the debiased score. The command is
`nnn export --table URI --embeddings GLOB --engine ENGINE --metric METRIC --output URI`.

`python -m nnn_core.consumers.engines._page` writes this page from `nnn_core/consumers/engines/engines.toml`.

| symbol | what it is |
|---|---|
| `r`, `q` | vectors of a candidate and of a query, unit length |
| `b` | the bias less `bias_shift`, by default the mean of all biases. A constant changes no ranking |
| `x` | the number that the engine returns |
| `s` | `<q, r> - b`, which follows from `x`; debiased score = `s - bias_shift` |
| `M` | `sqrt(1 + max b^2)`, the length of every stored vector under cosine and L2 |
| `L` | `sqrt(2)`, the length of every query under cosine and L2 |

`export.json` has all of these numbers; `Recipe.from_record(export["recipe"])` does the arithmetic.

Inner product takes `[r, -b]`. Cosine and L2 take `[r, -b, sqrt(M^2 - 1 - b^2)]`, whose length is M for every
candidate. There, `[r, -b]` would be wrong and is refused, because its length depends on the bias.

Eight-bit quantisation with one range for all dimensions is refused too. In a query, the bias has the weight 1 and any
other dimension about 1 / sqrt(dim). So a rounding error of the bias counts sqrt(dim) times as much.

Alpha can be chosen for each query, on the same index: `[q, w]` in place of `[q, 1]` subtracts `w` times the bias
(`Recipe.asked(q, alpha=)`). Then the score is `s - w * bias_shift`, and `L = sqrt(1 + w^2)`. With `w = 0` the ranking
is the plain one. For an A/B test, ask with `w = 1` for a share of the users and with 0 for the others.

`export.json` holds the overlap, for a sample of queries: the share of the exact top 10 that the vectors in the files
give by the engine's metric. An engine's approximate index or quantiser loses more.
"""

#: Not tried: what their documentation says, and what follows from it.
_OTHERS = """## Engines without an export of their own

Make their input with `augment` and `augment_queries`, or from the export for another engine. They were not tried.

| engine | metric | stored | query | to know |
|---|---|---|---|---|
| [Amazon S3 Vectors](https://docs.aws.amazon.com/AmazonS3/latest/userguide/s3-vectors-limitations.html) | \
cosine, euclidean; no inner product | `[r, -b, sqrt(M^2 - 1 - b^2)]` | `[q, 1, 0]` | \
float32, at most 4,096 dimensions; 500 vectors a `PutVectors`; at most 100 hits, so there is little to re-rank |
| [Vertex AI Vector Search 2.0](\
https://docs.cloud.google.com/sdk/gcloud/reference/vector-search/collections/data-objects/search) | \
the query names it | `[r, -b]` for a dot product, else `[r, -b, sqrt(M^2 - 1 - b^2)]` | `[q, 1]` or `[q, 1, 0]` | \
data objects in a collection, not files of `contentsDeltaUri` |
| [turbopuffer](\
https://reference.langchain.com/javascript/langchain-turbopuffer/vectorstores/TurbopufferDistanceMetric) | \
cosine_distance, euclidean_squared | `[r, -b, sqrt(M^2 - 1 - b^2)]` | `[q, 1, 0]` | \
the number is 1 - cosine, as that of `lancedb` |
| [Solr, Lucene](https://solr.apache.org/guide/solr/latest/query-guide/dense-vector-search.html) | \
cosine, euclidean; `dot_product` demands unit vectors | `[r, -b, sqrt(M^2 - 1 - b^2)]` | `[q, 1, 0]` | \
`DenseVectorField`; not the scalar-quantised one |
"""

_RERANK = """## Without touching the index

`nnn export --engine rerank --target-overlap 0.99` writes the biases to look up, and measures how many plain hits must
be re-ranked. `nnn_core.Reranker` re-ranks them; with `gated=True` only if the plain top 1 is a hub. A candidate
that is not among the K plain hits cannot come back.
"""

_ATTRIBUTES = """## Subtracting a stored attribute

Some engines can subtract the bias at ranking time from the scores of an index of *plain* vectors.
`nnn export --form attribute` writes these, with the table's `bias` beside them, and measures K.

With any other `--form`, the vectors hold the bias already. Do not subtract the attribute there: the bias would count
twice. `recipe.form` in `export.json` says which of the two an export is.

This only re-orders the K candidates that were retrieved without the bias. `recipe.query` in `export.json` is the query
below with its numbers filled in. `<K>` is the number of plain hits, `<mean>` the bias of an item that has none yet, and
`<shift>` keeps every score above 0. `<q>` is the query's vector, unit length.
"""


#: Printed by ``tests/benchmarks/engines.py``.
_MEASURED = """## What the choices are worth

Overlap with the exact top 10, on 10,000 synthetic candidates of 512 dimensions. The bank has fourteen days of 400
queries; k = 16, alpha = 0.75. `python tests/benchmarks/engines.py` measures it, and quantisers too.

| what | overlap |
|---|---|
| plain search in place of the debiased one | 0.49 |
| `[q, w]` on one index, w = 0, 1/2, 1, 2, all metrics: the least | 1.000 |
| the window slides by a day of 14 (90.7 % of the biases move), nothing is updated | 0.952 |
| `--min-change 0.0005`, which writes 62.1 % of the rows | 0.997 |
| `--min-change 0.001`, 41.5 % of the rows | 0.990 |
| `--min-change 0.002`, 17.9 % of the rows | 0.972 |
| `--min-change 0.005`, 2.0 % of the rows | 0.955 |
| rescoring 1,000 hits with `query_weight` 1, the default of Elasticsearch (by formula) | 0.71 |
| rescoring 1,000 hits with `query_weight` 0 (by formula) | 1.00 |
| FAISS `PQ64`: plain vectors; with the bias, 513 dimensions padded to 576 | 0.31; 0.21 |
| LanceDB 0.40 `IVF_PQ`, its default: plain vectors; with the bias, padded to 520 | 0.19; 0.25 |
| LanceDB 0.40 `IVF_PQ`, with the bias, 513 dimensions as they are (`--pad-to 1`) | 0.05 |
| LanceDB 0.40 `IVF_SQ`: plain vectors; with the bias, padded to 520 | 0.96; 0.94 |
| LanceDB 0.40 `IVF_HNSW_SQ`: plain vectors; with the bias, padded to 520 | 0.77; 0.76 |
"""


_UPDATES = """## Bringing an index up to date

`nnn export --since VERSION --like EXPORT --engine ENGINE ...` compares the version that an index holds with the current
one, and writes only what differs:

- files of rows that are new or whose bias moved. They are whole rows; import them over those that are there;
- files of ids to remove;
- for `--form attribute`, files that set the bias and leave the vectors alone.

`EXPORT` is the folder that was imported last, an export or an update. Its shift and M stay, so rows that are not
written are right as they are. M has room for biases that move by 0.1. With `--min-change X`, biases that moved by less
than X stay as they are. `overlap` in `export.json` is measured on the updated index, so it shows what the tolerance
costs. A vector that changed is written only if its bias moved too.
"""


def engines_page() -> str:
    """The text of the page."""
    attributes = [
        f"{engine.title}: {_plainly(engine, engine.attribute.where)}; debiased score = `{engine.attribute.score}`\n\n"
        f"```\n{_plainly(engine, engine.attribute.query).strip()}\n```\n"
        for engine in engines()
        if engine.attribute
    ]
    table = [_line(engine, metric) for engine in engines() for metric in engine.metrics]
    steps = [
        f"| `{engine.name}` | {_cell(_plainly(engine, engine.update or 'none; vectors hold the bias'))} | "
        f"{_cell(_plainly(engine, engine.delete))} |"
        for engine in engines()
        if engine.delete
    ]
    updates = [_UPDATES, "| engine | `update` | `delete` |\n|---|---|---|\n" + "\n".join(steps)]
    parts = [
        _HEAD,
        "\n".join([_COLUMNS, *table]),
        _OTHERS,
        _RERANK,
        "\n".join([_ATTRIBUTES, *attributes]),
        "\n".join(updates),
        _MEASURED,
    ]
    return "\n".join(f"{part.rstrip()}\n" for part in parts)


def _line(engine: Engine, metric: Metric) -> str:
    """One metric of an engine, which is described beside its first one."""
    form: Form = "inner_product" if metric == "ip" else "norm_completed"
    unit = engine.layout == "index" and metric == "cosine"
    use, first = engine.metrics[metric], metric == next(iter(engine.metrics))
    cells = (
        f"{engine.title}: `{engine.name}`" if first else "",
        _plainly(engine, engine.imports) if first else "",
        f"`{metric}`: {_plainly(engine, use.setting)}",
        f"`{stored_text(form, unit, engine.sub_vectors is not None)}`",
        f"`{asked_text(form, unit, engine.sub_vectors is not None)}`",
        f"`{READINGS[use.reading].formula}`",
        _settings(engine) if first else "",
        " ".join(f"[{number}]({uri})" for number, uri in enumerate(engine.sources, 1)) if first else "",
    )
    return f"| {' | '.join(map(_cell, cells))} |"


def _settings(engine: Engine) -> str:
    limit = f"; at most {engine.most_dimensions:,} dimensions" if engine.most_dimensions else ""
    name = f"; ids of at most {engine.longest_id:,} bytes" if engine.longest_id else ""
    files = f"; at most {engine.most_files:,} files" if engine.most_files else ""
    return f"{_plainly(engine, engine.settings)}{limit}{name}{files}"


def _plainly(engine: Engine, text: str) -> str:
    """A text with the names that an engine has here."""
    return engine.named(text.replace("<payload>", "").replace("<dim>", "DIM"), engine.names)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(engines_page(), end="")
