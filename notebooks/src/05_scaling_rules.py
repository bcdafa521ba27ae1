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
from IPython.display import Markdown

import spannorm_theory as st

SIZE = os.environ.get("SPANNORM_SIZE", "normal")  # "small" takes seconds, "full" wants a GPU
NETWORKS, DEPTHS, SHAPE = {
    "small": (4, (4, 12), {"width": 64, "heads": 4, "tokens": 8}),
    "normal": (36, (12, 100, 1000, 10_000), {"width": 256, "heads": 8, "tokens": 32}),
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
# First γ at the embedding, the second moment per coordinate of the loss gradient there, for a gradient of
# unit second moment at the model's output; as a power of ten, for 1,000 blocks. It is the square of a norm:
# +8.8 is a gradient norm 25,000 times that at the output. Of two streams it is that of both together. A
# dash marks a rule that belongs to other placements.

# %%
SHOWN = ("unit", "gpt2", "depth-scaled-init", "mitchell", "branch-sqrt-depth", "completep", "lns", "deepnorm")
PLACEMENTS = ("pre-norm", "post-norm", "span-norm", "hybrid-norm", "siamese-norm")
deep = DEPTHS[-2]


def gradient(placement, scaling):
    found = st.predict(st.Architecture(placement, scaling, depth=deep, **SHAPE))
    log = found.query("quantity == 'grad_variance' and layer == 0")["log_value"].iloc[-1]  # of all streams
    return f"{log / np.log(10):+.1f}"


def survives(placement, scaling):
    found = st.predict(st.Architecture(placement, scaling, depth=deep, **SHAPE))
    left = 1 - st.value_at(found, "token_cosine")
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
# Then 1 − ρ at the output, with the cosine ρ between two tokens: the distance from rank one, how much of the
# difference between tokens survives.

# %%
overview(survives)

# %% [markdown]
# ## Depth 12 to 10,000
#
# On the relative depth l/L, curves of a rule that works lie on top of each other: the stack has a limit as it
# deepens. Under "unit" the gradient moves by a factor that grows with every block.


# %%
def profile(placement, scaling):
    tables = [st.predict(st.Architecture(placement, scaling, depth=depth, **SHAPE)) for depth in DEPTHS]
    return lambda ax: st.plot.depth_profile(tables, "grad_variance", ax=ax, names=False)


st.plot.panels(
    {
        f"{st.placements()[name].title}, {scaling}": profile(name, scaling)
        for name in ("post-norm", "span-norm")
        for scaling in ("unit", "depth-scaled-init")
    },
    columns=2,
)

# %% [markdown]
# ## The laws
#
# The atlas has a law of large depth for each placement and rule. Left, γ at the embedding against depth
# with its law (dotted); right, the same divided by the law: where that is flat, the law holds. PostNorm's
# holds from 16 blocks on, when all tokens are one vector, SpanNorm's from 64; PreNorm approaches its own
# over a thousand.

# %%
names, largest = (("pre-norm",), 6) if SIZE == "small" else (("pre-norm", "post-norm", "span-norm"), 11)
laws = {cell.arch.placement: cell.found["gradient"].trend for cell in st.atlas(names, "unit").cells}
stacks = [st.Architecture(name, depth=2**k, **SHAPE) for name in names for k in range(2, largest)]
st.plot.against_law(stacks, "grad_variance", laws)

# %%
Markdown(st.plot.caption(stacks, "grad_variance", figure="against_law"))

# %% [markdown]
# ## Constant gains, any depth
#
# `iterate` takes each branch's gains (the factors by which it multiplies second moments, σ² forward and ω²
# backward) as given and carries the exponent apart: the skip path of PostNorm alone over ten thousand
# blocks is a number.

# %%
table = st.derive("post-norm").iterate(DEPTHS[-1], sigma_a2=1, sigma_f2=1, omega_a2=1, omega_f2=1)
table[table["quantity"].isin(["identity_gain", "grad_variance"]) & (table["layer"] == 0)]

# %% [markdown]
# ## Networks agree
#
# Monte Carlo, three rules, one placement; points are means over networks with 95 % intervals.

# %%
arch = st.Architecture("span-norm", depth=min(DEPTHS[1], 48), **SHAPE)
found = [
    st.verify(arch.with_(scaling=rule), networks=NETWORKS)
    for rule in ("unit", "layer-index", "depth-scaled-init")
]
st.plot.depth_profile(found, "grad_variance", per="scaling", bounds=False)

# %%
Markdown(st.plot.caption(found, "grad_variance"))

# %%
for result in found:
    print(f"{result.arch.scaling:18s} {result.verdict}")

# %% [markdown]
# "Agrees within width" says that some rows, of all quantities and layers, differ by more than chance, and
# none by more than the width may cause. [06_finite_width](06_finite_width.ipynb) is about that.
