"""What Apache Spark and DuckDB read: releases of them, each in a folder of its own, in a process of its own.

``make test-engines`` installs them below ``.venv/readers``; ``NNN_READERS`` names another place. Spark needs Java 17.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tables import IDS, MEANS, publish, publish_biases, publish_two_for_iceberg, rows_of

from nnn_core.consumers.rerank import Reranker
from nnn_core.table.lifecycle.difference import Difference
from nnn_core.table.lifecycle.iceberg import register_iceberg
from nnn_core.table.reading import load_bias_table

_HOME = Path(os.environ.get("NNN_READERS", Path(__file__).parents[3] / ".venv" / "readers"))
_RELEASES = ("3.5.7", "4.0.1")

pytestmark = [pytest.mark.engines, pytest.mark.timeout(900)]

_FILES = """
import json, sys
from pyspark.sql import SparkSession

spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
files = json.loads(sys.argv[1])
found = {
    name: [row.asDict() for row in spark.read.parquet(*paths).orderBy("id").collect()] for name, paths in files.items()
}
assert spark.conf.get("spark.sql.parquet.enableVectorizedReader") == "true"
print(json.dumps(found))
"""

#: The catalog is the one that pyiceberg wrote: a database in SQLite.
_SPARK_ICEBERG = """
import json, sys
from pyspark.sql import SparkSession

jars, settings = json.loads(sys.argv[1])
builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").config("spark.jars", jars)
for name, value in settings.items():
    builder = builder.config(f"spark.sql.catalog.test{name}", value)
spark = builder.getOrCreate()
rows = [row.asDict() for row in spark.sql("SELECT * FROM test.search.bias ORDER BY id").collect()]
last = spark.sql("SELECT summary FROM test.search.bias.snapshots ORDER BY committed_at").collect()[-1]
print(json.dumps([rows, last["summary"]]))
"""

_DUCKDB_ICEBERG = """
import json, sys
import duckdb, duckdb_extensions

with duckdb.connect() as connection:
    for name in ("avro", "iceberg"):
        duckdb_extensions.import_extension(name, con=connection)
        connection.execute(f"LOAD {name}")
    found = connection.sql(f"SELECT * FROM iceberg_scan('{json.loads(sys.argv[1])}') ORDER BY id")
    rows = [dict(zip(found.columns, row)) for row in found.fetchall()]
print(json.dumps([rows, None]))
"""


def run(folder: str, program: str, argument: Any) -> Any:
    """What a program prints on its last line, as JSON, with the packages of a folder of readers."""
    place = _HOME / folder
    if not place.is_dir() or (folder.startswith("spark") and shutil.which("java") is None):
        pytest.skip(f"{place} is not there, or no Java is")
    environment = {**os.environ, "PYTHONPATH": str(place), "PYSPARK_PYTHON": sys.executable}
    command = [sys.executable, "-c", program, json.dumps(argument)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("release", _RELEASES)
def test_spark_reads_every_kind_of_file(tmp_path: Path, release: str) -> None:
    uri, delta, biases = str(tmp_path / "table"), str(tmp_path / "delta.parquet"), tmp_path / "biases.parquet"
    manifest = publish(uri)
    table = load_bias_table(uri)
    biases.write_bytes(Reranker.of(table.ids, table.bias).to_bytes(slice(None)))
    other = str(tmp_path / "other")
    publish_biases(other, 1, {"a": 0.5, "b": 0.25})
    publish_biases(other, 2, {"b": 0.125, "c": 1.0})
    Difference.of(other, 1, 2, delta)
    files = {"parts": [f"{uri}/{part.path}" for part in manifest.files], "delta": [delta], "rerank": [str(biases)]}
    found = run(f"spark-{release}", _FILES, files)
    bias = (0.75 * MEANS[:, 2].astype("f8")).astype("f4").tolist()
    assert [(row["id"], row["bias"], row["mean_k"]) for row in found["parts"]] == [
        *zip(IDS, bias, MEANS.tolist(), strict=True)
    ]
    assert [(row["id"], row["bias"], row["op"]) for row in found["delta"]] == [
        ("a", None, "remove"),
        ("b", 0.125, "change"),
        ("c", 1.0, "add"),
    ]
    assert [(row["id"], row["bias"], row["hub"]) for row in found["rerank"]] == [
        *zip(IDS, bias, [False] * 40, strict=True)
    ]


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a table of two versions, of which the second is registered after the first, and the catalog."""
    table = publish_two_for_iceberg(tmp_path, monkeypatch)
    for version in (1, 2):
        register_iceberg(table, "test", "search.bias", version)
    return tmp_path


@pytest.mark.parametrize("release", _RELEASES)
def test_spark_reads_the_iceberg_table_of_the_same_catalog(registered: Path, release: str) -> None:
    jars = ",".join(map(str, (_HOME / f"iceberg-{release}").glob("*.jar")))
    if not jars:
        pytest.skip(f"there are no jars of Iceberg below {_HOME}")
    settings = {
        "": "org.apache.iceberg.spark.SparkCatalog",
        ".catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
        ".uri": f"jdbc:sqlite:{registered}/catalog.db",
        ".warehouse": str(registered),
        ".catalog-name": "test",
    }
    rows, said = run(f"spark-{release}", _SPARK_ICEBERG, [jars, settings])
    assert rows == rows_of(1)
    assert (said["nnn.version"], said["nnn.k"], said["nnn.alpha"]) == ("2", "1", "0.75")


def test_duckdb_reads_the_iceberg_table(registered: Path) -> None:
    newest = max((registered / "table" / "_iceberg" / "metadata").glob("*.metadata.json"))
    rows, _ = run("duckdb-1.5.5", _DUCKDB_ICEBERG, str(newest))
    assert rows == rows_of(1)
