"""Rules that act on the initialisation of weights, or of the embedding."""

from __future__ import annotations

from sympy import Expr, Integer, Rational, log, sqrt

from ...base.arguments import choice
from ..scaling import WEIGHTS, Multipliers, scaling

VALUE_PATH = ("attn.value", "attn.output", "ffn.up", "ffn.gate", "ffn.down")


def output_projections(gain: Expr) -> Multipliers:
    """A factor on attn.output and ffn.down."""
    return Multipliers(gains={"attn.output": gain, "ffn.down": gain})


def matrices(names: tuple[str, ...], gain: Expr) -> Multipliers:
    """A factor on the named matrices."""
    return Multipliers(gains=dict.fromkeys(names, gain))


@scaling("unit", title="no scaling", source="arXiv:1706.03762", year=2017)
def unit(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """Every multiplier is one."""
    return Multipliers()


@scaling("gpt2", title="output projections / sqrt(2L)", source="GPT-2 (Radford et al., 2019)", year=2019)
def gpt2(sublayer: str, l: Expr, L: Expr, d: Expr, *, on: str = "both") -> Multipliers:
    """Output projections (attn.output, ffn.down) x 1/sqrt(2L): the variance that all 2L branches add
    together does not depend on depth. Also Megatron's scaled initialisation. on=attention and on=ffn are
    that of one kind of branch alone."""
    kinds = {"both": ("attn.output", "ffn.down"), "attention": ("attn.output",), "ffn": ("ffn.down",)}
    return matrices(kinds[choice("branches that the rule acts on", on, kinds)], 1 / sqrt(2 * L))


@scaling("depth-scaled-init", title="output projections / sqrt(L)", source="arXiv:2601.22580", year=2026)
def depth_scaled_init(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """Output projections (attn.output, ffn.down) x 1/sqrt(L): a reading of SpanNorm's Scale Init.

    Known of the original: it is an initialisation rule that depends on depth, derived by controlling
    the variance of each residual branch, and training collapses without it. Not known: its exponent,
    its constant, and which matrices it touches. The exponent here is inferred, since a branch variance
    proportional to 1/L is the rate at which the identity path's gain stays bounded; the constant 1 is
    a choice."""
    return output_projections(1 / sqrt(L))


@scaling(
    "inverse-layer-logits",
    title="logits / (l+1)",
    source="https://github.com/stanford-crfm/mistral",
    year=2021,
)
def inverse_layer_logits(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """Logits of block l over l + 1, l its zero-based index, as GPT-2's scale_attn_by_inverse_layer_idx: what
    attn.query puts out x 1/(l+1). Goes beside another rule, as gpt2+inverse-layer-logits."""
    return Multipliers(outputs={"attn.query": 1 / (l + 1)})


@scaling("mitchell", title="output projections / sqrt(2(l+1))", source="arXiv:2402.00838", year=2024)
def mitchell(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """Output projections x 1/sqrt(2(l+1)), l the zero-based block index (OLMo's "mitchell")."""
    return output_projections(1 / sqrt(2 * (l + 1)))


@scaling(
    "olmo-llama",
    title="output and up projections / sqrt(2L)",
    source="https://github.com/allenai/OLMo-core",
    year=2024,
)
def olmo_llama(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """The "llama" initialisation of OLMo-core: attn.output, ffn.down and ffn.up x 1/sqrt(2L). Of a gated
    branch, up is the factor that is not the gate, and the branch's variance falls as 1/(2L)^2."""
    return matrices(("attn.output", "ffn.down", "ffn.up"), 1 / sqrt(2 * L))


@scaling(
    "olmo-llama-depth",
    title="output and up projections / sqrt(2(l+1))",
    source="https://github.com/allenai/OLMo-core",
    year=2024,
)
def olmo_llama_depth(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """The "llama_depth" initialisation of OLMo-core: as olmo-llama, with the block's own index."""
    return matrices(("attn.output", "ffn.down", "ffn.up"), 1 / sqrt(2 * (l + 1)))


@scaling("ds-init", title="all weights / sqrt(l+1)", source="arXiv:1908.11365", year=2019)
def ds_init(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """Depth-scaled initialisation as the paper states it: the bound of every weight x 1/sqrt(l+1)."""
    return matrices(WEIGHTS, 1 / sqrt(l + 1))


@scaling(
    "ds-init-code", title="all weights / (l+1)^(1/4)", source="https://github.com/bzhangGo/zero", year=2019
)
def ds_init_code(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """The published code of DS-Init: the variance scale, not the bound, x (l+1)^(-1/2)."""
    return matrices(WEIGHTS, (l + 1) ** Rational(-1, 4))


@scaling(
    "b2t-code", title="all weights / sqrt(L)", source="https://github.com/takase/b2t_connection", year=2022
)
def b2t_code(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """The published code of B2T: every weight outside norms x 1/sqrt(L)."""
    return matrices(WEIGHTS, 1 / sqrt(L))


@scaling(
    "deepnorm-init",
    title="value path x (8L)^(-1/4)",
    source="arXiv:2203.00555",
    year=2022,
)
def deepnorm_init(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """DeepNorm's beta for a decoder or an encoder of L blocks: all weights but queries and keys
    x (8L)^(-1/4), on a Xavier initialisation. With the placement deepnorm, whose skips carry alpha."""
    return matrices(VALUE_PATH, (8 * L) ** Rational(-1, 4))


@scaling("sub-ln", title="value path x sqrt(ln 2L)", source="arXiv:2210.06423", year=2022, only=("sub-ln",))
def sub_ln(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """Magneto's gamma for a decoder or an encoder: all weights but queries and keys x sqrt(ln 2L). It
    grows with depth; the norm in front of each branch's last matrix holds the branch to gamma^2."""
    return matrices(VALUE_PATH, sqrt(log(2 * L)))


def _fixup_embedding(L: Expr, d: Expr) -> Expr:
    return (9 * L) ** Rational(-1, 4)


@scaling(
    "t-fixup",
    title="value path x 0.67 L^(-1/4)",
    source="Huang et al., ICML 2020",
    year=2020,
    embedding=_fixup_embedding,
    only=("no-norm",),
)
def t_fixup(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """T-Fixup of an encoder: all weights but queries and keys x 0.67 L^(-1/4), on a Xavier
    initialisation, and the embedding x (9L)^(-1/4). It replaces norms, so it needs a stack without."""
    return matrices(VALUE_PATH, Rational(67, 100) * L ** Rational(-1, 4))


@scaling(
    "t-fixup-decoder",
    title="value path x (9L)^(-1/4)",
    source="Huang et al., ICML 2020",
    year=2020,
    embedding=_fixup_embedding,
    only=("no-norm",),
)
def t_fixup_decoder(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """T-Fixup of a decoder: as of an encoder, with (9L)^(-1/4)."""
    return matrices(VALUE_PATH, (9 * L) ** Rational(-1, 4))


@scaling(
    "t-fixup-code",
    title="t-fixup, queries and keys / sqrt(2)",
    source="https://github.com/layer6ai-labs/T-Fixup",
    year=2020,
    embedding=_fixup_embedding,
    only=("no-norm",),
)
def t_fixup_code(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """The published code of T-Fixup: its library draws queries, keys and values with gain 1/sqrt(2), and it
    multiplies values by sqrt(2) again, not queries and keys."""
    return t_fixup(sublayer, l, L, d) * matrices(("attn.query", "attn.key"), 1 / sqrt(2))


@scaling("fixup", title="first matrices / sqrt(2L), last ones 0", source="arXiv:1901.09321", year=2019)
def fixup(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """Fixup with 2L branches of two matrices each: attn.value and ffn.up (and gate) x 1/sqrt(2L), and
    attn.output and ffn.down zero, so that the stack is the identity."""
    first = matrices(("attn.value", "ffn.up", "ffn.gate"), 1 / sqrt(2 * L))
    return first * output_projections(Integer(0))


@scaling(
    "fixup-code",
    title="queries, keys, values (2L)^(-1/6), ffn (2L)^(-1/2), last ones 0",
    source="https://github.com/hongyi-zhang/Fixup/issues/8",
    year=2019,
)
def fixup_code(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """Fixup as its authors count attention, a branch of four matrices, so that attn.query, attn.key and
    attn.value x (2L)^(-1/6) for 2L branches; the feed-forward branch has two, as in fixup, and attn.output
    and ffn.down are zero."""
    attention = matrices(("attn.query", "attn.key", "attn.value"), (2 * L) ** Rational(-1, 6))
    ffn = matrices(("ffn.up", "ffn.gate"), 1 / sqrt(2 * L))
    return attention * ffn * output_projections(Integer(0))


@scaling("small-init", title="std sqrt(2/(5d))", source="arXiv:1910.05895", year=2019)
def small_init(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """SmallInit: standard deviation sqrt(2/(5d)) in every matrix, that is sqrt(2/5) times fan-in
    initialisation, and sqrt(8/5) times it in ffn.down with a hidden layer of 4d."""
    return Multipliers(std=dict.fromkeys(WEIGHTS, sqrt(2 / (5 * d))))


@scaling(
    "wang",
    title="output projections of std 2/(L sqrt(d))",
    source="https://github.com/EleutherAI/gpt-neox",
    year=2021,
)
def wang(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """SmallInit with output projections of standard deviation 2/(L sqrt(d)): 2/L times fan-in
    initialisation in attn.output, and 4/L times it in ffn.down with a hidden layer of 4d."""
    small = dict.fromkeys(WEIGHTS, sqrt(2 / (5 * d)))
    return Multipliers(std={**small, **dict.fromkeys(("attn.output", "ffn.down"), 2 / (L * sqrt(d)))})
