# %% [markdown]
# # Which of these, for my model?
#
# A model of Llama's kind is to be trained: causal, rotary positions, keys shared by groups of heads, a gated
# feed-forward branch. Where should its norms stand, and by which rule should its branches be scaled? This
# notebook puts candidates side by side before the first step of training, one of them a block of our own, and
# says how to read what comes out.

# %%
import os

import spannorm_theory as st

SIZE = os.environ.get("SPANNORM_SIZE", "normal")  # "small" takes seconds, "full" takes a GPU
NETWORKS, SHORT, MODEL, DEEP = {
    "small": (
        3,
        {"depth": 2, "width": 64, "heads": 4, "kv_heads": 2, "tokens": 16},
        {"depth": 4, "tokens": 64},
        6,
    ),
    "normal": (
        16,
        {"depth": 12, "width": 256, "heads": 4, "kv_heads": 2, "tokens": 64},
        {"tokens": 256},
        100,
    ),
    "full": (
        64,
        {"depth": 24, "width": 1024, "heads": 16, "kv_heads": 4, "tokens": 256},
        {"tokens": 512},
        200,
    ),
}[SIZE]

# %% [markdown]
# ## The candidates
#
# `pre-norm` is Llama's own block, a norm in front of each branch. `peri-ln` has a second one behind each
# branch, and one on the embedding. `span-norm` starts the feed-forward branch's skip at the block's input.
# Ours norms both sides of attention, whose output is what tokens share, and leaves the feed-forward branch
# as it is.


# %%
def final_norm(x, net):
    return net.norm(x)


@st.placement("calm", title="Calm", source="this notebook", readout=final_norm, replace=True)
def calm(x, net):
    x = net.add(x, net.norm(net.attention(net.norm(x))))
    return net.add(x, net.ffn(net.norm(x)))


st.plot.block_diagram("calm")

# %% [markdown]
# ## At the model's own shape
#
# `like` takes depth, width, heads, activation, initialisation and the rest from a published model; fields
# that are named go over these. A candidate without a rule takes the model's; `@` says another.
# `depth-scaled-init` makes the last matrix of every branch smaller by the square root of the number of
# blocks.

# %%
CANDIDATES = ["pre-norm", "post-norm", "peri-ln", "calm", "span-norm@depth-scaled-init"]
found = st.compare(CANDIDATES, like="llama-3-8b", progress=False, **MODEL)
found

# %%
found.figure()

# %% [markdown]
# Top: squared gradient norm at each layer, for a unit gradient at the model's output; below: the cosine
# between two tokens, which is 1 where they are one vector. How to read it:
#
# * *The first block.* Every gradient falls steeply at the embedding. Its entries have standard deviation
#   0.02, while a branch reads a stream that a norm has brought to one and adds something much larger. A
#   gradient with respect to something small is large. Peri-LN norms the embedding, and the table counts
#   from the embedding itself all the same. This is the initialisation's doing and not the placement's.
# * *Behind it.* What is left is the placement's: `ratio` has both, the figure shows them apart. PostNorm's
#   gradient grows by a factor in every block, which no learning rate suits. The others change slowly.
# * *Tokens.* Under a causal mask and at this initialisation none become one vector within 32 blocks.
#   PostNorm's and Peri-LN's are the most alike. Peri-LN's second norm gives attention, which adds what
#   tokens share, as much weight as the feed-forward branch. Ours does so too, and its feed-forward branch,
#   which it leaves as large as Llama's, outweighs it.
# * `share` is the last block's squared update over the variance of the stream in front of it. Where it is 1
#   and more, a block replaces the stream; where it is a percent or less, the last blocks hardly matter at
#   first.
# * `loss` is near ln(128256) = 11.8 plus half the second moment of the logits, whatever the placement;
#   `grad norm` is the norm of the gradient of all weights together, which is what a monitor shows at step 0
#   and gradients are clipped by.
# * The laws say how variance and gradient go on with the depth L, in stacks without a mask, and from which
#   depth.
#
# ## One number at a time
#
# `st.depth_where` and `st.value_at` read any prediction. Where do two tokens have the cosine 0.3, and how
# large is the stream in the middle?

# %%
for arch in found.architectures:
    table = st.predict(arch, theory="positions")
    block = st.depth_where(table, "token_cosine", above=0.3)
    where = "never" if block is None else f"from layer {block} on"
    variance = st.value_at(table, "variance", layer=arch.depth // 2)
    print(f"{arch.placement:10s} cosine above 0.3: {where:20s} variance in the middle: {variance:.3g}")

# %% [markdown]
# ## Deeper, with embeddings of unit size, by collapse
#
# The same with an embedding whose entries have variance one, a hundred blocks, and the candidates whose
# tokens stay furthest apart first; PreNorm comes with the scaling rule too, and PostNorm, whose squared
# gradient would be 10^28, is left out.

# %%
deep = st.compare(
    [name for name in CANDIDATES if name != "post-norm"] + ["pre-norm@depth-scaled-init"],
    like="llama-3-8b",
    sort_by="collapse",
    laws=False,
    progress=False,
    **{**MODEL, "depth": DEEP, "input_variance": 1.0},
)
deep

# %%
deep.figure()

# %% [markdown]
# Both designs with scaled branches come first: their tokens keep the distances that they came with, and
# their gradient is the most even or nearly so. The rule does more here than the placement. What the
# placement decides is the rest: PreNorm's stream still grows, SpanNorm's does not, and its gradient falls
# by the same factor in every block.
#
# ## Random networks beside the theory
#
# Numbers that matter should be seen to be true. At a small width networks of the same kind can be drawn, L
# blocks of width d; L/d decides how far their means may lie from the theory of wide networks. Columns that
# end in `_mc` are means over networks, `_se` their standard errors.

# %%
kind = {"mask": "causal", "positions": "rope", "activation": "swiglu"}
small = st.compare(
    ["pre-norm", "calm", "span-norm@depth-scaled-init"],
    networks=NETWORKS,
    laws=False,
    progress=False,
    **SHORT,
    **kind,
)
print(f"L/d = {SHORT['depth'] / SHORT['width']:.3f}, {NETWORKS} networks of each")
columns = [
    f"{name}{end}" for name in ("squared_gradient", "token_cosine", "loss") for end in ("", "_mc", "_se")
]
small.table.set_index("candidate")[columns].round(4).T

# %%
small.figure()

# %% [markdown]
# Lines are the theory, points means over networks with 95 % intervals. Cosines and losses agree within
# two standard errors. The squared gradients of PreNorm and of ours lie 9 and 12 % above the theory, by 3.1
# and 2.4 standard errors: corrections of order L/d, which the theory leaves out, and which are small beside
# what tells the designs apart.
#
# The same on a command line: `spannorm compare pre-norm span-norm@depth-scaled-init mine.py:calm --like
# llama-3-8b --tokens 256 --sort collapse`. [Candidates side by side](../docs/comparing.md) defines every
# column.
