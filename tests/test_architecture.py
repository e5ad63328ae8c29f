"""Who may import whom, and the other rules of the layout."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = sorted((ROOT / "nnn_core").rglob("*.py"))
PIPELINES = sorted((ROOT / "pipelines").rglob("*.py"))

#: Where each library with weight may be imported.
HOMES = {
    "torch": {
        "nnn_core/encoders/open_clip.py",
        "nnn_core/encoders/towers.py",
        "nnn_core/encoders/transformers.py",
        "nnn_core/encoders/checkpoint.py",
        "nnn_core/encoders/albef.py",
        "nnn_core/encoders/beit3.py",
        "nnn_core/encoders/beit3_model.py",
        "nnn_core/demo/train.py",
        "nnn_core/search/prefilter.py",
        "nnn_core/search/device.py",
    },
    "open_clip": {"nnn_core/encoders/open_clip.py", "nnn_core/demo/train.py"},
    "transformers": {"nnn_core/encoders/transformers.py", "nnn_core/encoders/albef.py"},
    "timm": {"nnn_core/encoders/albef.py"},
    "sentencepiece": {"nnn_core/encoders/beit3.py"},
    "faiss": {"nnn_core/search/clusters.py", "nnn_core/faiss_index.py", "nnn_core/engines/faiss_file.py"},
    "numba": {"nnn_core/search/kernels.py", "nnn_core/statistics.py", "nnn_core/evaluation/ranks.py"},
    "fsspec": {"nnn_core/storage/__init__.py", "nnn_core/storage/local_disk.py"},
    "deltalake": {"nnn_core/lifecycle/registration.py"},
    "jinja2": {"nnn_core/report/page.py"},
    "pydantic": {
        "nnn_core/costs.py",
        "pipelines/config_file.py",
        "nnn_core/gates/thresholds.py",
        "nnn_core/report/content.py",
        "nnn_core/report/sections.py",
    },
    "yaml": {"nnn_core/costs.py", "nnn_core/gates/thresholds.py", "pipelines/config_file.py"},
}

#: Programs, which may import any stage. Stages import neither programs nor each other.
PROGRAMS = {
    "cli",
    "compare_plan",
    "demo",
    "encoder",
    "evaluate",
    "evaluation",
    "export",
    "export_files",
    "inspect",
    "launch_refresh",
    "plan",
    "refresh",
    "report",
    "review_bias",
    "table",
    "template_metadata",
    "work",
}
SHARED = {
    "beam_options",
    "config",
    "config_file",
    "encoder_flags",
    "local_processes",
    "logs",
    "metrics",
    "once",
    "progress",
    "runner",
}

#: A stage in two modules, so that the half that loads torch is imported only when it is used.
PAIRED = {"embed_shards": {"shard_encoder"}}


def imports(path: Path) -> set[str]:
    """Full names of the modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_core_knows_no_beam(path: Path) -> None:
    assert not {name for name in imports(path) if name.split(".")[0] in ("apache_beam", "pipelines")}


@pytest.mark.parametrize("path", CORE + PIPELINES, ids=name_of)
def test_heavy_libraries_stay_at_home(path: Path) -> None:
    used = {name.split(".")[0] for name in imports(path)}
    assert all(name_of(path) in homes for library, homes in HOMES.items() if library in used)


@pytest.mark.parametrize("path", CORE + PIPELINES, ids=name_of)
def test_storage_alone_knows_the_disk(path: Path) -> None:
    assert "nnn_core.storage.local_disk" not in imports(path) or path.parent.name == "storage"


@pytest.mark.parametrize("path", PIPELINES, ids=name_of)
def test_stages_stand_alone(path: Path) -> None:
    used = {name.split(".")[1] for name in imports(path) if name.startswith("pipelines.")}
    if path.stem not in PROGRAMS:
        assert used <= SHARED | PAIRED.get(path.stem, set())


def test_only_the_agreed_top_level() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    top = {line.split("/")[0] for line in tracked.stdout.splitlines() if not line.startswith(".")}
    files = {"setup.py", "README.md", "pyproject.toml", "Makefile", "LICENSE", "CHANGELOG.md", "MANIFEST.in"}
    assert top <= {"pipelines", "nnn_core", "tests", "deploy"} | files


def test_a_refresh_of_vectors_imports_no_torch() -> None:
    code = "import sys, pipelines.refresh; print('torch' in sys.modules, 'open_clip' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
