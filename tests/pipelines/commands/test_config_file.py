"""One file for the flags of ``nnn refresh``: what it may say, what overrides it, and that it cannot drift from them."""

from __future__ import annotations

import argparse
import json
import uuid
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from apache_beam.options.pipeline_options import DebugOptions, GoogleCloudOptions, SetupOptions
from pydantic import ValidationError

from nnn_core import storage
from nnn_core.errors import ConfigError
from pipelines.commands import cli
from pipelines.commands._beam_options import beam_options
from pipelines.commands._config_file import file_model, file_options, file_schema, read_config
from pipelines.commands._options import declared
from pipelines.commands._parser import Parser
from pipelines.commands._parsing import parse_beam_options, parse_flags
from pipelines.commands._refresh_flags import build_parser, config_from
from pipelines.config import EvaluationConfig, RefreshConfig
from pipelines.export import ExportConfig

PLACES = {"candidates": "c", "references": "r", "table": "t", "work": "w"}


def write(folder: Path, **values: Any) -> str:
    path = folder / "refresh.yaml"
    path.write_text(yaml.safe_dump({**PLACES, **values}))
    return str(path)


def parse(*flags: str) -> argparse.Namespace:
    return parse_flags(build_parser(), flags)[0]


def refusal(folder: Path, text: str) -> str:
    (folder / "refresh.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_config(str(folder / "refresh.yaml"), build_parser())
    assert str(folder / "refresh.yaml") in str(caught.value)
    return str(caught.value)


#: A value for each kind of option, other than its default.
SAMPLES: dict[type | None, tuple[Any, str]] = {int: (3, "3"), float: (0.25, "0.25"), None: ("x", "x"), str: ("x", "x")}


def sample(action: argparse.Action) -> tuple[Any, list[str]]:
    """A value of an option in a file, and the flags that say the same."""
    flag = action.option_strings[0]
    if action.nargs == 0:
        return True, [flag]
    if isinstance(action, argparse._AppendAction):
        return ["hubs", "gain"], [flag, "hubs", flag, "gain"]
    if action.choices:
        choice = list(action.choices)[-1]
        return choice, [flag, choice]
    value, text = SAMPLES.get(action.type, ("auto", "auto"))  # type: ignore[arg-type]
    return value, [flag, text]


@pytest.mark.parametrize("key", sorted(file_options(build_parser())))
def test_a_key_says_what_its_flag_says(tmp_path: Path, key: str) -> None:
    value, flags = sample(file_options(build_parser())[key])
    needed = [part for name, place in PLACES.items() if name != key for part in (f"--{name}", place)]
    expected = vars(parse(*needed, *flags)) | {"config": (uri := write(tmp_path, **{key: value}))}
    assert vars(parse("--config", uri)) == expected


def test_the_schema_has_every_option_and_says_what_it_is() -> None:
    schema = file_schema(build_parser())
    jsonschema.Draft202012Validator.check_schema(schema)
    flags = {action.option_strings[0] for action in build_parser()._actions} - {"-h"}
    keys = {f"--{key.replace('_', '-')}" for key in schema["properties"]}
    assert keys - {"--beam"} == flags - {"--config", "--config-schema", "--dry-run", "--help-all"}
    described = [key for key, each in schema["properties"].items() if "description" in each]
    assert len(described) > 20


@pytest.mark.parametrize(
    ("values", "valid"),
    [
        ({"k": "auto", "alpha": 1, "accept": ["hubs"], "tune": True}, True),
        ({"k": 128, "beam": {"region": "r"}}, True),
        ({"alpha": "much"}, False),
        ({"accept": "hubs"}, False),
        ({"search": "fast"}, False),
        ({"ca": 1}, False),
    ],
)
def test_schema_and_program_agree(tmp_path: Path, values: dict[str, Any], valid: bool) -> None:
    assert jsonschema.Draft202012Validator(file_schema(build_parser())).is_valid(values) is valid
    if valid:
        read_config(write(tmp_path, **values), build_parser())
    else:
        refusal(tmp_path, yaml.safe_dump(values))


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["refresh", "--config-schema"])
    assert left.value.code == 0
    assert json.loads(capsys.readouterr().out) == file_schema(build_parser())


def test_flags_override_the_file(tmp_path: Path) -> None:
    uri = write(tmp_path, k=64, alpha=0.5, exclude_own_pairs=True, accept=["hubs"], candidates="old")
    args = parse("--config", uri, "--alpha", "1e-1", "--no-exclude-own-pairs", "--accept", "gain", "--candidates=new")
    config = config_from(args, 1)
    assert (config.k, config.alpha, config.exclude_own_pairs) == (64, 0.1, False)
    assert (config.accept, config.candidates, config.references) == (("gain",), "new", "r")


def test_what_neither_says_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "refresh.yaml").write_text("candidates: c\ntable: t\n")
    with pytest.raises(SystemExit):
        parse("--config", str(tmp_path / "refresh.yaml"))
    assert "required: --references, --work" in capsys.readouterr().err


def test_options_of_beam(tmp_path: Path) -> None:
    beam = {
        "region": "r1",
        "temp_location": "gs://b/tmp",
        "max_num_workers": 40,
        "experiments": ["use_runner_v2", "one=two"],
        "save_main_session": False,
        "no_use_public_ips": True,
        "labels": ["team=search"],
    }
    uri = write(tmp_path, beam=beam)
    _, options = parse_flags(build_parser(), ["--config", uri, "--region=r2", "--experiment=mine"])
    cloud = options.view_as(GoogleCloudOptions)
    assert (cloud.region, cloud.temp_location, cloud.labels) == ("r2", "gs://b/tmp", ["team=search"])
    assert options.view_as(DebugOptions).experiments == ["mine"]
    assert not options.view_as(SetupOptions).save_main_session
    assert options.get_all_options()["use_public_ips"] is False
    assert options.get_all_options()["max_num_workers"] == 40


