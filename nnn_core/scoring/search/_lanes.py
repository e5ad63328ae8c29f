"""What the kernels need of the processor and numba has no words for, on vectors of 16 numbers (lanes).

int8 products use the processor's instruction for them (AVX-512 VNNI) where it has one. Elsewhere the
same numbers come from int16 products, of which most processors do as many at a time as of float32 or twice that.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

#: Numbers in a vector.
LANES = 16

#: Candidates, and vectors of references, that are multiplied at a time: their products fill 24 of 32 registers.
ROWS = 8
GROUPS = 3

_BIT, _INT32, _INT64, _FLOAT = ir.IntType(1), ir.IntType(32), ir.IntType(64), ir.FloatType()
_INTS, _FLOATS, _BITS = (ir.VectorType(kind, LANES) for kind in (_INT32, _FLOAT, _BIT))
_SHORTS = ir.VectorType(ir.IntType(16), 2 * LANES)


def has_fast_int8() -> bool:
    """Whether this processor has the instruction for int8 products that the kernels use (AVX-512 VNNI)."""
    return bool(llvm.get_host_cpu_features().get("avx512vnni", False))


def _address(context: Any, builder: Any, kind: Any, array: Any, at: list[Any]) -> Any:
    """Pointer to an entry of an array that the kernel was given."""
    view = context.make_array(kind)(context, builder, array)
    return cgutils.get_item_pointer(context, builder, kind, view, at, wraparound=False, boundscheck=False)


def _splat(builder: Any, vector: Any, value: Any) -> Any:
    """A vector of which every lane is ``value``."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, value, _INT32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(_INTS, [0] * LANES))


def _turned(builder: Any, bits: Any) -> Any:
    """Bits of a float32 such that they sort as integers do, and back: those of negative numbers are turned round."""
    return builder.xor(bits, builder.and_(builder.ashr(bits, _INT32(31)), _INT32(0x7FFFFFFF)))


@intrinsic
def to_key(typing_context: Any, score: Any, position: Any) -> Any:
    """A float32 score and a position below 2**32 as an int64 that sorts by score, then by position."""

    def build(context: Any, builder: Any, _: Any, args: Any) -> Any:
        bits = _turned(builder, builder.bitcast(args[0], _INT32))
        return builder.or_(builder.shl(builder.sext(bits, _INT64), _INT64(32)), args[1])

    return types.int64(types.float32, types.int64), build


@intrinsic
def score_of(typing_context: Any, key: Any) -> Any:
    """The score in a key."""

    def build(context: Any, builder: Any, _: Any, args: Any) -> Any:
        high = builder.trunc(builder.ashr(args[0], _INT64(32)), _INT32)
        return builder.bitcast(_turned(builder, high), _FLOAT)

    return types.float32(types.int64), build


@intrinsic
def lanes_at_least(
    typing_context: Any, tile: Any, row: Any, column: Any, steps: Any, first: Any, threshold: Any
) -> Any:
    """Bit i is set where score i of tile[row, column:] is at least the threshold; LLVM does not vectorise the loop.

    The scores are ``tile``, float32; or, with ``steps``, the int32 ``tile`` times ``steps[first + i]``.
    """

    def build(context: Any, builder: Any, _: Any, args: Any) -> Any:
        def load(kind: Any, array: Any, at: list[Any], vector: Any) -> Any:
            address = _address(context, builder, kind, array, at)
            return builder.load(builder.bitcast(address, vector.as_pointer()), align=4)

        if isinstance(steps, types.NoneType):
            scores = load(tile, args[0], [args[1], args[2]], _FLOATS)
        else:
            whole = load(tile, args[0], [args[1], args[2]], _INTS)
            scores = builder.fmul(builder.sitofp(whole, _FLOATS), load(steps, args[3], [args[4]], _FLOATS))
        reached = builder.fcmp_ordered(">=", scores, _splat(builder, _FLOATS, args[5]))
        return builder.zext(builder.bitcast(reached, ir.IntType(LANES)), _INT32)

    return types.uint32(tile, types.int64, types.int64, steps, types.int64, types.float32), build


