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
    if any(branch.elementwise for trace in traces for branch in trace.branches):
        return "element-wise functions in a norm's place"
    if not rule.entrywise and arch.batch * arch.tokens > min(arch.width, arch.hidden):
        return (
            f"{rule.name} with batch x tokens = {arch.batch * arch.tokens} above the width, where G has no "
            "rank of tokens"
        )
    return ""


def undivided(arch: Architecture) -> bool:
    """Whether changes are passed through every branch; norms over heads of one width are, rotations, windows
    of rotated keys, norms in front of the last matrix and grouped keys are not."""
    branches = [branch for trace, _ in arch.wirings[0] for branch in trace.branches]
    rotated = any(seen.positions == "rope" for seen in arch.attentions)
    return not (
        rotated
        or arch.sinks
        or any(branch.inner_norm for branch in branches)
        or arch.heads_width != arch.width
        or (arch.kv_heads or arch.heads) != arch.heads
        or arch.norm == "layer"
        or arch.qk_norm_over == "width"
    )
