"""The command line as a person meets it."""

from __future__ import annotations

import gc
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from corpora import gaussian, write_vectors

from nnn_core import __version__, load_bias_table
from nnn_core.encoders import parse_encoder
from nnn_core.errors import ConfigError
from pipelines.commands import cli
from pipelines.commands._demo_data import encoder_folder
from pipelines.commands._refresh_flags import build_parser, config_from

#: A refresh where nothing is installed that only models need.
WITHOUT_MODELS = """
import runpy, sys
sys.modules.update(dict.fromkeys(["torch", "torchvision", "open_clip", "transformers"]))
runpy.run_module("pipelines.refresh", run_name="__main__")
"""


@dataclass(frozen=True)
class Job:
    """A refresh as a program of its own, without PyTorch: its folder, and what it printed."""

    folder: Path
    out: str
    error: str


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("published")
    candidates = write_vectors(folder / "candidates", ["a", "b", "c"], gaussian(3, 8, 1), 1)
    references = write_vectors(folder / "references", ["1", "2", "3", "4"], gaussian(4, 8, 2), 1)
    flags = ["--candidates", candidates, "--references", references, "--table", str(folder / "table")]
    flags += ["--work", str(folder / "work"), "--k", "4", "--alpha", "0.5", "--json"]
    command = [sys.executable, "-c", WITHOUT_MODELS, *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Job(folder, done.stdout, done.stderr)


@pytest.fixture
def table(job: Job, tmp_path: Path) -> str:
    """A copy of its table, inputs and artefacts."""
    shutil.copytree(job.folder, tmp_path, dirs_exist_ok=True)
    return str(tmp_path / "table")


def last_line(text: str) -> dict[str, object]:
    record: dict[str, object] = json.loads(text.strip().splitlines()[-1])
    return record


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"nnn {__version__}\n"


@pytest.mark.parametrize(
    ("flags", "expected", "inherited"),
    [
        ([], {}, ()),
        (["--vector-column", "emb", "--id-column", "photo"], {"vector": "emb", "id": "photo"}, ("id", "vector")),
        (["--vector-column", "emb", "--reference-caption-column", "text"], {"caption": "text"}, ()),
        (["--caption-column", "text", "--reference-vector-column", "emb"], {"vector": "emb"}, ()),
        (["--pair-id-column", "image", "--reference-pair-id-column", "of"], {"pair_id": "of"}, ()),
    ],
)
def test_columns_of_the_bank(flags: list[str], expected: dict[str, str], inherited: tuple[str, ...]) -> None:
    needed = [part for flag in ("candidates", "references", "table", "work") for part in (f"--{flag}", "x")]
    columns = config_from(build_parser().parse_args([*needed, *flags]), None).reference_columns
    given = {name: getattr(columns, name) for name in ("id", "pair_id", "caption", "vector")}
    assert {name: value for name, value in given.items() if value} == expected
    assert (columns.require_id, columns.inherited) == (False, inherited)


def test_usage_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in ("demo", "refresh", "table"))
    assert cli.main([]) == 2


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["refesh"]) == 2
    assert "there is no command 'refesh'; did you mean refresh?" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["demo"], ["refresh"], ["table"], ["table", "reweight"]])
