"""The end of a refresh: what is published, what is refused, and what is said in each case."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pyarrow as pa
import pytest
from corpora import gaussian, write_vectors
from fakes import make_bank, make_shard
from sides import embed_side

from nnn_core.digests import set_digest
from nnn_core.embedded.corpus import Corpus
from nnn_core.embedded.embedding import EmbeddingRequest
from nnn_core.embedded.profile import SideSums, VectorSum
from nnn_core.embedded.shards import EmbeddedInput
from nnn_core.errors import ConflictError, CorruptArtifactError, DuplicateIdError, GateError
from nnn_core.gates.row_statistics import RowStatistics
from nnn_core.gates.thresholds import Thresholds
from nnn_core.inputs.readers import Columns
from nnn_core.inputs.rejects import RejectSummary
from nnn_core.publishing import HubsToName
from nnn_core.report import Report, Shown, render_text
from nnn_core.report._sections import HubChanges, ListedHub
from nnn_core.report.refresh import Lineage
from nnn_core.scoring.merged import Total
from nnn_core.scoring.partials import Scored
from nnn_core.table.lifecycle.cleaning import Needs
from nnn_core.table.manifest import Manifest, SearchReport, current_manifest, list_versions, read_manifest
from nnn_core.table.parts import BiasSettings, RowSlice
from nnn_core.table.reading import load_bias_table
from pipelines.stages.commit_bias_table import Basis, CommitBiasTable, _HubLook, _look_at_hubs, _write

IDS = [f"c{number}" for number in range(8)]
MEANS = np.random.default_rng(0).random((8, 2)).astype(np.float32) / 2
SETTINGS = BiasSettings(2, 0.5, (1, 2), "image", "text", False, {"kind": "precomputed"}, "b" * 64)
BANK = make_bank([make_shard("r", 9)])
TOTAL = Total(Scored(9, frozenset({"exact"})), VectorSum(0, np.zeros(0, np.int64)))


def corpus_of(rows: int, ids: Sequence[str]) -> Corpus:
    shard = dataclasses.replace(make_shard("c", rows), id_digest=set_digest(each.encode() for each in ids))
    return Corpus.gather([EmbeddedInput("c", "0" * 64, (shard,), RejectSummary(rows), True)], 0.0, "rejects")


@dataclasses.dataclass
class Table:
    """A table and a work folder, and refreshes of them that come in with rows that were scored."""

    folder: Path
    runs: int = 0
    nearest: list[dict[str, tuple[tuple[float, str], ...]]] = dataclasses.field(default_factory=list)
    looks: list[_HubLook] = dataclasses.field(default_factory=list)

    @property
    def uri(self) -> str:
        return str(self.folder / "table")

    def report(self) -> Report:
        """That of the last refresh."""
        uri = str(self.folder / f"run-{self.runs}.json")
        return Report.from_json(Path(uri).read_bytes(), uri)

    def refresh(
        self,
        previous: Manifest | None,
        means: np.ndarray = MEANS,
        settings: BiasSettings = SETTINGS,
        candidates: int = len(IDS),
        accepted: Sequence[str] = (),
        ids: Sequence[str] = IDS,
        scored: Sequence[str] = IDS,
    ) -> Manifest:
        """From rows to a version, as the steps of the stage do it one after the other."""
        self.runs += 1
        pieces = RowSlice.cut(pa.array(scored), means, "c.parquet", ("c5",))
        written = [_write((number, [piece]), self.uri, settings, previous) for number, piece in pieces]
        stage = CommitBiasTable(
            table=self.uri,
            work=str(self.folder / "work"),
            report=str(self.folder / f"run-{self.runs}.json"),
            thresholds=Thresholds(),
            accepted=tuple(accepted),
            candidates=None,
            request=None,
            bank=None,
            basis=None,
            lineage=None,
            review=None,
        )
        needs = Needs((), ("c",), ("r",), {}, 2, False)
        lineage = Lineage(corpus_of(candidates, ids), BANK, SideSums(), SearchReport(("exact",)), needs)
        found = [((part,), statistics) for part, statistics in written[::-1]]
        for part in previous.files if previous else ():
            found.append(((), RowStatistics.of_previous(part, self.uri, settings, previous)))
        return stage.commit(found, Basis(settings, previous, TOTAL), lineage, None, self.nearest, self.looks)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path)


def test_a_first_version_holds_a_row_for_each_candidate(table: Table, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "nnn"):
        manifest = table.refresh(None)
    assert manifest == read_manifest(table.uri, 1)
    assert [part.min_id for part in manifest.files] == ["c0", "c5"]
    loaded = load_bias_table(table.uri)
    assert loaded.ids.to_pylist() == IDS
    np.testing.assert_allclose(loaded.bias, 0.5 * MEANS[:, 1], rtol=1e-6)
    assert table.report().title == "Version 1 of the bias table"
    assert f"nnn refresh done: version 1 of {table.uri} published" in caplog.text


def test_rows_of_other_candidates_are_not_published(table: Table) -> None:
    with pytest.raises(CorruptArtifactError, match="the digest of its ids differs from that of the candidates"):
        table.refresh(None, ids=[*IDS[1:], "stranger"])
    assert current_manifest(table.uri) is None


def test_rows_that_were_lost_are_not_published(table: Table) -> None:
    with pytest.raises(CorruptArtifactError, match="the table has 8 rows for 9 candidates"):
        table.refresh(None, candidates=9)
    assert list_versions(table.uri) == []


def test_an_id_that_stands_for_two_rows_is_refused(table: Table) -> None:
    slices = [piece for source in "ab" for _, piece in RowSlice.cut(pa.array(IDS[:3]), MEANS[:3], source, ())]
    with pytest.raises(DuplicateIdError, match="'c0' occurs more than once"):
        _write((0, slices), table.uri, SETTINGS, None)


LOUD = dataclasses.replace(SETTINGS, alpha=5.0)


def test_a_gate_that_fails_publishes_nothing_and_leaves_its_report(table: Table) -> None:
    first = table.refresh(None)
    with pytest.raises(GateError) as caught:
        table.refresh(first, settings=LOUD)
    assert caught.value.exit_code == 10
    failed = [gate.name for gate in table.report().gates if gate.verdict == "fail"]
    assert "alpha" in failed
    said = "alpha: alpha 5 differs from the previous one by a factor of 10 (limit: at most 2). Check --alpha."
    assert said in str(caught.value)
    assert all(f"--accept {name}" in str(caught.value) for name in failed)
    assert current_manifest(table.uri) == first
    assert table.report().title == "A refresh that was not published"
    (listed,) = (table.folder / "work" / "gates").iterdir()
    assert str(listed) in str(caught.value)
    assert [gate["name"] for gate in json.loads(listed.read_text())["gates"] if gate["verdict"] == "fail"] == failed


def test_a_failure_that_is_accepted_is_published_with_its_name(table: Table) -> None:
    first = table.refresh(None)
    with pytest.raises(GateError):
        table.refresh(first, settings=LOUD)
    failed = [gate.name for gate in table.report().gates if gate.verdict == "fail"]
    second = table.refresh(first, settings=LOUD, accepted=failed)
    assert second == read_manifest(table.uri, 2)
    assert [gate.name for gate in second.gates if gate.accepted] == failed
    # What stands was accepted: the same refresh, without the flag, finds nothing new.
    assert table.refresh(second, settings=LOUD) == second


def test_the_report_tells_that_k_and_alpha_of_the_version_before_are_undone(table: Table) -> None:
    first = table.refresh(None)
    assert table.report().notes == ()
    second = table.refresh(first, settings=dataclasses.replace(SETTINGS, alpha=0.625))
    said = "k = 2 and alpha = 0.625 replace k = 2 and alpha = 0.5 of version 1. To keep those, give --k 2 --alpha 0.5."
    assert table.report().notes == (said,)
    table.refresh(second, MEANS + np.float32(0.01), dataclasses.replace(SETTINGS, alpha=0.625))
    assert table.report().notes == ()


def test_a_table_that_says_the_same_gets_no_version(table: Table, caplog: pytest.LogCaptureFixture) -> None:
    first = table.refresh(None)
    with caplog.at_level(logging.INFO, "nnn"):
        assert table.refresh(first) == first
    assert list_versions(table.uri) == [1]
    assert table.report().notes[0] == "Nothing changed since version 1, so no version was published."
    assert f"nnn refresh done: version 1 of {table.uri} unchanged" in caplog.text


def test_a_part_that_did_not_change_is_not_copied(table: Table) -> None:
    first = table.refresh(None)
    second = table.refresh(first, np.concatenate([MEANS[:5], MEANS[5:] + np.float32(0.01)]))
    assert second.version == 2
    assert second.files[0] == first.files[0]
    assert second.files[1].path.startswith("versions/000002/")


@pytest.mark.parametrize("gone", [False, True])
def test_a_part_that_is_damaged_is_put_right(table: Table, gone: bool) -> None:
    first = table.refresh(None)
    damaged = Path(table.uri) / first.files[1].path
    damaged.write_bytes(damaged.read_bytes()[:-1])
    if gone:
        damaged.unlink()
    second = table.refresh(first)
    assert (second.version, second.files[0]) == (2, first.files[0])
    assert (second.files[1].sha256, second.files[1].path.split("/")[1]) == (first.files[1].sha256, "000002")
    assert load_bias_table(table.uri).manifest == second


def test_the_report_tells_how_many_candidates_came_and_went(table: Table) -> None:
    first = table.refresh(None)
    assert "new" not in render_text(table.report())
    ids = [*IDS[1:], "c8", "c9"]
    means = np.concatenate([MEANS[1:], MEANS[:2]])
    table.refresh(first, means, candidates=9, ids=ids, scored=ids, accepted=["lost_candidates"])
    assert "9 rows (image), 2 new, 1 gone, in 1 shard" in render_text(table.report())
    source = table.report().run.candidates
    assert (source.new, source.gone) == (2, 1)


def test_who_comes_second_publishes_nothing(table: Table) -> None:
    first = table.refresh(None)
    with pytest.raises(ConflictError, match=r"version 1 .* was published by another job"):
        table.refresh(None, MEANS + np.float32(0.01))
    assert current_manifest(table.uri) == first


FAR = np.concatenate([MEANS[:7] / 20, MEANS[7:] + np.float32(0.4)])


def test_a_version_lists_its_hubs_and_the_report_compares_them(table: Table) -> None:
    first = table.refresh(None, FAR)
    assert first.hubs is not None
    assert first.hubs.read(table.uri).column("id").to_pylist() == ["c7"]
    assert table.report().listed_hubs == HubChanges(1, None, 0, 0, (ListedHub("c7", ANY, None, (), False),))
    table.nearest = [{"c3": ((0.5, "q2"), (0.25, "q1"))}, {"c3": ((0.75, "q9"),)}]
    table.looks = [_HubLook((), (Shown("c3", "a cup"),))]
    moved = FAR[[0, 1, 2, 7, 4, 5, 6, 3]]
    second = table.refresh(first, moved)
    assert second.hubs is not None
    (row,) = second.hubs.read(table.uri).to_pylist()
    assert (row["id"], row["references"], row["scores"]) == ("c3", ["q9", "q2", "q1"], [0.75, 0.5, 0.25])
    assert table.report().shown == {"c3": Shown("c3", "a cup")}
    worst = (ListedHub("c3", ANY, None, ("q9", "q2", "q1"), True),)
    assert table.report().listed_hubs == HubChanges(1, 1, 1, 1, worst)
    assert "the previous version had 1: 1 new, 1 gone" in render_text(table.report())


def test_a_list_that_is_damaged_is_put_right(table: Table) -> None:
    first = table.refresh(None, FAR)
    assert first.hubs is not None
    (Path(table.uri) / first.hubs.path).write_bytes(b"")
    second = table.refresh(first, FAR)
    assert second.hubs is not None
    assert (second.version, second.files, second.hubs.sha256) == (2, first.files, first.hubs.sha256)
    assert second.hubs.is_whole(table.uri)
    assert table.report().listed_hubs == HubChanges(1, None, 0, 0, (ListedHub("c7", ANY, None, (), False),))
    assert table.refresh(second, FAR) == second


def test_only_hubs_of_a_version_that_changed_are_explained(table: Table) -> None:
    first = table.refresh(None, FAR)
    pieces = RowSlice.cut(pa.array(IDS), FAR, "c.parquet", ("c5",))
    written = [_write((number, [piece]), table.uri, SETTINGS, first) for number, piece in pieces]
    parts, statistics = [part for part, _ in written], written[0][1] | written[1][1]
    assert HubsToName.of(table.uri, parts, SETTINGS, first, statistics) == HubsToName()
    for changed in (None, dataclasses.replace(first, settings=LOUD), dataclasses.replace(first, files=first.files[:1])):
        found = HubsToName.of(table.uri, parts, SETTINGS, changed, statistics)
        assert found == HubsToName(frozenset({"c7"}), frozenset({"c7"}))


def test_hubs_are_shown_by_the_columns_that_are_named(tmp_path: Path) -> None:
    pattern = write_vectors(tmp_path / "c", IDS, gaussian(8, 4, 1), 1, title=[f"title of {name}" for name in IDS])
    (embedded,) = embed_side(pattern, str(tmp_path / "work"))
    request = EmbeddingRequest("image", Columns(), None, str(tmp_path / "work"))
    hubs = HubsToName(frozenset({"c1"}), frozenset({"c7"}))
    (look,) = _look_at_hubs(("embed_candidates", embedded), hubs, request, ("title",))
    assert look.shown == (Shown("c7", "title of c7"),)
    assert [block.ids.to_pylist() for block in look.vectors] == [["c1"]]
