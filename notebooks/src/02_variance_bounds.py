# %% [markdown]
# # Bounds on the variance, and what happens to a wrong theory
#
# Attention averages tokens. How much of their variance survives depends on how alike they are, and that
# changes with depth. So the sharpest statement that needs no simulation is an interval: the variance of a
# stream for attention gains anywhere between their extremes. This notebook derives the interval for every
# placement, holds random transformers against it, and then feeds the same check a theory that is wrong.

# %%
import os

import pandas as pd
from IPython.display import Markdown

import spannorm_theory as st

SIZE = os.environ.get("SPANNORM_SIZE", "normal")  # "small" takes seconds, "full" wants a GPU
NETWORKS, SHAPE = {
    "small": (6, {"depth": 4, "width": 64, "heads": 4, "tokens": 8}),
    "normal": (32, {"depth": 24, "width": 256, "heads": 8, "tokens": 32}),
    "full": (256, {"depth": 96, "width": 1024, "heads": 16, "tokens": 64}),
}[SIZE]
STANDARD = (
    *("no-norm", "pre-norm", "post-norm", "span-norm"),
    *("hybrid-norm", "hybrid-norm-star", "siamese-norm", "parallel-pre"),
)

# %% [markdown]
# ## The interval, in symbols
#
# σ_a² (`sigma_a^2` below) is the largest second moment that an attention branch can have when its input has
# second moment one, which it has when all tokens are equal; σ_f² that of the feed-forward branch; q_l is
# the second moment per coordinate of the stream behind block l, which is its variance. PreNorm's stream
# grows by both in every block, so its variance is linear in l; placements that end a block with a norm stay
# at one. Of two streams each has its own, q_00 and q_11.

# %%
for name in STANDARD:
    for moment, (low, high) in st.derive(name).bounds().items():
        if moment.startswith("q"):
            print(f"{name:24s} {moment:5s}", f"= {low}" if low == high else f"from {low} to {high}")

# %% [markdown]
# ## The interval, in numbers
#
# `st.verify` predicts each layer, simulates independent random networks, and compares. The shade below is
# the interval, the line the theory (which knows how alike the tokens are at each layer), the points are means
# over networks with 95 % intervals, often smaller than the point. Without any norm the variance grows
# exponentially.

# %%
verified = {name: st.verify(st.Architecture(name, **SHAPE), networks=NETWORKS) for name in STANDARD}


def variance(result):
    return lambda ax: st.plot.depth_profile(result, "variance", stream="all", ax=ax, names=False)


drawings = {st.placements()[name].title: variance(result) for name, result in verified.items()}
st.plot.panels(drawings, columns=4, height=1.6, legend=False)

# %%
Markdown(st.plot.caption(verified.values(), "variance"))

# %% [markdown]
# Every single network is held against the interval, not only their mean. `outside` counts the networks
# beyond it by more than what a finite width may cause; `gate` is the largest difference between theory and
# Monte Carlo as a share of what is allowed.

# %%
pd.DataFrame(
    {
        name: {
            "rows": len(found.table),
            "networks outside": int(found.table["outside"].sum()),
            "largest gate": round(float(found.worst()["gate"].max()), 2),
            "verdict": found.verdict,
        }
        for name, found in verified.items()
    }
).T

# %% [markdown]
# The residuals of one case: Monte Carlo less theory in standard errors (SE), a row for each quantity, in
# which layers fall from the input to the output. Of a correct theory 19 of 20 lie in the grey band. The
# layers of a network are correlated, so a whole row may stand to one side, as its black bar (the mean)
# shows; the dashed lines, where they are in sight, are ±k, which a correct theory reaches anywhere once in
# a thousand verifications.

# %%
st.plot.residuals(verified["span-norm"])

# %% [markdown]
# ## A wrong theory fails
#
# A check that cannot fail shows nothing. Here SpanNorm networks are judged by the prediction for PostNorm,
# which differs from it in one symbol. The forward variance is the same, one, and does not notice. Everything
# that depends on the path of the skip does.

# %%
arch = st.Architecture("span-norm", **SHAPE)
wrong = st.verify(arch, networks=NETWORKS, theory=arch.with_(placement="post-norm"))
print(wrong.verdict, "-", len(wrong.failures), "of", len(wrong.table), "rows contradict it")
st.plot.residuals(wrong)

# %% [markdown]
# A subtler mistake: the right placement with the feed-forward gains of ReLU, where the networks use GELU. The
# forward gains at fan-in initialisation are 0.500 and 0.425.

# %%
subtle = st.verify(arch, networks=NETWORKS, theory=arch.with_(activation="relu"))
print(subtle.verdict)
subtle.failures.groupby("quantity", sort=False).size().rename("contradicting rows").to_frame()

# %% [markdown]
# What to remember: bounds hold for any token correlation and cost nothing; the theory inside them is
# sharper, and `verify` tells a right one from a wrong one at these sizes.
