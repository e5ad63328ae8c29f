"""``nnn doctor``: what this machine and this installation have, and whether places can be reached."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nnn_core import __version__, storage
from nnn_core.errors import INSTALL_EXTRA, NNNError
from nnn_core.planning.costs import machine_memory
from nnn_core.report.numbers import size
from pipelines.commands._output import print_json
from pipelines.commands._parser import Parser

#: What does the work, and the extra that brings it where it is not always there.
_PACKAGES = {
    "apache-beam": None,
    "pyarrow": None,
    "numpy": None,
    "numba": None,
    "faiss-cpu": None,
    "torch": "clip",
    "open_clip_torch": "clip",
    "transformers": "transformers",
    "s3fs": "s3",
    "gcsfs": "gcp",
    "deltalake": "delta",
}


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Parse flags, look, print.

    Raises:
        NNNError: the first problem of a place that was named.
    """
    parser = Parser(
        prog="nnn doctor",
        description="Show versions, cores, int8 instructions, GPU, memory and disk, and try to reach the named places. "
        "Nothing is written.",
    )
    parser.add_argument("places", nargs="*", metavar="URI", help="folders for --table or --work, or files of input")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    args = parser.parse_args(argv)
    facts = dict(_facts())
    problems: dict[str, NNNError] = {}
    for place in args.places:
        try:
            facts[place] = _reach(place)
        except NNNError as error:
            facts[place], problems[place] = f"PROBLEM {error}", error
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {value}")
    print_json(args, facts)
    for problem in problems.values():
        raise problem
    return facts


def _facts() -> Iterator[tuple[str, str]]:
    yield "nnn", __version__
    yield "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    for package, extra in _PACKAGES.items():
        yield package, _version(package, extra)
    yield "cores", str(len(os.sched_getaffinity(0)))
    yield "int8 instructions", _int8()
    yield "GPU", _device()
    yield "memory", f"{size(machine_memory())}, {size(_available())} free"
    yield "disk here", f"{size(shutil.disk_usage('.').free)} free"


def _version(package: str, extra: str | None) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return f"not installed; {INSTALL_EXTRA.format(extra)} if you need it" if extra else "MISSING"


def _int8() -> str:
    from nnn_core.scoring.search._lanes import int8_instructions

    return f"{int8_instructions() or 'none'}; scoring uses products of int8 or of float32, whichever is faster here"


def _device() -> str:
    """As the driver tells it, without PyTorch."""
    found = (file.read_text(encoding="utf-8") for file in Path("/proc/driver/nvidia/gpus").glob("*/information"))
    names = [line.partition(":")[2].strip() for text in found for line in text.splitlines() if line.startswith("Model")]
    return ", ".join(names) or "none found by NVIDIA's driver"


def _available() -> int:
    with open("/proc/meminfo", encoding="ascii") as lines:
        found = {name: value for name, _, value in (line.partition(":") for line in lines)}
    return int(found["MemAvailable"].split()[0]) * 1024


def _reach(place: str) -> str:
    """What can be said of a place.

    Raises:
        NNNError: it cannot be reached, or is no place for tables.
    """
    if storage.exists(place) and not storage.is_folder(place):
        return f"a file, {size(storage.size(place))}"
    storage.check_exclusive(place)
    names = storage.list_names(place)
    return f"a folder with {len(names):,} names in it" if names else "reachable; empty or new"
