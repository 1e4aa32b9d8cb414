"""The Llama of this book in torch, written for training and for nothing else.

Parameter names are Hugging Face's, so `state_dict()` is already a checkpoint. There is a batch
dimension here, since training needs one, and no cache, since training never needs one. The
arithmetic is the one `llama_edu` explains chapter by chapter; read it there first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.recipe import Guide


@dataclass(frozen=True)
class Shape:
    """The numbers that fix a Llama, under their Hugging Face names."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    max_position_embeddings: int
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    tie_word_embeddings: bool = True


class RMSNorm(nn.Module):
    """x / rms(x), times one learnt weight a feature."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(…, size) -> (…, size)."""
        return functional.rms_norm(x, self.weight.shape, self.weight, self.eps)


def rope_table(shape: Shape, seq: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines, each (seq, head_dim), in the split-half layout of Hugging Face."""
    powers = torch.arange(0, shape.head_dim, 2, dtype=torch.float32, device=device)
    frequencies = shape.rope_theta ** (-powers / shape.head_dim)
    angles = torch.outer(torch.arange(seq, dtype=torch.float32, device=device), frequencies)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn every pair (x[i], x[i + head_dim/2]) by the angle of its position."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


class Attention(nn.Module):
    """Causal grouped-query attention; a head of it can be guided (`distance_to_guide`)."""

    guided: Mapping[int, Tensor] = {}  # head -> the right places for now, bool (batch, seq, seq)
    guidance: Tensor  # how far the guided heads were from it in the last forward, a scalar

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        queries = shape.num_attention_heads * shape.head_dim
        keys = shape.num_key_value_heads * shape.head_dim
        self.q_proj = nn.Linear(shape.hidden_size, queries, bias=False)
        self.k_proj = nn.Linear(shape.hidden_size, keys, bias=False)
        self.v_proj = nn.Linear(shape.hidden_size, keys, bias=False)
        self.o_proj = nn.Linear(queries, shape.hidden_size, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(batch, seq, hidden_size) -> the same shape."""
        batch, seq, _ = x.shape
        split = (batch, seq, -1, self.shape.head_dim)
        q = self.q_proj(x).view(split).transpose(1, 2)  # (batch, n_heads, seq, head_dim)
        k = self.k_proj(x).view(split).transpose(1, 2)  # (batch, n_kv_heads, seq, head_dim)
        v = self.v_proj(x).view(split).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        n_groups = self.shape.num_attention_heads // self.shape.num_key_value_heads
        k, v = k.repeat_interleave(n_groups, dim=1), v.repeat_interleave(n_groups, dim=1)
        with torch.autocast(x.device.type, enabled=False):  # bfloat16 attention is slow on a CPU
            out = functional.scaled_dot_product_attention(q, k, v.to(q.dtype), is_causal=True)
            if self.guided:
                self.guidance = self.distance_to_guide(q, k)
        projected: Tensor = self.o_proj(out.transpose(1, 2).reshape(batch, seq, -1))
        return projected

    def distance_to_guide(self, q: Tensor, k: Tensor) -> Tensor:
        """Mean of -log(attention weight in the right places), summed over the guided heads.

        Both are (batch, n_heads, seq, head_dim). A position that has no right place is not
        counted. (Deshpande & Narasimhan, "Guiding Attention for Self-Supervised Learning with
        Transformers", 2020; theirs is a squared error.)
        """
        seq = q.shape[2]
        future = torch.full((seq, seq), -torch.inf, device=q.device).triu(1)
        total = torch.zeros((), device=q.device)
        for head, places in self.guided.items():
            scores = q[:, head] @ k[:, head].mT / self.shape.head_dim**0.5
            weights = (scores + future).softmax(dim=-1)
            right = (weights * places).sum(dim=-1)[places.any(dim=-1)]
            total = total - right.clamp_min(1e-9).log().mean()
        return total


class MLP(nn.Module):
    """SwiGLU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.up_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.down_proj = nn.Linear(shape.intermediate_size, shape.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(…, hidden_size) -> (…, hidden_size)."""
        down: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return down


class Block(nn.Module):
    """One layer: attention, then the MLP, each added to the residual stream."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)
        self.mlp = MLP(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(batch, seq, hidden_size) -> the same shape."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Body(nn.Module):
    """Everything between the token ids and the last norm; its name in a checkpoint is `model`."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.num_hidden_layers))
        self.norm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)


class Llama(nn.Module):
    """token ids (batch, seq) -> logits (batch, seq, vocab_size)."""

    def __init__(self, shape: Shape, seed: int, compute: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.shape = shape
        self.compute = compute  # what `token_losses` multiplies in; weights stay float32
        self.model = Body(shape)
        self.lm_head = nn.Linear(shape.hidden_size, shape.vocab_size, bias=False)
        if shape.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight
        initialise(self, seed)

    def hidden(self, token_ids: Tensor) -> Tensor:
        """The normed residual stream (batch, seq, hidden_size), before the output matrix."""
        cos, sin = rope_table(self.shape, token_ids.shape[1], token_ids.device)
        x = self.model.embed_tokens(token_ids)
        for layer in self.model.layers:
            x = layer(x, cos, sin)
        normed: Tensor = self.model.norm(x)
        return normed

    def guide(self, places: Mapping[Guide, Tensor]) -> None:
        """Show heads where to look in the next forward, each a bool (batch, seq, seq)."""
        for number, layer in enumerate(self.model.layers):
            layer.self_attn.guided = {g.head: p for g, p in places.items() if g.layer == number}

    def guidance(self) -> Tensor:
        """How far the guided heads were from where they should look, summed over them."""
        layers = [layer.self_attn for layer in self.model.layers]
        return torch.stack([attention.guidance for attention in layers if attention.guided]).sum()

    def forward(self, token_ids: Tensor) -> Tensor:
        """Logits for the token after each given one."""
        logits: Tensor = self.lm_head(self.hidden(token_ids))
        return logits


def initialise(model: Llama, seed: int) -> None:
    """Normal weights from one seed; those that write to the residual stream start smaller.

    The narrower start of `o_proj` and `down_proj` keeps the sum of 2 x layers additions at the
    size of one (GPT-2, section 2.3).
    """
    generator = torch.Generator().manual_seed(seed)
    writers = 2 * model.shape.num_hidden_layers
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2:
            continue  # norms start at one
        std = 0.02 if "embed" in name else parameter.shape[1] ** -0.5
        if "lm_head" in name:
            std = 0.02
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            std *= writers**-0.5
        with torch.no_grad():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)


def token_losses(model: Llama, token_ids: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in nats of every counted target; targets below zero are not counted.

    `token_ids` and `targets` are (batch, seq); the result is one-dimensional, one value for each
    target >= 0. Logits are made for those positions only, since the output matrix is the dearest
    multiplication in a small model.
    """
    counted = targets >= 0
    mixed = model.compute != torch.float32
    with torch.autocast(token_ids.device.type, dtype=torch.bfloat16, enabled=mixed):
        logits = model.lm_head(model.hidden(token_ids)[counted])
    return functional.cross_entropy(logits.float(), targets[counted], reduction="none")
