"""An index that is brought from one version to another: what is written, what is left alone, and what that costs."""

from __future__ import annotations

import dataclasses
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import grid_vectors
from tables import publish_biases

from nnn_core import records
from nnn_core.consumers._steps import Counts
from nnn_core.consumers.along import Along
from nnn_core.consumers.engines._rows import point_uuid
from nnn_core.consumers.engines.overlap import TopOverlap
from nnn_core.consumers.engines.recipe import BiasRange, Recipe
from nnn_core.consumers.export_files import Exported, FileExport
from nnn_core.consumers.held import held_biases, load_biases, manifest_uri
from nnn_core.consumers.update import Update
from nnn_core.embedded.shards import EmbeddedShard
from nnn_core.errors import ConfigError, InputError
from nnn_core.evaluation.queries import QuerySet
from nnn_core.evaluation.rankings import Ranking
from nnn_core.inputs.readers import Columns
from nnn_core.table.manifest import read_manifest

ROWS, DIM, ASKED = 120, 16, 30
NAMES = [f"c{row:03d}" for row in range(ROWS)]
VECTORS = grid_vectors(ROWS, DIM, 1)
QUERIES = QuerySet(tuple(f"q{row}" for row in range(ASKED)), grid_vectors(ASKED, DIM, 2), ((),) * ASKED, np.zeros(0))
#: Version 2 has c000 no more, and c119 is new to it; some biases moved a little, some a lot, most not at all.
OLD, NEW = range(ROWS - 1), range(1, ROWS)


def biases(version: int) -> dict[str, float]:
    values = 0.2 + 0.05 * np.random.default_rng(5).random(ROWS)
    if version > 1:
        values[10:30] += 0.001 * (version - 1)
        values[30:40] += 0.03 * (version == 2)
    return {NAMES[row]: float(np.float32(values[row])) for row in (OLD if version == 1 else NEW)}


@dataclasses.dataclass(frozen=True)
class World:
    """A table of three versions, vectors, and exports of them."""

    folder: Path

    @property
    def table(self) -> str:
        return str(self.folder / "table")

    def shard(self, rows: range, source: str = "x.parquet") -> EmbeddedShard:
        names = [NAMES[row] for row in rows]
        return EmbeddedShard.write(str(self.folder / "shard"), names, [""] * len(rows), VECTORS[rows], source)

    def recipe(self, engine: str, form: str = "auto", metric: str = "ip", **more: Any) -> Recipe:
        return Recipe.make(engine, metric, DIM, BiasRange.of(read_manifest(self.table, 1)), form, **more)

    def export(self, recipe: Recipe, version: int, name: str, update: Update | None = None) -> Exported:
        output = str(self.folder / name)
        now, rows = load_biases(self.table, version), OLD if version == 1 else NEW
        files = FileExport(recipe, output, update=update)
        found = files.export(self.shard(rows), now, QUERIES)
        removals, said = files.remove(now)
        table = {"version": version, "id_digest": now.manifest.id_digest}
        record = {"format": "nnn-export/1", "table": table, "recipe": recipe.to_record(10)}
        Path(manifest_uri(output)).write_bytes(records.to_page({**record, **({"update": said} if said else {})}))
        return dataclasses.replace(found, files=(*found.files, *removals))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("world"))
    for version in (1, 2, 3):
        publish_biases(world.table, version, biases(version))
    return world


def update(world: World, since: int, like: str, min_change: float = 0.0) -> Update:
    return Update(world.table, since, min_change, str(world.folder / like))


def rows_of(world: World, name: str, exported: Exported, engine: str) -> dict[str, Any]:
    """What is stored for each id, in the files of an export."""
    found: dict[str, Any] = {}
    for file in exported.files:
        path = world.folder / name / file.path
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            found |= {row["id"]: (row["vector"], row["bias"]) for row in table.to_pylist()}
    return found


