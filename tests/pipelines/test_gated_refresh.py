"""A refresh that fails a gate publishes nothing; one with honest data is not held up.

Every case is a refresh on top of one good version: 3,000 candidates against a bank of 4,000, embeddings
shaped as those of a contrastive model (``benchmarks/clouds.py``). What queries tell is measured here, as a
consumer would see it, and handed over as evidence: two of the defects show nowhere else, or hardly.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from benchmarks.clouds import make_cloud
from corpora import brute_force_means, tree, write_vectors

from nnn_core.errors import DuplicateIdError, GateError
from nnn_core.evaluation.intervals import Interval
from nnn_core.gates.gate import Gate
from nnn_core.gates.judge import Evidence
from nnn_core.gates.thresholds import Thresholds
from nnn_core.manifest import list_versions, read_manifest
from nnn_core.metrics import top_overlap
from nnn_core.parts import part_boundaries
from pipelines.config import RefreshConfig
from pipelines.refresh import build_parser, print_gates, refresh
from pipelines.runner import parse_beam_options

Matrix = npt.NDArray[np.float32]

CANDIDATES, REFERENCES, QUERIES, DIM, K = 3000, 4000, 200, 64, 16
OPTIONS = parse_beam_options([], build_parser())


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What a refresh is given; ``index`` is what the consumer's index really holds under each id."""

    ids: list[str]
    candidates: Matrix
    references: Matrix
    index: Matrix
    files: tuple[int, int] = (4, 4)
    alpha: float = 0.75
    max_reject_rate: float = 0.0
    copied: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class World:
    """A good version, what it was computed from, and queries that are not in its bank."""

    folder: Path
    inputs: Inputs
    queries: Matrix

    def config(self, inputs: Inputs, folder: Path) -> RefreshConfig:
        """The refresh of ``inputs`` on a copy of the good version."""
        names = [f"q{row}" for row in range(len(inputs.references))]
        globs = (
            write_vectors(folder / "candidates", inputs.ids, inputs.candidates, inputs.files[0]),
            write_vectors(folder / "references", names, inputs.references, inputs.files[1]),
        )
        for side in inputs.copied:
            shutil.copy(folder / side / "part-1.parquet", folder / side / "part-9.parquet")
        if (self.folder / "table").exists():
            shutil.copytree(self.folder / "table", folder / "table")
        return RefreshConfig(
            *globs,
            str(folder / "table"),
            str(self.folder / "work"),
            k=K,
            alpha=inputs.alpha,
            max_reject_rate=inputs.max_reject_rate,
        )

    def evidence(self, inputs: Inputs) -> Evidence:
        """Overlap of the queries' top 10 before and after, and the queries that are in the bank."""
        kept = np.isfinite(inputs.candidates).all(axis=1) & inputs.candidates.any(axis=1)
        ids = [row_id for row_id, keep in zip(inputs.ids, kept, strict=True) if keep]
        overlap = top_overlap(
            self._top(self.inputs.ids, self.inputs, self.inputs.candidates),
            self._top(ids, inputs, inputs.candidates[kept]),
        )
        bank = {vector.tobytes() for vector in inputs.references}
        shared = sum(query.tobytes() in bank for query in self.queries)
        return Evidence(Interval(0.02, 0.005, 0.035), overlap, shared)

    def _top(self, ids: list[str], inputs: Inputs, candidates: Matrix) -> npt.NDArray[np.int64]:
        """Ids' numbers, best first, by debiased scores of the vectors that the index really holds."""
        bias = inputs.alpha * brute_force_means(candidates, inputs.references, (K,))[:, 0]
        number = {row_id: row for row, row_id in enumerate(inputs.ids)}
        vectors = inputs.index[[number[row_id] for row_id in ids]]
        best = np.argsort(bias - self.queries @ vectors.T, axis=1, kind="stable")[:, :10]
        return np.array([int(row_id[1:]) for row_id in ids], np.int64)[best]


