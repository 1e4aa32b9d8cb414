"""Sampling: exact distributions against a loop and against the reference, then the draws."""

import dataclasses
import math

import numpy as np
import pytest
from helpers import operator_goldens, random, shapes_unchecked
from hypothesis import given
from hypothesis import strategies as st

from llama_edu.engine.sampling import GREEDY, Sampling, greedy, probabilities, sample
from llama_edu.errors import InputError, NumericsError

VOCAB = 23
logit_lists = st.lists(st.integers(-6, 6).map(float), min_size=1, max_size=12)  # many ties


def logits_of(values):
    return np.array(values, dtype=np.float32)


def ranked(values):
    """Ids from the likeliest down; the lower id first among equals."""
    return sorted(range(len(values)), key=lambda i: (-values[i], i))


def softmax_loop(values):
    exponentials = [math.exp(v - max(values)) for v in values]
    return [e / math.fsum(exponentials) for e in exponentials]


def probabilities_loop(values, temperature, top_k, top_p):
    """Temperature, then top-k, then top-p, in float64; also how close top-p came to a border."""
    if temperature == 0:
        return [float(i == ranked(values)[0]) for i in range(len(values))], 1.0
    scaled = [v / temperature for v in values]
    kept = ranked(values)[: top_k or None]
    p = softmax_loop([scaled[i] for i in kept])
    margin = 1.0
    if top_p < 1:
        n, total = 0, 0.0
        while n < len(kept) and total < top_p:
            total += p[n]
            n += 1
            margin = min(margin, abs(total - top_p))
        kept, p = kept[:n], [x / total for x in p[:n]]
    out = [0.0] * len(values)
    for i, x in zip(kept, p, strict=True):
        out[i] = x
    return out, margin


@given(
    values=logit_lists,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 2.5]),
    top_k=st.integers(0, 14),
    top_p=st.floats(0.01, 1.0),
)
def test_probabilities_equal_the_loop(values, temperature, top_k, top_p):
    want, margin = probabilities_loop(values, temperature, top_k, top_p)
    if margin < 1e-5:  # float32 may well see the sum on the other side of top_p
        return
    got = probabilities(logits_of(values), Sampling(temperature, top_k, top_p))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=2e-6)


def cut_first_loop(values, temperature, cuts):
    """llama.cpp's default order in float64: top-k, top-p, min-p on unheated logits, then heat.

    `cuts` are top_k, top_p and min_p. Also how close a cut came to a border.
    """
    top_k, top_p, min_p = cuts
    kept, margin = ranked(values)[: top_k or None], 1.0
    for share, is_sum in ((top_p, True), (min_p, False)):
        p = softmax_loop([values[i] for i in kept])
        before = [math.fsum(p[:n]) for n in range(len(p))]
        stays = [b < share for b in before] if is_sum else [x >= share * p[0] for x in p]
        if share != int(is_sum):  # this cut is on
            gaps = [b - share for b in before] if is_sum else [x - share * p[0] for x in p]
            margin = min(margin, *map(abs, gaps))
            kept = [i for i, stay in zip(kept, stays, strict=True) if stay]
    out = [0.0] * len(values)
    heated = softmax_loop([values[i] / temperature for i in kept])
    for i, x in zip(kept, heated, strict=True):
        out[i] = x
    return out, margin


@given(
    values=logit_lists,
    temperature=st.sampled_from([0.3, 1.0, 2.5]),
    top_k=st.integers(0, 14),
    top_p=st.floats(0.01, 1.0),
    min_p=st.sampled_from([0.0, 0.03, 0.4]),
)
def test_llama_cpp_s_order_equals_the_loop(values, temperature, top_k, top_p, min_p):
    want, margin = cut_first_loop(values, temperature, (top_k, top_p, min_p))
    if margin < 1e-5:
        return
    sampling = Sampling(temperature, top_k, top_p, min_p, order="llama.cpp")
    got = probabilities(logits_of(values), sampling)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=2e-6)