@pytest.mark.parametrize("metric", ["ip", "cosine"])
def test_only_what_moved_is_written_and_the_rest_would_be_the_same_bytes(world: World, metric: str) -> None:
    recipe = world.recipe("milvus", metric=metric)
    before = world.export(recipe, 1, f"full-{metric}")
    moved = recipe.for_version(BiasRange.of(read_manifest(world.table, 2)))
    after = world.export(moved, 2, f"step-{metric}", update(world, 1, f"full-{metric}"))
    assert after.counts == Counts(added=1, moved=30, kept=ROWS - 2 - 30)
    held = rows_of(world, f"full-{metric}", before, "milvus")
    written = rows_of(world, f"step-{metric}", after, "milvus")
    assert set(written) == {NAMES[row] for row in (*range(10, 40), ROWS - 1)}
    (gone,) = [file for file in after.files if file.path.startswith("delete/")]
    assert (world.folder / f"step-{metric}" / gone.path).read_text() == "c000\n"
    # What the index then holds is what a full export by the same recipe would have written.
    whole = rows_of(world, f"whole-{metric}", world.export(moved, 2, f"whole-{metric}"), "milvus")
    assert {**{name: row for name, row in held.items() if name != "c000"}, **written} == whole
    assert TopOverlap.of(after.rankings.debiased, after.found).mean == 1.0


def test_a_tolerance_leaves_small_changes_alone_and_says_what_that_costs(world: World) -> None:
    recipe = world.recipe("milvus")
    world.export(recipe, 1, "full")
    after = world.export(recipe, 2, "tolerant", update(world, 1, "full", 0.01))
    assert after.counts == Counts(added=1, moved=10, kept=ROWS - 2 - 30, tolerated=20)
    now, old = biases(2), biases(1)
    applied = np.array(
        [old[name] if 10 <= int(name[1:]) < 30 else now[name] for name in (NAMES[row] for row in NEW)], np.float32
    )
    names = [NAMES[row] for row in NEW]
    exact = Ranking.of(QUERIES.vectors, VECTORS[NEW], names, np.array([now[name] for name in names], np.float32))
    index = Ranking.of(QUERIES.vectors, VECTORS[NEW], names, applied)
    assert TopOverlap.of(after.rankings.debiased, after.found).mean == TopOverlap.of(exact, index).mean
    assert held_biases(update(world, 2, "tolerant")).bias.tolist() == applied.tolist()


def test_the_next_update_starts_from_what_the_index_holds(world: World) -> None:
    """In version 3 the biases that moved far came back; for an index that took them they moved again."""
    recipe = world.recipe("milvus")
    world.export(recipe, 1, "full3")
    world.export(recipe, 2, "step3", update(world, 1, "full3", 0.01))
    third = world.export(recipe, 3, "last3", update(world, 2, "step3", 0.01))
    assert third.counts == Counts(moved=10, kept=ROWS - 1 - 30, tolerated=20)
    written = rows_of(world, "last3", third, "milvus")
    assert set(written) == {NAMES[row] for row in range(30, 40)}
    # Without a tolerance the index is brought to version 3 as it is.
    exact = world.export(recipe, 3, "exact3", update(world, 2, "step3"))
    assert exact.counts == Counts(moved=30, kept=ROWS - 1 - 30)
    assert held_biases(update(world, 3, "exact3")).bias.tolist() == list(biases(3).values())


#: For each engine that can set an attribute: the lines for one row, and the line that removes another.
BIAS = np.float32(biases(2)["c010"])
ATTRIBUTES = {
    "qdrant": (
        f'{{"set_payload":{{"payload":{{"bias":{BIAS}}},"points":["{point_uuid("c010")}"]}}}}',
        f'{{"points":["{point_uuid("c000")}"]}}',
    ),
    "elasticsearch": (f'{{"update":{{"_id":"c010"}}}}\n{{"doc":{{"bias":{BIAS}}}}}', '{"delete":{"_id":"c000"}}'),
    "opensearch": (f'{{"update":{{"_id":"c010"}}}}\n{{"doc":{{"bias":{BIAS}}}}}', '{"delete":{"_id":"c000"}}'),
    "vespa": (
        f'{{"update":"id:nnn:item::c010","fields":{{"bias":{{"assign":{BIAS}}}}}}}',
        '{"remove":"id:nnn:item::c000"}',
    ),
    "pgvector": (f"c010\t{BIAS}", "c000"),
}


