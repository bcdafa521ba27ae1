# %% [markdown]
# # The first step of an optimiser
#
# Where theory at initialisation ends, training begins: with one step. The Grams that give the gradients fix
# how far every matrix moves, what that does to the loss, and how far the output goes. Theory is drawn as
# lines, real steps of random networks as points.

# %%
import os

import spannorm_theory as st

SIZE = os.environ.get("SPANNORM_SIZE", "normal")  # "small" takes seconds, "full" minutes
NETWORKS, DEPTH, WIDTH, DEPTHS = {
    "small": (2, 2, 32, (1, 2)),
    "normal": (3, 6, 64, (1, 2, 4, 8)),
    "full": (8, 16, 256, (2, 4, 8, 16, 32)),
}[SIZE]
PLACEMENTS = ("pre-norm", "post-norm", "span-norm")


def steps(sizes, optimiser="sign", scaling="depth-scaled-init"):
    """Theory and networks of each placement at each of the sizes."""
    return [
        st.first_step(st.Architecture(name, scaling, heads=4, tokens=8, **size), optimiser, networks=n)
        for name in PLACEMENTS
        for size in sizes
        for n in (0, NETWORKS)
    ]


# %% [markdown]
# ## Where in depth it learns
#
# `learning_share` is the share of a block's matrices in the decrease of the loss to first order;
# `coherent_share` how much of what moves behind a block goes where the loss asks, the squared cosine of the
# streams' change and their gradient.

# %%
tables = {
    scaling: steps([{"depth": DEPTH, "width": WIDTH}], scaling=scaling)
    for scaling in ("unit", "depth-scaled-init")
}
figure = st.plot.panels(
    {
        f"{words}, {scaling}": lambda ax, s=scaling, q=quantity, of=stream: st.plot.depth_profile(
            tables[s], q, stream=of, ax=ax, names=False
        )
        for quantity, stream, words in (
            ("learning_share", "block", "learning"),
            ("coherent_share", "all", "coherent movement"),
        )
        for scaling in tables
    },
    columns=2,
)
figure

# %% [markdown]
# ## The coordinate check
#
# How far the output moves at a learning rate of 1. A rate for every matrix that is to keep it must fall as
# the curve rises.

# %%
axes = st.plot.coordinate_check(steps([{"depth": depth, "width": WIDTH} for depth in DEPTHS]))
axes.figure

# %% [markdown]
# `st.step_law` has the exponents in symbols, and `st.audit(build, step="adam", lr=1e-3)` makes the check on a
# model of your own.

# %%
law = st.step_law("span-norm", "depth-scaled-init", "sign")
print(law.together, law.width, law.depth)
