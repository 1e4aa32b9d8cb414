"""A checkpoint's tensors as a model's weights: which are called for, and what becomes of each."""

import numpy as np
import pytest
from helpers import tiny_config, tiny_tensors, unchanged

from llama_edu import Llama
from llama_edu.engine.weights import Arena, Weights, load_weights
from llama_edu.errors import CheckpointError, InputError
from llama_edu.formats.precision import DTYPES, PRECISIONS
from llama_edu.formats.quantize import Stored, quantize
from llama_edu.formats.safetensors import SafetensorsFile, save_file
from llama_edu.formats.tensor_shapes import expected_shapes
from llama_edu.hub import BOOK_MODEL

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
LAYER = "model.layers.1."


def by_name(weights: Weights) -> dict[str, np.ndarray | Stored]:
    """The loaded arrays under the names the checkpoint gives them, written out one by one."""
    named = {EMBED: weights.embed_tokens, HEAD: weights.lm_head, "model.norm.weight": weights.norm}
    for i, layer in enumerate(weights.layers):
        prefix = f"model.layers.{i}."
        named[f"{prefix}input_layernorm.weight"] = layer.input_layernorm
        named[f"{prefix}post_attention_layernorm.weight"] = layer.post_attention_layernorm
        projections = {
            "self_attn.q_proj": layer.q_proj,
            "self_attn.k_proj": layer.k_proj,
            "self_attn.v_proj": layer.v_proj,
            "self_attn.o_proj": layer.o_proj,
            "mlp.gate_proj": layer.gate_proj,
            "mlp.up_proj": layer.up_proj,
            "mlp.down_proj": layer.down_proj,
        }
        for name, projection in projections.items():
            named[f"{prefix}{name}.weight"] = projection.weight
            if projection.bias is not None:
                named[f"{prefix}{name}.bias"] = projection.bias
    return named


def refused(config, tensors):
    with pytest.raises(CheckpointError) as caught:
        load_weights(config, tensors)
    return str(caught.value)


@pytest.mark.parametrize("attention_bias", [False, True])
@pytest.mark.parametrize("mlp_bias", [False, True])
def test_every_tensor_finds_its_place(attention_bias, mlp_bias):
    config = tiny_config(attention_bias=attention_bias, mlp_bias=mlp_bias)
    tensors = tiny_tensors(config)
    before = unchanged(tensors)
    loaded = by_name(load_weights(config, tensors))
    assert loaded.keys() == tensors.keys() == expected_shapes(config).keys()
    assert len(loaded) == 3 + 2 * (9 + 4 * attention_bias + 3 * mlp_bias)
    for name, array in loaded.items():
        assert array is tensors[name], name
    assert unchanged(tensors) == before


def test_float32_is_used_where_it_lies_in_the_file(tmp_path):
    config = tiny_config(attention_bias=True)
    save_file(tiny_tensors(config), tmp_path / "x")
    stored = SafetensorsFile(tmp_path / "x")
    for name, array in by_name(load_weights(config, stored)).items():
        assert np.shares_memory(array, stored[name]), name
        assert not array.flags.writeable


@pytest.mark.parametrize("name", ["F64", "F16", "BF16", "F8_E5M2", "F8_E4M3"])
def test_other_floats_are_widened_exactly(name, tmp_path):
    config = tiny_config()
    narrow = {n: t.astype(DTYPES[name]) for n, t in tiny_tensors(config).items()}
    save_file(narrow, tmp_path / "x")
    loaded = by_name(load_weights(config, SafetensorsFile(tmp_path / "x")))
    for tensor, array in loaded.items():
        assert array.dtype == np.float32
        assert array.flags.writeable  # its own memory, not the file's
        np.testing.assert_array_equal(array, narrow[tensor].astype(np.float64).astype(np.float32))


def test_formats_may_be_mixed():
    config = tiny_config()
    tensors = tiny_tensors(config)
    tensors[EMBED] = tensors[EMBED].astype(np.float16)
    loaded = load_weights(config, tensors)
    np.testing.assert_array_equal(loaded.embed_tokens, tensors[EMBED])
    assert loaded.embed_tokens.dtype == np.float32
    assert loaded.lm_head is tensors[HEAD]


# The two ends of the model: tied or not, in every form they are stored


