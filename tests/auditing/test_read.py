"""What is read from a module's tensors: roles, gains, rules in words, norms, the architecture and its
gaps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from modules import HEADS, HIDDEN, WIDTH, Model, Norm
from torch import nn

import spannorm_theory as st
from spannorm_theory.auditing.behaviour import activation_of
from spannorm_theory.auditing.matrices import measured
from spannorm_theory.auditing.norms import norms_of
from spannorm_theory.auditing.observed import Observed, observed
from spannorm_theory.auditing.roles import BlockMatrices, matrices_of
from spannorm_theory.auditing.rules import rules_of
from spannorm_theory.auditing.scheme import stds_of
from spannorm_theory.auditing.sizes import AttentionSizes
from spannorm_theory.base import symbols
from spannorm_theory.base.errors import InputError, SpannormError

pytestmark = pytest.mark.usefixtures("registries", "own_generator")

ROLES = ("query", "key", "value", "output")
SIZES = AttentionSizes(heads=4, kv_heads=2, head_width=8)

# --- roles ----------------------------------------------------------------------------------------


class Bag(nn.Module):
    """A block that holds parameters of given names and shapes, numbered row by row."""

    def __init__(self, **shapes: tuple[int, ...]) -> None:
        super().__init__()
        for name, shape in shapes.items():
            owner = self
            *path, leaf = name.split("__")
            for word in path:
                if not hasattr(owner, word):
                    owner.add_module(word, nn.Module())
                owner = getattr(owner, word)
            rows = torch.arange(shape[-2], dtype=torch.float32)[:, None].expand(shape)
            setattr(owner, leaf, nn.Parameter(rows.clone()))


def rows_by_role(block: nn.Module, matrices: BlockMatrices) -> dict[str, list[int]]:
    parameters = dict(block.named_parameters())
    return {
        part.role: part.of(parameters[part.name].detach())[..., 0].long().flatten().tolist()
        for part in matrices.parts
    }


@pytest.mark.exact
def test_a_fused_matrix_is_cut_in_three_pieces_or_group_by_group() -> None:
    stacked = Bag(attn__qkv_proj__weight=(64, 32))
    found = rows_by_role(stacked, matrices_of(stacked, 32, SIZES))
    expected = {"attn.query": range(32), "attn.key": range(32, 48), "attn.value": range(48, 64)}
    assert found == {role: list(rows) for role, rows in expected.items()}
    grouped = Bag(attn__query_key_value__weight=(64, 32))  # two groups of two query heads, a key and a value
    found = rows_by_role(grouped, matrices_of(grouped, 32, SIZES))
    assert found["attn.query"] == [*range(16), *range(32, 48)]
    assert found["attn.key"] == [*range(16, 24), *range(48, 56)]
    assert found["attn.value"] == [*range(24, 32), *range(56, 64)]


@pytest.mark.exact
def test_gate_and_up_are_told_by_what_stands_beside_them() -> None:
    def roles(block: nn.Module) -> dict[str, str]:
        return {part.name: part.role for part in matrices_of(block, 32, SIZES).parts}

    llama = Bag(ff__w1=(96, 32), ff__w2=(32, 96), ff__w3=(96, 32))
    assert roles(llama) == {"ff.w1": "ffn.gate", "ff.w2": "ffn.down", "ff.w3": "ffn.up"}
    plain = Bag(ff__w1=(96, 32), ff__w2=(32, 96))
    assert roles(plain) == {"ff.w1": "ffn.up", "ff.w2": "ffn.down"}
    fused = Bag(mlp__fc1=(192, 32), mlp__fc2=(32, 96))
    halves = rows_by_role(fused, matrices_of(fused, 32, SIZES))
    assert halves["ffn.gate"] == list(range(96))
    assert halves["ffn.up"] == list(range(96, 192))
    routed = Bag(
        mlp__gate__weight=(4, 32), mlp__experts__gate_up_proj=(4, 48, 32), mlp__experts__down_proj=(4, 32, 24)
    )
    assert set(roles(routed).values()) >= {"ffn.router", "ffn.down"}


@pytest.mark.exact
@pytest.mark.parametrize("transposed", [False, True])
def test_experts_in_one_tensor_are_turned_by_what_fits_the_width(transposed: bool) -> None:
    shapes = {"mlp__gate_up_proj": (4, 48, 32), "mlp__down_proj": (4, 32, 24)}
    if transposed:
        shapes = {name: (a, c, b) for name, (a, b, c) in shapes.items()}
    block = Bag(**shapes)
    parameters = dict(block.named_parameters())
    found = {p.role: tuple(p.of(parameters[p.name]).shape) for p in matrices_of(block, 32, SIZES).parts}
    assert found == {"ffn.gate": (4, 24, 32), "ffn.up": (4, 24, 32), "ffn.down": (4, 32, 24)}


@pytest.mark.exact
def test_names_that_say_nothing_are_read_by_shape_and_said() -> None:
    block = Bag(a=(32, 32), b=(32, 32), c=(32, 32), e=(32, 32), f=(128, 32), g=(32, 128))
    found = matrices_of(block, 32, SIZES)
    roles = ["attn.query", "attn.key", "attn.value", "attn.output", "ffn.up", "ffn.down"]
    assert [part.role for part in found.parts] == roles
    assert found.guessed == ("a", "b", "c", "e", "f", "g")
    odd = matrices_of(Bag(a=(32, 32), b=(32, 32), z=(7, 5)), 32, SIZES)
    assert odd.parts == ()
    assert odd.unknown == ("a", "b", "z")


@pytest.mark.exact
def test_torchs_own_block_and_one_of_sequential_layers() -> None:
    layer = nn.TransformerEncoderLayer(32, 4, 64)
    roles = {part.role for part in matrices_of(layer, 32, AttentionSizes(4, None, 8)).parts}
    assert roles == {"attn.query", "attn.key", "attn.value", "attn.output", "ffn.up", "ffn.down"}
    block = nn.Module()
    block.attn = nn.MultiheadAttention(32, 4)
    block.mlp = nn.Sequential(nn.Linear(32, 128), nn.GELU(), nn.Linear(128, 32))
    found = matrices_of(block, 32, AttentionSizes(4, None, 8))
    assert {part.role for part in found.parts} == roles
    assert found.guessed == ("mlp.0.weight", "mlp.2.weight")


D, F = 32, 128
FUSED = {"attn.query", "attn.key", "attn.value"}


@pytest.mark.exact
@pytest.mark.parametrize(
    ("shapes", "output", "up", "down"),
    [
        ({"a__qkv": (96, D), "a__proj": (D, D), "m__up": (F, D), "m__down": (D, F)},
         *["a.proj", "m.up", "m.down"]),
        ({"sa__heads__0__key": (8, D), "sa__heads__0__query": (8, D), "sa__heads__0__value": (8, D),
          "sa__heads__1__key": (8, D), "sa__heads__1__query": (8, D), "sa__heads__1__value": (8, D),
          "sa__proj": (D, D), "ffwd__net__0": (F, D), "ffwd__net__2": (D, F)},
         *["sa.proj", "ffwd.net.0", "ffwd.net.2"]),
        ({"x__q": (D, D), "x__k": (D, D), "x__v": (D, D), "x__out": (D, D),
          "y__fc": (F, D), "y__out": (D, F)},
         *["x.out", "y.fc", "y.out"]),
        ({"mixer__W_Q": (D, D), "mixer__W_K": (D, D), "mixer__W_V": (D, D), "mixer__projection": (D, D),
          "f__w_in": (F, D), "f__w_out": (D, F)}, *["mixer.projection", "f.w_in", "f.w_out"]),
        ({"self_attention__linear1": (D, D), "self_attention__linear2": (D, D),
          "self_attention__linear3": (D, D), "self_attention__linear4": (D, D),
          "ff__linear1": (F, D), "ff__linear2": (D, F)},
         *["self_attention.linear4", "ff.linear1", "ff.linear2"]),
    ],
    ids=["a and m", "heads one by one", "two outs", "capitals", "linears"],
)  # fmt: skip
def test_matrices_have_the_roles_of_the_branch_they_stand_in(
    shapes: dict[str, tuple[int, int]], output: str, up: str, down: str
) -> None:
    found = matrices_of(Bag(**shapes), D, AttentionSizes(4, None, 8))
    by_role: dict[str, list[str]] = {}
    for part in found.parts:
        by_role.setdefault(part.role, []).append(part.name)
    assert by_role.keys() == {*FUSED, "attn.output", "ffn.up", "ffn.down"}
    assert [by_role[role] for role in ("attn.output", "ffn.up", "ffn.down")] == [[output], [up], [down]]
    assert found.unknown == ()


@pytest.mark.exact
def test_matrices_of_two_branches_are_not_one_role() -> None:
    query, key = {"attn__q": (D, D)}, {"attn__k": (D, D)}
    branches = {"attn__v_proj": (D, D), "mlp__v_proj": (F, D), "mlp__fc2": (D, F), "other__fc2": (D, F)}
    branches |= {"mlp__fc1": (F, D), "other__gate_proj": (F, D)}
    found = matrices_of(Bag(**query, **key, **branches), D, AttentionSizes(4, None, 8))
    assert [part.role for part in found.parts] == ["attn.query", "attn.key", "ffn.up", "ffn.gate"]
    assert set(found.unknown) == {"attn.v_proj", "mlp.v_proj", "mlp.fc2", "other.fc2"}
    experts = {"moe__experts__0__fc2": (D, F), "moe__experts__1__fc2": (D, F), "moe__shared__fc2": (D, 2 * F)}
    branches = {"f__w1": (D, D), "f__w2": (D, D), "f__w3": (D, D), "f__w4": (D, D)}
    branches |= {"g__w1": (F, D), "g__w2": (D, F), "g__w3": (F, D)}
    found = matrices_of(Bag(**branches), D, AttentionSizes(4, None, 8))
    assert set(found.guessed) == {name.replace("__", ".") for name in branches}
    one = matrices_of(Bag(**experts), D, AttentionSizes(4, None, 8))
    assert [part.role for part in one.parts] == 3 * ["ffn.down"]


# --- rules ----------------------------------------------------------------------------------------

DEPTH, BROAD = 12, 512
SHAPES = {
    "attn.query": (512, 512),
    "attn.output": (512, 512),
    "ffn.gate": (512, 1376),
    "ffn.up": (512, 1376),
    "ffn.down": (1376, 512),
}


def drawn(
    stds: dict[str, Callable[[int], float]],
    seed: int = 0,
    shapes: dict[str, tuple[int, int]] = SHAPES,
    depth: int = DEPTH,
) -> list[Observed]:
    """Roles whose measured standard deviations have the noise of their number of entries."""
    generator, layers = np.random.default_rng(seed), np.arange(float(depth))
    result = []
    for role, std in stds.items():
        inputs, outputs = shapes[role]
        error = np.full(depth, (2 * inputs * outputs) ** -0.5)
        measured = np.array([std(int(l)) for l in layers]) * (1 + error * generator.standard_normal(depth))
        result.append(Observed(role, inputs, outputs, layers, measured, error, 5.0, inputs * outputs))
    return result


RULES = {
    "0.02": lambda inputs, l: 0.02,
    "0.006": lambda inputs, l: 0.006,
    "0.0134": lambda inputs, l: 0.0134,
    "0.02/√(2L)": lambda inputs, l: 0.02 / (2 * DEPTH) ** 0.5,
    "0.02/√(2(l+1))": lambda inputs, l: 0.02 / (2 * (l + 1)) ** 0.5,
    "1/√inputs": lambda inputs, l: inputs**-0.5,
    "1/√(3 inputs)": lambda inputs, l: (3 * inputs) ** -0.5,
    "1/√inputs/√L": lambda inputs, l: (inputs * DEPTH) ** -0.5,
    "√(2/(5d))": lambda inputs, l: (2 / (5 * BROAD)) ** 0.5,
    "2/√d/L": lambda inputs, l: 2 / (DEPTH * BROAD**0.5),
    "1/√inputs/(l+1)^(1/4)": lambda inputs, l: inputs**-0.5 * (l + 1) ** -0.25,
}


@pytest.mark.exact
@pytest.mark.parametrize("words", RULES)
def test_a_rule_is_found_from_noisy_standard_deviations(words: str) -> None:
    base = words.partition("/√(2L)")[0].partition("/√(2(l+1))")[0].partition("/√L")[0].partition("/(l+1)")[0]
    base = "√(2/(5d))" if base == "2/√d/L" else base
    others = RULES.get(base, RULES["0.02"])
    for seed in range(20):
        stds = {
            role: (
                lambda l, i=inputs, f=RULES[words] if role in ("attn.output", "ffn.down") else others: f(i, l)
            )
            for role, (inputs, _) in SHAPES.items()
        }
        found = rules_of(drawn(stds, seed), DEPTH, BROAD)
        assert found["ffn.down"].words == words
        assert found["attn.output"].words == words
        assert found["ffn.up"].words == base
        assert all(rule.known for rule in found.values())


@pytest.mark.exact
def test_a_number_is_not_read_as_an_odd_factor_of_depth() -> None:
    roles = {"attn.query": lambda l: 1 / 16, "ffn.router": lambda l: 0.02}  # 1/16 (8 L)^(-1/4) at 12 blocks
    shapes = {"attn.query": (256, 256), "ffn.router": (256, 8)}
    found = rules_of(drawn(roles, shapes=shapes), DEPTH, 256)
    assert [found[role].words for role in roles] == ["1/√inputs", "0.02"]


@pytest.mark.exact
@pytest.mark.parametrize(
    ("depth", "stds", "said"),
    [  # 0.01 is 0.06/(2L) at 3 blocks, 0.04 nearly 0.07/√L, and 0.005 the depth factor of GPT-2 at 8
        (3, (0.01, 0.05, 0.06), ("0.01", "0.05", "0.06")),
        (3, (0.07, 0.04, 0.02), ("0.07", "0.04", "0.02")),
        (8, (0.02, 0.005, 0.005), ("0.02", "0.02/√(2L)", "0.02/√(2L)")),
        (4, (0.02, 0.02 / 8**0.5, 0.02 / 8**0.5), ("0.02", "0.02/√(2L)", "0.02/√(2L)")),
    ],
)
def test_a_plain_number_is_not_read_as_one_of_depth(
    depth: int, stds: tuple[float, ...], said: tuple[str, ...]
) -> None:
    roles = ("attn.query", "attn.output", "ffn.down")
    plain = {role: (lambda l, std=std: std) for role, std in zip(roles, stds, strict=True)}
    found = rules_of(drawn(plain, depth=depth), depth, BROAD)
    assert tuple(found[role].words for role in roles) == said


@pytest.mark.exact
def test_what_follows_no_rule_keeps_its_numbers() -> None:
    odd = {"attn.query": lambda l: 0.0217351, "ffn.down": lambda l: 0.02 if l != 3 else 0.05}
    found = rules_of(drawn(odd), DEPTH, BROAD)
    assert not found["attn.query"].known
    assert float(found["attn.query"].std) == pytest.approx(0.0217351, rel=5e-4)  # five standard errors
    assert found["ffn.down"].words == "0.02 to 0.05, in its own way at every layer"
    by_layer = [float(found["ffn.down"].std.subs({symbols.layer: l})) for l in (2, 3, 4)]
    assert by_layer == pytest.approx([0.02, 0.05, 0.02], rel=5e-3)


@pytest.mark.exact
@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda w: nn.init.normal_(w, 0, 0.02), "std 0.02 on "),
        (lambda w: nn.init.trunc_normal_(w, 0, 0.02, -0.04, 0.04), "std 0.02 (cut at 2 std) on "),
        (lambda w: nn.init.kaiming_uniform_(w, 5**0.5), "std 1/√(3 inputs) (uniform) on "),
        (lambda w: nn.init.xavier_normal_(w), "std √(2/(inputs+outputs)) on "),
        (lambda w: nn.init.zeros_(w), "std 0 on "),
    ],
)
def test_the_law_of_the_entries_is_said(draw: Callable[[torch.Tensor], object], words: str) -> None:
    torch.manual_seed(0)
    model = Model(gated=True)
    for parameter in model.blocks.parameters():
        if parameter.ndim > 1:
            draw(parameter)
    assert st.read(model, tokens=4).words().startswith(words)


@pytest.mark.exact
@pytest.mark.parametrize(("bound", "law"), [(2.0, "cut at 2 std"), (3.0, "cut at 3 std"), (50.0, "")])
def test_a_cut_is_seen_in_large_matrices(bound: float, law: str) -> None:
    torch.manual_seed(0)
    layers = [nn.init.trunc_normal_(torch.empty(256, 256), 0, 1.0, -bound, bound) for _ in range(3)]
    one = observed([measured(l, "ffn.up", "w", w) for l, w in enumerate(layers)])[0]
    assert one.law == law
    assert one.left == pytest.approx({2.0: 0.8796, 3.0: 0.9866}.get(bound, 1.0), rel=1e-3)


# --- the reading ----------------------------------------------------------------------------------


@pytest.mark.exact
def test_the_table_has_the_moments_of_every_matrix() -> None:
    torch.manual_seed(0)
    model = Model(fused=True)
    table = st.read(model, tokens=4).table.set_index("name")
    fused = model.blocks[2].attn.qkv.weight.detach().double()
    keys = table[table["role"] == "attn.key"].iloc[2]
    assert keys["std"] == pytest.approx(float(fused[WIDTH : 2 * WIDTH].square().mean().sqrt()), rel=1e-12)
    assert keys["fan_in"] == WIDTH
    assert keys["gain"] == pytest.approx(WIDTH * keys["std"] ** 2)
    down = table.loc["blocks.1.ffn.fc2.weight"]
    assert (down["role"], down["fan_in"], down["shape"]) == ("ffn.down", HIDDEN, f"{WIDTH} x {HIDDEN}")
    assert table.loc["embed.weight"]["role"] == "embedding"
    assert table.loc["lm_head.weight"]["role"] == "head"
    assert table["layer"].isna().sum() == 2


@pytest.mark.statistical
@pytest.mark.parametrize("draw", [torch.randn, lambda *shape: torch.rand(*shape) - 0.5])
def test_standard_errors_of_gains_are_those_of_independent_draws(draw: Callable[..., torch.Tensor]) -> None:
    torch.manual_seed(0)
    found = [measured(0, "ffn.up", "w", draw(32, 32)) for _ in range(400)]
    truth = 32 * float(draw(10**6).square().mean())
    z = np.array([(m.gain - truth) / (m.gain * m.relative_error) for m in found])
    assert abs(z.mean()) < 4 / z.size**0.5
    assert abs(np.square(z).mean() - 1) < 4 * (2 / z.size) ** 0.5


@pytest.mark.exact
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "pre-norm unit depth=3 ffn_ratio=2.0"),
        (
            {"causal": True, "gated": True},
            "pre-norm unit depth=3 ffn_ratio=2.0 activation=swiglu mask=causal",
        ),
        ({"std": 0.02}, "pre-norm unit depth=3 ffn_ratio=2.0 init=0.02"),
    ],
)
def test_the_architecture_of_a_module(options: dict[str, Any], expected: str) -> None:
    torch.manual_seed(0)
    activation = "swiglu" if options.get("gated") else "gelu"
    reading = st.read(Model(**options), tokens=8, placement="pre-norm", activation=activation)
    arch = st.Architecture.parse(f"{expected} width={WIDTH} heads={HEADS} tokens=8")
    assert reading.arch is not None
    own = reading.arch.with_(input_variance=1.0, input_cosine=0.0)
    assert own == arch
    assert reading.arch.input_variance == pytest.approx(1, abs=4 * (2 / (32 * 8 * WIDTH)) ** 0.5)
    assert not reading.gaps
    unknown = st.read(Model(**options), tokens=8, placement="pre-norm").gaps
    assert [gap.feature for gap in unknown] == ["the activation"]


@pytest.mark.exact
def test_gains_that_no_rule_gives_are_those_of_the_tensors(registries: None) -> None:
    torch.manual_seed(0)
    model = Model(gated=True)
    with torch.no_grad():
        for l, block in enumerate(model.blocks):
            block.ffn.w3.weight.mul_(3.0)
            block.attn.out_proj.weight.mul_(0.5 / (l + 1) ** 0.5)
    reading = st.read(model, tokens=8, placement="pre-norm", activation="swiglu")
    assert reading.arch is not None
    assert st.Architecture.parse(str(reading.arch)) == reading.arch
    own = stds_of(reading.arch)
    measured = reading.table.dropna(subset=["layer"]).pivot(index="layer", columns="role", values="std")
    errors = reading.table.assign(e=lambda t: t["se"] / t["gain"] / 2).dropna(subset=["layer"])
    for role, row in errors.groupby("role")["e"].max().items():
        assert own[role] == pytest.approx(measured[role].to_numpy(), rel=5 * row)
    assert np.isfinite(st.predict(reading.arch)["value"]).any()


@pytest.mark.exact
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_norms_are_read_by_what_they_do(dtype: torch.dtype) -> None:
    class Shifted(nn.Module):
        """A norm that stores its gain minus one."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (1 + self.weight) * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)

    class GemmaNorm(Shifted):
        pass

    class AdaptiveNorm(Norm):
        def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
            return super().forward(x) * condition

    model = nn.ModuleDict(
        {"a": GemmaNorm(), "b": nn.LayerNorm(64, eps=1e-3), "c": Norm(64), "e": AdaptiveNorm(64)}
    )
    model["b"].weight.data.fill_(2.0)
    model["b"].bias.data.fill_(0.5)
    model.to(dtype)
    found, strange = norms_of(model, 64)
    assert {p.dtype for p in model.parameters()} == {dtype}
    by_name = {norm.name: norm for norm in found}
    assert strange == ["e"]
    assert [by_name[n].kind for n in "abc"] == ["rms", "layer", "rms"]
    assert [by_name[n].gain for n in "abc"] == pytest.approx([1, 2, 1], rel=2e-3)
    assert [by_name[n].epsilon for n in "ab"] == pytest.approx([1e-6, 1e-3], rel=0.02)
    assert by_name["c"].epsilon < 1e-11
    assert [by_name[n].bias for n in "abc"] == pytest.approx([0, 0.5, 0])


