"""Sixteen float32 numbers as one value: the words the kernels are written in.

Each function below is one or a few instructions of LLVM, the compiler behind Numba; it makes of
them whatever vectors the processor has. Addresses are plain integers. What `load` reads depends
on the format it is told: that is how one kernel serves float32, bfloat16, float16, int8 and
float8, and how narrow weights are widened in a register without ever being copied.

Nothing here checks bounds. Whoever passes an address answers for it.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, no-any-return"
# mypy: disable-error-code="import-untyped, import-not-found, misc"

import contextlib
import functools
import hashlib
import inspect
from pathlib import Path

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import njit, types
from numba.core import cgutils
from numba.core.imputils import lower_constant
from numba.extending import (
    NativeValue,
    intrinsic,
    models,
    register_model,
    unbox,
)

__all__ = [
    *("BF16", "BLOCKS", "F16", "F32", "F8", "Q4_0", "Q4_1", "ROWS", "Format"),
    *(
        "ADDRESS",
        "add",
        "compiled",
        "atomic_add",
        "div",
        "dots_4_by_1",
        "dots_4_by_2",
        "dots_4_by_4",
        "dots_4_by_6",
        "exp",
        "prefetch",
        "fma",
        "goes_by_pairs",
        "has_long_registers",
        "in_blocks",
        "in_fours",
        "in_integers",
        "integer_dots_4_by_1",
        "integer_dots_4_by_2",
        "itemsize",
        "reduce_max",
        "load",
        "load1",
    ),
    *(
        "maximum",
        "mul",
        "multiplies_integers",
        "round_blocks",
        "row_nbytes",
        "atomic_load",
        "splat",
        "store",
        "store1",
        "store_sums",
        "widen_four",
        "reduce_sum",
        "zero",
    ),
]

LANES = 16
F, H = ir.FloatType(), ir.HalfType()
I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))


def compiled(function):
    """Compile with Numba at the first call; keep the result on disk; let go of the GIL."""
    # The tests wrap every function to check its arguments; a kernel is compiled without that.
    kernel = njit(inspect.unwrap(function), nogil=True, cache=True, error_model="numpy")
    if kernel.stats.cache_path is not None:
        _forget_older(Path(kernel.stats.cache_path), _sources())
    return kernel


@functools.cache
def _sources():
    """A hash over all kernels as they are written."""
    whole = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        whole.update(path.read_bytes())
    return whole.hexdigest()


@functools.cache
def _forget_older(directory, sources):
    """Throw away what is kept on disk if it was compiled from other sources.

    Numba looks at the file of a kernel only, and a kernel contains those it calls, from whatever
    file. Without this an old `rms_norm` would go on inside `decode` after it has been mended.
    """
    stamp = directory / "llama_edu_kernels.txt"
    with contextlib.suppress(OSError):
        if stamp.exists() and stamp.read_text("utf-8") == sources:
            return
        for index in directory.glob("*.nbi"):
            index.unlink(missing_ok=True)
        directory.mkdir(parents=True, exist_ok=True)
        stamp.write_text(sources, "utf-8")


@functools.cache
def multiplies_integers():
    """Whether weights in blocks are multiplied as whole numbers, sixteen products at a time.

    Where registers are short that takes half the instructions of widening each weight to float32.
    """
    return bool(get_host_cpu_features().get("avx2", False)) and not has_long_registers()


@functools.cache
def has_long_registers():
    """Whether one register of this processor holds sixteen float32, and there are 32 of them."""
    return bool(get_host_cpu_features().get("avx512f", False))


class FormatType(types.Type):
    """The Numba type of one `Format`: which it is, is known when compiling."""

    def __init__(self, name, size):
        super().__init__(name=f"Format({name})")
        self.format, self.size = name, size


class Format:
    """How weights lie in memory. A kernel is compiled anew for each format it meets."""

    def __init__(self, name, itemsize):
        self.name, self.itemsize = name, itemsize
        # Where Numba looks first: asking `typeof_impl` takes 7 µs, at every call of a kernel.
        self._numba_type_ = FormatType(name, itemsize)


class VectorType(types.Type):
    """The Numba type of sixteen float32."""

    def __init__(self):
        super().__init__(name="float32x16")


register_model(FormatType)(models.OpaqueModel)


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, numba_type):
        super().__init__(manager, numba_type, _vector(F))


@unbox(FormatType)
def _unbox_format(numba_type, value, c):
    return NativeValue(c.context.get_dummy_value())


@lower_constant(FormatType)
def _constant_format(context, builder, numba_type, value):
    return context.get_dummy_value()


F32, BF16, F16 = Format("f32", 4), Format("bf16", 2), Format("f16", 2)
F8 = Format("f8", 1)  # e4m3, a float32 scale per row
ROWS = Format("rows", 1)  # int8, a float32 scale per row
BLOCKS = Format("blocks", 1)  # int8, a float16 scale per block of 32
Q4_0 = Format("q4_0", 1)  # four bits, blocks of 32 of 18 bytes; see `formats.four_bits`
Q4_1 = Format("q4_1", 1)  # with an offset, of 20 bytes

FLOATS = VectorType()
ADDRESS = types.int64


def _vector(element):
    return ir.VectorType(element, LANES)


def _all(element, value):
    return ir.Constant(_vector(element), [value] * LANES)


def _pointer(builder, address, element):
    return builder.inttoptr(address, ir.PointerType(element))


def _call(builder, name, result, arguments):
    kinds = [argument.type for argument in arguments]
    function = ir.FunctionType(result, kinds)
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), arguments)


def _fill(builder, scalar, element):
    return _fill_lanes(builder, scalar, _vector(element))


def _fill_lanes(builder, scalar, kind):
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, I32(0))
    lanes = ir.Constant(ir.VectorType(I32, kind.count), [0] * kind.count)
    return builder.shuffle_vector(first, first, lanes)


def _instruction(result, *arguments):
    """Make a Numba function out of one that emits instructions; a format goes to it by name."""

    def decorate(emit):
        def build(*given):
            signature = result(*(want or got for want, got in zip(arguments, given, strict=True)))

            def generate(context, builder, _, values):
                pairs = zip(given, values, strict=True)
                plain = [t.format if isinstance(t, FormatType) else v for t, v in pairs]
                emitted = emit(builder, *plain)
                return context.get_dummy_value() if result is types.void else emitted

            return signature, generate

        by_count = (
            lambda typing: build(),
            lambda typing, a: build(a),
            lambda typing, a, b: build(a, b),
            lambda typing, a, b, c: build(a, b, c),
            lambda typing, a, b, c, d: build(a, b, c, d),
            lambda typing, a, b, c, d, e: build(a, b, c, d, e),
            lambda typing, a, b, c, d, e, f: build(a, b, c, d, e, f),
            lambda typing, a, b, c, d, e, f, g: build(a, b, c, d, e, f, g),
            lambda typing, a, b, c, d, e, f, g, h: build(a, b, c, d, e, f, g, h),
        )
        typer = by_count[len(arguments)]
        typer.__name__ = emit.__name__
        typer.__doc__ = emit.__doc__
        return intrinsic(typer)

    return decorate


FORMAT = None  # an argument of `_instruction` that may be any format


@_instruction(FLOATS)
def zero(builder):
    """Sixteen zeros."""
    return _all(F, 0.0)


@_instruction(FLOATS, types.float32)
def splat(builder, number):
    """The same number sixteen times."""
    return _fill(builder, number, F)


@_instruction(FLOATS, FLOATS, FLOATS)
def add(builder, a, b):
    """Elementwise a + b."""
    return builder.fadd(a, b)


@_instruction(FLOATS, FLOATS, FLOATS)
def mul(builder, a, b):
    """Elementwise a · b."""
    return builder.fmul(a, b)


@_instruction(FLOATS, FLOATS, FLOATS)
def div(builder, a, b):
    """Elementwise a / b."""
    return builder.fdiv(a, b)


@_instruction(FLOATS, FLOATS, FLOATS)
def maximum(builder, a, b):
    """The larger of each pair."""
    return _call(builder, "llvm.maxnum.v16f32", _vector(F), [a, b])


@_instruction(FLOATS, FLOATS, FLOATS, FLOATS)
def fma(builder, a, b, c):
    """Elementwise a · b + c with a single rounding."""
    return _call(builder, "llvm.fma.v16f32", _vector(F), [a, b, c])


@_instruction(types.float32, FLOATS)
def reduce_sum(builder, a):
    """The sum of the sixteen, in whatever order is fastest."""
    return _sum(builder, a)


def _sum(builder, a):
    function = ir.FunctionType(F, [F, _vector(F)])
    reduce = cgutils.get_or_insert_function(
        builder.module, function, "llvm.vector.reduce.fadd.v16f32"
    )
    return builder.call(reduce, [F(0.0), a], fastmath=("reassoc",))


@_instruction(types.void, ADDRESS, FLOATS, FLOATS, FLOATS, FLOATS)
def store_sums(builder, address, a, b, c, d):
    """Write the sums of four vectors side by side, as four float32.

    Each step adds one half of what is left to the other, for all four at once: half the work of
    four times `reduce_sum`.
    """
    _store_sums(builder, address, a, b, c, d)


def _store_sums(builder, address, a, b, c, d):
    def halved(x, y, width):
        # Lanes of `width` partial sums each; the first half of each meets the second.
        lanes = range(0, 2 * x.type.count, width)
        first = [lane + i for lane in lanes for i in range(width // 2)]
        if y is None:
            y, first = ir.Constant(x.type, ir.Undefined), first[: len(first) // 2]
        picks = (first, [lane + width // 2 for lane in first])
        kinds = (ir.Constant(ir.VectorType(I32, len(pick)), pick) for pick in picks)
        return builder.fadd(*(builder.shuffle_vector(x, y, kind) for kind in kinds))

    lanes = a.type.count
    quarters = halved(halved(a, b, lanes), halved(c, d, lanes), lanes // 2)
    sums, width = quarters, lanes // 4
    while width > 1:
        sums, width = halved(sums, None, width), width // 2
    builder.store(sums, _pointer(builder, address, sums.type), align=4)


@_instruction(types.float32, FLOATS)
def reduce_max(builder, a):
    """The largest of the sixteen."""
    return _call(builder, "llvm.vector.reduce.fmax.v16f32", F, [a])


@_instruction(ADDRESS, FORMAT)
def itemsize(builder, name):
    """Bytes per weight."""
    return I64(SIZES[name])


@_instruction(types.boolean, FORMAT)
def in_blocks(builder, name):
    """True, when compiling already, for the format with a scale per block."""
    return ir.IntType(1)(name == "blocks")


@_instruction(types.boolean, FORMAT)
def in_fours(builder, name):
    """True, when compiling already, for the formats of four bits."""
    return ir.IntType(1)(name in FOURS)


@_instruction(types.boolean, FORMAT)
def in_integers(builder, name):
    """True, when compiling already, for the formats that are multiplied as whole numbers here."""
    return ir.IntType(1)(_goes_in_integers(name))


@_instruction(types.boolean, FORMAT)
def goes_by_pairs(builder, name):
    """True, when compiling already, where two rows far apart are sooner than four neighbours."""
    return ir.IntType(1)(name != "blocks" and name not in FOURS)


@_instruction(ADDRESS, FORMAT, ADDRESS)
def row_nbytes(builder, name, columns):
    """Bytes of a row of so many weights."""
    if name in FOURS:
        return builder.mul(builder.sdiv(columns, I64(32)), I64(FOURS[name]))
    return builder.mul(columns, I64(SIZES[name]))


@_instruction(types.void, FORMAT, ADDRESS, ADDRESS, ADDRESS)
def widen_four(builder, name, row, block, y):
    """Write the 32 weights of a row's block as float32."""
    place = builder.add(row, builder.mul(block, I64(FOURS.get(name, 20))))
    for i, weights in enumerate(_fours(builder, name, place)):
        at = builder.add(y, I64(64 * i))
        builder.store(weights, _pointer(builder, at, _vector(F)), align=4)


