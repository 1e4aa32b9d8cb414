"""The embedded `story`: what its model card says still holds for the weights in the package."""

import json
import math

import numpy as np
import pytest

from llama_edu import Llama, Tokenizer
from llama_edu.hub import locate
from training import card, evaluate_story, find_heads
from training.evaluate_story import entropy, predicted_tokens, rate, sample_story, story_nats
from training.stories import grammar, many
from training.story_score import score
from training.story_words import FACTS, SYLLABLES

DIRECTORY = locate("story")
MODEL = Llama.from_pretrained("story")
TOKENIZER = Tokenizer.from_pretrained("story")


def test_the_rate_is_a_ratio_with_its_standard_error():
    found = rate([2.0, 4.0, 6.0, 8.0], [10, 20, 30, 40])
    assert found.value == pytest.approx(0.2)
    assert found.margin == pytest.approx(0, abs=1e-12)  # every story has the same rate
    # Residuals -1 and 1, sample deviation sqrt(2), over sqrt(2) stories of 10 tokens: 0.1.
    assert rate([1.0, 3.0], [10, 10]).margin == pytest.approx(1.96 * 0.1)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        tokens = rng.integers(100, 200, 400)
        nats = 0.5 * tokens + rng.normal(0, 8, 400)
        found = rate(nats.tolist(), tokens.tolist())
        hits += abs(found.value - 0.5) < found.margin
    assert 180 <= hits <= 199


def test_a_model_without_preferences_pays_log_vocabulary_a_token():
    flat = Llama(MODEL.config, {n: w * 0 for n, w in open_weights().items()})
    text = "Once there was a fox."
    nats = story_nats(flat, TOKENIZER, text)
    assert nats == pytest.approx(predicted_tokens(TOKENIZER, text) * math.log(2048), rel=1e-6)


def open_weights() -> dict[str, np.ndarray]:
    from llama_edu.formats.safetensors import open_checkpoint

    return dict(open_checkpoint(DIRECTORY))


def test_the_files_are_small_and_float32_is_meant():
    assert sum(f.stat().st_size for f in DIRECTORY.iterdir()) < 3_000_000
    for name, weight in open_weights().items():
        assert weight.dtype == np.float32, name
        # bfloat16 keeps the upper 16 bits: if these weights had been rounded, the lower were 0.
        lower = np.ascontiguousarray(weight).view(np.uint32) & 0xFFFF
        assert np.count_nonzero(lower) > 0.99 * lower.size, name


def test_the_words_to_remember_are_one_token_each():
    for key in ("name", "kind", "trait", "object", "attribute", "place", "helper", "relative"):
        for word in FACTS[key]:
            assert len(TOKENIZER.encode(f" {word}", add_special=False)) == 1, word
    for word in SYLLABLES:
        assert len(TOKENIZER.encode(f" {word}", add_special=False)) == 1, word


def test_every_id_a_model_can_draw_has_a_token():
    assert TOKENIZER.vocab_size == MODEL.config.vocab_size == 2048
    for token_id in range(MODEL.config.vocab_size):
        TOKENIZER.decode([token_id])  # raises TokenizerError for an id without one


def test_held_out_stories_cost_at_most_8_percent_more_than_their_entropy():
    stories = list(many(55, 40, held_out=True))
    tokens = sum(predicted_tokens(TOKENIZER, story.text) for story in stories)
    nats = sum(story_nats(MODEL, TOKENIZER, story.text) for story in stories)
    floor = -sum(story.log_probability for story in stories)
    assert 1 <= nats / floor < 1.08
    assert math.exp((nats - floor) / tokens) < 1.08


def test_sampled_stories_end_and_keep_their_facts():
    rules = grammar()
    told = [sample_story(MODEL, TOKENIZER, seed) for seed in range(12)]
    assert all(ended for _, ended in told)
    scores = [score(text, rules) for text, _ in told]
    # 12 stories cannot prove 99%; they can show that nothing broke.
    assert sum(evaluate_story.keeps_all(s) for s in scores) >= 10


def test_the_entropy_of_the_card_is_the_grammars():
    found = entropy(list(many(3, 600, held_out=False)), TOKENIZER)
    text = (DIRECTORY / "README.md").read_text(encoding="utf-8")
    (line,) = (line for line in text.splitlines() if line.startswith("| entropy of the grammar"))
    on_card = float(line.split("|")[3].split("±")[0])
    assert found.value == pytest.approx(on_card, abs=3 * found.margin)


def test_the_named_heads_do_what_they_are_named_for():
    best = json.loads((DIRECTORY / "heads.json").read_text(encoding="utf-8"))["best"]
    named = {what: head for what, head in best.items() if head is not None}
    wanted = {"previous_token", "first_token", "induction", "name", "attribute", "object", "place"}
    assert wanted == set(named)  # the chapters show these
    means = find_heads.measure(MODEL, TOKENIZER, 6)
    for what, head in named.items():
        weight = means[what][head["layer"], head["head"]]
        assert weight == pytest.approx(head["weight"], abs=0.1), what


def test_what_is_measured_is_where_the_head_looks():
    ids = [0, 9, 9, 9, 9, 9, 9, 9, 5, 7, 5, 8]
    pairs = list(find_heads.wanted_pairs(ids, {"name": 5}, song=[7, 5, 6]))
    assert ("previous_token", 10, [9]) in pairs
    assert ("first_token", 10, [0]) in pairs
    assert ("name", 9, [8]) in pairs  # the 7 is followed by the second 5
    assert [p for p in pairs if p[0] == "name"] == [("name", 9, [8])]
    # 7 and 5 are words of the song, and 5 was sung before; 9 and 8 are not.
    assert [p for p in pairs if p[0] == "induction"] == [("induction", 9, [8])]


def test_a_head_must_earn_its_name():
    table = np.array([[0.1, 0.9, 0.2, 0.2], [0.0, 0.0, 0.0, 0.0]], dtype=np.float64)
    found = find_heads.report({"name": table, "induction": table / 10}, n_groups=2)
    assert found["best"] == {
        "name": {"layer": 0, "head": 1, "kv_head": 0, "weight": 0.9},
        "induction": None,
    }
    assert found["heads"][1] == {"layer": 0, "head": 1, "name": 0.9, "induction": 0.09}
    assert json.loads(find_heads.as_text(found)) == found


def test_a_card_keeps_what_is_around_its_table(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("a\n<!-- t -->\nold\n<!-- /t -->\nb\n", encoding="utf-8")
    card.insert(path, "t", card.table([("x", "≥ 1", "2")]))
    table = "| measured | target | reached |\n|---|---|---|\n| x | ≥ 1 | 2 |"
    assert path.read_text(encoding="utf-8") == f"a\n<!-- t -->\n{table}\n<!-- /t -->\nb\n"
    with pytest.raises(ValueError, match="marks"):
        card.insert(path, "other", "")