def good_inputs() -> Inputs:
    candidates = make_cloud(CANDIDATES, DIM, 1, "candidates")
    ids = [f"c{row}" for row in range(CANDIDATES)]
    return Inputs(ids, candidates, make_cloud(REFERENCES, DIM, 2, "references"), candidates)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    world = World(folder, good_inputs(), make_cloud(QUERIES, DIM, 3, "references"))
    manifest, _ = refresh(world.config(world.inputs, folder), None, OPTIONS)
    assert manifest.version == 1
    return world


def unit(vectors: npt.NDArray[np.floating]) -> Matrix:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def wrong_preprocessing(good: Inputs, world: World) -> Inputs:
    """Images of wrong contrast: their embeddings lose meaning and move together."""
    rng = np.random.default_rng(5)
    glare = unit(rng.standard_normal((1, DIM)))
    blurred = 0.8 * good.candidates + 0.3 * glare + 0.2 * unit(rng.standard_normal(good.candidates.shape))
    return dataclasses.replace(good, candidates=unit(blurred))


def unnormalised_vectors(good: Inputs, world: World) -> Inputs:
    lengths = np.random.default_rng(6).uniform(5.0, 15.0, (CANDIDATES, 1)).astype(np.float32)
    return dataclasses.replace(good, candidates=good.candidates * lengths)


def shuffled_ids(good: Inputs, world: World) -> Inputs:
    order = np.random.default_rng(7).permutation(CANDIDATES)
    return dataclasses.replace(good, candidates=good.candidates[order])


