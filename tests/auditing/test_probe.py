"""A user's module as it is measured: against Monte Carlo of its architecture, and left as it was."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from modules import HEADS, HIDDEN, VOCABULARY, WIDTH, Attention, Model, Norm
from torch import nn

import spannorm_theory as st
from spannorm_theory.base.errors import InputError, SpannormError

pytestmark = pytest.mark.usefixtures("registries", "own_generator")

SIZES = {"depth": 3, "width": WIDTH, "heads": HEADS, "tokens": 8, "ffn_ratio": HIDDEN / WIDTH}
#: rows of one comparison, each of which may stray by this many standard errors
ROWS_STRAY = 4.5


def joined(probe: st.Probe, arch: st.Architecture, networks: int) -> pd.DataFrame:
    """Rows of a probe beside those of the architecture's own networks, with their distance in standard
    errors."""
    own = st.simulate(arch, networks=networks, seed=1, progress=False, device="cpu").table
    both = probe.table.merge(own, on=["layer", "stream", "quantity"], suffixes=("", "_own"))
    assert set(both["quantity"]) == set(own["quantity"])
    assert len(both) == len(own)
    error = np.hypot(both["se"], both["se_own"])
    return both.assign(z=((both["value"] - both["value_own"]) / error.where(error > 1e-12)).fillna(0.0))


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("options", "arch"),
    [
        ({"fused": True}, "pre-norm activation=gelu"),
        ({"post": True, "head": "tied"}, "post-norm activation=gelu"),
        ({"gated": True, "causal": True, "head": "none"}, "pre-norm activation=swiglu mask=causal"),
    ],
)
def test_a_module_is_measured_as_the_networks_of_its_architecture(options: dict[str, Any], arch: str) -> None:
    measured = st.probe(lambda seed: Model(**options), networks=160, tokens=8, progress=False)
    both = joined(measured, st.Architecture.parse(arch).with_(**SIZES), 640)
    assert both["z"].abs().max() < ROWS_STRAY, both.loc[both["z"].abs().idxmax()]


def one(model: nn.Module, **options: Any) -> pd.DataFrame:
    return st.probe(model, torch.arange(8)[None] * 7, progress=False, **options).table


@pytest.mark.exact
@pytest.mark.parametrize(
    "options",
    [
        {"style": "tuple"},
        {"style": "in-place"},
        {"checkpointed": False},
        {"checkpointed": True},
        {"head": "tied"},
        {"head": "none"},
    ],
    ids=str,
)
def test_how_a_module_is_written_is_of_no_matter(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    plain, other = Model(), Model(**options)
    other.load_state_dict(plain.state_dict(), strict=False)
    columns = ["layer", "stream", "quantity", "value"]
    pd.testing.assert_frame_equal(one(plain)[columns], one(other)[columns], rtol=1e-5)


@pytest.mark.exact
def test_gradients_are_those_of_autograd() -> None:
    torch.manual_seed(0)
    model, ids = Model(), torch.arange(8)[None] * 7
    table = st.probe(model, ids, loss=lambda logits: logits.logsumexp(-1).sum(), progress=False).table
    streams = [model.embed(ids)]
    for block in model.blocks:
        streams.append(block(streams[-1]))
    loss = model.lm_head(model.norm(streams[-1])).logsumexp(-1).sum()
    grads = torch.autograd.grad(loss, [*streams, model.blocks[1].attn.k_proj.weight])
    rows = table[(table["quantity"] == "grad_variance")]["value"].tolist()
    assert rows == pytest.approx([float(g.square().mean()) for g in grads[:4]], rel=1e-5)
    own = table[(table["stream"] == "attn.key") & (table["layer"] == 1)]["value"].item()
    assert own == pytest.approx(float(grads[4].square().sum()), rel=1e-5)
    variance = table[table["quantity"] == "variance"]["value"].tolist()
    assert variance == pytest.approx([float(x.square().mean()) for x in map(torch.detach, streams)], rel=1e-5)


@pytest.mark.exact
def test_bfloat16_is_measured_in_float64_of_what_the_module_holds() -> None:
    torch.manual_seed(0)
    model = Model().bfloat16()
    ids = torch.arange(8)[None] * 7
    table = one(model)
    found = table[(table["quantity"] == "variance") & (table["layer"] == 0)]["value"].item()
    assert found == pytest.approx(float(model.embed(ids).detach().double().square().mean()), rel=1e-12)
    wide = one(model.float())
    close = table.merge(wide, on=["layer", "stream", "quantity"])
    rows = close[close["quantity"].isin(["variance", "weight_grad_norm", "grad_variance"])]
    assert (rows["value_x"] / rows["value_y"]).to_numpy() == pytest.approx(1, abs=0.05)  # 8 bits of mantissa


@pytest.mark.exact
def test_what_stands_around_a_module_and_how_its_numbers_were_made_are_of_no_matter() -> None:
    with torch.inference_mode():
        torch.manual_seed(0)
        frozen = Model()
    torch.manual_seed(0)
    table = one(Model())
    pd.testing.assert_frame_equal(one(frozen), table)
    torch.manual_seed(0)
    pd.testing.assert_frame_equal(one(nn.DataParallel(Model())), table)


@pytest.mark.exact
def test_sequences_of_a_batch_are_averaged() -> None:
    torch.manual_seed(0)
    model = Model()
    ids = torch.randint(VOCABULARY, (3, 8), generator=torch.Generator().manual_seed(0))
    both = st.probe(model, ids, progress=False)
    single = [st.probe(model, row[None], progress=False).table for row in ids]
    forward = [
        t[t["quantity"].isin(["variance", "token_cosine", "stable_rank", "branch_share"])]["value"]
        for t in single
    ]
    rows = both.table[
        both.table["quantity"].isin(["variance", "token_cosine", "stable_rank", "branch_share"])
    ]
    assert both.sequences == 3
    assert rows["value"].tolist() == pytest.approx(np.mean(forward, axis=0).tolist(), rel=1e-5)


@pytest.mark.statistical
def test_weight_gradients_are_of_one_sequence() -> None:
    torch.manual_seed(0)
    few = st.probe(lambda seed: Model(depth=2), networks=60, tokens=8, progress=False).table
    many = st.probe(lambda seed: Model(depth=2), networks=60, tokens=8, sequences=4, progress=False).table
    both = few.merge(many, on=["layer", "stream", "quantity"])
    rows = both[both["quantity"] == "weight_grad_norm"]
    z = (rows["value_x"] - rows["value_y"]) / np.hypot(rows["se_x"], rows["se_y"])
    assert z.abs().max() < ROWS_STRAY


# --- what is left behind --------------------------------------------------------------------------


def state(model: nn.Module) -> list[object]:
    """Everything of a module that a measurement might change."""
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    flags = [
        (p.requires_grad, p._version, p.grad is None or p.grad.clone().tolist()) for p in model.parameters()
    ]
    numbers = [p.detach().clone().tolist() for p in (*model.parameters(), *model.buffers())]
    return [hooks, flags, numbers, [m.training for m in model.modules()], torch.get_rng_state().tolist()]


class Counting(Model):
    """A module that counts its calls in a buffer, is partly frozen and partly in training mode."""

    def __init__(self, fails: bool = False) -> None:
        super().__init__(dropout=0.5)
        self.fails = fails
        self.register_buffer("calls", torch.zeros(()))
        self.embed.weight.requires_grad_(False)
        self.blocks[0].eval()
        self.blocks[1].attn.q_proj.weight.grad = torch.ones(WIDTH, WIDTH)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.fails:
            raise RuntimeError("no such ids")
        return super().forward(ids)


@pytest.mark.exact
@pytest.mark.parametrize("fails", [False, True])
def test_a_module_is_left_as_it_was_found(fails: bool) -> None:
    model = Counting(fails)
    before = state(model)
    if fails:
        with pytest.raises(InputError, match=r"Counting failed on its inputs: RuntimeError: no such ids"):
            one(model)
    else:
        one(model)
    assert state(model) == before


@pytest.mark.exact
def test_dropout_is_off_unless_it_is_asked_for() -> None:
    torch.manual_seed(0)
    dropped = Model(dropout=0.5)
    plain = copy.deepcopy(dropped)
    for module in plain.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    pd.testing.assert_frame_equal(one(dropped), one(plain))
    assert (one(dropped, training=True)["value"] != one(plain)["value"]).any()


@pytest.mark.exact
def test_the_global_generators_stay_where_they_were() -> None:
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    expected = torch.rand(2), np.random.rand()  # noqa: NPY002
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    st.probe(lambda seed: Model(depth=2), networks=2, tokens=4, progress=False)
    assert torch.equal(torch.rand(2), expected[0])
    assert np.random.rand() == expected[1]  # noqa: NPY002


@pytest.mark.exact
def test_networks_are_those_of_their_seeds() -> None:
    first = st.probe(lambda seed: Model(depth=2), networks=3, tokens=4, progress=False)
    again = st.probe(lambda seed: Model(depth=2), networks=3, tokens=4, progress=False)
    other = st.probe(lambda seed: Model(depth=2), networks=3, tokens=4, seed=1, progress=False)
    pd.testing.assert_frame_equal(first.table, again.table)
    assert not set(first.seeds) & set(other.seeds)
    assert (first.table["value"] != other.table["value"]).any()


@pytest.mark.exact
def test_a_single_module_says_that_it_has_no_standard_errors() -> None:
    measured = st.probe(Model(), tokens=4, progress=False)
    assert measured.networks == 1
    assert measured.table["se"].isna().all()
    assert "one network has no standard errors" in repr(measured)


# --- where the stream is --------------------------------------------------------------------------


class Around(nn.Module):
    """A model in which ``between`` stands between the blocks."""

    def __init__(self, blocks: nn.ModuleList, between: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.embed, self.layers, self.between = nn.Embedding(50, WIDTH), blocks, between

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(self.between(x))
        return x


class Looped(nn.Module):
    """One block, called three times."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.layer = nn.Embedding(50, WIDTH), Model().blocks[0]

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        for _ in range(3):
            x = self.layer(x)
        return x


