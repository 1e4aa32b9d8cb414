"""Train an embedded model from its recipe.

    python -m training.train training/story.toml

Makes the tokenizer and the corpus, trains, writes the loss curve and exports the weights into
`llama_edu/models/<name>/`. Kill it whenever you like: the same command goes on from the last
checkpoint and ends in the same weights as a run that was never stopped.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from tqdm import tqdm

from training import bpe, corpus, curve, export
from training.corpus import Corpus
from training.guides import right_places, word_ids
from training.model import Llama, Shape, token_losses
from training.recipe import Guide, OptimiserRecipe, Recipe, load

LOG_EVERY = 10


def learning_rate(step: int, total: int, warmup: int) -> float:
    """The share of the peak rate at a step: a straight climb, then half a cosine down to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def guide_weight(step: int, total: int, recipe: OptimiserRecipe) -> float:
    """The weight of the guides' loss at a step: falls in a straight line, then stays at 0."""
    return recipe.guide_weight * max(0.0, 1 - step / (recipe.guide_ends * total))


def optimisers(model: Llama, recipe: OptimiserRecipe) -> list[torch.optim.Optimizer]:
    """Matrices decay, vectors do not; with `muon_lr`, the blocks' matrices get Muon."""
    named = dict(model.named_parameters())
    blocks = {name: p for name, p in named.items() if p.dim() == 2 and ".layers." in name}
    tables = [p for name, p in named.items() if p.dim() == 2 and name not in blocks]
    vectors = [p for p in named.values() if p.dim() < 2]
    apart = ("q_proj.weight", "k_proj.weight") if recipe.qk_lr > 0 else ()
    qk = [p for name, p in blocks.items() if name.endswith(apart)]
    rest = [p for name, p in blocks.items() if not name.endswith(apart)]
    made: list[torch.optim.Optimizer] = []
    if recipe.muon_lr > 0:
        # Keller Jordan et al., "Muon" (2024): each update is made orthogonal first.
        made.append(torch.optim.Muon(rest, lr=recipe.muon_lr, weight_decay=recipe.weight_decay))
        rest = []
    groups = [
        {"params": rest + tables, "weight_decay": recipe.weight_decay},
        {"params": qk, "weight_decay": recipe.weight_decay, "lr": recipe.qk_lr},
        {"params": vectors, "weight_decay": 0.0},
    ]
    made.append(torch.optim.AdamW(groups, lr=recipe.peak_lr, betas=recipe.betas))
    for optimiser in made:
        for group in optimiser.param_groups:
            group["peak"] = group["lr"]
    return made


@dataclass
class Run:
    """The whole state of a training run: what a checkpoint holds."""

    model: Llama
    optimisers: list[torch.optim.Optimizer]
    digest: str
    guides: tuple[Guide, ...] = ()
    words: dict[str, Tensor] = field(default_factory=dict)  # of the guides' facts
    step: int = 0
    tokens: int = 0
    recent: list[float] = field(default_factory=list)  # losses since the last line of the log
    log: list[dict[str, float]] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write a checkpoint; a kill in the middle leaves the older one whole."""
        state = {
            "model": self.model.state_dict(),
            "optimisers": [o.state_dict() for o in self.optimisers],
            "step": self.step,
            "tokens": self.tokens,
            "recent": self.recent,
            "log": self.log,
            "digest": self.digest,
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def restore(self, path: Path) -> None:
        """Go back to a checkpoint; stops the program if another recipe made it."""
        state: dict[str, Any] = torch.load(path, weights_only=True)
        if state["digest"] != self.digest:
            raise SystemExit(f"{path} was made by another recipe; remove it to start again")
        self.model.load_state_dict(state["model"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        for key in ("step", "tokens", "recent", "log"):
            setattr(self, key, state[key])


def batch_of(model: Llama, data: Corpus, documents: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Token ids and targets (batch, seq) of these documents, on the model's device."""
    device = next(model.parameters()).device
    ids, targets = (torch.from_numpy(a).to(device) for a in corpus.batch(data, documents))
    return ids, targets


