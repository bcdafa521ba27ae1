"""The first step of a user's module: measured as plain torch takes it, predicted, and faults of it named."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from modules import Model
from torch import nn

import spannorm_theory as st
from spannorm_theory.auditing.blocks import find_blocks
from spannorm_theory.auditing.inputs import feed_of
from spannorm_theory.auditing.module_step import ModuleStep, Plan
from spannorm_theory.auditing.networks import probe_gradient
from spannorm_theory.base.errors import InputError, UnknownNameError
from spannorm_theory.cli.main import main
from spannorm_theory.first_steps import theory
from spannorm_theory.first_steps.optimisers import optimiser

pytestmark = pytest.mark.usefixtures("registries", "own_generator")

EXPECTED = "pre-norm depth=2 width=32 heads=4 mask=causal ffn_ratio=2.0"


def build(seed: int) -> nn.Module:
    return Model(depth=2, causal=True)


def audited(build: Callable[[int], Any] = build, networks: int = 18, **options: Any) -> st.Audit:
    options = {"expected": EXPECTED, "step": "adam", "lr": 1e-3, "tokens": 6, **options}
    return st.audit(build, networks=networks, progress=False, **options)


@pytest.fixture
def few_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The theory as a mean over three runs, whose standard error is larger."""
    monkeypatch.setattr(theory, "RUNS", 3)


def step_of(model: nn.Module, rule: str, ids: torch.Tensor, make: Any = None, lr: float = 1e-3) -> ModuleStep:
    plan = Plan(optimiser(rule), {}, lr, make)
    matrices = st.probe(model, ids, progress=False).matrices
    return ModuleStep(model, find_blocks(model), feed_of(ids, model, 0, 8), plan, 5, matrices)


def plain_step(model: Model, ids: torch.Tensor, lr: float) -> tuple[list[torch.Tensor], dict[str, Any]]:
    """Changes of the stream and the last hidden state by a sign step, as plain torch makes it: the difference
    of two runs; with gradients, and the weights' steps."""

    def run() -> list[torch.Tensor]:
        seen = []
        x = model.embed(ids)
        for block in model.blocks:
            x = block(x)
            seen.append(x)
        return [*seen, model.norm(x)]

    before = run()
    for x in before:
        x.retain_grad()
    before[-1].backward(probe_gradient(before[-1], 5) / len(ids))
    weights = {n: p for n, p in model.blocks.named_parameters() if p.ndim == 2}
    moves = {n: -lr * p.grad.sign() for n, p in weights.items()}
    small = 1e-4
    with torch.no_grad():
        for n, p in weights.items():
            p.add_(small * moves[n])
        after = run()
        for n, p in weights.items():
            p.sub_(small * moves[n])
    moved = [(y - x.detach()) / small for x, y in zip(before, after, strict=True)]
    return moved, {"grads": [x.grad for x in before], "weights": weights, "moves": moves}


@pytest.mark.exact
@pytest.mark.parametrize("fused", [False, True])
def test_a_step_is_that_of_plain_torch(fused: bool) -> None:
    torch.manual_seed(3)
    model = Model(depth=3, causal=True, fused=fused).double()
    ids = torch.randint(1000, (2, 8))
    kept = {name: p.detach().clone() for name, p in model.named_parameters()}
    found = step_of(model, "sign", ids, lr=1e-3)
    assert all(torch.equal(p, kept[name]) and p.grad is None for name, p in model.named_parameters())
    rows = found.found
    moved, seen = plain_step(model, ids, 1e-3)
    for layer, (change, grad) in enumerate(zip(moved[:-1], seen["grads"], strict=False), 1):
        assert np.exp(rows["0", "stream_change"][layer]) == pytest.approx(
            float(change.square().mean()), rel=2e-3
        )
        along = (change * grad).sum() ** 2 / grad.square().sum() / change.square().sum()
        assert rows["all", "coherent_share"][layer] == pytest.approx(float(along), rel=2e-3)
    output = float(moved[-1].square().mean())
    assert np.exp(rows["output", "stream_change"][0]) == pytest.approx(output, rel=2e-3)
    name = "1.ffn.fc1.weight"
    ratio = seen["moves"][name].norm() / seen["weights"][name].detach().norm()
    assert np.exp(rows["ffn.up", "update_ratio"][1]) == pytest.approx(float(ratio), rel=1e-6)
    size = 1e-3 * seen["weights"][name].grad.abs().sum()
    assert np.exp(rows["ffn.up", "loss_slope"][1]) == pytest.approx(float(size), rel=1e-6)
    total = sum(1e-3 * float(p.grad.abs().sum()) for p in seen["weights"].values())
    assert np.exp(rows["all", "loss_slope"][0]) == pytest.approx(total, rel=1e-6)
    # what moves along the gradient is what the loss decreases by
    assert float((moved[-2] * seen["grads"][-2]).sum()) == pytest.approx(-total, rel=2e-3)
    assert found.linear == pytest.approx(1, abs=0.1)


