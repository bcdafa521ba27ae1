"""An audit: healthy modules pass, and planted faults are found and named."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from modules import Model
from torch import nn

import spannorm_theory as st
from spannorm_theory.auditing.deviations import deviations
from spannorm_theory.auditing.placed_norms import norms_in
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


def epsilon_of_one(model: Model) -> None:
    model.blocks[1].norm1.epsilon = 0.1


def gain_of_branch(model: Model) -> None:
    for block in model.blocks:
        block.norm2.weight.fill_(2)


def last_gain(model: Model) -> None:
    model.norm.weight.fill_(3)


def zero_keys(model: Model) -> None:
    model.blocks[2].attn.k_proj.weight.zero_()


def without_a_norm(model: Model) -> None:
    model.blocks[3].norm1 = nn.Identity()


def uncalled(model: Model) -> None:
    """A norm that is there, and that the block leaves out."""
    model.blocks[3].norm2.forward = lambda x: x
    block = model.blocks[3]
    block.forward = lambda x, flag=True: (y := x + block.attn(block.norm1(x))) + block.ffn(y)


def without_the_last_norm(model: Model) -> None:
    model.norm = nn.Identity()


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
        (
            epsilon_of_one,
            "norm_epsilon",
            r"the norm in front of attention of block 1 \(norm1\) has epsilon 0.1 where 0 is expected",
        ),
        (
            gain_of_branch,
            "norm_gain",
            r"the norm in front of ffn of all blocks \(norm2\) has gain 2 where 1 is expected",
        ),
        (
            last_gain,
            "norm_gain",
            r"the norm behind the last block \(norm\) has gain 3 where 1 is expected",
        ),
        (zero_keys, "attn.key", "attn.key of block 2: zero, where the std of .* is 0.177"),
        (without_a_norm, "norm", "the norm in front of attention of block 3 is missing"),
        (uncalled, "norm", "the norm in front of ffn of block 3 is missing"),
        (without_the_last_norm, "norm", "the norm behind the last block is missing"),
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
    with pytest.raises(AssertionError, match=sentence):
        found.assert_healthy()


class TwoStacks(Model):
    """A second stack of as many blocks in front of the norm."""

    def __init__(self, depth: int) -> None:
        super().__init__(depth=depth, gated=True)
        self.others = Model(depth=depth, gated=True).blocks

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        for block in (*self.blocks, *self.others):
            x = block(x)
        return self.lm_head(self.norm(x))


@pytest.mark.statistical
def test_a_stack_that_no_norm_follows_is_held_against_a_theory_without_one() -> None:
    expected = "pre-norm depth=3 width=32 heads=4 activation=swiglu ffn_ratio=2.0"
    options = {"networks": 24, "tokens": 12, "expected": expected, "progress": False}
    found = st.audit(lambda seed: TwoStacks(3), blocks="blocks", **options)
    assert found.verdict == "healthy", found.summary()
    assert norms_in(found.arch.readout) == []


@pytest.mark.statistical
def test_copied_blocks_are_found() -> None:
    found = audited(copies)
    assert found.deviations[0].what == "equal blocks"
    assert "All blocks hold the same numbers" in found.summary()
    assert found.verdict == "departs"


def written_out(*missing: tuple[int, str], epsilon: float = 1e-12, gain: float = 1.0) -> Fault:
    """Norms that are no modules, some missing; those in front of ffn have ``epsilon`` and ``gain``."""

    def fault(model: Model) -> None:
        def norm(x: torch.Tensor, name: str) -> torch.Tensor:
            e, g = (epsilon, gain) if name == "norm2" else (1e-12, 1.0)
            return g * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + e)

        for place, block in enumerate(model.blocks):
            for name in ("norm1", "norm2"):
                delattr(block, name)
                there = (place, name) not in missing
                setattr(block, name, partial(norm, name=name) if there else lambda x: x)

    return fault


def activated(function: Callable[[torch.Tensor], torch.Tensor]) -> Fault:
    """Another activation of the gate."""

    def fault(model: Model) -> None:
        for block in model.blocks:
            ffn = block.ffn
            ffn.forward = lambda x, ffn=ffn: ffn.w2(function(ffn.w1(x)) * ffn.w3(x))

    return fault


def cooled(model: Model) -> None:
    """Logits divided by l + 1."""
    for place, block in enumerate(model.blocks):
        block.attn.q_proj.register_forward_hook(lambda m, args, out, place=place: out / (place + 1))


def over_width(model: Model) -> None:
    """Logits divided by the width, 32, and not by the root of the head width, 8."""
    for block in model.blocks:
        block.attn.q_proj.register_forward_hook(lambda m, args, out: out * 8**0.5 / 32)


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (written_out((3, "norm1")), "the norm in front of attention of block 3 is missing"),
        (written_out(gain=2.0), "the norm in front of ffn of all blocks has gain 2"),
        (written_out(epsilon=1.0), "the norm in front of ffn of all blocks has epsilon 1"),
        (activated(lambda x: x), "the activation is bilinear, not swiglu"),
        (cooled, "logits of block l are divided by l + 1, too"),
        (over_width, "logits are divided by the width"),
    ],
)
def test_what_no_tensor_shows_is_found_among_single_changes(fault: Fault, sentence: str) -> None:
    found = audited(fault, networks=32)
    assert found.deviations == ()
    assert found.suspect is not None, found.summary()
    assert found.suspect.sentence == sentence
    assert found.verdict == "departs"


@pytest.mark.statistical
def test_what_no_single_change_explains_is_said_to_be() -> None:
    found = audited(written_out((1, "norm1"), (3, "norm2")), networks=32)
    assert found.verdict == "departs"
    assert found.first_block in (1, 3)
    assert found.suspect is None
    assert "no single change of the list restores agreement" in found.summary()


@pytest.mark.statistical
def test_matrices_that_are_no_draws_are_no_question_for_the_search() -> None:
    def fault(model: Model) -> None:
        copies(model)
        for block in model.blocks:
            block.ffn.w2.weight[:, ::2] = 0

    found = audited(fault)
    assert [one.what for one in found.deviations] == ["equal blocks", "draws", "ffn.down"]
    assert (found.verdict, found.suspect) == ("departs", None)


def test_of_a_module_of_which_nothing_is_expected_nothing_departs() -> None:
    def build(seed: int) -> nn.Module:
        model = Model(depth=DEPTH, gated=True)
        torch.nn.init.zeros_(model.blocks[2].attn.out_proj.weight)
        model.blocks[1].register_forward_hook(lambda block, given, made: 1.5 * made)
        return model

    found = st.audit(build, networks=32, tokens=12, activation="swiglu", heads=4, progress=False)
    assert (found.verdict, found.unstated) == ("undecided", True)
    assert "the theory of what was read does not explain it; say what is expected" in found.summary()


def test_one_block_in_two_places_is_said_to_be() -> None:
    def fault(model: Model) -> None:
        model.blocks[2] = model.blocks[1]

    found = audited(fault)
    assert found.verdict == "departs"
    assert "Blocks 1 to 2 are one module, and are not independent draws" in found.summary()


def test_a_module_that_draws_as_it_runs_is_refused() -> None:
    def fault(model: Model) -> None:
        model.blocks[1].register_forward_hook(lambda block, given, made: nn.functional.dropout(made, 0.2))

    with pytest.raises(InputError, match=r"two passes of Model on the same inputs.*it draws random numbers"):
        audited(fault)


def test_without_an_expectation_the_networks_are_held_against_what_was_read() -> None:
    found = st.audit(lambda seed: Model(depth=3), networks=24, tokens=12, activation="gelu", progress=False)
    assert "against no expectation, only the theory of what was read" in found.summary().splitlines()[0]
    assert "networks against what was read: " in found.summary()
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


def test_a_model_with_flags_over_it_is_an_expectation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from modules import Model\n"
        "def build(seed):\n    return Model(depth=3)\n"
    )
    flags = ["--tokens", "12", "--quiet", "--networks", "3", "--like", "gpt2"]
    build = f"{tmp_path / 'mine.py'}:build"
    assert main(["audit", build, *flags]) == 2
    assert "the module has depth=3, and depth=12 is expected" in capsys.readouterr().err
    assert main(["audit", build, *flags, "--depth", "3", "--width", "32", "--heads", "4"]) == 1
    said = capsys.readouterr().out
    assert said.startswith("Model: DEPARTS, against gpt2\n")
    assert "mask is 'none' where 'causal' is expected" in said
    assert main(["audit", build, *flags, "--expected", "pre-norm"]) == 2
    assert "takes --expected or --like, not both" in capsys.readouterr().err
    for unread in ("--loss", "--inputs", "--vocabulary", "--dropout"):
        assert main(["audit", build, unread, "1"]) == 2
        assert f"unknown flag of audit '{unread}'" in capsys.readouterr().err


def test_refusals(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="audit needs standard errors"):
        st.audit(Model())
    with pytest.raises(InputError, match="the module has depth=3, and depth=12 is expected"):
        st.audit(lambda seed: Model(depth=3), networks=3, tokens=12, expected="pre-norm width=32 heads=4")
    with pytest.raises(InputError, match="expected must be an Architecture"):
        st.audit(lambda seed: Model(depth=3), networks=3, tokens=12, expected=7)
    with pytest.raises(InputError, match="without dropout; leave out loss, dropout"):
        st.audit(lambda seed: Model(depth=3), networks=3, loss="mean", dropout=0.1)
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
