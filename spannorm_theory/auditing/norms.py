"""Norms of a user's module, by what they do: applied to random numbers, never by what they store.

A norm that keeps its weight minus one, or multiplies by a constant, shows the gain that it has. It is tried
in float32, whatever numbers it holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.func import functional_call

#: rows and second moments that a norm is tried on: the largest has its gain, and the others find its epsilon
ROWS = 64
MOMENTS = tuple(10.0**power for power in range(4, -13, -1))

#: what part of the second moment in front of a norm an epsilon must be to matter
NOTICEABLE = 1e-4

#: the mean of a coordinate that tells a norm that takes it away from one that does not
MEAN = 0.5

QUERY_WORDS = ("q_norm", "q_layernorm", "query_norm", "norm_q", "q_ln", "ln_q")
KEY_WORDS = ("k_norm", "k_layernorm", "key_norm", "norm_k", "k_ln", "ln_k")
VALUE_WORDS = ("v_norm", "v_layernorm", "value_norm", "norm_v")


@dataclass(frozen=True)
class NormFacts:
    """One norm.

    Attributes:
        name: its path in the module.
        size: coordinates that it runs over.
        kind: "rms" or "layer" (it takes the mean away).
        gain: root mean square of its output for input of any size.
        epsilon: added to the mean square; 0 below 1e-13.
        bias: root mean square of what it adds.
        of: "query", "key" or "value" for norms inside attention, else "stream".
    """

    name: str
    size: int
    kind: str
    gain: float
    epsilon: float
    bias: float
    of: str


@dataclass(frozen=True)
class CalledNorms:
    """The norms of a stream, where a running module calls them.

    Attributes:
        paths: of the blocks.
        blocks: names of the norms within each block, in the order of their calls.
        last: paths of those behind the last block, in front of the readout.
        bare: whether the readout is what the last block puts out.
        later: whether norms are called behind the readout.
        facts: of every norm, by its path; those inside attention as well.
        moments: the least second moment in front of each that is called.
    """

    paths: tuple[str, ...]
    blocks: tuple[tuple[str, ...], ...]
    last: tuple[str, ...]
    facts: Mapping[str, NormFacts]
    moments: Mapping[str, float]
    bare: bool = False
    later: bool = False

    def tells(self, path: str, epsilon: float) -> bool:
        """Whether a norm's own epsilon and another one are different in what it puts out, by more than errors
        of either."""
        own, moment = self.facts[path].epsilon, self.moments.get(path)
        if not moment:
            return False
        apart = abs(own - epsilon)
        return apart / moment > NOTICEABLE and apart > 0.05 * max(own, epsilon)


def norms_of(model: nn.Module, width: int) -> tuple[list[NormFacts], list[str]]:
    """Every norm of a module, and the names of modules that are called norms and do not act as one."""
    found, strange = [], []
    for name, module in model.named_modules():
        if not _is_called_norm(module):
            continue
        facts = _tried(name, module, width)
        if facts is None:
            strange.append(name)
        else:
            found.append(facts)
    return found, strange


def _is_called_norm(module: nn.Module) -> bool:
    called = "norm" in type(module).__name__.lower() or isinstance(module, nn.LayerNorm)
    return called and not any(p.ndim > 1 and min(p.shape) > 1 and _is_matrix(p) for p in module.parameters())


def _is_matrix(parameter: torch.Tensor) -> bool:
    """Whether a parameter of two axes is more than the gains of heads, which are all alike."""
    return bool(parameter.detach().double().std() > 0.05 * parameter.detach().double().abs().mean())


def _tried(name: str, module: nn.Module, width: int) -> NormFacts | None:
    shape = next((tuple(p.shape) for p in module.parameters()), getattr(module, "normalized_shape", (width,)))
    like = next(module.parameters(), torch.zeros(()))
    generator = torch.Generator().manual_seed(0)
    x = MEAN + torch.randn((1, ROWS, *shape), generator=generator, dtype=torch.float64)
    x = x / x.square().mean(-1, keepdim=True).sqrt()
    try:
        with torch.no_grad():
            zero = _in_float32(module, torch.zeros_like(x), like.device).double().cpu()
            outputs = [_in_float32(module, x * moment**0.5, like.device) for moment in MOMENTS]
            moments = [float((y.double().cpu() - zero).square().mean()) for y in outputs]
            mean = float((outputs[0].double().cpu() - zero).mean())
    except Exception:  # a user's module, whose arguments are not one tensor
        return None
    gain_square = moments[0]
    if not gain_square or abs(moments[1] / gain_square - 1) > 0.05:
        return None
    kind = "layer" if abs(mean) < 0.1 * gain_square**0.5 else "rms"
    return NormFacts(
        name,
        shape[-1],
        kind,
        gain_square**0.5,
        _epsilon(moments, _variance(x) if kind == "layer" else 1.0),
        float(zero.square().mean().sqrt()),
        _of(name),
    )


def _in_float32(module: nn.Module, x: torch.Tensor, device: torch.device) -> torch.Tensor:
    """What a module puts out, with its parameters and buffers and its input in float32."""
    every = dict([*module.named_parameters(), *module.named_buffers()])
    own = {name: value.float() for name, value in every.items() if value.is_floating_point()}
    found: torch.Tensor = functional_call(module, own, (x.to(device, torch.float32),))
    return found


def _variance(x: torch.Tensor) -> float:
    """Mean over rows of the share of the second moment that is left when the mean is taken away."""
    return float(x.var(-1, unbiased=False).mean())


def _epsilon(moments: list[float], share: float) -> float:
    """From the fall of the output where the input gets small: q/(q + epsilon) of the largest."""
    ratios = [(moment * share, found / moments[0]) for moment, found in zip(MOMENTS, moments, strict=True)]
    telling = [(q, r) for q, r in ratios if 0.02 < r < 0.98]
    if not telling:
        return 0.0
    q, r = min(telling, key=lambda one: abs(one[1] - 0.5))
    return q * (1 - r) / r


def _of(name: str) -> str:
    leaf = name.rpartition(".")[2].lower()
    for words, of in ((QUERY_WORDS, "query"), (KEY_WORDS, "key"), (VALUE_WORDS, "value")):
        if any(word in leaf for word in words):
            return of
    return "stream"


def stream_norms(norms: list[NormFacts], width: int) -> Iterator[NormFacts]:
    """Norms over the width that are not of queries, keys or values."""
    return (norm for norm in norms if norm.size == width and norm.of == "stream")
