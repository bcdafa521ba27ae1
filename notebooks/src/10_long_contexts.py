# %% [markdown]
# # Causal stacks at real lengths
#
# Nearly every model that people train is causal: a token sees those in front of it. Tokens then differ by
# their position t, and averages over tokens hide most of what happens. The first token attends to itself
# alone; the thousandth averages a thousand values. This notebook looks at single positions, in a block like
# that of current language models (rotary positions, grouped heads, a gated feed-forward branch), at a length
# that no simulation needs to reach.

# %%
import os
import time

import pandas as pd

import spannorm_theory as st

SIZE = os.environ.get("SPANNORM_SIZE", "normal")  # "small" takes seconds, "full" wants a GPU
NETWORKS, SHORT = {
    "small": (3, {"depth": 2, "width": 64, "heads": 4, "kv_heads": 2, "tokens": 96}),
    "normal": (6, {"depth": 8, "width": 256, "heads": 4, "kv_heads": 2, "tokens": 1024}),
    "full": (32, {"depth": 16, "width": 2048, "heads": 16, "kv_heads": 4, "tokens": 2048}),
}[SIZE]
BLOCK = {"mask": "causal", "positions": "rope", "activation": "swiglu"}
LONG = st.Architecture("pre-norm", depth=48, width=4096, heads=32, kv_heads=8, tokens=4096, **BLOCK)

# %% [markdown]
# ## A second for 48 blocks of 4,096 tokens
#
# Second moments are kept at some forty positions, evenly spaced in ln t, and attention is averaged in
# closed form (section 10.2 of the theory). The cost of a block does not depend on the number of tokens.

# %%
st.predict(LONG)  # the first call makes tables
start = time.process_time()
table = st.predict(LONG, by="position")
assert time.process_time() - start < 10
layers = [0, 4, 16, 48]
few = st.predict(LONG, by="position", positions=[1, 64, 4096])
few[few["layer"].isin(layers)].pivot_table("value", ["quantity", "position"], "layer").round(3)

# %% [markdown]
# The first row of each quantity is the first token. Its stream is the largest, as nothing is averaged in
# what it attends to; and at the embedding its gradient is the largest by far, as every later token reads it.
#
# ## Against Monte Carlo
#
# Left, theory at 4,096 tokens and 48 blocks. Right, fewer blocks and tokens, where random networks can be
# simulated: points are means over networks with 95 % intervals, lines the theory. q is the second moment
# of the stream per coordinate, γ that of the loss gradient, 1 at the model's output.

# %%
short = st.Architecture("pre-norm", **SHORT, **BLOCK)
measured = st.simulate(short, networks=NETWORKS, by="position", progress=False)
theory = st.predict(short, theory="positions", by="position")
low = sorted({0, 1, short.depth // 2, short.depth})


def panel(quantity, tables, layers):
    """A panel's drawing."""
    return lambda ax: st.plot.position_profile(tables, quantity, layers=layers, ax=ax)


st.plot.panels(
    {
        "variance, 4,096 tokens": panel("variance", table, layers),
        f"variance, {short.tokens:,} tokens": panel("variance", [theory, measured], low),
        "gradient, 4,096 tokens": panel("grad_variance", table, layers),
        f"gradient, {short.tokens:,} tokens": panel("grad_variance", [theory, measured], low),
    },
    columns=2,
    height=2.2,
    legend=False,
)

# %% [markdown]
# Two slopes stand out. The gradient at the embedding falls with the position, as later tokens read a token
# less and less, up to some hundred tokens. And the streams of early tokens grow fastest, since their
# attention adds what it does not average away.
#
# ## Which placement keeps the early tokens' gradient in check?

# %%
rows = {}
for placement, scaling in (
    ("pre-norm", "unit"),
    ("pre-norm", "depth-scaled-init"),
    ("post-norm", "unit"),
    ("peri-ln", "unit"),
    ("span-norm", "depth-scaled-init"),
):
    at = st.predict(LONG.with_(placement=placement, scaling=scaling), by="position", positions=[1, 64, 4096])
    embedding = at[(at["quantity"] == "grad_variance") & (at["layer"] == 0) & (at["stream"] == "0")]
    rows[f"{placement}, {scaling}"] = embedding.set_index("position")["value"]
pd.DataFrame(rows).T.map("{:.3g}".format)