def test_the_two_orders_part_where_heat_opens_the_tail():
    logits = logits_of([10.0, *[0.0] * 2_000])
    hot = {"temperature": 4.0, "top_p": 0.9}
    assert np.count_nonzero(probabilities(logits, Sampling(**hot))) > 1_000
    one = probabilities(logits, Sampling(**hot, order="llama.cpp"))
    assert one[0] == 1
    assert np.count_nonzero(one) == 1


def test_no_order_cuts_what_only_float32_loses():
    """200 below the best is 0 in float32 at temperature 1, and no cut was asked for."""
    logits = logits_of([0.0, -200.0])
    uncut = probabilities(logits, Sampling(20.0, order="llama.cpp"))
    np.testing.assert_array_equal(uncut, probabilities(logits, Sampling(20.0)))
    assert uncut[1] > 0


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_at_these_temperatures_the_order_does_not_matter(temperature):
    logits = random(np.random.default_rng(3), VOCAB)
    cuts = Sampling(temperature, 9, 0.8, 0.1)
    theirs = probabilities(logits, dataclasses.replace(cuts, order="llama.cpp"))
    np.testing.assert_allclose(theirs, probabilities(logits, cuts), atol=1e-7)


def test_the_smallest_temperature_takes_the_best_in_either_order():
    for order in ("transformers", "llama.cpp"):
        sampling = Sampling(1e-320, top_p=0.9, order=order)
        assert probabilities(logits_of([1.0, 3.0, 2.9]), sampling).tolist() == [0, 1, 0]


def test_probabilities_equal_the_reference():
    golden = operator_goldens("sampling")
    assert len(golden["settings"]) == 24
    settings = zip(golden["settings"], golden["probabilities"], strict=True)
    for (temperature, top_k, top_p), want in settings:
        sampling = Sampling(float(temperature), int(top_k), float(top_p))
        got = probabilities(golden["logits"], sampling)
        np.testing.assert_allclose(got, want, atol=1e-6, err_msg=str(sampling))


@given(values=logit_lists, top_k=st.integers(1, 20))
def test_exactly_k_are_kept_and_the_lower_id_wins_a_tie(values, top_k):
    p = probabilities(logits_of(values), Sampling(top_k=top_k))
    assert np.flatnonzero(p).tolist() == sorted(ranked(values)[:top_k])


def test_k_beyond_the_vocabulary_keeps_all():
    logits = random(np.random.default_rng(0), VOCAB)
    for top_k in (VOCAB, VOCAB + 1, 10**12):
        p = probabilities(logits, Sampling(top_k=top_k))
        np.testing.assert_array_equal(p, probabilities(logits, Sampling()))


@given(values=logit_lists, temperature=st.sampled_from([0.1, 1.0, 9.0]))
def test_p_of_1_and_k_of_0_change_nothing(values, temperature):
    got = probabilities(logits_of(values), Sampling(temperature, top_k=0, top_p=1.0))
    np.testing.assert_allclose(got, softmax_loop([v / temperature for v in values]), atol=1e-6)


@given(values=logit_lists, seed=st.integers(0, 99))
def test_k_of_1_is_greedy(values, seed):
    drawn = sample(logits_of(values), Sampling(5.0, top_k=1), np.random.default_rng(seed))
    assert drawn == greedy(logits_of(values)) == ranked(values)[0]


@given(values=logit_lists, top_p=st.floats(0.01, 0.99))
def test_the_token_that_crosses_the_line_is_kept_whole(values, top_p):
    p = probabilities(logits_of(values), Sampling(top_p=top_p))
    order, whole = ranked(values), softmax_loop(values)
    n = np.count_nonzero(p)
    assert np.flatnonzero(p).tolist() == sorted(order[:n])
    reached = math.fsum(whole[i] for i in order[:n])
    assert reached >= top_p - 1e-5  # enough were kept …
    assert math.fsum(whole[i] for i in order[: n - 1]) <= top_p + 1e-5  # … and not one too many
    np.testing.assert_allclose(p[order[:n]] * reached, [whole[i] for i in order[:n]], atol=1e-6)


