# %% [markdown]
# # Gradient norms against depth
#
# Does the gradient vanish or explode on its way down? Three answers circulate for each placement: the gain
# of the skip path, a product of Jacobian factors that takes every branch's backward gain to equal its
# forward gain, and the measured gradient. They disagree. This notebook puts them side by side.

# %%
import os

import pandas as pd

import spannorm_theory as st
from spannorm_theory.spec.placements import STANDARD

SIZE = os.environ.get("SPANNORM_SIZE", "normal")  # "small" takes seconds, "full" wants a GPU
NETWORKS, SHAPE = {
    "small": (4, {"depth": 4, "width": 64, "heads": 4, "tokens": 8}),
    "normal": (32, {"depth": 24, "width": 256, "heads": 8, "tokens": 32}),
    "full": (256, {"depth": 96, "width": 1024, "heads": 16, "tokens": 64}),
}[SIZE]

# %% [markdown]
# ## Every placement, two scalings
#
# $\gamma$ is the second moment per coordinate of the loss gradient at the stream, 1 at the model's output.
# Read each curve from right to left. "unit" leaves branches as they are; "depth-scaled-init" divides the
# last matrix of each branch by $\sqrt L$. Without norms and without scaling the gradient explodes; the panel
# is cropped there and says how far it goes.

# %%
results = [
    st.verify(st.Architecture(name, scaling, **SHAPE), networks=NETWORKS)
    for scaling in ("unit", "depth-scaled-init")
    for name in STANDARD
]
st.plot.comparison([result.table for result in results], ["grad_variance"], shared=False, height=3.2)

# %% [markdown]
# What theory and Monte Carlo say of each other:

# %%
for result in results:
    print(f"{result.arch.placement:26s} {result.arch.scaling:18s} {result.verdict}")

# %% [markdown]
# ## The skip path is not the gradient
#
# The identity gain is the product of all norm and skip factors. For PostNorm with unit branches it is
# $2^{-L}$, and it is often read as "the gradient vanishes". But each norm that divides the skip path by
# $\sqrt 2$ divides the branch with it, and the two together carry what one lost. With every branch gain
# equal to one:

# %%
rows = {}
for name in STANDARD:
    recursion = st.derive(name)
    gains = recursion.iterate(SHAPE["depth"], sigma_a2=1, sigma_f2=1, omega_a2=1, omega_f2=1)
    start = gains[gains["layer"] == 0].set_index(["quantity", "stream"])["value"]
    end = gains[gains["layer"] == SHAPE["depth"]].set_index(["quantity", "stream"])["value"]
    rows[name] = {
        "skip path alone, squared": start["identity_gain", "0"] ** 2,
        "whole gradient, first layer over last": start["grad_variance", "0"] / end["grad_variance", "0"],
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
st.plot.weight_gradients([r.table for r in results if r.arch.placement in shown and r.arch.scaling == "unit"])

# %% [markdown]
# Under depth-scaled-init the profiles flatten. PreNorm and PostNorm become hard to tell apart; SpanNorm does
# not. Its attention reaches the stream only through the feed-forward branch, whose last matrix the rule has
# made small as well, so its attention matrices receive a squared gradient that is smaller by another factor
# of order $L$. A learning rate that is shared with the feed-forward matrices will not suit both, unless the
# optimiser normalises each matrix.

# %%
st.plot.weight_gradients(
    [r.table for r in results if r.arch.placement in shown and r.arch.scaling == "depth-scaled-init"]
)

# %% [markdown]
# Adam divides a common factor out of each matrix. What it cannot divide out is the shape over layers, and
# the imbalance between matrices that share a learning rate.