@pytest.mark.parametrize("kept", [(EMBED,), (HEAD,), (EMBED, HEAD)])
@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_tied_embeddings_are_one_array_however_they_are_stored(kept, dtype):
    config = tiny_config(tie_word_embeddings=True)
    tensors = tiny_tensors(config)
    table = tensors.pop(EMBED).astype(DTYPES[dtype])
    tensors |= {name: table.copy() for name in kept}
    loaded = load_weights(config, tensors)
    assert loaded.embed_tokens is loaded.lm_head
    np.testing.assert_array_equal(loaded.lm_head, table.astype(np.float32))
    if dtype == "F32":
        assert loaded.lm_head is tensors[kept[0]]


def test_tied_embeddings_that_differ_are_refused():
    config = tiny_config(tie_word_embeddings=True)
    tensors = tiny_tensors(config)
    tensors[HEAD] = tensors[EMBED].copy()
    tensors[HEAD][-1, -1] += 1
    assert refused(config, tensors) == (
        "expected 'model.embed_tokens.weight' and 'lm_head.weight' to be equal, since the config "
        "ties them, got two different tables"
    )


def test_untied_embeddings_are_two_arrays():
    config = tiny_config()
    tensors = tiny_tensors(config)
    loaded = load_weights(config, tensors)
    assert loaded.embed_tokens is tensors[EMBED]
    assert loaded.lm_head is tensors[HEAD]
    assert not np.array_equal(loaded.lm_head, loaded.embed_tokens)


@pytest.mark.parametrize(
    ("tied", "missing", "message"),
    [
        (
            False,
            {HEAD},
            "expected 21 tensors, got none named 'lm_head.weight'; "
            "the config says the embeddings are not tied",
        ),
        (False, {EMBED}, "expected 21 tensors, got none named 'model.embed_tokens.weight'"),
        (True, {EMBED, HEAD}, "got none named 'lm_head.weight' (and 1 more)"),
        (False, {EMBED, HEAD}, "got none named 'lm_head.weight' (and 1 more)"),
    ],
)
def test_an_end_of_the_model_that_is_missing(tied, missing, message):
    config = tiny_config(tie_word_embeddings=tied)
    tensors = {name: t for name, t in tiny_tensors(tiny_config()).items() if name not in missing}
    text = refused(config, tensors)
    assert message in text
    assert text.endswith(message)


# What does not fit


@pytest.mark.parametrize(
    "name",
    [
        "model.norm.weight",
        LAYER + "input_layernorm.weight",
        LAYER + "self_attn.k_proj.weight",
        LAYER + "self_attn.k_proj.bias",
        LAYER + "mlp.down_proj.bias",
    ],
)
def test_each_missing_tensor_is_named(name):
    config = tiny_config(attention_bias=True, mlp_bias=True)
    tensors = tiny_tensors(config)
    del tensors[name]
    assert refused(config, tensors) == f"expected 35 tensors, got none named {name!r}"


def test_of_many_missing_tensors_the_first_is_named_and_the_rest_counted():
    config = tiny_config()
    tensors = {n: t for n, t in tiny_tensors(config).items() if not n.startswith(LAYER)}
    message = refused(config, tensors)
    assert message == (
        f"expected 21 tensors, got none named '{LAYER}input_layernorm.weight' (and 8 more)"
    )


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("model.layers.2.mlp.up_proj.weight", {}),
        (LAYER + "self_attn.q_proj.bias", {"mlp_bias": True}),
        (LAYER + "mlp.up_proj.bias", {"attention_bias": True}),
        (LAYER + "self_attn.q_norm.weight", {}),
        ("model.rotary_emb.inv_freq.x", {}),
        ("norm.weight", {}),
        ("", {}),
    ],
)
def test_a_tensor_nobody_asked_for_is_refused(name, changes):
    config = tiny_config(**changes)
    tensors = tiny_tensors(config) | {name: np.zeros(3, dtype=np.float32)}
    assert refused(config, tensors) == f"expected no tensor named {name!r}, got one"


def test_a_bias_of_zeros_that_nobody_asked_for_changes_nothing():
    """Quantizers write one for every projection."""
    config = tiny_config()
    tensors = tiny_tensors(config)
    name = LAYER + "self_attn.q_proj.bias"
    width = tensors[LAYER + "self_attn.q_proj.weight"].shape[0]
    weights = load_weights(config, tensors | {name: np.zeros(width, dtype=np.float32)})
    assert by_name(weights).keys() == expected_shapes(config).keys()
    for wrong in (np.eye(1, width, dtype=np.float32)[0], np.zeros(width + 1, dtype=np.float32)):
        assert (
            refused(config, tensors | {name: wrong})
            == f"expected no tensor named {name!r}, got one"
        )
    of_a_norm = {"model.norm.bias": np.zeros_like(tensors["model.norm.weight"])}
    assert "no tensor named 'model.norm.bias'" in refused(config, tensors | of_a_norm)


