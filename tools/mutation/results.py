"""What became of the mutants of a group, and the page that keeps it: `results.md`.

The page has a section for each group, as its last run left it, with what is needed to draw the same
mutants again: commit, seed and how many. It needs nothing but Python, unlike what makes mutants.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Mutant", "Outcome", "keep", "section"]

HEAD = """\
# What the last run of each group found

Written by `python -m tools.mutation.run`, a section a group: what a mutant is, which groups there \
are and what *equivalent* means stands in [CONTRIBUTING](../../CONTRIBUTING.md#do-the-tests-notice).
"""


@dataclass(frozen=True)
class Mutant:
    """A file, and the same file with one change.

    `was` and `became` are the lines that differ, stripped: together with the file they name the
    mutant in a list that outlives other changes.
    """

    path: Path
    operator: str
    line: int
    was: str
    became: str
    source: str


@dataclass
class Outcome:
    """What became of a mutant: "killed", "hangs" (killed by the clock), or "survived"."""

    mutant: Mutant
    kind: str
    by: str
    seconds: float
    reason: str = ""  # for a survivor that was judged

    @property
    def is_killed(self) -> bool:
        return self.kind in ("killed", "hangs")


def section(group: str, drawn: str, outcomes: Sequence[Outcome]) -> str:
    """What a run of a group found; `drawn` says of which code, and with which seed."""
    killed = [outcome for outcome in outcomes if outcome.is_killed]
    survived = [outcome for outcome in outcomes if not outcome.is_killed]
    holes = [outcome.mutant for outcome in survived if not outcome.reason]
    hung = sum(outcome.kind == "hangs" for outcome in killed)
    share = 100 * len(killed) / max(1, len(killed) + len(holes))
    lines = [
        f"## {group}",
        "",
        f"{drawn}: {len(outcomes)} mutants drawn, {len(killed)} killed ({hung} by the clock), "
        f"{len(survived) - len(holes)} judged equivalent, {len(holes)} survived. "
        f"Of those that are not equivalent, {share:.1f} % were killed.",
        *([""] if holes else []),
        *(f"- {_code(f'{m.path}:{m.line}')}: {_code(m.was)} → {_code(m.became)}" for m in holes),
    ]
    return "\n".join(lines) + "\n"


def keep(page: Path, group: str, found: str, groups: Sequence[str]) -> None:
    """Write a group's section into the page, in place of the one it had.

    The others stay as they are, in the order of `groups`; those of other groups go. The page may
    be missing.
    """
    before = page.read_text("utf-8") if page.exists() else ""
    _, *parts = re.split(r"^(?=## )", before, flags=re.MULTILINE)
    sections = {part[3:].partition("\n")[0]: part.rstrip() + "\n" for part in parts}
    sections[group] = found
    page.write_text("\n".join([HEAD, *(sections[g] for g in groups if g in sections)]), "utf-8")


def _code(text: str) -> str:
    """A piece of code in Markdown, whatever quotes it has in it."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"