def test_a_line_met_exactly_is_reached():
    four_equal = np.zeros(4, dtype=np.float32)  # each has exactly a quarter
    assert probabilities(four_equal, Sampling(top_p=0.5)).tolist() == [0.5, 0.5, 0, 0]
    assert np.count_nonzero(probabilities(four_equal, Sampling(top_p=0.51))) == 3


@pytest.mark.parametrize("top_p", [1e-30, 1e-45, 1e-320])  # the last is 0 in float32
def test_the_best_token_is_kept_however_small_top_p(top_p):
    sampling = Sampling(top_p=top_p)
    logits = logits_of([0.5, 2.0, 1.0, 2.0])
    assert probabilities(logits, sampling).tolist() == [0, 1, 0, 0]
    assert sample(logits, sampling, np.random.default_rng(0)) == 1


def test_temperature_comes_before_top_p():
    logits = np.log(np.array([0.5, 0.3, 0.2], dtype=np.float32))
    assert np.count_nonzero(probabilities(logits, Sampling(1.0, top_p=0.6))) == 2
    assert np.count_nonzero(probabilities(logits, Sampling(0.2, top_p=0.6))) == 1
    assert np.count_nonzero(probabilities(logits, Sampling(100.0, top_p=0.7))) == 3


def test_minus_one_keeps_all_as_zero_does():
    logits = logits_of([1.0, 3.0, 2.0, -4.0])
    want = probabilities(logits, Sampling(top_k=0))
    assert np.array_equal(probabilities(logits, Sampling(top_k=-1)), want)


def test_top_k_comes_before_top_p():
    logits = np.log(np.array([0.4, 0.3, 0.2, 0.1], dtype=np.float32))
    # Of all four, 0.5 takes two tokens. Of the best two, 0.4 / 0.7 already exceeds it.
    assert np.count_nonzero(probabilities(logits, Sampling(top_p=0.5))) == 2
    assert np.count_nonzero(probabilities(logits, Sampling(top_k=2, top_p=0.5))) == 1


@pytest.mark.parametrize("temperature", [1e-300, 1e-50, 1e-38, 1e-10])
def test_a_tiny_temperature_is_greedy_and_a_huge_one_uniform(temperature):
    logits = logits_of([1.0, 3.0, -2.0, 2.999999])
    assert probabilities(logits, Sampling(temperature)).tolist() == [0, 1, 0, 0]
    huge = probabilities(logits, Sampling(1 / temperature))
    np.testing.assert_allclose(huge, 0.25, atol=1e-6)


def test_a_logit_of_minus_infinity_is_never_chosen():
    logits = logits_of([0.0, -np.inf, 0.0, -np.inf])
    for sampling in (Sampling(), Sampling(1e300), Sampling(top_k=3), Sampling(top_p=0.99)):
        assert probabilities(logits, sampling).tolist() == [0.5, 0, 0.5, 0]


def test_greedy_takes_the_lowest_id_among_equals():
    assert greedy(logits_of([1, 7, 7, 0])) == 1
    assert sample(logits_of([1, 7, 7, 0]), GREEDY, np.random.default_rng(0)) == 1
    assert probabilities(logits_of([1, 7, 7, 0]), GREEDY).tolist() == [0, 1, 0, 0]


def test_at_temperature_0_the_generator_is_not_touched():
    rng = np.random.default_rng(5)
    before = rng.bit_generator.state
    sample(random(np.random.default_rng(0), VOCAB), GREEDY, rng)
    assert rng.bit_generator.state == before


def test_the_same_seed_draws_the_same():
    logits = random(np.random.default_rng(0), VOCAB)

    def draws(seed):
        rng = np.random.default_rng(seed)
        return [sample(logits, Sampling(), rng) for _ in range(30)]

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)


