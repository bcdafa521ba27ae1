# %% [markdown]
# # Rank collapse
#
# Attention averages. Averaged often enough, all tokens become one vector, and a sequence of $n$ tokens has
# rank one. Norms and skips decide how fast. This notebook follows three measures of it against depth, looks
# at the whole spectrum of singular values, and asks how small branches must be to avoid the collapse. It ends
# with a branch that resists without being small: a router over experts.

# %%
import os
from concurrent.futures import ThreadPoolExecutor
from tempfile import TemporaryDirectory

from sympy import Rational

import spannorm_theory as st
from spannorm_theory.prediction.fixed_points import fixed_points
from spannorm_theory.report.phase_presets import preset

SIZE = os.environ.get("SPANNORM_SIZE", "normal")  # "small" takes seconds, "full" wants a GPU
NETWORKS, SHAPE = {
    "small": (4, {"depth": 4, "width": 64, "heads": 4, "tokens": 8}),
    "normal": (16, {"depth": 24, "width": 256, "heads": 8, "tokens": 32}),
    "full": (256, {"depth": 96, "width": 1024, "heads": 16, "tokens": 64}),
}[SIZE]
FEW = max(4, NETWORKS // 2)  # where many architectures are measured
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
    law = str(st.derive(name).asymptotics()["collapse"])
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
)

# %% [markdown]
# At a fixed $\alpha$ the collapse is a matter of depth. In PostNorm $1-\rho$ falls like $\exp(-c\,\alpha^2
# l)$. In SpanNorm attention reaches the stream only through the feed-forward branch, so its rate is nearly
# of order $\alpha^4$: halving the branches buys it about ten times the depth, where PostNorm gains three.
# The last rule spends the same budget over any number of layers.
#
# ## The phase diagram
#
# Depth and branch scale span a plane, and PostNorm's collapse is a front across it. `spannorm sweep --preset
# depth-branch` measures the whole plane and keeps it in a store; here are a part of it, few networks, and a
# store that is thrown away. On the left the theory as contours; on the right random networks, one cell for
# each architecture, under the same contours.

# %%
plane = preset("depth-branch")
deepest, scales = (
    (8, (0.25, 0.5, 1.0)) if SIZE == "small" else (48, (0.125, 0.25, 0.375, 0.5, 0.75, 1.0, 2.0))
)
part = [arch for (depth, scale), arch in plane.points.items() if depth <= deepest and scale in scales]
with TemporaryDirectory() as store, ThreadPoolExecutor(1) as executor:
    # in this process; without an executor a sweep starts one process for each core
    sweep = st.sweep(part, FEW, executor, store, device="cpu", progress=False)
    measured = plane.table(sweep.table)
left, right = st.plot.phase_diagram(
    measured, plane.x, plane.y, plane.quantity, labels=plane.labels, title=plane.title
)
left.figure

# %% [markdown]
# Colours that agree on both sides are a theory that holds. The parameters are evenly spaced on the axes, so
# the distances between ticks mean nothing. Read one contour: where branches are half as large, the same
# cosine is reached several times deeper. Small branches do not forbid the collapse; they postpone it.
#
# ## Which gradients die first
#
# The gradient of queries and keys is driven by differences between tokens. At rank one it is zero: attention
# stops learning where to look while values still learn.

# %%
st.plot.weight_gradients([t for t in tables if t["placement"].iloc[0] in ("pre-norm", "post-norm")])

# %% [markdown]
# ## Dense against Mixture-of-Experts
#
# Equal tokens stay equal in everything seen so far. *Nearly* equal tokens are where experts differ. A router
# sends each token to the $k$ of $E$ experts with the largest logits. Two tokens almost alike may still fall
# on either side of a choice, and then they meet different matrices. Three feed-forward branches: dense, 8
# experts of which 2 are chosen, and Switch, 1 of 8, weighted by the router's softmax over all of them.

# %%
BRANCHES = {
    "dense": {},
    "2 of 8 experts": {"experts": 8, "top_k": 2},
    "Switch, 1 of 8": {"experts": 8, "top_k": 1, "gates": "softmax"},
}


def against_experts(placement, **shape):
    found = []
    for title, branch in BRANCHES.items():
        arch = st.Architecture(placement, **{**SHAPE, **shape}, **branch)
        # the figure names and colours curves by this column
        found.append(st.verify(arch, networks=FEW).table.assign(scaling=title))
    return lambda ax: st.plot.rank_collapse(found, ax=ax, per="scaling", names=False)


st.plot.panels(
    {st.placements()[name].title: against_experts(name) for name in ("post-norm", "pre-norm")}, share="y"
)

# %% [markdown]
# PostNorm's dense curve falls without end. In theory (lines), experts make it level off. PreNorm's curves
# hardly part: its stream grows, and each block moves the cosine less than the block before.
#
# Where a line levels off is a fixed point of the map that takes the mean $\rho$ over one block. It attracts
# if the slope there is below one.

# %%
for title, branch in BRANCHES.items():
    for point in fixed_points(st.Architecture("post-norm", **SHAPE, **branch)):
        does = "attracts" if point.attracts else "repels"
        print(f"{title:15s} 1 - rho* = {1 - point.rho:<7.2g} slope {point.slope:<7.2g} {does}")

# %% [markdown]
# In a dense stack $\rho=1$ attracts, and that is rank collapse. With experts $\rho=1$ repels. The share of
# choices on which two tokens disagree grows like $\sqrt{1-\rho}$, so the overlap of their experts falls with
# infinite slope at $\rho=1$. (The numbers above are slopes a billionth away from it.) A square root beats
# anything proportional to $1-\rho$: as tokens come together, routing pushes them apart faster than attention
# pulls. The balance is a second fixed point, which attracts. In the mean, PostNorm's collapse stops at
# $1-\rho^\star\approx0.02$ for 2 of 8 experts, and at 0.002 for Switch. Switch stops later because its one
# expert is multiplied by a probability well below one, which makes the branch that separates tokens small.
#
# Now three times as deep, and the points matter more than the lines.

# %%
DEEP = {"depth": 3 * SHAPE["depth"], "width": 64, "heads": 4, "tokens": 16}
st.plot.panels({"PostNorm, three times as deep": against_experts("post-norm", **DEEP)}, width=4.5)

# %% [markdown]
# Random networks linger at the fixed point and then leave it downwards. The map is one of means, and near
# $\rho=1$ the mean says little about a network. Its tokens mostly agree on every choice, and then nothing
# separates them; now and then a choice is close, and some tokens jump far. A network that misses such jumps
# for a few blocks comes so near $\rho=1$ that the next one is unlikely: its chance falls as $\sqrt{1-\rho}$.
# So experts delay PostNorm's collapse for a good number of blocks. They do not abolish it.
