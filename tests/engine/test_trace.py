"""A trace: every name in order, with true axes, copies that stay, and no effect on the result."""

import numpy as np
import pytest
from helpers import TINY, tiny_model

from llama_edu import Trace
from llama_edu.engine.trace import IGNORE, Recorder
from llama_edu.errors import InputError

MODEL = tiny_model()
IDS = [3, 1, 4, 1, 5]
MORE = [9, 2, 6]
N_LAYERS = TINY["num_hidden_layers"]

LAYER_AXES = {
    "input_layernorm": "seq hidden_size",
    "self_attn.q_proj": "seq n_heads*head_dim",
    "self_attn.k_proj": "seq n_kv_heads*head_dim",
    "self_attn.v_proj": "seq n_kv_heads*head_dim",
    "self_attn.q_rope": "n_kv_heads n_groups seq head_dim",
    "self_attn.k_rope": "n_kv_heads seq head_dim",
    "self_attn.keys": "n_kv_heads total_seq head_dim",
    "self_attn.values": "n_kv_heads total_seq head_dim",
    "self_attn.scores": "n_kv_heads n_groups seq total_seq",
    "self_attn.masked_scores": "n_kv_heads n_groups seq total_seq",
    "self_attn.weights": "n_kv_heads n_groups seq total_seq",
    "self_attn.attn_v": "n_kv_heads n_groups seq head_dim",
    "self_attn.merged": "seq n_heads*head_dim",
    "self_attn.o_proj": "seq hidden_size",
    "attn_residual": "seq hidden_size",
    "post_attention_layernorm": "seq hidden_size",
    "mlp.gate_proj": "seq intermediate_size",
    "mlp.up_proj": "seq intermediate_size",
    "mlp.gated": "seq intermediate_size",
    "mlp.down_proj": "seq hidden_size",
    "mlp_residual": "seq hidden_size",
}
AXES = (
    {"embed_tokens": "seq hidden_size"}
    | {f"layers.{i}.{name}": axes for i in range(N_LAYERS) for name, axes in LAYER_AXES.items()}
    | {"norm": "seq hidden_size", "logits": "seq vocab_size"}
)


def traced(*chunks, cache=None, **options):
    with Trace() as t:
        for chunk in chunks:
            MODEL.forward(chunk, cache, trace=t, **options)
    return t


def size_of(axis, seq, past):
    sizes = TINY | {
        "seq": seq,
        "total_seq": past + seq,
        "n_heads": TINY["num_attention_heads"],
        "n_kv_heads": TINY["num_key_value_heads"],
        "n_groups": TINY["num_attention_heads"] // TINY["num_key_value_heads"],
    }
    return int(np.prod([sizes[part] for part in axis.split("*")]))


def test_every_name_is_recorded_in_the_order_of_the_work():
    assert [record.name for record in traced(IDS)] == list(AXES)


def test_axes_name_the_true_shapes_with_and_without_a_past():
    t = traced(IDS, MORE, cache=MODEL.new_cache())
    for step, (seq, past) in enumerate([(len(IDS), 0), (len(MORE), len(IDS))]):
        for name, record in t.steps[step].items():
            assert record.axes == tuple(AXES[name].split()), name
            assert record.shape == tuple(size_of(axis, seq, past) for axis in record.axes), name
            assert record.step == step


def test_shape_dtype_and_bytes_are_those_of_the_array():
    record = traced(IDS)["layers.1.self_attn.scores"]
    assert record.name == "layers.1.self_attn.scores"
    assert record.shape == record.array.shape == (2, 3, 5, 5)
    assert record.dtype == np.float32
    assert record.nbytes == 2 * 3 * 5 * 5 * 4


def test_tracing_changes_nothing():
    t = traced(IDS)
    np.testing.assert_array_equal(t["logits"].array, MODEL.forward(IDS))


