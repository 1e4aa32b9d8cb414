"""The page of what mutants became: a section a group, each with its last run."""

from pathlib import Path

import pytest

from tools.mutation.results import HEAD, Mutant, Outcome, keep, section

GROUPS = ["ops", "text", "chat"]


def outcome(kind, line=7, reason="", was="return a + b"):
    became = was.replace("+", "-")
    mutant = Mutant(Path("llama_edu/ops/norm.py"), "core/Plus_Minus", line, was, became, "")
    return Outcome(mutant, kind, "tests/ops/test_norm.py::test_it", 0.5, reason)


def test_a_section_counts_and_lists_what_survived():
    killed = [outcome("killed"), outcome("killed"), outcome("hangs")]
    judged = outcome("survived", line=3, reason="No id is both.")
    found = section("ops", "Commit 0123, seed 10", [*killed, judged, outcome("survived", line=9)])
    assert found == (
        "## ops\n\n"
        "Commit 0123, seed 10: 5 mutants drawn, 3 killed (1 by the clock), 1 judged equivalent, "
        "1 survived. Of those that are not equivalent, 75.0 % were killed.\n\n"
        "- `llama_edu/ops/norm.py:9`: `return a + b` → `return a - b`\n"
    )


def test_code_with_a_backtick_stays_code():
    found = section("ops", "Commit 0123", [outcome("survived", was='"`x` " + y')])
    assert '`` "`x` " + y `` → `` "`x` " - y ``' in found


def test_running_one_group_replaces_its_section_alone(tmp_path):
    page = tmp_path / "results.md"
    first, other = (section(name, "Commit 1", [outcome("survived")]) for name in ("text", "ops"))
    keep(page, "text", first, GROUPS)  # there is no page yet
    assert page.read_text("utf-8") == f"{HEAD}\n{first}"
    keep(page, "ops", other, GROUPS)
    assert page.read_text("utf-8") == f"{HEAD}\n{other}\n{first}"
    again = section("text", "Commit 2", [outcome("killed")])
    keep(page, "text", again, GROUPS)
    assert page.read_text("utf-8") == f"{HEAD}\n{other}\n{again}"
    keep(page, "chat", again.replace("text", "chat"), ["chat", "text"])  # ops is no group any more
    sections = [line for line in page.read_text("utf-8").splitlines() if line.startswith("## ")]
    assert sections == ["## chat", "## text"]


@pytest.mark.parametrize("kind", ["killed", "survived"])
def test_a_section_of_one_mutant_has_a_share(kind):
    assert f"{100.0 if kind == 'killed' else 0.0} %" in section("ops", "", [outcome(kind)])
