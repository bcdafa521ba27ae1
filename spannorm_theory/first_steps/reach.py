"""Which architectures the theory of the first step is derived for."""

from __future__ import annotations

from ..base.errors import AssumptionError
from ..spec.architecture import Architecture
from .optimisers import Optimiser


def require_derived(arch: Architecture, rule: Optimiser) -> None:
    """Refuse what no step of a matrix is derived for.

    Raises:
        AssumptionError: naming it, and what to do.
    """
    if reason := _refused(arch, rule):
        raise AssumptionError(f"the first step is not derived for {reason}; use networks= to measure it")


def _refused(arch: Architecture, rule: Optimiser) -> str:
    traces = [trace for trace, _ in arch.wirings[0]]
    if arch.experts > 1:
        return f"experts={arch.experts}"
    if arch.latent_queries or arch.latent_keys:
        return "latents"
    if arch.attention_gate:
        return "attention_gate=True"
    if arch.dropout or arch.attention_dropout:
        return "dropout"
    if arch.reads_ids:
        return f"inputs={arch.inputs!r}"
    branches = [branch for trace in traces for branch in trace.branches]
    if any(branch.elementwise for branch in branches):
        return "element-wise functions in a norm's place"
    if any(branch.gates for branch in branches):
        return f"the gates of {arch.placement}"
    if any(branch.inner_norm for branch in branches):
        return f"{arch.placement}, with norms in front of a branch's last matrix"
    if arch.kv_heads not in (None, arch.heads):
        return f"kv_heads={arch.kv_heads}, keys and values that several heads share"
    if not rule.entrywise and arch.batch * arch.tokens > min(arch.width, arch.hidden):
        return (
            f"{rule.name} with batch x tokens = {arch.batch * arch.tokens} above the width, where G has no "
            "rank of tokens"
        )
    return ""


def passes_changes(arch: Architecture) -> bool:
    """Whether changes are passed through every branch: those of rotated queries and keys, of attention sinks,
    and of LayerNorm on heads or norms over all of them are not."""
    branches = [branch for trace, _ in arch.wirings[0] for branch in trace.branches]
    normed = any(arch.normed(branch) for branch in branches if branch.kind == "attention")
    rotated = any(seen.positions == "rope" for seen in arch.attentions)
    return not (rotated or arch.sinks or (normed and (arch.norm == "layer" or arch.qk_norm_over == "width")))
