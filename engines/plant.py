"""Weave mistakes into an engine: its source with a switch at every place where one can sit.

    python engines/plant.py engines/rust/llama.rs engines/rust/planted.toml > planted.rs

The source that readers see stays clean. The table beside it says, for each mistake, which text is
exchanged for which. The result has both, and takes the wrong one where the environment variable
LLAMA_PLANTED names it; without the variable it is the engine as it stands.
"""

import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "LLAMA_PLANTED"


@dataclass(frozen=True)
class Plant:
    """One mistake: its name, and what the kit should say of it.

    `wrong` takes the place of `find`, as an expression, or as a statement; `raw` does as it stands,
    with the switch in it. `expects` are keys of the catalogue, any of which is right; none for a
    mistake that is not in it. A `harmless` one changes no number that counts. `stage` is where it
    shows; by default it follows from `expects`. An engine that plants its own mistakes, as the
    page's does, needs no `find`.
    """

    name: str
    expects: tuple[str, ...]
    harmless: bool
    find: str
    wrong: str
    statement: bool
    raw: str
    also: tuple[tuple[str, str], ...] = ()
    stage: str = ""


def read_plants(path: Path) -> list[Plant]:
    """The table of an engine."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return [
        Plant(
            entry["name"],
            tuple(entry.get("expects", ())),
            entry.get("harmless", False),
            entry.get("find", ""),
            entry.get("wrong", ""),
            entry.get("statement", False),
            entry.get("raw", ""),
            tuple((also["find"], also["wrong"]) for also in entry.get("also", ())),
            entry.get("stage", ""),
        )
        for entry in table["plant"]
    ]


def woven(source: str, plants: list[Plant], language: str) -> str:
    """The source with every mistake in it, each behind its switch.

    Raises `ValueError` for a text that is not in the source exactly once.
    """
    places: dict[str, list[tuple[str, str, bool]]] = {}
    for plant in plants:
        if plant.raw:
            source = _exchanged(source, plant.find, plant.raw)
            continue
        for find, wrong in ((plant.find, plant.wrong), *plant.also):
            places.setdefault(find, []).append((plant.name, wrong, plant.statement))
    for find, alternatives in places.items():
        source = _exchanged(source, find, _switched(find, alternatives, language))
    return FIRST[language] + source + SWITCH[language]


def _exchanged(source: str, find: str, new: str) -> str:
    if source.count(find) != 1:
        raise ValueError(f"expected {find!r} once in the source, got {source.count(find)}")
    return source.replace(find, new)


def _switched(right: str, alternatives: list[tuple[str, str, bool]], language: str) -> str:
    chosen = right
    for name, wrong, statement in alternatives:
        if language == "rust":
            chosen = f'if planted("{name}") {{ {wrong} }} else {{ {chosen} }}'
        elif statement:  # in braces of its own: the `else` is not to be another `if`'s
            chosen = f'{{ if (planted("{name}")) {{ {wrong} }} else {{ {chosen} }} }}'
        else:
            chosen = f'(planted("{name}") ? ({wrong}) : ({chosen}))'
    return f"({chosen})" if language == "rust" and not alternatives[0][2] else chosen


FIRST = {"rust": "", "cpp": "bool planted(const char*);\n"}  # C++ wants to know before it is used
SWITCH = {
    "rust": f"""
fn planted(name: &str) -> bool {{
    static NAMES: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let names = NAMES.get_or_init(|| std::env::var("{VARIABLE}").unwrap_or_default());
    names.split(',').any(|planted| planted == name)
}}
""",
    "cpp": f"""
#include <cstdlib>
#include <cstring>
bool planted(const char* name) {{
    static const std::string names = [] {{
        const char* given = std::getenv("{VARIABLE}");
        return "," + std::string(given ? given : "") + ",";
    }}();
    return names.find("," + std::string(name) + ",") != std::string::npos;
}}
""",
}


def main() -> None:
    """Print the woven source."""
    source, table = Path(sys.argv[1]), Path(sys.argv[2])
    language = {".rs": "rust", ".cpp": "cpp"}[source.suffix]
    text = woven(source.read_text(encoding="utf-8"), read_plants(table), language)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
