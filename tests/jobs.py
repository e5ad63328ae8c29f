"""A tiny refresh of vectors that comes to every kind of artefact, over inputs that grow from version 1 to 2."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
from corpora import gaussian, write_vectors
from failpoints import several_parts
from stores import objects, plant

from pipelines.commands import cli
from pipelines.running import _progress

DIM = 8
CANDIDATES, REFERENCES = 42, 40


def plant_inputs(scratch: Path, uri: str) -> None:
    """Three files of candidates, of which the last has a row that is rejected, and two of references."""
    candidates = gaussian(CANDIDATES, DIM, 1)
    candidates[-1] = 0.0
    order = np.random.default_rng(3).permutation(CANDIDATES)
    write_vectors(scratch / "candidates", [f"item-{number:03d}" for number in order], candidates, 3)
    write_vectors(
        scratch / "references", [f"query-{row}" for row in range(REFERENCES)], gaussian(REFERENCES, DIM, 2), 2
    )
    assert pq.read_table(scratch / "candidates" / "part-2.parquet").num_rows == CANDIDATES // 3
    if str(scratch) != uri:
        plant(uri, objects(str(scratch)))


def refresh_arguments(inputs: str, folder: str, version: int = 2) -> list[str]:
    """``refresh`` of the first two files of candidates, or of all three, into ``folder``."""
    flags = {
        "candidates": f"{inputs}/candidates/part-{{0..{version}}}.parquet",
        "references": f"{inputs}/references/part-{{0..1}}.parquet",
        "table": f"{folder}/table",
        "work": f"{folder}/work",
        "k": "4",
        "k-max": "4",
        "reference-shard-rows": "1",
        "max-reject-rate": "0.1",
        "accept": "candidate_rejects",
    }
    return ["refresh", *(part for name, value in flags.items() for part in (f"--{name}", value))]


@dataclass(frozen=True)
class TwoVersions:
    """The tiny job after each of its two versions, whose tables are cut into several parts.

    Attributes:
        place: the folder of inputs, table and work; what a job leaves says where it is.
        kept: copies of the folder before the job ran, after version 1 and after version 2.
        printed: what the runs of version 1 and of version 2 printed, the last line of which is JSON; that of version
            2 was to be quiet.
        progress: what they said on their way, as often as there was something to say.
    """

    place: Path
    kept: tuple[Path, ...]
    printed: tuple[str, ...]
    progress: tuple[str, ...]

    @classmethod
    def publish(cls, place: Path, copies: Path) -> TwoVersions:
        """Run the job twice in the new folder ``place``."""
        plant_inputs(place, str(place))
        kept, printed, progress = [shutil.copytree(place, copies / "0")], [], []
        for version in (1, 2):
            out, error = io.StringIO(), io.StringIO()
            with (
                several_parts(),
                mock.patch.object(_progress, "LINE_SECONDS", 0.0),
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(error),
            ):
                command = [*refresh_arguments(str(place), str(place), version), "--json"]
                assert cli.main(command + ["--quiet"] * (version == 2)) == 0
            printed.append(out.getvalue())
            progress.append(error.getvalue())
            kept.append(shutil.copytree(place, copies / str(version)))
        return cls(place, tuple(kept), tuple(printed), tuple(progress))

    @property
    def summaries(self) -> list[dict[str, Any]]:
        """What the runs of version 1 and of version 2 printed as JSON."""
        return [json.loads(printed.splitlines()[-1]) for printed in self.printed]

    def restore(self, version: int) -> Path:
        """The folder as it was after that version."""
        shutil.rmtree(self.place)
        shutil.copytree(self.kept[version], self.place)
        return self.place

    def files(self, version: int) -> dict[str, bytes]:
        """All files of table and work after that version, but for what belongs to a single run."""
        kept = objects(str(self.kept[version]))
        return {name: data for name, data in kept.items() if name.startswith(("table/", "work/"))}


@dataclass(frozen=True)
class Refused:
    """The tiny job, of which one gate fails; it was to tell of its end in every way that is installed.

    Attributes:
        code: its exit code.
        printed: what it printed, the last line of which is JSON.
        error: what it said to standard error.
        metrics: its file of metrics.
        events: its file of OpenLineage's events, a line each; empty without the client.
        published: versions of its table.
    """

    code: int
    printed: str
    error: str
    metrics: bytes
    events: list[dict[str, Any]]
    published: list[str]

    @classmethod
    def run(cls, folder: Path) -> Refused:
        """Run the job in a new folder."""
        plant_inputs(folder, str(folder))
        (folder / "gates.yaml").write_text("spread: 10\n")
        (folder / "events.jsonl").touch()
        flags = ["--gates", str(folder / "gates.yaml"), "--metrics-file", str(folder / "nnn.prom"), "--json"]
        if find_spec("openlineage"):
            flags += ["--lineage-url", str(folder / "events.jsonl")]
        out, error = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            code = cli.main([*refresh_arguments(str(folder), str(folder)), *flags])
        events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
        versions = [path.name for path in (folder / "table").glob("versions/*.json")]
        return cls(code, out.getvalue(), error.getvalue(), (folder / "nnn.prom").read_bytes(), events, versions)