def _fours(builder, name, place):
    """The two vectors of weights that a block of four bits at an address stands for."""
    half = FOURS.get(name, 20) - 16

    def number(offset):
        at = _pointer(builder, builder.add(place, I64(offset)), H)
        return _fill(builder, builder.fpext(builder.load(at, align=2), F), F)

    scale = number(0)
    offset = number(2) if name == "q4_1" else builder.fmul(scale, _all(F, -8.0))
    at = _pointer(builder, builder.add(place, I64(half)), _vector(I8))
    codes = builder.zext(builder.load(at, align=1), _vector(I32))
    lower = builder.and_(codes, _all(I32, 15))
    upper = builder.lshr(codes, _all(I32, 4))
    wide = [builder.uitofp(part, _vector(F)) for part in (lower, upper)]
    return [_call(builder, "llvm.fma.v16f32", _vector(F), [part, scale, offset]) for part in wide]


@_instruction(FLOATS, FORMAT, ADDRESS)
def load(builder, name, address):
    """Read sixteen weights and widen them. Float8 comes out 256 times too small."""
    element, widen = WIDEN[name]
    stored = builder.load(_pointer(builder, address, _vector(element)), align=SIZES[name])
    return widen(builder, stored, _vector, _all)


@_instruction(types.float32, FORMAT, ADDRESS)
def load1(builder, name, address):
    """Read one weight and widen it. Float8 comes out 256 times too small."""
    element, widen = WIDEN[name]
    stored = builder.load(_pointer(builder, address, element), align=SIZES[name])
    return widen(builder, stored, lambda kind: kind, lambda kind, value: kind(value))


