"""The cache is bounded, forgets the least recently used, and loads each value once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnn_core.scoring.cache import BoundedCache


class Loads:
    """A cache of values of a size of our choice, and a list of what was loaded."""

    def __init__(self, max_bytes: int) -> None:
        self.cache = BoundedCache(max_bytes)
        self.loaded: list[str] = []

    def get(self, key: str, nbytes: int = 10) -> object:
        def load() -> str:
            self.loaded.append(key)
            return key.upper()

        value = self.cache.get(key, load, lambda loaded: nbytes)
        assert value == key.upper()
        return value


def test_a_value_is_loaded_once() -> None:
    loads = Loads(100)
    assert loads.get("a") is loads.get("a")
    assert loads.loaded == ["a"]


def test_the_least_recently_used_goes_first() -> None:
    loads = Loads(30)
    for key in "abcadbac":
        loads.get(key)
    # d pushes out b (a was used since), then b pushes out c, then c pushes out d.
    assert "".join(loads.loaded) == "abcdbc"


def test_a_full_cache_is_not_too_full() -> None:
    loads = Loads(30)
    for key in "abcabc":
        loads.get(key)
    assert loads.loaded == ["a", "b", "c"]


def test_a_value_larger_than_the_cache_is_still_given() -> None:
    loads = Loads(5)
    for key in "aab":
        loads.get(key)
    loads.get("b")
    assert loads.loaded == ["a", "b"]


def test_a_large_value_pushes_out_several() -> None:
    loads = Loads(30)
    for key, size in (("a", 10), ("b", 10), ("c", 10), ("d", 25), ("d", 25), ("c", 10)):
        loads.get(key, size)
    assert loads.loaded == ["a", "b", "c", "d", "c"]


def test_a_failed_load_is_tried_again() -> None:
    cache = BoundedCache(100)

    def fail() -> object:
        raise OSError("not now")

    with pytest.raises(OSError, match="not now"):
        cache.get("a", fail, lambda _: 1)
    assert cache.get("a", lambda: 7, lambda _: 1) == 7


def test_none_is_a_value() -> None:
    cache = BoundedCache(100)
    assert cache.get("a", lambda: None, lambda _: 1) is None
    assert cache.get("a", lambda: 7, lambda _: 1) is None


def test_threads_that_want_one_value_load_it_once() -> None:
    loads, barrier = Loads(100), threading.Barrier(8)

    def ask(_: int) -> object:
        barrier.wait()
        return loads.get("a")

    with ThreadPoolExecutor(8) as pool:
        values = list(pool.map(ask, range(8)))
    assert loads.loaded == ["a"]
    assert all(value is values[0] for value in values)


@given(st.lists(st.sampled_from("abcdefgh")), st.integers(1, 9))
def test_equals_a_list_of_the_most_recent(keys: list[str], room: int) -> None:
    loads, recent, expected = Loads(10 * room), list[str](), list[str]()
    for key in keys:
        loads.get(key)
        if key in recent:
            recent.remove(key)
        else:
            expected.append(key)
        recent = [*recent, key][-room:]
    assert loads.loaded == expected
