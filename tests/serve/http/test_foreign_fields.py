"""Every field that OpenAI, vLLM, llama.cpp and Ollama document is known here: used, or foreign."""

import typing

import pytest
from openai.types import completion_create_params as their_completion
from openai.types.chat import completion_create_params as their_chat
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from llama_edu.serve.http.foreign_fields import HINTS, IN_A_MESSAGE, NEUTRAL, known_fields_of
from llama_edu.serve.http.requests import ChatRequest, CompletionRequest, MessageIn

# vLLM documentation, "OpenAI-Compatible Server": sampling and extra parameters of both addresses.
VLLM = """
add_generation_prompt add_special_tokens allowed_token_ids bad_words best_of cache_salt
chat_template chat_template_kwargs continue_final_message detokenize documents echo guided_choice
guided_decoding_backend guided_grammar guided_json guided_regex guided_whitespace_pattern
ignore_eos include_reasoning include_stop_str_in_output kv_transfer_params length_penalty
logits_processors media_io_kwargs min_p min_tokens mm_processor_kwargs priority prompt_embeds
prompt_logprobs repetition_penalty request_id return_token_ids return_tokens_as_token_ids
skip_special_tokens spaces_between_special_tokens stop_token_ids structured_outputs
logprob_token_ids repetition_detection thinking_token_budget top_k truncation_side
truncate_prompt_tokens use_beam_search vllm_xargs
"""
# llama.cpp, the README of its server, options of POST /completion and /v1/chat/completions.
LLAMA_CPP = """
adaptive_decay adaptive_target backend_sampling chat_format parse_tool_calls
reasoning_budget_tokens speculative.n_max speculative.n_min speculative.p_min thinking_budget_tokens
cache_prompt chat_template_kwargs dry_allowed_length dry_base dry_multiplier dry_penalty_last_n
dry_sequence_breakers dynatemp_exponent dynatemp_range frequency_penalty grammar id_slot
ignore_eos image_data json_schema logit_bias lora min_keep min_p mirostat mirostat_eta
mirostat_tau n_cache_reuse n_indent n_keep n_predict n_probs parallel_tool_calls
post_sampling_probs presence_penalty reasoning_format repeat_last_n repeat_penalty response_fields
return_progress return_tokens samplers seed stop stream t_max_predict_ms temperature
timings_per_token top_k top_n_sigma top_p typical_p xtc_probability xtc_threshold
"""
# Ollama documentation, "API" (what one sends beside messages) and "Modelfile" (parameters).
OLLAMA = """
context format images keep_alive mirostat mirostat_eta mirostat_tau min_p num_ctx num_predict
options raw repeat_last_n repeat_penalty seed stop stream suffix system temperature template tfs_z
think top_k top_p
"""


def own_fields(kind):
    names = set()
    for name, field in kind.model_fields.items():
        names |= {field.alias or name, *getattr(field.validation_alias, "choices", ())}
    return names


KNOWN = own_fields(ChatRequest) | own_fields(CompletionRequest) | HINTS | NEUTRAL.keys()
OPENAI = [
    name
    for kind in (
        their_chat.CompletionCreateParamsNonStreaming,
        their_completion.CompletionCreateParamsNonStreaming,
    )
    for name in typing.get_type_hints(kind)
]


@pytest.mark.parametrize(
    "names",
    [OPENAI, VLLM.split(), LLAMA_CPP.split(), OLLAMA.split()],
    ids=["openai", "vLLM", "llama.cpp", "Ollama"],
)
def test_documented_fields_are_known(names):
    assert len(names) > 20
    assert set(names) <= KNOWN


def test_nothing_is_both_ours_and_foreign():
    assert not HINTS & NEUTRAL.keys()
    both = own_fields(ChatRequest) & own_fields(CompletionRequest)
    assert not both & (HINTS | NEUTRAL.keys())


@pytest.mark.parametrize("name", sorted(NEUTRAL))
def test_a_foreign_field_passes_where_it_changes_nothing(name):
    for value in (None, *NEUTRAL[name]):
        assert known_fields_of({"x"}, {"x": 1, name: value}) == {"x": 1}
    with pytest.raises(PydanticCustomError, match=f"{name} is not supported here: expected"):
        known_fields_of({"x"}, {name: "something else"})


# The defaults that those documents name, and other values that mean no more than they do.
DOCUMENTED: dict[str, dict[str, list[typing.Any]]] = {
    "openai": {"reasoning_effort": ["none", "minimal", "medium"], "verbosity": ["medium"]},
    "vLLM": {
        "detokenize": [True],
        "guided_decoding_backend": ["auto"],
        "include_reasoning": [True, False],  # there is none
        "include_stop_str_in_output": [False],
        "length_penalty": [1, 1.0],
        "min_tokens": [0],
        "return_token_ids": [False],
        "return_tokens_as_token_ids": [False],
        "skip_special_tokens": [True],
        "spaces_between_special_tokens": [True, False],  # byte-level tokens have no spaces between
        "truncation_side": ["left"],
        "use_beam_search": [False],
    },
    "llama.cpp": {
        "adaptive_decay": [0.9],
        "adaptive_target": [-1],
        "dry_allowed_length": [2],
        "dry_base": [1.75],
        "dry_multiplier": [0, 0.0],
        "dry_penalty_last_n": [-1, 0],
        "dynatemp_exponent": [1],
        "dynatemp_range": [0],
        "min_keep": [0],
        "mirostat": [0],
        "mirostat_eta": [0.1],
        "mirostat_tau": [5, 5.0],
        "n_indent": [0],
        "n_probs": [0],
        "parse_tool_calls": [True],
        "penalize_nl": [False],
        "post_sampling_probs": [False],
        "reasoning_budget_tokens": [-1],
        "reasoning_in_content": [False],
        "repeat_last_n": [64, -1, 0],  # the window of a penalty of 1
        "return_progress": [False],
        "return_tokens": [False],
        "speculative.n_max": [0],
        "speculative.n_min": [0],
        "speculative.p_min": [0],
        "thinking_budget_tokens": [-1],
        "thinking_forced_open": [False],
        "timings_per_token": [False],
        "top_n_sigma": [-1, 0],
        "typical_p": [1],
        "xtc_probability": [0],
        "xtc_threshold": [0.1],
    },
    "Ollama": {
        "f16_kv": [True],
        "logits_all": [False],
        "raw": [False],
        "tfs_z": [1],
        "think": [False],
        "vocab_only": [False],
    },
}