def test_help_fits_a_screen_and_explains_flags(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([*command, "--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.count("\n") < 140


def test_help_begins_with_what_a_first_refresh_needs(capsys: pytest.CaptureFixture[str]) -> None:
    pages = {}
    for flag in ("--help", "--help-all"):
        with pytest.raises(SystemExit):
            cli.main(["refresh", flag])
        pages[flag] = capsys.readouterr().out
    first = {"--candidates", "--references", "--encoder", "--table", "--work", "--validation", "--tune", "--config"}
    assert set(re.findall(r"^  (--[\w-]+)", pages["--help"], re.M)) == {*first, "--help-all"}
    assert pages["--help"].count("\n") < 45
    described = {f"--{name.replace('_', '-')}" for name, each in build_parser().declared.items() if each.help}
    assert described - set(re.findall(r"^  (--[\w-]+)", pages["--help-all"], re.M)) == set()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            ["table", "list", "--table", "t", "--jsno"],
            "nnn table: unknown flag --jsno; did you mean --json?",
        ),
        (["inspect", "x", "--modalty=text"], "nnn inspect: unknown flag --modalty; did you mean --modality?"),
        (["table", "show"], "nnn table show: the following arguments are required: --table"),
        (["refresh", "--k", "4"], "nnn refresh: the following arguments are required: --candidates, "),
        (["inspect", "a", "b"], "nnn inspect: unknown argument b. If the shell expanded a glob, quote the glob"),
        # A flag that is missing because it was mistyped, or is called so elsewhere: what was typed comes first.
        (
            ["refresh", "--candidate=X", "--streaming"],
            "nnn refresh: unknown flag --candidate; did you mean --candidates?",
        ),
        (["evaluate", "--tabel", "X"], "nnn evaluate: unknown flag --tabel; did you mean --table?"),
        (["table", "show", "--tabel", "X"], "nnn table show: unknown flag --tabel; did you mean --table?"),
        (
            ["work", "gc", "--dry"],
            "nnn work gc: unknown flag --dry; the following arguments are required: --work, --table",
        ),
        (["work", "gc", "--table", "t", "--work", "w", "--dry"], "nnn work: unknown flag --dry"),
        (["encode", "--texts", "q.txt"], "nnn encode: unknown flag --texts; did you mean --input?"),
        (["search", "--candidates", "X"], "nnn search: unknown flag --candidates; did you mean --embeddings?"),
        (["refresh", "--runner", "X"], "nnn refresh: the following arguments are required: --candidates, "),
    ],
)
def test_a_mistake_is_told_in_two_lines(command: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(command)
    assert stop.value.code == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(said)
    assert re.fullmatch(r"\(see nnn [\w ]+ --help\)", second)


@pytest.mark.parametrize(
    "command",
    [
        "refresh --candidates c --references r --table t --work w --tokn=HUSH",
        "refresh --candidates c --references r --table t --work w --tokn HUSH",
        "table list --table t --pasword=HUSH",
        "inspect c --api-kez=HUSH",
    ],
)
def test_the_value_of_an_unknown_flag_is_not_shown(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = cli.main(command.split())
    except SystemExit as stop:
        code = int(stop.code or 0)
    shown = "".join(capsys.readouterr())
    assert code == 2
    assert "unknown flag --" in shown
    assert "HUSH" not in shown


def test_models_name_the_extra_that_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    source = parse_encoder(f"open_clip:local-dir:{encoder_folder()}")
    with pytest.raises(ConfigError, match=r"packages that are not installed .*'\.\[clip\]'"):
        source.load()


def test_refresh_prints_one_object_on_the_last_line(job: Job) -> None:
    summary = last_line(job.out)
    assert summary["version"] == 1
    assert summary["manifest"] == f"{job.folder}/table/versions/000001.json"
    assert (summary["rows"], summary["rejected"], summary["references"]) == (3, 0, 4)
    stages = summary["stages"]
    assert isinstance(stages, dict)
    assert stages["embed_candidates"]["computed"] == 1
    assert all({"computed", "reused", "seconds"} <= set(figures) for figures in stages.values())
    # A stage of more than 15 seconds on a busy machine says how far it is; nothing else is said.
    quiet = r"\w+ +[\d,]+ (of [\d,]+|so far), \S+/s.*|WARNING nnn: .* are not unit length, .*"
    said = [line for line in job.error.splitlines() if not re.fullmatch(quiet, line)]
    assert said == []


def test_reweight_publishes_a_version(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert cli.main(["table", "reweight", "--table", table, "--k", "2", "--alpha", "0.25", "--json"]) == 0
    shown = last_line(capsys.readouterr().out)
    assert shown["version"] == 2
    reweighted = load_bias_table(table)
    assert (reweighted.manifest.settings.k, reweighted.manifest.settings.alpha) == (2, 0.25)
    expected = 0.25 * reweighted.mean_k[:, reweighted.manifest.settings.grid.index(2)].astype(np.float64)
    assert np.array_equal(reweighted.bias, expected.astype(np.float32))


def test_reweight_refuses_a_k_that_is_not_kept(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["table", "reweight", "--table", table, "--k", "3"]) == 2
    assert "--k 3 is not in the grid of version 1" in capsys.readouterr().err


def test_table_list_and_show(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert cli.main(["table", "list", "--table", table, "--json"]) == 0
    versions = last_line(capsys.readouterr().out)["versions"]
    assert isinstance(versions, list)
    assert [version["version"] for version in versions] == [1]
    assert cli.main(["table", "show", "--table", table, "--version", "7"]) == 3
    assert "has no version 7" in capsys.readouterr().err


def test_a_name_that_went_leads_to_the_one_that_stayed(capsys: pytest.CaptureFixture[str]) -> None:
    needed = [part for flag in ("candidates", "references", "table", "work") for part in (f"--{flag}", "x")]
    assert cli.main(["refresh", *needed, "--reference-group-rows", "5"]) == 2
    assert "unknown flag --reference-group-rows; did you mean --reference-shard-rows?" in capsys.readouterr().err
    assert cli.main(["refresh", *needed, "--candidate-image-column=x"]) == 2
    assert "unknown flag --candidate-image-column; did you mean --image-column?" in capsys.readouterr().err


def test_no_table_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["table", "list", "--table", str(tmp_path)]) == 3
    assert "has no bias table" in capsys.readouterr().err


def test_garbage_is_collected_again_once_a_command_is_imported() -> None:
    with pytest.raises(ModuleNotFoundError):
        cli._load("this_is_no_module")
    assert gc.isenabled()
    gc.unfreeze()
    assert cli._load(cli.__name__) is cli
    assert not gc.get_freeze_count(), "what is there already is not new"
