"""Hold lines and branches to the share they must reach, each by itself.

`fail_under` of coverage.py is about both in one sum. There are several lines for each branch, so
that lines which nearly all run would make up for branches that do not. Run by `make coverage`,
after the tests have written the report.
"""

import json
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / "_build" / "coverage.json"


def shares(totals: Mapping[str, int]) -> dict[str, float]:
    """What was reached of the lines and of the branches, in per cent, by a report's totals."""
    return {
        "lines": 100 * totals["covered_lines"] / totals["num_statements"],
        "branches": 100 * totals["covered_branches"] / totals["num_branches"],
    }


def main(report: Path = REPORT) -> None:
    """Print both shares; leave with 1 if one of them is below `fail_under` of pyproject.toml."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    least = settings["tool"]["coverage"]["report"]["fail_under"]
    reached = shares(json.loads(report.read_text("utf-8"))["totals"])
    for what, share in reached.items():
        print(f"{share:.2f} % of the {what}, at least {least} % must be")
    sys.exit(any(share < least for share in reached.values()))


if __name__ == "__main__":
    main()
