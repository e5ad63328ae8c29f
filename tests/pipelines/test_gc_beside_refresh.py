"""Cleaning beside a refresh, at a hundred moments: refused while its lease holds, and mended where it does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from corpora import tree
from failpoints import POINTS, failing, several_parts
from jobs import TwoVersions, refresh_arguments

from nnn_core.errors import ConfigError
from nnn_core.table.lifecycle import cleaning
from nnn_core.table.lifecycle._age import MIN_AGE, written_before
from pipelines.commands import cli

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

#: Each point as it is come to for the first, second, ... time; one that is not come to so often is a refresh like any.
#: (At half of a file it is cut, which only a killed writer leaves behind.)
_POINTS = dict.fromkeys(point.removesuffix(":2") for point in POINTS if ":half" not in point)
MOMENTS = [f"{point}:{nth}" for point in _POINTS for nth in range(1, 10)]


def files(place: Path) -> dict[str, bytes]:
    return {name: data for name, data in tree(place / "table").items() if name.endswith(".parquet")}


@pytest.mark.parametrize("held", [True, False])
def test_a_refresh_beside_which_is_cleaned(
    held: bool,
    two_versions: TwoVersions,
    record_count: Callable[[str, int, int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With ``held`` false the lease counts for nothing. What may be reused is old: it goes under a refresh's hands."""
    start = 0.0
    monkeypatch.setattr(cleaning, "written_before", lambda uri, _: written_before(uri, start))
    if not held:
        monkeypatch.setattr(cleaning, "_at_work", lambda *_: [])
    expected = files(two_versions.restore(2))
    wrong = []
    for moment in MOMENTS:
        place, start = two_versions.restore(1), time.time()
        #: Whether a lease was there, and what came of the cleaning.
        cleaned: list[tuple[bool, str]] = []

        def clean(_: str, place: Path = place, cleaned: list[tuple[bool, str]] = cleaned) -> None:
            if cleaned:
                return
            leased = any((place / "work" / "leases").glob("*"))
            cleaned.append((leased, "not done"))
            try:
                done = cleaning.clean([str(place / "table")], str(place / "work"), MIN_AGE, remove=True)
                cleaned[0] = leased, f"{len(done.files)} removed"
            except ConfigError as error:
                cleaned[0] = leased, str(error)

        with several_parts(), failing(moment, clean):
            code = cli.main(refresh_arguments(str(place), str(place), 2))
        same = code == 0 and files(place) == expected
        # Before a refresh holds its lease, while it looks at its input, it has not reused anything yet.
        same &= all(("a refresh is running" in said) == (held and leased) for leased, said in cleaned)
        record_count(f"refreshes beside gc, lease {'held' if held else 'ignored'}: same table", same, 1)
        if not same:
            wrong.append((moment, code, cleaned))
    assert not wrong, "\n".join(map(str, wrong))
