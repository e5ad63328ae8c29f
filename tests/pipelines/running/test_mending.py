"""A pipeline that meets an artefact that is gone or damaged runs again, and computes it anew."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from nnn_core.errors import CorruptArtifactError, InputError, LostArtifactError
from pipelines.running import runner
from pipelines.running.runner import RunResult, run

DONE = RunResult({}, {}, 1.0)


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([], None),
        ([LostArtifactError("a"), LostArtifactError("b")], None),
        ([LostArtifactError("a"), InputError("b")], InputError),
        ([CorruptArtifactError("a")], CorruptArtifactError),
        ([LostArtifactError(str(number)) for number in range(runner._MENDED_AT_MOST)], None),
        ([LostArtifactError(str(number)) for number in range(runner._MENDED_AT_MOST + 1)], LostArtifactError),
    ],
)
def test_lost_artefacts_alone_are_mended(
    errors: list[Exception], expected: type[Exception] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = list(errors)

    def once(*_: object) -> RunResult:
        if waiting:
            raise waiting.pop(0)
        return DONE

    monkeypatch.setattr(runner, "_run_once", once)
    if expected is None:
        assert run(PipelineOptions([]), lambda root: None) is DONE
    else:
        with pytest.raises(expected) as caught:
            run(PipelineOptions([]), lambda root: None)
        assert type(caught.value) is expected
    assert not waiting


def test_a_pipeline_that_is_not_run_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def interrupted(_: object) -> None:
        assert list(tmp_path.iterdir())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(PipelineOptions(["--runner=FnApiRunner"]), interrupted)
    assert not list(tmp_path.iterdir())
