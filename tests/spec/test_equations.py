"""The toolkit's program of every placement against its published block, on the same weights."""

from __future__ import annotations

import ast
import inspect
import textwrap
from itertools import combinations

import pytest
import torch
from published_blocks import PUBLISHED, Block, layer_norm, rms_norm

from spannorm_theory.montecarlo.program import Program
from spannorm_theory.montecarlo.randomness import Randomness
from spannorm_theory.montecarlo.weights import ExplicitWeights
from spannorm_theory.spec import placements
from spannorm_theory.spec.architecture import Architecture, parse_placement
from spannorm_theory.spec.placements import PLACEMENTS

pytestmark = pytest.mark.exact

CPU = torch.device("cpu")
NORMS = {"rms": rms_norm, "layer": layer_norm}
DEPTH, WIDTH, TOKENS = 4, 24, 5
RANDOM = Randomness(3, range(1), dtype=torch.float64, device=CPU)


def inputs(streams: int) -> list[torch.Tensor]:
    """Streams that differ from each other, of second moment 1.7."""
    drawn = torch.randn(4, TOKENS, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    return list((1.7**0.5 * drawn)[:streams])


def architecture(placement: str, norm: str) -> Architecture:
    case = PUBLISHED[placement]
    return Architecture(
        placement, case.scaling, depth=DEPTH, width=WIDTH, heads=case.heads, tokens=TOKENS, norm=norm
    )


def published(placement: str, norm: str) -> list[torch.Tensor]:
    """The streams after every block and the output, by the published equations."""
    case, arch = PUBLISHED[placement], architecture(placement, norm)
    program, streams, found = Program(arch), inputs(arch.definition.streams), []
    for l in range(DEPTH):
        weights = ExplicitWeights(program.matrices(l), RANDOM, l)
        w = {name: weights.matrix(name)[0] for name in arch.weights}
        streams = case.block(streams, Block(w, case.heads, NORMS[norm], l, DEPTH))
        found += streams
    return [*found, case.readout(streams, NORMS[norm])]


def traced(placement: str, norm: str) -> list[torch.Tensor]:
    """The same by the toolkit's definition."""
    program = Program(architecture(placement, norm))
    streams, found = [x[None] for x in inputs(program.streams)], []
    for l in range(DEPTH):
        streams = program.block(l, streams, ExplicitWeights(program.matrices(l), RANDOM, l))
        found += streams
    return [x[0] for x in (*found, program.readout(streams))]


#: nGPT's unit vectors are an RMS norm
CASES = [(name, norm) for name in PUBLISHED for norm in NORMS if norm == "rms" or "ngpt" not in name]


@pytest.mark.parametrize(("placement", "norm"), CASES)
def test_every_stream_after_every_block_and_the_output(placement: str, norm: str) -> None:
    for ours, theirs in zip(traced(placement, norm), published(placement, norm), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_every_registered_placement_is_transcribed() -> None:
    assert set(PLACEMENTS) == {parse_placement(name)[0] for name in PUBLISHED}


def test_every_option_is_transcribed() -> None:
    for name, entry in PLACEMENTS.items():
        cases = [parse_placement(case)[1] for case in PUBLISHED if parse_placement(case)[0] == name]
        assert set(entry.options) == {option for case in cases for option in case}


def test_transcriptions_tell_placements_apart() -> None:
    """Otherwise agreement would mean little: only those that are PreNorm at the start have twins."""
    outputs = {name: published(name, "rms")[-1] for name in PUBLISHED}
    twins = {
        frozenset(pair)
        for pair in combinations(outputs, 2)
        if torch.allclose(outputs[pair[0]], outputs[pair[1]], rtol=1e-6, atol=1e-6)
    }
    pre = ("gpas", "pre-norm", "denseformer", "attention-residuals", "attention-residuals(block=4)")
    assert twins == {
        *map(frozenset, combinations(pre, 2)),
        frozenset(("sandwich", "peri-ln(embedding_norm=False)")),
        # both keep the sum of their streams, which is all that their branches and readout see (T3.6)
        frozenset(("mhc", "identity-hyper-connections")),
    }


def test_a_definition_has_at_most_ten_lines() -> None:
    """The cost of a placement: every function in definitions/placements, its docstring left out."""
    modules = [m for m in vars(placements).values() if inspect.ismodule(m)]
    lengths = {}
    for module in modules:
        for function in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(module)))):
            if isinstance(function, ast.FunctionDef):
                body = function.body[1:] if ast.get_docstring(function) else function.body
                lengths[function.name] = body[-1].end_lineno - body[0].lineno + 1
    assert set(lengths) >= {entry.function.__name__ for entry in PLACEMENTS.values()}
    assert {name: length for name, length in lengths.items() if length > 10} == {}
