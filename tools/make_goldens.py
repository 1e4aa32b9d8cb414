"""Regenerate everything under ``tests/data`` with PyTorch and ``transformers``.

    python tools/make_goldens.py            # all of it
    python tools/make_goldens.py tiny       # one part: tiny, operators or models

The tests only read what this writes; they need neither library.  Install
``torch`` (the CPU build is enough) and ``transformers`` to run it.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path

import numpy as np
import torch
import transformers
from golden_operators import make_operators
from golden_tiny import make_tiny

DATA = Path(__file__).resolve().parents[1] / "tests" / "data"
PARTS = {"tiny": make_tiny, "operators": make_operators}


def main() -> None:
    """Run the parts asked for, and write down with which versions."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="*", choices=[*PARTS, []], help="default: every part")
    torch.set_num_threads(1)  # one order of additions, whatever the machine
    transformers.logging.set_verbosity_error()
    for part in parser.parse_args().part or PARTS:
        PARTS[part](DATA)
        _write_versions(part)


def _write_versions(part: str) -> None:
    path = DATA / "made_with.json"
    made_with = json.loads(path.read_text()) if path.exists() else {}
    made_with[part] = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    path.write_text(json.dumps(made_with, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
