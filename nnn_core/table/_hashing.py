"""The inner loops of ``ids``: a hash table of rows by id, by open addressing with linear probing.

A slot of 64 bits holds the upper half of an id's hash and its row plus 1; 0 is an empty slot. What is found is compared
byte by byte with the id, so no two ids are ever taken for one. A few ids are looked up in passes over all of them, each
of which waits for memory once, because no iteration depends on the one before.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_TAG = np.uint64(0xFFFFFFFF00000000)
_ROW = np.uint64(0x00000000FFFFFFFF)
_ONE, _EIGHT, _HALF = np.uint64(1), np.uint64(8), np.uint64(32)
_MIX = np.uint64(0xBF58476D1CE4E5B9)


@njit(cache=True, nogil=True)
def _word(data: Any, place: Any) -> Any:
    """Eight bytes from ``place`` on as a little-endian number, which compiles to one load."""
    word = np.uint64(0)
    for byte in range(8):
        word |= np.uint64(data[place + np.uint64(byte)]) << np.uint64(8 * byte)
    return word


@njit(cache=True, nogil=True)
def _mixed(value: Any) -> Any:
    value = value * _MIX
    return value ^ (value >> _HALF)


@njit(cache=True, nogil=True)
def hash_of(data: Any, first: int, last: int) -> Any:
    """A hash of some bytes and their number, eight at a time; every bit of it depends on every byte."""
    place, end = np.uint64(first), np.uint64(last)
    value = end - place
    while place + _EIGHT <= end:
        value = _mixed(value ^ _word(data, place))
        place += _EIGHT
    rest = np.uint64(0)
    while place < end:
        rest = (rest << _EIGHT) | np.uint64(data[place])
        place += _ONE
    return _mixed(_mixed(value ^ rest))


@njit(cache=True, nogil=True)
def _same(data: Any, first: int, last: int, other: Any, begin: int, end: int) -> bool:
    if last - first != end - begin:
        return False
    place, against, stop = np.uint64(first), np.uint64(begin), np.uint64(last)
    while place + _EIGHT <= stop:
        if _word(data, place) != _word(other, against):
            return False
        place += _EIGHT
        against += _EIGHT
    while place < stop:
        if data[place] != other[against]:
            return False
        place += _ONE
        against += _ONE
    return True


@njit(cache=True, nogil=True)
def fill_slots(data: Any, offsets: Any, slots: Any) -> None:
    """Enter every row; of equal ids the first stays.

    Args:
        data: (bytes,) uint8, all ids in UTF-8, one after the other.
        offsets: (rows + 1,) int64, where each of them begins and the last one ends.
        slots: (a power of two above rows,) uint64, zeros, filled in place.
    """
    mask = np.uint64(len(slots) - 1)
    for row in range(len(offsets) - 1):
        first, last = offsets[row], offsets[row + 1]
        value = hash_of(data, first, last)
        place = value & mask
        while slots[place] != 0:
            held = np.int64(slots[place] & _ROW) - 1
            if (slots[place] ^ value) & _TAG == 0 and _same(data, first, last, data, offsets[held], offsets[held + 1]):
                break
            place = (place + _ONE) & mask
        else:
            slots[place] = (value & _TAG) | np.uint64(row + 1)


@njit(cache=True, nogil=True)
def find_rows(data: Any, offsets: Any, slots: Any, asked: Any, edges: Any, rows: Any) -> Any:
    """Where ids stand; what it returns says nothing, but keeps the pass that touches ids from being left out.

    Args:
        data: as for ``fill_slots``.
        offsets: as for ``fill_slots``.
        slots: as ``fill_slots`` left them.
        asked: (bytes,) uint8, the ids that are looked up, in UTF-8.
        edges: (ids + 1,) int32, where each of them begins and the last one ends.
        rows: (ids,) int64, written in place: the row of each id, -1 where there is none.
    """
    mask = np.uint64(len(slots) - 1)
    hashes = np.empty(len(rows), np.uint64)
    for number in range(len(rows)):
        hashes[number] = hash_of(asked, edges[number], edges[number + 1])
    starts = np.empty(len(rows), np.int64)
    for number in range(len(rows)):
        place = hashes[number] & mask
        while slots[place] != 0 and (slots[place] ^ hashes[number]) & _TAG != 0:
            place = (place + _ONE) & mask
        starts[number] = place
    begins = np.zeros(len(rows), np.int64)
    for number in range(len(rows)):
        row = np.int64(slots[starts[number]] & _ROW) - 1
        rows[number] = row
        begins[number] = offsets[max(row, 0)]
    touched = np.uint64(0)
    for number in range(len(rows)):
        touched += data[min(begins[number], len(data) - 1)] if len(data) else 0
    for number in range(len(rows)):
        first, last = edges[number], edges[number + 1]
        place = np.uint64(starts[number])
        row, begin = rows[number], begins[number]
        while row >= 0 and not _same(asked, first, last, data, begin, offsets[row + 1]):
            # Another id with the same half of a hash: a chance of one in four billion for each id that is passed.
            place = (place + _ONE) & mask
            while slots[place] != 0 and (slots[place] ^ hashes[number]) & _TAG != 0:
                place = (place + _ONE) & mask
            row = np.int64(slots[place] & _ROW) - 1
            begin = offsets[max(row, 0)]
        rows[number] = row
    return touched