@intrinsic
def append_lanes(typing_context: Any, columns: Any, count: Any, column: Any, lanes: Any) -> Any:
    """Write column + i to ``columns`` (int32) from ``count`` on for each bit i that is set; return how many are."""

    def build(context: Any, builder: Any, _: Any, args: Any) -> Any:
        address = _address(context, builder, columns, args[0], [args[1]])
        first = _splat(builder, _INTS, builder.trunc(args[2], _INT32))
        numbers = builder.add(first, ir.Constant(_INTS, list(range(LANES))))
        bits = builder.trunc(args[3], ir.IntType(LANES))
        kind = ir.FunctionType(ir.VoidType(), [_INTS, address.type, _BITS])
        store = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.compressstore.v{LANES}i32")
        builder.call(store, [numbers, address, builder.bitcast(bits, _BITS)])
        return builder.zext(builder.ctpop(bits), _INT64)

    return types.int64(columns, types.int64, types.int64, types.uint32), build


@intrinsic
def multiply(
    typing_context: Any,
    candidates: Any,
    rows: Any,
    references: Any,
    starts: Any,
    group: Any,
    products: Any,
    column: Any,
) -> Any:
    """Write int32 products of ``ROWS`` candidates with ``GROUPS`` vectors of references to products[:, column:].

    Arguments as of ``collect_products``; ``starts`` and ``references`` must reach ``GROUPS`` vectors beyond ``group``.
    """

    def build(context: Any, builder: Any, _: Any, args: Any) -> Any:
        def entry(number: int, kind: Any, at: list[Any], pointee: Any) -> Any:
            return builder.bitcast(_address(context, builder, kind, args[number], at), pointee.as_pointer())

        zero = _INT64(0)
        lefts, rights, sums = [], [], []
        for row in range(ROWS):
            number = builder.load(entry(1, rows, [_INT64(row)], _INT64))
            lefts.append(entry(0, candidates, [number, zero], _INT32))
        for vector in range(GROUPS):
            at = builder.add(args[4], _INT64(vector))
            rights.append(entry(2, references, [at, zero, zero], _INTS))
            sums.append(builder.load(entry(3, starts, [at, zero], _INTS), align=4))
        # LLVM keeps these variables in registers.
        totals = [[cgutils.alloca_once_value(builder, start) for start in sums] for _ in lefts]
        quads = cgutils.unpack_tuple(builder, context.make_array(references)(context, builder, args[2]).shape, 3)[1]
        with cgutils.for_range(builder, quads) as quad:
            right = [builder.load(builder.gep(pointer, [quad.index]), align=4) for pointer in rights]
            for pointer, row_totals in zip(lefts, totals, strict=True):
                left = builder.load(builder.gep(pointer, [quad.index]), align=4)
                for each, total in zip(right, row_totals, strict=True):
                    builder.store(_add_products(builder, builder.load(total), left, each), total)
        for row, row_totals in enumerate(totals):
            for vector, total in enumerate(row_totals):
                at = [_INT64(row), builder.add(args[6], _INT64(vector * LANES))]
                builder.store(builder.load(total), entry(5, products, at, _INTS), align=4)
        return context.get_dummy_value()

    return types.void(candidates, rows, references, starts, types.int64, products, types.int64), build


def _add_products(builder: Any, total: Any, left: Any, right: Any) -> Any:
    """``total`` plus, in each lane, the inner product of four uint8 of ``left`` with four int8 of ``right``."""
    if has_fast_int8():
        kind = ir.FunctionType(_INTS, [_INTS] * 3)
        instruction = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.vpdpbusd.512")
        return builder.call(instruction, [total, _splat(builder, _INTS, left), right])
    left, right = _splat(builder, _INTS, left), builder.bitcast(right, _SHORTS)
    low = ir.Constant(_INTS, [0x00FF00FF] * LANES)
    eight, eights = ir.Constant(_INTS, [8] * LANES), ir.Constant(_SHORTS, [8] * (2 * LANES))
    even = builder.and_(left, low), builder.ashr(builder.shl(right, eights), eights)
    odd = builder.and_(builder.lshr(left, eight), low), builder.ashr(right, eights)
    for one, other in (even, odd):
        total = builder.add(total, _pair_products(builder, builder.bitcast(one, _SHORTS), other))
    return total


def _pair_products(builder: Any, left: Any, right: Any) -> Any:
    """In each lane the inner product of two int16; most processors have an instruction for it, which LLVM finds."""
    wide = ir.VectorType(_INT32, 2 * LANES)
    products = builder.mul(builder.sext(left, wide), builder.sext(right, wide))
    halves = [
        builder.shuffle_vector(
            products, ir.Constant(wide, ir.Undefined), ir.Constant(_INTS, list(range(first, 2 * LANES, 2)))
        )
        for first in range(2)
    ]
    return builder.add(*halves)