def test_names_that_are_there_instead_are_told():
    config = tiny_config()
    tensors = {f"module.{name}": array for name, array in tiny_tensors(config).items()}
    assert "got none named 'lm_head.weight' (and " in refused(config, tensors)
    assert ", but 'module.lm_head.weight' (and " in refused(config, tensors)


def test_many_surplus_tensors_are_counted_and_long_names_cut_short():
    config = tiny_config()
    surplus = {"a" * 9999 + str(i): np.zeros(1, dtype=np.float32) for i in range(3)}
    message = refused(config, tiny_tensors(config) | surplus)
    assert message.startswith("expected no tensor named 'aaa")
    assert message.endswith(" (and 2 more), got one")
    assert len(message) < 200


@pytest.mark.parametrize(
    "name",
    [
        "model.rotary_emb.inv_freq",
        LAYER + "self_attn.rotary_emb.inv_freq",
        LAYER + "self_attn.rotary_emb.cos_cached",
    ],
)
def test_stored_rope_frequencies_are_ignored(name):
    """Checkpoints of 2023 hold them; whatever they say, the config decides."""
    config = tiny_config()
    tensors = tiny_tensors(config) | {name: np.full(99, np.nan, dtype=np.float32)}
    assert by_name(load_weights(config, tensors)).keys() == expected_shapes(config).keys()


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        (EMBED, (31, 21)),
        (HEAD, (20, 31)),
        ("model.norm.weight", (20, 1)),
        ("model.norm.weight", ()),
        (LAYER + "self_attn.q_proj.weight", (20, 48)),
        (LAYER + "self_attn.k_proj.weight", (48, 20)),
        (LAYER + "self_attn.v_proj.bias", (48,)),
        (LAYER + "mlp.down_proj.weight", (27, 20)),
        (LAYER + "mlp.down_proj.weight", (0,)),
        (LAYER + "mlp.up_proj.weight", (27, 20, 1)),
    ],
)
def test_a_shape_that_does_not_fit_is_named_on_both_sides(name, shape):
    config = tiny_config(attention_bias=True)
    tensors = tiny_tensors(config)
    want = tensors[name].shape
    tensors[name] = np.zeros(shape, dtype=np.float32)
    assert refused(config, tensors) == (
        f"{name!r}: expected shape {want} from the config, got {shape}"
    )


def test_tied_ends_of_different_shapes_are_refused_by_shape():
    config = tiny_config(tie_word_embeddings=True)
    tensors = tiny_tensors(config)
    tensors[HEAD] = tensors[EMBED].T
    assert "'lm_head.weight': expected shape (31, 20) from the config" in refused(config, tensors)


def test_of_many_wrong_shapes_the_first_in_the_model_is_named():
    config = tiny_config()
    tensors = {name: np.zeros((7, 7), dtype=np.float32) for name in tiny_tensors(config)}
    assert refused(config, dict(reversed(tensors.items()))).startswith(f"'{EMBED}': expected shape")


@pytest.mark.parametrize("name", [name for name in DTYPES if name[0] in "IUC" or name == "BOOL"])
@pytest.mark.parametrize("tensor", [HEAD, LAYER + "mlp.up_proj.weight"])
def test_numbers_that_are_no_floats_are_refused(name, tensor):
    config = tiny_config()
    tensors = tiny_tensors(config)
    tensors[tensor] = np.zeros(tensors[tensor].shape, dtype=DTYPES[name])
    message = refused(config, tensors)
    assert message == f"{tensor!r}: expected floating-point weights, got {name}"


def test_a_config_cannot_ask_for_more_layers_than_there_are_tensors():
    """Naming the tensors of 10**15 layers would take forever."""
    tensors = tiny_tensors(tiny_config())
    for n_layers in (22, 10**15):
        message = refused(tiny_config(num_hidden_layers=n_layers), tensors)
        assert message == f"expected tensors for {n_layers} layers, got 21 in all"
    assert "got none named" in refused(tiny_config(num_hidden_layers=21), tensors)


def test_absurd_sizes_are_compared_and_never_allocated():
    config = tiny_config(vocab_size=10**30, intermediate_size=10**40)
    message = refused(config, tiny_tensors(tiny_config()))
    assert message == f"'{EMBED}': expected shape ({10**30}, 20) from the config, got (31, 20)"


