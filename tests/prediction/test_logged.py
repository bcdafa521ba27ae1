"""The numbers of a training log against networks written by hand, with their own random numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from spannorm_theory import Architecture, predict, verify
from spannorm_theory.base.errors import AssumptionError, InputError
from spannorm_theory.base.quantities import LOGGED
from spannorm_theory.prediction.boundary import loss_moments, normed_output
from spannorm_theory.softmax.rows import log_partition

#: sizes of the hand-written network, whose width is large enough for deviations of a few per cent
WIDTH, HEADS, TOKENS, DEPTH = 64, 4, 8, 2


def rms(x: torch.Tensor) -> torch.Tensor:
    return x / x.pow(2).mean(-1, keepdim=True).sqrt()


def log_of(arch: Architecture, causal: bool, generator: torch.Generator) -> list[float]:
    """Loss, second moment of the logits and norm of all gradients of one step of a pre-norm network."""

    def matrix(rows: int, columns: int, gain: float = 1.0, fan: int | None = None) -> torch.Tensor:
        entries = torch.randn(rows, columns, dtype=torch.float64, generator=generator)
        return (entries * (gain / (fan or rows)) ** 0.5).requires_grad_()

    d, types = WIDTH, arch.vocabulary
    m_e, m_h = arch.embedding_multiplier, arch.logit_multiplier
    table = matrix(types, d, arch.input_variance / m_e**2, 1)
    head = table.mT if arch.tied_head else matrix(d, types, arch.head_gain / m_h**2)
    weights = [table] if arch.tied_head else [table, head]
    if arch.inputs == "zipf":
        law = 1 / torch.arange(1, types + 1, dtype=torch.float64)
    else:
        law = torch.ones(types, dtype=torch.float64)
    count = 2 * arch.batch * TOKENS
    drawn = torch.multinomial(law, count, replacement=True, generator=generator)
    ids, labels = drawn.view(2, arch.batch, TOKENS)
    x = m_e * table[ids]
    if arch.position_variance:
        weights.append(matrix(TOKENS, d, arch.position_variance, 1))
        x = x + weights[-1]
    for _ in range(DEPTH):
        q, k, v, o, up = (matrix(d, columns) for columns in (d, d, d, d, 4 * d))
        down = matrix(4 * d, d)
        weights += [q, k, v, o, up, down]
        h = rms(x)
        heads = [(h @ w).view(arch.batch, TOKENS, HEADS, -1).transpose(1, 2) for w in (q, k, v)]
        mixed = functional.scaled_dot_product_attention(*heads, is_causal=causal)
        x = x + mixed.transpose(1, 2).reshape(x.shape) @ o
        x = x + functional.gelu(rms(x) @ up) @ down
    logits = m_h * rms(x) @ head
    if arch.logit_cap is not None:
        logits = arch.logit_cap * torch.tanh(logits / arch.logit_cap)
    loss = functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    grads = torch.autograd.grad(loss, weights)
    norm = sum(g.square().sum() for g in grads) ** 0.5
    return [loss.item(), logits.square().mean().item(), float(norm)]


CASES = [
    {"inputs": "uniform", "vocabulary": 100, "head_gain": 30.0, "mask": "causal"},
    {"inputs": "uniform", "vocabulary": 100, "embedding_multiplier": 8.0, "input_variance": 0.1}
    | {"logit_multiplier": 0.25, "position_variance": 0.05},
    {"inputs": "zipf", "vocabulary": 50, "head_gain": 0.3, "mask": "causal", "embedding_multiplier": 4.0},
    {"inputs": "uniform", "vocabulary": 40, "head_gain": 4.0, "batch": 6},
    {"inputs": "zipf", "vocabulary": 500, "mask": "causal", "position_variance": 0.5, "batch": 4},
    {"inputs": "uniform", "vocabulary": 100, "head_gain": 9.0, "logit_cap": 2.0},
    {
        "inputs": "uniform",
        "vocabulary": 100,
        "head_gain": 30.0,
        "mask": "causal",
        "logit_cap": 3.0,
        "batch": 2,
    },
    {"inputs": "uniform", "vocabulary": 100, "input_variance": 0.05, "head_gain": 3.2, "tied_head": True},
    {
        "inputs": "zipf",
        "vocabulary": 400,
        "input_variance": 0.1,
        "embedding_multiplier": 4.0,
        "mask": "causal",
    }
    | {"head_gain": 6.4, "logit_multiplier": 4.0, "tied_head": True},
]


@pytest.mark.statistical
@pytest.mark.parametrize("fields", CASES, ids=str)
def test_the_log_of_networks_written_by_hand(fields: dict[str, object]) -> None:
    arch = Architecture(
        "pre-norm", depth=DEPTH, width=WIDTH, heads=HEADS, tokens=TOKENS, loss="cross-entropy", **fields
    )
    generator = torch.Generator().manual_seed(3)
    sample = np.array([log_of(arch, arch.mask == "causal", generator) for _ in range(120)])
    table = predict(arch).set_index("quantity").loc[list(LOGGED)]
    assert (table["stream"] == "output").all()
    theory = table["value"].to_numpy()
    own = table["se"] * np.where(theory == theory[0], 1, theory) if "se" in table else 0.0  # of logarithms
    mean, error = sample.mean(axis=0), np.hypot(sample.std(axis=0, ddof=1) / np.sqrt(len(sample)), own)
    # of a loss, which moves with (1 - P2) / 2 of its logits' second moment, of that, and of the norm
    width = np.array([theory[1] / 2, theory[1], theory[2]]) * 2 / WIDTH
    assert (np.abs(mean - theory) < 4 * error + width).all(), (mean / theory, error / theory)


@pytest.mark.statistical
@pytest.mark.parametrize("cap", [None, 3.0])
def test_what_a_tied_head_adds(cap: float | None) -> None:
    """Networks of plain torch with both heads; the mean over labels, whose sampling would hide it."""
    count, types, moment = 300, 100, 0.05
    generator = torch.Generator().manual_seed(1)

    def matrix(rows: int, columns: int, gain: float = 1.0) -> torch.Tensor:
        return torch.randn(count, rows, columns, generator=generator) * (gain / rows) ** 0.5

    d = WIDTH
    table, other = (matrix(d, types, d * moment) for _ in range(2))
    ids = torch.randint(types, (count, 1, TOKENS), generator=generator)
    x = table.gather(2, ids.expand(-1, d, -1)).mT
    for _ in range(DEPTH):
        h = rms(x)
        q, k, v = ((h @ matrix(d, d)).view(count, TOKENS, HEADS, -1).transpose(1, 2) for _ in range(3))
        mixed = functional.scaled_dot_product_attention(q, k, v)
        x = x + mixed.transpose(1, 2).reshape(x.shape) @ matrix(d, d)
        x = x + functional.gelu(rms(x) @ matrix(d, 4 * d)) @ matrix(4 * d, d)
    # the one logit that is another with a head of its own: labels are a token's type once in so many
    tied, own = rms(x) @ table, ids.mT
    plain = tied.scatter(2, own, (rms(x) * other.gather(2, ids.expand(-1, d, -1)).mT).sum(-1, keepdim=True))
    found = []
    for logits in (tied, plain):
        if cap is not None:
            logits = cap * torch.tanh(logits / cap)
        loss = logits.logsumexp(-1) - logits.gather(2, own)[..., 0] / types
        found.append(torch.stack([loss.mean(1), logits.square().mean((1, 2))]))
    more = found[0] - found[1]
    arch = Architecture(
        "pre-norm", depth=DEPTH, width=WIDTH, heads=HEADS, tokens=TOKENS, inputs="uniform", vocabulary=types
    ).with_(loss="cross-entropy", input_variance=moment, head_gain=d * moment, logit_cap=cap)
    tables = [predict(arch.with_(tied_head=tied)).set_index("quantity")["value"] for tied in (True, False)]
    for measured, quantity in zip(more, ("loss", "logit_second_moment"), strict=True):
        mean, error = float(measured.mean()), float(measured.std()) / count**0.5
        expected = tables[0][quantity] - tables[1][quantity]
        assert abs(mean - expected) < 4 * error + 4 / d * expected, (quantity, mean, expected, error)
        assert mean > 6 * error


@pytest.mark.statistical
@pytest.mark.parametrize("cap", [None, 12.0])
def test_what_a_tied_head_changes_of_gradients(cap: float | None) -> None:
    """By autograd of plain torch, in front of the last norm, of outputs that keep a little of the embedding;
    with a head of its own gradients are other ones."""
    count, batches, types, d, rho, kept = 25, 8, 200, 1024, 0.8, 0.14
    generator = torch.Generator().manual_seed(2)
    found = []
    for _ in range(batches):
        table = torch.randn(count, types, d, generator=generator)
        ids, labels = torch.randint(types, (2, count, TOKENS), generator=generator)
        shared, own = (torch.randn(count, n, d, generator=generator) for n in (1, TOKENS))
        x = kept * table.gather(1, ids[..., None].expand(-1, -1, d))
        x = rms(x + (1 - kept**2) ** 0.5 * (rho**0.5 * shared + (1 - rho) ** 0.5 * own)).requires_grad_()
        logits = rms(x) @ table.mT / d**0.5
        if cap is not None:
            logits = cap * torch.tanh(logits / cap)
        loss = functional.cross_entropy(logits.mT, labels, reduction="none").mean(1).sum()
        (g,) = torch.autograd.grad(loss, x)
        size = g.square().sum((1, 2))
        pairs = (g.sum(1).square().sum(1) - size) / (TOKENS - 1)
        found.append(torch.stack([size, pairs]) / TOKENS / d)
    sample = torch.cat(found, 1).numpy()
    mean, error = sample.mean(axis=1), sample.std(axis=1, ddof=1) / sample.shape[1] ** 0.5
    arch = Architecture(
        "pre-norm", width=d, heads=HEADS, tokens=TOKENS, inputs="uniform", vocabulary=types
    ).with_(loss="cross-entropy", logit_cap=cap, tied_head=True)
    theory = np.array(loss_moments(arch, 1.0, 1 - rho, [kept]))
    room = 4 * error + 1 / d * theory[0]
    assert (np.abs(theory - mean) < room).all(), (theory, mean, error)
    other = np.array(loss_moments(arch.with_(tied_head=False), 1.0, 1 - rho))
    assert abs(other[0] - mean[0]) > 3 * room[0], (other, mean, error)


@pytest.mark.exact
def test_where_a_tied_head_is_refused() -> None:
    sizes = {"depth": 2, "width": 64, "heads": 4, "tokens": 8, "loss": "cross-entropy", "vocabulary": 40}
    kept = Architecture("pre-norm", **sizes, inputs="uniform", head_gain=6.4, tied_head=True)
    with pytest.raises(AssumptionError, match="own type the weight"):
        predict(kept)
    with pytest.raises(AssumptionError, match="several streams"):
        predict(kept.with_(placement="residual", input_variance=0.01))
    for fields in ({"inputs": "gaussian"}, {"loss": "probe", "head_gain": 1.0}):
        with pytest.raises(InputError, match="tied_head"):
            kept.with_(**fields)


@pytest.mark.reference
def test_published_gradients_and_losses_of_three_heads() -> None:
    shape = {"depth": 4, "width": 256, "heads": 4, "tokens": 32}
    arch = Architecture("pre-norm", **shape, inputs="uniform", loss="cross-entropy", vocabulary=2000)
    for gain, gradient, loss in ((1.0, 1.111e-6, 8.10), (0.307, 3.41e-7, 7.75), (256.0, 5.03e-4, 55.2)):
        table = predict(arch.with_(head_gain=gain))
        rows = table[table["layer"].isin([0, 4])].set_index(["quantity", "stream", "layer"])["value"]
        assert rows["grad_variance", "0", 4] == pytest.approx(gradient, rel=0.015)
        assert rows["loss", "output", 0] == pytest.approx(loss, abs=0.05)


@pytest.mark.reference
@pytest.mark.parametrize(("s", "keys"), [(0.0, 7), (1.0, 5), (3.0, 5), (20.0, 2), (2.0, 1000)])
def test_the_mean_log_of_a_sum_of_exponentials(s: float, keys: int) -> None:
    logits = s * np.random.default_rng(1).standard_normal((400_000 // keys, keys))
    sample = np.logaddexp.reduce(logits, axis=1)
    error = sample.std() / np.sqrt(len(sample))
    assert abs(log_partition(s, keys) - sample.mean()) < 4 * error + 1e-9


def test_a_log_needs_a_head_and_predicted_gradients() -> None:
    shape = {"depth": 2, "width": 64, "heads": 4, "tokens": 32, "inputs": "zipf"}
    assert not predict(Architecture("pre-norm", **shape))["quantity"].isin(LOGGED).any()
    declined = Architecture("pre-norm", **shape, loss="cross-entropy")  # repeated ids, alike to attention
    for theory, known in (("pair", False), ("sampled", True)):
        table = predict(declined, theory=theory).set_index("quantity")
        assert np.isfinite(table.loc["global_grad_norm", "value"]) == known
        assert np.isfinite(table.loc["loss", "value"])


@pytest.mark.exact
def test_sequences_that_share_no_labels_add_up_as_independent_ones() -> None:
    shape = {"depth": 2, "width": 64, "heads": 4, "tokens": 8}
    for fields, theory in (({}, "pair"), ({"mask": "causal"}, "sampled"), ({"mask": "causal"}, "positions")):
        arch = Architecture("pre-norm", **shape, **fields)
        one, four = (predict(a, theory) for a in (arch, arch.with_(batch=4)))
        ratio = one["value"] / four["value"]
        weights = one["quantity"] == "weight_grad_norm"
        np.testing.assert_allclose(ratio[weights], 4)
        np.testing.assert_allclose(ratio[~weights].dropna(), 1)


def test_only_sampled_heads_say_what_sequences_have_in_common() -> None:
    arch = Architecture(
        "pre-norm", depth=2, width=64, heads=4, tokens=16, loss="cross-entropy", vocabulary=99, batch=4
    )
    assert set(predict(arch)["theory"]) == {"sampled"}
    for mask, theory in (("none", "pair"), ("causal", "positions")):
        table = predict(arch.with_(mask=mask), theory)
        learnt = table["quantity"].isin(["weight_grad_norm", "global_grad_norm"])
        assert table["value"][learnt].isna().all()
        assert table["value"][table["quantity"].isin(["loss", "grad_variance"])].notna().all()


@pytest.mark.statistical
def test_steps_of_several_sequences_pass() -> None:
    shape = {"depth": 2, "width": 64, "heads": 4, "tokens": 8, "batch": 3}
    for fields in (
        {"loss": "cross-entropy", "vocabulary": 64, "experts": 4, "top_k": 2, "attention_dropout": 0.1},
        {"loss": "mean", "input_cosine": 0.3, "mask": "causal", "dropout": 0.1},
    ):
        result = verify(Architecture("span-norm", **shape, **fields), networks=32, progress=False)
        assert result.passed, result.summary()


@pytest.mark.exact
def test_a_gradient_that_leans_on_an_unnormed_output_is_refused() -> None:
    heads = {"loss": "cross-entropy", "vocabulary": 2000, "width": 128, "heads": 4, "tokens": 24, "depth": 4}
    for placement in ("pre-norm", "post-norm", "span-norm", "siamese-norm", "mix-ln", "residual"):
        assert normed_output(Architecture(placement, **heads))
        predict(Architecture(placement, **heads, head_gain=20.0), "pair")
    for placement in ("no-norm", "dyt"):
        assert not normed_output(Architecture(placement, **heads))
    for mask in ("none", "causal"):
        leaning = Architecture("no-norm", **heads, mask=mask)
        with pytest.raises(AssumptionError, match=r"leans on an output that no norm holds.*width=512"):
            predict(leaning)
        predict(leaning.with_(scaling="depth-scaled-init"))