@pytest.mark.exact
def test_what_the_architecture_lacks_is_a_gap() -> None:
    model = Model()
    model.blocks[1].norm2.weight.data.fill_(2.0)
    model.blocks[0].attn.out_proj.bias = nn.Parameter(torch.ones(WIDTH))
    model.blocks[2].extra = nn.Linear(7, 5)
    gaps = {gap.feature: gap.effect for gap in st.read(model, tokens=4).gaps}
    assert "norms of different gains: blocks.1.norm2 (2)" in gaps
    assert "biases on attn.output" in gaps
    assert "parameters without a role: extra.weight" in gaps
    assert "the placement of the norms" in gaps
    assert "state activation" in gaps["the activation"]


@pytest.mark.exact
def test_the_stream_of_a_module_whose_sequences_come_second() -> None:
    torch.manual_seed(0)

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.kind = nn.Embedding(5000, 32), nn.Parameter(torch.randn(32))
            layer = nn.TransformerEncoderLayer(32, 4, 64, norm_first=True)
            self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.encoder((self.embed(ids) + self.kind).transpose(0, 1))

    model = Encoder()
    arch = st.read(model, tokens=16, placement="pre-norm", activation="relu").arch
    shared = float(model.kind.detach().square().mean())
    assert arch is not None
    assert (arch.depth, arch.tokens, arch.heads, arch.mask, arch.norm) == (3, 16, 4, "none", "layer")
    assert arch.input_cosine == pytest.approx(shared / (1 + shared), abs=0.03)


