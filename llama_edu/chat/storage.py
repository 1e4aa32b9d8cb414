"""A conversation as a file: what was said, and the keys and values computed for it.

One safetensors file, written whole or not at all: tensors `token_ids`, `keys` and `values`, and
in its metadata the rest as JSON, the identity of the model, and a checksum over all of it. What
the rest means is for `chat` to say; this module stores it and gives it back, or says why not.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from llama_edu.engine.cache import KVCache
from llama_edu.engine.llama import Llama
from llama_edu.errors import CheckpointError, LlamaEduError, SessionError
from llama_edu.formats.safetensors import SafetensorsFile, save_file
from llama_edu.formats.strict_json import parse_object

__all__ = ["SavedChat", "read_chat", "write_chat"]

FORMAT = "llama_edu conversation 1"
FIELDS = ("format", "model", "state", "sha256")
TENSORS = ("token_ids", "keys", "values")


@dataclass(frozen=True)
class SavedChat:
    """What a file holds: anything JSON can say, the cached ids, and a cache with their rows."""

    state: dict[str, Any]
    token_ids: list[int]
    cache: KVCache


def write_chat(path: str | os.PathLike[str], chat: SavedChat, model: Llama) -> None:
    """Write a file in one step. A file that was there is replaced, or stays if writing fails."""
    keys, values = chat.cache.rows(0, len(chat.token_ids))
    ids = np.array(chat.token_ids, dtype=np.int64)
    tensors = dict(zip(TENSORS, (ids, keys, values), strict=True))
    state = json.dumps(chat.state)
    metadata = {"format": FORMAT, "model": model_identity(model), "state": state}
    save_file(tensors, path, metadata | {"sha256": _checksum(metadata, tensors)})


def read_chat(path: str | os.PathLike[str], model: Llama) -> SavedChat:
    """Read a file that `write_chat` wrote with the same model.

    Raises `SessionError` if the file is damaged, of another kind, or of another model.
    """
    try:
        file = SafetensorsFile(path)
    except CheckpointError as problem:
        raise SessionError(f"expected a saved conversation, got {problem}") from problem
    metadata = file.header.metadata
    if (
        metadata.get("format") != FORMAT
        or set(metadata) != set(FIELDS)
        or set(file) != set(TENSORS)
    ):
        raise SessionError(
            f"{path}: expected a file of the kind {FORMAT!r}, "
            f"got {metadata.get('format', 'another safetensors file')!r}"
        )
    tensors = {name: file[name] for name in TENSORS}
    stored = metadata.pop("sha256")
    if (found := _checksum(metadata, tensors)) != stored:
        raise SessionError(
            f"{path}: expected contents with the SHA-256 {stored}, got {found}: it is damaged"
        )
    if (identity := model_identity(model)) != metadata["model"]:
        raise SessionError(
            f"{path}: expected a conversation with this model, {identity}, "
            f"got one with {metadata['model']}"
        )
    state = parse_object(metadata["state"].encode(), str(path), SessionError)
    return SavedChat(state, *_filled_cache(path, tensors, model))


def _filled_cache(
    path: str | os.PathLike[str], tensors: dict[str, np.ndarray], model: Llama
) -> tuple[list[int], KVCache]:
    ids, keys, values = (tensors[name] for name in TENSORS)
    cache = model.new_cache()
    try:
        if ids.size:
            model.checked_ids(ids)
        if keys.shape[2:3] != ids.shape:
            raise SessionError(f"expected rows for {ids.shape} ids, got {keys.shape}")
        cache.extend(keys, values)
    except LlamaEduError as problem:
        raise SessionError(f"{path}: {problem}") from problem
    return ids.tolist(), cache


def model_identity(model: Llama) -> str:
    """Names the model's numbers: shape and precision in words, and a hash over every weight."""
    config, precision = model.config, model.precision
    return (
        f"{config.num_hidden_layers} layers of {config.hidden_size}, {precision.name} with a "
        f"{precision.cache} cache, SHA-256 {model.weights.sha256()[:16]}"
    )


def _checksum(metadata: dict[str, str], tensors: dict[str, np.ndarray]) -> str:
    whole = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in TENSORS:
        array = tensors[name]
        whole.update(f"{name} {array.dtype} {array.shape}".encode())
        whole.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return whole.hexdigest()