@_instruction(types.void, ADDRESS, FLOATS)
def store(builder, address, floats):
    """Write sixteen float32."""
    builder.store(floats, _pointer(builder, address, _vector(F)), align=4)


@_instruction(types.void, FORMAT, ADDRESS, types.float32)
def store1(builder, name, address, number):
    """Write one number as float32, bfloat16 or float16, rounded to nearest, ties to even."""
    if name == "bf16":
        number = _to_bf16(builder, number)
    elif name == "f16":
        number = builder.fptrunc(number, H)
    builder.store(number, _pointer(builder, address, number.type), align=SIZES[name])


@_instruction(types.int64, ADDRESS)
def atomic_add(builder, address):
    """Add 1 to an int64 that other threads see; returns what it was. Earlier writes are visible."""
    return builder.atomic_rmw("add", _pointer(builder, address, I64), I64(1), "acq_rel")


@_instruction(types.int64, ADDRESS)
def atomic_load(builder, address):
    """Read an int64 that other threads change, and all they wrote before they did."""
    return builder.load_atomic(_pointer(builder, address, I64), "acquire", 8)


@_instruction(types.void, ADDRESS)
def prefetch(builder, address):
    """Ask for the line at an address to be brought as near as the second cache, and go on."""
    _prefetch(builder, address)