@pytest.mark.exact
@pytest.mark.parametrize(
    ("module", "gated", "name"),
    [
        (nn.GELU(), False, "gelu"),
        (nn.GELU(approximate="tanh"), True, "geglu-tanh"),
        (nn.SiLU(), True, "swiglu"),
        (nn.ReLU(), False, "relu"),
        (type("ReLUSquared", (nn.Module,), {})(), False, "relu2"),
        (type("ReLUSquared", (nn.Module,), {})(), True, None),
        (nn.Identity(), False, None),
    ],
)
def test_the_activation_is_that_of_the_blocks_module(
    module: nn.Module, gated: bool, name: str | None
) -> None:
    assert activation_of(nn.Sequential(nn.Linear(2, 2), module), gated) == name


@pytest.mark.exact
def test_a_block_that_was_copied_is_a_gap() -> None:
    torch.manual_seed(0)
    model = Model(depth=4)
    model.blocks[2].load_state_dict(model.blocks[0].state_dict())
    features = [gap.feature for gap in st.read(model, tokens=4).gaps]
    assert "blocks.2 hold the numbers of another block" in features


@pytest.mark.exact
@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ("abab", "unique_blocks=2, copied=True"),
        ("aaaa", "unique_blocks=1, copied=True"),
        ("shared", "unique_blocks=1)"),
        ("abbc", ""),
    ],
)
def test_blocks_that_repeat_are_what_networks_can_have(layers: str, said: str) -> None:
    torch.manual_seed(0)
    model = Model(depth=4)
    for place, letter in enumerate("" if layers == "shared" else layers):
        model.blocks[place].load_state_dict(model.blocks["abc".index(letter)].state_dict())
    if layers == "shared":
        model.blocks = nn.ModuleList([model.blocks[0]] * 4)
    found = st.read(model, tokens=4, blocks="blocks.0" if layers == "shared" else None)
    effects = {gap.feature: gap.effect for gap in found.gaps}
    (effect,) = (text for feature, text in effects.items() if "numbers of another block" in feature)
    assert (said in effect) if said else ("simulate" not in effect)


