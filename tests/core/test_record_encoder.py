"""What a manifest says of its encoder, whose probes are measured by one worker and once."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import FormulaEncoder

from nnn_core.embedded.corpus import Corpus, Outcome
from nnn_core.embedded.side import Side
from nnn_core.encoders import Encoder, Fingerprint
from nnn_core.encoders.fingerprints import PROBES
from nnn_core.encoders.probes import static_parts
from nnn_core.encoders.prompts import Prompts
from nnn_core.inputs.rejects import RejectSummary
from nnn_core.publishing import record_encoder

READY_MADE, ENCODED = (
    Corpus(Side(1, 0, "", ()), Outcome(frozenset({precomputed}), RejectSummary(1)), 4, ())
    for precomputed in (True, False)
)


class _Source:
    """Loads as often as it says, and then no more."""

    fingerprint = Fingerprint("w", "a", "p", "t")

    def __init__(self, loads: int) -> None:
        self.loads = loads

    def load(self) -> Encoder:
        self.loads -= 1
        assert self.loads >= 0, "nothing is left that the model would be needed for"
        return FormulaEncoder()  # type: ignore[return-value]


def record(source: _Source | None, work: Path, *sides: Corpus) -> dict[str, str]:
    return record_encoder(source, Prompts("a {}"), str(work), ("image", "text"), *sides)


def test_probes_are_measured_once_for_a_work_folder(tmp_path: Path) -> None:
    first = record(_Source(1), tmp_path, ENCODED, ENCODED)
    assert first.keys() == {*static_parts(_Source(0)), PROBES}
    assert record(_Source(0), tmp_path, READY_MADE, ENCODED) == first
    assert record(_Source(1), tmp_path / "other", ENCODED) == first


@pytest.mark.parametrize("source", [None, _Source(0)])
def test_what_no_vector_came_from_is_not_recorded(tmp_path: Path, source: _Source | None) -> None:
    assert record(source, tmp_path, READY_MADE, READY_MADE) == {"kind": "precomputed"}
    assert not list(tmp_path.iterdir())
