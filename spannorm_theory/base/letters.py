"""Every letter of the theory: its name in the code, meaning, normalisation, and equation in docs/theory.md.

docs/notation.md is generated from :data:`LETTERS` and :data:`~.quantities.QUANTITIES`.
"""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Symbol

from . import symbols


@dataclass(frozen=True)
class Letter:
    """A letter of the theory.

    Attributes:
        written: the symbol of derivations, or LaTeX where they have none.
        code: its name in the code; several are separated by commas.
        meaning: one sentence, with its normalisation.
        equation: label in docs/theory.md.
    """

    written: Symbol | str
    code: str
    meaning: str
    equation: str

    @property
    def latex(self) -> str:
        """The letter in LaTeX."""
        return self.written if isinstance(self.written, str) else symbols.latex_name(self.written)


SIZES = (
    Letter(symbols.layer, "layer", "index of a block of two sublayers, attention and ffn, 0 to L-1", "T1.1"),
    Letter(symbols.depth, "depth", "number of blocks", "T1.1"),
    Letter(symbols.width, "width", "coordinates of a stream", "T1.1"),
    Letter("n", "tokens", "tokens of a sequence", "T2.1"),
    Letter("H", "heads", "attention heads", "T6.2"),
    Letter("d_h", "head_size", "coordinates of a head, d/H where none are given", "T6.4"),
    Letter("m", "hidden", "hidden units of the feed-forward branch, or of one expert", "T9.3"),
    Letter("m_k", "multipliers", "factor of a term in a sum, a formula in (l, L, d)", "T1.1"),
)

MOMENTS = (
    Letter(
        symbols.variance, "variance, q", "second moment of a stream per coordinate, mean over tokens", "T2.1"
    ),
    Letter("p", "p", "covariance of two tokens", "T2.1"),
    Letter(symbols.drop, "drop, delta", "q - p, half the squared distance of two tokens", "T2.1"),
    Letter(r"\rho", "token_cosine, rho", "p/q, the cosine of two tokens", "T2.1"),
    Letter(
        symbols.grad_variance,
        "grad_variance, gamma",
        "second moment of the loss gradient at a stream, per coordinate, for one of 1 at the model's output",
        "T2.2",
    ),
    Letter(symbols.grad_covariance, "grad_covariance, c", "covariance of two tokens' gradients", "T2.2"),
    Letter("r", "grad_token_cosine", "c/gamma, the cosine of two tokens' gradients", "T2.2"),
    Letter(symbols.initial_variance, "initial_variance, q0", "second moment of the embedding", "T8.3"),
    Letter(
        "q_{ij}", "stream_moment", "second moment of streams i and j, likewise of their gradients", "T2.2"
    ),
    Letter("G", "gram", "token Gram of a stream", "T2.2"),
    Letter(r"\Gamma", "grad", "token Gram of a gradient", "T4.3"),
    Letter("K", "conserved", "balance: sum over pairs of streams of gradient times forward moments", "T4.4"),
)

BRANCHES = (
    Letter(
        "s_W", "gains, base_gains", "sigma_W^2, the gain of a matrix: inputs x variance of an entry", "T1.2"
    ),
    Letter("u", "u, branch_sizes", "second moment of what a branch reads", "T4.4"),
    Letter("b", "output", "second moment, or covariance of two tokens, of what a branch puts out", "T5.4"),
    Letter(
        r"\beta",
        "weighted_gains",
        "gradient's second moment at a branch's input over that at its output",
        "T4.4",
    ),
    Letter(
        symbols.sigma_a2,
        "sigma_a2",
        "forward gain of attention: second moment of its output for an input of second moment 1",
        "T3.3",
    ),
    Letter(symbols.sigma_f2, "sigma_f2", "forward gain of the feed-forward branch, likewise", "T5.5"),
    Letter(
        symbols.omega_a2,
        "omega_a2",
        "backward gain of attention: second moment of the gradient at its input for one of 1 at its output",
        "T4.4",
    ),
    Letter(symbols.omega_f2, "omega_f2", "backward gain of the feed-forward branch, likewise", "T5.5"),
    Letter("T_F", "transfer", "from the moments at a branch's input to those of its output", "T3.3"),
    Letter("M_l", "backward_matrix", "linear map of gradient moments through block l", "T4.2"),
    Letter(r"\varphi", "activation", "element-wise function of an ffn branch, or in a norm's place", "T5.1"),
    Letter("K", "value", "kernel E phi phi of a function, for two Gaussians q_1, q_2, c", "T5.1"),
    Letter("K'", "slope", "its slope in c, which is E phi' phi'", "T5.1"),
    Letter("D", "D", "q_1 q_2 - c^2 of the two, zero for one token", "T5.2"),
    Letter("a_k", "coefficients", "coefficients of a function in orthonormal Hermite polynomials", "T5.3"),
    Letter(
        "B", "gain", "gradient covariance of two tokens at a branch's input over that at its output", "T5.5"
    ),
    Letter("p_o", "dropout", "rate of dropout on a branch's output", "T5.8"),
    Letter("p_a", "attention_dropout", "rate of dropout on attention weights", "T6.16"),
    Letter("e", "_alone", "p_a/(1 - p_a), what it adds to second moments of weights", "T6.16"),
)

