"""What a file really is: recognised by its first bytes, and never mistaken for what it is not."""

import gzip
import json
import pickle
import zipfile

import numpy as np
import pytest
from helpers import DATA

from llama_edu.errors import CheckpointError, ConfigError
from llama_edu.formats.config import LlamaConfig
from llama_edu.formats.first_bytes import NBYTES, really
from llama_edu.formats.safetensors import SafetensorsFile, open_checkpoint, save_file

LFS = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f"
    b"32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)
KINDS = {
    "an empty file": b"",
    "a Git LFS pointer": LFS,
    "an HTML page": b"\n <!DOCTYPE html>\n<html><body>403 Forbidden</body></html>",
    "an HTML page: an": b"<html lang=en><head><title>x</title>",
    "an HTML page: an address": b"\xef\xbb\xbf<!-- saved\nfrom --><HTML>",
    "an XML document": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    "a Python pickle": pickle.dumps({"model.norm.weight": [1.0]}),
    "a Python pickle, which": pickle.dumps([1, 2], protocol=2),
    "a gzip archive": gzip.compress(b"x"),
    "a GGUF file: convert it": b"GGUF\x03\x00\x00\x00" + bytes(16),
    "a NumPy array": b"\x93NUMPY\x01\x00v\x00",
    'a server\'s error: {"error":"Repository not found"}': b'{"error":"Repository not found"}',
    "a server's refusal: Entry not found": b"Entry not found",
    "a server's refusal: Access to model x/y is": b"Access to model x/y is restricted",
    "nothing but zeros": bytes(100),
    "a text that begins with 'no weights here no weights here no weigh'": b"no weights here\n" * 40,
    "a text that begins with 'caf\ufffd, no weights'": b"caf\xe9, no weights",
    f"a server's refusal: Forbidden {'x' * 70}": b"Forbidden " + b"x" * 700,
}


def test_fewer_than_eight_letters_are_no_text():
    assert really(b"weights") is None
    assert really(b"weights!") == "a text that begins with 'weights!'"


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_named_wherever_it_is_met(kind, tmp_path):
    content = KINDS[kind]
    assert really(content[:NBYTES]).startswith(kind)
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError) as raised:
        open_checkpoint(tmp_path)
    assert f"model.safetensors: expected a safetensors file, got {kind}" in str(raised.value)


def test_pytorchs_own_format_is_named(tmp_path):
    path = tmp_path / "model.safetensors"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    with pytest.raises(CheckpointError, match=r"got PyTorch's own format .* run code when read"):
        SafetensorsFile(path)


@pytest.mark.parametrize("kind", [k for k in KINDS if not k.startswith("a server's error")])
def test_a_config_too(kind, tmp_path):
    (tmp_path / "config.json").write_bytes(KINDS[kind])
    with pytest.raises(ConfigError) as raised:
        LlamaConfig.from_directory(tmp_path)
    assert f"got {kind}" in str(raised.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pytorch_model.bin", "pytorch_model.bin: a pickle, which can run code"),
        ("consolidated.00.pth", "consolidated.00.pth: a pickle"),
        ("model-q4.gguf", "model-q4.gguf: convert it with"),
        ("model-00001-of-00002.safetensors", "00002.safetensors: without an index that names it"),
        ("README.md", "neither"),
    ],
)
def test_weights_under_another_name_are_named(name, words, tmp_path):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(CheckpointError, match=f"got .*{words}"):
        open_checkpoint(tmp_path)


def test_of_several_weights_under_other_names_the_first_is_named(tmp_path):
    for name in ("b.onnx", "a.h5", "c.bin"):
        (tmp_path / name).touch()
    with pytest.raises(CheckpointError, match=r"got a\.h5: TensorFlow's weights"):
        open_checkpoint(tmp_path)


def test_files_that_are_what_they_say_are_recognised_as_nothing_else(tmp_path):
    files = [path for path in DATA.rglob("*") if path.suffix in (".json", ".safetensors")]
    assert len(files) > 20
    assert {really(path.read_bytes()[:NBYTES]) for path in files} == {None}


@pytest.mark.parametrize("length", [0x8B1F, 0x0480, 0x0280, 0x2123])
def test_a_header_whose_length_looks_like_something_else_is_read(length, tmp_path):
    """35,615 bytes of header begin as a gzip archive does."""
    path = tmp_path / "x.safetensors"
    save_file({"a": np.ones(2, np.float32)}, path)
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header = raw[8:start].ljust(length)
    path.write_bytes(length.to_bytes(8, "little") + header + raw[start:])
    assert SafetensorsFile(path)["a"].tolist() == [1.0, 1.0]


def test_an_index_may_list_frequencies_that_no_file_has_and_the_other_way(tmp_path):
    save_file({"a": np.ones(2, np.float32)}, tmp_path / "one.safetensors")
    rope = "model.layers.0.self_attn.rotary_emb.inv_freq"
    save_file(
        {"b": np.zeros(3, np.float32), rope: np.ones(4, np.float32)}, tmp_path / "two.safetensors"
    )
    listed = {
        "a": "one.safetensors",
        "b": "two.safetensors",
        rope.replace("0", "1"): "one.safetensors",
        rope.replace("0", "2"): "absent.safetensors",
    }
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": listed}), "utf-8")
    assert sorted(open_checkpoint(tmp_path)) == ["a", "b"]
    index.write_text(json.dumps({"weight_map": listed | {"c": "one.safetensors"}}), "utf-8")
    with pytest.raises(CheckpointError, match=r"got 'c' of 'one.safetensors' in index only"):
        open_checkpoint(tmp_path)
