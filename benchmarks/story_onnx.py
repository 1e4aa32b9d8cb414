"""An embedded model as an ONNX graph, for peers that read nothing else (transformers.js).

    python benchmarks/story_onnx.py FOLDER

Writes `FOLDER/story` as transformers.js looks for it: `onnx/model.onnx`, float32, with past keys
and values going in and out, beside the config and the tokenizer. Needs `onnx`; made by hand from
the operators of the standard, opset 18, so that no exporter and no PyTorch is needed.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from llama_edu import LlamaConfig, hub
from llama_edu.formats.safetensors import open_checkpoint
from llama_edu.ops.rope import inverse_frequencies

OPSET, IR_VERSION = 18, 9
DOCUMENTS = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


class Graph:
    """Nodes and constants as they are needed."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, array: np.ndarray) -> str:
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def ints(self, *values: int) -> str:
        name = "ints_" + "_".join(map(str, values))
        return self.constant(name.replace("-", "minus"), np.array(values, np.int64))

    def number(self, name: str, value: float) -> str:
        return self.constant(name, np.array(value, np.float32))

    def add(self, kind: str, *inputs: str, out: str = "", **attributes: object) -> str:
        out = out or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], **attributes))
        return out


class StoryGraph(Graph):
    """A Llama without biases, RoPE unscaled, embeddings tied."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.config = LlamaConfig.from_directory(directory)
        self.weights = open_checkpoint(directory)

    def norm(self, x: str, name: str) -> str:
        square = self.add("ReduceMean", self.add("Mul", x, x), self.ints(-1), keepdims=1)
        eps = self.number("eps", self.config.rms_norm_eps)
        root = self.add("Sqrt", self.add("Add", square, eps))
        gain = self.constant(name, self.weights[name])
        return self.add("Mul", self.add("Div", x, root), gain)

    def linear(self, x: str, name: str) -> str:
        return self.add("MatMul", x, self.constant(f"{name}.T", self.weights[name].T))

    def heads(self, x: str, count: int) -> str:
        shape = self.ints(1, -1, count, self.config.head_dim)
        return self.add("Transpose", self.add("Reshape", x, shape), perm=[0, 2, 1, 3])

    def rotated(self, x: str, cos: str, sin: str) -> str:
        half, whole = self.config.head_dim // 2, self.config.head_dim
        axis = self.ints(3)
        first = self.add("Slice", x, self.ints(0), self.ints(half), axis)
        second = self.add("Slice", x, self.ints(half), self.ints(whole), axis)
        left = self.add("Sub", self.add("Mul", first, cos), self.add("Mul", second, sin))
        right = self.add("Add", self.add("Mul", second, cos), self.add("Mul", first, sin))
        return self.add("Concat", left, right, axis=3)

    def turn(self) -> tuple[str, str]:
        inv_freq = self.constant("inv_freq", inverse_frequencies(self.config)[None, None, None])
        positions = self.add("Cast", "position_ids", to=TensorProto.FLOAT)
        column = self.add("Unsqueeze", positions, self.ints(1, 3))
        angles = self.add("Mul", column, inv_freq)
        return self.add("Cos", angles), self.add("Sin", angles)

    def mask(self) -> str:
        """0 where a query may look, -∞ elsewhere."""
        total = self.add("Gather", self.add("Shape", "attention_mask"), self.ints(1))
        zero, one = (self.constant(f"scalar_{i}", np.array(i, np.int64)) for i in (0, 1))
        keys = self.add("Range", zero, self.add("Squeeze", total), one)
        row = self.add("Unsqueeze", keys, self.ints(0, 1, 2, 3))
        column = self.add("Unsqueeze", "position_ids", self.ints(1, 2, 4))
        seen = self.add("LessOrEqual", row, column)
        return self.add("Where", seen, self.number("zero", 0.0), self.number("never", -np.inf))

    def attention(self, x: str, layer: int, turn: tuple[str, str], mask: str) -> str:
        config, place = self.config, f"model.layers.{layer}.self_attn"
        kv_heads, groups, dim = config.num_key_value_heads, config.n_groups, config.head_dim
        q = self.heads(self.linear(x, f"{place}.q_proj.weight"), config.num_attention_heads)
        k = self.heads(self.linear(x, f"{place}.k_proj.weight"), kv_heads)
        v = self.heads(self.linear(x, f"{place}.v_proj.weight"), kv_heads)
        past, now = f"past_key_values.{layer}", f"present.{layer}"
        keys = self.add("Concat", f"{past}.key", self.rotated(k, *turn), out=f"{now}.key", axis=2)
        values = self.add("Concat", f"{past}.value", v, out=f"{now}.value", axis=2)
        grouped = self.add(
            "Reshape", self.rotated(q, *turn), self.ints(1, kv_heads, groups, -1, dim)
        )
        turned = self.add("Unsqueeze", self.add("Transpose", keys, perm=[0, 1, 3, 2]), self.ints(2))
        scores = self.add("MatMul", grouped, turned)
        scores = self.add("Mul", scores, self.number("scale", dim**-0.5))
        shares = self.add("Softmax", self.add("Add", scores, mask), axis=-1)
        mixed = self.add("MatMul", shares, self.add("Unsqueeze", values, self.ints(2)))
        apart = self.add("Reshape", mixed, self.ints(1, config.num_attention_heads, -1, dim))
        beside = self.add("Transpose", apart, perm=[0, 2, 1, 3])
        merged = self.add("Reshape", beside, self.ints(1, -1, config.num_attention_heads * dim))
        return self.linear(merged, f"{place}.o_proj.weight")

    def mlp(self, x: str, layer: int) -> str:
        place = f"model.layers.{layer}.mlp"
        gate = self.linear(x, f"{place}.gate_proj.weight")
        up = self.linear(x, f"{place}.up_proj.weight")
        gated = self.add("Mul", self.add("Mul", gate, self.add("Sigmoid", gate)), up)
        return self.linear(gated, f"{place}.down_proj.weight")

    def model(self) -> onnx.ModelProto:
        table = self.constant("embed_tokens", self.weights["model.embed_tokens.weight"])
        x = self.add("Gather", table, "input_ids")
        turn, mask = self.turn(), self.mask()
        for layer in range(self.config.num_hidden_layers):
            place = f"model.layers.{layer}"
            y = self.norm(x, f"{place}.input_layernorm.weight")
            x = self.add("Add", x, self.attention(y, layer, turn, mask))
            y = self.norm(x, f"{place}.post_attention_layernorm.weight")
            x = self.add("Add", x, self.mlp(y, layer))
        head = self.constant("embed_tokens.T", self.weights["model.embed_tokens.weight"].T)
        self.add("MatMul", self.norm(x, "model.norm.weight"), head, out="logits")
        graph = helper.make_graph(
            self.nodes, "llama", self.inputs(), self.outputs(), list(self.constants.values())
        )
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)

    def cache(self, stem: str, length: str) -> list[onnx.ValueInfoProto]:
        shape = [1, self.config.num_key_value_heads, length, self.config.head_dim]
        return [
            helper.make_tensor_value_info(f"{stem}.{layer}.{part}", TensorProto.FLOAT, shape)
            for layer in range(self.config.num_hidden_layers)
            for part in ("key", "value")
        ]

    def inputs(self) -> list[onnx.ValueInfoProto]:
        lengths = {"input_ids": "seq", "attention_mask": "total_seq", "position_ids": "seq"}
        ids = [
            helper.make_tensor_value_info(name, TensorProto.INT64, [1, length])
            for name, length in lengths.items()
        ]
        return ids + self.cache("past_key_values", "past")

    def outputs(self) -> list[onnx.ValueInfoProto]:
        shape = [1, "seq", self.config.vocab_size]
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)
        return [logits, *self.cache("present", "total_seq")]


def write_story(folder: Path) -> Path:
    """`folder/story`, complete; returns it."""
    source, target = hub.locate("story"), folder / "story"
    (target / "onnx").mkdir(parents=True, exist_ok=True)
    model = StoryGraph(source).model()
    onnx.checker.check_model(model)
    onnx.save(model, str(target / "onnx" / "model.onnx"))
    for name in DOCUMENTS:
        shutil.copy(source / name, target / name)
    return target


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    print(write_story(parser.parse_args().folder))
