"""`tools.check` runs two at a time where it may, and stops at the first failure."""

import time

import pytest

from tools.check import CHECKS, Check, fits, run_checks


def python(title, code, **options):
    return Check(title, ("-c", code), f"Advice on {title}.", **options)


MEET = """
import pathlib, sys, time
mine, other = map(pathlib.Path, sys.argv[1:])
print(mine.name, "begins", flush=True)
mine.touch()
while not other.exists():
    time.sleep(0.01)
print(mine.name, "ends", flush=True)
"""


def test_two_run_side_by_side_and_their_words_do_not_mix(capfd, tmp_path):
    """Each waits until the other has begun."""
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    run_checks(
        [
            Check("One", ("-c", MEET, one, two), "", one_core=True),
            Check("Two", ("-c", MEET, two, one), "", one_core=True),
        ]
    )
    shown = capfd.readouterr().out
    assert "one begins\none ends\n✓ One (" in shown
    assert "two begins\ntwo ends\n✓ Two (" in shown


def test_what_fails_ends_the_others_and_gives_its_status_and_advice(capfd):
    start = time.monotonic()
    with pytest.raises(SystemExit) as left:
        run_checks(
            [
                python("Long", "import time; time.sleep(100)", one_core=True),
                python("Wrong", "import sys; print('a reason'); sys.exit(3)", one_core=True),
                python("Never", "print('too late')"),
            ]
        )
    assert time.monotonic() - start < 90
    assert left.value.code == 3
    shown = capfd.readouterr().out
    reason, _, rest = shown.partition("a reason\n")
    assert "── Long" in reason
    assert rest.startswith("\n✗ Wrong: failed after ")
    assert rest.endswith("\nAdvice on Wrong.\n")


@pytest.mark.posix
def test_a_check_that_a_signal_ended_has_failed(capfd):
    with pytest.raises(SystemExit) as left:
        run_checks([python("Killed", "import os; os.kill(os.getpid(), 9)")])
    assert left.value.code == 137
    assert "✗ Killed" in capfd.readouterr().out


def test_what_a_check_keeps_quiet_is_not_shown_but_its_warnings_are(capfd):
    code = "import sys; print('progress'); print('a warning', file=sys.stderr)"
    run_checks([python("Quiet", code, one_core=True, quiet=True)])
    shown = capfd.readouterr().out
    assert "progress" not in shown
    assert "a warning\n✓ Quiet (" in shown


def test_only_two_of_one_core_run_side_by_side():
    small, large = python("small", "", one_core=True), python("large", "")
    assert fits(large, [])
    assert fits(small, [])
    assert fits(small, [small])
    assert not fits(small, [small, small])
    assert not fits(small, [large])
    assert not fits(large, [small])


def test_what_looks_at_the_book_waits_until_it_is_built():
    for name in ("browser", "pdf", "epub"):
        assert not fits(CHECKS[name], [CHECKS["book"]])
