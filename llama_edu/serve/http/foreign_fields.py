"""Fields of other servers: which of them change nothing here, and at which values.

A client written for OpenAI, vLLM, llama.cpp or Ollama sends fields that this server has no use
for, most of them at the value that changes nothing. Those pass. At any other value they would
change the reply in a way this server cannot, and are refused in these words: *not supported here*.
What nobody knows is taken for a misspelling, and the nearest known field is named.

Sources: OpenAI API reference, "Create chat completion" and "Create completion"; vLLM documentation,
"OpenAI-Compatible Server", extra parameters; llama.cpp, README of its server, "POST /completion";
Ollama documentation, "API" and "Modelfile".
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Set
from typing import Any, Literal

from pydantic_core import PydanticCustomError

__all__ = ["HINTS", "IN_A_MESSAGE", "NEUTRAL", "Place", "known_fields_of"]

HINTS = frozenset(
    # OpenAI: who asks and for what, what to store, how to cache and how soon to answer.
    "metadata moderation prediction prompt_cache_key prompt_cache_options prompt_cache_retention "
    "safety_identifier service_tier store user "
    # vLLM: when, and under which name.
    "cache_salt priority request_id "
    # llama.cpp and Ollama: where keys and values lie, how long a model stays loaded, how fast.
    "cache_prompt id_slot keep_alive n_cache_reuse n_keep num_batch num_ctx num_gpu num_keep "
    "num_thread main_gpu low_vram use_mmap use_mlock numa "
    "backend_sampling slot_id t_max_predict_ms t_max_prompt_ms".split()
)
"""Fields that change no reply, whatever they say."""

NEUTRAL: dict[str, tuple[Any, ...]] = {
    # OpenAI
    "audio": (),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "modalities": (["text"], []),
    "reasoning_effort": ("none", "minimal", "medium"),
    "suffix": ("",),
    "verbosity": ("medium",),
    "web_search_options": (),
    # Anthropic, DeepSeek, OpenRouter, Qwen: whether and how long to think
    "enable_thinking": (),
    "reasoning": ({},),
    "thinking": ({"type": "disabled"},),
    # vLLM
    "allowed_token_ids": ([],),
    "bad_words": ([],),
    "chat_template": (),
    "detokenize": (True,),
    "documents": ([],),
    "guided_decoding_backend": ("auto",),
    "guided_whitespace_pattern": (),
    "include_reasoning": (True, False),
    "include_stop_str_in_output": (False,),
    "kv_transfer_params": ({},),
    "length_penalty": (1,),
    "logits_processors": ([],),
    "logprob_token_ids": ([],),
    "media_io_kwargs": ({},),
    "min_tokens": (0,),
    "mm_processor_kwargs": ({},),
    "prompt_embeds": ([],),
    "repetition_detection": (),
    "return_token_ids": (False,),
    "return_tokens_as_token_ids": (False,),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True, False),
    "stop_token_ids": ([],),
    "thinking_token_budget": (),
    "truncation_side": ("left",),
    "use_beam_search": (False,),
    "vllm_xargs": ({},),
    # llama.cpp
    "adaptive_decay": (0.9,),
    "adaptive_target": (-1,),
    "chat_format": (),
    "dry_allowed_length": (2,),
    "dry_base": (1.75,),
    "dry_multiplier": (0,),
    "dry_penalty_last_n": (-1, 0),
    "dry_sequence_breakers": (["\n", ":", '"', "*"],),
    "dynatemp_exponent": (1,),
    "dynatemp_range": (0,),
    "image_data": ([],),
    "lora": ([],),
    "min_keep": (0,),
    "mirostat": (0,),
    "mirostat_eta": (0.1,),
    "mirostat_tau": (5,),
    "n_indent": (0,),
    "n_probs": (0,),
    "parse_tool_calls": (True,),
    "penalize_nl": (False,),
    "post_sampling_probs": (False,),
    "reasoning_format": ("none", "auto"),
    "reasoning_in_content": (False,),
    "repeat_last_n": (64, -1, 0),
    "response_fields": ([],),
    "return_progress": (False,),
    "return_tokens": (False,),
    "reasoning_budget_tokens": (-1,),
    "samplers": ([],),
    "speculative.n_max": (0,),
    "speculative.n_min": (0,),
    "speculative.p_min": (0,),
    "thinking_budget_tokens": (-1,),
    "thinking_forced_open": (False,),
    "timings_per_token": (False,),
    "top_n_sigma": (-1, 0),
    "typical_p": (1,),
    "xtc_probability": (0,),
    "xtc_threshold": (0.1,),
    # Ollama
    "context": ([],),
    "f16_kv": (True,),
    "images": ([],),
    "logits_all": (False,),
    "options": ({},),
    "raw": (False,),
    "system": ("",),
    "template": ("",),
    "tfs_z": (1,),
    "think": (False,),
    "vocab_only": (False,),
}
"""Fields that would change the reply, and the values at which they do not. Null never does."""

IN_A_MESSAGE: dict[str, tuple[Any, ...]] = {
    # What other servers put into a reply, and get back with the conversation.
    "images": ([],),
    "logprobs": (),
    "prefix": (True, False),  # DeepSeek, Mistral: go on with the last message, as we do anyway
    "provider_specific_fields": ({},),
    "reasoning_details": ([],),
    "weight": (0, 1),
}
"""The same of a message's fields, and of its parts'."""

HINTS_IN_A_MESSAGE = frozenset({"cache_control", "id", "status"})
"""What changes no reply in a message or a part of one, whatever it says."""


ELSEWHERE = {
    "messages": ", which /v1/chat/completions takes",
    "prompt": ", which /v1/completions takes",
    "input": ": this address takes messages or a prompt",
    "extra_body": ": send what is in it beside the other fields",
}
"""What is right at another address, or one level up."""


Place = Literal["request", "message", "elsewhere"]

FOREIGN: dict[Place, tuple[frozenset[str], Mapping[str, tuple[Any, ...]]]] = {
    "request": (HINTS, NEUTRAL),
    "message": (HINTS_IN_A_MESSAGE, IN_A_MESSAGE),
    "elsewhere": (frozenset(), {}),
}


def known_fields_of(
    fields: Iterable[str], data: Mapping[str, Any], *, place: Place = "request"
) -> dict[str, Any]:
    """What of a request's `data` is for us, whose own `fields` these are.

    `place` says which of other servers' fields may be among it.

    Raises a validation error for a foreign field that asks for something, and for a field that
    nobody knows: for the first of them, which is enough.
    """
    own = set(fields)
    hints, neutral = FOREIGN[place]
    kept = {}
    for name, value in data.items():
        if name in own:
            kept[name] = value
        elif name in neutral:
            if value is not None and not any(_is_same(value, one) for one in neutral[name]):
                raise PydanticCustomError(
                    "not_supported",
                    "{message}",
                    {"field": name, "message": _refused(name, value, neutral[name])},
                )
        elif name not in hints:
            near = _nearest(name, own, hints | neutral.keys())
            hint = f"; did you mean {near!r}?" if near else ELSEWHERE.get(name, "")
            message = f"expected a known field, got {name[:80]!r}{hint}"
            raise PydanticCustomError(
                "unknown_field", "{message}", {"field": name[:80], "message": message}
            )
    return kept


def _nearest(name: str, own: Set[str], foreign: Set[str]) -> str | None:
    """The field that was meant, most likely one of ours; a foreign one only if it is very near."""
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])|-", "_", name[:80]).lower()
    near = difflib.get_close_matches(plain, own)
    near = near or difflib.get_close_matches(plain, foreign, cutoff=0.85)
    near = near or [one for one in sorted(own) if len(one) > 2 and plain.startswith(f"{one}_")]
    return near[0] if near else None


def _refused(name: str, value: Any, neutral: tuple[Any, ...]) -> str:
    got = repr(value)
    got = got if len(got) <= 80 else got[:79] + "…"
    fine = " or ".join(["nothing", *map(repr, neutral)])
    return f"{name} is not supported here: expected {fine}, got {got}"


def _is_same(value: Any, other: Any) -> bool:
    """Whether two JSON values are the same; `true` is no number."""
    return isinstance(value, bool) == isinstance(other, bool) and bool(value == other)
