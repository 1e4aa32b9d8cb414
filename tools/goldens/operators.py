"""Record what PyTorch and ``transformers`` compute, one operator at a time.

Every operand is random and non-square, and no two axes have the same size.
The outside code is named beside each case; nothing here re-derives a formula.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig
from transformers.generation.logits_process import (
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.models.llama import modeling_llama as llama
from transformers.models.llama4.modeling_llama4 import apply_rotary_emb as apply_interleaved

Arrays = dict[str, torch.Tensor]

SEQ, PAST, HIDDEN, INTERMEDIATE = 5, 4, 7, 13
N_KV_HEADS, N_GROUPS, HEAD_DIM = 2, 3, 8
LLAMA3 = {  # as in Llama 3.2 1B
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
ROPES = {
    "default": {"rope_type": "default", "rope_theta": 100000.0},
    "linear": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.5},
    "llama3": LLAMA3,
}
# temperature, top_k (0: off), top_p (1: off)
SAMPLINGS = [
    *((t, 0, 1.0) for t in (0.25, 0.7, 1.0, 2.0)),
    *((1.0, k, 1.0) for k in (1, 2, 7, 22, 23, 40)),
    *((1.0, 0, p) for p in (0.05, 0.3, 0.6, 0.9, 0.99, 1.0)),
    *((t, k, p) for t in (0.6, 1.5) for k in (4, 12) for p in (0.4, 0.85)),
]


def make_operators(data: Path) -> None:
    """Write ``data/operators.npz``."""
    rng = torch.Generator().manual_seed(42)
    arrays: Arrays = {}
    with torch.no_grad():
        for part in (_linear, _norm, _rope, _mlp, _attention, _sampling):
            arrays |= part(rng)
    data.mkdir(parents=True, exist_ok=True)
    numpy_arrays: dict[str, Any] = {name: array.detach().numpy() for name, array in arrays.items()}
    np.savez_compressed(data / "operators.npz", **numpy_arrays)
    print(f"operators: {len(arrays)} arrays, {(data / 'operators.npz').stat().st_size} bytes")


def _random(rng: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=rng)


def _linear(rng: torch.Generator) -> Arrays:
    x, weight, bias = _random(rng, 5, 7), _random(rng, 11, 7), _random(rng, 11)
    c = _random(rng, 5, 11)
    return {
        "linear/x": x,
        "linear/weight": weight,
        "linear/bias": bias,
        "linear/c": c,
        "linear/y": torch.nn.functional.linear(x, weight),
        "linear/y_bias": torch.nn.functional.linear(x, weight, bias),
        "linear/gemm": torch.addmm(c, x, weight.T, alpha=0.75, beta=-1.5),
    }


def _norm(rng: torch.Generator) -> Arrays:
    x = _random(rng, SEQ, HIDDEN)
    x[1] *= 1e-3  # a row so small that eps decides
    x[2] = 0
    x[3] *= 1e6
    norm = llama.LlamaRMSNorm(HIDDEN, eps=1e-4)
    norm.weight.copy_(1 + 0.5 * _random(rng, HIDDEN))
    return {"norm/x": x, "norm/weight": norm.weight, "norm/y": norm(x)}


def _rope(rng: torch.Generator) -> Arrays:
    arrays: Arrays = {}
    for name, parameters in ROPES.items():
        config = LlamaConfig(
            head_dim=64, max_position_embeddings=131072, rope_parameters=dict(parameters)
        )
        arrays[f"rope/inv_freq/{name}"] = llama.LlamaRotaryEmbedding(config).inv_freq
    config = LlamaConfig(head_dim=HEAD_DIM, rope_parameters=dict(ROPES["default"]))
    rotary = llama.LlamaRotaryEmbedding(config)
    positions = torch.arange(PAST, PAST + SEQ)[None]
    q = _random(rng, 1, N_KV_HEADS * N_GROUPS, SEQ, HEAD_DIM)
    k = _random(rng, 1, N_KV_HEADS, SEQ, HEAD_DIM)
    cos, sin = rotary(q, positions)
    q_half, k_half = llama.apply_rotary_pos_emb(q, k, cos, sin)
    # Llama 4 keeps Meta's layout: neighbours are one complex number.
    turns = torch.polar(torch.ones(SEQ, HEAD_DIM // 2), positions[0, :, None] * rotary.inv_freq)
    q_pairs, k_pairs = apply_interleaved(q.transpose(1, 2), k.transpose(1, 2), turns[None])
    arrays |= {
        "rope/q": q[0],
        "rope/k": k[0],
        "rope/inv_freq": rotary.inv_freq,
        "rope/q_half_split": q_half[0],
        "rope/k_half_split": k_half[0],
        "rope/q_interleaved": q_pairs[0].transpose(0, 1).contiguous(),
        "rope/k_interleaved": k_pairs[0].transpose(0, 1).contiguous(),
    }
    return arrays


def _mlp(rng: torch.Generator) -> Arrays:
    config = LlamaConfig(
        hidden_size=HIDDEN,
        intermediate_size=INTERMEDIATE,
        num_attention_heads=1,
        head_dim=HEAD_DIM,
        mlp_bias=True,
    )
    mlp = llama.LlamaMLP(config)
    for parameter in mlp.parameters():
        parameter.copy_(_random(rng, *parameter.shape))
    x = _random(rng, SEQ, HIDDEN)
    gate, up = mlp.gate_proj(x), mlp.up_proj(x)
    extreme = torch.tensor([-1e30, -200, -89, -88, -5, -1e-3, 0, 1e-3, 5, 88, 200, 1e30])
    return {
        "mlp/x": x,
        "mlp/gate": gate,
        "mlp/up": up,
        "mlp/down_weight": mlp.down_proj.weight,
        "mlp/down_bias": mlp.down_proj.bias,
        "mlp/y": mlp(x),
        "mlp/silu_x": extreme,
        "mlp/silu_y": torch.nn.functional.silu(extreme),
    }


def _attention(rng: torch.Generator) -> Arrays:
    """Scores, weights and output of the eager path, and the output of the fused one (SDPA)."""
    n_heads, total_seq = N_KV_HEADS * N_GROUPS, PAST + SEQ
    q = 2 * _random(rng, 1, n_heads, SEQ, HEAD_DIM)
    k = _random(rng, 1, N_KV_HEADS, total_seq, HEAD_DIM)
    v = _random(rng, 1, N_KV_HEADS, total_seq, HEAD_DIM)
    mask = torch.ones(SEQ, total_seq, dtype=torch.bool).tril(PAST)
    added = torch.zeros(SEQ, total_seq).masked_fill(~mask, -torch.inf)
    config = LlamaConfig(
        hidden_size=n_heads * HEAD_DIM,
        num_attention_heads=n_heads,
        num_key_value_heads=N_KV_HEADS,
        head_dim=HEAD_DIM,
    )
    module = llama.LlamaAttention(config, layer_idx=0).eval()
    out, weights = llama.eager_attention_forward(module, q, k, v, added, module.scaling)
    fused = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True)
    scores = q @ llama.repeat_kv(k, N_GROUPS).transpose(2, 3) * module.scaling
    grouped = (N_KV_HEADS, N_GROUPS)
    return {
        "attention/q": q[0].unflatten(0, grouped),
        "attention/k": k[0],
        "attention/v": v[0],
        "attention/mask": mask,
        "attention/scores": scores[0].unflatten(0, grouped),
        "attention/weights": weights[0].unflatten(0, grouped),
        "attention/attn_v": fused[0].unflatten(0, grouped),
        "attention/merged": out[0].flatten(1),
    }


def _sampling(rng: torch.Generator) -> Arrays:
    logits = 2 * _random(rng, 1, 23)
    rows = []
    for temperature, top_k, top_p in SAMPLINGS:
        warped = logits
        if temperature != 1.0:
            warped = TemperatureLogitsWarper(temperature)(None, warped)
        if top_k:
            warped = TopKLogitsWarper(top_k)(None, warped)
        if top_p < 1.0:
            warped = TopPLogitsWarper(top_p)(None, warped)
        rows.append(warped.softmax(-1)[0])
    return {
        "sampling/logits": logits[0],
        "sampling/settings": torch.tensor(SAMPLINGS, dtype=torch.float64),
        "sampling/probabilities": torch.stack(rows),
    }