@pytest.mark.parametrize("engine", ATTRIBUTES)
def test_an_attribute_is_set_and_vectors_stay(world: World, engine: str) -> None:
    recipe = world.recipe(engine, "attribute")
    world.export(recipe, 1, f"plain-{engine}")
    after = world.export(recipe, 2, f"set-{engine}", update(world, 1, f"plain-{engine}"))
    files = {file.path.split("/")[0]: file for file in after.files}
    assert {name: file.rows for name, file in files.items()} == {"data": 1, "update": 30, "delete": 1}
    said, gone = ((world.folder / f"set-{engine}" / files[name].path).read_text() for name in ("update", "delete"))
    assert ATTRIBUTES[engine][0] in said
    assert gone == ATTRIBUTES[engine][1] + "\n"
    assert TopOverlap.of(after.rankings.debiased, after.found).mean == 1.0


def test_a_version_that_the_index_has_no_room_for(world: World) -> None:
    recipe = world.recipe("qdrant", metric="cosine")
    reach = recipe.max_abs_bias
    fits = BiasRange(recipe.bias_shift, recipe.bias_shift, recipe.bias_shift + 0.99 * reach, 0.5)
    assert recipe.for_version(fits).max_abs_bias == reach
    assert recipe.for_version(fits).alpha == 0.5
    with pytest.raises(ConfigError, match=r"so every vector would change\. Export again"):
        recipe.for_version(dataclasses.replace(fits, highest=recipe.bias_shift + 1.01 * reach))
    # Vectors that are not completed have room for any.
    world.recipe("qdrant").for_version(dataclasses.replace(fits, highest=9.0))


def test_what_is_not_known_of_an_index(world: World, tmp_path: Path) -> None:
    recipe = world.recipe("milvus")
    world.export(recipe, 1, "known")
    with pytest.raises(ConfigError, match="brought it to version 1"):
        held_biases(update(world, 2, "known"))
    with pytest.raises(InputError, match=r"export\.json"):
        held_biases(update(world, 1, "nowhere"))
    (tmp_path / "export.json").write_text("{}")
    with pytest.raises(InputError, match="is not the manifest of an export for an engine"):
        held_biases(Update(world.table, 1, 0.0, str(tmp_path)))
    publish_biases(other := str(tmp_path / "table"), 1, {"a": 0.1, "b": 0.2})
    with pytest.raises(ConfigError, match="is of another table"):
        held_biases(Update(other, 1, 0.0, str(world.folder / "known")))
    for change in (-0.1, float("nan")):
        with pytest.raises(ConfigError, match="--min-change"):
            Update("t", 1, change, "x")


def test_what_travels_along(tmp_path: Path) -> None:
    source = str(tmp_path / "x.parquet")
    uuids = [f"00000000-0000-0000-0000-{row:012d}" for row in range(3)]
    pq.write_table(pa.table({"id": ["a", "b", "c"], "title": ["A", None, "C"], "uuid": uuids}), source)
    shard = EmbeddedShard.write(str(tmp_path / "s"), ["c", "a"], ["", ""], grid_vectors(2, 4, 1), source)
    payload, points = Along(Columns(), ("title",), "uuid").read(shard, ["c", "a"])
    assert payload is not None
    assert payload.to_pylist() == [{"title": "C"}, {"title": "A"}]
    assert points == [uuids[2], uuids[0]]
    assert Along().read(shard, ["c", "a"]) == (None, None)
    with pytest.raises(InputError, match="changed: row 'z' is gone"):
        Along(Columns(), ("title",)).read(shard, ["c", "z"])
    with pytest.raises(InputError, match=r"1 rows have no 'title' \(--uuid-column\)"):
        Along(Columns(), (), "title").read(shard, ["a", "b"])
    twice = str(uuid.uuid4())
    pq.write_table(pa.table({"id": ["a", "b", "c"], "uuid": [uuids[0], twice, twice.replace("-", "").upper()]}), source)
    with pytest.raises(InputError, match=rf"2 rows have the same 'uuid' \(--uuid-column\), '{twice.replace('-', '')}'"):
        Along(Columns(), (), "uuid").read(shard, ["a", "b"])
