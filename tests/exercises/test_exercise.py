"""How an answer is judged, on exercises made for the purpose: every sentence, and its limits."""

import codecs
import dataclasses
import importlib
import pkgutil

import numpy as np
import pytest

from llama_edu.exercises import framework
from llama_edu.exercises.framework.exercise import LONGEST, WIDTH, Case, Exercise, Mutant, Verdict
from llama_edu.exercises.framework.limited import TooSlowError

ROW = np.array([1.0, 2.5, -3.0, 8.0])


def double(x):
    return x * 2


def added(x):
    return x + x


def squared(x):
    return x * x


def rows(n):
    """`n` inputs whose doubles and squares differ."""
    return lambda: [Case(f"row {i}", (ROW + i,)) for i in range(n)]


def toy(**changes):
    fields = {
        "name": "toy",
        "topic": "bytes",
        "stars": 1,
        "task": "Double it.",
        "section": "By hand",
        "cases": rows(4),
        "correct": (double, added),
        "mutants": (Mutant("square", squared, "when it is squared"),),
    }
    return Exercise(**fields | changes)


def said(verdict):
    """The lines of a refusal before the section to read."""
    assert not verdict
    text, _, rest = verdict.message.partition("\n  Read again: chapter 1, By hand\n")
    assert rest.endswith("#by-hand")
    return text


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("short", "✓ short"),
        ("x" * (WIDTH - 2), "✓ " + "x" * (WIDTH - 2)),
        ("a  b" + "c" * 60, "✓ a  b" + "c" * 60),  # what fits keeps its blanks
        ("a " * 36 + "b", "✓ " + " ".join(["a"] * 35) + "\n  a b"),
        ("a" * 40 + " " + "b-" * 45, "✓ " + "a" * 40 + "\n  " + "b-" * 45),
        ("one\n  two", "✓ one\n  two"),
    ],
)
def test_a_verdict_is_shown_in_lines_of_a_page(message, shown):
    assert repr(Verdict(True, message)) == shown
    assert repr(Verdict(False, message)) == shown.replace("✓", "✗", 1)
    assert bool(Verdict(True, message))
    assert not Verdict(False, message)


def test_a_right_answer_is_told_what_it_was_right_on():
    known = "This check rejects 1 of 1 known mistake."
    assert toy()(added).message == f"toy: right on 4 inputs. {known}"
    drawn = toy(cases=rows(1), drawn=lambda rng: [Case("drawn", (ROW * rng.random(),))] * 3)
    assert drawn(added).message == f"toy: right on 1 input and 3 drawn. {known}"
    assert toy(mutants=())(added).message == (
        "toy: right on 4 inputs. This check rejects 0 of 0 known mistakes."
    )


def test_what_was_drawn_can_be_drawn_again():
    seen = []

    def drawn(rng):
        seen.append(int(rng.integers(1000)))
        return [Case("a drawn row", (ROW + seen[-1],))]

    def wrong_there(x):
        return x * 2 + (x[0] != 1)

    exercise = toy(cases=rows(1), drawn=drawn)
    for seed in (0, 7):
        seen.clear()
        text = said(exercise(wrong_there, seed))
        label = f"a drawn row (drawn; `check.toy(…, seed={seed})` draws it again)"
        assert text.splitlines()[0].startswith(f"toy, on {label}: expected ")
        assert set(seen) == {int(np.random.default_rng(seed).integers(1000))}
    seen.clear()
    for _ in range(5):
        assert exercise(added)
    assert len(set(seen)) > 1  # another one each time


def squares_but(*right):
    """An answer that squares, but on some rows."""
    return lambda x: x * 2 if int(x[0]) - 1 in right else x * x


@pytest.mark.parametrize(
    ("answer", "cases", "looks"),
    [
        (squares_but(0), 4, True),
        (squares_but(0), 3, False),  # two inputs agree by chance
        (squares_but(0, 1), 5, True),
        (lambda x: x * 2 if x[0] == 1 else x * x * 1.001, 4, False),
        (lambda x: (x * 2 if x[0] == 1 else x * x).astype(np.float32), 4, True),
    ],
)
def test_an_answer_may_look_like_a_mistake(answer, cases, looks):
    text = said(toy(cases=rows(cases))(answer))
    assert text.startswith("toy, on row ")
    assert ("  It looks like what you get when it is squared." in text) is looks
    assert "Wherever" not in text
    two = (Mutant("one", squared, "when one"), Mutant("other", squared, "when another"))
    assert "looks like" not in said(toy(cases=rows(cases), mutants=two)(answer))


def test_few_numbers_look_like_nothing():
    short = [Case(f"row {i}", (np.array([3.0, 4.0, 5.0]) + i,)) for i in range(6)]
    assert "looks" not in said(toy(cases=lambda: short)(lambda x: x * 2 if x[0] == 3 else x * x))