def test_unaligned_float32_is_copied_once_so_that_products_need_not(tmp_path):
    """A file may put a lone byte first. NumPy would copy the matrix anew for every product."""
    config = tiny_config()
    tensors = tiny_tensors(config)
    path = tmp_path / "x"
    save_file(tensors, path)
    file, shifted = path.read_bytes(), tmp_path / "y"
    end = 8 + int.from_bytes(file[:8], "little")
    header = file[8:end].rstrip(b" ")
    header += b" " * (-len(header) % 8 + 1)  # one byte past whole machine words
    shifted.write_bytes(len(header).to_bytes(8, "little") + header + file[end:])
    stored = SafetensorsFile(shifted)
    assert not stored[EMBED].flags.aligned
    for name, array in by_name(load_weights(config, stored)).items():
        assert array.flags.aligned
        np.testing.assert_array_equal(array, tensors[name])


@pytest.mark.parametrize("tied", [False, True])
def test_names_without_their_prefix_are_the_same_tensors(tied):
    config = tiny_config(tie_word_embeddings=tied)
    tensors = tiny_tensors(config)
    bare = {name.removeprefix("model."): array for name, array in tensors.items()}
    assert load_weights(config, bare).sha256() == load_weights(config, tensors).sha256()
    with pytest.raises(CheckpointError, match=r"none named 'model.norm.weight'"):
        load_weights(config, {name: bare[name] for name in bare if name != "norm.weight"})
    mixed = bare | {"model.norm.weight": bare["norm.weight"]}
    with pytest.raises(CheckpointError, match="got none named"):
        load_weights(config, mixed)


def test_a_norm_of_heads_is_called_for_where_the_config_has_it():
    config = tiny_config(qk_norm=True)
    tensors = tiny_tensors(config)
    assert load_weights(config, tensors).layers[1].k_norm.shape == (config.head_dim,)
    del tensors["model.layers.1.self_attn.k_norm.weight"]
    with pytest.raises(CheckpointError, match=r"named 'model.layers.1.self_attn.k_norm.weight'"):
        load_weights(config, tensors)
    with pytest.raises(CheckpointError, match=r"no tensor named .*k_norm"):
        load_weights(tiny_config(), tiny_tensors(config))


def test_converted_matrices_lie_one_behind_the_other():
    arena = Arena()
    arrays = [np.arange(n, dtype=np.float32) for n in (20, 7, 16, 3)]
    placed = [arena.place(array) for array in arrays]
    starts = [array.ctypes.data - placed[0].ctypes.data for array in placed]
    assert placed[0].ctypes.data % 64 == 0
    assert starts == [0, 128, 192, 256]  # each at the next start of a line
    for array, copy in zip(arrays, placed, strict=True):
        np.testing.assert_array_equal(copy, array)


def test_from_pretrained_hands_the_backend_s_name_on():
    with pytest.raises(InputError, match="got 'numbers'"):
        Llama.from_pretrained(BOOK_MODEL, backend="numbers")


def test_a_matrix_in_codes_is_used_where_it_lies_or_refused_by_what_it_is():
    config = tiny_config()
    name = "model.layers.0.mlp.up_proj.weight"
    tensors = dict(tiny_tensors(config))
    codes = tensors[name] = quantize(tensors[name], "I8", 32)
    assert Llama(config, tensors, precision="int8").weights.layers[0].up_proj.weight is codes
    with pytest.raises(CheckpointError, match=r"up_proj.*'f8' can keep, as F8_E4M3 .*, got I8"):
        Llama(config, tensors, precision="f8")


@pytest.mark.parametrize(
    ("precision", "is_forgotten"), [("f32", True), ("q4", True), ("bf16", False)]
)
def test_a_mapped_file_is_forgotten_where_it_was_converted(
    precision, is_forgotten, tmp_path, monkeypatch
):
    """Else loading would take, at its end, as much memory as both have."""
    config, forgotten = tiny_config(), []
    monkeypatch.setattr(
        "llama_edu.engine.weights.forget_pages", lambda array: forgotten.append(array.shape)
    )
    narrow = {name: array.astype(DTYPES["BF16"]) for name, array in tiny_tensors(config).items()}
    save_file(narrow, tmp_path / "model.safetensors")
    load_weights(config, SafetensorsFile(tmp_path / "model.safetensors"), PRECISIONS[precision])
    matrices = [array.shape for array in narrow.values() if array.ndim == 2]
    assert sorted(forgotten) == (sorted(matrices) if is_forgotten else [])
