"""The stills of the labs: a drawing and a table with the numbers of the book's own engine."""

from __future__ import annotations

import json
import re
import sys
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

from llama_edu import Llama, Tokenizer, hub
from llama_edu.errors import InputError
from llama_edu.page.drawing import PARTS
from llama_edu.page.labs import LABS, SENTENCE, lab


def table_of(name: str) -> list[list[str]]:
    """The rows of a still's table, titles first, as the page shows them."""
    html = lab(name).html.partition("<table")[2]
    rows = re.findall(r"<tr>(.*?)</tr>", html)
    return [[unescape(cell) for cell in re.findall(r">([^<]*)</t[hd]>", row)] for row in rows]


def words_of(name: str) -> list[str]:
    """The words of a still's drawing."""
    svg = re.search(r"<svg.*?</svg>", lab(name).html, re.DOTALL)[0]
    root = ElementTree.fromstring(svg.replace("<svg", '<svg xmlns:xlink="x"', 1))
    return [part.text or "" for part in root.iter("text")]


@pytest.fixture(scope="module")
def model() -> Llama:
    return Llama.from_pretrained(hub.BOOK_MODEL)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_pretrained(hub.BOOK_MODEL)


@pytest.mark.parametrize("name", LABS)
def test_a_still_is_a_drawing_and_the_same_as_a_table_and_as_text(name: str) -> None:
    still, rows = lab(name), table_of(name)
    assert f'data-page-lab="{name}"' in still.html
    assert len({len(row) for row in rows}) == 1
    caption, *lines = still.text.splitlines()
    assert caption in unescape(still.html)
    assert [line.split() for line in lines] == [" ".join(row).split() for row in rows]
    assert words_of(name)


