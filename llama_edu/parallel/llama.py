"""The two ways to split a Llama: what each rank computes, and where it needs the others.

Both are `Llama`s. Every rank makes the same calls with the same ids, and every rank gets the same
logits, bit for bit, so `generate`, sampling with a seed and `ChatSession` need not know that others
are there: all ranks choose the same token. The cache of a rank holds its own heads or layers.

Split by KV groups is what Megatron-LM calls tensor parallelism (Shoeybi et al. 2019,
arXiv:1909.08053); split by layers, pipeline parallelism (Huang et al. 2018, GPipe,
arXiv:1811.06965). A step of many rows, such as a prompt, goes through the ranks in pieces, GPipe's
micro-batches: while a rank has one, the rank before it has the next. For a single token, one rank
works at a time.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from llama_edu import hub
from llama_edu.engine.forward import axes_of_logits, embed, head, through_layers
from llama_edu.engine.llama import Llama
from llama_edu.engine.step import Step
from llama_edu.engine.trace import IGNORE, Recorder
from llama_edu.errors import InputError
from llama_edu.formats.config import LlamaConfig
from llama_edu.formats.precision import to_float32
from llama_edu.formats.quantize import rows_as_float32
from llama_edu.formats.safetensors import open_checkpoint
from llama_edu.parallel.shards import LayerShards, TensorShards, stage_config, tensor_config
from llama_edu.parallel.world import World

__all__ = ["SPLITS", "PipelineLlama", "TensorLlama", "split_llama"]

SPLITS = ("tensor", "pipeline")
PIECE_ROWS = 64  # each piece reads all weights again, which pays with as many rows to multiply


class TensorLlama(Llama):
    """One rank of a model that is split by KV groups.

    `config` has the sizes of this rank and the whole vocabulary, `whole` those of the model. With
    `pad`, sizes that the ranks do not divide are rounded up with zeros. Raises as `Llama` does,
    and `InputError` for sizes that do not divide.
    """

    def __init__(
        self,
        config: LlamaConfig,
        tensors: Mapping[str, np.ndarray],
        world: World,
        *,
        pad: bool = False,
        precision: str = "f32",
        backend: str = "numpy",
    ) -> None:
        share = tensor_config(config, world.size, pad=pad)
        shards = TensorShards(tensors, config, world.rank, world.size)
        super().__init__(share, shards, precision=precision, backend=backend)
        self.world = world
        self.whole = config
        self.config = replace(self.config, vocab_size=config.vocab_size)
        self.operators = replace(self.operators, decode_step=None)  # it would go on alone

    def run_step(
        self, step: Step, record: Recorder = IGNORE
    ) -> Float32[np.ndarray, "rows vocab_size"]:
        """Two sums over all ranks a layer, one for the embedding, and the logits gathered."""
        config, weights, world = self.config, self.weights, self.world
        ops = replace(self.operators, residual=self._residual)
        x = world.summed(self._embedded(step).astype(step.cos.dtype, copy=False))
        record("embed_tokens", x, "seq hidden_size")
        x = through_layers(x, weights.layers, config, ops, step, record)
        x = ops.rms_norm(x, weights.norm, config.rms_norm_eps)
        record("norm", x, "seq hidden_size")
        mine = to_float32(ops.linear(x[step.logit_rows], weights.lm_head))
        logits = np.concatenate(world.gathered(mine), axis=1)[:, : config.vocab_size]
        record("logits", logits, axes_of_logits(step))
        step.advance()
        return logits

    def _residual(
        self,
        x: Float[np.ndarray, "seq hidden_size"],
        block: Float[np.ndarray, "seq hidden_size"],
    ) -> Float[np.ndarray, "seq hidden_size"]:
        """What a rank's block returns is a part of a sum. What it is added to is whole, so once."""
        return self.operators.residual(x, self.world.summed(block))

    def _embedded(self, step: Step) -> Float32[np.ndarray, "seq hidden_size"]:
        """The rows of the tokens in this rank's part of the table; zeros for the others."""
        table = self.weights.embed_tokens
        ids = step.token_ids - self.world.rank * len(table)
        mine = (ids >= 0) & (ids < len(table))
        x = np.zeros((len(ids), self.config.hidden_size), dtype=np.float32)
        x[mine] = rows_as_float32(table, ids[mine])
        return x