def test_what_all_wrong_results_have_in_common_is_told():
    text = said(toy()(lambda x: x * 6))
    assert text.splitlines()[1:] == [
        "  Wherever it is wrong: every number is 3 times the expected one."
    ]

    def fails_once(x):
        return 1 / 0 if x[0] == 2 else x * 6

    assert "Wherever" not in said(toy()(fails_once))


def test_a_known_mistake_is_told_with_its_place_and_its_section():
    link = "https://github.com/a/b/issues/1"
    mutants = (
        Mutant("square", squared, "when it is squared", section="The wrong end"),
        Mutant("zero", lambda x: x * 0, "when it is lost", link),
    )
    exercise = toy(mutants=mutants)
    assert exercise.broken is squared
    assert exercise(squared).message.splitlines()[:3] == [
        "toy: this is what you get when it is squared.",
        "  On row 0: expected 2 at index (0,), got 1; 4 of 4 numbers differ",
        "  Read again: chapter 1, The wrong end",
    ]
    assert said(exercise(lambda x: x * 0)).splitlines() == [
        "toy: this is what you get when it is lost.",
        "  On row 0: expected 2 at index (0,), got 0; 4 of 4 numbers differ",
        f"  Somebody else's: {link}",
    ]


def test_a_mistake_is_known_by_all_its_results_within_the_tolerance():
    for off, known in ((0.9e-3, True), (1.1e-3, False), (-0.9e-3, True)):
        text = said(toy(tolerance=1e-3)(lambda x, off=off: x * x + off * (x * x).max()))
        assert ("this is what you get" in text) is known
    for off, ok in ((0.9e-3, True), (1.1e-3, False)):
        verdict = toy(tolerance=1e-3)(lambda x, off=off: x * 2 + off * np.abs(2 * x).max())
        assert verdict.ok is ok
    assert "this is what you get" not in said(toy()(squares_but(3)))


def test_a_change_to_an_argument_is_part_of_a_mistake():
    def in_place(x):
        x *= 2
        return x

    def another(x):
        x += x
        return x

    exercise = toy(mutants=(Mutant("in_place", in_place, "when x is doubled itself"),))
    assert said(exercise(another)).splitlines() == [
        "toy: this is what you get when x is doubled itself.",
        "  On row 0: your function changed its argument x",
    ]
    assert "this is what you get" not in said(exercise(squared))
    only_right = toy(correct=(lambda *args: args[0] * 2, added), mutants=())
    assert "changed its argument number 1" in said(only_right(in_place))


def raises(text):
    def answer(x):
        raise ValueError(text)

    return answer


def test_errors_are_one_mistake_if_they_say_the_same():
    exercise = toy(mutants=(Mutant("fails", raises("no"), "when it is refused"),))
    text = said(exercise(raises("no")))
    assert text.startswith("toy: this is what you get when it is refused.\n  On row 0: expected")
    text = said(exercise(raises("never")))
    assert text.startswith("toy, on row 0: expected a result, got ValueError: never\n")
    assert "what you get" not in text

    class WordlessError(ValueError):
        def __str__(self):
            raise RuntimeError

    def fails_without_words(x):
        raise WordlessError

    exercise = toy(mutants=(Mutant("fails", fails_without_words, "when it is refused"),))
    assert "what you get" not in said(exercise(fails_without_words))

    def fails_at_first(x):
        return 1 / 0 if x[0] == 1 else x * x

    assert "this is what you get" not in said(toy()(fails_at_first))
    fails = toy(mutants=(Mutant("fails", fails_at_first, "when the first is refused"),))
    assert "this is what you get" not in said(fails(squared))


def test_only_errors_that_are_due_are_right():
    def refuses_odd(x):
        if x % 2:
            raise KeyError(x)
        return x

    def refuses_even(x):
        if x % 2:
            return x
        raise ValueError(x)

    exercise = toy(
        cases=lambda: [Case(str(i), (i,)) for i in (2, 3)],
        correct=(refuses_odd, refuses_odd),
        mutants=(Mutant("even", refuses_even, "when even ones are refused"),),
        refuses=(KeyError, ValueError),
    )
    assert exercise(refuses_odd)
    assert said(exercise(lambda x: x)) == (
        "toy, on 3: expected KeyError or ValueError to be raised, got a result"
    )
    text = said(exercise(refuses_even))
    assert text.startswith(
        "toy: this is what you get when even ones are refused.\n"
        "  On 2: expected a result, got ValueError: 2\n"
    )
    text = said(exercise(lambda x: [][x]))
    assert text.startswith("toy, on 2: expected a result, got IndexError: list index out of range")


