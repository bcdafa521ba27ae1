# %% [markdown]
# # Where the mean field ends
#
# The theory is that of infinitely wide networks. A network of width $d$ is one draw: its gradient norm
# fluctuates multiplicatively, block after block, so that its logarithm performs a random walk with variance
# of order $L/d$. The distribution grows a tail. Its mean, carried by few networks, rises above the limit;
# the typical network falls below it. Both come back as $L/d$ falls.

# %%
import os

import numpy as np
import pandas as pd

import spannorm_theory as st
from spannorm_theory.prediction.predict import predict_profiles
from spannorm_theory.verification.allowances import fluctuations

SIZE = os.environ.get("SPANNORM_SIZE", "normal")  # "small" takes seconds, "full" wants a GPU
NETWORKS, WIDTHS, SHAPE = {
    "small": (12, (32, 64), {"depth": 4, "heads": 4, "tokens": 8}),
    "normal": (128, (64, 128, 256), {"depth": 24, "heads": 8, "tokens": 16}),
    "full": (4096, (64, 128, 256, 512, 1024, 2048), {"depth": 48, "heads": 8, "tokens": 32}),
}[SIZE]

# %% [markdown]
# ## Mean and typical value
#
# PostNorm without scaling mixes hard: every block replaces a large part of the stream, and the gradient's
# walk takes large steps. `geometric` is the geometric mean over networks, what a typical network has.

# %%
ensembles = {
    width: st.simulate(st.Architecture("post-norm", width=width, **SHAPE), networks=NETWORKS)
    for width in WIDTHS
}
rows = {}
for width, ensemble in ensembles.items():
    theory = predict_profiles(ensemble.arch).profiles
    key = "0", "grad_variance"
    logs = ensemble.samples[key][:, 0]
    rows[width] = {
        "L/d": SHAPE["depth"] / width,
        "theory": np.exp(theory[key][0]),
        "mean": np.exp(logs).mean(),
        "SE": np.exp(logs).std(ddof=1) / np.sqrt(len(logs)),
        "geometric": np.exp(logs.mean()),
        "sd of the logarithm": logs.std(ddof=1),
        "sd by theory": fluctuations(ensemble.arch, theory)[key][0],
    }
pd.DataFrame(rows).T.rename_axis("width").round(3)

# %% [markdown]
# The mean and the geometric mean approach the theory from both sides. The last column is the leading order
# of the fluctuation, which the verification uses for what it allows. It has no fitted constant, and falls
# short of the measured spread by about a seventh here: the next order in $L/d$ is not small at these widths.
#
# ## Log-normal
#
# A histogram of the logarithm over networks, under the normal law with the theory's mean and that spread:


# %%
def histogram(width):
    return lambda ax: st.plot.distribution(ensembles[width], "grad_variance", ax=ax)


st.plot.panels({f"width {width}": histogram(width) for width in WIDTHS[:3]}, share="xy")

# %% [markdown]
# ## Error bars that mean something
#
# Layers of one network are strongly correlated, so a smooth curve from one seed looks more certain than it
# is. Every error bar of this toolkit is a standard error over independent networks. For log-normal
# quantities `verify` uses the mean of the logarithm plus half its variance, whose error bar accounts for the
# tail that a plain mean has not seen yet.

# %%
first = ensembles[WIDTHS[0]]
table = first.table
table[(table["quantity"] == "grad_variance") & (table["layer"] == 0)][
    ["layer", "value", "se", "low", "high", "geometric"]
]

# %% [markdown]
# ## What the verification allows
#
# The gate widens with $L/d$ by the amount that the leading order of the fluctuation explains, and by nothing
# else. All three widths pass, and the plot shows what passing means: within the gate, and systematically
# above the curve where the network is narrow. A residual of one sign over many layers is one fluctuation,
# not many.

# %%
from spannorm_theory.verification.verification import compare

found = {width: compare(predict_profiles(e.arch), e) for width, e in ensembles.items()}
print({width: result.verdict for width, result in found.items()})
st.plot.depth_profile([result.table for result in found.values()], "grad_variance", per="width", bounds=False)

# %% [markdown]
# ## Scaled branches hardly fluctuate
#
# Under depth-scaled-init each block changes the stream by $1/L$ of itself. The walk's variance is then of
# order $1/d$ at any depth, and one network is as good as its mean.

# %%
calm = st.simulate(
    st.Architecture("post-norm", "depth-scaled-init", width=WIDTHS[0], **SHAPE), networks=NETWORKS
)
wild, quiet = (e.samples["0", "grad_variance"][:, 0].std(ddof=1) for e in (first, calm))
print(f"sd of the logarithm at width {WIDTHS[0]}: {wild:.2f} without scaling, {quiet:.2f} with")
