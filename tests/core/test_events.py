"""Messages of the log: their fields are in the text, without credentials."""

from __future__ import annotations

import json
import logging

import pytest

from nnn_core.events import Event


def test_the_text_holds_the_fields() -> None:
    event = Event("embedded", uri="gs://corpus/00017.tar", rows=9998, seconds=41.25, rejects=None)
    assert str(event) == "embedded uri=gs://corpus/00017.tar rows=9998 seconds=41.25"
    assert list(event.fields) == ["uri", "rows", "seconds"]
    assert str(Event("merged", uri="gs://logs/day=2026-11-01/0.parquet")).endswith(
        " uri=gs://logs/day=2026-11-01/0.parquet"
    )


@pytest.mark.parametrize("value", ["", "two words", 'a "quote"', "line\nbreak", "é à"])
def test_a_value_that_is_no_word_is_quoted_as_json(value: str) -> None:
    text = str(Event("read", uri=value, rows=1))
    assert "\n" not in text
    quoted, _, rest = text.removeprefix("read uri=").rpartition(" rows=")
    assert (json.loads(quoted), rest) == (value, "1")


def test_credentials_are_blotted_out() -> None:
    event = Event("trying again", uri="s3://key:secret@bucket/x?X-Amz-Signature=abc", error="https://t0ken@host: late")
    assert "secret" not in str(event)
    assert "abc" not in str(event)
    assert "t0ken" not in str(event)
    assert "secret" not in json.dumps(event.fields)


def test_a_logger_takes_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        logging.getLogger("nnn").info(Event("merged", uri="a.tar"))
    assert caplog.messages == ["merged uri=a.tar"]
