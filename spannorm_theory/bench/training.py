"""Small stacks trained on text that Python ships: its help topics, character by character.

python -m spannorm_theory.bench.training "span-norm depth-scaled-init depth=12" 0.003
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import lru_cache
from pydoc_data.topics import topics

import numpy as np
import torch
from torch.nn import functional

from ..modules.module import module
from ..spec.architecture import Architecture

#: characters as rare as this in the text are one type
RARE = 20
#: averages of Adam by optimiser: with none, every step is one of sign descent
BETAS = {"adam": (0.9, 0.95), "sign": (0.0, 0.0)}
#: steps over which the rate rises
WARM_UP = 10


@lru_cache(maxsize=1)
def text() -> tuple[torch.Tensor, int]:
    """Ids of the characters of all topics, the most frequent first, and the number of types."""
    joined = "\n".join(topics[name] for name in sorted(topics))
    characters, codes, counts = np.unique(list(joined), return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    types = int((counts > RARE).sum()) + 1
    ids = np.empty(len(characters), dtype=np.int64)
    ids[order] = np.minimum(np.arange(len(characters)), types - 1)
    return torch.from_numpy(ids[codes]), types


def unigram() -> float:
    """The loss of a model that knows how frequent characters are, and no more."""
    ids, types = text()
    share = np.bincount(ids.numpy(), minlength=types) / len(ids)
    return float(-(share * np.log(share)).sum())


def reader(words: str) -> Architecture:
    """An architecture that predicts the next character: ``words`` are its text form, and go over the sizes
    that it has otherwise."""
    placement, *rest = words.split()
    own = "width=128 heads=4 tokens=64 inputs=zipf position_variance=0.5 input_variance=0.5"
    ends = f"loss=cross-entropy vocabulary={text()[1]} mask=causal"
    scaling = [] if not rest or "=" in rest[0] else [rest.pop(0)]
    named = {word.partition("=")[0]: word for word in (*f"{own} {ends}".split(), *rest)}
    return Architecture.parse(" ".join([placement, *scaling, *named.values()]))


def train(
    arch: Architecture,
    rate: float,
    steps: int = 160,
    sequences: int = 12,
    seed: int = 0,
    optimiser: str = "adam",
) -> Iterator[float]:
    """The loss of every step of "adam" or "sign" from initialisation, in nats a character; it ends where a
    loss is no finite number."""
    ids, _ = text()
    model = module(arch, seed=seed)
    adam = torch.optim.Adam(model.parameters(), lr=rate, betas=BETAS[optimiser])
    rising = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: min(1.0, (step + 1) / WARM_UP))
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        starts = torch.randint(len(ids) - arch.tokens, (sequences, 1), generator=generator)
        read = ids[starts + torch.arange(arch.tokens + 1)]
        loss = functional.cross_entropy(model(read[:, :-1]).flatten(0, 1), read[:, 1:].flatten())
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        rising.step()
        yield loss.item()
        if not loss.isfinite():
            return


if __name__ == "__main__":
    architecture = reader(sys.argv[1])
    print(f"{architecture}: {unigram():.3f} would be the frequencies of characters alone")
    for step, loss in enumerate(train(architecture, float(sys.argv[2]))):
        if step % 10 == 0:
            print(f"{step:4d} {loss:.3f}", flush=True)