def _prefetch(builder, address):
    kind = ir.FunctionType(ir.VoidType(), [ir.PointerType(I8), I32, I32, I32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [_pointer(builder, address, I8), I32(0), I32(2), I32(1)])


@_instruction(FLOATS, FLOATS)
def exp(builder, x):
    """Elementwise e^x, good to about 2 units in the last place; 1e-38 where it would be less.

    x = n ln 2 + r, |r| ≤ ln 2 / 2: e^r from the polynomial of the Cephes library, 2^n from the
    bits of the exponent. Source: Moshier, Cephes, expf.c.
    """

    def fused(a, b, c):
        return _call(builder, "llvm.fma.v16f32", _vector(F), [a, b, c])

    x = _call(builder, "llvm.maxnum.v16f32", _vector(F), [x, _all(F, -87.3)])
    x = _call(builder, "llvm.minnum.v16f32", _vector(F), [x, _all(F, 88.3)])
    scaled = builder.fmul(x, _all(F, 1.4426950408889634))
    n = _call(builder, "llvm.rint.v16f32", _vector(F), [scaled])
    r = fused(n, _all(F, -0.693359375), x)
    r = fused(n, _all(F, 2.12194440e-4), r)
    p = _all(F, 1.9875691500e-4)
    for coefficient in EXP_POLYNOMIAL:
        p = fused(p, r, _all(F, coefficient))
    p = builder.fadd(fused(builder.fmul(r, r), p, r), _all(F, 1.0))
    bits = builder.add(builder.fptosi(n, _vector(I32)), _all(I32, 127))
    power = builder.bitcast(builder.shl(bits, _all(I32, 23)), _vector(F))
    return builder.fmul(p, power)


def _dots(vectors):
    """The instruction `dots_4_by_N` for so many vectors, every sum of it written out."""

    def emit(builder, name, p, stride, scales, scale_stride, x, blocks, y):
        """Four rows of weights, `stride` bytes apart, with rows of x that follow each other.

        Goes over `blocks` of 32 columns, whose weights are widened once for all rows of x. The
        bytes of a row of x come from `blocks` too: it has no other columns. `y` takes four sums
        for each row of x.
        """
        element, widen = WIDEN[name]
        kind, size, rows = _vector(F), SIZES[name], range(4)
        block_nbytes = FOURS.get(name, 32 * size)

        def plus(address, *offsets):
            return _plus(builder, address, *offsets)

        starts = [plus(p, builder.mul(stride, I64(r))) for r in rows]
        x_stride = builder.mul(blocks, I64(128))
        vectors_at = [plus(x, builder.mul(x_stride, I64(c))) for c in range(vectors)]
        none = _all(F, 0.0)
        sums = [[cgutils.alloca_once_value(builder, none) for _ in rows] for _ in vectors_at]
        with cgutils.for_range(builder, blocks) as loop:
            at = builder.mul(loop.index, I64(block_nbytes))
            for start in starts:
                for line in range(0, block_nbytes, 64):
                    _prefetch(builder, plus(start, at, I64(4096 + line)))
            factors = [None] * 4
            if name == "blocks":
                for r in rows:
                    offset = builder.mul(scale_stride, I64(r))
                    place = plus(scales, offset, builder.mul(loop.index, I64(2)))
                    scale = builder.load(_pointer(builder, place, H), align=2)
                    factors[r] = _fill(builder, builder.fpext(scale, F), F)
            fours = [_fours(builder, name, plus(start, at)) for start in starts if name in FOURS]
            for half in (0, 16):
                weights = [pair[half // 16] for pair in fours]
                for start, factor in zip(starts, factors, strict=True):
                    if fours:
                        break
                    place = _pointer(builder, plus(start, at, I64(half * size)), _vector(element))
                    weight = widen(builder, builder.load(place, align=size), _vector, _all)
                    weights.append(weight if factor is None else builder.fmul(weight, factor))
                for vector, totals in zip(vectors_at, sums, strict=True):
                    place = plus(vector, builder.mul(loop.index, I64(128)), I64(4 * half))
                    numbers = builder.load(_pointer(builder, place, kind), align=4)
                    for weight, total in zip(weights, totals, strict=True):
                        terms = [numbers, weight, builder.load(total)]
                        builder.store(_call(builder, "llvm.fma.v16f32", kind, terms), total)
        for c, totals in enumerate(sums):
            _store_sums(builder, plus(y, I64(16 * c)), *map(builder.load, totals))

    emit.__name__ = f"dots_4_by_{vectors}"
    return _instruction(types.void, FORMAT, *[ADDRESS] * 7)(emit)


@_instruction(types.void, ADDRESS, ADDRESS, ADDRESS)
def round_blocks(builder, x, blocks, y):
    """A vector as whole numbers of 16 bits, with a scale for each of its `blocks` of 32.

    The largest of a block becomes ±32767, so that nothing is wrong by more than its 65,534th part.
    To `y` go the codes, of each block first those of even columns, then those of odd ones; after
    all codes a float32 for each block, its scale; and another, the scale times the sum of the
    block's codes. A block with a NaN or an infinity gets a scale of NaN; one of numbers below
    1e-30 becomes zeros.
    """
    codes, kind = ir.VectorType(I16, LANES), _vector(F)
    scales = builder.add(y, builder.mul(blocks, I64(64)))
    totals = builder.add(scales, builder.mul(blocks, I64(4)))
    with cgutils.for_range(builder, blocks) as loop:
        at = builder.add(x, builder.mul(loop.index, I64(128)))
        places = [_pointer(builder, builder.add(at, I64(i)), kind) for i in (0, 64)]
        halves = [builder.load(place, align=4) for place in places]
        sizes = [_call(builder, "llvm.fabs.v16f32", kind, [half]) for half in halves]
        sizes = _call(builder, "llvm.maxnum.v16f32", kind, sizes)
        largest = _call(builder, "llvm.vector.reduce.fmax.v16f32", F, [sizes])
        nothing = builder.fcmp_ordered("<", largest, F(1e-30))  # whose inverse would be infinite
        inverse = builder.select(nothing, F(0.0), builder.fdiv(F(32767.0), largest))
        factor = _fill(builder, inverse, F)
        rounded = [
            _call(builder, "llvm.rint.v16f32", kind, [builder.fmul(half, factor)])
            for half in halves
        ]
        for odd in (0, 1):
            lanes = ir.Constant(ir.VectorType(I32, LANES), list(range(odd, 2 * LANES, 2)))
            every_other = builder.shuffle_vector(*rounded, lanes)
            whole = builder.trunc(builder.fptosi(every_other, _vector(I32)), codes)
            place = builder.add(y, builder.add(builder.mul(loop.index, I64(64)), I64(32 * odd)))
            builder.store(whole, _pointer(builder, place, codes), align=4)
        # At most 32 · 32767: a float32 holds every such whole number, whatever the order.
        total = _sum(builder, builder.fadd(*rounded))
        # The maximum passes over a NaN; the sum does not.
        scale = builder.fadd(builder.fdiv(largest, F(32767.0)), builder.fsub(total, total))
        for place, number in ((scales, scale), (totals, builder.fmul(scale, total))):
            place = builder.add(place, builder.mul(loop.index, I64(4)))
            builder.store(number, _pointer(builder, place, F), align=4)


EIGHT, FOUR = ir.VectorType(F, 8), ir.VectorType(F, 4)
CODES, PRODUCTS = ir.VectorType(I16, LANES), ir.VectorType(I32, 8)


def _integer_dots(vectors):
    """The instruction `integer_dots_4_by_N` for so many vectors, every sum of it written out."""

    def emit(builder, name, p, stride, scales, scale_stride, x, blocks, y):
        """Four rows of weights in blocks, with vectors that `round_blocks` made, one by one.

        The products of a block are added as whole numbers, exactly, and become float32 once. That
        needs codes without a sign: those of eight bits are taken as 128 more than they are, those
        of "q4_0" as 8 more, and what this adds is an offset of the block, as "q4_1" has it anyway.
        Only where `in_integers`; what the arguments are: see `dots_4_by_N`. Behind the sums, 128
        bytes after `y`, is room for 16 bytes for each block of each vector.
        """
        if not _goes_in_integers(name):
            return  # never run: kernels are compiled with all their branches
        rows, nbytes = range(4), FOURS.get(name, 32)
        starts = [_plus(builder, p, builder.mul(stride, I64(r))) for r in rows]
        scales_at, scale_step = starts, nbytes
        if name == "blocks":
            scales_at = [_plus(builder, scales, builder.mul(scale_stride, I64(r))) for r in rows]
            scale_step = 2
        vectors_at = [_plus(builder, x, builder.mul(blocks, I64(72 * c))) for c in range(vectors)]
        factors_at = [
            _plus(builder, y, I64(128), builder.mul(blocks, I64(16 * c))) for c in range(vectors)
        ]
        offsets = [cgutils.alloca_once_value(builder, _same(FOUR, 0.0)) for _ in vectors_at]
        sums = [
            [cgutils.alloca_once_value(builder, _same(EIGHT, 0.0)) for _ in rows]
            for _ in vectors_at
        ]
        with cgutils.for_range(builder, blocks) as loop:
            at = builder.mul(loop.index, I64(scale_step))
            places = [_plus(builder, start, at) for start in scales_at]
            scale, offset = _scales_of_four(builder, name, places)
            for vector, factors, total in zip(vectors_at, factors_at, offsets, strict=True):
                own = _plus(builder, vector, builder.mul(blocks, I64(64)))
                own = _plus(builder, own, builder.mul(loop.index, I64(4)))
                factor = builder.fmul(scale, _splat_at(builder, FOUR, own))
                place = _plus(builder, factors, builder.mul(loop.index, I64(16)))
                builder.store(factor, _pointer(builder, place, FOUR), align=4)
                of_block = _splat_at(builder, FOUR, own, builder.mul(blocks, I64(4)))
                _add_product(builder, offset, of_block, total)
        with cgutils.for_range(builder, blocks) as loop:
            at = builder.mul(loop.index, I64(nbytes))
            for line in (0, 64):  # the four rows follow each other
                _prefetch(builder, _plus(builder, p, builder.mul(at, I64(4)), I64(4096 + line)))
            for r, start in enumerate(starts):
                halves = _unsigned_codes(builder, name, _plus(builder, start, at))
                for vector, factors, totals in zip(vectors_at, factors_at, sums, strict=True):
                    place = _plus(builder, vector, builder.mul(loop.index, I64(64)))
                    whole = builder.sitofp(_multiplied(builder, halves, place), EIGHT)
                    place = builder.mul(loop.index, I64(16))
                    factor = _splat_at(builder, EIGHT, factors, place, I64(4 * r))
                    _add_product(builder, whole, factor, totals[r])
        for c, (totals, total) in enumerate(zip(sums, offsets, strict=True)):
            place = _plus(builder, y, I64(16 * c))
            _store_sums(builder, place, *map(builder.load, totals))
            _add_to(builder, builder.load(total), place)

    emit.__name__ = f"integer_dots_4_by_{vectors}"
    return _instruction(types.void, FORMAT, *[ADDRESS] * 7)(emit)


def _plus(builder, address, *offsets):
    for offset in offsets:
        address = builder.add(address, offset)
    return address


def _same(kind, value):
    return ir.Constant(kind, [value] * kind.count)


def _splat_at(builder, kind, *place):
    number = builder.load(_pointer(builder, _plus(builder, *place), F), align=4)
    return _fill_lanes(builder, number, kind)


def _add_product(builder, a, b, total):
    """Memory at `total` grows by a · b, with a single rounding."""
    terms = [a, b, builder.load(total)]
    sums = _call(builder, f"llvm.fma.v{a.type.count}f32", a.type, terms)
    builder.store(sums, total)


def _add_to(builder, more, address):
    place = _pointer(builder, address, more.type)
    builder.store(builder.fadd(builder.load(place, align=4), more), place, align=4)


def _scales_of_four(builder, name, places):
    """The scales of four blocks, and what their codes without a sign add, in scales."""

    def gathered(element):
        vector = ir.Constant(ir.VectorType(element, 4), ir.Undefined)
        for r, place in enumerate(places):
            number = builder.load(_pointer(builder, place, element), align=2)
            vector = builder.insert_element(vector, number, I32(r))
        return vector

    if name == "q4_1":  # scale and offset lie side by side
        pairs = builder.bitcast(gathered(I32), ir.VectorType(H, 8))
        pairs = builder.fpext(pairs, EIGHT)
        picks = [ir.Constant(ir.VectorType(I32, 4), [i, i + 2, i + 4, i + 6]) for i in (0, 1)]
        return [builder.shuffle_vector(pairs, pairs, pick) for pick in picks]
    scale = builder.fpext(gathered(H), FOUR)
    return scale, builder.fmul(scale, _same(FOUR, -128.0 if name == "blocks" else -8.0))


def _unsigned_codes(builder, name, block):
    """The codes of a block in its even columns and in its odd ones, as 16-bit numbers."""
    if name == "blocks":
        stored = builder.load(_pointer(builder, block, CODES), align=1)
        stored = builder.xor(stored, _same(CODES, 0x8080))  # 128 more than it is
        mask = 0x00FF
    else:
        half = ir.VectorType(I32, 4)
        place = _plus(builder, block, I64(FOURS[name] - 16))
        stored = builder.load(_pointer(builder, place, half), align=1)
        # Twice the same 16 bytes; the lower half of each byte from the one, the upper from the
        # other.
        twice = ir.Constant(ir.VectorType(I32, 8), [0, 1, 2, 3] * 2)
        stored = builder.shuffle_vector(stored, stored, twice)
        stored = builder.lshr(stored, ir.Constant(PRODUCTS, [0] * 4 + [4] * 4))
        stored, mask = builder.bitcast(stored, CODES), 0x000F
    even = builder.and_(stored, _same(CODES, mask))
    odd = builder.lshr(stored, _same(CODES, 8))
    return even, odd if name == "blocks" else builder.and_(odd, _same(CODES, mask))


def _multiplied(builder, halves, rounded):
    """Sums of four products each, of a block's weights with the rounded vector at an address."""
    pairs = []
    for i, half in zip((0, 32), halves, strict=True):
        codes = builder.load(_pointer(builder, _plus(builder, rounded, I64(i)), CODES), align=4)
        # Of neighbours: a0·b0 + a1·b1, and so on.
        pairs.append(_call(builder, "llvm.x86.avx2.pmadd.wd", PRODUCTS, [half, codes]))
    return builder.add(*pairs)


def _goes_in_integers(name):
    return multiplies_integers() and (name == "blocks" or name in FOURS)


dots_4_by_6, dots_4_by_4, dots_4_by_2, dots_4_by_1 = (_dots(n) for n in (6, 4, 2, 1))
integer_dots_4_by_2, integer_dots_4_by_1 = _integer_dots(2), _integer_dots(1)


EXP_POLYNOMIAL = (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5)
SIZES = {known.name: known.itemsize for known in (F32, BF16, F16, F8, ROWS, BLOCKS, Q4_0, Q4_1)}
FOURS = {"q4_0": 18, "q4_1": 20}  # bytes of a block


def _widen_bf16(builder, x, kind, all_):
    # A bfloat16 is the upper half of a float32.
    shifted = builder.shl(builder.zext(x, kind(I32)), all_(I32, 16))
    return builder.bitcast(shifted, kind(F))


def _widen_f8(builder, x, kind, all_):
    # seeeemmm, moved apart to s0eeeemmm0000000: a float16 with the exponent's bias 8 too large.
    wide = builder.zext(x, kind(I16))
    sign = builder.shl(builder.and_(wide, all_(I16, 0x80)), all_(I16, 8))
    rest = builder.shl(builder.and_(wide, all_(I16, 0x7F)), all_(I16, 7))
    return builder.fpext(builder.bitcast(builder.or_(sign, rest), kind(H)), kind(F))


def _widen_int8(builder, x, kind, all_):
    return builder.sitofp(builder.sext(x, kind(I32)), kind(F))


WIDEN = {
    "f32": (F, lambda builder, x, kind, all_: x),
    "bf16": (I16, _widen_bf16),
    "f16": (H, lambda builder, x, kind, all_: builder.fpext(x, kind(F))),
    "f8": (I8, _widen_f8),
    "rows": (I8, _widen_int8),
    "blocks": (I8, _widen_int8),
    # Never run: kernels are compiled with all their branches, also those for other formats.
    "q4_0": (I8, _widen_int8),
    "q4_1": (I8, _widen_int8),
}


def _to_bf16(builder, number):
    bits = builder.bitcast(number, I32)
    odd = builder.and_(builder.lshr(bits, I32(16)), I32(1))
    up = builder.add(builder.add(bits, I32(0x7FFF)), odd)
    nan = builder.fcmp_unordered("uno", number, number)
    return builder.trunc(builder.lshr(builder.select(nan, I32(0x7FC00000), up), I32(16)), I16)
