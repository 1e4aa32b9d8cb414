"""A step cut into pieces does what the whole one does."""

from dataclasses import replace

import numpy as np
from helpers import assert_close, tiny_config, tiny_tensors
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_edu import Llama
from llama_edu.engine.trace import IGNORE

CONFIG = tiny_config()
TENSORS = tiny_tensors(CONFIG)
IDS = st.integers(0, CONFIG.vocab_size - 1)


class InPieces(Llama):
    """Computes every step in pieces of at most `rows` rows, one after another."""

    rows = 1 << 20

    def run_step(self, step, record=IGNORE):
        pieces = replace(step, last_only=False).in_pieces(self.rows)
        sizes = [len(piece.token_ids) for piece in pieces]
        assert sum(sizes) == len(step.token_ids)
        assert set(sizes[:-1]) <= {self.rows}
        assert 0 < sizes[-1] <= self.rows
        parts = []
        for piece in pieces:
            assert all(span.past == span.cache.length for span in piece.spans)
            parts.append(super().run_step(piece))
        return np.concatenate(parts)[step.logit_rows]


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.lists(IDS, max_size=5), st.lists(IDS, min_size=1, max_size=9)),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 7),
)
def test_pieces_one_after_another_are_the_whole(texts, rows):
    whole, cut = Llama(CONFIG, TENSORS), InPieces(CONFIG, TENSORS)
    pasts, chunks = zip(*texts, strict=True)
    results = []
    for model in (whole, cut):
        caches = [model.new_cache() for _ in pasts]
        for past, cache in zip(pasts, caches, strict=True):
            if past:
                model.forward(past, cache)
        cut.rows = rows
        logits = model.forward_chunks(chunks, caches)
        results.append((logits, [cache.length for cache in caches], caches[-1].keys(1)))
    (want, lengths, keys), (got, cut_lengths, cut_keys) = results
    assert cut_lengths == lengths
    assert_close(got, want, 2e-5)
    assert_close(cut_keys, keys, 2e-5)
