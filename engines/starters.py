"""Make the starters of Rust and C++ from the engines: one reader of JSON, one protocol loop.

    python engines/starters.py            write them where `llama-edu verify --init` finds them
    python engines/starters.py --check    only say whether they are what would be written

`starter.rs` and `starter.cpp` hold what is the reader's to fill. A line such as
`// from llama.rs: JSON` stands for the section of that title in the engine beside it.
"""

import re
import sys
from pathlib import Path

ENGINES = Path(__file__).resolve().parent
STARTERS = ENGINES.parent / "llama_edu" / "verify" / "starters"
MADE = {"rust/starter.rs": "rust.rs", "cpp/starter.cpp": "cpp.cpp"}
SECTION = re.compile(r"^// ---- (.+?) -+$", re.MULTILINE)


def sections(source: str) -> dict[str, str]:
    """An engine's sections, by what stands before the colon in their titles."""
    found = list(SECTION.finditer(source))
    ends = [match.start() for match in found[1:]] + [len(source)]
    return {
        match[1].partition(":")[0]: source[match.start() : end].rstrip() + "\n"
        for match, end in zip(found, ends, strict=True)
    }


def assembled(skeleton: Path) -> str:
    """The starter: a skeleton with the engine's sections in their places.

    Raises `KeyError` for a section that the engine has not.
    """
    engine = skeleton.with_name("llama" + skeleton.suffix)
    found = sections(engine.read_text(encoding="utf-8"))
    return re.sub(
        rf"^// from {re.escape(engine.name)}: (.+)\n",
        lambda place: found[place[1]],
        skeleton.read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )


def main(arguments: list[str]) -> int:
    """Write the starters, or compare them."""
    stale = []
    for skeleton, name in MADE.items():
        text, target = assembled(ENGINES / skeleton), STARTERS / name
        if target.read_text(encoding="utf-8") != text:
            stale.append(name)
        if "--check" not in arguments:
            target.write_text(text, encoding="utf-8")
    if stale:
        sys.stdout.write(f"{'stale' if '--check' in arguments else 'written'}: {stale}\n")
    return int(bool(stale) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
