# %% [markdown]
# # Rank collapse
#
# Attention averages. Averaged often enough, all tokens become one vector, and a sequence of n tokens has
# rank one. Norms and skips decide how fast. This notebook follows three measures of it against depth, looks
# at the whole spectrum of singular values, and asks how small branches must be to avoid the collapse. It ends
# with a branch that resists without being small: a router over experts.

# %%
import os

import pandas as pd
from IPython.display import Markdown
from sympy import Rational

import spannorm_theory as st

SIZE = os.environ.get("SPANNORM_SIZE", "normal")  # "small" takes seconds, "full" wants a GPU
NETWORKS, SHAPE = {
    "small": (4, {"depth": 4, "width": 64, "heads": 4, "tokens": 8}),
    "normal": (16, {"depth": 24, "width": 256, "heads": 8, "tokens": 32}),
    "full": (256, {"depth": 96, "width": 1024, "heads": 16, "tokens": 64}),
}[SIZE]
FEW = max(4, NETWORKS // 2)  # where points are looked at, and nothing is decided
PLACEMENTS = ("no-norm", "pre-norm", "post-norm", "span-norm", "siamese-norm")

# %% [markdown]
# ## Three measures of one thing
#
# The token cosine ρ (the mean cosine between two tokens' vectors) goes to one; the effective rank, the
# exponential of the entropy of the squared singular values, goes from n to one; the residual is the share of
# the representation that is not its token mean. Where a line ends, the theory declines to predict: for the
# effective rank, where the spread of token pairs around their mean has become too large for its leading
# order; without norms, where logits have grown so far that attention picks single keys.

# %%
found = [st.verify(st.Architecture(name, **SHAPE), networks=NETWORKS) for name in PLACEMENTS]
measures = ["token_cosine", "rank_residual", "effective_rank"]
st.plot.comparison(found, measures)

# %%
Markdown(st.plot.caption(found, measures, figure="comparison"))

# %%
for result in found:
    collapsed = st.depth_where(result, "token_cosine", above=0.9)
    where = "never" if collapsed is None else f"from block {collapsed} on"
    print(f"{result.arch.placement:14s} cosine above 0.9 by theory: {where}")

# %% [markdown]
# PostNorm divides the skip at every sublayer and collapses first. SpanNorm's skip crosses one norm in each
# block and collapses later. PreNorm's growing stream makes each update smaller than the last. SiameseNorm
# keeps a stream that hardly moves. The laws for large depth of (1 − ρ_L)/(1 − ρ_0), the share of the
# distance from rank one that survives L blocks, follow from the same definitions (`Theta` is "of the order
# of"; σ² and ω² are a branch's forward and backward gain, `_a` of attention and `_f` of the feed-forward
# branch):

# %%
for name in PLACEMENTS:
    law = str(st.derive(name).asymptotics()["collapse"])
    print(f"{name:14s}", law.split(", constant")[0])

# %% [markdown]
# ## The spectrum
#
# One number hides which directions are lost. Singular values, in falling order and over the Frobenius norm:
# at the input (light) they follow the Marchenko-Pastur law of independent tokens. Deeper (darker), one value,
# the token mean's, separates from the rest: it takes the energy, and the rest keeps its shape.


# %%
def spectrum(placement):
    table = st.spectra(st.Architecture(placement, **SHAPE), networks=FEW)
    return lambda ax: st.plot.spectrum(table, ax=ax, names=False)


shown = ("pre-norm", "span-norm", "post-norm")
st.plot.panels({st.placements()[name].title: spectrum(name) for name in shown}, share="xy")

# %% [markdown]
# ## How small must a branch be?
#
# A scaling rule of your own: every branch times a constant α. Theory only, so that depth costs nothing. Where
# the branch is scaled by 1/√(2L), the collapse stops depending on depth at all.

# %%
DEPTHS = (8, 128)


def constant(alpha):
    def rule(sublayer, l, L, d):
        return st.Multipliers(branch=alpha)

    name = f"branches-by-{float(alpha)}"
    st.scaling(name, title=f"branches x {alpha}", source="this notebook", replace=True)(rule)
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
    columns=2,
)

# %% [markdown]
# At a fixed α the collapse is a matter of depth. In PostNorm 1 − ρ falls like exp(−c α² l) with the block
# l. In SpanNorm attention reaches the stream only through the feed-forward branch, so its rate is nearly of
# order α⁴: halving the branches buys it about ten times the depth, where PostNorm gains three. The last
# rule spends the same budget over any number of layers.
#
# ## The map of depth and branch scale
#
# Depth and α span a plane, and the collapse is a front across it. Theory alone, computed on a grid; a contour
# joins stacks whose tokens are equally alike at the output.

# %%
POINTS = 5 if SIZE == "small" else 17


