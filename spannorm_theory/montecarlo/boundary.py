"""Both ends of random stacks on tensors: their inputs, and the gradient of their loss.

Each network has its own embeddings, positions, unembedding and labels.
"""

from __future__ import annotations

import torch

from ..spec.architecture import Architecture
from ..spec.token_law import zipf
from .randomness import Purpose, Randomness


def embedding(arch: Architecture, random: Randomness) -> torch.Tensor:
    """Input of shape (networks, tokens, width).

    Gaussian tokens of cosine rho: the mean of n independent ones times sqrt(1 + (n-1) rho), their
    differences times sqrt(1 - rho). Zipf: one Gaussian row for each type that occurs, and one for each
    position.
    """
    n, d = arch.tokens, arch.width
    if arch.inputs == "gaussian":
        x = random.normal(0, Purpose.INPUT, n * d).view(-1, n, d)
        if arch.input_cosine:
            mean, rho = x.mean(1, keepdim=True), arch.input_cosine
            x = (1 - rho) ** 0.5 * (x - mean) + (1 + (n - 1) * rho) ** 0.5 * mean
        return float(arch.input_second_moment**0.5) * x
    rows, positions = random.normal(0, Purpose.INPUT, 2 * n * d).view(-1, 2, n, d).unbind(1)
    drawn = token_ids(arch, random, Purpose.IDS)
    first = (drawn[:, :, None] == drawn[:, None, :]).int().argmax(-1)  # where each id occurs first
    rows = rows.gather(1, first[..., None].expand(-1, -1, d))
    own, position = (moment**0.5 for moment in arch.embedding_moments)
    return float(own) * rows + float(position) * positions


def token_ids(arch: Architecture, random: Randomness, purpose: Purpose) -> torch.Tensor:
    """Independent ids of the unigram law, (networks, tokens)."""
    uniform = torch.special.ndtr(random.normal(0, purpose, arch.tokens).double())
    edges = torch.from_numpy(zipf(arch.vocabulary)).to(random.device).cumsum(0)[:-1]
    return torch.searchsorted(edges, uniform, right=True)


def loss_gradient(arch: Architecture, random: Randomness, output: torch.Tensor) -> torch.Tensor:
    """Gradient of the loss at the model's output, (networks, tokens, width).

    Probe: N(0, 1) everywhere. Mean: one N(0, 1) row at every token. Last: sqrt(n) N(0, 1) at the last.
    Cross-entropy: mean over tokens of -ln softmax(output U)_label, U of N(0, 1/d) entries.
    """
    n, d = output.shape[1:]
    if arch.loss == "probe":
        return random.normal(0, Purpose.LOSS, n * d).view_as(output)
    if arch.loss == "cross-entropy":
        return _cross_entropy_gradient(arch, random, output.detach())
    row = random.normal(0, Purpose.LOSS, d).view(-1, 1, d)
    if arch.loss == "mean":
        return row.expand_as(output)
    gradient = torch.zeros_like(output)
    gradient[:, -1:] = n**0.5 * row
    return gradient


def _cross_entropy_gradient(arch: Architecture, random: Randomness, output: torch.Tensor) -> torch.Tensor:
    n, d = output.shape[1:]
    labels = token_ids(arch, random, Purpose.LABELS)
    gradient = torch.empty_like(output)
    for i, network in enumerate(random.networks):  # unembeddings are large: one at a time
        entries = random.only(network).normal(0, Purpose.LOSS, d * arch.vocabulary).view(d, -1)
        residual = torch.softmax(output[i] @ entries / d**0.5, -1)
        residual[torch.arange(n, device=output.device), labels[i]] -= 1
        gradient[i] = residual @ entries.mT / (n * d**0.5)
    return gradient
