"""The engines that readers are shown: right as they stand, and named where they are not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llama_edu.verify.mistakes import CATALOGUE
from llama_edu.verify.run import Options, verify_program
from llama_edu.verify.sampling import SAMPLING_MISTAKES
from llama_edu.verify.tokens import DECODE_MISTAKES, ENCODE_MISTAKES

ENGINES = Path(__file__).resolve().parents[2] / "engines"
sys.path.insert(0, str(ENGINES))
from plant import VARIABLE, read_plants, woven  # type: ignore[import-not-found]  # noqa: E402

COMPILERS = {
    "rust": ("rustc", ".rs", ["--edition", "2021", "-C", "opt-level=1", "-A", "warnings"]),
    "cpp": ("g++", ".cpp", ["-std=c++17", "-O1"]),
}


@pytest.fixture(scope="module", params=sorted(COMPILERS))
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine with all mistakes woven in, compiled."""
    compiler, suffix, options = COMPILERS[request.param]
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler}")
    folder = tmp_path_factory.mktemp(request.param)
    source = (ENGINES / request.param / f"llama{suffix}").read_text(encoding="utf-8")
    text = woven(source, read_plants(ENGINES / request.param / "planted.toml"), request.param)
    (folder / f"engine{suffix}").write_text(text, encoding="utf-8")
    built = folder / request.param
    subprocess.run(
        [compiler, *options, str(folder / f"engine{suffix}"), "-o", str(built)], check=True
    )
    return built


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


EXPECTED = {
    "rust": {"no_past": "position.no_past", "growing_rows": "cache.grows"},
    "cpp": {"modulo": "heads.modulo", "eps_1e-5": "config.eps_1e-05"},
}
ONLY = Options(models=("story",), stages=("forward", "cache"), naming_seconds=60.0)


def test_a_planted_mistake_is_named(engine: Path) -> None:
    for plant, key in EXPECTED[engine.name].items():
        report = verify_program(["env", f"{VARIABLE}={plant}", str(engine)], ONLY)
        assert [named.keys for v in report.verdicts for named in v.named] == [(key,)]
        assert report.exit_code == 1


def test_starters_read_json_as_the_engines_do() -> None:
    """One reader of JSON for each language, in two places."""
    starters = ENGINES.parent / "llama_edu" / "verify" / "starters"
    for engine_file, starter in (("rust/llama.rs", "rust.rs"), ("cpp/llama.cpp", "cpp.cpp")):
        source = (ENGINES / engine_file).read_text(encoding="utf-8")
        begin, end = source.index("// JSON: what configs"), source.index("// Chapter 1: bytes")
        reader = source[begin:end].rpartition("// ---")[0].strip()
        shared = reader.replace("std::fmt::Display", "Display")
        assert shared in (starters / starter).read_text(encoding="utf-8")
