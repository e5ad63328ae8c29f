"""A refresh that fails a gate publishes nothing; one with honest data is not held up.

Every case is a refresh on top of one good version: 3,000 candidates against a bank of 4,000, embeddings
shaped as those of a contrastive model (``benchmarks/clouds.py``), with validation queries that the good
version answers rightly.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from benchmarks.clouds import make_cloud
from corpora import brute_force_means, tree, write_vectors

from nnn_core.embedded.corpus import _part_boundaries
from nnn_core.errors import DuplicateIdError, GateError, InputError
from nnn_core.table.gate import Gate
from nnn_core.table.manifest import read_manifest
from pipelines.commands._parsing import parse_beam_options
from pipelines.commands._refresh import refresh
from pipelines.commands._refresh_flags import build_parser
from pipelines.config import RefreshConfig

Matrix = npt.NDArray[np.float32]

CANDIDATES, REFERENCES, QUERIES, DIM, K = 3000, 4000, 200, 64, 16
OPTIONS = parse_beam_options([], build_parser())


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What a refresh is given."""

    ids: list[str]
    candidates: Matrix
    references: Matrix
    files: tuple[int, int] = (4, 4)
    alpha: float = 0.75
    max_reject_rate: float = 0.0
    copied: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class World:
    """A good version, what it was computed from, and queries that are not in its bank, as files too."""

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
            validation=str(self.folder / "queries" / "part-*.parquet"),
            validation_pair_id_column="pair_id",
        )


