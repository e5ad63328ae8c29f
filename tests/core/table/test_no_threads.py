"""Programs that read a table and end: no thread of Arrow's is left that could end them with SIGABRT."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tables import IDS, publish

#: Programs that read; one in a hundred used to be ended.
READS = int(os.environ.get("NNN_READS", "100"))

READ = """
import os, sys
import nnn_core
from nnn_core.table.lifecycle.check import check_table

def threads():
    names = (open(f"/proc/self/task/{task}/comm").read() for task in os.listdir("/proc/self/task"))
    return sum("jemalloc" not in name for name in names)

before = threads()
assert check_table(sys.argv[1]).verdict == "whole"
nnn_core.load_bias_table(sys.argv[1])
nnn_core.find(sys.argv[1], [sys.argv[2]])
print(threads() - before)
"""


def read(table: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", READ, str(table), IDS[3]], capture_output=True, text=True, timeout=600, check=False
    )


def test_reading_a_table_starts_no_threads(tmp_path: Path) -> None:
    publish(str(tmp_path))
    done = read(tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "0"), done.stderr


@pytest.mark.slow
@pytest.mark.timeout(60 + 15 * READS)
def test_readers_end_well_under_load(tmp_path: Path, record_count: Callable[[str, int, int], None]) -> None:
    publish(str(tmp_path))
    with ThreadPoolExecutor(4 * (os.cpu_count() or 1)) as pool:  # they are the load themselves
        codes = [done.returncode for done in pool.map(lambda _: read(tmp_path), range(READS))]
    record_count("programs that read a table under load and end with 0", codes.count(0), len(codes))
    assert set(codes) == {0}