@pytest.mark.exact
def test_queries_keys_and_values_of_a_fused_matrix_are_steps_of_their_own() -> None:
    torch.manual_seed(3)
    fused, apart = Model(depth=2, fused=True).double(), Model(depth=2).double()
    state = fused.state_dict()
    for l in range(2):
        cut = state.pop(f"blocks.{l}.attn.qkv.weight").chunk(3)
        state |= {f"blocks.{l}.attn.{n}_proj.weight": x for n, x in zip("qkv", cut, strict=True)}
    apart.load_state_dict(state)
    ids = torch.randint(1000, (1, 8))
    one, other = (step_of(model, "muon", ids).found for model in (fused, apart))
    assert one.keys() == other.keys()
    for key, layers in one.items():
        assert list(layers.values()) == pytest.approx(list(other[key].values()), rel=1e-6, nan_ok=True)


@pytest.mark.exact
def test_an_own_optimiser_makes_the_step_and_weights_stand_as_before() -> None:
    torch.manual_seed(3)
    model = Model(depth=2).double()
    ids = torch.randint(1000, (1, 8))
    kept = {name: p.detach().clone() for name, p in model.named_parameters()}
    own = step_of(model, "sgd", ids, lambda m: torch.optim.Adam(m.parameters(), lr=1e-3, eps=0.0))
    ours = step_of(model, "sign", ids)
    assert all(torch.equal(p, kept[name]) for name, p in model.named_parameters())
    for key, layers in ours.found.items():
        assert list(layers.values()) == pytest.approx(list(own.found[key].values()), rel=1e-4, nan_ok=True), (
            key
        )
    with pytest.raises(InputError, match=r"must return a torch\.optim\.Optimizer, got"):
        step_of(model, "sgd", ids, lambda m: None)


@pytest.mark.statistical
def test_a_healthy_model_moves_as_predicted() -> None:
    found = audited()
    assert found.step is not None
    assert found.verdict == "healthy", found.summary()
    assert "first step of adam at lr=0.001: AGREES" in found.summary()
    rows = found.step.table.set_index(["quantity", "stream", "layer"])["verdict"]
    assert rows["stream_change", "output", 0] == "ok"
    assert (rows == "not predicted").sum() == 3  # the input, which nothing moves
    assert 0 < found.step.size < 1
    assert found.step.linear == pytest.approx(1, abs=0.1)


@pytest.mark.statistical
@pytest.mark.usefixtures("few_runs")
def test_a_role_at_ten_times_the_rate_is_named() -> None:
    def hot(model: nn.Module) -> torch.optim.Optimizer:
        groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
        for name, p in model.named_parameters():
            groups["fc1" in name].append(p)
        return torch.optim.Adam([{"params": groups[False]}, {"params": groups[True], "lr": 1e-2}], lr=1e-3)

    found = audited(optimiser=hot, tokens=4)
    assert found.deviations == ()
    assert found.verdict == "departs"
    assert found.step is not None
    said = re.search(r"updates of ffn.up of all blocks: (\S+) times those expected", found.summary())
    assert said is not None
    assert float(said[1]) == pytest.approx(10, rel=0.01)  # four standard errors of a matrix' norm
    assert "the output moves 2." in found.summary()
    wrong = found.step.verification
    assert wrong is not None
    assert set(wrong.failures.query("quantity == 'update_ratio'")["stream"]) == {"ffn.up"}
    with pytest.raises(AssertionError, match=f"{said[1]} times"):
        found.assert_healthy()


