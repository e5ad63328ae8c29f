"""Names of columns: which side they were given for, and which sides they are lent to."""

from __future__ import annotations

import shlex

from pipelines.commands._options import command_line
from pipelines.commands._refresh_flags import build_parser, config_from
from pipelines.config import RefreshConfig
from pipelines.options import QueryColumnOptions, ValidationColumnOptions


def test_names_of_the_candidates_are_lent_to_other_sides() -> None:
    given = {"vector_column": "emb", "id_column": "uid"}
    for columns in (ValidationColumnOptions(**given).validation_columns, QueryColumnOptions(**given).query_columns):
        assert dict(columns.lent) == {"vector": "", "id": ""}


def test_a_message_names_the_flag_that_was_given() -> None:
    options = ValidationColumnOptions(id_column="a", reference_caption_column="b", validation_pair_id_column="c")
    columns = options.validation_columns
    flags = [columns.flag(what) for what in ("id", "caption", "pair_id", "vector")]
    assert flags == [
        "--id-column",
        "--reference-caption-column",
        "--validation-pair-id-column",
        "--validation-vector-column",
    ]
    assert columns.inherited == ("id",)


def test_an_own_name_of_validation_queries_is_not_forgiven() -> None:
    options = ValidationColumnOptions(id_column="a", validation_id_column="b")
    assert (options.validation_columns.id, options.validation_columns.inherited) == ("b", ())


def test_a_command_line_has_what_is_no_default() -> None:
    config = RefreshConfig("c/*.tar", "my logs/*", "t", "w", alpha=0.25, accept=("hubs", "alpha"), id_column="url")
    line = command_line("refresh", config)
    assert line == (
        "nnn refresh --id-column url --candidates 'c/*.tar' --references 'my logs/*' --table t --work w --alpha 0.25 "
        "--accept hubs --accept alpha"
    )
    again = config_from(build_parser().parse_args(shlex.split(line)[2:]), local=False)
    assert again == config


def test_a_command_line_has_no_secrets() -> None:
    config = RefreshConfig("c/*", "r/*", "t", "w", encoder="python:models:Served?token=opensesame")
    assert "opensesame" not in command_line("refresh", config)
