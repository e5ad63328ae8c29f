"""Write the files that the image is installed from, with the SHA-256 of everything that may be installed:

    python deploy/lock.py

requirements.txt holds what the extras clip, gcp and s3 need, requirements-torch.txt PyTorch and what it brings of
CUDA. The versions are those of constraints.txt, the files those of the package index for the image's Python.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

DEPLOY = Path(__file__).parent

#: What PyTorch's builds without CUDA replace.
_TORCH = re.compile(r"(torch|torchvision|triton|(nvidia|cuda)-.*)==")

_EXTRAS = [part for extra in ("clip", "gcp", "s3") for part in ("--extra", extra)]

_COMMAND = (
    *("uv", "pip", "compile", "setup.py", *_EXTRAS, "--constraint", "deploy/constraints.txt"),
    *("--generate-hashes", "--no-annotate", "--no-header", "--quiet", "--no-progress"),
    *("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28"),
)

_HEADER = "# Made by deploy/lock.py of setup.py and constraints.txt; the versions are those of constraints.txt.\n"


def split(lock: str) -> tuple[str, str]:
    """Requirements with hashes, apart from those of PyTorch, and those.

    Args:
        lock: a requirement a line, each followed by indented lines with its hashes.
    """
    parts: dict[bool, list[str]] = {False: [], True: []}
    for each in re.split(r"^(?=\S)", lock, flags=re.M)[1:]:
        parts[bool(_TORCH.match(each))].append(each)
    return "".join([_HEADER, *parts[False]]), "".join([_HEADER, *parts[True]])


def main() -> None:
    """Ask the package index, and write both files."""
    command = [sys.executable, "-m", *_COMMAND]
    lock = subprocess.run(command, cwd=DEPLOY.parent, stdout=subprocess.PIPE, text=True, check=True).stdout
    for name, text in zip(("requirements.txt", "requirements-torch.txt"), split(lock), strict=True):
        (DEPLOY / name).write_text(text)


if __name__ == "__main__":
    main()
