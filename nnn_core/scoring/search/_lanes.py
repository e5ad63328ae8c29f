"""What the kernels need of the processor and numba has no words for, on vectors of 16 numbers (lanes).

int8 products come from the instruction that adds four of them to an int32 (AVX-512 VNNI), where the
processor has it. Older ones add pairs of them to int16, in a quarter of the time of float32 products
(AVX2). Sums of int16 wrap around and are right all the same as long as their result fits; so they go on
for ``PAIRED`` coordinates, whose numbers are small enough for that (``_rounding.NARROW``), before they
are added to an int32. Any other processor computes the same without such instructions.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

#: Numbers in a vector.
LANES = 16

#: Coordinates whose products are added up in int16, half of them in each of two.
PAIRED = 128


def _compiles_for(feature: str) -> bool:
    """Whether numba compiles for this processor, and for one with this feature; its variables may say otherwise."""
    features = config.CPU_FEATURES if config.CPU_FEATURES is not None else get_host_cpu_features()
    return config.CPU_NAME in (None, "host") and f"+{feature}" in features.split(",")


def has_vnni() -> bool:
    """Whether this processor adds int8 products to int32 at once."""
    return _compiles_for("avx512vnni")


def has_avx2() -> bool:
    """Whether this processor adds pairs of int8 products to int16."""
    return _compiles_for("avx2")


def int8_instructions() -> str | None:
    """The name of the processor's instructions that int8 products are computed with."""
    return "AVX-512 VNNI" if has_vnni() else "AVX2" if has_avx2() else None


#: Candidates, and vectors of references, that are multiplied at a time: their products fill 24 of 32 registers of 512
#: bits, or 12 of 16 of 256 bits.
ROWS, GROUPS = (8, 3) if has_vnni() else (6, 1)

_BIT, _INT8, _INT16, _INT32, _INT64, _FLOAT = *(ir.IntType(bits) for bits in (1, 8, 16, 32, 64)), ir.FloatType()
_INTS, _FLOATS = (ir.VectorType(kind, LANES) for kind in (_INT32, _FLOAT))


def _address(context: Any, builder: Any, kind: Any, array: Any, at: list[Any]) -> Any:
    """Pointer to an entry of an array that the kernel was given."""
    view = context.make_array(kind)(context, builder, array)
    return cgutils.get_item_pointer(context, builder, kind, view, at, wraparound=False, boundscheck=False)