class PipelineLlama(Llama):
    """One rank of a model that is split by layers.

    `config` has this rank's layers, counted from 0, and the whole vocabulary. A step goes through
    the ranks in pieces of `piece_rows` rows. Raises as `Llama` does, and `InputError` for more
    ranks than layers, and for pieces of less than one row.
    """

    def __init__(
        self,
        config: LlamaConfig,
        tensors: Mapping[str, np.ndarray],
        world: World,
        *,
        precision: str = "f32",
        backend: str = "numpy",
        piece_rows: int = PIECE_ROWS,
    ) -> None:
        if piece_rows < 1:
            raise InputError(f"expected pieces of at least 1 row, got {piece_rows}")
        stage = stage_config(config, world.rank, world.size)
        shards = LayerShards(tensors, config, world.rank, world.size)
        super().__init__(stage, shards, precision=precision, backend=backend)
        self.world = world
        self.whole = config
        self.config = replace(self.config, vocab_size=config.vocab_size)
        self.operators = replace(self.operators, decode_step=None)
        self.piece_rows = piece_rows

    def run_step(
        self, step: Step, record: Recorder = IGNORE
    ) -> Float32[np.ndarray, "rows vocab_size"]:
        """Pieces of the step come from the rank before and go to the next; the last has the logits.

        It sends them to all. Steps go in one piece that are traced, since a name is recorded once,
        or kept in no cache, where the next piece would look for the keys and values of this one.
        """
        ops, world, weights = self.operators, self.world, self.weights
        is_whole = record is not IGNORE or any(span.cache is None for span in step.spans)
        pieces = [step] if is_whole else step.in_pieces(self.piece_rows)
        x = np.concatenate([self._through_my_layers(piece, record) for piece in pieces])
        last = world.size - 1
        if world.rank == last:
            logits = head(x, weights, self.config, ops, step, record)
            return world.sent_on(np.ascontiguousarray(logits), last)
        rows = len(np.arange(len(x))[step.logit_rows])
        logits = np.empty((rows, self.config.vocab_size), dtype=np.float32)
        logits = world.sent_on(logits, last)
        record("logits", logits, axes_of_logits(step))
        return logits

    def _through_my_layers(
        self, piece: Step, record: Recorder
    ) -> Float[np.ndarray, "seq hidden_size"]:
        """One piece from the rank before, through this rank's layers, to the rank behind."""
        config, weights, world = self.config, self.weights, self.world
        if world.rank == 0:
            x = embed(weights, piece, record)
        else:
            x = np.empty((len(piece.token_ids), config.hidden_size), dtype=piece.cos.dtype)
            world.exchange(None, 0, x, world.rank - 1)
        x = through_layers(x, weights.layers, config, self.operators, piece, record)
        piece.advance()
        if world.rank < world.size - 1:
            world.exchange(np.ascontiguousarray(x), world.rank + 1, None, 0)
        return x


def split_llama(
    split: str, name_or_directory: str | os.PathLike[str], world: World, **options: Any
) -> TensorLlama | PipelineLlama:
    """This rank's part of a model, given by name or directory; "tensor" pads where it must.

    `options` are those of its class. Raises `InputError` for another split than those of `SPLITS`.
    """
    if split not in SPLITS:
        raise InputError(f"expected a split of {', '.join(SPLITS)}, got {split!r}")
    directory = hub.locate(name_or_directory)
    config = LlamaConfig.from_directory(directory)
    tensors = open_checkpoint(directory)
    if split == "tensor":
        return TensorLlama(config, tensors, world, pad=True, **options)
    return PipelineLlama(config, tensors, world, **options)
