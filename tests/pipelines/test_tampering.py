"""Every artefact below --work flipped, emptied, cut or exchanged: computed anew or refused, never published wrong."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from corpora import gaussian, tree, write_vectors

from pipelines.commands import cli

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

DIM = 6


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A refresh of vectors with queries: inputs, work, and its table."""
    folder = tmp_path_factory.mktemp("finished")
    candidates = gaussian(30, DIM, 1)
    write_vectors(folder / "candidates", [f"c{row}" for row in range(30)], candidates, 2)
    write_vectors(folder / "references", [f"r{row}" for row in range(24)], gaussian(24, DIM, 2), 2)
    queries = candidates[:20] + gaussian(20, DIM, 3) / 2
    write_vectors(folder / "queries", [f"q{row}" for row in range(20)], queries, 1, [f"c{row}" for row in range(20)])
    assert refresh(folder, folder / "work", folder / "table")[0] == 0
    return folder


def refresh(inputs: Path, work: Path, table: Path) -> tuple[int, str]:
    """Exit code and standard error."""
    flags = {name: str(inputs / name / "*.parquet") for name in ("candidates", "references")}
    flags |= {"validation": str(inputs / "queries" / "*.parquet"), "validation-pair-id-column": "pair_id"}
    flags |= {"table": str(table), "work": str(work), "k": "4", "k-max": "4", "reference-shard-rows": "1"}
    arguments = [part for name, value in flags.items() for part in (f"--{name}", value)]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as error:
        return cli.main(["refresh", *arguments, "--accept", "gain", "--accept", "agreement"]), error.getvalue()


def attacks(data: bytes, neighbour: bytes) -> Iterator[tuple[str, bytes | None]]:
    """What becomes of a file."""
    for part in (0, 1, 2, 3):
        place = min(len(data) - 1, len(data) * part // 4 + part)
        yield f"a byte at {part}/4", data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    yield "emptied", b""
    yield "cut", data[: len(data) // 2]
    yield "exchanged", neighbour
    yield "gone", None


def test_every_artefact(finished: Path, tmp_path: Path, record_count: Callable[[str, int, int], None]) -> None:
    before = {name: data for name, data in tree(finished / "work").items() if data}
    published = tree(finished / "table")
    folders: dict[str, list[str]] = {}
    for name in sorted(before):
        folders.setdefault(f"{name.partition('/')[0]} {name.rpartition('.')[2]}", []).append(name)
    wrong = []
    for kind, names in folders.items():
        if kind.split()[0] in ("runs", "reports", "rejects"):  # nothing is computed from these
            continue
        for place, name in enumerate(names):
            for attack, data in attacks(before[name], before[names[place - 1]]):
                work, table = tmp_path / "work", tmp_path / "table"
                shutil.copytree(finished / "work", work)
                if data is None:
                    (work / name).unlink()
                else:
                    (work / name).write_bytes(data)
                code, error = refresh(finished, work, table)
                found = tree(table)
                same = code == 0 and {key: value for key, value in found.items() if key.endswith(".parquet")} == {
                    key: value for key, value in published.items() if key.endswith(".parquet")
                }
                refused = code in (3, 9, 10) and not any(key.endswith(".parquet") and "json" in key for key in found)
                record_count(f"tampered {kind}: computed anew or refused", same or refused, 1)
                record_count("tampered artefacts that are computed anew", same, 1)
                if not (same or refused):
                    wrong.append((name, attack, code, error))
                shutil.rmtree(work)
                shutil.rmtree(table)
    assert not wrong
