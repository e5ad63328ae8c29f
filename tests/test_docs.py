"""What the pages say is there: links lead somewhere, flags and scripts exist, and the first page stays short."""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.commands._completion import _actions, _parsers

ROOT = Path(__file__).parent.parent

#: Flags of other programs that the pages show.
FOREIGN_FLAGS = {
    "build_arg", "constraint", "environment_cache_millis", "extra_index_url", "flink_master", "images", "model",
    "prism_location", "runner", "setup_file", "vectors",
}  # fmt: skip

#: Words of a sentence that a person reads in a terminal, with a value as one word.
MOST_WORDS = 25

#: Pages whose sentences are no longer; of the others nobody has looked at every one.
PLAIN_PAGES = (
    "deploy/ENGINES.md",
    "deploy/kubernetes/README.md",
    "tests/README.md",
    "tests/core/inputs/CASES.md",
)  # fmt: skip

#: Modules whose long texts are pages or scripts, not messages.
NOT_MESSAGES = {"_page.py", "_completion.py", "faiss_index.py", "pgvector_table.py", "qdrant_collection.py"}


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


def test_messages_have_short_sentences() -> None:
    modules = [source for source in _tracked(".py") if {"nnn_core", "pipelines"} & set(source.parts)]
    texts = [(source.name, text) for source in modules if source.name not in NOT_MESSAGES for text in _literals(source)]
    texts += [(name, text) for name, parser in _parsers() for text in _described(parser)]
    said = [(name, sentence) for name, text in texts for sentence in _sentences(text)]
    assert len(said) > 2000
    assert [(name, sentence) for name, sentence in said if len(sentence.split()) > MOST_WORDS] == []


def test_pages_have_short_sentences() -> None:
    texts = [(name, text) for name in PLAIN_PAGES for text in _blocks((ROOT / name).read_text(encoding="utf-8"))]
    texts += [(page.name, text) for page in _tracked(".html.j2") for text in _seen(page.read_text(encoding="utf-8"))]
    said = [(name, sentence) for name, text in texts for sentence in _sentences(text) if sentence.split()]
    assert len(said) > 900
    assert [(name, sentence) for name, sentence in said if len(sentence.split()) > MOST_WORDS] == []


def _blocks(page: str) -> Iterator[str]:
    """Paragraphs, items of lists and cells of tables of Markdown, a line each; without code."""
    prose = re.sub(r"^```.*?^```|^    .*?$", "", page, flags=re.S | re.M)
    for block in re.split(r"\n\s*\n|\n(?=[-|#\d])", prose):
        cells = re.split(r"(?<!\\)\|", block) if block.lstrip().startswith("|") else [block]
        yield from (" ".join(cell.split()) for cell in cells)


def _seen(template: str) -> Iterator[str]:
    """What a reader sees of a template, with ``X`` for a value that is filled in; each branch and element by itself."""
    words = re.sub(r"\{%-?\s*(?:else|elif|macro|endmacro).*?%\}", "\n", template)
    words = re.sub(r"\{\{.*?\}\}", " X", re.sub(r"\{%.*?%\}", " ", words, flags=re.S), flags=re.S)
    words = re.sub(r"</?(?:strong|em|code|bdi|sub|b)\b[^>]*>", "", words)
    yield from re.split(r"<[^>]*>|\n", words)


def _literals(source: Path) -> Iterator[str]:
    """Strings of a module but its docstrings, with ``X`` for a value that is filled in."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    aside = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            aside.update(node.values)
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else " X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in aside:
            yield node.value


def _described(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield from filter(None, (parser.description, parser.epilog))
    yield from (action.help for action in _actions(parser) if action.help)


def _sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.!?:;])\s+|\n", text)
