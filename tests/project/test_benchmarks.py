"""Benchmarks are honest: no ratio without equal outputs, and pictures of what was measured."""

import argparse
import json
import re
import statistics
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import tiny_config, tiny_tensors

from llama_edu import Llama
from llama_edu.engine.operators import NUMPY

pytest.importorskip("numba")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import bench_operators
import budget
import optimisations
import record
import shared_prompt
import step_profile
import table

from llama_edu.formats.precision import PRECISIONS

CONFIG = tiny_config()

FAST, SLOW = {"tokens_per_s": 30.0}, {"tokens_per_s": 20.0}


def a_round(ratio=None, agreed=128):
    found = {"ours": FAST, "peer": SLOW, "agreed_tokens": agreed}
    return found if ratio is None else found | {"ratio": ratio}


def test_a_row_shows_both_sides_the_median_and_the_spread(capsys):
    table.print_row(table.ROWS["f32"], [a_round(1.5), a_round(1.25), a_round(1.0)])
    line = capsys.readouterr().out
    assert "30.0/s" in line
    assert "20.0/s" in line
    assert "1.25 [1.00–1.50]  1.2 reached" in line


def test_without_equal_outputs_there_is_no_ratio(capsys):
    table.print_row(table.ROWS["f32"], [a_round(1.5), a_round(agreed=3)])
    assert capsys.readouterr().out.endswith("no ratio: outputs differ after 3 tokens\n")


def test_every_target_has_its_row():
    wanted = "f32-numpy 2.5 f32 1.2 bf16 1.25 bf16-torch 5 wall 0.8 int8 1.4 int4 1.15 story 6"
    prompts = "prefill 1.2 prefill-cpp 1.2 prefill-bf16 0.8 prefill-both 1"
    words = f"{wanted} {prompts} past 0.8 load 5.0 memory 1.0".split()
    targets = dict(zip(words[::2], map(float, words[1::2]), strict=True))
    assert {name: row.target for name, row in table.ROWS.items()} == targets


def test_every_operator_can_be_measured_by_itself():
    assert set(bench_operators.OPERATORS) >= {"linear", "softmax", "score_v", "swiglu"}
    for name in bench_operators.OPERATORS:
        out = getattr(NUMPY, name)(*bench_operators.arguments(name, 3))
        for part in out if isinstance(out, tuple) else (out,):  # cosines and sines are two
            assert part.shape[-2] == 3
            assert part.dtype == np.float32


def test_a_profile_reads_less_than_it_computes():
    model = Llama(CONFIG, tiny_tensors(CONFIG), backend="numba")
    args = argparse.Namespace(rounds=2, threads=1)
    row = step_profile.profile(model, args, past=32)
    assert row["past"] == 32
    assert row["read_ratio"] == 1.0
    for name in step_profile.WORDS:
        low, high = row[f"{name}_spread"]
        assert 0 < low <= row[f"{name}_ratio"] <= high
        assert row[f"{name}_ms"] > 0


def test_a_row_says_what_memory_allows():
    results = {"bf16": [a_round(1.1)], "wall": [{"peer": {"bytes_per_s": 30e9}}]}
    assert table.most("bf16", results, 1_000_000_000) == "   memory allows 1.50"
    assert table.most("story", results, 1_000_000_000) == ""
    assert table.most("bf16", {"bf16": [a_round(1.1)]}, 1_000_000_000) == ""


@pytest.mark.parametrize("figure", ["tokens_per_s", "sooner_s", "peak"])
def test_a_figure_has_a_unit(figure):
    text = table.side([{figure: 0.25, "peak_bytes": 435e6}], figure)
    assert text == {"tokens_per_s": "0.2/s", "sooner_s": "250 ms", "peak": "435 MB"}[figure]


def test_the_machine_is_named_with_every_version():
    rounds = [{"ours": FAST | {"versions": {"numba": "1.2"}}, "peer": SLOW}]
    where = table.machine(2, {"f32": rounds})
    assert where["threads"] == 2
    assert where["processor"]
    assert where["versions"]["numba"] == "1.2"


def test_what_was_measured_can_be_drawn(tmp_path):
    rows = {name: [a_round(1.0)] for name in table.DECODE}
    rows["wall"] = [{"ours": FAST, "peer": {"bytes_per_s": 3e10}, "ratio": 0.8}]
    record.draw_roofline({"model": "m", "nbytes_bf16": 269e6, "rows": rows}, tmp_path / "r.png")
    qualities = [
        {"precision": name, "weight_nbytes": nbytes, "gap": gap}
        for name, nbytes, gap in (("f32", 538e6, 0.0), ("bf16", 269e6, 0.3), ("int8", 143e6, 0.9))
    ]
    record.draw_errors({"qualities": qualities}, tmp_path / "e.png")
    record.draw_context({"past": [[16, 1.0], [64, 1.1]]}, tmp_path / "c.png")
    assert all((tmp_path / f"{name}.png").stat().st_size > 5000 for name in "rec")


def test_the_readme_shows_the_ratios_of_the_record():
    folder = Path(table.__file__).parent
    kept = json.loads((folder / "results" / "table.json").read_text("utf-8"))["rows"]
    text = (folder / "README.md").read_text("utf-8")
    assert kept.keys() == table.ROWS.keys()
    for rounds in kept.values():
        ratios = sorted(one["ratio"] for one in rounds)
        shown = f"**{statistics.median(ratios):.2f}**"
        if f"{ratios[0]:.2f}" != f"{ratios[-1]:.2f}":
            shown += f" [{ratios[0]:.2f}–{ratios[-1]:.2f}]"
        assert shown in text


