"""The listings in Rust that end the chapters compile, and compute what the engine does.

`bridges/` holds what is around each listing: a line such as `// chapter rope` stands for it, and a
small program feeds it numbers. Model, generation, chat and serving make one engine together. What a
reader collects from them is also put to `verify`, as the reader would, truncation included.
"""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from compilers import WHERE, working
from helpers import assert_close, random, tiny_config, tiny_tensors

from llama_edu import Llama, Sampling, Tokenizer
from llama_edu.chapters import CHAPTER_FILES
from llama_edu.engine.generate import generate
from llama_edu.engine.guess import Guess, acceptance, residual
from llama_edu.engine.prefix_cache import common_length
from llama_edu.engine.sampling import probabilities
from llama_edu.formats.four_bits import dequantize_four, quantize_four
from llama_edu.hub import locate
from llama_edu.ops import attention
from llama_edu.ops.linear import matmul_transb
from llama_edu.ops.mlp import swiglu
from llama_edu.ops.norm import rms_norm
from llama_edu.ops.rope import apply_rope, inverse_frequencies, rope_cos_sin
from llama_edu.verify.run import Options, verify_program

BOOK = Path(__file__).resolve().parents[2] / "book"
AROUND = Path(__file__).parent / "bridges"
WHOLE = BOOK.parent / "engines" / "rust" / "llama.rs"
# Sums are taken in another order than by BLAS, and exp and sin are another library's.
TOLERANCE = 1e-5
# Every axis has a size of its own.
N_KV_HEADS, N_GROUPS, SEQ, PAST, HEAD_DIM = 2, 3, 4, 5, 6
TOTAL_SEQ = PAST + SEQ

Run = Callable[..., Iterator[list[str]]]


rust = pytest.mark.skipif(working("rustc") is None, reason="needs rustc")


