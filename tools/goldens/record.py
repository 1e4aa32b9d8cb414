"""Record what ``transformers`` computes inside one forward pass, under our names.

Nothing is recomputed here: every array is one that the reference model itself
made, caught by forward hooks, or, where no module boundary exists (rotated
queries, scores), by standing beside the two functions of its modelling file.
Only the batch axis is dropped and query heads are regrouped by KV head.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

# The reference masks with the smallest finite float32; we mask with -inf.
MASKED_BELOW = torch.finfo(torch.float32).min / 2


class _AttentionSteps(TorchFunctionMode):
    """Keep the results of the matmuls and the argument of the softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.products: list[torch.Tensor] = []
        self.before_softmax: torch.Tensor | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> torch.Tensor:
        result: torch.Tensor = func(*args, **(kwargs or {}))
        if func is torch.matmul:
            self.products.append(result)
        if func is torch.nn.functional.softmax:
            self.before_softmax = args[0]
        return result


class Recorder:
    """A context manager: ``with Recorder(model) as record: model(...)``.

    ``record.arrays`` maps trace names (``layers.0.self_attn.scores``) to float32
    arrays in the layout of ``llama_edu.engine.trace``.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.module = sys.modules[type(model).__module__]
        self.arrays: dict[str, np.ndarray] = {}
        self.layer = -1
        self.undo: list[Callable[[], None]] = []

    def __enter__(self) -> Recorder:
        core = self.model.model
        self._output("embed_tokens", core.embed_tokens)
        for i, layer in enumerate(core.layers):
            self._hook_layer(i, layer)
        self._output("norm", core.norm)
        self._output("logits", self.model.lm_head)
        self._replace("apply_rotary_pos_emb", self._rotary)
        self._replace("eager_attention_forward", self._attention)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        for step in reversed(self.undo):
            step()

    def _hook_layer(self, i: int, layer: Any) -> None:
        def enter(module: Any, args: Any) -> None:
            self.layer = i

        self.undo.append(layer.register_forward_pre_hook(enter).remove)
        name, attention, mlp = f"layers.{i}", layer.self_attn, layer.mlp
        self._output(f"{name}.input_layernorm", layer.input_layernorm)
        for part in ("q_proj", "k_proj", "v_proj"):
            self._output(f"{name}.self_attn.{part}", getattr(attention, part))
        for part in ("q_norm", "k_norm"):
            if hasattr(attention, part):
                self._output(f"{name}.self_attn.{part}", getattr(attention, part))
        self._input(f"{name}.self_attn.merged", attention.o_proj)
        self._output(f"{name}.self_attn.o_proj", attention.o_proj)
        self._input(f"{name}.attn_residual", layer.post_attention_layernorm)
        self._output(f"{name}.post_attention_layernorm", layer.post_attention_layernorm)
        self._output(f"{name}.mlp.gate_proj", mlp.gate_proj)
        self._output(f"{name}.mlp.up_proj", mlp.up_proj)
        self._input(f"{name}.mlp.gated", mlp.down_proj)
        self._output(f"{name}.mlp.down_proj", mlp.down_proj)
        self._output(f"{name}.mlp_residual", layer)

    def _keep(self, name: str, value: torch.Tensor) -> None:
        if value.shape[0] != 1 or value.dtype != torch.float32:
            found = f"{tuple(value.shape)} {value.dtype}"
            raise ValueError(f"{name}: expected one float32 sequence, got {found}")
        self.arrays[name] = value[0].detach().numpy().copy()

    def _keep_grouped(self, name: str, value: torch.Tensor, n_groups: int) -> None:
        """(1, n_heads, …) → (n_kv_heads, n_groups, …)."""
        self._keep(name, value.unflatten(1, (-1, n_groups)))

    def _output(self, name: str, module: Any) -> None:
        def after(module: Any, args: Any, out: Any) -> None:
            value = out[0] if isinstance(out, tuple) else out
            # Heads side by side, where a module works on each by itself.
            self._keep(name, value.flatten(2) if value.ndim == 4 else value)

        self.undo.append(module.register_forward_hook(after).remove)

    def _input(self, name: str, module: Any) -> None:
        def before(module: Any, args: Any) -> None:
            self._keep(name, args[0])

        self.undo.append(module.register_forward_pre_hook(before).remove)

    def _replace(self, name: str, wrapper: Callable[..., Any]) -> None:
        original = getattr(self.module, name)
        setattr(self.module, name, lambda *args, **kw: wrapper(original, *args, **kw))
        self.undo.append(lambda: setattr(self.module, name, original))

    def _rotary(self, original: Callable[..., Any], q: Any, k: Any, *args: Any, **kw: Any) -> Any:
        q_rope, k_rope = original(q, k, *args, **kw)
        name = f"layers.{self.layer}.self_attn"
        self._keep_grouped(f"{name}.q_rope", q_rope, q.shape[1] // k.shape[1])
        self._keep(f"{name}.k_rope", k_rope)
        return q_rope, k_rope

    def _attention(
        self,
        original: Callable[..., Any],
        module: Any,
        q: Any,
        k: Any,
        v: Any,
        *args: Any,
        **kw: Any,
    ) -> Any:
        with _AttentionSteps() as steps:
            out, weights = original(module, q, k, v, *args, **kw)
        name, n_groups = f"layers.{self.layer}.self_attn", q.shape[1] // k.shape[1]
        qk, attn_v = steps.products
        before = steps.before_softmax
        assert before is not None
        self._keep(f"{name}.keys", k)
        self._keep(f"{name}.values", v)
        self._keep_grouped(f"{name}.scores", qk * kw["scaling"], n_groups)
        masked = before.masked_fill(before < MASKED_BELOW, -torch.inf)
        self._keep_grouped(f"{name}.masked_scores", masked, n_groups)
        self._keep_grouped(f"{name}.weights", weights, n_groups)
        self._keep_grouped(f"{name}.attn_v", attn_v, n_groups)
        return out, weights
