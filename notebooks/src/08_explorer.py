# %% [markdown]
# # Explorer
#
# Sliders over live theory curves. A prediction takes milliseconds, so every move redraws; the button
# measures random networks of the same architecture and lays them over the curves.

# %%
import os

import spannorm_theory as st

SIZE = os.environ.get("SPANNORM_SIZE", "normal")  # "small" takes seconds, "full" wants a GPU
NETWORKS, SHAPE = {
    "small": (4, {"depth": 4, "width": 64, "heads": 4, "tokens": 8}),
    "normal": (8, {"depth": 24, "width": 256, "heads": 8, "tokens": 32}),
    "full": (128, {"depth": 48, "width": 1024, "heads": 16, "tokens": 64}),
}[SIZE]
start = st.Architecture("span-norm", **SHAPE)

# %% [markdown]
# ## With sliders
#
# Three lists choose placement, scaling rule and activation; four sliders set the depth (4 to 1,000 blocks),
# the width, the number of tokens and ρ_0, the cosine between two tokens at the input. A page without a
# kernel shows no widgets; in Jupyter they look like this:
#
# ![Lists and sliders over three panels: forward variance, gradient variance and distance from rank one
# against the layer](../docs/explorer-notebook.png)
#
# They need `ipywidgets`, which comes with the `notebooks` extra.

# %%
try:
    st.plot.Explorer(start, networks=NETWORKS).show()
except ImportError:
    print("ipywidgets is not installed: use the functions below")

# %% [markdown]
# ## Without
#
# The figure under the sliders is a function of an architecture: the second moment q of the stream, that of
# the loss gradient γ (1 at the model's output), and the distance 1 − ρ from the state in which all tokens
# are one vector, each against the layer l. Where the sliders start:

# %%
st.plot.overview(start)

# %% [markdown]
# One of them moved, the depth, to three positions, which share an axis as l/L:

# %%
DEPTHS = (start.depth, 2 * start.depth, 4 * start.depth)
moved = [start.with_(depth=depth) for depth in DEPTHS]


def drawn(quantity):
    return lambda ax: st.plot.depth_profile(moved, quantity, ax=ax, names=False, bounds=False)


st.plot.panels(
    {"gradient variance": drawn("grad_variance"), "distance from rank one": drawn("rank_collapse")}
)

# %% [markdown]
# The button: Monte Carlo over the theory (points are means over networks with 95 % intervals), here with
# tokens that are already alike at the input, and two streams with a gated activation.

# %%
alike = start.with_(placement="siamese-norm", activation="swiglu", input_cosine=0.5)
st.plot.overview(alike, networks=NETWORKS)