@pytest.mark.statistical
@pytest.mark.usefixtures("few_runs")
def test_missing_depth_scaling_moves_the_stream_too_far() -> None:
    found = audited(expected=EXPECTED.replace("pre-norm", "pre-norm depth-scaled-init"), tokens=4)
    assert [one.what for one in found.deviations] == ["attn.output", "ffn.down"]
    assert found.step is not None
    assert found.step.verdict == "disagrees"
    assert "updates of attn.output of all blocks: 0.7" in found.summary()  # 1/sqrt(2) of a larger matrix
    assert "the stream behind block 0 moves 1." in found.summary()


@pytest.mark.statistical
def test_what_theory_declines_is_undecided(tmp_path: Path) -> None:
    words = "pre-norm depth=2 width=16 heads=4 kv_heads=2 tokens=6"

    def module(seed: int) -> Any:
        return st.module(words, seed=seed), torch.randn(1, 6, 16)

    found = audited(module, networks=3, expected=words, tokens=6)
    assert found.step is not None
    assert (found.step.verdict, found.step.verification) == ("undecided", None)
    assert "kv_heads=2, keys and values that several heads share; the output moves" in found.summary()
    assert {"stream_change", "update_ratio"} <= set(found.step.table["quantity"])
    assert found.to_dict()["step"]["outcome"] == found.step.words()
    page = found.write_html(tmp_path / "audit.html").read_text()
    assert "<h2>The first step</h2>" in page
    assert "not derived for kv_heads=2" in page


@pytest.mark.exact
@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"lr": None}, InputError, "step='adam' needs the learning rate"),
        ({"step": None}, InputError, "lr is of a first step; name its rule"),
        ({"step": "lion"}, UnknownNameError, "unknown optimiser 'lion'"),
        ({"lr": {"ffn.gate": 0.1}}, UnknownNameError, "unknown matrix 'ffn.gate'"),
        ({"lr": 1e-3, "epsilon": -1.0}, InputError, "epsilon must not be negative"),
    ],
)
def test_a_step_that_cannot_be_is_refused(
    options: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        audited(networks=3, **options)


@pytest.mark.statistical
@pytest.mark.usefixtures("few_runs")
def test_the_command_checks_the_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.py"
    path.write_text(
        "import torch\n"
        "import spannorm_theory as st\n"
        "WORDS = 'span-norm depth-scaled-init depth=2 width=32 heads=4 tokens=4'\n"
        "def build(seed):\n"
        "    return st.module(WORDS, seed=seed), torch.randn(1, 4, 32)\n"
        "def optimiser(model):\n"
        "    return torch.optim.SGD(model.parameters(), lr=0.02)\n"
    )
    expected = [
        "--expected",
        "span-norm depth-scaled-init depth=2 width=32 heads=4 tokens=4",
        "--tokens",
        "4",
    ]
    given = ["audit", f"{path}:build", *expected, "--networks", "18", "--quiet"]
    assert main([*given, "--step", "muon", "--lr", "0.01"]) == 0
    assert "first step of muon at lr=0.01: AGREES" in capsys.readouterr().out
    own = ["--optimiser", f"{path}:optimiser"]
    assert main([*given, "--step", "sgd", "--lr", "0.2", *own, "--json"]) == 1
    step = json.loads(capsys.readouterr().out)["step"]
    said = re.search(r"updates of attn.query of all blocks: (\S+) times", step["outcome"])
    assert said is not None
    assert float(said[1]) == pytest.approx(0.1, rel=0.1)
    assert step["table"]
