"""The proof of the kit: every mistake planted in an engine, and what the kit says of it.

    python engines/prove.py rust /path/to/built/engine [--only NAME …] [--all]
    python engines/prove.py js llama_edu/page/protocol.mjs

`plant.py` makes the source to build for Rust and C++; the page's engine plants its own mistakes.

`found` counts the mistakes that were noticed, `named` those in the catalogue whose name was among
the explanations given, `wrong` those that were given only other names. A mistake that is not in the
catalogue must be found and not named; a harmless one must not be found.

An engine that rounds on purpose and says so must be accepted, and a mistake in it still be found:
`DECLARED` lists such engines, and is examined with `--declared`.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from plant import VARIABLE, Plant, read_plants

from llama_edu.verify.run import Options, verify_program

ENGINES = Path(__file__).parent
# What is switched on, the formats that are declared, and a mistake beside it.
DECLARED = (
    ("sums_backwards", "f32", "f32", "eps_fixed"),
    ("cache_in_f16", "f32", "f16", "no_past"),
    ("products_in_bf16", "bf16", "bf16", "neighbours"),
    ("products_in_bf16", "bf16", "bf16", "swapped_gate"),
)
PATIENCE = 60.0  # seconds for a name: other work on the machine is not to decide what is found


@dataclass(frozen=True)
class Outcome:
    """What the kit said of one planted mistake, and whether that is what it should say."""

    plant: Plant
    found: bool
    names: tuple[tuple[str, ...], ...]
    seconds: float

    @property
    def verdict(self) -> str:
        expects = self.plant.expects
        if self.plant.harmless:
            return "ok" if not self.found else "ACCUSED"
        if not self.found:
            return "MISSED"
        if not expects:
            return "ok" if not self.names else "MISNAMED"
        if not self.names:
            return "unnamed"
        return "ok" if any(set(group) <= set(expects) for group in self.names) else "MISNAMED"


def stages_of(plant: Plant, patience: float = PATIENCE) -> Options:
    """The stages that are there for a mistake of this kind; the others would only take time."""
    kind = plant.stage or (plant.expects[0].split(".")[0] if plant.expects else "numbers")
    if kind in ("tokens", "sampling", "chat"):
        return Options(stages=(kind,), tiny=kind == "tokens")
    return Options(models=("story",), stages=("forward", "cache"), naming_seconds=patience)


def examine(built: Path, plant: Plant, options: Options) -> Outcome:
    """Run the kit on an engine with one mistake switched on."""
    start = time.perf_counter()
    command = ["node", str(built)] if built.suffix == ".mjs" else [str(built)]
    report = verify_program(["env", f"{VARIABLE}={plant.name}", *command], options)
    names = tuple(n.keys for verdict in report.verdicts for n in verdict.named)
    return Outcome(plant, report.exit_code == 1, names, time.perf_counter() - start)


def declared(built: Path) -> int:
    """Examine engines that round as they say, without a mistake and with one."""
    wrong = 0
    for variant, dtype, cache, mistake in DECLARED:
        options = Options(("story",), ("forward", "cache"), dtype=dtype, cache_dtype=cache)
        for names in (variant, f"{variant},{mistake}"):
            report = verify_program(["env", f"{VARIABLE}={names}", str(built)], options)
            told = [" + ".join(n.keys) for verdict in report.verdicts for n in verdict.named]
            right = report.exit_code == (0 if names == variant else 1)
            wrong += not right
            verdict = "right" if report.ok else f"found: {' | '.join(told) or 'no name'}"
            print(f"{names:34}{report.declared:18}{'ok' if right else 'WRONG':7}{verdict}")
    return int(wrong > 0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run it on all of them, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("language", choices=("rust", "cpp", "js"))
    parser.add_argument("built", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--all", action="store_true", help="every stage and model for each")
    parser.add_argument("--declared", action="store_true", help="engines that round on purpose")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds for a name")
    args = parser.parse_args(argv)
    if not args.built.is_file():
        parser.error(f"expected a built engine, got no file called {args.built}")
    if args.declared:
        return declared(args.built)
    plants = read_plants(ENGINES / args.language / "planted.toml")
    plants = [plant for plant in plants if not args.only or plant.name in args.only]
    outcomes = []
    for plant in plants:
        options = Options() if args.all else stages_of(plant, args.patience)
        outcome = examine(args.built, plant, options)
        outcomes.append(outcome)
        told = " | ".join(" + ".join(group) for group in outcome.names) or "-"
        print(f"{plant.name:26}{outcome.verdict:10}{outcome.seconds:6.1f} s  {told}", flush=True)
    counted = {
        kind: sum(o.verdict == kind for o in outcomes)
        for kind in ("ok", "unnamed", "MISNAMED", "MISSED", "ACCUSED")
    }
    known = sum(bool(p.expects) for p in plants)
    print(f"{len(plants)} planted, {known} of them in the catalogue: {counted}")
    return int(any(counted[kind] for kind in ("MISNAMED", "MISSED", "ACCUSED")))


if __name__ == "__main__":
    sys.exit(main())