ATTENTION = (
    Letter("A_{ij}", "weights", "attention weights; rows sum to one", "T6.1"),
    Letter("P_2", "p2", "mean sum of squares of a row of weights, from 1/n to 1", "T6.3"),
    Letter("P_{11}", "p11", "mean inner product of two rows", "T6.3"),
    Letter("M_i", "softmax_gradients", "Jacobian of the softmax of row i", "T6.3"),
    Letter("J", "j", "mean trace of M_i M_i", "T6.3"),
    Letter("J_{11}", "j11", "mean trace of M_i M_k of two rows", "T6.3"),
    Letter("v", "unit_logits, logits", "logit variance s_Q s_K q^2 of uncorrelated tokens", "T6.4"),
    Letter("s^2", "s2, row_variance", "variance of a row's logits around what its keys share", "T6.4"),
    Letter(
        r"\varphi_m",
        "row_powers, one_row",
        "one-key expectations that means of a row are integrals of",
        "T6.5",
    ),
    Letter(r"E\vert Mz\vert^2", "along_query", "J of the coordinate of the keys that a query picks", "T6.12"),
    Letter(r"\text{tilt}", "tilt", "E r J11(r) over the cosine r of two queries", "T6.12"),
    Letter(r"\text{swing}", "swing", "E (r - rho) J11(r), the part of it that varying r adds", "T6.12"),
    Letter(r"K(\rho)", "HeadNorm", "mean cosine of two tokens behind a norm over a head", "T6.13"),
    Letter(
        "d_c",
        "rank",
        "coordinates of a latent, which queries, or keys and values, read",
        "T6.19",
    ),
    Letter("x", "along_key", "share of a key's gradient along it, over that of a random direction", "T6.14"),
    Letter(
        "k", "kept", "what a norm leaves of a key's gradient, over what it leaves of a random one", "T6.14"
    ),
    Letter(
        "b_V", "query_bias", "d times what values gain by sample correlations, per q_V (1 - rho)", "T6.15"
    ),
    Letter("b_J", "query_bias", "d times what J gains by them at a key", "T6.15"),
    Letter(r"\chi", "query_bias, chance", "what J gains per V at a query", "T6.15"),
    Letter(
        "m(t)", "coherence", "what rotations leave of a covariance of logits at distances t apart", "T6.17"
    ),
)

EXPERTS = (
    Letter(r"\mathcal E", "experts", "experts that a router chooses from", "T7.1"),
    Letter("k", "top_k", "experts that a token is sent to", "T7.1"),
    Letter("n_s", "shared_experts, shared", "experts that every token is sent to", "T7.1"),
    Letter("g_e", "gates", "gates: weights of the chosen experts, else zero", "T7.1"),
    Letter("w_e", "weights", "shares of each expert in the sum that gates are shares of", "T7.1"),
    Letter("r_e", "slopes", "slope of the logarithm of an expert's score in its logit", "T7.1"),
    Letter("Y", "overlap", "kernel of the sigmoid that gates shared experts; 1 without a gate", "T7.6"),
    Letter(r"\mu", "factor, routed_scale", "factor on the sum of the chosen experts", "T7.1"),
    Letter("A", "own", "mean sum of squares of a token's gates", "T7.1"),
    Letter("O", "gap", "mean inner product of two tokens' gates; the code keeps A - O", "T7.1"),
    Letter(
        "R", "router, alone", "mean inner product of the Jacobians of two tokens' gates, of one's", "T7.1"
    ),
    Letter("C", "common", "mean share of experts that two tokens have in common", "T7.1"),
    Letter("t", "t", "sqrt((1 - rho)/2), in which overlaps of gates are smooth", "T7.3"),
    Letter("U_S", "scatter", "variance over pairs of tokens of the inner product of their gates", "T7.4"),
)