@pytest.mark.exact
def test_reading_leaves_a_module_as_it_was() -> None:
    model = Model(dropout=0.5)
    model.blocks[0].eval()
    before = [m.training for m in model.modules()], torch.get_rng_state().tolist()
    st.read(model, tokens=4)
    assert ([m.training for m in model.modules()], torch.get_rng_state().tolist()) == before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: st.read(3), "model must be a torch.nn.Module, got 3"),
        (lambda: st.read(lambda seed: Model()), "model must be a torch.nn.Module"),
        (lambda: st.read(Model(), tokens=0), "tokens must be an integer of at least 2"),
        (lambda: st.read(Model(), placment="pre-norm"), "did you mean placement"),
        (lambda: st.read(Model(), placement="prenorm"), "unknown placement 'prenorm'"),
        (lambda: st.read(Model().to("meta")), "on the meta device"),
        (lambda: st.read(nn.Linear(2, 2)), "no list of at least two blocks"),
        (
            lambda: st.read(Model(), inputs={"x": torch.ones(1, 4, dtype=int)}),
            "failed on its inputs: TypeError",
        ),
        (
            lambda: st.read(Model(), inputs=torch.full((1, 4), 7)),
            "all 4 tokens in front of the first block are equal: give inputs whose ids differ",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises(SpannormError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
    assert isinstance(error.value, InputError)


def test_heads_and_experts_with_the_same_numbers_are_a_gap() -> None:
    model = Model()
    key = model.blocks[1].attn.k_proj.weight.data.view(HEADS, -1)
    key[2] = key[0]
    gap = next(gap for gap in read_plain(model).gaps if "the same numbers" in gap.feature)
    assert gap.feature == "heads of attn.key hold the same numbers"

    class Experts(nn.Module):
        def __init__(self, block: Any, equal: bool) -> None:
            super().__init__()
            self.attn, self.norm1, self.norm2 = block.attn, block.norm1, block.norm2
            self.gate = nn.Linear(WIDTH, 3, bias=False)
            self.experts = nn.ModuleList(Model().blocks[0].ffn for _ in range(3))
            if equal:
                self.experts[2].load_state_dict(self.experts[0].state_dict())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x + self.attn(self.norm1(x))
            y = self.norm2(x)
            shares = self.gate(y).softmax(-1)
            return x + sum(shares[..., i : i + 1] * expert(y) for i, expert in enumerate(self.experts))

    for equal in (False, True):
        model = Model()
        model.blocks = nn.ModuleList(Experts(block, equal) for block in model.blocks)
        features = [gap.feature for gap in read_plain(model).gaps]
        assert ("experts of ffn.up, experts of ffn.down hold the same numbers" in features) is equal
        assert not any("heads of" in feature for feature in features)


def read_plain(model: nn.Module) -> st.Reading:
    return st.read(model, tokens=4, placement="pre-norm", activation="gelu")


def test_frozen_and_tied_parameters_are_named() -> None:
    model = Model()
    model.lm_head.weight = model.embed.weight
    model.norm.weight.requires_grad_(False)
    found = read_plain(model)
    assert found.notes == ("one parameter: embed.weight and lm_head.weight", "without gradient: norm.weight")
    assert found.gaps == read_plain(Model()).gaps
    assert "note: one parameter: embed.weight and lm_head.weight" in found.text()
    for block in model.blocks:
        block.ffn.requires_grad_(False)
    model.blocks[0].attn.k_proj.weight = model.blocks[0].attn.q_proj.weight
    features = [gap.feature for gap in read_plain(model).gaps]
    assert (
        "without gradient: blocks.0.ffn.fc1.weight, blocks.0.ffn.fc2.weight, blocks.1.ffn.fc1.weight, "
        in ("".join(features))
    )
    assert "one parameter: blocks.0.attn.q_proj.weight and blocks.0.attn.k_proj.weight" in features


@pytest.mark.parametrize(("epsilon", "named"), [(1e-3, True), (1e-12, False), (1.02e-3, False)])
def test_norms_of_different_epsilons_are_told_apart(epsilon: float, named: bool) -> None:
    """The largest counts for all; another is named where it changes what its norm puts out."""
    model = Model()
    for norm in model.modules():
        if isinstance(norm, Norm):
            norm.epsilon = 1e-3 if epsilon > 1e-12 else 1e-12
    model.blocks[1].norm2.epsilon = 1e-8 if named else epsilon
    found = read_plain(model)
    odd = [gap.feature for gap in found.gaps if "different epsilons" in gap.feature]
    assert odd == (["norms of different epsilons: blocks.1.norm2 (1e-08)"] if named else [])
    assert found.arch is not None
    assert found.arch.norm_epsilon == pytest.approx(1e-3 if epsilon > 1e-12 else 0, rel=0.03)


#: names of the modules' matrices, and their roles
ROLE_OF = {
    **{f"{letter}_proj": f"attn.{role}" for letter, role in zip("qkv", ROLES, strict=False)},
    "out_proj": "attn.output",
    **{"w1": "ffn.gate", "w2": "ffn.down", "w3": "ffn.up", "fc1": "ffn.up", "fc2": "ffn.down"},
}


@pytest.mark.exact
@pytest.mark.parametrize(
    ("rule", "gated", "named"),
    [
        ("llama2.c", True, "llama2.c"),
        ("torchtitan", True, "olmo-llama-depth"),  # the same, and older
        ("span-scale-init(power=0.5)", False, "depth-scaled-init"),
    ],
)
def test_rules_of_libraries_are_read_by_name(rule: str, gated: bool, named: str) -> None:
    torch.manual_seed(0)
    model = Model(depth=4, gated=gated)
    said: dict[str, Any] = {"placement": "pre-norm", "activation": "swiglu" if gated else "gelu"}
    arch = st.read(model, tokens=4, heads=HEADS, **said).arch
    assert arch is not None
    own = arch.with_(scaling=rule, init=0.02)
    stds = stds_of(own)
    for layer, block in enumerate(model.blocks):
        for name, parameter in block.named_parameters():
            role = ROLE_OF.get(name.rpartition(".")[0].rpartition(".")[2])
            if role is not None:
                nn.init.normal_(parameter, std=float(stds[role][layer]))
    found = st.read(model, tokens=4, heads=HEADS, **said).arch
    assert found is not None
    assert found.scaling == named
