# %% [markdown]
# # Your model
#
# The other notebooks speak of architectures in this toolkit's words. A model that you are about to train is
# written in your own. This notebook takes one, a causal transformer in plain PyTorch, and asks three things:
# what do its tensors say, what do its networks do, and is that what was meant? Then it plants three faults
# that people make, and looks at what is found.
#
# ## A model in plain PyTorch
#
# Rotary positions are left out to keep it short; everything else is a block as of current language models: a
# norm in front of each branch, a gated feed-forward branch, weights of standard deviation 0.02, and output
# projections smaller by 1/√(2L) for L blocks, as in GPT-2.

# %%
import os

import torch
from torch import nn
from torch.nn import functional as F

import spannorm_theory as st

SIZE = os.environ.get("SPANNORM_SIZE", "normal")  # "small" takes seconds
WIDTH, HEADS, DEPTH, NETWORKS = {
    "small": (64, 4, 3, 24),
    "normal": (256, 4, 8, 32),
    "full": (512, 8, 12, 64),
}[SIZE]


class Block(nn.Module):
    """x + attention(N(x)), then x + ffn(N(x))."""

    def __init__(self):
        super().__init__()
        self.attn_norm, self.ffn_norm = nn.RMSNorm(WIDTH, eps=1e-6), nn.RMSNorm(WIDTH, eps=1e-6)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.o_proj = nn.Linear(WIDTH, WIDTH, bias=False)
        self.gate_proj = nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        self.up_proj = nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        self.down_proj = nn.Linear(2 * WIDTH, WIDTH, bias=False)
        self.num_heads = HEADS

    def forward(self, x):
        """One block."""
        b, n, d = x.shape
        heads = self.qkv(self.attn_norm(x)).view(b, n, 3, HEADS, d // HEADS).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.o_proj(mixed.transpose(1, 2).reshape(b, n, d))
        y = self.ffn_norm(x)
        return x + self.down_proj(F.silu(self.gate_proj(y)) * self.up_proj(y))


class Model(nn.Module):
    """Token ids to logits."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(8000, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.norm = nn.RMSNorm(WIDTH, eps=1e-6)
        self.lm_head = nn.Linear(WIDTH, 8000, bias=False)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                output = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(weight, 0, 0.02 / (2 * DEPTH) ** 0.5 if output else 0.02)

    def forward(self, ids):
        """Logits, (sequences, tokens, types)."""
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return self.lm_head(self.norm(x))


# %% [markdown]
# ## What do its tensors say?
#
# `st.read` finds the list of blocks, gives every matrix a role (the fused `qkv` is three), measures its
# standard deviation, and says in words which rule each role follows.

# %%
torch.manual_seed(0)
reading = st.read(Model(), tokens=32, placement="pre-norm", activation="swiglu")
assert "0.02/√(2L) on attn.output, ffn.down" in reading.words()
reading

# %%
reading.table.head(8)[["layer", "role", "name", "shape", "fan_in", "std", "gain"]].round(4)

# %% [markdown]
# The *gain* of a matrix is its fan-in times the variance of an entry: what it multiplies a second moment by.
#
# ## What do its networks do?
#
# `st.probe` measures the residual stream by hooks, forward and backward, over independent networks: `build`
# makes a fresh one for each seed. Uniform token ids go in, and a random gradient comes back from the last
# hidden state. `st.identify` holds every placement of the catalogue against that profile.

# %%
found = st.identify(lambda seed: Model(), networks=24, tokens=32, activation="swiglu", progress=False)
assert found.best.placement == "pre-norm"
print(found.words())
found.table.head(5).round(2)

# %% [markdown]
# The distance is the root mean square of theory less measurement over all rows, in standard errors that
# include what a finite width may change. A design that is the same at initialisation stands beside the first
# as a tie.
#
# ## Is that what was meant?
#
# `st.audit` does all of it against an expectation: an architecture, the name of a published model, or a
# configuration.

# %%
EXPECTED = st.Architecture(
    "pre-norm",
    "gpt2",
    depth=DEPTH,
    width=WIDTH,
    heads=HEADS,
    tokens=32,
    mask="causal",
    activation="swiglu",
    ffn_ratio=2,
    norm_epsilon=1e-6,
    init=0.02,
    input_variance=0.02**2,
)


def audited(fault=lambda model: None):
    """The audit of the model with a fault planted in every network."""

    def build(seed):
        model = Model()
        with torch.no_grad():
            fault(model)
        return model

    return st.audit(build, networks=NETWORKS, tokens=32, expected=EXPECTED, progress=False)


healthy = audited()
assert healthy.verdict == "healthy"
healthy

# %% [markdown]
# ## A factor on the wrong matrix
#
# Two popular code bases put the depth factor on the gate in place of the down projection. Nothing breaks: the
# loss starts where it should, and the model trains, worse at depth.


# %%
def on_the_gate(model):
    """The factor 1/sqrt(2L) on the gate in place of the down projection."""
    for block in model.blocks:
        block.down_proj.weight.mul_((2 * DEPTH) ** 0.5)
        block.gate_proj.weight.div_((2 * DEPTH) ** 0.5)


wrong = audited(on_the_gate)
assert {one.what for one in wrong.deviations} == {"ffn.gate", "ffn.down"}
wrong

# %% [markdown]
# Both matrices are named with their ratio, and with these as they were found, theory and networks agree:
# there is nothing else.
#
# ## A norm that is not there
#
# A refactor replaces the norm in front of one block's feed-forward branch by an identity. No matrix
# shows it, but the block calls one norm less than the others.


# %%
def without_a_norm(model):
    """One block whose feed-forward branch reads the stream as it is."""
    model.blocks[DEPTH // 2].ffn_norm = nn.Identity()


missing = audited(without_a_norm)
assert str(missing.deviations[0]) == f"the norm in front of ffn of block {DEPTH // 2} is missing"
missing

# %% [markdown]
# Without that norm, theory and networks agree again. Where norms are no modules, the block is found where the
# two part, and the sentence is the single change, of a fixed list, with which they agree.
#
# ## Copies
#
# PyTorch's own encoder makes its layers by copying one. They start equal, and so are their branches: what
# should add up like independent draws adds up like one.


# %%
def copied(model):
    """All blocks with the weights of the first."""
    for block in model.blocks[1:]:
        block.load_state_dict(model.blocks[0].state_dict())


equal = audited(copied)
assert equal.deviations[0].what == "equal blocks"
equal

# %% [markdown]
# In a test suite, `audit(...).assert_healthy()` raises with the summary; on a command line, `spannorm audit
# model.py:build --expected "pre-norm gpt2 …"` has the exit status 1; `--html` and `write_html` make a page.
#
# Every audit keeps its verification. Below is that of the second one, with the tensors as they were found:
# Monte Carlo less theory in standard errors (SE), a row for each quantity, in which layers fall from the
# input to the output. Of a correct theory 19 of 20 lie in the grey band; layers of a network are
# correlated, so that a whole row may stand to one side, as its black bar (the mean) shows.

# %%
st.plot.residuals(wrong.verification)
