"""YAML that people write: decimal numbers, keys that stand once, nothing that grows; errors without content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nnn_core.errors import ConfigError
from nnn_core.yaml_files import read_mapping, read_yaml

pytestmark = pytest.mark.counted

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"

#: What is refused, and the line that the message names.
HOSTILE = {
    "aliases": (BOMB, "line 2: aliases are not allowed"),
    "a key twice": ("k: 1\nalpha: 2\nk: 3\n", "line 3: 'k' stands twice"),
    "a secret as a key, twice": ("? HUSH!HUSH\n: 1\n? HUSH!HUSH\n: 2\n", "line 3: a key stands twice"),
    "a deep list": ("[" * 30 + "]" * 30, "line 1: nested too deep (limit: 20 levels)"),
    "a very deep list": ("[" * 100_000, "line 1: nested too deep (limit: 20 levels)"),
    "a long number": ("k: " + "9" * 5000, "line 1: a number has too many digits"),
    "an object": ("k: 1\nx: !!python/object/apply:os.system ['echo HUSH']\n", "line 2: could not determine"),
    "a tag with a secret": ("x: !HUSH 1", "line 1: could not determine"),
    "a tab": ("k:\n\t- HUSH", "line 2: "),
    "an open quote": ('k: "HUSH', "line 1: "),
    "a control character": ("k: \x01HUSH", "not YAML: "),
    "not UTF-8": (b"k: \xff\xfeHUSH", "not YAML: UnicodeDecodeError"),
    "too large": ("# " + "x" * (1 << 20) + "\n", "the file is too large (limit: 1,048,576 bytes)"),
}


def write(folder: Path, text: str | bytes) -> str:
    path = folder / "file.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


@pytest.mark.parametrize("name", HOSTILE)
def test_what_nobody_means_is_refused(name: str, tmp_path: Path, record_count: Callable[[str, int, int], None]) -> None:
    text, expected = HOSTILE[name]
    with pytest.raises(ConfigError) as caught:
        read_yaml(write(tmp_path, text), "--gates")
    told = str(caught.value)
    record_count("hostile YAML that is refused in one line", expected in told and "\n" not in told, 1)
    assert expected in told
    assert "\n" not in told
    assert "HUSH" not in told
    assert told.startswith("--gates ")


def test_numbers_are_decimal(tmp_path: Path) -> None:
    text = (
        "a: 010\nb: 1:30\nc: 0x1F\nd: 1e-3\ne: 2026-01-01\nf: -12\ng: .5\nh: 1_000\ni: 3.\nj: .inf\nk: true\nl: 0o17\n"
    )
    assert read_mapping(write(tmp_path, text), "--config", "k: 1") == {
        **{"a": "010", "b": "1:30", "c": "0x1F", "d": 0.001, "e": "2026-01-01", "f": -12, "g": 0.5, "h": "1_000"},
        **{"i": 3.0, "j": float("inf"), "k": True, "l": "0o17"},
    }


NUMBERS = st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False)
VALUES = st.none() | NUMBERS | st.text("ab c-1.:", max_size=8)


@given(st.dictionaries(st.text("abc", min_size=1), VALUES | st.lists(VALUES, max_size=3)))
def test_what_others_write_is_read(tmp_path: Path, record: dict[str, object]) -> None:
    assert read_mapping(write(tmp_path, yaml.safe_dump(record)), "--config", "k: 1") == record
