"""Byte-level BPE: learn a vocabulary, and write it the way Hugging Face expects it.

All 256 bytes stand in the base alphabet, so no text is unencodable: an emoji the corpus never
showed becomes four byte tokens, not an error. Merges are learnt from the corpus alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import chain, islice
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from training.recipe import Document, Recipe, TokenizerRecipe


def train(texts: Iterable[str], recipe: TokenizerRecipe) -> Tokenizer:
    """Learn `vocab_size` tokens from the texts; special tokens take the first ids."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocab_size,
        special_tokens=list(recipe.special_tokens),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if recipe.bos is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{recipe.bos} $A",
            pair=f"{recipe.bos} $A {recipe.bos} $B",
            special_tokens=[(recipe.bos, tokenizer.token_to_id(recipe.bos))],
        )
    return tokenizer


def train_from_recipe(recipe: Recipe) -> Tokenizer:
    """The tokenizer of a recipe, learnt from the first documents of its corpus, and of `more`.

    Raises ValueError if the texts have too few words for `vocab_size` tokens: a model could then
    draw an id that no text belongs to.
    """
    corpus, wanted = recipe.corpus, recipe.tokenizer
    documents = corpus.documents_of(corpus.generator)(corpus.seed, corpus.documents)
    sample: Iterable[Document] = islice(documents, wanted.sample_documents)
    if wanted.more is not None:
        more = corpus.documents_of(wanted.more)(corpus.seed, wanted.more_documents)
        sample = chain(sample, more)
    # Special tokens stand inside some texts; the merges must not learn their letters.
    texts = ("".join(segment.text for segment in document) for document in sample)
    tokenizer = train((without_special_tokens(text) for text in texts), wanted)
    if (found := tokenizer.get_vocab_size()) != wanted.vocab_size:
        raise ValueError(f"expected {wanted.vocab_size} tokens, but the texts give only {found}")
    return tokenizer


def without_special_tokens(text: str) -> str:
    """The text with a line break in the place of every special token."""
    return re.sub(r"<\|\w+\|>", "\n", text)


def tokenizer_config(recipe: TokenizerRecipe, context: int) -> dict[str, Any]:
    """`tokenizer_config.json`: which class of transformers reads this, and the special tokens."""
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "bos_token": recipe.bos,
        "eos_token": recipe.eos[0],
        "pad_token": recipe.pad,
        "clean_up_tokenization_spaces": False,
    }
    if recipe.chat_template is not None:
        config["chat_template"] = recipe.chat_template
    return {key: value for key, value in config.items() if value is not None}


def save(tokenizer: Tokenizer, recipe: TokenizerRecipe, context: int, directory: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json."""
    tokenizer.save(str(directory / "tokenizer.json"), pretty=True)
    config = tokenizer_config(recipe, context)
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (directory / "tokenizer_config.json").write_text(text, encoding="utf-8")
