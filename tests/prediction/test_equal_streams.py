"""Streams that start equal, attention over depth and residual gates (T3.5 to T3.8), against plain torch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sympy import Rational

import spannorm_theory as st
from spannorm_theory.base.symbols import depth
from spannorm_theory.literature.facts.streams import LIBRARY, gate_variance
from spannorm_theory.spec.graph import Value
from spannorm_theory.spec.net import Net

Pair = tuple[Value, Value]
NETWORKS, TOKENS, WIDTH, HIDDEN, STREAMS = 48, 4, 96, 192, 4
#: rows that sum to one, with a negative entry, and columns that do not
ROWS = ((Rational(5, 4), Rational(-1, 4)), (Rational(1, 3), Rational(2, 3)))


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(11)


def norm(x: torch.Tensor) -> torch.Tensor:
    return x / x.pow(2).mean(-1, keepdim=True).sqrt()


def branch(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A ReLU branch of fresh weights in every network, of second moment 1 for an input of 1."""
    up = torch.randn(NETWORKS, WIDTH, HIDDEN, generator=generator) / math.sqrt(WIDTH)
    down = torch.randn(NETWORKS, HIDDEN, WIDTH, generator=generator) * math.sqrt(2 / HIDDEN)
    return torch.relu(x @ up) @ down


def embedding(generator: torch.Generator) -> torch.Tensor:
    return torch.randn(NETWORKS, TOKENS, WIDTH, generator=generator)


def agrees(found: torch.Tensor, theory: float) -> bool:
    """Whether the mean over networks is within four standard errors and 2 %, the finite width's."""
    each = found.double().mean(-1).numpy()
    error = each.std(ddof=1) / math.sqrt(len(each))
    return abs(each.mean() - theory) < 4 * error + 0.02 * abs(theory)


def mixing(name: str, second: tuple[Rational, Rational], gate: float) -> None:
    """Registers two streams that are mixed by ROWS, or by another ``second`` row, and read by a difference;
    the branch is added to the second times ``gate``."""

    @st.placement(name, title=name, source="here", streams=2, readout=lambda s, net: net.norm(s[0] + s[1]))
    def mixed(streams: Pair, net: Net) -> Pair:
        for sublayer in (net.attention, net.ffn):
            x, y = streams
            o = sublayer(net.norm(x * 2 - y * 0.5))
            rows = (ROWS[0], second)
            x, y = (net.sum([(a, x), (b, y)]) for a, b in rows)
            streams = net.add(x, o), net.add(y, o * gate)
        return streams


def values(placement: str, quantity: str, stream: str) -> np.ndarray:
    table = st.predict(st.Architecture(placement, depth=4, width=128, heads=4, tokens=16))
    rows = table[(table["quantity"] == quantity) & (table["stream"] == stream)].sort_values("layer")
    return rows["value"].to_numpy()


@pytest.mark.exact
def test_rows_that_sum_to_one_are_pre_norm_and_others_are_not(registries: None) -> None:
    mixing("mixed", ROWS[1], 1.0)
    mixing("rows", (Rational(1, 3), Rational(3, 4)), 1.0)
    mixing("gates", ROWS[1], 1.5)
    pre = values("pre-norm", "variance", "0"), values("pre-norm", "grad_variance", "0")[:1]
    for name, same in (("mixed", True), ("rows", False), ("gates", False)):
        found = values(name, "variance", "1"), values(name, "grad_variance", "input")[:1]
        for one, other in zip(found, pre, strict=True):
            assert np.allclose(one, other, rtol=1e-9) == same, name
    assert [str(each) for each in st.reduces_to("mixed")] == ["PreNorm in every block"]
    assert st.reduces_to("rows") == st.reduces_to("gates") == ()