def good_inputs() -> Inputs:
    candidates = make_cloud(CANDIDATES, DIM, 1, "candidates")
    ids = [f"c{row}" for row in range(CANDIDATES)]
    return Inputs(ids, candidates, make_cloud(REFERENCES, DIM, 2, "references"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    inputs, queries = good_inputs(), make_cloud(QUERIES, DIM, 3, "references")
    bias = inputs.alpha * brute_force_means(inputs.candidates, inputs.references, (K,))[:, 0]
    answers = [inputs.ids[row] for row in (queries @ inputs.candidates.T - bias).argmax(axis=1)]
    write_vectors(folder / "queries", [f"query-{row}" for row in range(QUERIES)], queries, 2, answers)
    world = World(folder, inputs, queries)
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


def mostly_foreign_bank(good: Inputs, world: World) -> Inputs:
    """Four fifths of it are of another basis."""
    basis, _ = np.linalg.qr(np.random.default_rng(9).standard_normal((DIM, DIM)))
    rows = REFERENCES * 4 // 5
    foreign = unit(good.references[:rows] @ basis)
    return dataclasses.replace(good, references=np.concatenate([foreign, good.references[rows:]]))


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
    return dataclasses.replace(good, ids=good.ids[:rows], candidates=good.candidates[:rows])


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

#: Each defect, with the gate that must name it. Two of the thirteen come in two kinds.
DEFECTS: list[tuple[Defect, str]] = [
    (wrong_preprocessing, "candidate_centroid"),
    (unnormalised_vectors, "vector_lengths"),
    (shuffled_ids, "moved_rows"),
    (half_a_bank, "bank_shrinkage"),
    (bank_of_another_model, "reference_centroid"),
    (mostly_foreign_bank, "agreement"),
    (bank_of_test_queries, "check_disjoint"),
    (constant_bank, "bank_repeats"),
    (alpha_of_zero, "alpha"),
    (alpha_of_ten_times, "alpha"),
    (stale_candidates, "lost_candidates"),
    (truncated_shard, "candidate_rejects"),
    (duplicated_candidates, "DuplicateIdError"),
    (duplicated_references, "repeated_files"),
    (swapped_modalities, "candidate_centroid"),
]

#: Gates that need queries.
BY_QUERIES = {"agreement", "canary_overlap", "gain", "check_disjoint"}

CLEAN = 20

#: What the run shows of a clean refresh.
SHOWN = ("candidate_centroid", "reference_centroid", "drift_psi", "moved_rows", "canary_overlap")


def failed_gates(world: World, inputs: Inputs, folder: Path) -> set[str]:
    """Names of the gates, or of the check, that block a refresh; checks that nothing was published."""
    config = world.config(inputs, folder)
    before = tree(folder / "table" / "versions")
    manifests = {name: data for name, data in before.items() if name.endswith(".json")}
    try:
        refresh(config, None, OPTIONS)
    except DuplicateIdError:
        failed = {"DuplicateIdError"}
    except InputError as error:
        failed = {"check_disjoint"} if "200 validation queries are in the bank too" in str(error) else {str(error)}
    except GateError as error:
        assert_reported(error)
        failed = {line.split(":")[0].strip() for line in str(error).splitlines() if line.startswith("  ")}
    else:
        return set()
    after = tree(folder / "table" / "versions")
    assert {name: data for name, data in after.items() if name.endswith(".json")} == manifests
    return failed


def assert_reported(error: GateError) -> None:
    """The page names each gate that failed."""
    page = Path(str(error).rpartition("The report is ")[2]).read_text()
    assert "Not published" in page
    assert all(line.split(":")[0].strip() in page for line in str(error).splitlines() if line.startswith("  "))


def test_a_defect_is_blocked_by_name(world: World, tmp_path: Path) -> None:
    assert "moved_rows" in failed_gates(world, shuffled_ids(world.inputs, world), tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_defect_is_blocked_by_name(world: World, tmp_path: Path) -> None:
    """All but a bank that holds test queries are blocked by what the job itself knows as well."""
    blocked = {}
    for defect, _ in DEFECTS:
        inputs = defect(world.inputs, world)
        failed = failed_gates(world, inputs, tmp_path / defect.__name__)
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
    return Inputs([ids[row] for row in order], candidates[order], references, files)


def doubled_bank(good: Inputs, world: World) -> Inputs:
    more = make_cloud(REFERENCES, DIM, 401, "references")
    return dataclasses.replace(good, references=np.concatenate([good.references, more]))


def slid_window(good: Inputs, world: World) -> Inputs:
    """Half of the bank is gone, and as much came."""
    later = make_cloud(REFERENCES // 2, DIM, 402, "references")
    return dataclasses.replace(good, references=np.concatenate([good.references[REFERENCES // 2 :], later]))


def smaller_alpha(good: Inputs, world: World) -> Inputs:
    return dataclasses.replace(good, alpha=0.5)


#: Clean refreshes of special kinds, beside those of ``clean``.
CLEAN_KINDS = (doubled_bank, slid_window, smaller_alpha)


def assert_published(world: World, inputs: Inputs, folder: Path) -> dict[str, float | None]:
    """A refresh goes out as version 2; the values of what is shown."""
    manifest, _ = refresh(world.config(inputs, folder), None, OPTIONS)
    assert manifest.version == 2
    assert {gate.verdict for gate in manifest.gates} == {"pass"}
    return {gate.name: gate.value for gate in manifest.gates if gate.name in SHOWN}


@pytest.mark.slow
def test_a_clean_refresh_is_not_blocked(world: World, tmp_path: Path) -> None:
    assert_published(world, clean(world, 0), tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_clean_refresh_is_blocked(world: World, tmp_path: Path) -> None:
    for number in range(CLEAN):
        print(f"clean refresh {number}: {assert_published(world, clean(world, number), tmp_path / str(number))}")
    for kind in CLEAN_KINDS:
        print(f"{kind.__name__}: {assert_published(world, kind(world.inputs, world), tmp_path / kind.__name__)}")
    print(f"0 of {CLEAN + len(CLEAN_KINDS)} clean refreshes blocked")


@pytest.mark.slow
def test_alpha_that_is_tuned_anew_is_not_blocked(world: World, tmp_path: Path) -> None:
    """It leaves an alpha that was a third of it, and with that most of what the queries found."""
    config = world.config(dataclasses.replace(world.inputs, alpha=0.25), tmp_path)
    with pytest.raises(GateError, match="2 of 19 gates failed") as refused:
        refresh(config, None, OPTIONS)
    assert "--accept alpha --accept canary_overlap" in str(refused.value)
    assert refresh(dataclasses.replace(config, accept=("alpha", "canary_overlap")), None, OPTIONS)[0].version == 2
    manifest, _ = refresh(dataclasses.replace(config, tune=True), None, OPTIONS)
    assert (manifest.version, manifest.settings.alpha > 0.5) == (3, True)
    skipped = {gate.name: gate.sentence for gate in manifest.gates if gate.verdict != "pass"}
    assert skipped == {
        "alpha": "alpha was chosen on validation queries",
        "canary_overlap": "another k or alpha was chosen on validation queries",
    }


def test_a_first_version_skips_what_it_cannot_compare(world: World) -> None:
    manifest = read_manifest(str(world.folder / "table"), 1)
    reasons = {gate.name: gate.sentence for gate in manifest.gates if gate.verdict == "skipped"}
    compared = {"bank_shrinkage", "lost_candidates", "settings", "alpha", "drift_psi", "moved_rows"}
    compared |= {"candidate_centroid", "reference_centroid"}
    assert {reasons[name] for name in compared} == {"there is no previous version to compare with"}
    assert reasons["canary_overlap"] == "no validation queries were given, or there is no version to compare with"
    assert {gate.name for gate in manifest.gates if gate.verdict == "pass"} >= {
        "max_abs_bias",
        "spread",
        "hubs",
        "gain",
    }


@pytest.mark.slow
def test_gates_do_not_depend_on_shards_and_parts(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every value is made of counts and exact sums, however the tables are cut."""
    found: list[tuple[Gate, ...]] = []
    for files, rows_per_part in (((1, 1), 1 << 20), ((5, 3), 700)):
        with monkeypatch.context() as patch:
            patch.setattr("nnn_core.embedded.shards.ID_SAMPLE_RATE", 16)
            cut = partial(_part_boundaries, rows_per_part=rows_per_part)
            patch.setattr("nnn_core.embedded.corpus._part_boundaries", cut)
            inputs = dataclasses.replace(clean(world, 50), files=files)
            config = world.config(inputs, tmp_path / str(rows_per_part))
            config = dataclasses.replace(config, work=str(tmp_path / f"work{rows_per_part}"))
            manifest, _ = refresh(config, None, OPTIONS)
            assert (len(manifest.files) > 1) == (rows_per_part == 700)
            found.append(manifest.gates)
    assert found[0] == found[1]