def test_the_first_page_says_what_the_record_says():
    folder = Path(table.__file__).parent
    kept = json.loads((folder / "results" / "table.json").read_text("utf-8"))["rows"]

    def median(row):
        return statistics.median(one["ratio"] for one in kept[row])

    said = (folder.parent / "README.md").read_text("utf-8")
    assert f"NumPy decodes {median('f32-numpy'):.1f} times as fast as `transformers`" in said
    assert f"{median('bf16'):.1f} times as fast as llama.cpp in bfloat16" in said
    assert f"{median('int8'):.1f} times in 8 bits" in said
    assert f"at {median('wall'):.2f} of the speed at which memory could be read" in said


def test_rates_are_medians_of_all_rounds():
    rows = {"f32": [a_round(1.0), {"ours": SLOW, "peer": FAST}, a_round(1.0)]}
    assert record.rates({"rows": rows}) == {"llama_edu/numba/f32": 30.0, "llama.cpp/f32": 20.0}


def test_the_budget_decodes_every_precision_in_turn(monkeypatch, tmp_path):
    asked = []

    def one_speed(name, directory, ids, args):
        asked.append(name)
        return float(len(asked))

    monkeypatch.setattr(budget, "one_speed", one_speed)
    rates = budget.speeds(tmp_path, [1], argparse.Namespace(rounds=3, backend="numba"))
    assert asked == [*PRECISIONS] * 3
    assert rates["f32"] == [1.0, 1.0 + len(PRECISIONS), 1.0 + 2 * len(PRECISIONS)]


def test_the_budget_says_what_a_precision_ran_on(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(budget, "one_speed", lambda *args: 7.0)
    text = tmp_path / "text"
    text.write_text("Once upon a time there was a cat.", "utf-8")
    args = argparse.Namespace(text=text, rounds=1, threads=2, backend="numba")
    found = budget.measured("story", args)
    assert found["backends"]["bf16"] == "numba"
    assert found["backends"]["bf16-pure"] == found["backends"]["f16-pure"] == "numpy"
    assert found["tokens_per_s"] == dict.fromkeys(PRECISIONS, 7.0)
    budget.print_record(found)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"story, {found['tokens']} tokens, 2 threads"
    assert [line.split()[-1] for line in lines[-len(PRECISIONS) :]] == [
        found["backends"][name] for name in PRECISIONS
    ]
    assert found.keys() - {"rounds"} <= kept("budget").keys()


def test_each_model_of_a_budget_has_a_record():
    path = Path("results/budget.json")
    assert budget.beside(path, "smollm2", is_first=True) == path
    assert budget.beside(path, "story", is_first=False) == Path("results/budget-story.json")


def kept(name):
    folder = Path(table.__file__).parent / "results"
    return json.loads((folder / f"{name}.json").read_text("utf-8"))


def test_the_records_that_chapter_15_reads_have_their_fields():
    for row in kept("optimisations")["rows"]:
        assert {"what", "against", "where", "ratio", "how"} <= row.keys()
        assert row.get("low", 0) <= row["ratio"] <= row.get("high", 99)
    for row in kept("profile")["rows"]:
        assert {"precision", "past"} <= row.keys()
        assert 0 < row["read_ms"] < row["step_ms"]
    assert optimisations.EARLIER[0].keys() <= kept("optimisations")["rows"][0].keys()


def test_a_shortcut_can_be_left_out():
    story = Llama.from_pretrained("story")
    plain = optimisations.without(story, decode_step=None)
    assert story.operators.decode_step is not None
    assert plain.operators.decode_step is None
    assert plain.weights is story.weights
    for work in (optimisations.decode(plain), optimisations.by_rows_of(story, np.vecdot)):
        assert optimisations.seconds(work, 2) > 0
    row = optimisations.row("a", "b", "c", [3.0, 1.0, 2.0])
    assert (row["low"], row["ratio"], row["high"]) == (1.0, 2.0, 3.0)


def test_the_chapter_shows_the_memory_of_shared_rows_as_it_is_recorded():
    root = Path(table.__file__).parents[1]
    pairs = re.compile(r"\| (\d+\.\d)(?: MB)? \| (\d+\.\d)(?: MB)? \|")
    page = (root / "benchmarks" / "README.md").read_text("utf-8")
    recorded = pairs.findall(page[page.index("rows in every cache") :])
    shown = pairs.findall((root / "book" / "16_guess_ahead.ipynb").read_text("utf-8"))
    assert len(shown) == 4
    assert shown == recorded[:4]


def test_places_in_pages_are_rows_that_differ_rows_once_more_and_empty_ones():
    begin = list(range(20))  # a page, and four of the next
    texts = [[*begin, 90, 91], [*begin, 80], [*begin, 80], list(range(32))]
    differ, again, empty = shared_prompt.in_pages(texts)
    assert differ == 20 + 2 + 1 + 12
    assert again == 2 * 4
    assert empty == 10 + 11
    assert differ + again + empty == (1 + 2 + 1) * shared_prompt.PAGE
