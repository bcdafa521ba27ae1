"""Every symbol of the theory, with its assumptions, meaning and normalisation.

No other module creates a sympy symbol: two symbols with one name but different assumptions
are different to sympy, and a formula that mixes them does not simplify. The notation table of
the documentation is generated from :data:`NOTATION`.
"""

from __future__ import annotations

from sympy import Symbol

layer = Symbol("l", integer=True, nonnegative=True)
depth = Symbol("L", integer=True, positive=True)
width = Symbol("d", integer=True, positive=True)

sigma_a2 = Symbol("sigma_a^2", positive=True)
sigma_f2 = Symbol("sigma_f^2", positive=True)
omega_a2 = Symbol("omega_a^2", positive=True)
omega_f2 = Symbol("omega_f^2", positive=True)

variance = Symbol("q", positive=True)
initial_variance = Symbol("q^0", positive=True)
grad_variance = Symbol("gamma", positive=True)
final_grad_variance = Symbol("gamma^L", positive=True)

#: second moments of two pre-activations and their covariance
kernel_arguments = (Symbol("q_1", positive=True), Symbol("q_2", positive=True), Symbol("c", real=True))

running = Symbol("k", integer=True, nonnegative=True)
exponent = Symbol("kappa", real=True)
small = Symbol("epsilon", positive=True)
factor = Symbol("lambda", positive=True)

#: constant branch gains: the forward and backward second moment of each kind of branch
GAINS: dict[str, tuple[Symbol, Symbol]] = {
    "attention": (sigma_a2, omega_a2),
    "ffn": (sigma_f2, omega_f2),
}

#: symbol, code name, meaning with normalisation
NOTATION: tuple[tuple[Symbol, str, str], ...] = (
    (layer, "layer", "block index, 0 to L-1; a block is one attention and one feed-forward sublayer"),
    (depth, "depth", "number of blocks"),
    (width, "width", "coordinates of a stream"),
    (variance, "variance", "second moment per coordinate of a stream, mean over tokens"),
    (grad_variance, "grad_variance", "second moment per coordinate of the loss gradient at a stream"),
    (sigma_a2, "sigma_a2", "forward second moment of an attention branch whose input has second moment 1"),
    (sigma_f2, "sigma_f2", "forward second moment of a feed-forward branch whose input has second moment 1"),
    (omega_a2, "omega_a2", "backward gain of the same attention branch"),
    (omega_f2, "omega_f2", "backward gain of the same feed-forward branch"),
)


def stream_moment(base: Symbol, i: int, j: int, streams: int) -> Symbol:
    """Cross moment of streams ``i`` and ``j``: ``q`` alone for one stream, ``q_01`` for two."""
    if streams == 1:
        return base
    i, j = min(i, j), max(i, j)
    return Symbol(f"{base.name}_{i}{j}", positive=True)


def transfer(name: str) -> Symbol:
    """A numeric coefficient of one branch (its input moment, its backward gain) inside a step."""
    return Symbol(name, real=True)
