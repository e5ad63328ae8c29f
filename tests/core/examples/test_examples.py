"""The scripts to paste, each run as a reader would: the bias must help, inside the index and by re-ranking."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import nnn_core

FOLDER = Path(nnn_core.__file__).parent / "examples"


def shares(script: str, *arguments: str) -> list[float]:
    """What it prints in per cent: without the bias, with it, and by the second way."""
    command = [sys.executable, str(FOLDER / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    return [float(number) for number in re.findall(r"([\d.]+)%", done.stdout)]


def check(before: float, inside: float, other: float) -> None:
    assert before > 30.0
    assert inside > before + 15.0
    assert abs(other - inside) < 3.0


def test_faiss() -> None:
    check(*shares("faiss_index.py"))


@pytest.mark.engines
def test_qdrant() -> None:
    pytest.importorskip("qdrant_client")
    check(*shares("qdrant_collection.py"))


@pytest.mark.engines
@pytest.mark.filterwarnings("ignore")
def test_pgvector() -> None:
    pytest.importorskip("psycopg")
    pgserver = pytest.importorskip("pgserver")
    # Run by root it starts the server as another user, who may not enter pytest's own folders.
    server = pgserver.get_server(tempfile.mkdtemp(prefix="nnn-postgres-"), cleanup_mode="delete")
    try:
        check(*shares("pgvector_table.py", server.get_uri()))
    finally:
        server.cleanup()


def test_only_public_names_are_used() -> None:
    scripts = sorted(FOLDER.glob("*.py"))
    assert len(scripts) == 3
    for script in scripts:
        for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nnn_core"):
                assert node.module == "nnn_core"
                assert {alias.name for alias in node.names} <= set(nnn_core.__all__)
