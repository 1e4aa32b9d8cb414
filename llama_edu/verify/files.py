"""Files that are odd and right, and files that are not right: what an engine makes of them.

An odd file is read, or refused; other numbers than the right ones are a mistake. A damaged one
should be refused. An engine that answers all the same is told so, and not failed: nothing here can
know whether it will be given files from strangers.
"""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llama_edu.formats.safetensors import SafetensorsFile, save_file
from llama_edu.verify.checkpoints import TINY, Tiny, write_tiny

__all__ = ["FILES", "FileCase", "write_case"]

BASE: Tiny = next(tiny for tiny in TINY if tiny.name == "gqa-untied-bf16")
TIED: Tiny = next(tiny for tiny in TINY if tiny.name == "mha-tied-f32")


@dataclass(frozen=True)
class FileCase:
    """A model directory with something about it. `damaged` ones have no right answer."""

    label: str
    change: Callable[[Path], None]
    damaged: bool = False
    base: Tiny = BASE


def write_case(case: FileCase, directory: Path) -> None:
    """Write the directory of a case into an existing, empty one."""
    write_tiny(case.base, directory)
    case.change(directory)


def _weights(directory: Path) -> Path:
    return directory / "model.safetensors"


def _tensors(directory: Path) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in SafetensorsFile(_weights(directory)).items()}


def _header(directory: Path) -> tuple[dict[str, Any], bytes]:
    data = _weights(directory).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def _write(directory: Path, header: dict[str, Any], body: bytes, spaces: int = 0) -> None:
    text = json.dumps(header).encode() + b" " * spaces
    _weights(directory).write_bytes(struct.pack("<Q", len(text)) + text + body)


def _without_metadata(directory: Path) -> None:
    header, body = _header(directory)
    header.pop("__metadata__", None)
    _write(directory, header, body)


def _with_more_metadata(directory: Path) -> None:
    header, body = _header(directory)
    metadata = {"format": "pt", "data_offsets": "[0, 8]", "note": '"{}" é 😀', "dtype": "F64"}
    _write(directory, {"__metadata__": metadata} | header, body)


def _padded(directory: Path) -> None:
    _write(directory, *_header(directory), spaces=37)


def _names_last(directory: Path) -> None:
    """Fields of an entry in another order, and names in the reverse order of their bytes."""
    header, body = _header(directory)
    turned = {name: dict(reversed(entry.items())) for name, entry in reversed(header.items())}
    _write(directory, turned, body)


def _body_in_another_order(directory: Path) -> None:
    """The bytes in another order than the names."""
    header, body = _header(directory)
    new, start, parts = {}, 0, []
    metadata = header.pop("__metadata__", {})
    for name in sorted(header, key=lambda n: n[::-1]):
        entry = header[name]
        first, last = entry["data_offsets"]
        parts.append(body[first:last])
        new[name] = entry | {"data_offsets": [start, start + last - first]}
        start += last - first
    listed = {name: new[name] for name in header}
    _write(directory, {"__metadata__": metadata} | listed, b"".join(parts))


def _frequencies_stored(directory: Path) -> None:
    tensors = _tensors(directory)
    for i in range(3):
        tensors[f"model.layers.{i}.self_attn.rotary_emb.inv_freq"] = np.full(5, 9.0, np.float32)
    save_file(tensors, _weights(directory), {"format": "pt"})


def _sharded(directory: Path) -> None:
    tensors = _tensors(directory)
    names = sorted(tensors)
    shards = {"model-00001-of-00002.safetensors": names[::2]}
    shards["model-00002-of-00002.safetensors"] = names[1::2]
    for file, own in shards.items():
        save_file({name: tensors[name] for name in own}, directory / file, {"format": "pt"})
    weight_map = {name: file for file, own in shards.items() for name in own}
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    _weights(directory).unlink()


def _mixed_formats(directory: Path) -> None:
    """Norms in float32 among matrices in bfloat16."""
    tensors = _tensors(directory)
    for name in tensors:
        if "norm" in name:
            tensors[name] = tensors[name].astype(np.float32)
    save_file(tensors, _weights(directory), {"format": "pt"})


def _stored_as_head(directory: Path) -> None:
    tensors = _tensors(directory)
    tensors["lm_head.weight"] = tensors.pop("model.embed_tokens.weight")
    save_file(tensors, _weights(directory), {"format": "pt"})


def _stored_twice(directory: Path) -> None:
    tensors = _tensors(directory)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    save_file(tensors, _weights(directory), {"format": "pt"})