@torch.no_grad()
def validation_loss(model: Llama, data: Corpus, tokens_per_step: int) -> float:
    """Mean loss in nats a token over all the held-out documents."""
    steps = corpus.plan(data.lengths, tokens_per_step, seed=0)
    losses = torch.cat([token_losses(model, *batch_of(model, data, part)) for part in steps])
    return float(losses.double().mean())


def advance(
    run: Run, data: Corpus, documents: NDArray[np.int64], share: float, clip: float, guide: float
) -> None:
    """One step: loss, gradients, clip, update, at this share of the peak learning rates.

    `guide` is the weight of the guided heads' own loss (`guides`); at 0 all heads are free.
    """
    for optimiser in run.optimisers:
        optimiser.zero_grad(set_to_none=True)
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * share
    ids, targets = batch_of(run.model, data, documents)
    shown = run.guides if guide > 0 else ()
    run.model.guide({g: right_places(g, ids, targets, run.words) for g in shown})
    losses = token_losses(run.model, ids, targets)
    loss = losses.mean()
    wanted = loss + guide * run.model.guidance() if shown else loss
    run.model.guide({})
    wanted.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), clip)
    for optimiser in run.optimisers:
        optimiser.step()
    run.step += 1
    run.tokens += losses.numel()
    run.recent.append(float(loss.detach()))


def fit(run: Run, data: Corpus, held_out: Corpus, recipe: OptimiserRecipe, directory: Path) -> None:
    """Train from `run.step` to the end of the last epoch, saving as it goes."""
    size = recipe.tokens_per_step
    steps = [
        documents
        for epoch in range(recipe.epochs)
        for documents in corpus.plan(data.lengths, size, recipe.seed + epoch)
    ]
    path = directory / "checkpoint.pt"
    if path.exists():
        run.restore(path)
    bar = tqdm(steps[run.step :], "training", total=len(steps), initial=run.step)
    for documents in bar:
        share = learning_rate(run.step, len(steps), recipe.warmup_steps)
        guide = guide_weight(run.step, len(steps), recipe)
        advance(run, data, documents, share, recipe.clip_norm, guide)
        done = run.step == len(steps)
        validating = run.step % recipe.validate_every == 0 or done
        if run.step % LOG_EVERY == 0 or validating:
            loss = sum(run.recent) / len(run.recent)
            run.log.append({"step": run.step, "tokens": run.tokens, "loss": loss})
            run.recent = []
        if validating:
            loss = validation_loss(run.model, held_out, size)
            run.log[-1]["held_out"] = loss
            bar.set_postfix(held_out=f"{loss:.4f}")
        if run.step % recipe.checkpoint_every == 0 or done:
            run.save(path)


def begin(recipe: Recipe, device: torch.device) -> tuple[Run, Tokenizer]:
    """A run at step zero, and the tokenizer of its recipe (made on the first call)."""
    recipe.run_directory.mkdir(parents=True, exist_ok=True)
    path = recipe.run_directory / "tokenizer.json"
    if not path.exists():
        bpe.train_from_recipe(recipe).save(str(path))
    shape = Shape(vocab_size=recipe.tokenizer.vocab_size, **recipe.model)
    compute: torch.dtype = getattr(torch, recipe.optimiser.compute)
    model = Llama(shape, recipe.optimiser.seed, compute).to(device)
    tokenizer = Tokenizer.from_file(str(path))
    guides = recipe.optimiser.guides
    words = word_ids(guides, tokenizer)
    run = Run(model, optimisers(model, recipe.optimiser), recipe.digest, guides, words)
    return run, tokenizer


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train an embedded model from its recipe.")
    parser.add_argument("recipe", type=Path, help="training/story.toml, for example")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves it to torch")
    parser.add_argument("--export", type=Path, help="where to write it (default: the package)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    recipe = load(arguments.recipe)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run, tokenizer = begin(recipe, device)
    data, held_out = corpus.from_recipe(recipe, tokenizer)
    print(f"{len(data):,} documents, {int(data.learn.sum()):,} learnt tokens, on {device}")
    fit(run, data, held_out, recipe.optimiser, recipe.run_directory)
    curve.write(run.log, arguments.recipe.parent / "curves", recipe.name)
    export.write(run.model, tokenizer, recipe, arguments.export or recipe.export_directory)


if __name__ == "__main__":
    main()
