"""Hints for the exercises on speed, in three steps."""

from llama_edu.exercises.framework.guide import ESSENTIAL, EXTRA, USEFUL, Guide

__all__ = ["GUIDES"]

GUIDES = {
    "cache_nbytes": Guide(
        10,
        ESSENTIAL,
        question="What does one new position leave behind, and in how many places?",
        idea="A key *and* a value, each `head_dim` numbers, in every layer and every KV head. "
        "That many numbers for each position, and `itemsize` bytes for each number.",
        code="""
            def cache_nbytes_mine(layers, n_kv_heads, head_dim, positions, itemsize):
                per_position = 2 * ...
                return per_position * ...
            """,
    ),
    "score_flops": Guide(
        10,
        USEFUL,
        question="How many scores are there, and what does one of them cost?",
        idea="Every *query* head scores every key for every new token, whoever shares its keys. "
        "One score is a dot product of `head_dim` terms, a multiplication and an addition each.",
        code="""
            def score_flops_mine(seq, total_seq, n_kv_heads, n_groups, head_dim):
                scores = n_kv_heads * ...
                return 2 * ...
            """,
    ),
    "last_logits": Guide(
        10,
        USEFUL,
        question="Throwing rows away after the head is too late. Who knows, before the head, "
        "that only one is wanted?",
        idea="`Llama.forward` has to be told. `help(Llama.forward)` names an argument for this.",
        code="""
            def last_logits_mine(model, token_ids):
                return model.forward(token_ids, ...)
            """,
    ),
    "tokens_per_s": Guide(
        40,
        EXTRA,
        question="Which bytes does one step read, and which operations does it do? Which of the "
        "two takes longer on the machine you are given?",
        idea="Weights of a layer: q and o have `n_heads * head_dim` rows or columns, k and v "
        "`n_kv_heads * head_dim`, and the MLP has three matrices. Then the head, once. The step "
        "reads `past + 1` positions of the cache. It does 2 operations for each weight, and 2 "
        "for each cached number *and query head that shares it*. The slower of reading and "
        "computing decides.",
        code="""
            def tokens_per_s_mine(config, past, itemsize, bytes_per_s, flops_per_s):
                c = config
                groups = c.num_attention_heads // c.num_key_value_heads
                kv = c.num_key_value_heads * c.head_dim
                widths = 2 * kv * groups + 2 * kv + 3 * c.intermediate_size
                weights = c.num_hidden_layers * c.hidden_size * widths + ...
                cached = 2 * c.num_hidden_layers * kv * (...)
                reading = (weights + cached) * itemsize / bytes_per_s
                computing = 2 * (weights + ...) / flops_per_s
                return 1 / ...
            """,
    ),
}
