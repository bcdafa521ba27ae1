"""An audit: healthy modules pass, and planted faults are found and named."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from modules import Model
from torch import nn

import spannorm_theory as st
from spannorm_theory.auditing.deviations import deviations
from spannorm_theory.base.errors import InputError
from spannorm_theory.cli.main import main

pytestmark = pytest.mark.usefixtures("registries", "own_generator")

DEPTH = 5
Fault = Callable[[Model], object]


def audited(
    fault: Fault = lambda model: None, networks: int = 24, causal: bool = False, **options: Any
) -> st.Audit:
    """The audit of small models with fan-in draws and a linear head."""

    def build(seed: int) -> nn.Module:
        model = Model(depth=DEPTH, causal=causal, gated=True)
        with torch.no_grad():
            fault(model)
        return model

    mask = "causal" if causal else "none"
    expected = f"pre-norm depth={DEPTH} width=32 heads=4 mask={mask} activation=swiglu ffn_ratio=2.0"
    return st.audit(build, networks=networks, tokens=12, expected=expected, progress=False, **options)


@pytest.mark.statistical
@pytest.mark.parametrize("causal", [True, False])
def test_a_healthy_model_passes(causal: bool) -> None:
    found = audited(causal=causal)
    assert found.verdict == "healthy", found.summary()
    assert (found.deviations, found.gaps, found.suspect, found.first_block) == ((), (), None, None)
    found.assert_healthy()


def down(model: Model) -> None:
    for block in model.blocks:
        block.ffn.w2.weight.mul_(3)


def gate_of_one(model: Model) -> None:
    model.blocks[2].ffn.w1.weight.mul_(0.2)


def gains(model: Model) -> None:
    for module in model.modules():
        if hasattr(module, "epsilon"):
            module.weight.fill_(2)


def epsilons(model: Model) -> None:
    for module in model.modules():
        if hasattr(module, "epsilon"):
            module.epsilon = 2e-3


def embedding(model: Model) -> None:
    model.embed.weight.mul_(4)


def copies(model: Model) -> None:
    for block in model.blocks[1:]:
        block.load_state_dict(model.blocks[0].state_dict())


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("fault", "what", "sentence"),
    [
        (down, "ffn.down", r"ffn.down of all blocks: (3|3\.0\d|2\.9\d) times the std of "),
        (gate_of_one, "ffn.gate", r"ffn.gate of block 2: (0\.2|0\.20\d|0\.19\d) times the std of "),
        (gains, "norm_gain", "norm_gain is 2 where 1 is expected"),
        (epsilons, "norm_epsilon", "norm_epsilon is 0.002 where 0 is expected"),
        (embedding, "input", "The stream starts with the second moment 1"),
    ],
)
def test_a_fault_of_the_tensors_is_named_and_explains_the_networks(
    fault: Fault, what: str, sentence: str
) -> None:
    found = audited(fault)
    assert [one.what for one in found.deviations] == [what], found.summary()
    assert re.match(sentence, str(found.deviations[0]))
    assert found.verdict == "departs"
    assert found.verification.verdict != "disagrees", found.verification.summary()
    with pytest.raises(AssertionError, match=found.deviations[0].what):
        found.assert_healthy()


@pytest.mark.statistical
def test_copied_blocks_are_found() -> None:
    found = audited(copies)
    assert found.deviations[0].what == "equal blocks"
    assert "All blocks hold the same numbers" in found.summary()
    assert found.verdict == "departs"


@pytest.mark.statistical
@pytest.mark.parametrize(("name", "branch"), [("norm1", "attention"), ("norm2", "ffn")])
def test_a_missing_norm_is_found_in_its_block(name: str, branch: str) -> None:
    found = audited(lambda model: setattr(model.blocks[3], name, nn.Identity()), networks=32)
    assert found.deviations == ()
    assert found.first_block == 3
    assert found.suspect is not None, found.summary()
    assert found.suspect.sentence == f"the norm in front of {branch} of block 3 is missing"
    assert found.verdict == "departs"


@pytest.mark.statistical
def test_what_no_single_change_explains_is_said_to_be() -> None:
    def fault(model: Model) -> None:
        model.blocks[1].norm1 = model.blocks[3].norm2 = nn.Identity()

    found = audited(fault, networks=32)
    assert found.verdict == "departs"
    assert found.first_block in (1, 3)
    assert found.suspect is None
    assert "no single change of the list restores agreement" in found.summary()


def test_without_an_expectation_the_networks_are_held_against_what_was_read() -> None:
    found = st.audit(lambda seed: Model(depth=3), networks=24, tokens=12, activation="gelu", progress=False)
    assert found.source == "the rule that was read"
    assert found.arch.placement == "pre-norm"
    assert found.deviations == ()


def test_page_and_json(tmp_path: Path) -> None:
    found = audited(down, networks=3)
    text = found.write_html(tmp_path / "audit.html").read_text()
    assert str(found.deviations[0]) in text
    assert "data:image/svg+xml;base64," in text
    assert found.to_dict()["deviations"][0]["blocks"] == list(range(DEPTH))


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(__file__).parent
    (tmp_path / "mine.py").write_text(
        f"import sys; sys.path.insert(0, {str(folder)!r})\n"
        "from modules import Model\n"
        "def build(seed):\n    return Model(depth=3)\n"
        "def broken(seed):\n    model = Model(depth=3)\n"
        "    model.blocks[1].ffn.fc2.weight.data.mul_(2)\n    return model\n"
    )
    expected = "pre-norm depth=3 width=32 heads=4 ffn_ratio=2.0"
    flags = ["--tokens", "12", "--quiet", "--expected", expected]
    assert main(["audit", f"{tmp_path / 'mine.py'}:build", *flags]) == 0
    assert "HEALTHY" in capsys.readouterr().out
    page = tmp_path / "audit.html"
    assert main(["audit", f"{tmp_path / 'mine.py'}:broken", *flags, "--html", str(page), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["verdict"] == "departs"
    assert said["deviations"][0]["sentence"].startswith("ffn.down of block 1: 2")
    assert page.exists()


def test_refusals(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="audit needs standard errors"):
        st.audit(Model())
    with pytest.raises(InputError, match="the module has depth=3, and depth=12 is expected"):
        st.audit(lambda seed: Model(depth=3), networks=3, tokens=12, expected="pre-norm width=32 heads=4")
    with pytest.raises(InputError, match="expected must be an Architecture"):
        st.audit(lambda seed: Model(depth=3), networks=3, tokens=12, expected=7)
    assert main(["audit", "nothing.py:build"]) == 2
    assert "of a file that exists" in capsys.readouterr().err


def test_deviations_need_more_than_noise() -> None:
    """A matrix 2 % off and a field that rounds to the same are as expected."""
    reading = st.read(Model(depth=2), tokens=12, placement="pre-norm", activation="gelu")
    assert reading.arch is not None
    found = deviations(reading.table, reading.arch, reading.arch, "itself", reading.arch.input_variance)
    assert found == []


def test_the_expected_loss_and_batch_are_not_asked_for() -> None:
    expected = "pre-norm depth=3 width=32 heads=4 ffn_ratio=2.0 inputs=uniform loss=cross-entropy batch=4"
    found = st.audit(
        lambda seed: Model(depth=3),
        networks=24,
        tokens=12,
        expected=expected + " vocabulary=4000",
        progress=False,
    )
    assert found.verdict == "healthy", found.summary()


def test_heads_that_a_module_does_not_show_are_as_expected() -> None:
    def build(seed: int) -> nn.Module:
        model = Model(depth=3)
        for block in model.blocks:
            del block.attn.num_heads
        return model

    expected = "pre-norm depth=3 width=32 heads=4 ffn_ratio=2.0"
    found = st.audit(build, networks=24, tokens=12, expected=expected, progress=False)
    assert found.verdict == "healthy", found.summary()


def test_a_vocabulary_of_few_types_is_no_fault() -> None:
    class Few(Model):
        def __init__(self) -> None:
            super().__init__(depth=3, head="none")
            self.embed = nn.Embedding(14, 32)

    expected = "pre-norm depth=3 width=32 heads=4 ffn_ratio=2.0"
    found = st.audit(lambda seed: Few(), networks=24, tokens=12, expected=expected, progress=False)
    assert found.verdict == "healthy", found.summary()


def test_words_that_say_no_model_are_refused_before_anything_is_measured() -> None:
    def build(seed: int) -> nn.Module:
        raise AssertionError

    with pytest.raises(InputError, match="did you mean llama-3-8b"):
        st.audit(build, expected="llama-3-8")
