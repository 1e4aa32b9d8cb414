"""docs/checkpoints.md against the code: every row is tried."""

import json
import re
from pathlib import Path

import pytest
from helpers import tiny_config, tiny_tensors
from tiny_files import byte_level, write_json, write_tokenizer

from llama_edu import Llama, LlamaConfig, Tokenizer
from llama_edu.errors import CheckpointError, ConfigError, TokenizerError
from llama_edu.formats.config import EXPERTS, FAMILIES, REQUIRED_VALUES
from llama_edu.formats.safetensors import open_checkpoint, save_file

PAGE = (Path(__file__).parents[2] / "docs" / "checkpoints.md").read_text("utf-8")
LLAMA = {
    "model_type": "llama",
    "vocab_size": 31,
    "hidden_size": 48,
    "intermediate_size": 27,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 777,
    "rms_norm_eps": 1e-5,
}


def table(title: str) -> list[list[str]]:
    """The rows of the table under a heading, cell by cell, without the head."""
    section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


FILES = {row[0].strip("` "): row[1] for row in table("Files")}
FIELDS = [[c.strip("` |") for c in row] for row in table("Fields of `config.json`")]


@pytest.mark.parametrize("row", FIELDS, ids=lambda row: f"{row[0]} {row[1]}")
def test_every_field_is_read_ignored_or_refused_as_the_page_says(row):
    name, value, verdict, why = row
    changed = LLAMA | {name: json.loads(value)}
    assert why
    if verdict == "refused":
        with pytest.raises(ConfigError, match=f"{name}|rope_type|experts"):
            LlamaConfig.from_dict(changed)
        return
    same = LlamaConfig.from_dict(changed) == LlamaConfig.from_dict(LLAMA)
    assert same == {"read": False, "ignored": True}[verdict]


def test_every_field_that_is_refused_is_on_the_page():
    refused = {row[0] for row in FIELDS if row[2] == "refused"}
    assert {*REQUIRED_VALUES, *EXPERTS} - {"moe_intermediate_size"} <= refused
    dataclass_names = {"eos_token_ids": "eos_token_id", "dtype": "torch_dtype"}
    of_families = {"qkv_bias", "qk_norm", "sliding_layers", "no_rope_layers"}
    known = {dataclass_names.get(n, n) for n in LlamaConfig.__dataclass_fields__} - of_families
    assert known <= {row[0] for row in FIELDS}


def test_the_families_are_those_of_the_code():
    rows = table("Families")
    assert [row[0].strip("`") for row in rows] == list(FAMILIES)
    others = re.findall(r"`(\w+)`", PAGE.split("Any other is refused by name, among them")[1][:90])
    assert len(others) > 3
    for name in others:
        with pytest.raises(ConfigError, match=f"got '{name}': not supported"):
            LlamaConfig.from_dict(LLAMA | {"model_type": name})


def model(folder: Path) -> Path:
    """A whole directory, which each test then spoils."""
    write_tokenizer(folder, byte_level(), eos_token="<|im_end|>")
    config = tiny_config(vocab_size=400)
    fields = {name: value for name, value in vars(config).items() if type(value) in (int, float)}
    write_json(folder / "config.json", fields | {"model_type": "llama"})
    save_file(tiny_tensors(config), folder / "model.safetensors")
    return folder


def read(folder: Path) -> None:
    Llama.from_pretrained(folder)
    Tokenizer(folder)


REFUSALS = (CheckpointError, ConfigError, TokenizerError)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_read_is_missed_or_spoils_and_one_that_is_ignored_does_not(name, tmp_path):
    folder, verdict = model(tmp_path), FILES[name]
    if verdict.startswith("refused"):
        (folder / "model.safetensors").rename(folder / name)
        with pytest.raises(CheckpointError, match=name):
            open_checkpoint(folder)
        return
    if "index" in name:
        (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"\xff\xfe broken")
    if verdict.startswith("ignored"):
        read(folder)
        return
    with pytest.raises(REFUSALS, match=name):
        read(folder)
    (folder / name).unlink()
    if "required" in verdict or name.startswith("model."):
        with pytest.raises(REFUSALS, match=name):
            read(folder)
    else:
        read(folder)
