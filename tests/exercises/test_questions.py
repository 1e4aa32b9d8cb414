"""Questions for understanding: each says something to every answer, and what it says is so."""

import dataclasses
import json
import math
import re
import struct
import sys
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from llama_edu import ChatSession, Llama, Tokenizer, Trace, generate
from llama_edu.analysis.roofline import Cost, seconds_at_least
from llama_edu.chapters import CHAPTER_FILES
from llama_edu.engine.cache import KVCache
from llama_edu.engine.sampling import Sampling, probabilities
from llama_edu.exercises import check, question
from llama_edu.exercises.faster import VERIFIED
from llama_edu.exercises.framework.question import Amount, Choice, Order
from llama_edu.exercises.questions import CHAPTERS, QUESTIONS
from llama_edu.formats.config import LlamaConfig
from llama_edu.formats.four_bits import quantize_four
from llama_edu.formats.quantize import quantize
from llama_edu.formats.safetensors import SafetensorsFile
from llama_edu.formats.tensor_shapes import expected_shapes
from llama_edu.ops import attention
from llama_edu.ops.mlp import swiglu
from llama_edu.ops.norm import rms_norm
from llama_edu.ops.rope import inverse_frequencies, rope_cos_sin
from llama_edu.parallel.cost import Link, tensor_seconds

ASKED = list(QUESTIONS.values())
each = pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked.name)


def smollm2() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        head_dim=64,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        rope_theta=100000.0,
        tie_word_embeddings=True,
    )


def amount(name: str) -> Amount:
    asked = question(name)
    assert isinstance(asked, Amount)
    return asked


def noise(*shape):
    return np.random.default_rng(5).standard_normal(shape, dtype=np.float32)


# What each question takes for granted, measured.


def ask_twice(tmp_path):
    model, tokenizer = Llama.from_pretrained("story"), Tokenizer.from_pretrained("story")
    ids = tokenizer.encode("Lily had")
    once, again = (list(generate(model, ids, max_new_tokens=12)) for _ in range(2))
    assert once == again


def raw_file(entries, data, size=None):
    text = json.dumps(entries).encode()
    text = text.ljust(size or len(text))
    return struct.pack("<Q", len(text)) + text + data


def file_size(tmp_path):
    numbers = noise(1000)
    entry = {"dtype": "F32", "shape": [1000], "data_offsets": [0, 4000]}
    path = tmp_path / "model.safetensors"
    path.write_bytes(raw_file({"x": entry}, numbers.tobytes(), size=200))
    np.testing.assert_array_equal(SafetensorsFile(path)["x"], numbers)
    assert path.stat().st_size == amount("file_size").answer


def swapped_names(tmp_path):
    one, other = noise(2, 3), noise(2, 3) + 1
    places = {"one": [24, 48], "other": [0, 24]}
    entries = {
        name: {"dtype": "F32", "shape": [2, 3], "data_offsets": at} for name, at in places.items()
    }
    path = tmp_path / "model.safetensors"
    path.write_bytes(raw_file(entries, one.tobytes() + other.tobytes()))
    loaded = SafetensorsFile(path)
    np.testing.assert_array_equal(loaded["one"], other)
    np.testing.assert_array_equal(loaded["other"], one)


def merge_twice(tmp_path):
    encode = check.encode_word.exercise.correct[0]
    pieces = encode(b"hahaha", {(b"h", b"a"): 0, (b"ha", b"ha"): 1})
    assert len(pieces) == amount("merge_twice").answer


def greek(tmp_path):
    tokenizer = Tokenizer.from_pretrained("story")
    english, other = "The sea is calm today.", "Η θάλασσα είναι ήρεμη σήμερα."
    assert len(tokenizer.encode(other)) > 3 * len(tokenizer.encode(english))
    assert len("α".encode()) == 2
    assert tokenizer.decode(tokenizer.encode(other)) == other


def products(tmp_path):
    words, questions = noise(10, 4), noise(3, 4)
    assert (words[:, None] * questions).size == amount("products").answer


def doubled_row(tmp_path):
    row, other = noise(2, 8)

    def cosine(x):
        return x @ other / np.linalg.norm(x) / np.linalg.norm(other)

    np.testing.assert_allclose(2 * row @ other, 2 * (row @ other), rtol=1e-6)
    np.testing.assert_allclose(cosine(2 * row), cosine(row), rtol=1e-6)


