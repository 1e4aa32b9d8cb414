"""The mutation run: its own operator, and a sample that is fair and the same for a seed."""

from pathlib import Path

import pytest

pytest.importorskip("cosmic_ray")

ROOT = Path(__file__).resolve().parents[2]

from cosmic_ray.mutating import mutate_code  # noqa: E402

from tools.mutation.mutants import sampled  # noqa: E402
from tools.mutation.operators import DropKeywordArgument  # noqa: E402

SOURCE = '''"""Words."""
__all__ = ["total"]


def total(x: int | None, scale: float = 1.5) -> int:
    """Words: 3 + 4."""
    return round(x * scale + 2, ndigits=0)
'''


@pytest.mark.parametrize("example", DropKeywordArgument.examples())
def test_a_keyword_argument_is_dropped(example):
    got = mutate_code(example.pre_mutation_code, DropKeywordArgument(), example.occurrence)
    assert got == example.post_mutation_code


def test_what_describes_is_left_alone(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(SOURCE, "utf-8")
    found = sampled(tmp_path, [Path("module.py")], 100, seed=1)
    assert {mutant.line for mutant in found} == {5, 7}
    assert all("|" in mutant.became for mutant in found if mutant.line == 5)  # the default alone
    assert any("**{}" in mutant.became for mutant in found)
    for mutant in found:
        compile(mutant.source, "module", "exec")


def test_a_seed_makes_the_same_sample():
    files = [Path("llama_edu/ops/norm.py"), Path("llama_edu/ops/mlp.py")]
    once, again, other = (sampled(ROOT, files, 5, seed) for seed in (1, 1, 2))
    assert once == again != other
    assert len({(m.path, m.line, m.was, m.became) for m in once}) == 5