def test_tokens_are_those_of_the_sentence(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(SENTENCE)
    _, *rows = table_of("tokens")
    assert [int(row[1]) for row in rows] == ids[-len(rows) :]
    assert b"".join(bytes.fromhex(row[2]) for row in rows).decode() in SENTENCE
    assert words_of("tokens") == [cell for row in rows for cell in row[:2]]


def test_the_last_layer_says_what_the_model_says(model: Llama, tokenizer: Tokenizer) -> None:
    answer = int(np.argmax(model.forward(tokenizer.encode(SENTENCE))[-1]))
    _, *rows = table_of("neighbours")
    assert len(rows) == 1 + model.config.num_hidden_layers
    assert rows[-1][1] == "1"
    assert rows[-1][2].split(", ")[0] == tokenizer.decode([answer]).replace(" ", "␣")


def test_chances_are_the_model_s_and_what_is_cut_says_so(
    model: Llama, tokenizer: Tokenizer
) -> None:
    logits = model.forward(tokenizer.encode(SENTENCE))[-1].astype(np.float64)
    shares = np.exp(logits - logits.max())
    shares = np.sort(shares / shares.sum())[::-1]
    head, *rows = table_of("sampler")
    assert [row[1] for row in rows] == [f"{100 * p:.0f}%" for p in shares[: len(rows)]]
    assert any(row[-1] == "cut" for row in rows)
    assert head[1].startswith("T 1,")


def test_each_token_looks_back_at_tokens_of_the_sentence(tokenizer: Tokenizer) -> None:
    pieces = [row[0] for row in table_of("attention")[1:]]
    assert len(pieces) == len(tokenizer.encode(SENTENCE))
    for i, (_, *seen) in enumerate(table_of("attention")[1:]):
        for cell in seen:
            looks = [look.partition("% ")[::2] for look in cell.split(", ")]
            assert sum(int(share) for share, _ in looks) <= 101
            assert {piece for _, piece in looks} <= set(pieces[: i + 1])


def test_with_a_cache_a_step_computes_what_is_new() -> None:
    for i, (step, computed, read, without) in enumerate(table_of("cache")[1:]):
        assert int(step) == i
        assert int(computed) + int(read) == int(without)
        assert int(computed) == (int(without) if i == 0 else 1)


def test_hands_turn_in_proportion_to_their_positions(model: Llama) -> None:
    head, *rows = table_of("clocks")
    assert len(rows) == model.config.head_dim // 2
    positions = [int(title.split()[1].rstrip(",")) for title in head[2:]]
    for _, turns_in, *angles in rows:
        around = float(turns_in.split()[0].replace(",", ""))
        for position, angle in zip(positions, angles, strict=True):
            off = (360 * position / around - float(angle)) % 360  # the turn's length is rounded
            assert min(off, 360 - off) < 1 + 180 * position / around**2


def test_bits_are_those_of_the_number_that_is_told() -> None:
    for name, fields, value, step in table_of("bits")[1:]:
        sign, exponent, mantissa = fields.split()
        bias = 2 ** (len(exponent) - 1) - 1
        fraction = 1 + int(mantissa, 2) / 2 ** len(mantissa)
        made = (-1) ** int(sign) * fraction * 2.0 ** (int(exponent, 2) - bias)
        assert f"{made:.9g}" == value, name
        assert f"{2.0 ** (int(exponent, 2) - bias - len(mantissa)):.3g}" == step, name


def test_an_edited_conversation_begins_anew_and_a_longer_one_does_not() -> None:
    _, *rows = table_of("turns")
    prompts, reused, computed, dropped = (
        [int(row[column]) for row in rows] for column in (1, 2, 3, 4)
    )
    assert [a + b for a, b in zip(reused, computed, strict=True)] == prompts
    assert reused[0] == 0
    assert reused[1] >= prompts[0]
    assert reused[2] >= prompts[1]
    assert dropped[3] > 0
    assert rows[3][0].endswith("(in place of the first)")
    assert all(row[5] for row in rows)


def test_a_running_machine_brings_its_numbers(model: Llama, tokenizer: Tokenizer) -> None:
    packed = re.search(r' data-recorded="([^"]*)"', lab("machine", running=True).html)[1]
    told = json.loads(unescape(packed))
    ids = tokenizer.encode(SENTENCE)
    assert "".join(told["tokens"][told["hasStart"] :]) == SENTENCE
    assert len(told["tokens"]) == len(ids)
    last = model.forward(ids)[-1]
    assert told["top"][0][0] == tokenizer.decode([int(np.argmax(last))])
    assert told["arrays"]["logits"]["shape"] == [len(ids), model.config.vocab_size]
    embedded = told["arrays"]["embed_tokens"]["rows"][0]
    np.testing.assert_allclose(
        embedded, model.weights.embed_tokens[ids[-1]][: len(embedded)].astype(float), rtol=1e-3
    )


def test_each_part_of_the_machine_leads_to_its_chapter() -> None:
    html = lab("machine", chapters="book/").html
    assert re.findall(r'xlink:href="book/([^"]+)\.html"', html) == [part.chapter for part in PARTS]
    assert 'xlink:href="book/' not in lab("machine").html


@pytest.mark.parametrize(
    ("name", "running", "told"),
    [
        ("engine", False, "expected a lab among machine, .* got 'engine'"),
        ("tokens", True, "expected the machine to run, got 'tokens'"),
    ],
)
def test_another_lab_is_refused(name: str, running: bool, told: str) -> None:
    with pytest.raises(InputError, match=told):
        lab(name, running=running)


def in_a_notebook(monkeypatch: pytest.MonkeyPatch, folder: Path, kernel: object) -> str:
    """What a notebook in a folder shows of a lab."""
    shell = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=kernel))
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.chdir(folder)
    return lab("cache")._repr_html_()


def test_a_notebook_that_runs_has_the_script_and_the_models_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = in_a_notebook(monkeypatch, tmp_path, kernel=object())
    written = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {"llama.js", "llama-story.js", "llama-chat.js"}
    (folder,) = tmp_path.iterdir()
    assert f'["{folder.name}", "book/{folder.name}"]' in shown


def test_elsewhere_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "<svg" in in_a_notebook(monkeypatch, tmp_path, kernel=None)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_may_not_be_written_has_the_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "_labs").write_text("in the way", "utf-8")
    assert "<svg" in in_a_notebook(monkeypatch, tmp_path, kernel=object())
