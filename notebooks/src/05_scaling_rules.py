# %% [markdown]
# # What a scaling rule buys
#
# A scaling rule multiplies skips, branches, norms or initial weights by functions of the layer and the
# depth. The placement says where the norms are; the rule decides whether a stack of ten thousand blocks is
# still one that can start to learn. All of this is theory, so depth costs nothing; the last section lets
# networks confirm it.

# %%
import os

import numpy as np
import pandas as pd

import spannorm_theory as st

SIZE = os.environ.get("SPANNORM_SIZE", "normal")  # "small" takes seconds, "full" wants a GPU
NETWORKS, DEPTHS, SHAPE = {
    "small": (4, (4, 12), {"width": 64, "heads": 4, "tokens": 8}),
    "normal": (40, (12, 100, 1000, 10_000), {"width": 256, "heads": 8, "tokens": 32}),
    "full": (64, (12, 100, 1000, 10_000), {"width": 1024, "heads": 16, "tokens": 64}),
}[SIZE]

# %% [markdown]
# ## The rules
#
# Every registered rule, with the paper that it comes from. `a+b` is both at once.

# %%
rules = pd.DataFrame(
    [
        {"name": name, "what": rule.title, "source": rule.source, "only for": ", ".join(rule.only)}
        for name, rule in st.scalings().items()
    ]
)
rules.set_index("name")

# %% [markdown]
# ## Two numbers for each rule and placement
#
# The gradient at the first block over that at the output, as a power of ten, for 1,000 blocks. Zero is
# ideal; beyond three, layers at the two ends of the stack cannot share a learning rate. A dash marks a rule
# that belongs to other placements.

# %%
SHOWN = ("unit", "gpt2", "depth-scaled-init", "mitchell", "branch-sqrt-depth", "completep", "lns", "deepnorm")
PLACEMENTS = ("pre-norm", "post-norm", "span-norm", "hybrid-norm", "siamese-norm")
deep = DEPTHS[-2]


def profile_of(placement, scaling, quantity):
    table = st.predict(st.Architecture(placement, scaling, depth=deep, **SHAPE))
    return table[(table["quantity"] == quantity) & (table["stream"] == "0")].set_index("layer")


def gradient(placement, scaling):
    log = profile_of(placement, scaling, "grad_variance")["log_value"] / np.log(10)
    return f"{log[0] - log[deep]:+.1f}"


def survives(placement, scaling):
    left = 1 - profile_of(placement, scaling, "token_cosine")["value"][deep]
    return f"{left:.2g}" if left > 1e-15 else "0"


def overview(number):
    def cell(placement, scaling):
        try:
            return number(placement, scaling)
        except st.SpannormError:
            return "-"

    return pd.DataFrame({name: {rule: cell(name, rule) for rule in SHOWN} for name in PLACEMENTS})


overview(gradient)

# %% [markdown]
# The distance from rank one, $1-\rho$, at the output: how much of the difference between tokens survives.

# %%
overview(survives)

# %% [markdown]
# ## Depth 12 to 10,000
#
# On the relative depth $l/L$, curves of a rule that works lie on top of each other: the stack has a limit as
# it deepens. Under "unit", PostNorm's gradient moves by a factor that grows with every block.


# %%
def profile(placement, scaling):
    tables = [st.predict(st.Architecture(placement, scaling, depth=depth, **SHAPE)) for depth in DEPTHS]
    return lambda ax: st.plot.depth_profile(tables, "grad_variance", ax=ax, names=False)


st.plot.panels(
    {
        f"{st.placements()[name].title}, {scaling}": profile(name, scaling)
        for name in ("pre-norm", "post-norm", "span-norm")
        for scaling in ("unit", "depth-scaled-init")
    },
    columns=2,
)

# %% [markdown]
# ## Constant gains, any depth
#
# `iterate` takes the gains as given and carries the exponent apart: the skip path of PostNorm alone over ten
# thousand blocks is a number.

# %%
table = st.derive("post-norm").iterate(DEPTHS[-1], sigma_a2=1, sigma_f2=1, omega_a2=1, omega_f2=1)
table[table["quantity"].isin(["identity_gain", "grad_variance"]) & (table["layer"] == 0)]

# %% [markdown]
# ## Networks agree
#
# Monte Carlo at the second depth, three rules, one placement.

# %%
arch = st.Architecture("span-norm", depth=min(DEPTHS[1], 100), **SHAPE)
found = [
    st.verify(arch.with_(scaling=rule), networks=NETWORKS)
    for rule in ("unit", "layer-index", "depth-scaled-init")
]
print([result.verdict for result in found])
st.plot.depth_profile([result.table for result in found], "grad_variance", per="scaling", bounds=False)
