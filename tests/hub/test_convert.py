"""GGUF → Hugging Face directory: the same numbers, in the right order, or a clear refusal."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
from pathlib import Path
from typing import Any

import gguf
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import example, given
from hypothesis import strategies as st
from tiny_files import (
    CHAT_TOKENS,
    PRE_TOKENIZERS,
    byte_level,
    gguf_tensors,
    gguf_tokenizer,
    sentencepiece_pieces,
    write_gguf,
)

from llama_edu import Llama, LlamaConfig, Tokenizer
from llama_edu.errors import CheckpointError, ConfigError, InputError, TokenizerError
from llama_edu.formats.four_bits import FourBits
from llama_edu.formats.safetensors import open_checkpoint
from llama_edu.hub.gguf import convert
from llama_edu.hub.gguf.convert import convert_gguf
from llama_edu.hub.gguf.reader import open_gguf
from llama_edu.ops.rope import inverse_frequencies

Quant = gguf.GGMLQuantizationType

HF_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def interleaved_rows(weight: np.ndarray, n_heads: int) -> np.ndarray:
    """What llama.cpp's converter does to a Hugging Face q or k, row by row."""
    head_dim = weight.shape[0] // n_heads
    half = head_dim // 2
    rows = []
    for head in range(n_heads):
        for pair in range(half):
            rows.append(weight[head * head_dim + pair])
            rows.append(weight[head * head_dim + half + pair])
    return np.stack(rows)


def hf_name(name: str) -> str:
    *block, stem, kind = name.split(".")
    prefix = f"model.layers.{block[1]}." if block else ""
    return f"{prefix}{HF_NAMES[stem]}.{kind}"


