"""Who may import whom, and the other rules of the layout: stated by folder, and read from each file once."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import nnn_core

ROOT = Path(__file__).parent.parent

#: The rooms from the ground up. A room imports only rooms before it, and itself.
CORE = [
    "errors",
    "vectors",
    "digests",
    "redaction",
    "events",
    "records",
    "storage",
    "yaml_files",
    "artifacts",
    "inputs",
    "encoders",
    "embedded",
    "scoring",
    "table",
    "evaluation",
    "gates",
    "planning",
    "consumers",
    "report",
    "publishing",
    "telling",
    "demo",
    "examples",
]
PIPELINES = ["stages", "running", "", "commands"]

#: Stages that are made of stages.
COMPOSED = {"embed_files", "review_bias"}
#: What stages share, and a stage in three modules, so that the one that loads torch is imported only when it is used.
SHARED = {"embed_files", "measure_vectors", "metrics", "once"}
SHARED |= {"_counting", "_embedder", "_memory", "_shard_encoder", "_side_by_side"}

#: Where each library with weight may be imported: a room, or a module of it.
HOMES = {
    "torch": ("encoders", "scoring/search"),
    "open_clip": ("encoders/_open_clip",),
    "transformers": ("encoders/_transformers", "encoders/_albef", "encoders/_settings"),
    "timm": ("encoders/_albef",),
    "sentencepiece": ("encoders/_beit3",),
    "faiss": ("scoring/search/_clusters", "consumers/faiss_index", "consumers/engines/_faiss_file", "examples"),
    "numba": ("scoring/search", "evaluation/_ahead", "evaluation/_first", "table/_hashing"),
    "fsspec": ("storage",),
    "deltalake": ("inputs/_table_logs", "table/lifecycle/registration"),
    "h5py": ("inputs/readers/_arrays",),
    "pillow_heif": ("inputs/image_formats",),
    "jinja2": ("report",),
    "psycopg": ("examples",),
    "qdrant_client": ("examples",),
    "openlineage": ("telling/lineage",),
    "yaml": ("yaml_files",),
}


@cache
def files(package: str) -> dict[Path, set[str]]:
    """Every file of a package, below it and without suffix, and the modules that it imports, wherever in it."""
    return {
        path.relative_to(ROOT / package).with_suffix(""): imported(ast.parse(path.read_text(encoding="utf-8")))
        for path in (ROOT / package).rglob("*.py")
    }


def imported(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            # ``from package import name`` may mean a module or what a module holds.
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def upward(package: str, rooms: list[str], room_of: dict[Path, str]) -> list[str]:
    """The imports that lead to a higher room."""
    wrong = []
    for path, names in files(package).items():
        for name in names:
            parts = name.split(".")
            if parts[0] != package or room_of[path] not in rooms:
                continue
            target = parts[1] if parts[1] in rooms else ""
            if target in rooms and rooms.index(target) > rooms.index(room_of[path]):
                wrong.append(f"{package}/{path} imports {name}")
    return wrong


def test_core_imports_only_rooms_below() -> None:
    room_of = {path: path.parts[0] for path in files("nnn_core")}
    assert {room for room in room_of.values() if room != "__init__"} == set(CORE), "a room that has no place"
    assert not upward("nnn_core", CORE, room_of)


def test_pipelines_import_only_rooms_below() -> None:
    room_of = {path: path.parts[0] if len(path.parts) > 1 else "" for path in files("pipelines")}
    assert set(room_of.values()) == set(PIPELINES)
    assert not upward("pipelines", PIPELINES, room_of)


def test_core_knows_no_beam() -> None:
    found = {name.split(".")[0] for names in files("nnn_core").values() for name in names}
    assert not found & {"apache_beam", "pipelines"}


def test_stages_stand_alone() -> None:
    for path, names in files("pipelines").items():
        if path.parts[0] == "stages" and path.stem not in COMPOSED:
            used = {name.split(".")[2] for name in names if name.startswith("pipelines.stages.")}
            assert used <= SHARED, path


def test_heavy_libraries_stay_at_home() -> None:
    for package in ("nnn_core", "pipelines"):
        for path, names in files(package).items():
            place = path.as_posix() if package == "nnn_core" else f"{package}/{path.as_posix()}"
            for library in {name.split(".")[0] for name in names} & set(HOMES):
                assert place.startswith(HOMES[library]), f"{package}/{path} imports {library}"


#: Calls of Arrow that would start threads, and what tells them not to.
THREADED = dict.fromkeys([".iter_batches", ".read_row_group", ".read_row_groups", "pq.read_table"], "use_threads=False")
THREADED |= {"pq.ParquetFile": "pre_buffer=False"}


def test_arrow_starts_no_threads() -> None:
    """One that is still at work when the interpreter ends may end the program with SIGABRT."""
    for package in ("nnn_core", "pipelines"):
        for path in files(package):
            tree = ast.parse((ROOT / package / path.with_suffix(".py")).read_text(encoding="utf-8"))
            for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
                called = ast.unparse(call.func)
                said = {ast.unparse(key) for key in call.keywords}
                needed = {each for name, each in THREADED.items() if called.endswith(name)}
                assert needed <= said, f"{package}/{path}, line {call.lineno}: {called} starts threads"


def test_what_a_room_keeps_to_itself_stays_there() -> None:
    for package in ("nnn_core", "pipelines"):
        for path, names in files(package).items():
            for name in names:
                parts = name.split(".")
                if parts[0] == package and any(part[0] == "_" != part[1] for part in parts[1:]):
                    # What stands beside the rooms has the package for its room.
                    here = path.parts[0] if len(path.parts) > 1 else ""
                    there = "" if parts[1][0] == "_" else parts[1]
                    assert here == there, f"{package}/{path} imports {name}"


def test_every_room_says_what_lives_there() -> None:
    for package in ("nnn_core", "pipelines"):
        for init in (ROOT / package).rglob("__init__.py"):
            assert ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))), init


def test_public_names_are_there() -> None:
    for name in nnn_core.__all__:
        assert getattr(nnn_core, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        nnn_core.nothing_of_ours  # noqa: B018


def test_only_the_agreed_top_level() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    top = {line.split("/")[0] for line in tracked.stdout.splitlines() if not line.startswith(".")}
    agreed = {"setup.py", "README.md", "pyproject.toml", "Makefile", "LICENSE", "CHANGELOG.md", "MANIFEST.in"}
    assert top <= {"pipelines", "nnn_core", "tests", "deploy"} | agreed


@pytest.mark.parametrize(
    ("module", "needless"),
    [
        ("pipelines.commands._refresh", {"torch", "open_clip", "faiss"}),
        ("pipelines.commands._table_versions", {"apache_beam", "numba", "faiss", "PIL", "pyarrow.compute"}),
    ],
)
def test_a_command_imports_only_what_it_uses(module: str, needless: set[str]) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not needless & set(done.stdout.split())
