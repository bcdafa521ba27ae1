# %% [markdown]
# # Rank collapse
#
# Attention averages. Averaged often enough, all tokens become one vector, and a sequence of $n$ tokens has
# rank one. Norms and skips decide how fast. This notebook follows three measures of it against depth, looks
# at the whole spectrum of singular values, and asks how small branches must be to avoid the collapse.

# %%
import os

from sympy import Rational

import spannorm_theory as st
from spannorm_theory.theory.laws import COLLAPSE

SIZE = os.environ.get("SPANNORM_SIZE", "normal")  # "small" takes seconds, "full" wants a GPU
NETWORKS, SHAPE = {
    "small": (4, {"depth": 4, "width": 64, "heads": 4, "tokens": 8}),
    "normal": (16, {"depth": 24, "width": 256, "heads": 8, "tokens": 32}),
    "full": (256, {"depth": 96, "width": 1024, "heads": 16, "tokens": 64}),
}[SIZE]
PLACEMENTS = ("no-norm", "pre-norm", "post-norm", "span-norm", "hybrid-norm", "siamese-norm")

# %% [markdown]
# ## Three measures of one thing
#
# The token cosine $\rho$ goes to one; the effective rank goes from $n$ to one; the residual is the share of
# the representation that is not its token mean. Where a line ends, the theory declines to predict: for the
# effective rank, where the spread of token pairs around their mean has become too large for its leading
# order; without norms, where logits have grown so far that attention picks single keys.

# %%
tables = [st.verify(st.Architecture(name, **SHAPE), networks=NETWORKS).table for name in PLACEMENTS]
st.plot.comparison(tables, ["token_cosine", "rank_residual", "effective_rank"])

# %% [markdown]
# PostNorm divides the skip at every sublayer and collapses first. SpanNorm's skip crosses one norm in each
# block and collapses later. PreNorm's growing stream makes each update smaller than the last. SiameseNorm
# keeps a stream that hardly moves. The laws of $(1-\rho_L)/(1-\rho_0)$ for large depth follow from the same
# definitions:

# %%
for name in PLACEMENTS:
    law = str(st.derive(name).asymptotics()[COLLAPSE])
    print(f"{name:14s}", law.split(", constant")[0])

# %% [markdown]
# ## The spectrum
#
# One number hides which directions are lost. Singular values, in falling order and over the Frobenius norm:
# at the input they follow the Marchenko-Pastur law of independent tokens (light). Deeper (darker), one
# value, the token mean's, separates from the rest: the spike takes the energy, and the bulk keeps its shape.


# %%
def spectrum(placement):
    table = st.spectra(st.Architecture(placement, **SHAPE), networks=NETWORKS)
    return lambda ax: st.plot.spectrum(table, ax=ax, names=False)


shown = ("pre-norm", "span-norm", "post-norm")
st.plot.panels({st.placements()[name].title: spectrum(name) for name in shown}, share="xy")

# %% [markdown]
# ## How small must a branch be?
#
# A scaling rule of your own: every branch times a constant $\alpha$. Theory only, so that depth costs
# nothing. Where the branch is scaled by $1/\sqrt{2L}$, the collapse stops depending on depth at all.

# %%
DEPTHS = (8, 64, 512)


def constant(alpha):
    def rule(sublayer, l, L, d):
        return st.Multipliers(branch=alpha)

    name = f"branches x {alpha}"
    st.scaling(name, title=name, source="this notebook", replace=True)(rule)
    return name


rules = [constant(Rational(1, k)) for k in (1, 2, 4, 8)] + ["branch-sqrt-depth"]


def predictions(placement, depth):
    return [st.predict(st.Architecture(placement, rule, **{**SHAPE, "depth": depth})) for rule in rules]


def draw(placement, depth):
    return lambda ax: st.plot.rank_collapse(predictions(placement, depth), ax=ax, per="scaling", names=False)


st.plot.panels(
    {
        f"{st.placements()[name].title}, $L={depth}$": draw(name, depth)
        for name in ("post-norm", "span-norm")
        for depth in DEPTHS
    },
)

# %% [markdown]
# At a fixed $\alpha$ the collapse is a matter of depth. In PostNorm $1-\rho$ falls like $\exp(-c\,\alpha^2
# l)$. In SpanNorm attention reaches the stream only through the feed-forward branch, so its rate is nearly
# of order $\alpha^4$: halving the branches buys it about ten times the depth, where PostNorm gains three.
# The last rule spends the same budget over any number of layers.
#
# ## Which gradients die first
#
# The gradient of queries and keys is driven by differences between tokens. At rank one it is zero: attention
# stops learning where to look while values still learn.

# %%
st.plot.weight_gradients([t for t in tables if t["placement"].iloc[0] in ("pre-norm", "post-norm")])
