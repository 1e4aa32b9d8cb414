"""`tools.check` runs two at a time where it may, and stops at the first failure."""

import json
import time
from pathlib import Path

import pytest

from tools import branches
from tools.check import CHECKS, Check, fits, run_checks

ROOT = Path(__file__).resolve().parents[2]


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


@pytest.mark.parametrize(
    ("lines", "of_branches", "status"), [(96, 95, 0), (99, 94, 1), (94, 99, 1)]
)
def test_lines_and_branches_are_held_apart(capsys, tmp_path, lines, of_branches, status):
    """Three lines for each branch: in one sum, each of these is above 95 %."""
    totals = {"covered_lines": 30 * lines, "num_statements": 3000}
    totals |= {"covered_branches": 10 * of_branches, "num_branches": 1000}
    (tmp_path / "report.json").write_text(json.dumps({"totals": totals}), "utf-8")
    with pytest.raises(SystemExit) as left:
        branches.main(tmp_path / "report.json")
    assert left.value.code == status
    shown = capsys.readouterr().out
    assert f"{lines}.00 % of the lines" in shown
    assert f"{of_branches}.00 % of the branches" in shown


def test_branches_are_counted_where_coverage_has_written_its_report():
    assert f"--cov-report=json:{branches.REPORT}" in CHECKS["coverage"].arguments
    assert "check model coverage branches\n" in (ROOT / "Makefile").read_text("utf-8")
