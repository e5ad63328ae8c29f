"""Every artefact below --work flipped, emptied, cut or exchanged: computed anew or refused, never published wrong."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from corpora import gaussian, tree, write_vectors

from pipelines.commands import cli

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

DIM = 6

#: Nothing is computed from these.
_TOLD = ("runs", "reports", "rejects", "leases")


def _flip(part: int) -> Callable[[bytes, bytes], bytes | None]:
    def flipped(data: bytes, _: bytes) -> bytes:
        place = min(len(data) - 1, len(data) * part // 4 + part)
        return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]

    return flipped


#: What becomes of a file, given its bytes and those of its neighbour; None where it goes.
ATTACKS: dict[str, Callable[[bytes, bytes], bytes | None]] = {
    **{f"a byte at {part}/4": _flip(part) for part in range(4)},
    "emptied": lambda data, neighbour: b"",
    "cut": lambda data, neighbour: data[: len(data) // 2],
    "exchanged": lambda data, neighbour: neighbour,
    "gone": lambda data, neighbour: None,
}


@dataclass(frozen=True)
class Finished:
    """A refresh that is done.

    Attributes:
        folder: its inputs, work and table.
        artefacts: what is below its work folder, by path.
        parts: data files of its table, by path.
    """

    folder: Path
    artefacts: dict[str, bytes]
    parts: dict[str, bytes]

    def kinds(self) -> dict[str, list[str]]:
        """Paths of the artefacts that something is computed from, by folder and ending."""
        found: dict[str, list[str]] = {}
        for name, data in sorted(self.artefacts.items()):
            if data and name.partition("/")[0] not in _TOLD:
                found.setdefault(f"{name.partition('/')[0]} {name.rpartition('.')[2]}", []).append(name)
        return found

    def attacked(self, attacks: Mapping[str, str], place: Path) -> str:
        """What comes of a refresh of a new table, with a copy of the work folder in which files were attacked.

        Args:
            attacks: names of attacks, by path of the file.
            place: a folder that does not exist.

        Returns:
            "anew", "refused", or what went wrong.
        """
        kinds = {name: names for names in self.kinds().values() for name in names}
        shutil.copytree(self.folder / "work", place / "work")
        for name, attack in attacks.items():
            neighbours = kinds[name]
            neighbour = self.artefacts[neighbours[neighbours.index(name) - 1]]
            data = ATTACKS[attack](self.artefacts[name], neighbour)
            path = place / "work" / name
            path.unlink() if data is None else path.write_bytes(data)
        code, error = refresh(self.folder, place / "work", place / "table")
        found = tree(place / "table")
        shutil.rmtree(place)
        if code == 0 and parts_of(found) == self.parts:
            return "anew"
        published = any(name.startswith("versions/") and name.endswith(".json") for name in found)
        return "refused" if code in (3, 9, 10) and not published else f"exit code {code}: {error}"


def parts_of(table: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in table.items() if name.endswith(".parquet")}


def refresh(inputs: Path, work: Path, table: Path) -> tuple[int, str]:
    """Exit code and standard error."""
    flags = {name: str(inputs / name / "*.parquet") for name in ("candidates", "references")}
    flags |= {"validation": str(inputs / "queries" / "*.parquet"), "validation-pair-id-column": "pair_id"}
    flags |= {"table": str(table), "work": str(work), "k": "4", "k-max": "4", "reference-shard-rows": "1"}
    arguments = [part for name, value in flags.items() for part in (f"--{name}", value)]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as error:
        return cli.main(["refresh", *arguments, "--accept", "gain", "--accept", "agreement"]), error.getvalue()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A refresh of vectors with queries."""
    folder = tmp_path_factory.mktemp("finished")
    candidates = gaussian(30, DIM, 1)
    write_vectors(folder / "candidates", [f"c{row}" for row in range(30)], candidates, 2)
    write_vectors(folder / "references", [f"r{row}" for row in range(24)], gaussian(24, DIM, 2), 2)
    queries = candidates[:20] + gaussian(20, DIM, 3) / 2
    write_vectors(folder / "queries", [f"q{row}" for row in range(20)], queries, 1, [f"c{row}" for row in range(20)])
    assert refresh(folder, folder / "work", folder / "table")[0] == 0
    return Finished(folder, tree(folder / "work"), parts_of(tree(folder / "table")))


def test_every_artefact(finished: Finished, tmp_path: Path, record_count: Callable[[str, int, int], None]) -> None:
    """All files of a kind at once, each attacked in another way, and one by one where something is not as it was."""
    wrong = []
    for kind, names in finished.kinds().items():
        for turn in range(len(ATTACKS)):
            each = {name: [*ATTACKS][(turn + place) % len(ATTACKS)] for place, name in enumerate(names)}
            together = finished.attacked(each, tmp_path / "copy") if len(each) > 1 else ""
            for name, attack in each.items():
                came = together if together == "anew" else finished.attacked({name: attack}, tmp_path / "copy")
                record_count(f"tampered {kind}: computed anew or refused", came in ("anew", "refused"), 1)
                record_count("tampered artefacts that are computed anew", came == "anew", 1)
                if came not in ("anew", "refused"):
                    wrong.append((name, attack, came))
    assert not wrong
