"""A walk through the choice of a token: temperature, top-k, top-p, and the draw."""

from collections.abc import Sequence

import numpy as np

from llama_edu.engine.sampling import Sampling, draw, probabilities
from llama_edu.errors import InputError
from llama_edu.viz.parts.html import Html
from llama_edu.viz.parts.labels import TokenBytes, token_label, token_labels
from llama_edu.viz.parts.listing import Watched, watch
from llama_edu.viz.parts.stepper import Matrix, Operand, Side, Step, quoted, stepper

__all__ = ["ranked_labels", "step_sampling"]

VOCAB = "vocab_size"


def ranked_labels(
    logits: np.ndarray, names: TokenBytes | Sequence[str | bytes], top: int
) -> tuple[np.ndarray, list[str]]:
    """Ids of the `top` largest logits, the lower id first among equals, and their labels.

    Raises `InputError` unless `logits` is one row of at least two float32 numbers, with a label
    for each, and `top` at least 1.
    """
    if logits.ndim != 1 or logits.size < 2 or logits.dtype != np.float32:
        raise InputError(
            f"expected float32 logits (vocab_size,), got {logits.dtype} {logits.shape}"
        )
    if top < 1:
        raise InputError(f"expected top of at least 1, got {top}")
    ids = np.argsort(-logits, kind="stable")[:top]
    if not isinstance(names, Sequence):
        return ids, token_labels(names, ids.tolist())
    if len(names) != logits.size:
        raise InputError(f"expected {logits.size} labels, one per vocab_size, got {len(names)}")
    return ids, [token_label(names[i]) for i in ids.tolist()]


def step_sampling(
    logits: np.ndarray,
    tokenizer: TokenBytes | Sequence[str | bytes],
    sampling: Sampling,
    *,
    top: int = 10,
    seed: int | None = None,
) -> Html:
    """Walk from one row of logits, `(vocab_size,)`, to the exact distribution of the next token.

    `tokenizer` gives the labels, or is one label per id. The `top` likeliest tokens are shown,
    one column per quantity. With a `seed` the draw is walked through as well, with the generator
    `np.random.default_rng(seed)`. The numbers are those of `probabilities` and `draw` in
    `llama_edu.engine.sampling`, run line by line; filters that are off have no step. Raises
    `InputError` for logits of another shape or dtype, for labels that do not fit and for an order
    other than the default, `NumericsError` as they do.
    """
    if sampling.order != "transformers":
        raise InputError(
            f"expected the order 'transformers' to walk through, got {sampling.order!r}"
        )
    ids, labels = ranked_labels(logits, tokenizer, top)
    walk = _Walk(watch(probabilities, logits, sampling), logits, sampling, ids, labels)
    if sampling.temperature == 0:
        walk.take_the_largest()
    else:
        walk.heat()
        walk.keep_top_k()
        walk.softmax()
        if sampling.top_p < 1:
            walk.keep_top_p()
        if sampling.min_p > 0:
            walk.keep_min_p()
        if sampling.top_p < 1 or sampling.min_p > 0:
            walk.share_again()
        walk.scatter()
    if seed is not None and sampling.temperature > 0:
        walk.draw(watch(draw, probabilities(logits, sampling), np.random.default_rng(seed)))
    title = (
        f"temperature {sampling.temperature:g}, top_k {sampling.top_k}, top_p {sampling.top_p:g}"
        + (f", min_p {sampling.min_p:g}" if sampling.min_p > 0 else "")
    )
    return stepper(f"Choosing a token with {title}", walk.steps, walk.matrices)


