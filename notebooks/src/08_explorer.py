# %% [markdown]
# # Explorer
#
# Sliders over live theory curves. A prediction takes milliseconds, so every move redraws; the button
# measures random networks of the same architecture and lays them over the curves. In a page without a kernel
# the sliders are absent; the functions under them work anywhere.

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
# Needs `ipywidgets`, which comes with the `notebooks` extra.

# %%
try:
    st.plot.Explorer(start, networks=NETWORKS).show()
except ImportError:
    print("ipywidgets is not installed: use the functions below")

# %% [markdown]
# ## Without
#
# The figure under the sliders is a function of an architecture.

# %%
st.plot.overview(start)

# %% [markdown]
# With Monte Carlo over it, and tokens that are already alike at the input:

# %%
st.plot.overview(start.with_(input_cosine=0.5), networks=NETWORKS)

# %% [markdown]
# Two streams, a gated activation, deeper:

# %%
deeper = start.with_(placement="siamese-norm", activation="swiglu", depth=10 * start.depth)
st.plot.overview(deeper)
