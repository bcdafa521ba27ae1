"""Facts of a user's module beside the core of an architecture: fields where there are any, gaps else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from ..models.settle import Fact
from .behaviour import activation_of
from .norms import NOTICEABLE
from .repeats import equal_pieces, frozen, shared
from .structure import Structure

#: how the features of norms that are not alike begin
OTHER_NORMS = "norms of different"

#: the feature of a module whose parts do not show its heads
UNKNOWN_HEADS = "the number of heads"

#: roles that an architecture does not have: what they are, and what they do
ROLES: Mapping[str, tuple[str, str]] = {
    "attn.rotary_key": (
        "keys whose rotating part is one for all heads, and has no latent",
        "logits have another variance, and squared gradients of keys are more than the model's",
    ),
    "attn.gate": ("an output gate on attention", "attention's second moment is about a quarter with it"),
    "ffn.shared_gate": ("a gate on the shared expert", "its second moment is about a quarter with it"),
    "cross.query": ("cross-attention", "a second branch that reads another stream is not modelled"),
}


def shape_facts(s: Structure, given: Container[str]) -> Iterator[Fact]:
    """What the module's shapes say beside the core of an architecture, which its configuration says better
    where there is one; fields that the user has ``given`` are no question."""
    heads, own = s.heads("attn.query") or s.sizes.heads, s.head_width
    if heads is None or own is None:
        if "heads" not in given:
            yield Fact(UNKNOWN_HEADS, "the module does not say it: state heads")
    elif heads * own != s.width:
        yield Fact(
            f"heads of width {own} where width / heads is {s.width / heads:g}",
            f"with one std for all matrices attention's second moment is off by {heads * own / s.width:.3g}",
            {"heads": heads, "head_width": own},
        )
    yield from _latents(s)
    yield from _inner_norms(s)
    if "activation" not in given and activation_of(s.blocks.modules[-1][1], "ffn.gate" in s.roles) is None:
        yield Fact("the activation", "no module or configuration says it: state activation")
    for role, (feature, effect) in ROLES.items():
        if role in s.roles:
            yield Fact(feature, effect)
    for role in s.roles:
        have = len({m.layer for m in s.measured if m.role == role})
        if have < len(s.called):
            yield Fact(f"{role} in {have} of {len(s.called)} blocks", "blocks differ in kind")
    if any(name.endswith("sinks") for name, _ in s.blocks.first.named_parameters()):
        effect = "row sums of attention are below one, most at the first tokens"
        yield Fact("attention sinks", effect, {"sinks": True})


def _latents(s: Structure) -> Iterator[Fact]:
    for name, rank in s.latents.items():
        feature = f"{name.replace('_', ' ')} of {rank} coordinates"
        if any(norm.size == rank for norm in s.norms):
            yield Fact(feature, "second moments are off by the gain of one matrix", {name: rank})
        else:
            yield Fact(f"{feature} without a norm", "second moments have the gain of one more matrix")


def _inner_norms(s: Structure) -> Iterator[Fact]:
    query, value = s.norms_within("query"), s.norms_within("value")
    if query:
        over = {} if query[0].size == s.head_width else {"qk_norm_over": "width"}
        name = "qkv_norm" if value else "qk_norm"
        effect = "logits' second moments are off by those of queries and keys"
        yield Fact("norms of queries and keys", effect, {name: True, **over})


def tensor_facts(s: Structure, given: Mapping[str, Any]) -> Iterator[Fact]:
    """What the module's tensors say, and no configuration does.

    Args:
        given: fields that are stated.
    """
    if s.streams > 1:
        yield Fact(f"{s.streams} streams", "the placement must have as many")
    if s.causal is None and "mask" not in given:
        yield Fact("the mask", "it could not be tried on these inputs: state mask")
    yield from _norm_facts(s)
    unknown = sorted({name for block in s.matrices for name in block.unknown})
    guessed = sorted({name for block in s.matrices for name in block.guessed})
    if unknown:
        feature = f"parameters without a role: {_listed(unknown)}"
        yield Fact(feature, "they are not in the architecture")
    if guessed:
        feature = f"roles of {_listed(guessed)} are taken from shape and order"
        yield Fact(feature, "names say nothing of them")
    copied = _copied(s)
    if copied:
        effect = "they are not independent: what passes them adds up, which theory leaves out"
        yield Fact(f"{_listed(copied)} hold the numbers of another block", f"{effect}{_measured_by(s)}")
    yield from _not_drawn(s)
    biased = sorted({m.role for m in s.measured if m.bias > 1e-6})
    if biased:
        effect = "they add one vector to every token, and no theory has them"
        yield Fact(f"biases on {', '.join(biased)}", effect)


def _not_drawn(s: Structure) -> Iterator[Fact]:
    """Parameters that are not drawn on their own, or not trained; outside the blocks without effect."""
    equal = equal_pieces(s)
    if equal:
        effect = "they are not independent draws: what passes them adds up, and no theory has that"
        yield Fact(f"{_listed(equal)} hold the same numbers", effect)
    twice, outside = shared(s.model, s.blocks)
    if twice:
        yield Fact(f"one parameter: {_listed(twice)}", "matrices are not independent, and no theory has that")
    if outside:
        yield Fact(f"one parameter: {_listed(outside)}")
    inside, others = frozen(s.model, s.blocks)
    if inside:
        effect = "weight gradients are predicted and measured that training does not have"
        yield Fact(f"without gradient: {_listed(inside)}", effect)
    if others:
        yield Fact(f"without gradient: {_listed(others)}")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"{', '.join(names[:4])}{more}"


def _copied(s: Structure) -> list[str]:
    """Paths of blocks whose matrices are those of a block before."""
    known: set[tuple[float, ...]] = set()
    result = []
    for layer, path in enumerate(s.called):
        moments = _moments_at(s, layer)
        if any(moments) and moments in known:
            result.append(path)
        known.add(moments)
    return list(dict.fromkeys(result))


def _measured_by(s: Structure) -> str:
    """Where blocks repeat with a period, how random networks with such blocks are measured."""
    by_layer = [_moments_at(s, layer) for layer in range(len(s.called))]
    period = next((k for k in range(1, len(by_layer)) if by_layer[k:] == by_layer[:-k]), None)
    if period is None:
        return ""
    copied = "" if len(set(s.called)) < len(s.called) or _one_parameter(s) else ", copied=True"
    return f"; simulate(arch.with_(unique_blocks={period}{copied})) has it"


def _one_parameter(s: Structure) -> bool:
    """Whether blocks are other modules of the same parameters."""
    modules = dict(s.blocks.modules)
    first, last = (next(modules[path].parameters(), None) for path in (s.called[0], s.called[-1]))
    return first is not None and first is last


def _moments_at(s: Structure, layer: int) -> tuple[float, ...]:
    """What tells the matrices of a block from those of others."""
    return tuple(x for m in s.measured if m.layer == layer for x in (m.second, m.fourth, m.largest))


def _norm_facts(s: Structure) -> Iterator[Fact]:
    inside = [norm for of in ("query", "key", "value") for norm in s.norms_within(of)]
    norms = [*s.stream_norms, *inside]
    shares = {n.name: n.epsilon / s.moments[n.name] for n in norms if s.moments.get(n.name)}
    counts = Counter(float(f"{n.epsilon:.2g}") for n in norms)
    epsilon = max(counts, key=lambda e: (counts[e], e), default=0.0)  # that of most norms
    own = {name: share for name, share in shares.items() if not s.called_norms.tells(name, epsilon)}
    worst = max(own, key=lambda name: own[name], default=None)
    if worst is not None and own[worst] > NOTICEABLE:
        effect = f"it is {_share(own[worst])} the second moment in front of {worst}"
        yield Fact(f"epsilon {epsilon:g} in norms", effect, {"norm_epsilon": epsilon})
    others = [n for n in norms if n.name in shares and n.name not in own]
    if others:
        odd = [f"{n.name} ({n.epsilon:.2g})" for n in others]
        effect = f"theory has {epsilon:.2g} in all"
        yield Fact(f"{OTHER_NORMS} epsilons: {_listed(odd)}", effect)
    norms = s.stream_norms
    gains = [norm.gain for norm in norms]
    if gains and max(abs(g - 1) for g in gains) > 1e-3:
        if max(gains) - min(gains) < 1e-3 * max(gains):
            gain = float(f"{gains[0]:.5g}")
            effect = f"second moments of branches are off by {gain**2:.3g} times"
            yield Fact(f"norms of gain {gain:g}", effect, {"norm_gain": gain})
        else:
            odd = [f"{n.name} ({n.gain:.3g})" for n in norms if abs(n.gain - 1) > 1e-3]
            yield Fact(f"{OTHER_NORMS} gains: {_listed(odd)}", "their branches are scaled by them")
    if any(norm.bias > 1e-6 for norm in s.norms):
        yield Fact("biases of norms", "they add one vector to every token")
    if s.strange_norms:
        yield Fact(
            f"{_listed(s.strange_norms)}: called norms, and none of one tensor",
            "left out of what is read",
        )


def _share(share: float) -> str:
    return f"{100 * share:.2g} % of" if share < 1 else f"{share:.3g} times"
