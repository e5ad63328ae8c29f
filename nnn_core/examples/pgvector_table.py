"""pgvector: the bias as a column of its own, which SQL subtracts from the hits of a plain index.

``pip install 'psycopg[binary]'``, then ``python nnn_core/examples/pgvector_table.py postgresql://localhost/test``

It makes a temporary table, which is gone when the script ends.
"""

import sys

import numpy as np
import psycopg

from nnn_core import augment, augment_queries, compute_biases


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


# Take your own here: embeddings of your items, and of queries like those of your users, from one encoder.
rng = np.random.default_rng(0)
topics, common = rng.standard_normal((2_000, 64)), rng.standard_normal(64)
ids = [f"item-{number}" for number in range(len(topics))]
vectors = unit(topics + rng.exponential(0.35, (len(topics), 1)) * common)
asked = rng.integers(0, len(topics), 4_200)  # the item that each query is about
bank, queries = np.split(unit(topics[asked] + common + 1.5 * rng.standard_normal((len(asked), 64))), [4_000])
right = [ids[row] for row in asked[4_000:]]

# The same numbers as those of the job. With a table of the job: load_bias_table(URI).bias_of(ids).
bias = compute_biases(vectors, bank)


def text(row: np.ndarray) -> str:
    return str(row.tolist())


# <#> is minus the inner product, so debiased scores are -(distance + bias), and the least distance is the best.
PLAIN = "SELECT id FROM items ORDER BY plain <#> %s::vector LIMIT 1"
INSIDE = "SELECT id FROM items ORDER BY augmented <#> %s::vector LIMIT 1"
SUBTRACTED = """
    SELECT id FROM (SELECT id, bias, plain <#> %s::vector AS distance FROM items ORDER BY distance LIMIT 100) AS hits
    ORDER BY distance + bias LIMIT 1
"""

with psycopg.connect(sys.argv[1]) as connection:
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    connection.execute("CREATE TEMP TABLE items (id text, bias real, plain vector(64), augmented vector(65))")
    with connection.cursor().copy("COPY items FROM STDIN") as copy:
        for name, one, row, longer in zip(ids, bias.tolist(), vectors, augment(vectors, bias), strict=True):
            copy.write_row((name, one, text(row), text(longer)))
    connection.execute("CREATE INDEX ON items USING hnsw (plain vector_ip_ops)")
    connection.execute("CREATE INDEX ON items USING hnsw (augmented vector_ip_ops)")
    connection.execute("SET hnsw.ef_search = 200")

    def share(statement: str, rows: np.ndarray) -> str:
        found = [connection.execute(statement, [text(row)]).fetchone()[0] for row in rows]
        return f"{np.mean([one == other for one, other in zip(found, right, strict=True)]):.1%}"

    before, after = share(PLAIN, queries), share(INSIDE, augment_queries(queries))
    print(f"pgvector: the right item is first for {before} of the queries without the bias, {after} with it")
    print(f"          and for {share(SUBTRACTED, queries)} if SQL subtracts the bias from 100 hits of a plain index")