def as_gguf_stores(original: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights in Hugging Face's row order, under GGUF names → as a GGUF file has them."""
    heads = {"attn_q": 4, "attn_k": 2}
    stored = {}
    for name, values in original.items():
        stem = name.split(".")[-2]
        stored[name] = interleaved_rows(values, heads[stem]) if stem in heads else values
    return stored


def converted(tmp_path: Path, dtype: str = "F32", **gguf_arguments: Any) -> Path:
    source = write_gguf(tmp_path / "model.gguf", **gguf_arguments)
    return convert_gguf(source, tmp_path / "model", dtype=dtype)


def config_of(directory: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((directory / "config.json").read_text("utf-8"))
    return content


class TestWeights:
    @pytest.mark.parametrize("tied", [True, False])
    def test_every_weight_comes_back_bit_for_bit(self, tmp_path: Path, tied: bool) -> None:
        original = gguf_tensors(tied=tied)
        directory = converted(tmp_path, tensors=as_gguf_stores(original))
        stored = open_checkpoint(directory)
        assert set(stored) == {hf_name(name) for name in original}
        for name, values in original.items():
            assert np.array_equal(stored[hf_name(name)], values), name
        assert config_of(directory)["tie_word_embeddings"] is tied

    def test_the_model_computes_what_the_original_does(self, tmp_path: Path) -> None:
        original = gguf_tensors(seed=3)
        directory = converted(tmp_path, tensors=as_gguf_stores(original))
        model = Llama.from_pretrained(directory)
        reference = Llama(model.config, {hf_name(name): a for name, a in original.items()})
        ids = [5, 300, 2, 17, 17, 301]
        assert np.array_equal(model.forward(ids), reference.forward(ids))
        # And the order of the rows matters: without putting them back, other logits come out.
        wrong = {hf_name(name): a for name, a in as_gguf_stores(original).items()}
        assert not np.allclose(
            Llama(model.config, wrong).forward(ids), reference.forward(ids), atol=1e-3
        )

    @pytest.mark.parametrize(
        ("dtype", "numpy_dtype", "torch_name"),
        [
            ("BF16", ml_dtypes.bfloat16, "bfloat16"),
            ("F16", np.float16, "float16"),
            ("F32", np.float32, "float32"),
        ],
    )
    def test_stored_dtype(
        self, tmp_path: Path, dtype: str, numpy_dtype: Any, torch_name: str
    ) -> None:
        original = gguf_tensors()
        directory = converted(tmp_path, dtype, tensors=as_gguf_stores(original))
        stored = open_checkpoint(directory)
        for name, values in original.items():
            assert stored[hf_name(name)].dtype == numpy_dtype
            assert np.array_equal(stored[hf_name(name)], values.astype(numpy_dtype)), name
        assert config_of(directory)["torch_dtype"] == torch_name
        assert LlamaConfig.from_directory(directory).dtype == torch_name

    @pytest.mark.parametrize(
        "kind", [Quant.F16, Quant.BF16, Quant.Q8_0, Quant.Q4_0, Quant.Q4_1, Quant.Q5_0, Quant.Q5_1]
    )
    def test_quantised(self, tmp_path: Path, kind: gguf.GGMLQuantizationType) -> None:
        original = gguf_tensors()
        matrices = {name: kind for name, a in original.items() if a.ndim == 2}
        directory = converted(tmp_path, tensors=as_gguf_stores(original), quantised=matrices)
        stored = open_checkpoint(directory)
        for name, values in original.items():
            # Rows are quantised each for itself, so quantising commutes with their order.
            expected = values
            if name in matrices:
                expected = gguf.dequantize(gguf.quantize(values, kind), kind)
                assert not np.array_equal(expected, values)
            assert np.array_equal(stored[hf_name(name)], expected), name

    @pytest.mark.parametrize("kind", [Quant.Q4_0, Quant.Q4_1])
    def test_four_bits_are_used_where_they_lie(
        self, tmp_path: Path, kind: gguf.GGMLQuantizationType
    ) -> None:
        original = as_gguf_stores(gguf_tensors())
        ends = ("token_embd", "output")
        matrices = {n: kind for n, a in original.items() if a.ndim == 2}
        matrices |= {n: Quant.Q8_0 for n in matrices if n.startswith(ends)}
        source = write_gguf(tmp_path / "model.gguf", tensors=original, quantised=matrices)
        config, tensors = convert.open_in_place(source)
        precision = "q4" if kind == Quant.Q4_1 else "q4_0"
        model = Llama(config, tensors, precision=precision)
        down = model.weights.layers[0].down_proj.weight
        assert isinstance(down, FourBits)
        assert isinstance(down.blocks.base, np.ndarray)  # a view of the file
        assert not down.blocks.flags.writeable
        dequantised = Llama.from_pretrained(convert_gguf(source, tmp_path / "m", dtype="F32"))
        ids = [5, 300, 2, 17, 17, 301]
        wide = Llama(dequantised.config, tensors, precision=precision, cache_dtype="f32")
        np.testing.assert_allclose(wide.forward(ids), dequantised.forward(ids), atol=1e-5)
        with pytest.raises(CheckpointError, match=r"weights that 'int8' can keep, as I8"):
            Llama(config, tensors, precision="int8")

    @pytest.mark.parametrize("kind", [Quant.Q4_K, Quant.Q6_K])
    def test_k_quants(self, tmp_path: Path, kind: gguf.GGMLQuantizationType) -> None:
        """The library dequantises these but cannot make them, so the bytes are random."""
        block, nbytes = gguf.GGML_QUANT_SIZES[kind]
        rows, width = 64, 256
        raw = np.random.default_rng(1).integers(0, 256, (rows, nbytes), dtype=np.uint8)
        scale = np.frombuffer(np.float16(0.01).tobytes(), dtype=np.uint8)
        for at in (0, 2) if kind == Quant.Q4_K else (nbytes - 2,):
            raw[:, at : at + 2] = scale  # where the block keeps its float16 scales
        assert block == width
        writer = gguf.GGUFWriter(tmp_path / "k.gguf", "llama")
        writer.add_tensor("x", raw, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        got = open_gguf(tmp_path / "k.gguf").float32("x")
        assert got.shape == (rows, width)
        assert np.array_equal(got, gguf.dequantize(raw, kind))

    def test_biases(self, tmp_path: Path) -> None:
        original = gguf_tensors()
        rng = np.random.default_rng(2)
        widths = {"attn_q": 64, "attn_k": 32, "attn_v": 32}
        widths |= {"ffn_gate": 96, "ffn_up": 96, "ffn_down": 64}
        for i in range(2):
            for stem, width in widths.items():
                bias = rng.standard_normal(width, dtype=np.float32)
                original[f"blk.{i}.{stem}.bias"] = bias
        directory = converted(tmp_path, tensors=as_gguf_stores(original))
        stored = open_checkpoint(directory)
        for name, values in original.items():
            assert np.array_equal(stored[hf_name(name)], values), name
        # Hugging Face knows biases for all four or none; adding zeros is adding nothing.
        assert not stored["model.layers.1.self_attn.o_proj.bias"].any()
        config = config_of(directory)
        assert config["attention_bias"] is True
        assert config["mlp_bias"] is True
        Llama.from_pretrained(directory)

    def test_large_models_are_written_as_shards(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(convert, "SHARD_NBYTES", 50_000)
        original = gguf_tensors()
        directory = converted(tmp_path, tensors=as_gguf_stores(original))
        files = sorted(directory.glob("*.safetensors"))
        assert len(files) > 2
        assert files[0].name == f"model-00001-of-{len(files):05d}.safetensors"
        sizes = [sum(a.nbytes for a in safetensors.numpy.load_file(f).values()) for f in files]
        assert all(size <= 50_000 for size in sizes[1:])  # the first is one table, larger alone
        stored = open_checkpoint(directory)
        assert {name: stored[name].tobytes() for name in stored} == {
            hf_name(name): values.tobytes() for name, values in original.items()
        }
        index = json.loads((directory / "model.safetensors.index.json").read_text("utf-8"))
        assert index["metadata"]["total_size"] == sum(sizes)

    def test_transformers_insists_on_the_metadata(self, tmp_path: Path) -> None:
        path = converted(tmp_path) / "model.safetensors"
        with safetensors.safe_open(path, framework="numpy") as file:
            assert file.metadata() == {"format": "pt"}

    @pytest.mark.parametrize("value", [math.nan, math.inf, 70_000.0])
    def test_values_the_dtype_cannot_hold(self, tmp_path: Path, value: float) -> None:
        tensors = gguf_tensors()
        tensors["blk.1.ffn_up.weight"][3, 4] = value
        source = write_gguf(tmp_path / "model.gguf", tensors)
        with pytest.raises(CheckpointError, match=r"blk.1.ffn_up.weight.*range of float16"):
            convert_gguf(source, tmp_path / "model", dtype="F16")
        assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]


class TestConfig:
    def test_fields(self, tmp_path: Path) -> None:
        config = LlamaConfig.from_directory(converted(tmp_path))
        assert config == LlamaConfig(
            vocab_size=400,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=16,
            max_position_embeddings=64,
            rms_norm_eps=1e-5,
            rope_theta=5000.0,
            tie_word_embeddings=True,
            bos_token_id=1,
            eos_token_ids=(2,),
        )

    def test_several_ends(self, tmp_path: Path) -> None:
        directory = converted(
            tmp_path,
            metadata={"tokenizer.ggml.eot_token_id": 0, "tokenizer.ggml.eom_token_id": 2},
        )
        assert LlamaConfig.from_directory(directory).eos_token_ids == (2, 0)
        assert Tokenizer(directory).eos_token_ids == (2, 0)

    def test_defaults(self, tmp_path: Path) -> None:
        tensors = gguf_tensors()
        for i in range(2):
            for stem in ("attn_k", "attn_v"):
                tensors[f"blk.{i}.{stem}.weight"] = np.zeros((64, 64), dtype=np.float32)
        absent = dict.fromkeys(
            ("llama.attention.head_count_kv", "llama.rope.freq_base", "llama.rope.dimension_count")
        )
        config = LlamaConfig.from_directory(converted(tmp_path, tensors=tensors, metadata=absent))
        assert (config.num_key_value_heads, config.rope_theta) == (4, 10000.0)

    @pytest.mark.parametrize(
        "metadata",
        [
            {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0},
            {"llama.rope.scale_linear": 4.0},
        ],
    )
    def test_linear_scaling(self, tmp_path: Path, metadata: dict[str, Any]) -> None:
        config = LlamaConfig.from_directory(converted(tmp_path, metadata=metadata))
        assert config.rope_scaling is not None
        assert (config.rope_scaling.rope_type, config.rope_scaling.factor) == ("linear", 4.0)

    @pytest.mark.parametrize("metadata", [{"llama.rope.scaling.type": "none"}, {}])
    def test_no_scaling(self, tmp_path: Path, metadata: dict[str, Any]) -> None:
        ones = {"rope_freqs.weight": np.ones(8, dtype=np.float32)}
        tensors = gguf_tensors() | ones
        directory = converted(tmp_path, metadata=metadata, tensors=tensors)
        assert LlamaConfig.from_directory(directory).rope_scaling is None
        assert "rope_freqs.weight" not in open_checkpoint(directory)

    def llama3_divisors(self, factor: float, theta: float = 5000.0) -> np.ndarray:
        """As llama.cpp's converter computes them (`LlamaModel.generate_extra_tensors`)."""
        divisors = []
        for j in range(8):
            wavelength = 2 * math.pi * theta ** (2 * j / 16)
            if wavelength < 8192 / 4.0:
                divisors.append(1.0)
            elif wavelength > 8192 / 1.0:
                divisors.append(factor)
            else:
                smooth = (8192 / wavelength - 1.0) / (4.0 - 1.0)
                divisors.append(1 / ((1 - smooth) / factor + smooth))
        assert len(set(divisors)) > 2
        return np.array(divisors, dtype=np.float32)

    @pytest.mark.parametrize("factor", [8.0, 32.0])
    def test_llama3_scaling(self, tmp_path: Path, factor: float) -> None:
        divisors = self.llama3_divisors(factor)
        tensors = gguf_tensors() | {"rope_freqs.weight": divisors}
        config = LlamaConfig.from_directory(converted(tmp_path, tensors=tensors))
        assert config.rope_scaling is not None
        assert config.rope_scaling.rope_type == "llama3"
        assert config.rope_scaling.factor == factor
        plain = 5000.0 ** (-np.arange(0, 16, 2) / 16)
        np.testing.assert_allclose(inverse_frequencies(config), plain / divisors, rtol=1e-6)

    def test_divisors_nobody_explains(self, tmp_path: Path) -> None:
        tensors = gguf_tensors()
        for divisors in (self.llama3_divisors(8.0)[::-1], np.full(8, np.nan), np.full(7, 2.0)):
            tensors["rope_freqs.weight"] = np.ascontiguousarray(divisors, dtype=np.float32)
            source = write_gguf(tmp_path / "model.gguf", tensors)
            with pytest.raises(ConfigError, match=r"rope_freqs.*not supported"):
                convert_gguf(source, tmp_path / "model")

    @pytest.mark.parametrize(
        ("metadata", "named"),
        [
            ({"general.architecture": "qwen2"}, "'qwen2'"),
            ({"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0}, "'yarn'"),
            ({"llama.expert_count": 8}, "llama.expert_count"),
            ({"llama.attention.sliding_window": 32}, "sliding window of 32"),
            ({"llama.rope.dimension_count": 8}, "llama.rope.dimension_count"),
            ({"llama.attention.value_length": 8}, "llama.attention.value_length"),
            ({"llama.logit_scale": 2.0}, "llama.logit_scale"),
            ({"llama.attention.causal": False, "llama.x": "\x1b[2J"}, r"llama.x.*\\x1b"),
            ({"llama.attention.head_count": 0}, "0 and 64|heads"),
            ({"llama.attention.head_count_kv": 3}, "num_key_value_heads"),
        ],
    )
    def test_refused_by_name(self, tmp_path: Path, metadata: dict[str, Any], named: str) -> None:
        source = write_gguf(tmp_path / "model.gguf", metadata=metadata)
        with pytest.raises(ConfigError, match=named):
            convert_gguf(source, tmp_path / "model")
        assert not (tmp_path / "model").exists()

    def test_harmless_metadata_passes(self, tmp_path: Path) -> None:
        extra = {"llama.expert_count": 0, "llama.attention.causal": True, "other.key": "x"}
        extra |= {"llama.attention.sliding_window": 64, "llama.rope.scaling.attn_factor": 1.0}
        converted(tmp_path, metadata=extra)


# Nothing here merges by rank: it looks at all neighbours and joins the best pair, again and again.
def by_score(text: str, scores: dict[str, float]) -> list[str]:
    """SentencePiece's BPE as its paper says it (Kudo and Richardson 2018, section 3.1)."""
    parts = list("▁" + text.replace(" ", "▁")) if text else []
    while True:
        pairs = [
            (-scores[left + right], i)
            for i, (left, right) in enumerate(itertools.pairwise(parts))
            if left + right in scores
        ]
        if not pairs:
            return parts
        _, i = min(pairs)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


SENTENCEPIECE = {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.pre": None,
    "tokenizer.ggml.merges": None,
    "tokenizer.ggml.add_bos_token": None,
}
REBUILT: dict[str, Any] = {}  # filled once, read by every example of a property


class TestTokenizer:
    @pytest.mark.parametrize("pre", PRE_TOKENIZERS)
    @given(
        text=st.text(
            st.characters(codec="utf-8") | st.sampled_from("the cat's 0123456789 \n\t<|>im_end猫é")
        )
    )
    def test_byte_level_gives_the_same_ids(
        self, tmp_path_factory: pytest.TempPathFactory, pre: str, text: str
    ) -> None:
        original, rebuilt = self.pair(tmp_path_factory, pre)
        original.encode_special_tokens = True
        assert rebuilt.encode(text, add_special=False) == original.encode(text).ids
        original.encode_special_tokens = False
        ids = original.encode(text).ids
        assert rebuilt.encode(text, add_special=False, parse_special=True) == ids
        assert rebuilt.decode(ids, skip_special=False) == text

    def pair(self, tmp_path_factory: pytest.TempPathFactory, pre: str) -> Any:
        if pre not in REBUILT:
            original = byte_level(pre, vocab_size=600, across_words=True)
            metadata = gguf_tokenizer(pre, original)
            directory = converted(
                tmp_path_factory.mktemp(pre),
                metadata=metadata,
                tensors=gguf_tensors(vocab_size=original.get_vocab_size()),
            )
            REBUILT[pre] = (original, Tokenizer(directory))
        return REBUILT[pre]

    def test_pre_tokenizers_differ(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        """Else the test above could not tell them apart."""
        text = "it found 345 birds!\n  Two"
        ids = {
            tuple(self.pair(tmp_path_factory, pre)[1].encode(text, add_special=False))
            for pre in PRE_TOKENIZERS
        }
        assert len(ids) == len(PRE_TOKENIZERS)

    def test_llama3_takes_a_word_that_is_a_token_as_it_is(self, tmp_path: Path) -> None:
        for pre, expected in (("llama-bpe", [400]), ("gpt-2", None)):
            metadata = gguf_tokenizer(pre)
            metadata["tokenizer.ggml.tokens"].append("zzqq")  # no merges lead there
            metadata["tokenizer.ggml.token_type"].append(int(gguf.TokenType.NORMAL))
            (tmp_path / pre).mkdir()
            tokenizer = Tokenizer(
                converted(tmp_path / pre, metadata=metadata, tensors=gguf_tensors(vocab_size=401))
            )
            ids = tokenizer.encode("zzqq", add_special=False)
            assert ids == expected if expected else len(ids) == 4

    @pytest.mark.parametrize("name", ["llama3", "llama-v3", "falcon3", "pixtral", "lfm2"])
    def test_other_names_of_llama3s_way_to_cut_words(self, tmp_path: Path, name: str) -> None:
        found = []
        for pre in ("llama-bpe", name):
            metadata = gguf_tokenizer("llama-bpe") | {
                "tokenizer.ggml.pre": pre,
                "tokenizer.ggml.add_bos_token": None,
            }
            (tmp_path / pre).mkdir(exist_ok=True)
            directory = converted(tmp_path / pre, metadata=metadata)
            found.append(json.loads((directory / "tokenizer.json").read_text("utf-8")))
        assert found[0] == found[1]

    def test_roles_and_template(self, tmp_path: Path) -> None:
        directory = converted(tmp_path)
        tokenizer = Tokenizer(directory)
        assert (tokenizer.bos_token_id, tokenizer.eos_token_ids) == (1, (2,))
        assert tokenizer.chat_template == "{{ messages }}"
        assert tokenizer.decode([0, 1, 2]) == ""
        settings = json.loads((directory / "tokenizer_config.json").read_text("utf-8"))
        assert settings["eos_token"] == "<|im_end|>"
        assert settings["model_max_length"] == 64

    @pytest.mark.parametrize(
        ("metadata", "around"),
        [
            ({"tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.add_bos_token": None}, ([], [])),
            ({"tokenizer.ggml.pre": "llama-bpe", "tokenizer.ggml.add_bos_token": None}, ([1], [])),
            ({"tokenizer.ggml.pre": "llama-bpe"}, ([], [])),
            ({"tokenizer.ggml.add_bos_token": True}, ([1], [])),
            (
                {"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": True},
                ([1], [2]),
            ),
        ],
    )
    def test_what_goes_around_a_text(
        self, tmp_path: Path, metadata: dict[str, Any], around: tuple[list[int], list[int]]
    ) -> None:
        tokenizer = Tokenizer(converted(tmp_path, metadata=metadata))
        before, after = around
        plain = tokenizer.encode("the cat", add_special=False)
        assert tokenizer.encode("the cat") == [*before, *plain, *after]

    def test_user_defined_tokens_are_words_and_unused_ones_are_gone(self, tmp_path: Path) -> None:
        metadata = gguf_tokenizer()
        metadata["tokenizer.ggml.tokens"] += ["<think>", "[PAD401]"]
        metadata["tokenizer.ggml.token_type"] += [
            int(gguf.TokenType.USER_DEFINED),
            int(gguf.TokenType.UNUSED),
        ]
        directory = converted(tmp_path, metadata=metadata, tensors=gguf_tensors(vocab_size=402))
        tokenizer = Tokenizer(directory)
        assert tokenizer.encode("<think>") == [400]
        assert tokenizer.decode([400]) == "<think>"
        assert tokenizer.vocab_size == 401
        assert LlamaConfig.from_directory(directory).vocab_size == 402

    def sentencepiece(self, tmp_path: Path, **changes: Any) -> Path:
        tokens, scores, types = sentencepiece_pieces()
        metadata = {
            **SENTENCEPIECE,
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.scores": scores,
            "tokenizer.ggml.token_type": types,
            **{f"tokenizer.ggml.{key}": value for key, value in changes.items()},
        }
        return converted(tmp_path, metadata=metadata, tensors=gguf_tensors(vocab_size=len(tokens)))

    @given(text=st.text(st.sampled_from("the cat>.</s n0é猫🐈\n"), max_size=20))
    @example("</s>")
    @example(" the cat</s><s>")
    def test_sentencepiece_joins_by_score(
        self, tmp_path_factory: pytest.TempPathFactory, text: str
    ) -> None:
        tokens, scores, types = sentencepiece_pieces()
        if "spm" not in REBUILT:
            REBUILT["spm"] = Tokenizer(self.sentencepiece(tmp_path_factory.mktemp("spm")))
        tokenizer = REBUILT["spm"]
        rank = {t: s for t, s, kind in zip(tokens, scores, types, strict=True) if kind == 1}
        expected: list[int] = []
        for part in by_score(text, rank):
            in_bytes = [tokens.index(f"<0x{byte:02X}>") for byte in part.encode()]
            expected += [tokens.index(part)] if part in rank else in_bytes
        assert tokenizer.encode(text) == [1, *expected]
        assert tokenizer.decode([1, *expected]) == text

    def test_sentencepiece_without_a_space_in_front(self, tmp_path: Path) -> None:
        tokenizer = Tokenizer(self.sentencepiece(tmp_path, add_space_prefix=False))
        assert tokenizer.token_bytes(tokenizer.encode("cat", add_special=False)[0]) == b"cat"
        assert tokenizer.decode(tokenizer.encode(" cat")) == " cat"

    @pytest.mark.parametrize(
        ("changes", "named"),
        [
            ({"tokenizer.ggml.pre": "qwen2"}, "'qwen2': not supported"),
            ({"tokenizer.ggml.pre": None}, "'': not supported"),
            ({"tokenizer.ggml.model": "bert"}, "'bert': not supported"),
            ({"tokenizer.ggml.merges": ["a b c"]}, "'a b c'"),
            ({"tokenizer.ggml.merges": ["qqq www"]}, "'qqq www'"),
            ({"tokenizer.ggml.tokens": ["a", "a"]}, "400 types"),
            ({"tokenizer.ggml.bos_token_id": 400, "tokenizer.ggml.add_bos_token": True}, "400"),
            ({"tokenizer.ggml.eos_token_id": 9999}, "0 to 399, got 9999"),
        ],
    )
    def test_refused(self, tmp_path: Path, changes: dict[str, Any], named: str) -> None:
        source = write_gguf(tmp_path / "model.gguf", metadata=changes)
        with pytest.raises(TokenizerError, match=named):
            convert_gguf(source, tmp_path / "model")
        assert not (tmp_path / "model").exists()

    def test_sentencepiece_refused(self, tmp_path: Path) -> None:
        with pytest.raises(TokenizerError, match="scores, got 1"):
            self.sentencepiece(tmp_path, scores=[0.5])
        with pytest.raises(TokenizerError, match="precompiled_charsmap"):
            self.sentencepiece(tmp_path, precompiled_charsmap="x")


class TestBadFiles:
    def test_missing_and_surplus_tensors(self, tmp_path: Path) -> None:
        whole = gguf_tensors()
        cases = {
            r"none for 'model.layers.1.mlp.up_proj.weight'": whole.keys() - {"blk.1.ffn_up.weight"},
            r"none for 'model.embed_tokens.weight'": whole.keys() - {"token_embd.weight"},
        }
        for message, names in cases.items():
            tensors = {name: whole[name] for name in whole if name in names}
            source = write_gguf(tmp_path / "model.gguf", tensors, {"llama.vocab_size": 400})
            with pytest.raises(CheckpointError, match=message):
                convert_gguf(source, tmp_path / "model")
        for name in (
            "blk.0.attn_q_norm.weight",
            "blk.2.ffn_up.weight",
            "x",
            "blk.0.attn_norm.bias",
        ):
            tensors = whole | {name: np.ones(64, dtype=np.float32)}
            source = write_gguf(tmp_path / "model.gguf", tensors)
            message = "expected 2 layers, got 3" if "blk.2" in name else name
            with pytest.raises(CheckpointError, match=message):
                convert_gguf(source, tmp_path / "model")

    @pytest.mark.parametrize(
        "changes",
        [
            {"llama.block_count": 2**31},
            {"llama.embedding_length": 2**31},
            {"llama.attention.key_length": 2**31, "llama.rope.dimension_count": 2**31},
        ],
    )
    def test_absurd_sizes_cost_nothing(self, tmp_path: Path, changes: dict[str, int]) -> None:
        tensors = gguf_tensors() | {"rope_freqs.weight": np.full(8, 2.0, dtype=np.float32)}
        source = write_gguf(tmp_path / "model.gguf", tensors, changes)
        with pytest.raises((CheckpointError, ConfigError)):
            convert_gguf(source, tmp_path / "model")

    def test_wrong_shape_names_both_sides(self, tmp_path: Path) -> None:
        tensors = gguf_tensors() | {"blk.1.attn_k.weight": np.ones((64, 32), dtype=np.float32)}
        source = write_gguf(tmp_path / "model.gguf", tensors)
        with pytest.raises(
            CheckpointError, match=r"blk.1.attn_k.*expected shape \(32, 64\).*got \(64, 32\)"
        ):
            convert_gguf(source, tmp_path / "model")

    def test_metadata_missing_or_of_another_type(self, tmp_path: Path) -> None:
        for changes, message in (
            ({"llama.embedding_length": None}, "metadata llama.embedding_length, got none"),
            ({"llama.block_count": "two"}, "llama.block_count as int, got 'two'"),
            ({"tokenizer.ggml.tokens": [1, 2]}, "tokenizer.ggml.tokens to hold strs"),
            ({"split.count": 3}, "a part of 3"),
        ):
            source = write_gguf(tmp_path / "model.gguf", metadata=changes)
            with pytest.raises(CheckpointError, match=message):
                convert_gguf(source, tmp_path / "model")

    def test_no_such_file(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="readable file, got No such file"):
            convert_gguf(tmp_path / "none.gguf", tmp_path / "model")
        with pytest.raises(CheckpointError, match="readable file"):
            convert_gguf(tmp_path, tmp_path / "model")

    def test_cut_short_anywhere(self, tmp_path: Path) -> None:
        whole = write_gguf(tmp_path / "whole.gguf").read_bytes()
        cut = tmp_path / "cut.gguf"
        for length in (0, 3, 4, 7, 8, 23, 24, 100, 5_000, 12_000, len(whole) // 2, len(whole) - 1):
            cut.write_bytes(whole[:length])
            with pytest.raises(CheckpointError):
                convert_gguf(cut, tmp_path / "model")

    @given(at=st.integers(0, 400), value=st.binary(min_size=1, max_size=8))
    def test_damaged_header(
        self, tmp_path_factory: pytest.TempPathFactory, at: int, value: bytes
    ) -> None:
        """Counts and lengths that lie must not keep us busy for ever, or crash."""
        folder = tmp_path_factory.getbasetemp()
        if not (folder / "whole.gguf").exists():
            write_gguf(folder / "whole.gguf")
        data = bytearray((folder / "whole.gguf").read_bytes())
        data[at : at + len(value)] = value
        (folder / "damaged.gguf").write_bytes(data)
        with contextlib.suppress(CheckpointError):
            open_gguf(folder / "damaged.gguf")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
            (b"<!DOCTYPE html><html>", "an HTML page"),
            (b"PK\x03\x04" + bytes(40), "PyTorch's own format"),
            (b"ggjt" + bytes(40), "llama.cpp's format before GGUF"),
            (b"", "an empty file"),
            (b"GGUF\x07\x00\x00\x00" + bytes(16), "version 2 or 3, got 7"),
            (b"{}", "the file ends 2 bytes too early"),
        ],
    )
    def test_a_file_that_is_something_else(
        self, tmp_path: Path, content: bytes, message: str
    ) -> None:
        (tmp_path / "x.gguf").write_bytes(content)
        with pytest.raises(CheckpointError, match=rf"expected a GGUF file, got .*{message}"):
            convert_gguf(tmp_path / "x.gguf", tmp_path / "out")

    def test_the_other_byte_order(self, tmp_path: Path) -> None:
        path = write_gguf(tmp_path / "little.gguf")
        writer = gguf.GGUFWriter(tmp_path / "big.gguf", "llama", endianess=gguf.GGUFEndian.BIG)
        little = open_gguf(path)
        writer.add_uint32("llama.block_count", 258)
        writer.add_array("list", ["a", "é"])
        values = np.arange(12, dtype=np.float32).reshape(3, 4)
        writer.add_tensor("x", values)
        for write in ("header", "kv_data", "tensors"):
            getattr(writer, f"write_{write}_to_file")()
        writer.close()
        big = open_gguf(tmp_path / "big.gguf")
        assert big.metadata["llama.block_count"] == 258
        assert big.metadata["list"] == ["a", "é"]
        assert big.shape("x") == (3, 4)
        assert little.metadata["llama.block_count"] == 2

    def test_a_list_said_to_be_endless(self, tmp_path: Path) -> None:
        """The library alone would read nothing, 2**62 times over."""
        whole = write_gguf(tmp_path / "whole.gguf").read_bytes()
        start = whole.index(b"tokenizer.ggml.token_type") + len(b"tokenizer.ggml.token_type") + 8
        assert int.from_bytes(whole[start : start + 8], "little") == 400
        (tmp_path / "x.gguf").write_bytes(
            whole[:start] + (2**62).to_bytes(8, "little") + whole[start + 8 :]
        )
        with pytest.raises(CheckpointError, match=r"the file ends \d+ bytes too early"):
            convert_gguf(tmp_path / "x.gguf", tmp_path / "model")

    def test_target_must_be_new(self, tmp_path: Path) -> None:
        source = write_gguf(tmp_path / "model.gguf")
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "mine.txt").write_text("keep me", "utf-8")
        (tmp_path / "file").write_text("keep me", "utf-8")
        for target in ("full", "file"):
            with pytest.raises(InputError, match="new or empty directory"):
                convert_gguf(source, tmp_path / target)
        assert (tmp_path / "full" / "mine.txt").read_text("utf-8") == "keep me"
        (tmp_path / "empty").mkdir()
        assert convert_gguf(source, tmp_path / "empty" / "new" / "model").is_dir()
        (tmp_path / "other").mkdir()
        assert Llama.from_pretrained(convert_gguf(source, tmp_path / "other")).config.vocab_size

    def test_unknown_dtype(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="BF16, F16, F32, got 'Q4'"):
            convert_gguf(tmp_path / "x.gguf", tmp_path / "model", dtype="Q4")

    def test_failing_midway_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = write_gguf(tmp_path / "model.gguf")

        def full(*args: object, **kwargs: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(convert, "save_file", full)
        with pytest.raises(OSError, match="No space"):
            convert_gguf(source, tmp_path / "model")
        assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]


def test_progress_goes_from_nothing_to_all(tmp_path: Path) -> None:
    source = write_gguf(tmp_path / "model.gguf")
    seen: list[tuple[str, float]] = []
    convert_gguf(source, tmp_path / "model", report=lambda stage, done: seen.append((stage, done)))
    fractions = [done for _, done in seen]
    assert {stage for stage, _ in seen} == {"converting"}
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)


def test_chat_tokens_are_the_ones_tested() -> None:
    assert [gguf_tokenizer()["tokenizer.ggml.tokens"][i] for i in range(3)] == CHAT_TOKENS