@pytest.mark.parametrize(("given", "expected"), [((), False), (("--use_public_ips",), True)])
def test_false_switches_off_what_another_flag_switches_off(
    tmp_path: Path, given: tuple[str, ...], expected: bool
) -> None:
    uri = write(tmp_path, beam={"use_public_ips": False, "no_pipeline_type_check": False})
    found = parse_flags(build_parser(), ["--config", uri, *given])[1].get_all_options()
    assert (found["use_public_ips"], found["pipeline_type_check"]) == (expected, True)


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("kmax: 3", ["there is no key 'kmax'", "nearest is 'k_max'"]),
        ("k-max: 3", ["there is no key 'k-max'", "nearest is 'k_max'"]),
        ("region: r", ["'region' is a Beam option", "below the key 'beam'"]),
        ("k: fast", ["k: 'fast' is wrong", "is not a whole number or auto"]),
        ("k: 1.5", ["k: 1.5 is wrong"]),
        ("k: true", ["k: True is wrong"]),
        ("alpha: yes", ["alpha: True is wrong", "valid number"]),
        ("alpha:", ["alpha: None is wrong"]),
        ("k_max: '3'", ["k_max: '3' is wrong", "valid integer"]),
        ("tune: 1", ["tune: 1 is wrong", "valid boolean"]),
        ("accept: hubs", ["accept: 'hubs' is wrong", "valid list"]),
        ("candidates: [a, b]", ["candidates: ['a', 'b'] is wrong"]),
        ("search: fast", ["search: 'fast' is wrong", "'exact'"]),
        ("kmax: 3\nalpha: x", ["'kmax'", "alpha: 'x'"]),
        ("k: 1\nk: 2", ["'k' stands twice", "line 2"]),
        ("- k", ["must have lines such as 'k: 128'", "list"]),
        ("k: [", ["not YAML"]),
        ("beam: 3", ["beam: 3 is wrong"]),
        ("beam:\n  temp_locaton: x", ["Beam has no option 'temp_locaton'", "nearest is 'temp_location'"]),
        ("beam:\n  max_num_workers: many", ["beam: max_num_workers: 'many' is wrong", "invalid int"]),
        ("beam:\n  region:", ["region has no value"]),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, text: str, facts: list[str]) -> None:
    message = refusal(tmp_path, text)
    assert all(fact in message for fact in facts), message


def test_no_file_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["refresh", "--config", str(tmp_path / "none.yaml")]) == 3
    assert "none.yaml" in capsys.readouterr().err


def test_secrets_in_a_file_are_refused(tmp_path: Path) -> None:
    for beam in ({"s3_secret_access_key": "canary"}, {"flink_master": "http://me:canary@host"}):
        with pytest.raises(ConfigError, match="written into the job graph") as caught:
            parse("--config", write(tmp_path, beam=beam))
        assert "canary" not in str(caught.value)
    with pytest.raises(ConfigError, match="nothing was computed") as caught:
        parse("--config", write(tmp_path, beam={"s3_secret_access_key": ["canary"], "num_workers": "few"}))
    assert "canary" not in str(caught.value)


def test_flags_as_launchers_write_them(tmp_path: Path) -> None:
    places = [f"--{name}={place}" for name, place in PLACES.items()]
    args = parse(
        *places, "--k_max=512", "--exclude_own_pairs=true", "--tune=false", "--verbose=true", "--reference_id_column=q"
    )
    assert (args.k_max, args.exclude_own_pairs, args.tune, args.verbose, args.reference_id_column) == (
        512,
        True,
        False,
        True,
        "q",
    )


def test_an_unknown_flag_names_the_help_of_its_command() -> None:
    with pytest.raises(ConfigError, match=r"unknown flag --zzz\. See nnn export --help"):
        parse_beam_options(["--zzz"], Parser(prog="nnn export"))


def test_a_value_that_beam_cannot_use() -> None:
    places = [f"--{name}={place}" for name, place in PLACES.items()]
    with pytest.raises(ConfigError, match=r"max_num_workers.*many"):
        parse(*places, "--max_num_workers=many")


def test_no_name_of_ours_is_beams() -> None:
    assert not {alias.alias for alias in file_model(build_parser()).model_fields.values()} & beam_options().keys()


def test_a_file_in_a_store() -> None:
    uri = f"memory://{uuid.uuid4().hex}/refresh.yaml"
    file = {"candidates": "c", "references": "r", "table": "t", "work": "w", "k": 4, "beam": {"runner": "DirectRunner"}}
    storage.create(uri, yaml.safe_dump(file).encode())
    config = config_from(parse("--config", uri), True)
    assert (config.candidates, config.work, config.k) == ("c", "w", 4)


@pytest.mark.parametrize("model", [RefreshConfig, EvaluationConfig, ExportConfig])
def test_every_option_is_described(model: type) -> None:
    """Only the options of a side, which are those of the candidates with a prefix, need no words of their own."""
    hidden = [each.name for each in declared(model) if each.help is None]
    assert all(name.startswith(("reference_", "validation_", "query_")) for name in hidden)
    assert all(name.endswith(("_column", "_max_reject_rate")) for name in hidden)


def test_a_configuration_takes_no_unknown_field() -> None:
    with pytest.raises(ValidationError, match="kmax"):
        RefreshConfig("c", "r", "t", "w", kmax=3)  # type: ignore[call-arg]
