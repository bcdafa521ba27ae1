# %% [markdown]
# # From a block to its recursion
#
# A norm placement is a few lines of Python on the residual stream. This notebook takes four of them and
# derives what happens to the signal and to the gradient: the step of one block, closed forms in the layer
# index l, laws in the depth L (the number of blocks), and bounds. No number is fitted and no formula is
# typed in: all of it follows from the definition.

# %%
import spannorm_theory as st

# %% [markdown]
# ## Two placements that differ in one symbol
#
# PostNorm's feed-forward skip starts at the normalised attention output. SpanNorm's starts at the block's
# input, so that a skip path crosses one norm in each block instead of two.

# %%
print("PostNorm:", st.placements()["post-norm"].trace("unit"))
print("SpanNorm:", st.placements()["span-norm"].trace("unit"))

# %% [markdown]
# ## One block
#
# q is the second moment per coordinate of the stream, γ that of the loss gradient; a prime marks the moment
# after the block. σ_a² and σ_f² are the forward gains of the two branches, attention and feed-forward: by
# how much each multiplies the second moment of what it reads. ω_a² and ω_f² are their backward gains, by
# which each multiplies that of the gradient. The two are not equal in general, and much follows from the
# difference.

# %%
st.derive("span-norm")

# %%
st.derive("post-norm")

# %% [markdown]
# ## The skip path is not the gradient
#
# The gain of the skip path alone falls as 2^(−L) in PostNorm and as 2^(−L/2) in SpanNorm when every branch
# has unit variance. These numbers are often quoted as gradients. The whole gradient, with ω² = σ², does not
# decay at all. (`Theta` is "of the order of", with its constant behind it.)

# %%
for name in ("post-norm", "span-norm"):
    recursion = st.derive(name)
    print(name)
    print("  skip path:     ", recursion.asymptotics()["identity_gain"])
    print("  whole gradient:", recursion.asymptotics()["gradient_at_embedding"])

# %% [markdown]
# ## Closed forms and laws
#
# PreNorm's variance grows linearly, and its gradient ratio is a ratio of Gamma functions that follows a
# power law in depth with exponent (ω_a² + ω_f²)/(σ_a² + σ_f²). Below, `Gamma(x)` with a capital is that
# function, which is (x − 1)! for whole x; `gamma_l`, small and with an index, is γ, the second moment of
# the loss gradient, at layer l.

# %%
print(st.derive("pre-norm").text())

# %% [markdown]
# ## Two streams
#
# SiameseNorm keeps a bounded stream and a growing one. Its gradients mix in every block, so there is no
# closed form, and the engine says so; the recursion is still one page.

# %%
print(st.derive("siamese-norm").text())

# %% [markdown]
# ## Any depth
#
# With constant gains the recursion is iterated with its exponent carried apart, so that
# a factor of 2^(−10000) is a number.

# %%
table = st.derive("post-norm").iterate(10_000, sigma_a2=1, sigma_f2=1, omega_a2=1, omega_f2=1)
table[(table["quantity"] == "identity_gain") & table["layer"].isin([0, 5_000, 9_999])]
