"""Benchmarks are honest: no ratio without equal outputs, and pictures of what was measured."""

import json
import statistics
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
import record
import table

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
    assert {row.target for row in table.ROWS.values()} >= {2.5, 1.2, 1.4, 5, 0.7, 1.0, 6, 0.8}


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


def test_rates_are_medians_of_all_rounds():
    rows = {"f32": [a_round(1.0), {"ours": SLOW, "peer": FAST}, a_round(1.0)]}
    assert record.rates({"rows": rows}) == {"llama_edu/numba/f32": 30.0, "llama.cpp/f32": 20.0}