def half_a_bank(good: Inputs, world: World) -> Inputs:
    return dataclasses.replace(good, references=good.references[: REFERENCES // 2])


def bank_of_another_model(good: Inputs, world: World) -> Inputs:
    """Of the same dimension: another basis."""
    basis, _ = np.linalg.qr(np.random.default_rng(8).standard_normal((DIM, DIM)))
    return dataclasses.replace(good, references=unit(good.references @ basis))


def bank_of_test_queries(good: Inputs, world: World) -> Inputs:
    return dataclasses.replace(good, references=np.concatenate([good.references[QUERIES:], world.queries]))


def constant_bank(good: Inputs, world: World) -> Inputs:
    return dataclasses.replace(good, references=np.repeat(good.references[:1], REFERENCES, axis=0), files=(4, 1))


def alpha_of_zero(good: Inputs, world: World) -> Inputs:
    return dataclasses.replace(good, alpha=0.0)


def alpha_of_ten_times(good: Inputs, world: World) -> Inputs:
    return dataclasses.replace(good, alpha=7.5)


def stale_candidates(good: Inputs, world: World) -> Inputs:
    """The corpus of some time ago, before its last tenth came."""
    rows = CANDIDATES * 9 // 10
    return dataclasses.replace(
        good, ids=good.ids[:rows], candidates=good.candidates[:rows], index=good.candidates[:rows]
    )


def truncated_shard(good: Inputs, world: World) -> Inputs:
    """A file whose rows end in zeros, let through by a generous --max-reject-rate."""
    candidates = good.candidates.copy()
    candidates[600:750] = 0.0
    return dataclasses.replace(good, candidates=candidates, max_reject_rate=0.5)


def duplicated_candidates(good: Inputs, world: World) -> Inputs:
    return dataclasses.replace(good, copied=("candidates",))


def duplicated_references(good: Inputs, world: World) -> Inputs:
    return dataclasses.replace(good, copied=("references",))


def swapped_modalities(good: Inputs, world: World) -> Inputs:
    """Each side's vectors under the other's name."""
    sides = good.references[:CANDIDATES], np.concatenate([good.candidates, good.candidates[: REFERENCES - CANDIDATES]])
    return dataclasses.replace(good, candidates=sides[0], references=sides[1], files=(4, 1))


Defect = Callable[[Inputs, World], Inputs]

#: Each defect, with the gate that must name it. Two of the twelve come in two kinds.
DEFECTS: list[tuple[Defect, str]] = [
    (wrong_preprocessing, "candidate_centroid"),
    (unnormalised_vectors, "vector_lengths"),
    (shuffled_ids, "moved_rows"),
    (half_a_bank, "bank_shrinkage"),
    (bank_of_another_model, "reference_centroid"),
    (bank_of_test_queries, "validation_overlap"),
    (constant_bank, "bank_repeats"),
    (alpha_of_zero, "alpha"),
    (alpha_of_ten_times, "alpha"),
    (stale_candidates, "lost_candidates"),
    (truncated_shard, "candidate_rejects"),
    (duplicated_candidates, "DuplicateIdError"),
    (duplicated_references, "repeated_files"),
    (swapped_modalities, "modalities"),
]

#: Gates that need queries.
BY_QUERIES = {"canary_overlap", "gain", "validation_overlap"}

CLEAN = 20

#: What the run shows of a clean refresh.
SHOWN = ("reference_centroid", "modalities", "drift_psi", "drift_quantiles", "moved_rows", "canary_overlap")

#: Those of the default run: a measure of rows, one of vectors, one of queries, one of settings.
QUICK = (shuffled_ids, swapped_modalities, bank_of_test_queries)


def failed_gates(world: World, inputs: Inputs, folder: Path, evidence: Evidence | None) -> set[str]:
    """Names of the gates, or of the check, that block a refresh; checks that nothing was published."""
    config = world.config(inputs, folder)
    before = tree(folder / "table" / "versions")
    manifests = {name: data for name, data in before.items() if name.endswith(".json")}
    try:
        refresh(config, None, OPTIONS, evidence)
    except DuplicateIdError:
        failed = {"DuplicateIdError"}
    except GateError as error:
        failed = {line.split(":")[0].strip() for line in str(error).splitlines() if line.startswith("  ")}
    else:
        return set()
    after = tree(folder / "table" / "versions")
    assert {name: data for name, data in after.items() if name.endswith(".json")} == manifests
    return failed


@pytest.mark.parametrize(("defect", "gate"), [case for case in DEFECTS if case[0] in QUICK])
def test_a_defect_is_blocked_by_name(world: World, tmp_path: Path, defect: Defect, gate: str) -> None:
    inputs = defect(world.inputs, world)
    assert gate in failed_gates(world, inputs, tmp_path, world.evidence(inputs))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_defect_is_blocked_by_name(world: World, tmp_path: Path) -> None:
    """All but a bank that holds test queries are blocked by what the job itself knows as well."""
    blocked = {}
    for defect, _ in DEFECTS:
        inputs = defect(world.inputs, world)
        failed = failed_gates(world, inputs, tmp_path / defect.__name__, world.evidence(inputs))
        blocked[defect.__name__] = failed
        print(f"{defect.__name__}: {', '.join(sorted(failed)) or 'NOT BLOCKED'}")
    print(f"{sum(map(bool, blocked.values()))} of {len(DEFECTS)} blocked")
    assert [defect.__name__ for defect, gate in DEFECTS if gate not in blocked[defect.__name__]] == []
    assert [name for name, failed in blocked.items() if failed <= BY_QUERIES] == ["bank_of_test_queries"]


def clean(world: World, number: int) -> Inputs:
    """A new bank sample, 5 % more of everything, other shards."""
    good, rng = world.inputs, np.random.default_rng(100 + number)
    new = make_cloud(CANDIDATES // 20, DIM, 200 + number, "candidates")
    candidates = np.concatenate([good.candidates, new])
    ids = good.ids + [f"c{10_000 + row}" for row in range(len(new))]
    order = rng.permutation(len(ids))
    references = make_cloud(REFERENCES * 21 // 20, DIM, 300 + number, "references")
    files = int(rng.integers(1, 9)), int(rng.integers(1, 9))
    return Inputs([ids[row] for row in order], candidates[order], references, candidates[order], files)


def assert_published(world: World, folder: Path, number: int) -> None:
    inputs = clean(world, number)
    manifest, _ = refresh(world.config(inputs, folder), None, OPTIONS, world.evidence(inputs))
    assert manifest.version == 2
    assert {gate.verdict for gate in manifest.gates} == {"pass"}
    drift = {gate.name: gate.value for gate in manifest.gates if gate.name in SHOWN}
    print(f"clean refresh {number}: {drift}")


def test_a_clean_refresh_is_not_blocked(world: World, tmp_path: Path) -> None:
    assert_published(world, tmp_path, 0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_clean_refresh_is_blocked(world: World, tmp_path: Path) -> None:
    for number in range(CLEAN):
        assert_published(world, tmp_path / str(number), number)
    print(f"0 of {CLEAN} clean refreshes blocked")


def test_a_first_version_skips_what_it_cannot_compare(world: World) -> None:
    manifest = read_manifest(str(world.folder / "table"), 1)
    reasons = {gate.name: gate.sentence for gate in manifest.gates if gate.verdict == "skipped"}
    compared = {"bank_shrinkage", "lost_candidates", "encoder", "alpha", "drift_psi", "moved_rows", "modalities"}
    assert {reasons[name] for name in compared} == {"there is no previous version to compare with"}
    assert reasons["gain"] == "no validation queries were given"
    assert {gate.name for gate in manifest.gates if gate.verdict == "pass"} >= {"coverage", "finite", "hubs"}


def test_an_accepted_gate_is_published_and_recorded(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = world.config(alpha_of_ten_times(world.inputs, world), tmp_path)
    with pytest.raises(GateError) as refused:
        refresh(config, None, OPTIONS)
    message = str(refused.value)
    assert "alpha: the factor between alpha 7.5 and the previous is 10, allowed is at most 2. Check --alpha." in message
    assert "2 of 30 gates failed, so nothing was published" in message
    assert "with --accept max_abs_bias --accept alpha; finished work is kept." in message
    assert list_versions(config.table) == [1]
    listed = json.loads(Path(message.partition("listed in ")[2].partition(". Where")[0]).read_bytes())["gates"]
    assert {gate["name"] for gate in listed} == set(Thresholds.model_fields) - {"hub_deviations", "min_rows"}

    accepted = dataclasses.replace(config, accept=("alpha", "max_abs_bias", "spread"))
    manifest, summary = refresh(accepted, None, OPTIONS)
    assert manifest.version == 2
    assert [gate.name for gate in manifest.gates if gate.accepted] == ["max_abs_bias", "alpha"]
    assert read_manifest(config.table).gates == manifest.gates
    print_gates(summary["gates"])
    assert "accepted, though it fails" in capsys.readouterr().out
    # What stands was accepted: the same command, without the flag, finds nothing new.
    again, _ = refresh(config, None, OPTIONS)
    assert again.version == 2


def test_gates_do_not_depend_on_shards_and_parts(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every value is made of counts and exact sums, however the tables are cut."""
    found: list[tuple[Gate, ...]] = []
    for files, rows_per_part in (((1, 1), 1 << 20), ((5, 3), 700)):
        with monkeypatch.context() as patch:
            patch.setattr("nnn_core.embedded.ID_SAMPLE_RATE", 16)
            cut = partial(part_boundaries, rows_per_part=rows_per_part)
            patch.setattr("nnn_core.corpus.part_boundaries", cut)
            inputs = dataclasses.replace(clean(world, 50), files=files)
            config = world.config(inputs, tmp_path / str(rows_per_part))
            config = dataclasses.replace(config, work=str(tmp_path / f"work{rows_per_part}"))
            manifest, _ = refresh(config, None, OPTIONS)
            assert (len(manifest.files) > 1) == (rows_per_part == 700)
            found.append(manifest.gates)
    assert found[0] == found[1]