ENDS = (
    Letter(r"\kappa_l", "exponents", "natural exponent that is carried apart from gradient moments", "T8.2"),
    Letter("P_c", "collision", "probability that two token ids are the same", "T8.3"),
    Letter(
        "s_e, s_p", "embedding_moments", "second moments of the tokens' and the positions' embedding", "T8.3"
    ),
    Letter(r"\mathcal V", "vocabulary", "types of token ids, and of labels", "T8.4"),
    Letter("s_h", "head_gain", "second moment of logits over that of the model's output", "T8.4"),
    Letter("C", "logit_cap", "soft cap of the logits of a head", "T8.8"),
    Letter("f", "alignment_map", "map of the token cosine through a block", "T8.5"),
    Letter(r"\mathcal L", "log_partition", "expected loss of a cross-entropy", "T8.6"),
    Letter(
        "m_h, m_e",
        "logit_multiplier, embedding_multiplier",
        "what logits, an embedding are multiplied by",
        "T8.7",
    ),
)

FINITE_WIDTH = (
    Letter("L/d", "depth, width", "what errors and fluctuations of a finite width grow with", "T9.10"),
    Letter("V", "pair_variance", "variance over pairs of tokens of their covariance, over delta^2", "T9.1"),
    Letter("w", "shares", "share of a stream in the drop of a sum", "T9.2"),
    Letter(r"\eta", "response", "relative answer of a branch's covariance to that of its input", "T9.2"),
    Letter("V_f", "scatter", "variance over pairs that a branch adds by itself, over delta_f^2", "T9.3"),
    Letter("V_A", "overlap_spread", "V of the rows of weights of one head", "T9.3"),
    Letter("M", "m", "energy of the mean mode, q - delta", "T9.4"),
    Letter("U", "network_variance", "variance over networks of ln(delta/q)", "T9.5"),
    Letter(r"\theta", "theta", "spike of the token mean, n p/delta", "T9.6"),
    Letter("y_1, y_2", "first, second", "aspects of two laws, (n-1)/d and (n-1)(V - 1/d); alone: y", "T9.7"),
    Letter(r"\lambda", "eigenvalues", "eigenvalue of X X^T/d over delta", "T9.6"),
    Letter(
        "v_l", "block_variances", "variance that block l adds to the log of a token's squared norm", "T9.10"
    ),
    Letter("V_l, W_l", "below, above", "sums of v below layer l, and from it on", "T9.10"),
    Letter("w", "w", "weight d_h/(d + d_h) of the keys in what they tell of values", "T10.3"),
)

VERIFICATION = (
    Letter(
        r"\text{allowance}",
        "allowances",
        "what a finite network's mean may differ from the wide limit by",
        "T9.11",
    ),
    Letter("k", "threshold", "standard errors that it may differ by beyond that", "T9.12"),
    Letter("SE", "se", "standard error over independent networks", "T9.12"),
    Letter(
        r"\text{gate}", "gate", "difference over (k SE + allowance); at most 1 where a row agrees", "T9.12"
    ),
)

LARGE_DEPTH = (
    Letter(
        "a, b, c, e", "Growth", "coefficients of L ln L, L, ln L and ln ln L in the log of a law", "T12.1"
    ),
    Letter(symbols.constant, "constant", "constant of a law that the first blocks decide", "T12.3"),
    Letter(symbols.running, "running", "block index within a sum or a product", "T12.3"),
    Letter(r"\alpha", "power", "exponent of a product of factors 1 + alpha/l", "T12.3"),
    Letter("t", "SHARE", "share l/L of the depth", "T12.5"),
    Letter("D, A", "D, A", "limit of a block's matrix at large l, and what it has per 1/l", "T12.8"),
    Letter(r"\lambda", "limit", "an entry of D, which several pairs of streams may have", "T12.8"),
)

#: heading of a table, and its letters
LETTERS: dict[str, tuple[Letter, ...]] = {
    "Sizes": SIZES,
    "Moments": MOMENTS,
    "Branches": BRANCHES,
    "Attention": ATTENTION,
    "Experts": EXPERTS,
    "Both ends of a stack": ENDS,
    "Finite width": FINITE_WIDTH,
    "Verification": VERIFICATION,
    "Large depth": LARGE_DEPTH,
}
