# %% [markdown]
# # Gradient norms against depth
#
# Does the gradient vanish or explode on its way down? Three answers circulate for each placement: the gain
# of the skip path, a product of Jacobian factors that takes every branch's backward gain to equal its
# forward gain, and the measured gradient. They disagree. This notebook puts them side by side.

# %%
import os

import pandas as pd
from IPython.display import Markdown

import spannorm_theory as st

SIZE = os.environ.get("SPANNORM_SIZE", "normal")  # "small" takes seconds, "full" wants a GPU
NETWORKS, SHAPE = {
    "small": (4, {"depth": 4, "width": 64, "heads": 4, "tokens": 8}),
    "normal": (32, {"depth": 24, "width": 256, "heads": 8, "tokens": 32}),
    "full": (256, {"depth": 96, "width": 1024, "heads": 16, "tokens": 64}),
}[SIZE]
PLACEMENTS = ("no-norm", "pre-norm", "post-norm", "span-norm", "hybrid-norm")

# %% [markdown]
# ## Every placement, two scalings
#
# γ is the second moment per coordinate of the loss gradient at the stream, 1 at the model's output. Read
# each curve from right to left. "unit" leaves branches as they are; "depth-scaled-init" divides the last
# matrix of each branch by √L, where L is the number of blocks. PreNorm and HybridNorm end below 1: between
# the last block and the output stands a norm, which divides the gradient by the size of their stream.
# Without norms and without scaling the gradient explodes; the panel is cropped there and says how far it
# goes.

# %%
results = [
    st.verify(st.Architecture(name, scaling, **SHAPE), networks=NETWORKS)
    for scaling in ("unit", "depth-scaled-init")
    for name in PLACEMENTS
]
st.plot.comparison(results, "grad_variance", height=3.2)

# %%
Markdown(st.plot.caption(results, "grad_variance", figure="comparison"))

# %% [markdown]
# Where points leave their line in one direction over many layers, that is one fluctuation of few networks
# and not many: layers of a network are strongly correlated. What theory and Monte Carlo say of each other,
# over all quantities and layers ("agrees within width": some rows differ by more than chance, none by more
# than the width may cause):

# %%
for result in results:
    print(f"{result.arch.placement:26s} {result.arch.scaling:18s} {result.verdict}")

# %% [markdown]
# ## The skip path is not the gradient
#
# The identity gain is the product of all norm and skip factors. For PostNorm with unit branches it is
# 2^(-L), and it is often read as "the gradient vanishes". But each norm that divides the skip path by √2
# divides the branch with it, and the two together carry what one lost. With every branch gain (the factor by
# which a branch multiplies a second moment) equal to one:

# %%
rows = {}
for name in (*PLACEMENTS, "siamese-norm"):
    gains = st.derive(name).iterate(SHAPE["depth"], sigma_a2=1, sigma_f2=1, omega_a2=1, omega_f2=1)
    first, last = (st.value_at(gains, "grad_variance", layer) for layer in (0, -1))
    rows[name] = {
        "skip path alone, squared": st.value_at(gains, "identity_gain", 0) ** 2,
        "whole gradient, first layer over last": first / last,
    }
pd.DataFrame(rows).T.map("{:.3g}".format)

# %% [markdown]
# SiameseNorm has two skip paths; the table shows the normed one. Its whole gradient is that of stream 0.
#
# ## What the weights receive
#
# An optimiser sees the gradient of each matrix, not that of the stream. Query and key gradients follow the
# differences between tokens: they fade where tokens become alike, long before the stream's gradient does.

# %%
shown = ("pre-norm", "post-norm", "span-norm")
st.plot.weight_gradients([r for r in results if r.arch.placement in shown and r.arch.scaling == "unit"])

# %%
Markdown(st.plot.caption(results, figure="weight_gradients"))

# %% [markdown]
# Under depth-scaled-init the profiles flatten, each panel on an axis of its own. In the attention matrices
# PreNorm and PostNorm become hard to tell apart; SpanNorm does not. Its attention reaches the stream only
# through the feed-forward branch, whose last matrix the rule has made small as well, so its attention
# matrices receive a squared gradient that is smaller by another factor of order L. A learning rate that is
# shared with the feed-forward matrices will not suit both, unless the optimiser normalises each matrix.

# %%
st.plot.weight_gradients(
    [r for r in results if r.arch.placement in shown and r.arch.scaling == "depth-scaled-init"]
)

# %% [markdown]
# Adam divides a common factor out of each matrix. What it cannot divide out is the shape over layers, and
# the imbalance between matrices that share a learning rate.