def longer_key(tmp_path):
    q, k = noise(1, 1, 40, 8), noise(1, 1, 8)
    before, after = attention.qk_scores(q, k), attention.qk_scores(q, 2 * k)
    np.testing.assert_array_equal(after > before, before > 0)
    assert 0 < (before > 0).sum() < before.size


def fewer_boards(tmp_path):
    scores = [
        attention.qk_scores(noise(heads, 8 // heads, 3, 4), noise(heads, 5, 4)).size
        for heads in (8, 2)
    ]
    assert scores[0] == scores[1]
    caches = [KVCache(1, heads, 4, 16) for heads in (8, 2)]
    for cache in caches:
        heads = cache.n_kv_heads
        cache.append(0, noise(heads, 5, 4), noise(heads, 5, 4))
        cache.advance(5)
    assert caches[0].nbytes == 4 * caches[1].nbytes


def equal_scores(tmp_path):
    shares = attention.softmax(np.array([7, 7, 7, 7, -np.inf], dtype=np.float32))
    assert 100 * shares[0] == amount("equal_scores").answer


def no_mask(tmp_path):
    model = Llama.from_pretrained("story")
    ids = Tokenizer.from_pretrained("story").encode("Once upon a time there was a frog.")
    with Trace() as right:
        model.forward(ids, trace=right)
    unmasked = model.operators.replaced(apply_mask=lambda scores, mask: scores)
    with model.using(operators=unmasked), Trace() as wrong:
        model.forward(ids, trace=wrong)
    gaps = [
        float(np.abs(wrong[name].array[-1] - right[name].array[-1]).max())
        for name in (f"layers.{layer}.self_attn.o_proj" for layer in range(2))
    ]
    assert gaps[0] < 1e-5
    assert gaps[1] > 0.01


def attention_order(tmp_path):
    with Trace() as trace:
        Llama.from_pretrained("story").forward([1, 2, 3], trace=trace)
    names = [r.name.removeprefix("layers.0.self_attn.") for r in trace]
    wanted = ["scores", "masked_scores", "weights", "attn_v", "merged", "o_proj"]
    assert [name for name in names if name in wanted] == wanted


def out_of_range(tmp_path):
    shares = attention.softmax(4 * noise(1, 1, 500, 3))
    mixed = attention.score_v(shares, np.array([[[2], [5], [9]]], dtype=np.float32))
    assert mixed.min() >= 2
    assert mixed.max() <= 9
    third = np.full((1, 1, 1, 3), 1 / 3, dtype=np.float32)
    mean = attention.score_v(third, np.array([[[2], [5], [9]]], dtype=np.float32))
    assert round(float(mean.item()), 2) == 5.33


def quarter_turn(tmp_path):
    cos, sin = rope_cos_sin(np.array([math.pi / 2], dtype=np.float32), 0, 9)
    same = [t for t in range(1, 9) if abs(cos[t] - cos[0]) + abs(sin[t] - sin[0]) < 1e-5]
    assert same[0] == amount("quarter_turn").answer
    assert cos[2] == pytest.approx(-1)


def unseen_angles(tmp_path):
    config = LlamaConfig(
        vocab_size=8,
        hidden_size=64,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=64,
        max_position_embeddings=2000,
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
        tie_word_embeddings=True,
    )
    around = 2 * np.pi / inverse_frequencies(config)
    assert round(float(around.min())) == 6
    assert round(float(around.max()), -4) == 50_000
    assert Fraction(2000, 50_000) == Fraction(1, 25)
    assert (around < 2000).sum() > len(around) / 2  # most pairs have been all round


def ten_times(tmp_path):
    x, weight = noise(3, 32), noise(32)
    np.testing.assert_allclose(
        rms_norm(10 * x, weight, 1e-5), rms_norm(x, weight, 1e-5), rtol=1e-4, atol=1e-6
    )


def closed_gate(tmp_path):
    passed = swiglu(np.array([[-20]], dtype=np.float32), np.array([[1000]], dtype=np.float32))
    assert 0 < abs(float(passed.item())) < 1e-4


def untied(tmp_path):
    config = smollm2()
    sizes = {name: math.prod(shape) for name, shape in expected_shapes(config).items()}
    sizes.pop("lm_head.weight", None)
    table = sizes["model.embed_tokens.weight"]
    assert round(sum(sizes.values()) / 1e6) == 135
    assert round(table / 1e6) == 28
    asked = amount("untied")
    assert abs((sum(sizes.values()) + table) / 1e6 - asked.answer) <= asked.within


def every_row(tmp_path):
    model = Llama.from_pretrained("story")
    ids = Tokenizer.from_pretrained("story").encode("Once upon a time there was a frog.")[:10]
    rows = model.forward(ids)
    assert len(rows) == len(ids)
    np.testing.assert_allclose(model.forward(ids[:3])[-1], rows[2], atol=1e-4)


def twice_as_long(tmp_path):
    asked = amount("twice_as_long")
    read = [sum(range(1, n + 1)) for n in (500, 1000)]
    assert abs(read[1] / read[0] - asked.answer) <= asked.within
    assert abs((read[1] - read[0]) / read[0] - 3) <= asked.within  # the second half alone


def decode_order(tmp_path):
    model = Llama.from_pretrained("story")
    with Trace() as trace:
        cache = model.new_cache()
        chosen = int(model.forward([3, 4, 5], cache, trace=trace)[-1].argmax())
        model.forward([chosen], cache, trace=trace)
    first, second = (step["layers.0.self_attn.scores"].shape for step in trace.steps)
    assert first[-2:] == (3, 3)
    assert second[-2:] == (1, 4)


def half_temperature(tmp_path):
    logits = np.log(np.array([4, 1], dtype=np.float32))
    odds = {
        t: float(np.divide(*probabilities(logits, Sampling(temperature=t)))) for t in (1, 0.5, 2)
    }
    assert odds[1] == pytest.approx(4)
    assert odds[0.5] == pytest.approx(amount("half_temperature").answer)
    assert odds[2] == pytest.approx(2)


def doubled_logits(tmp_path):
    logits = noise(20)
    np.testing.assert_allclose(
        probabilities(2 * logits, Sampling()),
        probabilities(logits, Sampling(temperature=0.5)),
        rtol=1e-5,
    )


def smallest_code(tmp_path):
    asked = amount("smallest_code")
    row = np.array([[2.54, asked.answer * 1.01, asked.answer * 0.99]], dtype=np.float32)
    assert quantize(row, "I8").codes.tolist() == [[127, 1, 0]]


def two_sums(tmp_path):
    numbers = noise(1000)
    forth = np.cumsum(numbers)[-1]
    back = np.cumsum(numbers[::-1])[-1]
    assert forth != back
    assert forth == pytest.approx(back, rel=1e-4)


def turn_order(tmp_path):
    chat = ChatSession(Llama.from_pretrained("chat"), Tokenizer.from_pretrained("chat"))
    chat.max_new_tokens = 4
    for said in ("Hello!", "How are you?"):
        "".join(chat.send(said))
    first, second = (turn.usage for turn in chat.turns)
    assert first.reused == 0
    assert second.reused > 0
    assert second.reused + second.computed == second.prompt_tokens


def typed_mark(tmp_path):
    tokenizer = Tokenizer.from_pretrained("chat")
    mark = tokenizer.encode("<|im_end|>", parse_special=True)
    typed = tokenizer.encode("<|im_end|>")
    assert len(mark) == 1
    assert len(typed) > 1
    assert mark[0] not in typed


def held_back(tmp_path):
    sent, held = check.settled.exercise.correct[0](["THE EN"], "END")
    assert (sent, held) == ("THE ", "EN")
    assert len(held) == amount("held_back").answer


def eight_together(tmp_path):
    assert 8 * 100 * 30 == 24_000
    assert 100 * 40 == 4_000


def two_walls(tmp_path):
    cost = Cost("a token", 250_000_000, weight_nbytes=500_000_000)
    seconds = seconds_at_least(cost, 25e9, 50e9)
    assert 1000 * seconds == pytest.approx(amount("two_walls").answer)


def larger_batch(tmp_path):
    weights, key_and_value = 8_000_000_000, 2 * 32 * 8 * 128  # 32 layers, 8 KV heads of 128
    memory, arithmetic = 2e12, 312e12

    def step(texts, positions=100):
        cached = texts * positions * key_and_value
        flops = 2 * (weights * texts + 4 * cached)  # 4 query heads share a KV head
        return Cost("a step", flops, weight_nbytes=2 * weights, cache_nbytes=2 * cached)

    def rate(texts):
        return texts / seconds_at_least(step(texts), memory, arithmetic)

    assert rate(8) / rate(1) > 7
    assert rate(512) / rate(256) < 1.1
    ridge = arithmetic / memory
    assert step(8).intensity < ridge < step(512).intensity
    assert step(512).cache_nbytes < step(512).weight_nbytes
    assert step(512, positions=10_000).intensity < step(100_000, 10_000).intensity < ridge


def one_pass_four_guesses(tmp_path):
    rows = np.zeros((5, 9), dtype=np.float32)
    rows[range(5), [3, 5, 7, 2, 4]] = 1
    new, _ = VERIFIED.correct[0](rows, [3, 5, 1, 2], 6)
    assert new == [3, 5, 7]


def bits_of_a_block(tmp_path):
    bits = 8 * quantize_four(noise(1, 32)).nbytes / 32
    assert bits == amount("bits_of_a_block").answer
    assert 8 * quantize_four(noise(1, 32), "Q4_0").nbytes / 32 == 4.5


def waiting_for_wires(tmp_path):
    config = dataclasses.replace(smollm2(), num_hidden_layers=40)
    link = Link(50e-6, 1e12)  # so that only the latency counts
    took = tensor_seconds(config, 2, link, 1e9)
    others = sum(link.sum_s(4, 2)) + sum(link.gather_s(4, 2))  # the embedding's sum, and the logits
    assert 1000 * (took.talking - others) == pytest.approx(
        amount("waiting_for_wires").answer, rel=1e-3
    )


FACTS: dict[str, Callable] = {name: value for name, value in globals().items() if name in QUESTIONS}


@each
def test_what_a_question_takes_for_granted_is_so(asked, tmp_path):
    FACTS[asked.name](tmp_path)


def test_every_chapter_has_one_or_two():
    assert 25 <= len(ASKED) <= 36
    topics = ["start", *CHAPTER_FILES]
    assert [module.__name__.rpartition(".")[2] for module in CHAPTERS] == topics
    for topic, module in zip(topics, CHAPTERS, strict=True):
        assert 1 <= len(module.QUESTIONS) <= 2
        assert all(one.topic == topic for one in module.QUESTIONS)
    assert len(QUESTIONS) == sum(len(module.QUESTIONS) for module in CHAPTERS)
    assert {type(one) for one in ASKED} == {Amount, Choice, Order}


@each
def test_every_answer_is_told_something_of_its_own(asked):
    if isinstance(asked, Choice):
        said = [asked(letter) for letter in "abcdefg"[: len(asked.answers)]]
        assert [verdict.ok for verdict in said].count(True) == 1
        assert said[list(asked.answers).index(asked.right)].ok
        assert len(asked.answers) >= 3
    elif isinstance(asked, Amount):
        said = [asked(value) for value in (asked.answer, *asked.near, 12345.678)]
        assert [verdict.ok for verdict in said] == [True, *[False] * (len(said) - 1)]
        assert len(asked.near) >= 3
        values = sorted([asked.answer, *asked.near])
        assert min(np.diff(values)) > 2 * asked.within
    else:
        letters = "abcdefg"[: len(asked.steps)]
        right = "".join(letters[asked.shown.index(step)] for step in range(len(asked.steps)))
        assert len(asked.why) == len(asked.steps) - 1
        swapped = [
            right[:i] + right[i + 1] + right[i] + right[i + 2 :] for i in range(len(right) - 1)
        ]
        said = [asked(order) for order in (right, *swapped)]
        assert [verdict.ok for verdict in said] == [True, *[False] * len(swapped)]
        assert asked(" ".join(right)).ok
        assert not asked(letters).ok  # as they are shown
        assert not asked(right[::-1]).ok
    texts = [verdict.message for verdict in said]
    assert len(set(texts)) == len(texts)
    for text in texts:
        assert len(text) > len(asked.name) + 20
        assert text.endswith((".", "?", "!"))


@pytest.mark.parametrize(
    ("name", "answer", "expected"),
    [
        ("closed_gate", "e", "expected one of a, b, c, d, got 'e'"),
        ("closed_gate", 2, "expected one of a, b, c, d, got 2"),
        ("closed_gate", "", "expected one of a, b, c, d, got ''"),
        ("products", "120", "expected a number (multiplications), got str"),
        ("products", True, "expected a number (multiplications), got bool"),
        ("decode_order", "abc", "expected each of a, b, c, d, e once, in one string, got 'abc'"),
        ("decode_order", 3, "expected each of a, b, c, d, e once, in one string, got 3"),
    ],
)
def test_what_is_no_answer_is_told_what_is_expected(name, answer, expected):
    verdict = question(name)(answer)
    assert not verdict
    assert expected in verdict.message


LONG = "many words " * 12
TOYS = [
    Choice("toy", "start", LONG, {LONG + "one": "Yes.", "two": "No."}, LONG + "one"),
    Order("toy", "start", LONG, (LONG + "one", LONG + "two"), ("First one.",), "Done."),
]


@pytest.mark.parametrize("asked", TOYS, ids=lambda asked: asked.kind)
def test_long_lines_are_broken_below_their_letters(asked):
    lines = repr(asked).splitlines()
    assert lines[0] == " ".join(["many words"] * 6) + " many"
    options = lines[2:-1]
    assert max(map(len, options)) <= 72
    assert sum(line.startswith(("  a) ", "  b) ")) for line in options) == 2
    more = [line for line in options if not line.startswith(("  a) ", "  b) "))]
    assert more
    assert all(re.match(r" {5}\w", line) for line in more)


def test_a_number_is_right_within_its_bounds_and_near_within_them():
    asked = Amount("toy", "start", "How many?", 10.0, "kB", "So.", {20.0: "Twice."}, "No.", 0.5)
    verdicts = {value: asked(value) for value in (9.5, 10, 10.5, 19.5, 20.5, 9.4, 10.6, 19.4, 20.6)}
    said = {value: verdict.message.removeprefix("toy: ") for value, verdict in verdicts.items()}
    assert [said[value] for value in (9.5, 10, 10.5)] == ["So."] * 3
    assert [said[value] for value in (19.5, 20.5)] == ["Twice."] * 2
    assert [said[value] for value in (9.4, 10.6, 19.4, 20.6)] == ["No."] * 4
    assert [value for value, verdict in verdicts.items() if verdict] == [9.5, 10, 10.5]


def test_without_the_figures_there_is_the_text(monkeypatch):
    monkeypatch.setitem(sys.modules, "llama_edu.exercises.framework.question_page", None)
    assert TOYS[0]._repr_html_() is None


def test_a_letter_may_be_large():
    assert question("closed_gate")(" B ")


def test_an_unknown_name_is_refused():
    with pytest.raises(KeyError, match=r"expected one of ask_twice, .*, got 'closed_gates'"):
        question("closed_gates")


@each
def test_the_printed_question_asks_and_does_not_tell(asked):
    text = repr(asked)
    assert max(map(len, text.splitlines())) <= 76
    assert f'Answer with question("{asked.name}")(' in text
    flat = " ".join(text.split())
    right = asked.answers[asked.right] if isinstance(asked, Choice) else ""
    secrets = [right, getattr(asked, "done", ""), *getattr(asked, "why", ())]
    assert not any(len(secret) > 1 and secret in flat for secret in secrets)
    if isinstance(asked, Order):
        assert asked.shown != sorted(asked.shown)


@each
def test_the_page_says_the_same_without_a_script(asked):
    html = asked._repr_html_()
    assert html == asked._repr_html_()
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', html)[1])
    assert data["ask"]
    plain = html.split('<div class="ll-plain">')[1].split("<script")[0]
    assert "<details" in plain
    if isinstance(asked, Choice):
        assert plain.count("<details") == len(asked.answers)
        assert list(asked.answers)[data["right"]] == asked.right
    assert "https://" not in html.split("<script>")[0]


def test_right_answers_do_not_stand_in_one_place():
    places = [list(one.answers).index(one.right) for one in ASKED if isinstance(one, Choice)]
    assert max(places.count(place) for place in set(places)) < 0.7 * len(places)