class Twice(nn.Module):
    """Two stacks of one size."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.encoder, self.decoder = nn.Embedding(50, WIDTH), Model().blocks, Model().blocks

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        for layer in (*self.encoder, *self.decoder):
            x = layer(x)
        return x


class TwoStreams(nn.Module):
    """Blocks that take and return two streams."""

    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.norm = Attention(), Norm(WIDTH)

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            o = self.inner(x)
            return self.norm(x + o), y + o

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, WIDTH)
        self.layers = nn.ModuleList(self.Pair() for _ in range(2))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = y = self.embed(ids)
        for layer in self.layers:
            x, y = layer(x, y)
        return x + y


@pytest.mark.exact
def test_a_block_that_is_called_again_and_again_is_named() -> None:
    with pytest.raises(InputError, match=r"Looped has no list of at least two blocks"):
        st.probe(Looped(), tokens=4, progress=False)
    measured = st.probe(Looped(), tokens=4, blocks="layer", progress=False)
    assert measured.depth == 3
    assert "weight_grad_norm" not in set(measured.table["quantity"])  # no single block's


@pytest.mark.exact
def test_of_two_stacks_one_is_named() -> None:
    with pytest.raises(
        InputError, match=r"more than one list of blocks: 'encoder' \(3 x Block\) and 'decoder'"
    ):
        st.probe(Twice(), tokens=4, progress=False)
    for name in ("encoder", "decoder"):
        assert st.probe(Twice(), tokens=4, blocks=name, progress=False).depth == 3


@pytest.mark.exact
def test_several_streams_are_measured_each() -> None:
    torch.manual_seed(0)
    model = TwoStreams()
    ids = torch.arange(4)[None]
    table = st.probe(model, ids, loss=lambda y: y.sin().sum(), progress=False).table
    variance = table[table["quantity"] == "variance"].pivot_table("value", "layer", "stream")
    assert variance["0"].tolist()[1:] == pytest.approx([1.0, 1.0], rel=1e-5)  # the normed one
    assert (np.diff(variance["1"]) > 0).all()
    embedded = model.embed(ids).detach().requires_grad_()
    starts = x, y = embedded.clone(), embedded.clone()
    for layer in model.layers:
        x, y = layer(x, y)
    grads = torch.autograd.grad((x + y).sin().sum(), [*starts, embedded])
    expected = [float(g.square().mean()) for g in grads]
    gamma = table[(table["quantity"] == "grad_variance") & (table["layer"] == 0)].set_index("stream")["value"]
    assert gamma[["0", "1", "input"]].tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.exact
def test_sequences_that_come_second_are_told_by_torchs_own_attention() -> None:
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, activation="gelu")
    ids = torch.arange(12).view(6, 2)

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(50, WIDTH)
            self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.encoder(self.embed(ids))

    measured = st.probe(Encoder(), ids, progress=False)
    assert (measured.sequences, measured.tokens) == (2, 6)
    roles = {"attn.query", "attn.key", "attn.value", "attn.output", "ffn.up", "ffn.down"}
    assert {part.role for block in measured.matrices for part in block.parts} == roles


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: st.probe(3), "expected a torch.nn.Module, or a function of a seed"),
        (lambda: st.probe(Model), "function of a seed that makes a fresh one"),
        (
            lambda: st.probe(lambda seed: 3),
            r"build must return a torch.nn.Module, or it and its inputs, got 3",
        ),
        (lambda: st.probe(lambda seed: 1 / 0), r"build failed on the seed \d+: ZeroDivisionError"),
        (lambda: st.probe(Model(), networks=0), "networks must be an integer of at least 1"),
        (lambda: st.probe(Model(), "ids"), "inputs must be a tensor, a mapping"),
        (lambda: st.probe(Model(), {"idz": torch.ones(1, 4)}), "Model failed on its inputs: TypeError"),
        (lambda: st.probe(Model(), torch.zeros(1, 1, dtype=int)), "at least 2 tokens"),
        (lambda: st.probe(Model(), tokens=1), "tokens must be an integer of at least 2"),
        (lambda: st.probe(Model(), loss="cross-entropy"), "loss must be 'probe' or a function"),
        (lambda: st.probe(Model(), tokens=4, loss=lambda y: y), "loss must return a tensor of one number"),
        (lambda: st.probe(Model(), blocks="blocs"), "unknown path of blocks 'blocs'; did you mean blocks"),
        (lambda: st.probe(Model(), blocks=3), "blocks must be the path of a list"),
        (lambda: st.probe(nn.Identity()), "has no parameters"),
        (lambda: st.probe(nn.LazyLinear(3)), "has no shape yet"),
        (lambda: st.probe(nn.Linear(2, 2), torch.ones(2, 2)), "no list of at least two blocks"),
        (lambda: st.probe(Model().to("meta")), "on the meta device and holds no numbers"),
        (
            lambda: st.probe(Around(Model().blocks, lambda x: 2 * x), tokens=4),
            r"the output of layers.0 \(block 0\) is not the input of layers.1",
        ),
        (
            lambda: st.probe(Around(Model().blocks, lambda x: x.detach()), tokens=4),
            "no gradient reaches the stream in front of block 0",
        ),
        (
            lambda: st.probe(Around(Model().blocks, lambda x: x / 0), tokens=4),
            "stream in front of layers.0 .* not finite",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises(SpannormError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.exact
def test_a_build_that_returns_one_network_again_is_refused() -> None:
    model = Model()
    with pytest.raises(InputError, match="with the weights of an earlier one"):
        st.probe(lambda seed: model, networks=2, tokens=4, progress=False)


@pytest.mark.exact
def test_networks_do_not_outlive_their_measurement() -> None:
    alive: weakref.WeakSet[Model] = weakref.WeakSet()
    counts = []

    def build(seed: int) -> Model:
        gc.collect()
        counts.append(len(alive))
        model = Model()
        alive.add(model)
        return model

    st.probe(build, networks=4, tokens=4, progress=False)
    assert max(counts) <= 1
