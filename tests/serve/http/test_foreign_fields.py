"""Every field that OpenAI, vLLM, llama.cpp and Ollama document is known here: used, or foreign."""

import typing

import pytest
from openai.types import completion_create_params as their_completion
from openai.types.chat import completion_create_params as their_chat
from pydantic_core import PydanticCustomError

from llama_edu.serve.http.foreign_fields import HINTS, NEUTRAL, known_fields_of
from llama_edu.serve.http.requests import ChatRequest, CompletionRequest

# vLLM documentation, "OpenAI-Compatible Server": sampling and extra parameters of both addresses.
VLLM = """
add_generation_prompt add_special_tokens allowed_token_ids bad_words best_of cache_salt
chat_template chat_template_kwargs continue_final_message documents echo guided_choice
guided_decoding_backend guided_grammar guided_json guided_regex guided_whitespace_pattern
ignore_eos include_reasoning include_stop_str_in_output kv_transfer_params length_penalty
logits_processors media_io_kwargs min_p min_tokens mm_processor_kwargs priority prompt_embeds
prompt_logprobs repetition_penalty request_id return_token_ids return_tokens_as_token_ids
skip_special_tokens spaces_between_special_tokens stop_token_ids structured_outputs
thinking_token_budget top_k truncate_prompt_tokens use_beam_search vllm_xargs
"""
# llama.cpp, the README of its server, options of POST /completion and /v1/chat/completions.
LLAMA_CPP = """
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
NOT_TAKEN = {"chat_template"}  # a program from a stranger: the model's own is run, and no other


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
    assert set(names) - KNOWN <= NOT_TAKEN


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
    ],
)
def test_a_typo_is_refused_by_name_with_the_nearest_known_field(typo, meant):
    with pytest.raises(PydanticCustomError, match=f"got '{typo}'; did you mean '{meant}'"):
        known_fields_of(own_fields(ChatRequest), {typo: 1})


def test_inside_a_message_nothing_foreign_passes():
    with pytest.raises(PydanticCustomError, match="expected a known field, got 'mirostat'"):
        known_fields_of({"role"}, {"mirostat": 0}, foreign=False)


def test_of_a_long_value_the_beginning_is_told():
    with pytest.raises(PydanticCustomError) as seen:
        known_fields_of(set(), {"grammar": "x" * 100_000})
    assert len(str(seen.value)) < 300