def test_records_are_read_only_copies_that_stay():
    cache = MODEL.new_cache()
    t = traced(IDS, cache=cache)
    keys = t["layers.0.self_attn.keys"].array
    before = keys.copy()
    cache.truncate(0)
    MODEL.forward(MORE, cache)  # overwrites the rows the cache holds
    np.testing.assert_array_equal(keys, before)
    for record in t:
        assert not record.array.flags.writeable, record.name
        with pytest.raises(ValueError, match="read-only"):
            record.array[...] = 0


def test_the_newest_record_of_a_name_is_the_one_found():
    t = traced(IDS, MORE, cache=MODEL.new_cache())
    assert t["logits"].step == 1
    assert t["logits"].shape[0] == len(MORE)
    assert t.steps[0]["logits"].shape[0] == len(IDS)
    assert len(t) == 2 * len(AXES) == len(list(t))


def test_an_unknown_name_is_a_key_error():
    t = traced(IDS)
    assert "norm" in t
    assert "layers.2.attn_residual" not in t
    with pytest.raises(KeyError, match=r"layers\.2\.attn_residual"):
        t["layers.2.attn_residual"]


def test_last_only_shows_in_the_axes_of_the_logits():
    record = traced(IDS, last_only=True)["logits"]
    assert record.axes[1] == "vocab_size"
    assert record.axes[0] != "seq"
    assert record.shape == (1, TINY["vocab_size"])


def test_the_steps_follow_from_each_other():
    t = traced(IDS, MORE, cache=MODEL.new_cache())
    for step in t.steps:
        r = {name: record.array for name, record in step.items()}
        for i in range(N_LAYERS):
            at = f"layers.{i}"
            x = r["embed_tokens"] if i == 0 else r[f"layers.{i - 1}.mlp_residual"]
            np.testing.assert_array_equal(r[f"{at}.attn_residual"], x + r[f"{at}.self_attn.o_proj"])
            np.testing.assert_array_equal(
                r[f"{at}.mlp_residual"], r[f"{at}.attn_residual"] + r[f"{at}.mlp.down_proj"]
            )
            masked, scores = r[f"{at}.self_attn.masked_scores"], r[f"{at}.self_attn.scores"]
            visible = np.isfinite(masked)
            np.testing.assert_array_equal(masked[visible], scores[visible])
            weights = r[f"{at}.self_attn.weights"]
            assert not weights[~visible].any()
            np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-6)
    first, second = t.steps
    for part in ("keys", "values"):
        name = f"layers.1.self_attn.{part}"
        past = second[name].array[:, : len(IDS)]
        np.testing.assert_array_equal(past, first[name].array)


VIEWS = {"self_attn.keys", "self_attn.values"}


def test_views_are_told_from_arrays_of_their_own():
    """Rows of the cache are views of it; a matrix product or a re-laid copy is its own array."""
    for max_seq in (None, len(IDS)):  # with room to spare, and filled to the brim
        for record in traced(IDS, cache=MODEL.new_cache(max_seq)):
            of_layer = record.name.split(".", 2)[-1]
            assert record.is_view == (of_layer in VIEWS), record.name


def test_without_a_cache_values_are_a_view_of_their_projection():
    t = traced(IDS)
    assert t["layers.0.self_attn.values"].is_view
    assert not t["layers.0.self_attn.v_proj"].is_view


def test_a_finished_trace_takes_no_more():
    t = traced(IDS)
    with pytest.raises(InputError, match="still open"):
        MODEL.forward(IDS, trace=t)
    assert len(t) == len(AXES)


def test_an_array_that_does_not_fit_its_axes_is_refused():
    recorder = Trace().new_step({"seq": 3, "hidden_size": 4}).at("layers.0")
    x = np.zeros((4, 3), dtype=np.float32)
    with pytest.raises(ValueError, match=r"layers\.0\.norm: expected .*\(3, 4\), got \(4, 3\)"):
        recorder("norm", x, "seq hidden_size")
    with pytest.raises(KeyError, match="width"):
        recorder("norm", x, "seq width")


def test_nobody_watching_records_nothing():
    assert isinstance(IGNORE, Recorder)
    assert IGNORE.at("layers.0").at("self_attn") is IGNORE
    IGNORE("scores", np.zeros((2, 2), dtype=np.float32), "any axes at all")