@pytest.mark.parametrize(
    ("name", "defaults"), [row for fields in DOCUMENTED.values() for row in fields.items()]
)
def test_a_default_passes_and_what_is_beside_it_does_not(name, defaults):
    for value in defaults:
        assert known_fields_of(set(), {name: value}) == {}
        if isinstance(value, bool):
            others: list[typing.Any] = [not value]
        else:
            others = ["other"] if isinstance(value, str) else [value - 1, value + 1]
        for other in others:
            if other not in defaults:
                with pytest.raises(PydanticCustomError, match="not supported here"):
                    known_fields_of(set(), {name: other})


def test_every_number_and_every_choice_of_two_is_among_those_defaults():
    documented = {name for fields in DOCUMENTED.values() for name in fields}
    said = {name for name, fine in NEUTRAL.items() if any(not hasattr(v, "__len__") for v in fine)}
    assert said <= documented


@pytest.mark.parametrize("name", sorted(HINTS))
def test_a_hint_passes_whatever_it_says(name):
    assert known_fields_of({"x"}, {"x": 1, name: {"any": ["thing"]}}) == {"x": 1}


@pytest.mark.parametrize(("value", "neutral"), [(True, 1), (False, 0), (1, True), (0, False)])
def test_true_is_no_number(value, neutral):
    name = next(n for n, fine in NEUTRAL.items() if any(one is neutral for one in fine))
    with pytest.raises(PydanticCustomError, match="not supported here"):
        known_fields_of(set(), {name: value})


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("temprature", "temperature"),
        ("max_token", "max_tokens"),
        ("top_logprob", "top_logprobs"),
        ("presence_penality", "presence_penalty"),
        ("mirostate", "mirostat"),
        ("metdata", "metadata"),
        ("maxTokens", "max_tokens"),
        ("top-k", "top_k"),
        ("stop_sequences", "stop"),
    ],
)
def test_a_typo_is_refused_by_name_with_the_nearest_known_field(typo, meant):
    with pytest.raises(PydanticCustomError, match=f"got '{typo}'; did you mean '{meant}'"):
        known_fields_of(own_fields(ChatRequest), {typo: 1})


@pytest.mark.parametrize("unknown", ["system_prompt", "n_ctx", "num_beams", "eos_token_id"])
def test_where_nothing_is_near_nothing_is_proposed(unknown):
    with pytest.raises(PydanticCustomError, match=f"expected a known field, got '{unknown}'$"):
        known_fields_of(own_fields(ChatRequest), {unknown: 1})


@pytest.mark.parametrize(
    "extra",
    [
        *({name: value} for name, fine in IN_A_MESSAGE.items() for value in (None, *fine)),
        {"cache_control": {"type": "ephemeral"}},
        {"id": "msg_1"},
        {"reasoning": "so"},
        {"prefix": True},  # DeepSeek: go on with it, as we do anyway
        {"prefix": False},
        {"weight": 0},  # OpenAI, fine-tuning
        {"weight": 1},
        {"thinking": "so", "reasoning_content": "so"},
    ],
    ids=str,
)
def test_a_reply_may_come_back_as_another_server_gave_it(extra):
    message = MessageIn.model_validate({"role": "assistant", "content": "Hi", **extra})
    assert message.reasoning_content == ("so" if "so" in extra.values() else None)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"images": ["a"]}, r"images is not supported here: expected nothing or \[\], got \['a'\]"),
        ({"mirostat": 0}, "expected a known field, got 'mirostat'"),
        ({"weight": 2}, "weight is not supported here: expected nothing or 0 or 1, got 2"),
        ({"prefix": "yes"}, "prefix is not supported here"),
        ({"reasoning": "a", "thinking": "b"}, "reasoning: expected the value of thinking, another"),
    ],
)
def test_what_a_message_asks_for_beyond_that_is_refused(extra, message):
    with pytest.raises(ValidationError, match=message):
        MessageIn.model_validate({"role": "assistant", "content": "Hi", **extra})


def test_a_part_of_a_message_may_have_hints_too():
    part = {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}
    assert MessageIn.model_validate({"role": "user", "content": [part]}).text == "Hi"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [({"max_tokens": 2, "n_predict": 2}, 2), ({"n_predict": 3, "num_predict": 3}, 3)],
)
def test_a_field_may_come_under_two_of_its_names(given, wanted):
    assert CompletionRequest.model_validate({"prompt": "a", **given}).max_tokens == wanted
    with pytest.raises(ValidationError, match="another name of it, got 2 and 5"):
        CompletionRequest.model_validate({"prompt": "a", "max_tokens": 2, "n_predict": 5})


def test_inside_of_other_objects_nothing_foreign_passes():
    with pytest.raises(PydanticCustomError, match="expected a known field, got 'mirostat'"):
        known_fields_of({"role"}, {"mirostat": 0}, place="elsewhere")


def test_of_a_long_value_the_beginning_is_told():
    with pytest.raises(PydanticCustomError) as seen:
        known_fields_of(set(), {"template": "x" * 100_000})
    assert len(str(seen.value)) < 300