@pytest.mark.statistical
def test_the_librarys_start_of_mhc_grows_faster(generator: torch.Generator) -> None:
    """Maps of all entries, softmax, 20 Sinkhorn steps, and the matrix applied transposed: the library's."""
    X = embedding(generator)[:, :, None].expand(-1, -1, STREAMS, -1)
    logits, sublayers = STREAMS * (2 + STREAMS), 24
    for _ in range(sublayers):
        flat = norm(X.flatten(2))
        maps = torch.randn(NETWORKS, STREAMS * WIDTH, logits, generator=generator)
        z = flat @ maps * LIBRARY / math.sqrt(STREAMS * WIDTH)
        pre, post, C = z.split([STREAMS, STREAMS, STREAMS**2], -1)
        C = torch.softmax(C.unflatten(-1, (STREAMS, STREAMS)), -1)
        for _ in range(20):
            C = C / C.sum(-2, keepdim=True)
            C = C / C.sum(-1, keepdim=True)
        y = branch(norm((torch.sigmoid(pre)[..., None] * X).sum(2)), generator)
        X = C.transpose(-1, -2) @ X + (2 * torch.sigmoid(post))[..., None] * y[:, :, None]
    mean = X.mean(2).pow(2).mean(-1)
    assert agrees(mean, 1 + sublayers * (1 + gate_variance(LIBRARY) / STREAMS))
    assert not agrees(mean, 1 + sublayers)
    assert float(X.pow(2).mean()) > 1.02 * float(mean.mean())  # the streams differ


@pytest.mark.statistical
@pytest.mark.parametrize("size", [1, 4])
def test_attention_over_depth_reads_less_and_less(size: int, generator: torch.Generator) -> None:
    finished, current, theory = [embedding(generator)], [], 1.0
    for k in range(1, 17):
        sources = torch.stack([*finished, *([torch.stack(current).sum(0)] if current else [])])
        weights = torch.softmax(norm(sources) @ torch.zeros(WIDTH), 0)
        h = (weights[..., None] * sources).sum(0)
        theory = k / (1 + math.ceil((k - 1) / size)) ** 2
        assert agrees(h.pow(2).mean(-1), theory)
        current.append(branch(norm(h), generator))
        if len(current) == size:
            finished, current = [*finished, torch.stack(current).sum(0)], []
    block = st.derive(f"attention-residuals(block={size})").block
    assert len(block.trace.streams) == 1
    assert theory == pytest.approx(1 / 16 if size == 1 else 16 / 25)


@pytest.mark.statistical
def test_normed_values_are_read_alike_whatever_their_sizes(generator: torch.Generator) -> None:
    finished, groups = [embedding(generator)], 6
    for group in range(1, groups + 1):
        current = torch.zeros_like(finished[0])
        for _ in range(4):  # two blocks, whose branches grow from group to group
            values = torch.stack([norm(x) for x in ([*finished, current] if current.any() else finished)])
            h = (torch.softmax(values @ torch.zeros(WIDTH), 0)[..., None] * values).sum(0)
            assert agrees(h.pow(2).mean(-1), 1 / len(values))
            current = current + group * branch(norm(h), generator)
        finished.append(current)
    arch = st.Architecture("inkling-2(layers=2)", depth=2 * groups, width=WIDTH, heads=4, tokens=TOKENS)
    table = st.predict(arch)
    sums = table[(table["quantity"] == "variance") & (table["stream"] == "0")].sort_values("layer")
    assert sums["value"].to_numpy()[1::2] == pytest.approx(np.arange(1, groups + 1), rel=1e-9)


@pytest.mark.statistical
def test_a_residual_gate_forgets_its_input(generator: torch.Generator) -> None:
    start = x = embedding(generator)
    a, b = torch.tensor(0.75).sqrt(), 0.5
    gain = st.derive("residual-gate").closed_form()["identity_gain"]
    for l in range(1, 13):
        x = a * x + b * norm(branch(norm(x), generator))
        if l in (2, 8, 12):
            cosine = torch.cosine_similarity(x, start, -1)
            assert agrees(x.pow(2).mean(-1), 1.0)
            each = cosine.double().mean(-1)
            error = float(each.std()) / math.sqrt(NETWORKS)
            theory = float(gain.subs(depth, Rational(l, 2)))
            assert abs(float(each.mean()) - theory) < 4 * error + 0.01