def listing(chapter: str) -> str:
    """What a chapter shows in Rust, one listing after another."""
    path = BOOK / f"{CHAPTER_FILES[chapter]}.ipynb"
    cells = json.loads(path.read_text("utf-8"))["cells"]
    text = "\n\n".join("".join(cell["source"]) for cell in cells)
    found = re.findall(r"^```rust\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found, chapter
    return "\n".join(found)


def with_listings(text: str) -> str:
    """A text with the chapters' listings in their places."""
    return re.sub(
        r"^ *// chapter (\w+)$", lambda found: listing(found[1]), text, flags=re.MULTILINE
    )


@cache
def compiled(name: str, directory: Path) -> Path:
    """The program that `bridges/name` makes around its listings."""
    source = with_listings((AROUND / name).read_text("utf-8"))
    source += (AROUND / "prelude.rs").read_text("utf-8")
    # Overflow is an error, also where the optimizer runs.
    command = ["rustc", "--edition=2021", "-Copt-level=1", "-Cdebug-assertions", "-Awarnings"]
    return built(command, source, directory / name)


def built(command: Sequence[str], source: str, path: Path) -> Path:
    """The program that a compiler makes of a source."""
    path.write_text(source, "utf-8")
    program = path.with_name(path.name.replace(".", "_"))
    done = subprocess.run(
        [*command, "-o", program, path],
        env=os.environ | {"PATH": WHERE},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return program


@pytest.fixture
def run(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Feed `lines` of numbers to a program; what it printed, a list of words a line."""

    def run_it(name: str, *lines: Any) -> Iterator[list[str]]:
        program = compiled(name, tmp_path_factory.getbasetemp())
        text = "".join(" ".join(map(str, np.ravel(line).tolist())) + "\n" for line in lines)
        done = subprocess.run(
            [program], cwd=tmp_path, input=text, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return iter([line.split() for line in done.stdout.splitlines()])

    return run_it


def numbers(words: Sequence[str]) -> np.ndarray:
    return np.array(words, dtype=np.float32)


def same(words: Sequence[str], want: np.ndarray) -> None:
    assert_close(numbers(words), want.ravel(), TOLERANCE)


def test_no_listing_is_left_out_and_each_fits_its_box() -> None:
    chapters = sorted(CHAPTER_FILES)
    around = "".join(path.read_text("utf-8") for path in AROUND.iterdir())
    assert sorted(set(re.findall(r"^ *// chapter (\w+)$", around, re.MULTILINE))) == chapters
    wide = [line for chapter in chapters for line in listing(chapter).split("\n") if line[76:]]
    assert not wide


@rust
@pytest.mark.parametrize("start", [5, 8], ids=["anywhere", "aligned"])
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_bytes_reads_tensors(tmp_path: Path, run: Run, dtype: Any, start: int) -> None:
    want = random(np.random.default_rng(1), 7).astype(dtype)
    want[:3] = [0, np.inf, -(2.0**-130)]
    code = bytes([0 if dtype is np.float32 else 2, start]).ljust(start, b"\xff")
    (tmp_path / "model.safetensors").write_bytes(code + want.tobytes())
    (got,) = run("bytes.rs")
    assert np.array_equal(numbers(got), want.astype(np.float32))


@rust
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (0.5, -2.0)])
def test_linear_multiplies(run: Run, alpha: float, beta: float) -> None:
    rng = np.random.default_rng(2)
    a, b, c = random(rng, 3, 5), random(rng, 4, 5), random(rng, 3, 4)
    want = matmul_transb(a, b, c, alpha=alpha, beta=beta)
    if beta == 0:
        c[:] = np.nan  # is not to be read
    (got,) = run("linear.rs", [3, 4, 5], [alpha, beta], a, b, c)
    same(got, want)


@rust
def test_tokenizer_joins_pairs_and_streams(run: Run) -> None:
    tokenizer = Tokenizer.from_pretrained("story")
    document = json.loads((Path(locate("story")) / "tokenizer.json").read_text("utf-8"))
    byte_of = tokenizer._byte_of
    merges = [
        bytes(byte_of[letter] for letter in piece)
        for pair in document["model"]["merges"]
        for piece in (pair if isinstance(pair, list) else pair.split(" "))
    ]
    words = ["morning", "unbelievable", "aaaaaaa", "x", "Ünïcode"]
    # A whole character, one in three parts, a broken one, a lone byte, and half of one.
    stream = [b"a\xc3\xbc", b"\xf0\x9f", b"\x99", b"\x82", b"\xe2\x82a", b"\xff", b"b\xc3"]

    lines = [list(part) for part in [*merges, *(word.encode() for word in words), *stream]]
    got = run("tokenizer.rs", [len(merges) // 2, len(words), len(stream)], *lines)
    for word in words:
        ids = [i for i in tokenizer.encode(word) if i != tokenizer.bos_token_id]
        sizes = [len(tokenizer.token_bytes(i)) for i in ids]
        assert [int(size) for size in next(got)] == sizes, word
    texts = [bytes(map(int, text)).decode() for text in got]
    assert texts == ["aü", "", "", "\U0001f642", "�a", "�", "b"]


@rust
def test_norm_mlp_norms_and_gates(run: Run) -> None:
    rng = np.random.default_rng(4)
    seq, hidden, inter, eps = 3, 5, 7, 0.01
    x, weight = random(rng, seq, hidden), random(rng, hidden)
    gate, up, down = (
        random(rng, inter, hidden),
        random(rng, inter, hidden),
        random(rng, hidden, inter),
    )
    x[1] = 0
    got = run("norm_mlp.rs", [seq, hidden, inter], [eps], x, weight, gate, up, down)
    normed = rms_norm(x, weight, eps)
    same(next(got), normed)
    gated = swiglu(normed @ gate.T, normed @ up.T)
    same(next(got), gated)
    same(next(got), x + gated @ down.T)
    same(next(got), np.array([0, 2000], dtype=np.float32))  # no NaN far from 0


@rust
def test_rope_rotates(run: Run) -> None:
    inv_freq = inverse_frequencies(tiny_config(head_dim=HEAD_DIM))
    x = random(np.random.default_rng(5), SEQ, N_KV_HEADS * HEAD_DIM)
    (got,) = run("rope.rs", [PAST, N_KV_HEADS, HEAD_DIM], inv_freq, x)
    heads = attention.split_kv_heads(x, N_KV_HEADS, HEAD_DIM)
    want = apply_rope(heads, *rope_cos_sin(inv_freq, PAST, SEQ))
    same(got, want.transpose(1, 0, 2))


@rust
def test_scores_scores(run: Run) -> None:
    rng = np.random.default_rng(6)
    q = random(rng, SEQ, N_KV_HEADS * N_GROUPS * HEAD_DIM)
    k = random(rng, TOTAL_SEQ, N_KV_HEADS * HEAD_DIM)
    (got,) = run("scores.rs", [N_KV_HEADS, N_GROUPS, SEQ, TOTAL_SEQ, HEAD_DIM], q, k)
    want = attention.qk_scores(
        attention.split_query_heads(q, N_KV_HEADS, HEAD_DIM),
        attention.split_kv_heads(k, N_KV_HEADS, HEAD_DIM),
    )
    same(got, want)


@rust
@pytest.mark.parametrize("past", [PAST, 0])
def test_mask_softmax_masks_and_shares(run: Run, past: int) -> None:
    scores = random(np.random.default_rng(7), N_KV_HEADS, N_GROUPS, SEQ, past + SEQ) * 50
    masked = attention.apply_mask(scores, attention.causal_mask(SEQ, past))
    want = attention.softmax(masked)
    scores[..., 0, -1] = np.inf  # the future may hold anything
    (got,) = run("mask_softmax.rs", [SEQ, past + SEQ], scores)
    same(got, want)


@rust
def test_score_v_mixes(run: Run) -> None:
    rng = np.random.default_rng(8)
    weights = attention.softmax(random(rng, N_KV_HEADS, N_GROUPS, SEQ, TOTAL_SEQ))
    v = random(rng, TOTAL_SEQ + 2, N_KV_HEADS * HEAD_DIM)  # more rows than count
    sizes = [N_KV_HEADS, N_GROUPS, SEQ, TOTAL_SEQ, HEAD_DIM]
    (got,) = run("score_v.rs", sizes, weights, v)
    values = attention.split_kv_heads(v[:TOTAL_SEQ], N_KV_HEADS, HEAD_DIM)
    same(got, attention.merge_heads(attention.score_v(weights, values)))


@rust
@pytest.mark.parametrize(
    ("sampling", "tail"),
    [
        (Sampling(0.7, top_k=4, top_p=0.8), 0.0),
        (Sampling(1.3), -np.inf),
        (Sampling(0.0), 0.0),
        (Sampling(1e-30, top_p=0.5), 0.0),
        (Sampling(1.5, top_p=0.99, min_p=0.3), 0.0),
    ],
)
def test_sampling_draws(run: Run, sampling: Sampling, tail: float) -> None:
    logits = np.array([0.5, 2.0, -1.0, 2.0, 1.5, tail, 0.1], dtype=np.float32)
    settings = [sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p]
    draws = 10_000
    (got,) = run("sampling.rs", logits, settings, [draws])
    drawn = np.array(got, dtype=np.int64)
    want = probabilities(logits, sampling)
    shares = np.bincount(drawn, minlength=len(logits)) / draws
    assert np.max(np.abs(shares - want)) < 2 / draws + 1e-5
    assert np.array_equal(shares > 0, want > 0)
    # The same number draws the same token, unless it lies on a border.
    u, ends = (np.arange(draws) + 0.5) / draws, np.cumsum(want)
    near = np.abs(u[:, None] - ends).min(axis=1) < 1e-5
    assert np.array_equal(drawn[~near], np.searchsorted(ends, u, side="right")[~near])


@rust
def test_precision_narrows(run: Run) -> None:
    rng = np.random.default_rng(12)
    x, w = random(rng, 19), random(rng, 19)
    # Zeros, infinities, the largest, halfway cases, and NaN of several kinds.
    edges = [0, 0x80000000, 0x7F800000, 0xFF800000, 0x7F7FFFFF, 0x3F808000, 0x3F818000, 1]
    nans = [0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FC00000]
    bits = np.array([*edges, *nans, *w.view(np.uint32)], dtype=np.uint32)
    narrowed, dots = run("precision.rs", bits, x, w)
    got = np.array(narrowed, dtype=np.uint16).view(ml_dtypes.bfloat16).astype(np.float32)
    with np.errstate(invalid="ignore"):  # NaN that signals
        want = bits.view(np.float32).astype(ml_dtypes.bfloat16).astype(np.float32)
    assert np.array_equal(got, want, equal_nan=True)
    wide = w.astype(ml_dtypes.bfloat16).astype(np.float32)
    same(dots, np.array([x @ w, x @ wide], dtype=np.float32))


@rust
@pytest.mark.parametrize(
    ("rows", "cols", "threads"), [(7, 37, 3), (5, 32, 8), (3, 5, 1), (0, 5, 2)]
)
def test_cost_multiplies_in_threads(run: Run, rows: int, cols: int, threads: int) -> None:
    rng = np.random.default_rng(15)
    x, w = random(rng, cols), random(rng, rows, cols).astype(ml_dtypes.bfloat16)
    (got,) = run("cost.rs", [rows, threads], x, w.view(np.uint16))
    assert len(got) == rows
    if rows:
        same(got, w.astype(np.float32) @ x)


@rust
@pytest.mark.parametrize(
    ("threads", "given", "why"),
    [(2, 4 * 5 - 1, "W is not"), (2, 3 * 5, "W is not"), (0, 20, "no t")],
)
def test_cost_refuses_what_would_leave_old_numbers(
    run: Run, threads: int, given: int, why: str
) -> None:
    with pytest.raises(AssertionError, match=why):
        run("cost.rs", [4, threads], [1.0] * 5, [0] * given)


@rust
def test_faster_reads_four_bits(run: Run) -> None:
    rng = np.random.default_rng(16)
    x, w = random(rng, 96), quantize_four(random(rng, 5, 96))
    (got,) = run("faster.rs", w.blocks.reshape(-1), x)
    same(got, dequantize_four(w) @ x)


@rust
@pytest.mark.parametrize("sure", [False, True], ids=["drawn", "looked up"])
def test_faster_keeps_a_guess_or_replaces_it(run: Run, sure: bool) -> None:
    p = np.float32([0.5, 0.3, 0.2, 0, 0])
    q = np.float32([0, 1, 0, 0, 0] if sure else [0.1, 0.2, 0.3, 0.4, 0])
    grid = 200
    got = [numbers(line) for line in run("guess.rs", p, [] if sure else q, [grid])]
    assert len(got) == len(p)
    for token in np.flatnonzero(q):
        guess = Guess(int(token), q)
        kept = acceptance(p, guess)
        want = (1 - kept) * residual(p, guess)
        want[token] += kept
        np.testing.assert_allclose(got[token], want, atol=1.5 / grid)
    np.testing.assert_allclose(q @ np.array(got), p, atol=1.5 / grid)


@rust
@pytest.mark.parametrize("sure", [False, True], ids=["drawn", "looked up"])
def test_faster_draws_up_to_the_first_refusal(run: Run, sure: bool) -> None:
    p = np.float32([[0.5, 0.3, 0.2, 0], [0.1, 0.2, 0.3, 0.4], [0.2, 0, 0.2, 0.6]])
    q = np.float32([0, 0, 1, 0] if sure else [0.1, 0.2, 0.3, 0.4])
    grid, first, second = 60, 2, 3
    got = run("drawn.rs", *p, [grid], [] if sure else q, [first, second])
    ends = {tuple(map(float, line[1:])): float(line[0]) for line in got}
    kept = acceptance(p[0], Guess(first, q))
    rest = (1 - kept) * residual(p[0], Guess(first, q))
    want = {(float(i),): float(rest[i]) for i in np.flatnonzero(rest)}
    for i in range(4):
        if i != second:
            want[first, i] = kept * p[1][i]
    for i in np.flatnonzero(p[2]):
        want[first, second, i] = kept * p[1][second] * p[2][i]
    assert ends.keys() == {tuple(map(float, end)) for end in want}
    for end, share in want.items():
        assert ends[tuple(map(float, end))] == pytest.approx(share, abs=2 / grid), end


FORK, CUT, FEED, STEP = range(4)


@rust
def test_faster_shares_rows_and_cuts_back_to_what_was_right(run: Run) -> None:
    # What comes after a token is the sum of all up to it, modulo 10. A step has the end token, too.
    does = [
        ([FEED, 0], [1, 2, 3]),  # 1, 3, 6
        ([FORK, 0], []),
        ([STEP, 0, 5], [6, 2, 4, 1, 3]),  # 2, 4, 8: the third guess is wrong
        ([STEP, 1, 5], [6, 2, 4, 8]),  # all right, and 6 behind them
        ([FORK, 1], []),
        ([CUT, 2], [5]),  # within the second run, then within the first
        ([CUT, 1], [2]),
        ([STEP, 1, 5], [8]),  # nothing is guessed
        ([STEP, 2, 8], [5, 9, 8, 6]),  # all right, and the 8 ends the text
    ]
    got = run("shared.rs", [len(does)], *(line for do in does for line in do))

    def line() -> list[int]:
        return [int(word) for word in next(got)]

    first = [1, 2, 3]
    assert line() == first
    assert [line(), line()] == [first, first]
    assert line() == [2, 4, 8]
    zero = [*first, 6, 2, 4]
    assert [line(), line()] == [zero, first]
    assert line() == [2, 4, 8, 6]
    one = [*first, 6, 2, 4, 8]
    assert [line(), line()] == [zero, one]
    assert [line(), line(), line()] == [zero, one, one]
    assert [line(), line(), line()] == [zero, one, one[:5]]
    assert [line(), line(), line()] == [zero, one[:2], one[:5]]
    assert line() == [1]
    assert [line(), line(), line()] == [zero, [1, 2, 8], one[:5]]
    assert line() == [9, 8]
    assert [line(), line(), line()] == [zero, [1, 2, 8], [*one[:5], 5, 9]]
    # All hold the first run. The second is held by the last alone, though two looked at it.
    assert [line(), line(), line()] == [[3], [3], [3, 1]]
    assert not list(got)


@rust
@pytest.mark.parametrize(("size", "numbers_each"), [(1, 3), (2, 7), (3, 2), (4, 10)])
def test_parallel_sums_round_a_ring(run: Run, size: int, numbers_each: int) -> None:
    parts = random(np.random.default_rng(17), size, numbers_each)
    *totals, alone = run("parallel.rs", [size], *parts)
    for total in totals:
        same(total, parts.sum(axis=0))
        assert total == totals[0], "every rank ends with the same bits"
    assert numbers(alone).tolist() == [1.0, 1.0]


@rust
def test_model_generation_chat_and_serving_make_an_engine(run: Run) -> None:
    config = tiny_config(tie_word_embeddings=True)
    tensors = tiny_tensors(config)
    model = Llama(config, tensors)
    text = [3, 14, 15, 9, 26, 5, 30]
    greedy = list(generate(model, text, max_new_tokens=9))
    eos = greedy[3]
    until = greedy[: greedy.index(eos) + 1]

    def expected(prompt: list[int], count: int) -> list[int]:
        return list(generate(model, prompt, max_new_tokens=count, stop_ids=[eos]))

    # A turn, one that goes on from its reply, the same again, an edit, and a reply that ends.
    second = [*text, *expected(text, 3), 1, 2]
    turns = [(text, 3), (second, 4), (second, 2), ([3, 14, 7], 2), (text, 9)]
    long = [i % config.vocab_size for i in range(40)]
    together = [(long, 5), (text, 9), (long[::-1], 7)]
    sizes = [
        config.vocab_size,
        config.hidden_size,
        config.intermediate_size,
        config.num_hidden_layers,
        config.num_attention_heads,
        config.num_key_value_heads,
        config.head_dim,
        config.max_position_embeddings,
        eos,
    ]
    weights = [tensors["model.embed_tokens.weight"]]
    for i in range(config.num_hidden_layers):
        names = ["input_layernorm", *(f"self_attn.{name}_proj" for name in "qkvo")]
        names += ["post_attention_layernorm", *(f"mlp.{name}_proj" for name in ("gate", "up"))]
        weights += [tensors[f"model.layers.{i}.{name}.weight"] for name in names]
        weights.append(tensors[f"model.layers.{i}.mlp.down_proj.weight"])
    got = run(
        "engine.rs",
        sizes,
        [config.rms_norm_eps],
        model.inv_freq,
        *weights,
        tensors["model.norm.weight"],
        *(text[:4], text[4:], [5], [8, 2]),
        *(text, [2], text, [9], text, [0]),
        *(part for prompt, count in [*turns, *together] for part in (prompt, [count])),
    )

    def ids() -> list[int]:
        return [int(word) for word in next(got)]

    same(next(got), model.forward(text[:4])[-1])
    same(next(got), model.forward(text)[-1])
    same(next(got), model.forward([*text[:5], 8, 2])[-1])
    assert [ids(), ids(), ids()] == [until[:2], until, []]
    cached: list[int] = []
    for prompt, count in turns:
        reused = min(common_length(cached, prompt), len(prompt) - 1)
        assert ids() == [reused, len(prompt) - reused, len(cached) - reused]
        reply = ids()
        assert reply == expected(prompt, count)
        cached = [*prompt, *reply[:-1]]  # the last one was chosen and never fed
    assert ids() == [200, 429]  # the queue has room for one more, and then none
    for prompt, count in together:
        assert ids() == expected(prompt, count)
    assert not list(got)


# A reader's compiler says nothing; an engine asked to be quick is, and so is its examination.
AS_A_READER = ["rustc", "--edition=2021", "-Copt-level=1", "-Cdebug-assertions", "-Awarnings"]
# The chapters whose listings are functions of `engines/rust/llama.rs`, by name and arguments.
FUNCTIONS = ("tokenizer", "linear", "scores", "mask_softmax", "score_v", "rope")
# What of that file is exchanged for the model and the cache of the listings.
EXCHANGED = {
    "    cache: KvCache,\n    tok": "    l: super::Llama, cache: super::KvCache,\n    tok",
    "let cache = KvCache::new(&model.config);": (
        "let l = collected(&model); let cache = l.new_cache();"
    ),
    "Ok(Engine { file, cache,": "Ok(Engine { file, l, cache,",
    "let ids: Vec<usize> = ids.iter().map(|id| *id as usize).collect();": "",
    "|id| *id >= config.vocab": "|id| *id as usize >= config.vocab",
    "self.model.forward(&ids, &mut self.cache)": "self.l.forward(ids, &mut self.cache)",
    "\nfn main()": "\npub fn main()",
}


def found_right(program: Path, stages: tuple[str, ...]) -> int:
    """How many cases of `story` a program is right in, and that it is right in all."""
    report = verify_program([str(program)], Options(("story",), stages, tiny=False))
    assert report.ok, "\n".join(report.text())
    return report.counts["right"]


@rust
def test_listings_are_the_functions_of_the_whole_engine(tmp_path: Path) -> None:
    source = WHOLE.read_text("utf-8")
    for chapter in FUNCTIONS:
        text = listing(chapter)
        for kind, name in re.findall(r"^(fn|type) (\w+)", text, re.MULTILINE):
            end = r".*?^}\n" if kind == "fn" else r".*?;\n"
            pattern = re.compile(rf"^{kind} {name}\b{end}", re.MULTILINE | re.DOTALL)
            source, count = pattern.subn("", source)
            assert count == 1, f"expected {kind} {name} once in {WHOLE.name}, got {count}"
        source += "\n" + text
    program = built(AS_A_READER, source, tmp_path / "functions.rs")
    assert found_right(program, ("tokens", "forward", "cache")) > 100


@rust
def test_the_collected_engine_is_right_also_after_truncation(tmp_path: Path) -> None:
    whole = re.sub(r"^//!.*\n", "", WHOLE.read_text("utf-8"), flags=re.MULTILINE)
    for find, new in EXCHANGED.items():
        assert whole.count(find) == 1, find
        whole = whole.replace(find, new)
    listings = (AROUND / "engine.rs").read_text("utf-8").partition("\nfn read_model")[0]
    around = (AROUND / "collected.rs").read_text("utf-8")
    source = f"{with_listings(listings)}\nmod whole {{\n{whole}\n{around}\n}}\n"
    program = built(AS_A_READER, source + "fn main() { whole::main() }\n", tmp_path / "all.rs")
    assert found_right(program, ("forward", "cache")) >= 20
