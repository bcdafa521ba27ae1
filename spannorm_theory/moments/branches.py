"""The component of a traced branch: its moments with an architecture's sizes, norms and gains."""

from __future__ import annotations

from dataclasses import replace

from ..base.errors import AssumptionError
from ..gaussian.head_norm import HeadNorm
from ..layers.attention import Attention
from ..layers.attention_gate import GatedAttention
from ..layers.attention_gram import SampledAttention
from ..layers.attention_positions import PositionAttention
from ..layers.experts import MixtureOfExperts, gates_of
from ..layers.feedforward import FeedForward
from ..layers.gate import Gate
from ..layers.latents import Latent, Latents
from ..layers.pointwise import Pointwise
from ..layers.position_grid import PositionGrid, seeing
from ..layers.position_rows import RowLaw
from ..layers.rotary import Rotary
from ..layers.shared_experts import SharedExperts
from ..spec.architecture import Architecture
from ..spec.graph import Branch
from ..spec.reach import Attends

#: matrices whose squared gradient is quadratic in the drop of the branch's input
QUADRATIC_IN_DROP = ("attn.query", "attn.key")


def branch_moments(
    branch: Branch, arch: Architecture, only_normed: bool = False
) -> Attention | FeedForward | Gate | Pointwise:
    """The component with the moments of a branch between two exchangeable tokens; ``only_normed`` says
    whether nothing but norms reads it."""
    if branch.kind != "attention":
        return of_each_token(branch, arch, only_normed)
    head_norm = _head_norm(branch, arch)
    normed, gains, factor = arch.normed(branch), arch.base_gains, arch.logit_factor(arch.normed(branch))
    over_width = arch.qk_norm_over == "width"
    if "query" in normed and head_norm is not None and not over_width:
        factor *= arch.head_size / head_norm.size  # LayerNorm: fewer coordinates are free, and larger
    return (GatedAttention if arch.attention_gate else Attention)(
        arch.width,
        arch.tokens,
        arch.head_size,
        normed,
        head_norm,
        factor if "query" in normed else factor * gains["attn.query"] * gains["attn.key"],
        branch.inner_norm,
        logit_factor=factor,
        over_width=over_width,
        dropout=arch.attention_dropout,
        breadth=arch.heads_width / arch.width,
        latents=_latents(branch, arch),
    )


def sampled_attention(branch: Branch, arch: Architecture, only_normed: bool = False) -> SampledAttention:
    """Attention on the Gram of all tokens, by sampled heads; ``only_normed`` as in :func:`branch_moments`."""
    if arch.mask == "causal" and arch.attention_dropout and (only_normed or branch.inner_norm):
        raise AssumptionError(
            f"attention_dropout={arch.attention_dropout:g} takes the only key of the first token away, and "
            f"{arch.placement} norms what attention puts out, which is then zero: the norm of a mixture is "
            "not derived; use mask='none', attention_dropout=0, or simulate(...)"
        )
    seen = arch.attends(branch)
    return SampledAttention(
        arch.width,
        arch.mask == "causal",
        arch.normed(branch),
        arch.norm,
        _head_norm(branch, arch),
        inner_norm=branch.inner_norm,
        window=seen.window,
        rotary=_rotary(seen, arch),
        logit_factor=arch.logit_factor(arch.normed(branch)),
        over_width=arch.qk_norm_over == "width",
        sinks=arch.sinks,
        dropout=arch.attention_dropout,
        breadth=arch.heads_width / arch.width,
        latents=_latents(branch, arch),
    )


def position_attention(branch: Branch, arch: Architecture, grid: PositionGrid) -> PositionAttention:
    """Attention with positions as a coordinate, those of ``grid`` under any window."""
    normed, head_norm, seen = arch.normed(branch), _head_norm(branch, arch), arch.attends(branch)
    law = RowLaw(
        seeing(grid, seen.window),
        arch.head_size,
        arch.width,
        normed,
        head_norm,
        rotary=_rotary(seen, arch),
        logit_factor=arch.logit_factor(normed),
        over_width=arch.qk_norm_over == "width",
        latents=_latents(branch, arch),
    )
    return PositionAttention(law, arch.width, branch.inner_norm, arch.heads_width / arch.width)


def feedforward_moments(arch: Architecture, inner_norm: str | None, only_normed: bool = False) -> FeedForward:
    """The component with the moments of an architecture's feed-forward branch, dense or of experts.

    Gates of softmax weights over all experts have a factor in common, the share of the chosen ones. Where
    ``only_normed``, and no shared expert stands beside them, it drops out: gates are as good as renormalised.
    """
    if arch.experts == 1:
        return FeedForward(arch.nonlinearity, arch.width, arch.hidden, inner_norm)
    gates = gates_of(arch)
    if only_normed and not arch.shared_experts and gates.kind == "softmax":
        gates = replace(gates, kind="renormalised")
    return MixtureOfExperts(
        arch.nonlinearity,
        arch.width,
        arch.hidden,
        gates=gates,
        unit_logits=arch.base_gains["ffn.router"],
        shared=SharedExperts(arch.shared_experts, arch.shared_gate),
        factor=arch.routed_scale,
    )


def of_each_token(branch: Branch, arch: Architecture, only_normed: bool) -> FeedForward | Gate | Pointwise:
    """The component of a branch that reads each token by itself.

    Raises:
        AssumptionError: a gate that is one number for each token.
    """
    if branch.kind == "token-gate":
        raise AssumptionError(
            f"a gate of {arch.placement} is one number for each token, which does not average over the "
            "width: networks differ however wide they are; simulate(...) measures them"
        )
    if branch.gates:
        return Gate(next(iter(branch.std)), arch.width)
    if branch.elementwise:
        return Pointwise(branch.kind)
    return feedforward_moments(arch, arch.norm if branch.inner_norm else None, only_normed)


def _rotary(seen: Attends, arch: Architecture) -> Rotary | None:
    """The rotary embedding of a branch's queries and keys, if any."""
    return Rotary(arch.rotary_base, arch.rotary_share) if seen.positions == "rope" else None


def _latents(branch: Branch, arch: Architecture) -> Latents:
    """The latents of the branch.

    Raises:
        AssumptionError: there are norms behind its projections, too.
    """
    ranks = arch.latent_queries, arch.latent_keys
    if ranks != (None, None) and arch.normed(branch):
        raise AssumptionError(
            "norms on queries and keys behind latents are not derived; leave out one of them, or use "
            "simulate(...)"
        )
    queries, keys = (None if rank is None else Latent(rank, arch.norm) for rank in ranks)
    return Latents(queries, keys)


def _head_norm(branch: Branch, arch: Architecture) -> HeadNorm | None:
    """The norms on the branch's queries, keys and values, if any.

    Raises:
        AssumptionError: they run over one head for keys, and over all for queries.
    """
    if not arch.normed(branch):
        return None
    if arch.qk_norm_over == "head":
        return HeadNorm(arch.head_size, arch.norm, epsilon=arch.norm_epsilon)
    if arch.kv_heads == 1:
        raise AssumptionError(
            "norms over the width of kv_heads=1 hold keys to a sphere and not queries, which is not derived; "
            "use qk_norm_over='head', or more kv_heads"
        )
    shared = None if arch.kv_heads is None else arch.kv_heads * arch.head_size
    return HeadNorm(arch.heads_width, arch.norm, shared, arch.norm_epsilon)
