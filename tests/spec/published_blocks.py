"""Every published block in plain torch, transcribed from its paper's equation and not from the toolkit.

A block is a function of (streams, b), b the block's own branches, norm, index and depth. Tensors have shape
(tokens, width).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

Streams = list[torch.Tensor]


def rms_norm(x: torch.Tensor) -> torch.Tensor:
    return x / x.pow(2).mean(-1, keepdim=True).sqrt()


def layer_norm(x: torch.Tensor) -> torch.Tensor:
    return functional.layer_norm(x, x.shape[-1:], eps=0)


def unit(x: torch.Tensor) -> torch.Tensor:
    return x / x.norm(dim=-1, keepdim=True)


@dataclass
class Block:
    """What the papers call MHA, FFN and N, in block l of L, l from zero."""

    w: dict[str, torch.Tensor]
    heads: int
    N: Callable[[torch.Tensor], torch.Tensor]
    l: int
    L: int

    def A(self, x: torch.Tensor, qk: bool = False, v: bool = False, inner: bool = False) -> torch.Tensor:
        d = x.shape[-1]
        per_head = []
        for h in range(self.heads):
            part = slice(h * d // self.heads, (h + 1) * d // self.heads)
            query, key, value = ((x @ self.w[f"attn.{name}"])[:, part] for name in ("query", "key", "value"))
            if qk:
                query, key = self.N(query), self.N(key)
            if v:
                value = self.N(value)
            weights = torch.softmax(query @ key.T / math.sqrt(d / self.heads), -1)
            per_head.append(weights @ value)
        mixed = torch.cat(per_head, -1)
        return (self.N(mixed) if inner else mixed) @ self.w["attn.output"]

    def F(self, x: torch.Tensor, inner: bool = False) -> torch.Tensor:
        hidden = functional.gelu(x @ self.w["ffn.up"])
        return (self.N(hidden) if inner else hidden) @ self.w["ffn.down"]


BlockFunction = Callable[[Streams, Block], Streams]
Readout = Callable[[Streams, Callable[[torch.Tensor], torch.Tensor]], torch.Tensor]


@dataclass
class Published:
    block: BlockFunction
    readout: Readout
    scaling: str = "unit"
    heads: int = 4


def raw(s: Streams, N: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    return s[0]


def normed(s: Streams, N: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    return N(s[0])


# --- one stream -------------------------------------------------------------------------------


def no_norm(s: Streams, b: Block) -> Streams:
    x = s[0] + b.A(s[0])
    return [x + b.F(x)]


def post_ln(s: Streams, b: Block, alpha: float = 1.0) -> Streams:
    x = b.N(alpha * s[0] + b.A(s[0]))
    return [b.N(alpha * x + b.F(x))]


def pre_ln(s: Streams, b: Block, c: float = 1.0) -> Streams:
    x = s[0] + c * b.A(b.N(s[0]))
    return [x + c * b.F(b.N(x))]


def deepnorm(s: Streams, b: Block) -> Streams:
    return post_ln(s, b, alpha=(2 * b.L) ** 0.25)


def admin(s: Streams, b: Block) -> Streams:
    n = 2 * b.L
    return post_ln(s, b, alpha=math.sqrt((n + 1) / math.log(n + 1) - 1))


def keel(s: Streams, b: Block) -> Streams:
    alpha, (x,) = 2 * b.L, s
    x = x + b.A(b.N(x)) if b.l == 0 else b.N(alpha * x + b.A(b.N(x)))
    return [b.N((1 if b.l == 0 else alpha) * x + b.F(b.N(x)))]


def b2t(s: Streams, b: Block) -> Streams:
    (x,) = s
    u = b.N(x + b.A(x))
    return [b.N(u + b.F(u) + x)]


def span_norm(s: Streams, b: Block) -> Streams:
    (x,) = s
    y = b.N(x + b.A(b.N(x) if b.l == 0 else x))
    return [b.N(x + b.F(y))]


def hybrid_norm(s: Streams, b: Block) -> Streams:
    z = b.N(s[0] + b.A(s[0], qk=True, v=True))
    return [z + b.F(z)]


def hybrid_norm_7b(s: Streams, b: Block) -> Streams:
    o = b.N(b.A(s[0], qk=True, v=True)) / math.sqrt(2 * b.L)
    z = b.N(s[0] + o)
    return [z + b.F(z)]


def hybrid_norm_star(s: Streams, b: Block) -> Streams:
    if b.l > 0:
        return hybrid_norm(s, b)
    y = s[0] + b.A(b.N(s[0]), qk=True, v=True)
    return [y + b.F(b.N(y))]


def sandwich(s: Streams, b: Block) -> Streams:
    x = s[0] + b.N(b.A(b.N(s[0])))
    return [x + b.N(b.F(b.N(x)))]


def peri_ln(s: Streams, b: Block) -> Streams:
    return sandwich([b.N(s[0])] if b.l == 0 else s, b)


def output_norm(s: Streams, b: Block) -> Streams:
    x = s[0] + b.N(b.A(s[0]))
    return [x + b.N(b.F(x))]


def olmo2(s: Streams, b: Block) -> Streams:
    x = s[0] + b.N(b.A(s[0], qk=True))
    return [x + b.N(b.F(x))]


def swin_v2(s: Streams, b: Block, gain: float = 0.0) -> Streams:
    x = s[0] + gain * b.N(b.A(s[0], qk=True))
    return [x + gain * b.N(b.F(x))]


def shifted_post_norm(s: Streams, b: Block, alpha: float = 1.0, beta: float = 1.0) -> Streams:
    h = b.N(s[0])
    h = b.N(alpha * h + beta * b.A(h))
    return [alpha * h + beta * b.F(h)]


def residual_gate(s: Streams, b: Block, w: float = 0.0, T: float = 0.3) -> Streams:
    """In the published parameters: both gates from one number w over a temperature T."""
    beta = torch.sigmoid(torch.tensor(w / T, dtype=torch.float64))
    alpha = torch.sqrt(torch.sigmoid(torch.tensor(-w / T, dtype=torch.float64)) * (1 + beta))
    x = alpha * s[0] + beta * b.N(b.A(b.N(s[0])))
    return [alpha * x + beta * b.N(b.F(b.N(x)))]


def gated_post_norm(s: Streams, b: Block, maps: list[str] | None = None) -> Streams:
    """Every gate is a low-rank map, here of zeros, behind a sigmoid; or one with the matrices ``maps``."""
    r, down = s[0], s[0].new_zeros(s[0].shape[-1], 2)
    given = iter(maps or [])

    def G(x: torch.Tensor) -> torch.Tensor:
        z = x @ b.w[next(given)] if maps else functional.silu(x @ down) @ down.T
        return x * torch.sigmoid(z)

    for branch in (b.A, b.F):
        r = G(b.N(r + branch(G(b.N(r)))))
    return [r]


def gemma_4(s: Streams, b: Block, c: float = 1.0) -> Streams:
    x = s[0] + b.N(b.A(b.N(s[0]), qk=True, v=True))
    return [(x + b.N(b.F(b.N(x)))) * c]


def depth_scaled_sandwich(s: Streams, b: Block, c: float = 1.0) -> Streams:
    gain = c / math.sqrt(b.L)
    x = s[0] + b.N(b.A(b.N(s[0]))) * gain
    return [x + b.N(b.F(b.N(x))) * gain]


def olmo_hybrid(s: Streams, b: Block, every: int = 4) -> Streams:
    return olmo2(s, b) if (b.l + 1) % every == 0 else pre_ln(s, b)


def norm_preserving(s: Streams, b: Block) -> Streams:
    share = float(functional.softplus(torch.zeros((), dtype=torch.float64))) / b.L
    x = math.sqrt(1 - share) * s[0] + math.sqrt(share) * b.A(b.N(s[0]))
    return [math.sqrt(1 - share) * x + math.sqrt(share) * b.F(b.N(x))]


def ln_scaling(s: Streams, b: Block) -> Streams:
    c = math.sqrt(b.l + 1)
    x = s[0] + b.A(b.N(s[0]) / c)
    return [x + b.F(b.N(x) / c)]


def gpas(s: Streams, b: Block) -> Streams:
    shrink = functional.silu(torch.zeros(()))
    x = s[0] + b.A(b.N(s[0]))
    x = x - shrink * x.detach()
    x = x + b.F(b.N(x))
    return [x - shrink * x.detach()]


def mix_ln(s: Streams, b: Block, share: float = 0.25) -> Streams:
    return post_ln(s, b) if b.l < math.floor(share * b.L) else pre_ln(s, b)


def sub_ln(s: Streams, b: Block) -> Streams:
    x = s[0] + b.A(b.N(s[0]), inner=True)
    return [x + b.F(b.N(x), inner=True)]


def normformer(s: Streams, b: Block) -> Streams:
    x = s[0] + b.N(b.A(b.N(s[0])))
    return [x + b.F(b.N(x), inner=True)]


def parallel_pre(s: Streams, b: Block) -> Streams:
    z = b.N(s[0])
    return [s[0] + b.A(z) + b.F(z)]


def parallel_post(s: Streams, b: Block) -> Streams:
    return [b.N(s[0] + b.A(s[0]) + b.F(s[0]))]


def parallel_peri(s: Streams, b: Block) -> Streams:
    z = b.N(s[0])
    return [s[0] + b.N(b.A(z) + b.F(z))]


def ngpt(s: Streams, b: Block, a: float = 0.05) -> Streams:
    """On unit vectors h, whose sqrt(d) multiples are what the projections read (their scale sqrt(d))."""
    root = math.sqrt(s[0].shape[-1])
    h = unit(s[0]) if b.l == 0 else s[0] / root
    h = unit(h + a * (unit(b.A(root * h, qk=True)) - h))
    h = unit(h + a * (unit(b.F(root * h)) - h))
    return [root * h]


def dyt(s: Streams, b: Block) -> Streams:
    x = s[0] + b.A(torch.tanh(0.5 * s[0]))
    return [x + b.F(torch.tanh(0.5 * x))]


def derf(s: Streams, b: Block) -> Streams:
    x = s[0] + b.A(torch.erf(0.5 * s[0]))
    return [x + b.F(torch.erf(0.5 * x))]


# --- several streams --------------------------------------------------------------------------


def residual(s: Streams, b: Block) -> Streams:
    x, y = s
    for branch in (b.A, b.F):
        o = branch(x)
        y = y + o
        x = b.N(x + o)
    return [x, y]


def siamese_norm(s: Streams, b: Block) -> Streams:
    x, y = s
    for k, branch in enumerate((b.A, b.F)):
        o = branch(b.N(x + b.N(y)))
        x, y = b.N(x + o / math.sqrt(2 * b.l + k + 1)), y + o
    return [x, y]


def siamese_norm_plain(s: Streams, b: Block) -> Streams:
    x, y = s
    for branch in (b.A, b.F):
        o = branch(x + b.N(y))
        x, y = b.N(x + o), y + o
    return [x, y]


def siamese_norm_hybrid_pre(s: Streams, b: Block) -> Streams:
    (x, y), c = s, math.sqrt(2 * (b.l + 1))
    a = b.A(x + b.N(y), qk=True, v=True)
    x, y = x + a / c, y + a
    nx = b.N(x)
    f = b.F(b.N(nx + b.N(y)))
    return [nx + f / c, y + f]


def siamese_norm_post_pre(s: Streams, b: Block) -> Streams:
    (x, y), c = s, math.sqrt(2 * (b.l + 1))
    for branch in (b.A, b.F):
        x = b.N(x)
        r = branch(b.N(x + b.N(y)))
        x, y = x + r / c, y + r
    return [x, y]


def hyper_connections(s: Streams, b: Block) -> Streams:
    H, ones = torch.stack(s), torch.ones(4, dtype=s[0].dtype)
    for k, branch in enumerate((b.A, b.F)):
        pick = functional.one_hot(torch.tensor((2 * b.l + k) % 4), 4).to(H.dtype)
        o = branch(b.N(torch.einsum("i,ind->nd", pick, H)))
        H = torch.einsum("ij,jnd->ind", torch.eye(4, dtype=H.dtype), H) + torch.einsum("i,nd->ind", ones, o)
    return list(H)


def multi_stream(s: Streams, b: Block, identity: bool = False) -> Streams:
    """mHC with the maps of its gates at zero: logits are their base. Without mixing, as in Hunyuan V4, those
    in front of the branch start at -ln(n - 1)."""
    X, n = torch.stack(s), len(s)
    base = -math.log(n - 1) if identity else 0.0
    pre = torch.sigmoid(torch.full((n,), base, dtype=X.dtype))
    post = 2 * torch.sigmoid(torch.zeros(n, dtype=X.dtype))
    C = torch.eye(n, dtype=X.dtype)
    if not identity:
        C = torch.softmax(torch.zeros(n, n, dtype=X.dtype), -1)
        for _ in range(20):
            C = C / C.sum(0, keepdim=True)
            C = C / C.sum(1, keepdim=True)
    for branch in (b.A, b.F):
        y = branch(b.N(torch.einsum("j,jnd->nd", pre, X)))
        X = torch.einsum("ij,jnd->ind", C, X) + post[:, None, None] * y
    return list(X)


def gated_streams(s: Streams, b: Block, random: bool = False) -> Streams:
    X = torch.stack(s)
    for i, branch in enumerate((b.A, b.F)):
        normed = torch.stack([b.N(x) for x in X])
        maps = [b.w[f"gate.{4 * i + j}"] if random else X.new_zeros(X.shape[-1], 1) for j in range(4)]
        g = torch.sigmoid(normed @ torch.stack(maps))
        inject = 2 * torch.sigmoid(X.new_zeros(len(s)))
        X = X + inject[:, None, None] * branch((g * normed).mean(0))
    return list(X)


# --- earlier values: the streams of these are what the toolkit carries for it -------------------


def embedding_mixing(s: Streams, b: Block) -> Streams:
    x, x0, middle = s
    if b.l == 0:
        x, x0 = b.N(x), b.N(x0)
    i, n = b.l, b.L
    x = (1.15 - 0.10 * i / max(n - 1, 1)) * x + (0.20 - 0.15 * i / max(n - 1, 1)) * x0
    (x,) = pre_ln([x], b)
    return [x, x0, x if b.l < b.L // 2 else middle]


class AttentionResiduals:
    """Keeps what every sublayer has put out, or the sums of finished blocks of them, and reads all by a
    softmax over depth of zero queries."""

    def __init__(self, size: int = 1) -> None:
        self.size = size
        self.finished: list[torch.Tensor] = []
        self.current: list[torch.Tensor] = []

    def read(self, N: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        begun = [torch.stack(self.current).sum(0)] if self.current else []
        values = torch.stack([*self.finished, *begun])
        scores = torch.stack([N(v) for v in values]) @ values.new_zeros(values.shape[-1])
        return (torch.softmax(scores, 0)[..., None] * values).sum(0)

    def __call__(self, s: Streams, b: Block) -> Streams:
        if b.l == 0:
            self.finished, self.current = [s[0]], []
        for branch in (b.A, b.F):
            self.current.append(branch(b.N(self.read(b.N))))
            if len(self.current) == self.size:
                self.finished.append(torch.stack(self.current).sum(0))
                self.current = []
        return [self.read(b.N)]


class Inkling2:
    """Attends over the depth with zero queries: values are the normed embedding and the normed sums of groups
    of blocks, the last of them as far as it has come."""

    def __init__(self, layers: int = 6) -> None:
        self.layers = layers
        self.states: list[torch.Tensor] = []

    def read(self, partial: torch.Tensor, N: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        values = torch.stack([N(x) for x in (*self.states, partial)])
        weights = torch.softmax(values @ values.new_zeros(values.shape[-1]), 0)
        return (weights[..., None] * values).sum(0)

    def __call__(self, s: Streams, b: Block) -> Streams:
        if b.l == 0:
            self.states = []
        partial = s[1]
        o = b.A(b.N(self.read(partial, b.N) if b.l else partial))
        if b.l % self.layers == 0:
            self.states.append(partial)
            partial = o
        else:
            partial = partial + o
        partial = partial + b.F(b.N(self.read(partial, b.N)))
        return [torch.stack([b.N(x) for x in self.states]).sum(0), partial]


PUBLISHED: dict[str, Published] = {
    "no-norm": Published(no_norm, raw),
    "post-norm": Published(post_ln, raw),
    "pre-norm": Published(pre_ln, normed),
    "pre-norm(branch=0.22)": Published(lambda s, b: pre_ln(s, b, 0.22), normed),
    "deepnorm": Published(deepnorm, raw),
    "admin": Published(admin, raw),
    "keel": Published(keel, raw, scaling="keel"),
    "b2t": Published(b2t, raw),
    "span-norm": Published(span_norm, raw),
    "hybrid-norm": Published(hybrid_norm, normed),
    "hybrid-norm(output_norm=True)": Published(hybrid_norm_7b, normed),
    "hybrid-norm-star": Published(hybrid_norm_star, normed),
    "sandwich": Published(sandwich, normed),
    "peri-ln": Published(peri_ln, normed),
    "peri-ln(embedding_norm=False)": Published(sandwich, normed),
    "output-norm": Published(output_norm, normed),
    # the paper norms the whole projection: with one head that is the norm over a head
    "olmo2": Published(olmo2, normed, heads=1),
    "swin-v2": Published(swin_v2, normed),
    "swin-v2(gain=0.7)": Published(lambda s, b: swin_v2(s, b, 0.7), normed),
    "ln-scaling": Published(ln_scaling, normed),
    "gpas": Published(gpas, normed),
    "mix-ln": Published(mix_ln, normed),
    "mix-ln(fraction=0.6)": Published(lambda s, b: mix_ln(s, b, 0.6), normed),
    "sub-ln": Published(sub_ln, normed),
    "normformer": Published(normformer, normed),
    "parallel-pre": Published(parallel_pre, normed),
    "parallel-post": Published(parallel_post, raw),
    "parallel-peri": Published(parallel_peri, normed),
    "ngpt": Published(ngpt, raw),
    "ngpt(rate=0.3)": Published(lambda s, b: ngpt(s, b, 0.3), raw),
    "shifted-post-norm": Published(shifted_post_norm, normed),
    "shifted-post-norm(branch=0.7, skip=3.5)": Published(
        lambda s, b: shifted_post_norm(s, b, 3.5, 0.7), normed
    ),
    "residual-gate": Published(residual_gate, normed),
    "residual-gate(gate=0.25)": Published(lambda s, b: residual_gate(s, b, -0.3 * math.log(3)), normed),
    "gated-post-norm": Published(gated_post_norm, raw),
    "gated-post-norm(logits=1.5)": Published(
        lambda s, b: gated_post_norm(s, b, [f"gate.{i}" for i in range(4)]), raw
    ),
    "gated-post-norm(logits=1.5, scalar=True)": Published(
        lambda s, b: gated_post_norm(s, b, [f"token_gate.{i}" for i in range(4)]), raw
    ),
    "gemma-4": Published(gemma_4, normed),
    "gemma-4(scalar=0.3)": Published(lambda s, b: gemma_4(s, b, 0.3), normed),
    "depth-scaled-sandwich": Published(depth_scaled_sandwich, normed),
    "depth-scaled-sandwich(start=0.5)": Published(lambda s, b: depth_scaled_sandwich(s, b, 0.5), normed),
    "olmo-hybrid": Published(olmo_hybrid, normed, heads=1),
    "olmo-hybrid(period=2)": Published(lambda s, b: olmo_hybrid(s, b, 2), normed, heads=1),
    "norm-preserving": Published(norm_preserving, normed),
    "denseformer": Published(lambda s, b: pre_ln(s, b), normed),
    "dyt": Published(dyt, lambda s, N: torch.tanh(0.5 * s[0])),
    "derf": Published(derf, lambda s, N: torch.erf(0.5 * s[0])),
    "residual": Published(residual, lambda s, N: s[0] + N(s[1])),
    "siamese-norm": Published(siamese_norm, lambda s, N: s[0] + N(s[1])),
    "siamese-norm(depth_scaling=False, normalised_input=False)": Published(
        siamese_norm_plain, lambda s, N: s[0] + N(s[1])
    ),
    "siamese-norm-hybrid-pre": Published(siamese_norm_hybrid_pre, lambda s, N: N(N(s[0]) + N(s[1]))),
    "siamese-norm-post-pre": Published(siamese_norm_post_pre, lambda s, N: N(N(s[0]) + N(s[1]))),
    "hyper-connections": Published(hyper_connections, lambda s, N: N(s[0] + s[1] + s[2] + s[3])),
    "mhc": Published(multi_stream, lambda s, N: N(sum(s, torch.zeros_like(s[0])))),
    "identity-hyper-connections": Published(
        lambda s, b: multi_stream(s, b, identity=True), lambda s, N: N(sum(s, torch.zeros_like(s[0])))
    ),
    "gated-streams": Published(gated_streams, lambda s, N: sum(0.5 * N(x) for x in s) / 4),
    "gated-streams(logits=1.5)": Published(
        lambda s, b: gated_streams(s, b, random=True), lambda s, N: sum(0.5 * N(x) for x in s) / 4
    ),
    "embedding-mixing": Published(embedding_mixing, lambda s, N: N(s[0] - 0.2 * s[2])),
    "attention-residuals": Published(AttentionResiduals(), normed),
    "attention-residuals(block=4)": Published(AttentionResiduals(4), normed),
    "inkling-2": Published(Inkling2(), lambda s, N: N(s[0] + N(s[1]))),
    "inkling-2(layers=2)": Published(Inkling2(2), lambda s, N: N(s[0] + N(s[1]))),
}
