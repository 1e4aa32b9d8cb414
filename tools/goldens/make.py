"""Regenerate everything under ``tests/data`` with PyTorch and ``transformers``.

    python -m tools.goldens.make --smollm2 DIRECTORY     # all of it
    python -m tools.goldens.make tiny                    # one part: tiny, operators or models

DIRECTORY is where ``python -m llama_edu fetch smollm2-135m-instruct`` put the model; without it
that model's goldens stay as they are. The tests only read what this writes; they need neither
library. Install ``torch`` (the CPU build is enough) and ``transformers`` to run it.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path

import numpy as np
import torch
import transformers

from tools.goldens.models import make_models
from tools.goldens.operators import make_operators
from tools.goldens.tiny import make_tiny

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"
EMBEDDED = ROOT / "llama_edu" / "models"
PARTS = ("tiny", "operators", "models")


def main() -> None:
    """Run the parts asked for, and write down with which versions."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="*", choices=[*PARTS, []], help="default: every part")
    parser.add_argument("--smollm2", type=Path, metavar="DIRECTORY", help="the fetched model")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # one order of additions, whatever the machine
    transformers.logging.set_verbosity_error()
    parts = arguments.part or PARTS
    if "tiny" in parts:
        make_tiny(DATA)
        _write_versions("tiny")
    if "operators" in parts:
        make_operators(DATA)
        _write_versions("operators")
    if "models" in parts:
        models = {path.parent.name: path.parent for path in EMBEDDED.glob("*/model.safetensors")}
        if arguments.smollm2:
            models["smollm2-135m-instruct"] = arguments.smollm2
        make_models(DATA, models)
        for name in models:
            _write_versions(f"models/{name}")


def _write_versions(part: str) -> None:
    path = DATA / "made_with.json"
    made_with = json.loads(path.read_text("utf-8")) if path.exists() else {}
    made_with[part] = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    path.write_text(json.dumps(made_with, indent=2, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    main()