def mapped(placement):
    arch = st.Architecture(placement, **SHAPE)
    return lambda ax: st.plot.branch_map(arch, "token_cosine", points=POINTS, ax=ax)


st.plot.panels({st.placements()[name].title: mapped(name) for name in ("post-norm", "span-norm")}, height=2.4)

# %% [markdown]
# Read one contour: where branches are half as large, the same cosine is reached three times deeper in
# PostNorm, and about ten times in SpanNorm. Small branches do not forbid the collapse; they postpone it.
# Three points of the left map, held against random networks (SE is the standard error of the mean over
# them):

# %%
rows = {}
for rule in rules[:3]:
    result = st.verify(st.Architecture("post-norm", rule, **SHAPE), networks=FEW)
    theory, mean = (1 - st.value_at(one, "token_cosine") for one in (result, result.ensemble))
    at_output = result.table.query("quantity == 'token_cosine' and stream == '0'").iloc[-1]
    rows[rule] = {"1 − ρ, theory": theory, "1 − ρ, Monte Carlo": mean, "SE": at_output["se"]}
pd.DataFrame(rows).T.map("{:.2g}".format)

# %% [markdown]
# ## Which gradients die first
#
# The gradient of queries and keys is driven by differences between tokens. At rank one it is zero: attention
# stops learning where to look while values still learn.

# %%
st.plot.weight_gradients([one for one in found if one.arch.placement in ("pre-norm", "post-norm")])

# %% [markdown]
# ## Dense against Mixture-of-Experts
#
# Equal tokens stay equal in everything seen so far. *Nearly* equal tokens are where experts differ. A router
# sends each token to the k of E experts with the largest logits. Two tokens almost alike may still fall
# on either side of a choice, and then they meet different matrices. Three feed-forward branches: dense, 8
# experts of which 2 are chosen, and Switch, 1 of 8, weighted by the router's softmax over all of them.

# %%
BRANCHES = {
    "dense": {},
    "2 of 8 experts": {"experts": 8, "top_k": 2},
    "Switch, 1 of 8": {"experts": 8, "top_k": 1, "gates": "softmax"},
}


def against_experts(placement, **shape):
    tables = []
    for title, branch in BRANCHES.items():
        arch = st.Architecture(placement, **{**SHAPE, **shape}, **branch)
        # the figure names and colours curves by this column
        tables.append(st.verify(arch, networks=FEW).table.assign(scaling=title))
    return lambda ax: st.plot.rank_collapse(tables, ax=ax, per="scaling", names=False)


st.plot.panels(
    {st.placements()[name].title: against_experts(name) for name in ("post-norm", "pre-norm")}, share="y"
)

# %% [markdown]
# PostNorm's dense curve falls without end. In theory (lines), experts make it level off. PreNorm's curves
# hardly part: its stream grows, and each block moves the cosine less than the block before.
#
# Where a line levels off is a fixed point of the map that takes ρ in front of a block to ρ behind it. It
# attracts if the slope of the map there is below one in size. `st.fixed_points` finds them, those of the last
# block:

# %%
for title, branch in BRANCHES.items():
    for point in st.fixed_points(st.Architecture("post-norm", **SHAPE, **branch)):
        does = "attracts" if point.attracts else "repels"
        print(f"{title:15s} 1 - rho* = {1 - point.rho:<7.2g} slope {point.slope:<7.2g} {does}")

# %% [markdown]
# In a dense stack ρ = 1 attracts, and that is rank collapse. With experts ρ = 1 repels. The share of
# choices on which two tokens disagree grows like √(1 − ρ), so the overlap of their experts falls with
# infinite slope at ρ = 1. (The numbers above are slopes a billionth away from it.) A square root beats
# anything proportional to 1 − ρ: as tokens come together, routing pushes them apart faster than attention
# pulls. The balance is a second fixed point ρ*, which attracts. In the mean, PostNorm's collapse stops at 1
# − ρ* ≈ 0.02 for 2 of 8 experts, and at 0.002 for Switch. Switch stops later because its one expert is
# multiplied by a probability well below one, which makes the branch that separates tokens small.
#
# Now three times as deep, and the points matter more than the lines.

# %%
DEEP = {"depth": 3 * SHAPE["depth"], "width": 64, "heads": 4, "tokens": 16}
st.plot.panels({"PostNorm, three times as deep": against_experts("post-norm", **DEEP)}, width=4.5)

# %% [markdown]
# Random networks linger at the fixed point and then leave it downwards. The map is one of means, and near
# ρ = 1 the mean says little about a network. Its tokens mostly agree on every choice, and then nothing
# separates them; now and then a choice is close, and some tokens jump far. A network that misses such jumps
# for a few blocks comes so near ρ = 1 that the next one is unlikely: its chance falls as √(1 − ρ).
# So experts delay PostNorm's collapse for a good number of blocks. They do not abolish it.
