"""The engines that readers are shown: right as they stand, and named where they are not."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import port_it
import pytest
from compilers import working
from plant import VARIABLE, read_plants, woven
from starters import MADE, STARTERS, assembled

from llama_edu.chapters import chapter_number
from llama_edu.hub import locate
from llama_edu.verify.mistakes import CATALOGUE
from llama_edu.verify.run import Options, verify_program
from llama_edu.verify.sampling import SAMPLING_MISTAKES
from llama_edu.verify.tokens import DECODE_MISTAKES, ENCODE_MISTAKES

ENGINES = Path(__file__).resolve().parents[2] / "engines"

# What is said beside a chapter's number in an engine or a starter, and the topics that have it.
TOLD = {
    "Bytes: ": ("bytes",),
    "tensor": ("bytes",),
    "ids, and back": ("tokenizer",),
    "text to ids": ("tokenizer",),
    "ids to text": ("tokenizer",),
    "shown after each id": ("tokenizer",),
    "Products": ("linear",),
    "Scores": ("scores", "score_v"),
    "cached positions": ("linear", "generate"),
    "config.json and the weights": ("linear", "model"),
    "RoPE": ("rope",),
    "Norm": ("norm_mlp",),
    "whole model": ("model",),
    "The cache": ("generate",),
    "keys and values": ("generate",),
    "Sampling": ("sampling",),
    "temperature": ("sampling",),
    "roles and contents": ("chat",),
}

# Woven mistakes come in parentheses, and in C++ a sanitizer looks on: a temporary that dies too
# early is no warning.
COMPILERS = {
    "rust": (
        "rustc",
        ".rs",
        ["--edition=2021", "-Copt-level=1", "-Dwarnings", "-Aunused_parens"],
    ),
    "cpp": ("g++", ".cpp", ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror"]),
}
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]


def compiled(language: str, folder: Path, source: str, *more: str) -> Path:
    """A program made of a source; skipped where there is no compiler for it."""
    compiler, suffix, options = COMPILERS[language]
    path = working(compiler)
    if path is None:
        pytest.skip(f"there is no {compiler}")
    (folder / f"source{suffix}").write_text(source, encoding="utf-8")
    built = folder / language
    command = [path, *options, *more, str(folder / f"source{suffix}"), "-o", str(built)]
    done = subprocess.run(command, capture_output=True, text=True)
    if more and "cannot find" in done.stderr:
        pytest.skip(f"there is no library for {more[0]}")
    assert done.returncode == 0, done.stderr
    return built


def with_mistakes(language: str) -> str:
    """An engine's source with all mistakes woven in."""
    folder = ENGINES / language
    source = (folder / f"llama{COMPILERS[language][1]}").read_text(encoding="utf-8")
    return str(woven(source, read_plants(folder / "planted.toml"), language))


@pytest.fixture(scope="module", params=sorted(COMPILERS))
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine with all mistakes woven in, compiled."""
    language = request.param
    return compiled(language, tmp_path_factory.mktemp(language), with_mistakes(language))


@pytest.mark.parametrize("language", sorted(COMPILERS))
def test_enough_mistakes_are_planted_and_known(language: str) -> None:
    plants = read_plants(ENGINES / language / "planted.toml")
    assert len({plant.name for plant in plants}) == len(plants) >= 50
    known = {*CATALOGUE, *(m.key for m in SAMPLING_MISTAKES)}
    known |= {m.key for m in (*ENCODE_MISTAKES, *DECODE_MISTAKES)}
    assert {key for plant in plants for key in plant.expects} <= known
    assert sum(bool(plant.expects) for plant in plants) >= 45
    assert sum(plant.harmless for plant in plants) >= 2


def test_the_engine_is_right(engine: Path) -> None:
    report = verify_program([str(engine)], Options(models=("story",)))
    assert report.ok, "\n".join(report.text())
    assert report.counts["right"] > 400
    assert report.counts["refused"] == 0


def test_no_memory_is_misused(tmp_path: Path) -> None:
    """By the code around the switches either, which is there whatever is switched on."""
    built = compiled("cpp", tmp_path, with_mistakes("cpp"), *SANITIZERS)
    options = Options(models=("story",), tiny=False, stages=("bytes", "tokens", "sampling"))
    report = verify_program([str(built)], options)
    assert report.ok, "\n".join(report.text())


ONLY = Options(models=("story",), stages=("forward", "cache"), tiny=False, naming_seconds=60.0)


FRACTION = re.compile(r"-?\d+\.\d+")


@pytest.mark.parametrize("engine", ["rust"], indirect=True)
def test_the_page_shows_the_protocol_as_it_is_spoken(engine: Path) -> None:
    page = (ENGINES.parent / "book" / "port_it.md").read_text("utf-8")
    said = re.findall(r'^(\{"op".*\})\n    (\{.*\})$', page, re.MULTILINE)
    assert len(said) == 8
    asked = "".join(f"{request}\n" for request, _ in said)
    command = [str(engine), str(locate("story"))]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=True)
    for (_, shown), answer in zip(said, done.stdout.splitlines(), strict=True):
        begin, _, end = shown.partition(",…")
        want, got = FRACTION.findall(begin), FRACTION.findall(answer)[: FRACTION.subn("", begin)[1]]
        # Another processor may round the last digit otherwise.
        assert [float(x) for x in got] == pytest.approx([float(x) for x in want], rel=1e-4)
        assert FRACTION.sub("#", answer).startswith(FRACTION.sub("#", begin))
        assert answer.endswith(end)


def test_a_planted_mistake_is_named(engine: Path) -> None:
    plant, key = {
        "rust": ("growing_rows", "cache.grows"),
        "cpp": ("modulo", "heads.modulo"),
    }[engine.name]
    report = verify_program(["env", f"{VARIABLE}={plant}", str(engine)], ONLY)
    assert [named.keys for v in report.verdicts for named in v.named] == [(key,)]
    assert report.exit_code == 1


def test_the_page_shows_what_the_kit_says(tmp_path: Path) -> None:
    """The tokens of a story, a stage that is right, and a mistake; the rest is run by the tool."""
    page = port_it.PAGE.read_text(encoding="utf-8")
    blocks = list(port_it.BLOCK.finditer(page))
    assert len(blocks) == page.count("% planted:") >= 11
    built = compiled("rust", tmp_path, port_it.source())
    for block in (blocks[0], blocks[1], blocks[4], blocks[-1]):
        assert port_it.told(built, block) == block["text"], "run engines/port_it.py"
    assert port_it.story(built, "eps_fixed", 48) == blocks[1]["text"]  # as the page says
    assert blocks[0]["text"] != blocks[1]["text"]


def test_starters_are_made_from_the_engines() -> None:
    """One reader of JSON and one protocol loop for each language."""
    for skeleton, name in MADE.items():
        made = assembled(ENGINES / skeleton)
        assert (STARTERS / name).read_text(encoding="utf-8") == made, "run engines/starters.py"


@pytest.mark.parametrize("path", [*ENGINES.glob("*/llama.*"), *STARTERS.iterdir()], ids=str)
def test_chapters_have_their_numbers(path: Path) -> None:
    """Chapters may be reordered; what is named by a number is asked for its topic."""
    for line in re.findall(r".*[Cc]hapters? \d.*", path.read_text(encoding="utf-8")):
        topics = next((topics for words, topics in TOLD.items() if words in line), None)
        assert topics is not None, f"expected one of {list(TOLD)}, got {line!r}"
        numbers = re.findall(r"\d+", line.partition("hapter")[2])[: len(topics)]
        assert numbers == [str(chapter_number(topic)) for topic in topics], line
