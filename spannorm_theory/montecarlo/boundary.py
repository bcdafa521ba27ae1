"""Both ends of random stacks on tensors: their inputs, and the gradient of their loss.

Each network has its own embeddings, positions, unembedding and labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch

from ..spec.architecture import Architecture
from .metrics import gram, product_norm
from .randomness import Purpose, Randomness


def embedding(arch: Architecture, random: Randomness) -> torch.Tensor:
    """Input of shape (networks, tokens of a step, width), one sequence behind another.

    Gaussian tokens of cosine rho: the mean of n independent ones times sqrt(1 + (n-1) rho), their
    differences times sqrt(1 - rho). Token ids: one Gaussian row for each type that occurs, and one for each
    position.
    """
    n, d, step = arch.tokens, arch.width, arch.step_tokens
    if arch.inputs == "gaussian":
        x = random.normal(0, Purpose.INPUT, step * d).view(-1, n, d)
        if arch.input_cosine:
            mean, rho = x.mean(1, keepdim=True), arch.input_cosine
            x = (1 - rho) ** 0.5 * (x - mean) + (1 + (n - 1) * rho) ** 0.5 * mean
        return float(arch.input_second_moment**0.5) * x.view(-1, step, d)
    numbers = random.normal(0, Purpose.INPUT, (step + n) * d).view(-1, step + n, d)
    own, position = (moment**0.5 for moment in arch.embedding_moments)
    rows, positions = _rows(arch, random, numbers), numbers[:, step:].repeat(1, arch.batch, 1)
    return float(own) * rows + float(position) * positions


def _rows(arch: Architecture, random: Randomness, numbers: torch.Tensor) -> torch.Tensor:
    """Each token's row of the embedding, of standard normal entries: of the first ``numbers``, one row for
    each token of a step, those of the tokens where each type occurs first."""
    drawn = token_ids(arch, random, Purpose.IDS)
    first = (drawn[:, :, None] == drawn[:, None, :]).int().argmax(-1)
    return numbers.gather(1, first[..., None].expand(-1, -1, numbers.shape[-1]))


def token_ids(arch: Architecture, random: Randomness, purpose: Purpose) -> torch.Tensor:
    """Independent ids of the law of tokens, (networks, tokens of a step)."""
    uniform = torch.special.ndtr(random.normal(0, purpose, arch.step_tokens).double())
    edges = torch.from_numpy(arch.token_law.edges).to(random.device)
    return torch.searchsorted(edges, uniform, right=True)


class Loss(NamedTuple):
    """The losses of each network's sequences.

    Attributes:
        gradient: of each sequence's own loss at the model's output, (networks, tokens of a step, width).
        logged: of a head and the mean loss, the "loss" itself, "logit_second_moment", and the squared
            gradient norm "head" of the unembedding; float64, (networks,) each.
        own: gradient of the mean loss at the rows of a tied head that the tokens have, (networks, tokens of a
            step, width); None without one.
    """

    gradient: torch.Tensor
    logged: Mapping[str, torch.Tensor]
    own: torch.Tensor | None = None


def loss_at(arch: Architecture, random: Randomness, output: torch.Tensor) -> Loss:
    """The losses of a model's output, (networks, tokens of a step, width), and their gradient there.

    Probe: N(0, 1) everywhere. Mean: one N(0, 1) row at every token. Last: sqrt(n) N(0, 1) at the last.
    Cross-entropy: mean over tokens of -ln softmax(output U)_label, U of N(0, head gain / d) entries, under
    the soft cap of logits where there is one.
    """
    n, d = arch.tokens, output.shape[-1]
    if arch.loss == "probe":
        return Loss(random.normal(0, Purpose.LOSS, arch.step_tokens * d).view_as(output), {})
    if arch.loss == "cross-entropy":
        return _cross_entropy(arch, random, output.detach())
    row = random.normal(0, Purpose.LOSS, arch.batch * d).view(-1, 1, d)
    if arch.loss == "mean":
        return Loss(row.expand(-1, n, d).reshape(output.shape), {})
    gradient = torch.zeros_like(output)
    gradient.view(-1, n, d)[:, -1:] = n**0.5 * row
    return Loss(gradient, {})


def _cross_entropy(arch: Architecture, random: Randomness, output: torch.Tensor) -> Loss:
    n, d, step = arch.tokens, arch.width, arch.step_tokens
    labels = token_ids(arch, random, Purpose.LABELS)
    std, gradient = float((arch.head_gain / d) ** 0.5), torch.empty_like(output)
    names = ("loss", "logit_second_moment", "head")
    logged = {name: random.zeros() for name in names}
    ids, rows, own = None, None, None
    if arch.tied_head:
        numbers = random.normal(0, Purpose.INPUT, (step + n) * d).view(-1, step + n, d)
        ids, rows = token_ids(arch, random, Purpose.IDS), _rows(arch, random, numbers)
        own = torch.empty_like(output, dtype=torch.float64)
    for i, network in enumerate(random.networks):  # unembeddings are large: one at a time
        entries = random.only(network).normal(0, Purpose.LOSS, d * arch.vocabulary).view(d, -1)
        if ids is not None and rows is not None:
            entries[:, ids[i]] = rows[i].mT.to(entries.dtype)
        logits = (output[i] @ entries).mul_(std)
        if arch.logit_cap is not None:
            logits = logits.div_(arch.logit_cap).tanh_().mul_(arch.logit_cap)
        exact = logits.double()
        logged["loss"][i] = torch.nn.functional.cross_entropy(exact, labels[i])
        logged["logit_second_moment"][i] = exact.square().mean()
        residual = logits.softmax(-1)
        residual[torch.arange(step, device=output.device), labels[i]] -= 1
        if arch.logit_cap is not None:
            residual *= 1 - (logits / arch.logit_cap).square()
        gradient[i] = (residual @ entries.mT).mul_(std / n)
        squares = product_norm(gram(output[i]), (residual @ residual.mT).double())
        logged["head"][i] = arch.logit_multiplier**2 / step**2 * squares
        if ids is not None and own is not None:
            own[i] = arch.logit_multiplier / step * (residual[:, ids[i]].mT @ output[i]).double()
    return Loss(gradient, logged, own)


def embedding_grad_norm(arch: Architecture, random: Randomness, gradient: torch.Tensor) -> torch.Tensor:
    """Squared gradient norm of the embedding of ids and of learned positions under the mean loss, float64
    (networks,), from the gradient of each sequence's own at the input; zero where tokens are no ids."""
    if not arch.reads_ids:
        return random.zeros()
    ids, products = token_ids(arch, random, Purpose.IDS), gram(gradient)
    total = arch.embedding_multiplier**2 * product_norm(products, (ids[:, :, None] == ids[:, None]).double())
    if arch.position_variance:  # which all sequences share
        at_positions = gradient.double().view(-1, arch.batch, arch.tokens, arch.width).sum(1)
        total += at_positions.square().sum((1, 2))
    return total / arch.batch**2


def tied_product(arch: Architecture, own: torch.Tensor | None, gradient: torch.Tensor) -> torch.Tensor:
    """Twice the inner product of what a tied matrix receives as the embedding, of ``gradient`` as in
    :func:`embedding_grad_norm`, and as the head, :attr:`Loss.own`; zero without one."""
    if own is None:
        return gradient.new_zeros(len(gradient), dtype=torch.float64)
    return 2 * arch.embedding_multiplier / arch.batch * (own * gradient.double()).sum((1, 2))
