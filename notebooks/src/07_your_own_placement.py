# %% [markdown]
# # A placement of your own
#
# Where would you put the norms? Write the block as Python on the residual stream, and everything else
# follows from it: the recursion, the closed form, the check against random networks, the figures. Nothing is
# typed twice.

# %%
import os

from IPython.display import Markdown

import spannorm_theory as st

SIZE = os.environ.get("SPANNORM_SIZE", "normal")  # "small" takes seconds, "full" wants a GPU
NETWORKS, SHAPE = {
    "small": (6, {"depth": 4, "width": 64, "heads": 4, "tokens": 8}),
    "normal": (32, {"depth": 24, "width": 256, "heads": 8, "tokens": 32}),
    "full": (256, {"depth": 96, "width": 1024, "heads": 16, "tokens": 64}),
}[SIZE]

# %% [markdown]
# ## Define
#
# PreNorm for attention, PostNorm for the feed-forward branch: one norm on the skip path of each block.
# `net.add` joins a stream and a branch and applies whatever scaling rule is asked for.


# %%
@st.placement("pre-post", title="Pre-Post", source="this notebook", replace=True)
def pre_post(x, net):
    x = net.add(x, net.attention(net.norm(x)))
    return net.norm(net.add(x, net.ffn(x)))


st.plot.block_diagram("pre-post")

# %% [markdown]
# The diagram is drawn from the traced definition, so it shows what is analysed and not what was meant.
#
# ## Derive

# %%
st.derive("pre-post")

# %%
print(st.derive("pre-post").text())

# %% [markdown]
# ## Is it new?
#
# `st.reduces_to` says whether a simpler design computes the same at initialisation; nothing does here:

# %%
st.reduces_to("pre-post")

# %% [markdown]
# ## Predict and verify
#
# An architecture adds sizes. It shows its fields, those that are set in bold:

# %%
arch = st.Architecture("pre-post", **SHAPE)
arch

# %%
result = st.verify(arch, networks=NETWORKS)
result

# %% [markdown]
# Monte Carlo less theory in standard errors (SE), a row for each quantity, in which layers fall from the
# input to the output. Of a correct theory 19 of 20 lie in the grey band; layers of a network are
# correlated, so that a whole row may stand to one side, as its black bar (the mean) shows.

# %%
st.plot.residuals(result)

# %% [markdown]
# ## Draw, beside its relatives

# %%
found = [result]
for name in ("pre-norm", "post-norm", "span-norm"):
    found.append(st.verify(arch.with_(placement=name), networks=NETWORKS))
quantities = ["variance", "grad_variance", "rank_collapse"]
st.plot.comparison(found, quantities)

# %%
Markdown(st.plot.caption(found, quantities, figure="comparison"))

# %% [markdown]
# Our design's curves lie on PostNorm's. It leaves out PostNorm's norm between the two branches, which would
# divide the stream and, as a consequence, what the feed-forward branch adds by one factor, and the last
# norm does not see a factor. That is exact where the activation is ReLU, and nearly so with GELU.
#
# ## A scaling rule of your own
#
# A rule returns what it multiplies, as expressions in the layer l, the depth L and the width d. This one
# damps attention the more the deeper the stack is.

# %%
from sympy import sqrt


@st.scaling("calm-attention", title="attention / sqrt(L)", source="this notebook", replace=True)
def calm_attention(sublayer, l, L, d):
    return st.Multipliers(branch=1 / sqrt(L) if sublayer == "attention" else 1 / sqrt(2))


calm = st.verify(arch.with_(scaling="calm-attention"), networks=NETWORKS)
print(calm.verdict)
st.plot.rank_collapse([result, calm], per="scaling")

# %%
Markdown(st.plot.caption([result, calm], "rank_collapse"))

# %% [markdown]
# ## Into a paper
#
# Figures take the size and the fonts of a venue, and tables come as LaTeX:

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

with TemporaryDirectory() as folder, st.plot.style("neurips"):
    figure = st.plot.depth_profile(found, "grad_variance", bounds=False).figure
    st.plot.save(figure, Path(folder) / "gradient.pdf")
    print(st.write_latex(result, Path(folder) / "table.tex").read_text())
figure

# %% [markdown]
# `spannorm figures --style icml --placements ...` writes the standard set for registered placements, each
# figure with the recipe that makes it again.
