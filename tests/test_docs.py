"""What the pages say is there: links lead somewhere, flags and scripts exist, and the first page stays short."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: Flags of other programs that the pages show.
FOREIGN_FLAGS = {
    "build_arg", "constraint", "environment_cache_millis", "extra_index_url", "flink_master", "images", "model",
    "prism_location", "runner", "setup_file", "vectors",
}  # fmt: skip


def _tracked(suffix: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", f"*{suffix}"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).exists()]


def _pages() -> list[Path]:
    return [page for page in _tracked(".md") if page.name != "CHANGELOG.md"]


def test_links_lead_somewhere() -> None:
    links = [
        (page, link)
        for page in _pages()
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
        if "://" not in link
    ]
    assert len(links) > 30
    assert [(str(page), link) for page, link in links if not (page.parent / link).exists()] == []


def test_flags_exist() -> None:
    known = set(re.findall(r"\w+", "\n".join(source.read_text(encoding="utf-8") for source in _tracked(".py"))))
    known |= {word.replace("-", "_") for source in _tracked(".py") for word in _flags(source)} | FOREIGN_FLAGS
    readmes = [page for page in _pages() if page.name == "README.md" and "deploy" not in page.parts]
    named = {(page.parent.name, flag) for page in readmes for flag in _flags(page)}
    assert len(named) > 50
    assert sorted((page, flag) for page, flag in named if flag.replace("-", "_") not in known) == []


def _flags(file: Path) -> set[str]:
    return set(re.findall(r"(?<![\w-])--([a-z][a-z0-9_-]+)", file.read_text(encoding="utf-8")))


def test_scripts_exist() -> None:
    named = {
        name
        for page in _pages()
        for name in re.findall(r"(?:python|bash) ((?:tests|deploy)/[\w/.]+)", page.read_text(encoding="utf-8"))
    }
    assert len(named) > 5
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_first_page_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130