def _splat(builder: Any, vector: Any, value: Any) -> Any:
    """A vector of which every lane is ``value``."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, value, _INT32(0))
    numbers = ir.VectorType(_INT32, vector.count)
    return builder.shuffle_vector(first, undefined, ir.Constant(numbers, [0] * vector.count))


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
def lowest_lane(typing_context: Any, lanes: Any) -> Any:
    """The number of the lowest bit that is set, of at least one."""

    def build(context: Any, builder: Any, _: Any, args: Any) -> Any:
        return builder.zext(builder.cttz(args[0], _BIT(1)), _INT64)

    return types.int64(types.uint32), build


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
        lanes = 8 if not has_vnni() and has_avx2() else LANES  # of a register
        vectors, parts = _Vectors(builder, lanes), LANES // lanes

        def entry(number: int, kind: Any, at: list[Any], pointee: Any) -> Any:
            return builder.bitcast(_address(context, builder, kind, args[number], at), pointee.as_pointer())

        def shape(number: int, kind: Any, axis: int) -> Any:
            view = context.make_array(kind)(context, builder, args[number])
            return cgutils.unpack_tuple(builder, view.shape, 3)[axis]

        def load_parts(pointers: list[Any], number: Any) -> list[Any]:
            ends = [builder.add(builder.mul(number, _INT64(parts)), _INT64(part)) for part in range(parts)]
            return [builder.load(builder.gep(pointer, [end]), align=4) for pointer in pointers for end in ends]

        def variables(kind: Any) -> list[list[Any]]:
            # LLVM keeps those of the innermost loop in registers.
            return [[cgutils.alloca_once(builder, kind) for _ in range(GROUPS * parts)] for _ in range(ROWS)]

        def add_quads(first: Any, count: Any, sums: list[list[Any]]) -> None:
            with cgutils.for_range(builder, count) as quad:
                at = builder.add(first, quad.index)
                right = load_parts(rights, at)
                for pointer, row_sums in zip(lefts, sums, strict=True):
                    left = _splat(builder, vectors.ints, builder.load(builder.gep(pointer, [at]), align=4))
                    for each, total in zip(right, row_sums, strict=True):
                        builder.store(vectors.add_products(builder.load(total), left, each), total)

        def set_all(sums: list[list[Any]], values: list[Any]) -> None:
            for row_sums in sums:
                for total, value in zip(row_sums, values, strict=True):
                    builder.store(value, total)

        zero, lefts, rights, begins = _INT64(0), [], [], []
        for row in range(ROWS):
            number = builder.load(entry(1, rows, [_INT64(row)], _INT64))
            lefts.append(entry(0, candidates, [number, zero], _INT32))
        for vector in range(GROUPS):
            at = builder.add(args[4], _INT64(vector))
            rights.append(entry(2, references, [at, zero, zero], vectors.ints))
            begins.append(entry(3, starts, [at, zero, zero], vectors.ints))
        quads, totals = shape(2, references, 1), variables(vectors.ints)
        if has_vnni():
            set_all(totals, load_parts(begins, zero))
            add_quads(zero, quads, totals)
        else:
            set_all(totals, [ir.Constant(vectors.ints, [0] * lanes)] * (GROUPS * parts))
            sums, most = variables(vectors.shorts), _INT64(PAIRED // 4)
            with cgutils.for_range(builder, shape(3, starts, 1)) as stretch:
                first = builder.mul(stretch.index, most)
                left = builder.sub(quads, first)
                set_all(sums, [builder.bitcast(each, vectors.shorts) for each in load_parts(begins, stretch.index)])
                add_quads(first, builder.select(builder.icmp_signed("<", left, most), left, most), sums)
                for row_totals, row_sums in zip(totals, sums, strict=True):
                    for total, some in zip(row_totals, row_sums, strict=True):
                        builder.store(builder.add(builder.load(total), vectors.add_pairs(builder.load(some))), total)
        for row, row_totals in enumerate(totals):
            for number, total in enumerate(row_totals):
                at = [_INT64(row), builder.add(args[6], _INT64(number * lanes))]
                builder.store(builder.load(total), entry(5, products, at, vectors.ints), align=4)
        return context.get_dummy_value()

    return types.void(candidates, rows, references, starts, types.int64, products, types.int64), build


class _Vectors:
    """Vectors of a number of int32 and what else they may hold, and the arithmetic of int8 products on them."""

    def __init__(self, builder: Any, lanes: int) -> None:
        self.builder = builder
        self.ints, self.shorts, self.bytes = (
            ir.VectorType(kind, lanes * times) for kind, times in ((_INT32, 1), (_INT16, 2), (_INT8, 4))
        )

    def add_products(self, total: Any, left: Any, right: Any) -> Any:
        """``total`` plus the products of four uint8 of ``left`` with four int8 of ``right``; of int16, of pairs."""
        if total.type == self.ints:
            return self._call("llvm.x86.avx512.vpdpbusd.512", total, left, right)
        one, other = self.builder.bitcast(left, self.bytes), self.builder.bitcast(right, self.bytes)
        if has_avx2():
            products = self._call("llvm.x86.avx2.pmadd.ub.sw", one, other, returns=self.shorts)
        else:
            wide = ir.VectorType(_INT16, self.bytes.count)
            products = self._pairs(self.builder.mul(self.builder.zext(one, wide), self.builder.sext(other, wide)))
        return self.builder.add(total, products)

    def add_pairs(self, shorts: Any) -> Any:
        """The sum of each two int16, as int32."""
        if has_avx2():
            ones = ir.Constant(self.shorts, [1] * self.shorts.count)
            return self._call("llvm.x86.avx2.pmadd.wd", shorts, ones, returns=self.ints)
        return self._pairs(self.builder.sext(shorts, ir.VectorType(_INT32, self.shorts.count)))

    def _pairs(self, numbers: Any) -> Any:
        """The sum of each two numbers that are side by side."""
        count = numbers.type.count
        undefined, numbering = ir.Constant(numbers.type, ir.Undefined), ir.VectorType(_INT32, count // 2)
        halves = (ir.Constant(numbering, list(range(first, count, 2))) for first in range(2))
        return self.builder.add(*(self.builder.shuffle_vector(numbers, undefined, half) for half in halves))

    def _call(self, name: str, *args: Any, returns: Any = None) -> Any:
        kind = ir.FunctionType(returns or args[0].type, [each.type for each in args])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), args)
