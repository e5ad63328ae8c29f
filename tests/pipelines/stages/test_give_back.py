"""A stage gives back the memory that it frees."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

#: Large blocks, of which every other one is let go: a hole between others is only given back if it is its own.
_HOLES = """
import sys
import numpy as np, pyarrow as pa
from pipelines.stages._memory import give_back
def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) >> 10
if sys.argv[1] == "give back":
    give_back()
del [np.ones(24 << 20, np.uint8) for _ in range(2)][:]  # such blocks were freed before
blocks = [np.ones(20 << 20, np.uint8) for _ in range(8)]
full = resident()
del blocks[::2]
print(full - resident(), pa.default_memory_pool().backend_name)
"""


def given_back(how: str) -> tuple[int, str]:
    """MiB that are gone once 80 MiB are freed, and what Arrow's memory is of."""
    out = subprocess.run([sys.executable, "-c", _HOLES, how], check=True, stdout=subprocess.PIPE, text=True).stdout
    freed, pool = out.split()
    return int(freed), pool


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc's parameters")
def test_large_blocks_are_given_back() -> None:
    freed, pool = given_back("give back")
    assert freed >= 78
    assert pool == "system"
    assert given_back("as it is")[0] < 10
