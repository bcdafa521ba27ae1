# %% [markdown]
# # Where the mean field ends
#
# The theory is that of infinitely wide networks. A network of width d is one draw: its gradient norm
# fluctuates multiplicatively, block after block, so that its logarithm performs a random walk with variance
# of order L/d in a stack of L blocks. The distribution grows a tail. Its mean, carried by few networks,
# rises above the limit; the typical network falls below it. Both come back as L/d falls.

# %%
import os

import numpy as np
import pandas as pd
from IPython.display import Markdown

import spannorm_theory as st

SIZE = os.environ.get("SPANNORM_SIZE", "normal")  # "small" takes seconds, "full" wants a GPU
NETWORKS, WIDTHS, SHAPE = {
    "small": (12, (32, 64), {"depth": 4, "heads": 4, "tokens": 8}),
    "normal": (128, (64, 128, 256), {"depth": 24, "heads": 8, "tokens": 16}),
    "full": (4096, (64, 128, 256, 512, 1024, 2048), {"depth": 48, "heads": 8, "tokens": 32}),
}[SIZE]

# %% [markdown]
# ## Mean and typical value
#
# PostNorm without scaling mixes hard: every block replaces a large part of the stream, and the gradient's
# walk takes large steps. γ_0 is the second moment per coordinate of the loss gradient at the embedding, 1
# at the model's output. `typical` is its geometric mean over networks, and `SE` the standard error of the
# mean.

# %%
found = {
    width: st.verify(st.Architecture("post-norm", width=width, **SHAPE), networks=NETWORKS)
    for width in WIDTHS
}
rows = {}
for width, result in found.items():
    logs = result.ensemble.samples["0", "grad_variance"][:, 0]
    rows[width] = {
        "L/d": SHAPE["depth"] / width,
        "theory": st.value_at(result, "grad_variance", layer=0),
        "mean": np.exp(logs).mean(),
        "SE": np.exp(logs).std(ddof=1) / np.sqrt(len(logs)),
        "typical": np.exp(logs.mean()),
        "sd of the logarithm": logs.std(ddof=1),
    }
pd.DataFrame(rows).T.rename_axis("width").round(3)

# %% [markdown]
# A number whose logarithm is normal with variance V has a mean that is exp(V/2) times its typical value. V
# follows from the theory with no fitted constant: to leading order in 1/d it is a sum over blocks of what
# one block lets fluctuate. The figure divides by the theory of infinite width, so that the two belong on
# the line at 1 and on exp(−V/2) to that order.

# %%
st.plot.finite_width(found.values())

# %%
Markdown(st.plot.caption(found.values(), figure="finite_width"))

# %% [markdown]
# Typical networks follow their line. The means stand above theirs, by about half at width 64, 40 % at 128 and
# 16 % at 256, whose interval just reaches it: a correction of order L/d to the mean itself, which the theory
# leaves out.
#
# ## Log-normal
#
# A histogram over networks of the logarithm of γ_0, under the normal law that the theory's mean and V imply
# (line); upright lines are the mean over networks, and dotted their typical value:


# %%
def histogram(width):
    return lambda ax: st.plot.distribution(found[width].ensemble, "grad_variance", ax=ax)


st.plot.panels({f"width {width}": histogram(width) for width in WIDTHS[:3]}, share="xy")

# %% [markdown]
# ## Error bars that mean something
#
# Layers of one network are strongly correlated, so a smooth curve from one seed looks more certain than it
# is. Every error bar of this toolkit is over independent networks. In tables `value` is their mean, `se`
# its standard error, `low` to `high` the 95 % interval, and `geometric` the geometric mean. For log-normal
# quantities figures and `verify` take exp(mean of the logarithm + half its variance), whose interval
# accounts for the tail that a plain mean has not seen yet.

# %%
first = found[WIDTHS[0]].ensemble
table = first.table
table[(table["quantity"] == "grad_variance") & (table["layer"] == 0)][
    ["layer", "value", "se", "low", "high", "geometric"]
]

# %% [markdown]
# ## What the verification allows
#
# The gate of `st.verify` widens with L/d by the amount that the leading order of the fluctuation explains,
# and by nothing else. "Agrees within width" names such a case: rows differ by more than chance, and by less
# than the width may cause. Where points leave the line on one side over many layers, that is one
# fluctuation, not many.

# %%
st.plot.depth_profile(found.values(), "grad_variance", per="width", bounds=False)

# %%
Markdown(st.plot.caption(found.values(), "grad_variance"))

# %%
print({width: result.verdict for width, result in found.items()})

# %% [markdown]
# ## Scaled branches hardly fluctuate
#
# Under depth-scaled-init each block changes the stream by 1/L of itself. The walk's variance is then of order
# 1/d at any depth, and one network is as good as its mean.

# %%
calm = st.simulate(
    st.Architecture("post-norm", "depth-scaled-init", width=WIDTHS[0], **SHAPE), networks=NETWORKS
)
wild, quiet = (e.samples["0", "grad_variance"][:, 0].std(ddof=1) for e in (first, calm))
print(f"sd of the logarithm at width {WIDTHS[0]}: {wild:.2f} without scaling, {quiet:.2f} with")