def _config_unknown_fields(directory: Path) -> None:
    path = directory / "config.json"
    config = json.loads(path.read_text("utf-8"))
    config |= {"transformers_version": "4.57.0", "use_cache": True, "initializer_range": 0.02}
    config |= {"note": 'a "quoted" \\ é 😀', "nested": {"hidden_size": 1, "list": [1, [2, {}]]}}
    path.write_text(json.dumps(config), "utf-8")


def _config_exponents(directory: Path) -> None:
    path = directory / "config.json"
    text = path.read_text("utf-8").replace('"rope_theta": 500.0', '"rope_theta": 5e2')
    path.write_text(text.replace('"rms_norm_eps": 0.004', '"rms_norm_eps": 4.0E-03'), "utf-8")


def _cut_short(directory: Path) -> None:
    data = _weights(directory).read_bytes()
    _weights(directory).write_bytes(data[:-1000])


def _empty(directory: Path) -> None:
    _weights(directory).write_bytes(b"")


def _length_too_large(directory: Path) -> None:
    data = _weights(directory).read_bytes()
    _weights(directory).write_bytes(struct.pack("<Q", 1 << 62) + data[8:])


def _not_json(directory: Path) -> None:
    data = _weights(directory).read_bytes()
    _weights(directory).write_bytes(data[:8] + b"<" + data[9:])


def _entry(**fields: Any) -> Callable[[Path], None]:
    """One tensor's entry with other fields."""

    def change(directory: Path) -> None:
        header, body = _header(directory)
        name = "model.layers.1.mlp.up_proj.weight"
        header[name] = header[name] | fields
        _write(directory, header, body)

    return change


def _beyond_the_end(directory: Path) -> None:
    header, body = _header(directory)
    name = "model.layers.1.mlp.up_proj.weight"
    start, stop = header[name]["data_offsets"]
    header[name]["data_offsets"] = [start + len(body), stop + len(body)]
    _write(directory, header, body)


def _tensor_missing(directory: Path) -> None:
    tensors = _tensors(directory)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, _weights(directory), {"format": "pt"})


def _shape_of_another(directory: Path) -> None:
    tensors = _tensors(directory)
    name = "model.layers.1.mlp.up_proj.weight"
    tensors[name] = np.ascontiguousarray(tensors[name].T)
    save_file(tensors, _weights(directory), {"format": "pt"})


def _config(**fields: Any) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        path = directory / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | fields), "utf-8")

    return change


FILES: tuple[FileCase, ...] = (
    FileCase("no __metadata__", _without_metadata),
    FileCase("__metadata__ that looks like an entry", _with_more_metadata),
    FileCase("a header with spaces after it", _padded),
    FileCase("names and fields in another order", _names_last),
    FileCase("bytes in another order than names", _body_in_another_order),
    FileCase("RoPE frequencies stored as tensors", _frequencies_stored),
    FileCase("norms in float32 among bfloat16", _mixed_formats),
    FileCase("two files and an index", _sharded),
    FileCase("a tied table stored as lm_head", _stored_as_head, base=TIED),
    FileCase("a tied table stored twice", _stored_twice, base=TIED),
    FileCase("fields in the config nobody knows", _config_unknown_fields),
    FileCase("numbers in the config with exponents", _config_exponents),
    FileCase("a file cut short", _cut_short, damaged=True),
    FileCase("an empty file", _empty, damaged=True),
    FileCase("a header length of 2⁶²", _length_too_large, damaged=True),
    FileCase("a header that is not JSON", _not_json, damaged=True),
    FileCase("an unknown dtype", _entry(dtype="F7"), damaged=True),
    FileCase("a shape that does not fill its bytes", _entry(shape=[2, 2]), damaged=True),
    FileCase("negative offsets", _entry(data_offsets=[-8, 0]), damaged=True),
    FileCase("offsets beyond the end", _beyond_the_end, damaged=True),
    FileCase("a tensor missing", _tensor_missing, damaged=True),
    FileCase("a matrix turned over", _shape_of_another, damaged=True),
    FileCase("a gate the engine does not know", _config(hidden_act="gelu"), damaged=True),
    FileCase("more layers than the file has", _config(num_hidden_layers=9), damaged=True),
    FileCase("a RoPE scaling nobody knows", _config(rope_scaling={"rope_type": "spiral"}), True),
)
"""Every file case, the odd ones first."""