class _Walk:
    """The steps as they grow: each may add columns to the table of the likeliest tokens."""

    def __init__(
        self,
        run: Watched,
        logits: np.ndarray,
        sampling: Sampling,
        ids: np.ndarray,
        labels: list[str],
    ) -> None:
        self.run, self.logits, self.sampling = run, logits, sampling
        self.ids, self.labels = ids, labels
        self.steps: list[Step] = []
        self.matrices: dict[str, Matrix] = {}
        self.rows = Side(VOCAB, labels, logits.size)
        self.show: list[str] = []
        self.column("logit", logits[ids])

    def column(self, name: str, values: np.ndarray, tell: str = "", kind: str = "signed") -> None:
        """One more column: a number per token in view, −∞ where a token is out."""
        said = tell or f"{{row}}: {name} {{value}}"
        side = Side(name, [name], 1)
        self.matrices[name] = Matrix(
            name, values[:, None], self.rows, side, kind=kind, tell=said, absent="cut"
        )
        self.show = [*self.show, name]

    def among(self, candidates: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Values of the candidates, for the tokens in view; −∞ for those cut before."""
        everywhere = np.full(self.logits.size, -np.inf, dtype=np.float32)
        everywhere[candidates[: len(values)]] = values
        return everywhere[self.ids]

    def left(self, result: np.ndarray) -> np.ndarray:
        """The final probabilities in view; −∞ where nothing is left."""
        shown = result[self.ids]
        return np.where(shown > 0, shown, np.float32(-np.inf))

    def add(
        self, title: str, say: str, code: str, takes: Sequence[Operand], gives: Sequence[Operand]
    ) -> None:
        step = Step(title, say, self.run.listing, code, takes, gives, self.show, "columns")
        self.steps.append(step)

    def given(self) -> Operand:
        return Operand.of("logits", self.logits, VOCAB)

    def take_the_largest(self) -> None:
        """Temperature 0: no division, no draw."""
        self.column("p", self.left(self.run.result), kind="share")
        self.add(
            "take the largest",
            f"At temperature 0 the largest logit gets everything: {quoted(self.labels[0])}. "
            "Nothing is divided, and nothing will be drawn.",
            "np.argmax(logits)]",
            [self.given(), Operand("temperature = 0")],
            [Operand.of("kept", self.run.result, VOCAB)],
        )

    def heat(self) -> None:
        scaled = self.run.after("scaled =", "scaled")
        heat = self.sampling.temperature
        does = {True: "differences grow", False: "differences shrink"}[heat < 1]
        effect = "nothing changes but the zero" if heat == 1 else does
        self.column(
            "÷ T", scaled[self.ids], f"{{row}}: ({{=logit}} − the largest) / {heat:g} = {{value}}"
        )
        self.add(
            "divide by the temperature",
            "The largest is taken off first, so nothing can overflow. Then comes the division by "
            f"{heat:g}: {effect}.",
            "scaled = ",
            [self.given(), Operand(f"temperature = {heat:g}")],
            [Operand.of("scaled", scaled, VOCAB)],
        )

    def keep_top_k(self) -> None:
        candidates = self.run.after("candidates =", "candidates")
        k = self.sampling.top_k
        kept = (
            f"The {len(candidates):,} largest are kept"
            if 0 < k < self.logits.size
            else ("top_k is 0 or no less than the vocabulary: all are kept")
        )
        rank = np.arange(1, len(candidates) + 1, dtype=np.float32)
        self.column("rank", self.among(candidates, rank), "{row}: rank {value}", "rank")
        self.add(
            "rank, and cut by top_k",
            f"{kept}, largest first; of equals the lower id comes first.",
            "candidates = ",
            [
                Operand.of("scaled", self.run.after("scaled =", "scaled"), VOCAB),
                Operand(f"top_k = {k}"),
            ],
            [Operand("candidates", ["kept"], candidates.shape)],
        )

    def softmax(self) -> None:
        candidates = self.run.after("candidates =", "candidates")
        p = self.run.after("p = softmax", "p")
        self.column("p", self.among(candidates, p), "{row}: {value} of what was kept", "share")
        self.add(
            "softmax of what is left",
            f"Shares that sum to 1 over {len(p):,} candidates. {quoted(self.labels[0])} has "
            f"{100 * p[0]:.1f}%.",
            "p = softmax",
            [Operand("scaled[candidates]", ["kept"], p.shape)],
            [Operand("p", ["kept"], p.shape)],
        )

    def keep_top_p(self) -> None:
        candidates = self.run.after("candidates =", "candidates")
        before = self.run.after("before = ", "before")
        left = self.run.after("p = p[before", "p")
        top_p = self.sampling.top_p
        all_of = Operand("p", ["kept"], before.shape)
        few = Operand("p", ["kept"], left.shape)
        self.column(
            "before",
            self.among(candidates, before),
            "{row}: all likelier ones have {value}",
            "share",
        )
        self.add(
            "what came before",
            "For each candidate, the probability of everything likelier.",
            "before = ",
            [all_of],
            [Operand("before", ["kept"], before.shape)],
        )
        self.column("cut", self.among(candidates, left), "{row}: {value}", "share")
        is_shown = len(left) <= len(self.labels)
        crossing = quoted(self.labels[len(left) - 1]) if is_shown else "a token"
        self.add(
            "cut by top_p",
            f"A candidate stays while what came before it is below {top_p:g}: {len(left):,} of "
            f"{len(before):,}. The last of them, {crossing}, crosses the line and stays whole.",
            "p = p[before",
            [all_of, Operand(f"top_p = {top_p:g}")],
            [few],
        )

    def keep_min_p(self) -> None:
        candidates = self.run.after("candidates =", "candidates")
        whole = "p = p[before" if self.sampling.top_p < 1 else "p = softmax"
        before = self.run.after(whole, "p")
        left = self.run.after("p = p[p >=", "p")
        min_p = self.sampling.min_p
        self.column("min_p cut", self.among(candidates, left), "{row}: {value}", "share")
        self.add(
            "cut by min_p",
            f"A candidate stays while it has at least {min_p:g} times the share of the likeliest: "
            f"{len(left):,} of {len(before):,}.",
            "p = p[p >=",
            [Operand("p", ["kept"], before.shape), Operand(f"min_p = {min_p:g}")],
            [Operand("p", ["kept"], left.shape)],
        )

    def share_again(self) -> None:
        candidates = self.run.after("candidates =", "candidates")
        cut = "p = p[p >=" if self.sampling.min_p > 0 else "p = p[before"
        left = self.run.after(cut, "p")
        few = Operand("p", ["kept"], left.shape)
        cut_column = "min_p cut" if self.sampling.min_p > 0 else "cut"
        final = self.run.after("p /= np.sum", "p")
        self.column(
            "p kept",
            self.among(candidates, final),
            f"{{row}}: {{={cut_column}}} / the sum of all kept = {{value}}",
            "share",
        )
        self.add(
            "make the sum 1 again",
            f"What is left summed to {left.sum():.3f}; dividing by that makes it 1.",
            "p /= np.sum",
            [few],
            [few],
        )

    def scatter(self) -> None:
        result = self.run.result
        count = int(np.count_nonzero(result))
        self.column("final", self.left(result), "{row}: drawn with probability {value}", "share")
        self.add(
            "back to the vocabulary",
            f"Every share goes to its token's id, and 0 to the {result.size - count:,} that were "
            "cut. This is the exact distribution of the next token.",
            "kept[candidates",
            [Operand("p", ["kept"], (count,))],
            [Operand.of("kept", result, VOCAB)],
        )

    def draw(self, run: Watched) -> None:
        """Throw one point on the line of probabilities, laid end to end by id."""
        point, end = run.after("point = ", "point"), run.after("end = ", "end")
        token = int(run.result)
        known = dict(zip(self.ids.tolist(), self.labels, strict=True))
        name = quoted(known[token]) if token in known else f"id {token}, which is not in view"
        self.run = run
        self.add(
            "throw a point",
            "All probabilities are laid end to end in the order of their ids. A point is thrown "
            f"between 0 and {end:.3f}; it falls on {point:.3f}.",
            "point = ",
            [Operand.of("cumulative", run.after("cumulative = ", "cumulative"), VOCAB)],
            [Operand(f"point = {point:.3f}")],
        )
        self.add(
            "read off the token",
            f"The point lies on the piece of {name}. That is the next token.",
            "np.searchsorted",
            [Operand(f"point = {point:.3f}")],
            [Operand(f"token id {token}")],
        )