@pytest.mark.parametrize(
    "sampling",
    [Sampling(), Sampling(0.8), Sampling(top_k=6), Sampling(top_p=0.8), Sampling(1.7, 9, 0.9)],
    ids=str,
)
def test_frequencies_follow_the_exact_probabilities(sampling):
    logits, n = random(np.random.default_rng(3), VOCAB), 6_000
    p = probabilities(logits, sampling).astype(np.float64)
    rng = np.random.default_rng(17)
    drawn = [sample(logits, sampling, rng)]
    with shapes_unchecked():  # it is the same call
        drawn += [sample(logits, sampling, rng) for _ in range(n - 1)]
    counts = np.bincount(drawn, minlength=VOCAB)
    assert not counts[p == 0].any()
    expected = n * p[p > 0] / p.sum()
    assert expected.min() > 5  # what the test below asks of its cells
    chi_square = float(np.sum((counts[p > 0] - expected) ** 2 / expected))
    df = len(expected) - 1
    # Wilson and Hilferty's approximation to the point a fair sampler passes once in 1000.
    limit = df * (1 - 2 / (9 * df) + 3.09 * math.sqrt(2 / (9 * df))) ** 3
    assert chi_square < limit


class Fixed(np.random.Generator):
    """A generator whose every draw is one number."""

    def __init__(self, point):
        super().__init__(np.random.PCG64(0))
        self.point = point

    def random(self, size=None, dtype=np.float64, out=None):
        return dtype(self.point)


@pytest.mark.parametrize(("point", "want"), [(0.0, 1), (0.49, 1), (0.51, 3), (1 - 2**-24, 3)])
def test_the_ends_of_the_draw_fall_on_tokens_that_may_be_chosen(point, want):
    logits = logits_of([-np.inf, 0.0, -np.inf, 0.0, -np.inf])
    assert sample(logits, Sampling(), Fixed(point)) == want


@pytest.mark.parametrize("n", [3, 7, 1000, 49152])
def test_the_last_draw_of_all_is_still_in_the_vocabulary(n):
    logits = random(np.random.default_rng(n), n)
    assert 0 <= sample(logits, Sampling(), Fixed(1 - 2**-24)) < n


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("sampling", [GREEDY, Sampling(), Sampling(0.7, 3, 0.9)], ids=str)
def test_broken_logits_are_an_error(bad, sampling):
    logits = random(np.random.default_rng(0), VOCAB)
    logits[11] = bad
    for choose in (probabilities, lambda x, how: sample(x, how, np.random.default_rng(0))):
        with pytest.raises(NumericsError, match=f"finite logits, got a largest value of {bad}"):
            choose(logits, sampling)
    with pytest.raises(NumericsError):
        greedy(logits)


def test_nothing_left_to_choose_from_is_an_error():
    with pytest.raises(NumericsError, match="got a largest value of -inf"):
        probabilities(logits_of([-np.inf, -np.inf]), Sampling())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"temperature": -0.1}, "temperature of at least 0, got -0.1"),
        ({"temperature": math.nan}, "temperature of at least 0, got nan"),
        ({"temperature": math.inf}, "temperature of at least 0, got inf"),
        ({"top_k": -2}, "top_k as a whole number of at least 0, or -1, got -2"),
        ({"top_p": 0.0}, "top_p above 0 and at most 1, got 0.0"),
        ({"top_p": 1.1}, "top_p above 0 and at most 1, got 1.1"),
        ({"top_p": math.nan}, "top_p above 0 and at most 1, got nan"),
    ],
)
def test_parameters_out_of_range_are_refused(parameters, message):
    with pytest.raises(InputError, match=message):
        Sampling(**parameters)


def test_an_order_of_another_engine_is_refused():
    sampling = Sampling()
    object.__setattr__(sampling, "order", "vllm")  # past the annotation, which tests enforce
    with pytest.raises(InputError, match=r"order of .'transformers', 'llama.cpp'., got 'vllm'"):
        sampling.__post_init__()


def test_the_logits_are_not_written():
    logits = random(np.random.default_rng(0), VOCAB)
    logits.flags.writeable = False
    sample(logits, Sampling(0.7, 5, 0.9), np.random.default_rng(0))