@pytest.mark.parametrize(
    ("words", "is_a_choice"),
    [(("yes", "no", "no"), True), (("yes", "no", "maybe"), False), (("no", "no", "no"), False)],
)
def test_a_choice_of_two_words_may_be_right_by_chance(words, is_a_choice):
    exercise = toy(
        cases=lambda: [Case(str(i), (i,)) for i in range(3)],
        correct=(lambda i: words[i], lambda i: words[i]),
        mutants=(Mutant("always", lambda i: "yes!", "when it is always agreed"),),
    )
    text = said(exercise(lambda i: "yes!"))
    start = f"expected '{words[0]}', got 'yes!'"
    if is_a_choice:
        what = "the answers are those that you get when it is always agreed"
        assert text == f"toy, on 0: {start}\n  Wherever it is wrong: {what}."
    else:
        assert text == f"toy: this is what you get when it is always agreed.\n  On 0: {start}"


def test_a_verdict_has_an_end():
    def told(label):
        return said(toy(cases=lambda: [Case(label, (ROW,))], mutants=())(squared))

    room = LONGEST - len(told(""))
    whole, cut = told("x" * room), told("x" * (room + 1))
    assert len(whole) == len(cut) == LONGEST == 1500
    assert whole.endswith("numbers differ")
    assert cut.endswith("numbers diff…")


def test_what_takes_too_long_is_not_tried_again():
    runs = []

    def answer(x):
        runs.append(x[0])
        if x[0] == 2:
            raise TooSlowError("it was still running after 9 s")
        return x * 6

    text = said(toy()(answer))
    assert text.startswith("toy, on row 0: expected 2 at index (0,), got 6")
    assert "Wherever" not in text
    runs.clear()
    text = said(toy()(lambda x: answer(x + 1)))
    assert text == "toy, on row 0: it was still running after 9 s"
    assert runs == [2]


def test_the_first_right_answer_is_the_one_to_compare_with():
    """The others are there for its own tests."""

    def never(other):
        raise AssertionError

    def in_place(x):
        x[0] = 0

    exercise = toy(correct=(double, never))
    assert exercise(added)
    assert "what you get when it is squared" in said(exercise(squared))
    assert "changed its argument x" in said(exercise(in_place))
    words = toy(
        cases=lambda: [Case(str(i), (i,)) for i in range(3)],
        correct=(lambda i: "yes" if i else "no", never),
        mutants=(),
    )
    assert "expected 'no', got 'no.'" in said(words(lambda i: "no."))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("llama_edu.exercises.toys", "toy: that is the book's own function. Now write yours."),
        (
            "llama_edu.ops.toys",
            "toy: right, but your function leaves the work to the book's own "
            "`llama_edu.ops.toys.f`. Now write yours.",
        ),
    ],
)
def test_what_the_book_did_is_told(module, message):
    space = {"__name__": module}
    exec("def f(x):\n    return x * 2\n", space)
    verdict = toy(books=(f"{module}.f",))(lambda x: space["f"](x))
    assert not verdict
    assert verdict.message == message
    assert toy()(lambda x: space["f"](x))
    assert not toy(correct=(space["f"], double))(lambda x: space["f"](x))


def modules():
    for found in pkgutil.iter_modules(framework.__path__, f"{framework.__name__}."):
        yield importlib.import_module(found.name)


def test_nothing_that_answers_are_judged_by_can_be_changed():
    """Not even by an answer that comes by it."""
    found = [
        kind
        for module in modules()
        for kind in vars(module).values()
        if dataclasses.is_dataclass(kind) and kind.__module__ == module.__name__
    ]
    assert len(found) > 10
    for kind in found:
        assert kind.__dataclass_params__.frozen, kind


def test_what_is_forbidden_is_told_where_it_is_called():
    def looks_up(x):
        codecs.lookup("utf-8")
        return x * 2

    text = said(toy(forbids=("codecs", "_codecs"))(looks_up))
    assert text == "toy, on row 0: your function called codecs.lookup, which the task rules out"
    assert toy()(looks_up)


def test_a_rule_is_asked_of_a_right_answer_alone():
    asked = []

    def rule(answer):
        asked.append(answer)
        return "adds" if answer is added else None

    exercise = toy(rule=rule)
    assert exercise(double)
    verdict = exercise(added)
    assert not verdict
    assert verdict.message == "toy: right, but your function adds, which the task rules out."
    assert "squared" in said(exercise(squared))
    assert asked == [double, added]


def test_no_answer_raises():
    class Unlike:
        def __iter__(self):
            raise RuntimeError("no")

    class Sulky(list):
        def __len__(self):
            raise RuntimeError("not today")

    exercise = toy(cases=lambda: [Case("a list", ([1, 2],))], correct=(list, list), mutants=())
    verdict = exercise(lambda x: Sulky())
    assert not verdict
    message = verdict.message
    assert message.startswith("toy: this could not be judged: RuntimeError: not today")
    assert message.endswith(
        "\n  Did your function change something that it shares with the check? "
        "If so, restart and run it again."
    )
    assert not toy()(3)
    assert toy()(3).message == (
        "toy: expected a function, got an int. Give the check the function itself, "
        "without calling it."
    )
    assert toy()(Unlike()).message.startswith("toy: expected a function, got an Unlike.")
