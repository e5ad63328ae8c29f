"""What Apache Spark reads: several releases of it, each in a folder of its own, in a process of its own.

``make test-engines`` installs them below ``.venv/spark``; ``NNN_SPARK`` names another place. They need Java 17.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tables import IDS, MEANS, publish, publish_biases

from nnn_core.consumers.rerank import Reranker
from nnn_core.table.lifecycle.difference import compare_versions
from nnn_core.table.reading import load_bias_table

_HOME = Path(os.environ.get("NNN_SPARK", Path(__file__).parents[3] / ".venv" / "spark"))
_RELEASES = ("3.5.7", "4.0.1")

_PROGRAM = """
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


@pytest.mark.engines
@pytest.mark.parametrize("release", _RELEASES)
def test_spark_reads_every_kind_of_file(tmp_path: Path, release: str) -> None:
    if not (_HOME / release).is_dir() or shutil.which("java") is None:
        pytest.skip(f"{_HOME / release} is not there, or no Java is")
    uri, delta, biases = str(tmp_path / "table"), str(tmp_path / "delta.parquet"), tmp_path / "biases.parquet"
    manifest = publish(uri)
    table = load_bias_table(uri)
    biases.write_bytes(Reranker.of(table.ids, table.bias).to_bytes(slice(None)))
    other = str(tmp_path / "other")
    publish_biases(other, 1, {"a": 0.5, "b": 0.25})
    publish_biases(other, 2, {"b": 0.125, "c": 1.0})
    compare_versions(other, 1, 2, delta)
    files = {"parts": [f"{uri}/{part.path}" for part in manifest.files], "delta": [delta], "rerank": [str(biases)]}
    environment = {**os.environ, "PYTHONPATH": str(_HOME / release), "PYSPARK_PYTHON": sys.executable}
    command = [sys.executable, "-c", _PROGRAM, json.dumps(files)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
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
