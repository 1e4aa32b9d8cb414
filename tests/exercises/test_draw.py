"""What drawn inputs are made of lies within its bounds, and reaches them."""

import numpy as np

from llama_edu.exercises.framework.draw import noise, pick, seed_from, whole, wholes


def generator():
    return np.random.default_rng(3)


def test_whole_numbers_reach_both_ends():
    rng = generator()
    found = [whole(rng, 3, 6) for _ in range(100)]
    assert set(found) == {3, 4, 5, 6}
    assert {type(number) for number in found} == {int}
    assert whole(rng, 5, 5) == 5


def test_several_are_different_and_mixed():
    rng = generator()
    found = [wholes(rng, 3, 2, 5) for _ in range(300)]
    assert all(len(numbers) == len(set(numbers)) == 3 for numbers in found)
    assert {number for numbers in found for number in numbers} == {2, 3, 4, 5}
    assert len({tuple(numbers) for numbers in found}) == 24  # every choice in every order
    assert {type(number) for number in found[0]} == {int}
    assert sorted(wholes(rng, 4, 2, 5)) == [2, 3, 4, 5]


def test_noise_is_normal_float32():
    numbers = noise(generator(), 40, 50)
    assert numbers.shape == (40, 50)
    assert numbers.dtype == np.float32
    assert abs(numbers.mean()) < 0.1
    assert 0.9 < numbers.std() < 1.1
    assert not np.array_equal(numbers[0], numbers[1])


def test_items_come_as_often_as_they_come():
    rng = generator()
    found = pick(rng, "abc", 100)
    assert len(found) == 100
    assert set(found) == set("abc")
    assert pick(rng, ["a"], 3) == ["a"] * 3


def test_seeds_are_whole_numbers_that_differ():
    rng = generator()
    found = [seed_from(rng) for _ in range(20)]
    assert len(set(found)) == 20
    assert all(1000 <= seed <= 10**6 for seed in found)
