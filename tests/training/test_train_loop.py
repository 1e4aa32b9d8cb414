"""The torch half: the loss by hand, the model against `llama_edu`, and a run that is killed."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from llama_edu import Llama as NumpyLlama  # noqa: E402
from llama_edu import LlamaConfig  # noqa: E402
from training import train  # noqa: E402
from training.corpus import IGNORED, Corpus  # noqa: E402
from training.export import tensors  # noqa: E402
from training.guides import right_places  # noqa: E402
from training.model import Llama, Shape, token_losses  # noqa: E402
from training.recipe import Guide, OptimiserRecipe  # noqa: E402

SHAPE = Shape(
    hidden_size=12,
    intermediate_size=20,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=3,
    head_dim=4,
    vocab_size=30,
    max_position_embeddings=64,
)
RECIPE = OptimiserRecipe(
    seed=3,
    tokens_per_step=60,
    peak_lr=1e-2,
    warmup_steps=3,
    checkpoint_every=5,
    validate_every=4,
    muon_lr=0.01,
    qk_lr=0.005,
    guides=(Guide(0, 1, "previous_token"), Guide(1, 2, "first_token"), Guide(1, 5, "name")),
    guide_weight=0.2,
    guide_ends=0.4,
)
WORDS = {"name": torch.tensor([7, 8, 9])}


def some_corpus(documents: int, seed: int) -> Corpus:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 12, documents)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = rng.integers(0, 30, starts[-1]).astype(np.uint16)
    return Corpus(ids, rng.random(starts[-1]) < 0.9, starts)


def test_the_loss_is_minus_log_softmax_at_the_target():
    model = Llama(SHAPE, seed=1)
    ids = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    targets = torch.tensor([[2, IGNORED, 9, 0], [IGNORED, IGNORED, 4, IGNORED]])
    logits = model(ids).detach().numpy().astype(np.float64)
    by_hand = []
    for row, place, target in [(0, 0, 2), (0, 2, 9), (0, 3, 0), (1, 2, 4)]:
        x = logits[row, place]
        by_hand.append(np.log(np.sum(np.exp(x))) - x[target])
    losses = token_losses(model, ids, targets).detach().numpy()
    np.testing.assert_allclose(losses, by_hand, rtol=1e-5)


def test_an_untrained_model_knows_nothing():
    model = Llama(SHAPE, seed=1)
    ids = torch.randint(0, 30, (8, 40), generator=torch.Generator().manual_seed(0))
    loss = token_losses(model, ids, ids.roll(1, dims=1)).mean()
    assert float(loss.detach()) == pytest.approx(np.log(30), abs=0.1)


def test_padding_and_the_future_change_nothing():
    model = Llama(SHAPE, seed=1)
    short = model(torch.tensor([[1, 2, 3]]))
    padded = model(torch.tensor([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8]]))
    torch.testing.assert_close(padded[:1, :3], short)


@pytest.mark.parametrize("tied", [True, False])
def test_the_model_computes_what_llama_edu_computes(tied: bool):
    model = Llama(Shape(**{**vars(SHAPE), "tie_word_embeddings": tied}), seed=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    config = LlamaConfig.from_dict({"model_type": "llama", **vars(model.shape)})
    weights = {name: t.numpy() for name, t in tensors(model, torch.float32).items()}
    assert ("lm_head.weight" in weights) is not tied
    ids = [3, 1, 4, 1, 5, 9, 2, 6]
    expected = NumpyLlama(config, weights).forward(ids)
    with torch.no_grad():
        found = model(torch.tensor([ids]))[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4)


def test_the_learning_rate_climbs_then_falls_to_nothing():
    shares = [train.learning_rate(step, 100, 10) for step in range(101)]
    assert shares[0] == pytest.approx(0.1)
    assert max(shares) == shares[9] == shares[10] == 1
    assert shares[55] == pytest.approx(0.5)
    assert shares[100] == pytest.approx(0)
    assert shares[10:] == sorted(shares[10:], reverse=True)


def fresh() -> train.Run:
    model = Llama(SHAPE, RECIPE.seed)
    made = train.optimisers(model, RECIPE)
    return train.Run(model, made, digest="recipe", guides=RECIPE.guides, words=WORDS)


def test_training_learns(tmp_path: Path):
    data = some_corpus(60, seed=0)
    run = fresh()
    before = train.validation_loss(run.model, data, 60)
    train.fit(run, data, data, RECIPE, tmp_path)
    assert train.validation_loss(run.model, data, 60) < before - 0.02
    assert run.log[-1]["tokens"] == int(data.learn.sum()) - int(data.learn[data.starts[:-1]].sum())


def test_a_killed_run_ends_in_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data, held_out = some_corpus(60, seed=0), some_corpus(9, seed=1)
    whole = fresh()
    train.fit(whole, data, held_out, RECIPE, tmp_path)
    (tmp_path / "checkpoint.pt").unlink()

    advance = train.advance

    def killed_after_seven(run: train.Run, *rest: object) -> object:
        if run.step == 7:
            raise KeyboardInterrupt
        return advance(run, *rest)

    monkeypatch.setattr(train, "advance", killed_after_seven)
    with pytest.raises(KeyboardInterrupt):
        train.fit(fresh(), data, held_out, RECIPE, tmp_path)
    monkeypatch.undo()
    resumed = fresh()
    train.fit(resumed, data, held_out, RECIPE, tmp_path)
    assert resumed.step == whole.step > 8
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name
    assert resumed.log == whole.log


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path):
    fresh().save(tmp_path / "checkpoint.pt")
    other = fresh()
    other.digest = "another recipe"
    with pytest.raises(SystemExit, match="another recipe"):
        other.restore(tmp_path / "checkpoint.pt")


def places(to: str, ids: list[int], targets: list[int]) -> list[list[int]]:
    """For every position, where a head guided so may look."""
    found = right_places(Guide(0, 0, to), torch.tensor([ids]), torch.tensor([targets]), WORDS)
    return [row.nonzero().flatten().tolist() for row in found[0]]


def test_a_guide_points_at_the_right_places():
    ids, targets = [5, 7, 6, 7, 8, 5], [7, 6, 7, 8, 5, 7]
    assert places("previous_token", ids, targets) == [[], [0], [1], [2], [3], [4]]
    assert places("first_token", ids, targets) == [[], [0], [0], [0], [0], [0]]
    # 6 and 5 are no names; the first 7 and the 8 have not come before.
    assert places("name", ids, targets) == [[], [], [1], [], [], [1, 3]]


def test_the_guides_loss_is_minus_log_of_the_weight_in_the_right_places():
    attention = Llama(SHAPE, seed=1).model.layers[0].self_attn
    rng = torch.Generator().manual_seed(0)
    q, k = (torch.randn(2, 6, 5, 4, generator=rng) for _ in range(2))
    right = torch.rand(2, 5, 5, generator=rng).tril(-1) > 0.3
    attention.guided = {4: right}
    weights = (q @ k.mT / 2 + torch.full((5, 5), -torch.inf).triu(1)).softmax(-1)
    by_hand = [
        -np.log(sum(float(weights[b, 4, i, j]) for j in range(5) if right[b, i, j]))
        for b in range(2)
        for i in range(5)
        if right[b, i].any()
    ]
    assert float(attention.distance_to_guide(q, k)) == pytest.approx(np.mean(by_hand), rel=1e-5)


def test_guides_fade_and_then_heads_are_free():
    weights = [train.guide_weight(step, 100, RECIPE) for step in range(100)]
    assert weights[0] == pytest.approx(0.2)
    assert weights[20] == pytest.approx(0.1)
    assert set(weights[40:]) == {0.0}


def test_a_guided_head_learns_to_look_there():
    data, run = some_corpus(60, seed=0), fresh()
    guide, rows = RECIPE.guides[0], np.arange(8)

    def looked() -> float:
        ids, targets = train.batch_of(run.model, data, rows)
        run.model.guide({guide: right_places(guide, ids, targets, WORDS)})
        run.model(ids)
        distance = float(run.model.guidance().detach())
        run.model.guide({})
        return distance

    before = looked()
    for _ in range(30):
        train.advance(run, data, rows, share=1.0, clip=1.0, guide=0.5)
    assert looked() < 0.7 * before


def test_queries_and_keys_learn_at_their_own_rate():
    model = Llama(SHAPE, RECIPE.seed)
    rates = {
        id(parameter): (type(optimiser).__name__, group["lr"])
        for optimiser in train.optimisers(model, RECIPE)
        for group in optimiser.param_groups
        for parameter in group["params"]
    }
    found = {name: rates[id(p)] for name, p in model.named_parameters()}
    assert len(found) == len(rates)
    for name, rate in found.items():
        if "q_proj" in name or "k_proj" in name:
            assert rate == ("AdamW", 0.005), name
        elif "_proj" in name:
            assert rate == ("Muon", 0.01), name
        else:
            assert rate == ("AdamW", 0.01), name
