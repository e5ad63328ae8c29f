"""The authors' package gives the same biases and the same rankings.

``NNN_TEST_DATA`` names a folder with real embeddings (memorylens_clip, myntra_fashionclip); without
it the tests on real data are skipped.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from corpora import write_vectors
from demo_vectors import demo_vectors

from nnn_core import load_bias_table
from nnn_core.consumers.faiss_index import debiased_index, search_debiased
from nnn_core.vectors import unit_vectors
from pipelines.commands import _demo_data as demo
from pipelines.commands import cli

pytestmark = pytest.mark.slow

Matrix = npt.NDArray[np.float32]


def real(name: str) -> Matrix:
    folder = os.environ.get("NNN_TEST_DATA")
    if not folder:
        pytest.skip("NNN_TEST_DATA names no folder of real embeddings")
    return np.load(Path(folder) / name).astype(np.float32)


def authors(candidates: Matrix, references: Matrix, queries: Matrix, k: int, alpha: float) -> tuple[Matrix, np.ndarray]:
    """(bias, top-10 positions) of nnn-retrieval 0.1 on unit vectors."""
    from nnn import NNNRanker, NNNRetriever

    ranker = NNNRanker(
        NNNRetriever(candidates.shape[1]), candidates, references, alternate_ks=k, alternate_weight=alpha
    )
    _, positions = ranker.search(queries, 10)
    return alpha * ranker.alignment_means.numpy()[:, 0], positions


def assert_same(candidates: Matrix, references: Matrix, queries: Matrix, bias: Matrix, k: int, alpha: float) -> None:
    """Biases within 1e-5, and the same ten candidates in the same order.

    Candidates with identical vectors (the same caption twice) tie exactly and count as one. Others may
    change places where their exact scores differ by less than float32 resolves: one position in 1,000.
    """
    their_bias, theirs = authors(candidates, references, queries, k, alpha)
    np.testing.assert_allclose(bias, their_bias, rtol=0, atol=1e-5)
    _, ours = search_debiased(debiased_index(candidates, bias), queries, 10)
    _, distinct = np.unique(candidates, axis=0, return_inverse=True)
    other = distinct[ours] != distinct[theirs]
    scores = queries.astype(np.float64) @ candidates.astype(np.float64).T - bias
    rows = np.arange(len(queries))[:, None]
    gaps = np.abs(scores[rows, ours] - scores[rows, theirs])[other]
    assert gaps.max(initial=0.0) < 2e-7
    assert other.mean() <= 1e-3
    print(f"{other.size} positions, {other.sum()} in another order (scores {gaps.max(initial=0.0):.1e} apart)")


@pytest.mark.parametrize("k", [1, 16, 64])
@pytest.mark.parametrize("direction", ["text-to-image", "image-to-text"])
@pytest.mark.parametrize(
    ("images", "texts"),
    [
        ("memorylens_clip/embeddings.npy", "memorylens_clip/caption_embeddings.npy"),
        ("myntra_fashionclip/image_embeddings.npy", "myntra_fashionclip/text_embeddings.npy"),
    ],
    ids=["memorylens", "myntra"],
)
def test_real_embeddings(tmp_path: Path, images: str, texts: str, direction: str, k: int) -> None:
    sides = [real(images), real(texts)]
    candidates, others = sides if direction == "text-to-image" else sides[::-1]
    ids = [f"{row:04d}" for row in range(len(candidates))]
    flags = ["--candidates", write_vectors(tmp_path / "candidates", ids, candidates, 3)]
    flags += ["--references", write_vectors(tmp_path / "references", ids, others, 2)]
    flags += ["--table", str(tmp_path / "table"), "--work", str(tmp_path / "work"), "--k", str(k), "--alpha", "0.75"]
    flags += ["--candidate-modality", "image" if direction == "text-to-image" else "text"]
    assert cli.main(["refresh", *flags]) == 0
    bias = load_bias_table(str(tmp_path / "table")).bias_of(ids)
    assert_same(unit_vectors(candidates)[0], unit_vectors(others)[0], unit_vectors(others)[0], bias, k, 0.75)


def test_demo_embeddings(tmp_path: Path) -> None:
    assert cli.main(["demo", "--directory", str(tmp_path)]) == 0
    where = demo.places(str(tmp_path))
    table = load_bias_table(where["table"])
    settings = table.manifest.settings
    sides = demo_vectors(str(tmp_path))
    (ids, candidates), (_, references), (_, queries) = (
        sides[each] for each in ("candidates", "references", "validation")
    )
    assert_same(candidates, references, queries, table.bias_of(ids), settings.k, settings.alpha)
