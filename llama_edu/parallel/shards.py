"""Which part of a model is whose, and the part as a checkpoint of its own.

What a rank holds is a Llama again. Split by KV groups it is as deep and as wide as the whole, but
has fewer heads, a narrower MLP and fewer words in its vocabulary. Split by layers it is as wide and
has fewer layers. So a rank's config is the whole config with other sizes, its tensors are slices of
the whole tensors under the same names, and `llama_edu.engine.weights` loads them as any other.

Slices are views of the mapped file until they are converted, so a rank's copies are of its own
part only. (The pages that the system brings in may hold neighbours: a column slice touches every
row.) Nothing here computes or sends.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from llama_edu.errors import CheckpointError, InputError
from llama_edu.formats.config import LlamaConfig
from llama_edu.formats.tensor_shapes import EMBED_TOKENS, LM_HEAD, expected_shapes

__all__ = ["LayerShards", "TensorShards", "layers_of", "stage_config", "tensor_config"]

BARE_EMBED_TOKENS = EMBED_TOKENS.removeprefix("model.")  # as a model saved without its head has it
OF_A_LAYER = re.compile(r"^((?:model\.)?layers\.)(\d+)(\..*)$")


def tensor_config(config: LlamaConfig, size: int, *, pad: bool = False) -> LlamaConfig:
    """The config of one of `size` ranks that split every layer by KV groups.

    Whole groups only: query heads that share a KV head stay together. Without `pad`, `InputError`
    unless the ranks divide the KV groups, the MLP's width and the vocabulary, naming the numbers.
    With it, each is rounded up and filled with zeros, which add nothing; then `InputError` only if
    half of the groups would be padding.
    """
    if size < 1:
        raise InputError(f"expected at least 1 rank, got {size}")
    sizes = {
        "KV groups": config.num_key_value_heads,
        "columns of the MLP": config.intermediate_size,
        "words of the vocabulary": config.vocab_size,
    }
    for what, count in sizes.items():
        if not pad and count % size:
            raise InputError(
                f"expected a number of ranks that divides {count} {what}, got {size}: "
                f"{count} = {size} · {count // size} + {count % size}"
            )
    groups = _share(config.num_key_value_heads, size)
    if groups * size >= 2 * config.num_key_value_heads and size > 1:
        raise InputError(
            f"expected ranks that share {config.num_key_value_heads} KV groups, got {size}: "
            f"{groups * size - config.num_key_value_heads} of {groups * size} groups would be "
            "padding"
        )
    return replace(
        config,
        num_key_value_heads=groups,
        num_attention_heads=groups * config.n_groups,
        intermediate_size=_share(config.intermediate_size, size),
        vocab_size=_share(config.vocab_size, size),
    )


def layers_of(n_layers: int, rank: int, size: int) -> range:
    """The layers of one rank, which follow each other. `InputError` for more ranks than layers."""
    if not 1 <= size <= n_layers:
        raise InputError(f"expected 1 to {n_layers} ranks for {n_layers} layers, got {size}")
    return range(n_layers * rank // size, n_layers * (rank + 1) // size)


def stage_config(config: LlamaConfig, rank: int, size: int) -> LlamaConfig:
    """The config of one of `size` ranks that split the model by layers.

    The first has the embedding, the last the head; a rank in between has a vocabulary of 0 words.
    """
    mine = layers_of(config.num_hidden_layers, rank, size)
    if size == 1:
        return config
    return replace(
        config,
        num_hidden_layers=len(mine),
        sliding_layers=_counted_from(mine, config.sliding_layers),
        no_rope_layers=_counted_from(mine, config.no_rope_layers),
        vocab_size=config.vocab_size if rank in (0, size - 1) else 0,
        tie_word_embeddings=True,  # one table a rank: the embedding, the head, or an empty one
    )


class TensorShards(Mapping[str, np.ndarray]):
    """The tensors of one rank that splits every layer, cut from those of the whole model.

    q, k, v, gate and up, embedding and head by rows; o and down by columns. Biases go with the
    rows; those of o and down, which are added once, stay with rank 0. Past the end of the whole
    there are zeros. Raises `CheckpointError` for a tensor of another shape than the config says.
    """

    def __init__(
        self, stored: Mapping[str, np.ndarray], config: LlamaConfig, rank: int, size: int
    ) -> None:
        self._stored = stored
        self._rank = rank
        self._share = tensor_config(config, size, pad=True)
        self._shapes = {_bare(name): shape for name, shape in expected_shapes(config).items()}

    def __getitem__(self, name: str) -> np.ndarray:
        whole = self._stored[name]
        expected = self._shapes.get(_bare(name))
        if expected is not None and whole.shape != expected:
            raise CheckpointError(
                f"{name!r}: expected shape {expected} from the config, got {whole.shape}"
            )
        bare = name.removesuffix(".weight").removesuffix(".bias").rpartition(".")[2]
        rows = self._rows(bare)
        if rows is not None:
            return _cut(whole, rows, self._rank)
        columns = self._columns(bare)
        if columns is None:
            return whole
        if name.endswith(".bias"):
            return whole if self._rank == 0 else np.zeros_like(whole)
        return np.ascontiguousarray(_cut(whole.T, columns, self._rank).T)

    def _rows(self, part: str) -> int | None:
        """How many rows of a tensor one rank has; None if it is not cut by rows."""
        share = self._share
        if part == "q_proj":
            return share.num_attention_heads * share.head_dim
        if part in ("k_proj", "v_proj"):
            return share.num_key_value_heads * share.head_dim
        if part in ("gate_proj", "up_proj"):
            return share.intermediate_size
        return share.vocab_size if part in ("embed_tokens", "lm_head") else None

    def _columns(self, part: str) -> int | None:
        share = self._share
        if part == "o_proj":
            return share.num_attention_heads * share.head_dim
        return share.intermediate_size if part == "down_proj" else None

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)


class LayerShards(Mapping[str, np.ndarray]):
    """The tensors of one rank that has some of the layers, counted from 0 again.

    The first rank has the embedding, the last the final norm and the head (where they are tied, the
    embedding once more); the others get an empty table, and the norm, which they do not use.
    """

    def __init__(
        self, stored: Mapping[str, np.ndarray], config: LlamaConfig, rank: int, size: int
    ) -> None:
        self._stored = stored
        self._is_end = rank in (0, size - 1)
        self._names = dict(_names_of(stored, config, rank, size))

    def __getitem__(self, name: str) -> np.ndarray:
        whole = self._stored[self._names[name]]
        if _bare(name) in (BARE_EMBED_TOKENS, LM_HEAD) and not self._is_end:
            return whole[:0]
        return whole

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _names_of(
    stored: Mapping[str, np.ndarray], config: LlamaConfig, rank: int, size: int
) -> Iterator[tuple[str, str]]:
    """What a tensor is called here, and in the whole model."""
    mine = layers_of(config.num_hidden_layers, rank, size)
    is_last = rank == size - 1
    tables = [LM_HEAD, BARE_EMBED_TOKENS] if is_last else [BARE_EMBED_TOKENS, LM_HEAD]
    tables = tables if config.tie_word_embeddings else tables[:1]
    given = {_bare(name) for name in stored}
    kept = next((table for table in tables if table in given), None)
    for name in stored:
        found = OF_A_LAYER.match(name)
        if found is not None:
            index = int(found[2])
            # A layer too many stays with the last, so that it is seen to be too many.
            if index in mine or (is_last and index >= config.num_hidden_layers):
                yield f"{found[1]}{index - mine.start}{found[3]}", name
        elif size == 1 or _bare(name) == kept or _bare(name) not in (BARE_EMBED_TOKENS, LM_HEAD):
            yield name, name


def _share(count: int, size: int) -> int:
    """What each of `size` gets of `count`, rounded up."""
    return -(-count // size)


def _cut(whole: np.ndarray, rows: int, rank: int) -> np.ndarray:
    """Rows `rank * rows` and on; zeros for those beyond the end. A view where none is missing."""
    part = whole[rank * rows : (rank + 1) * rows]
    if len(part) == rows:
        return part
    padded = np.zeros((rows, *whole.shape[1:]), dtype=whole.dtype)
    padded[: len(part)] = part
    return padded


def _counted_from(mine: range, layers: tuple[int, ...] | range) -> tuple[int, ...]:
    return tuple(i - mine.start for i in layers if i in mine)


def _bare(name: str) -> str:
    """A name without the prefix that some checkpoints leave out."""
    return name.removeprefix("model.")
