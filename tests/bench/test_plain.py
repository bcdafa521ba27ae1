"""The modules that the engines are timed against compute the same networks."""

import pytest
import torch

from spannorm_theory.base.errors import InputError
from spannorm_theory.bench.plain import BLOCKS, PlainStack, loop, measure
from spannorm_theory.montecarlo.boundary import embedding
from spannorm_theory.montecarlo.ensemble import simulate
from spannorm_theory.montecarlo.network import Stack
from spannorm_theory.montecarlo.program import Program
from spannorm_theory.montecarlo.randomness import Purpose, Randomness
from spannorm_theory.montecarlo.weights import ExplicitWeights
from spannorm_theory.spec.architecture import Architecture

CPU = torch.device("cpu")


def with_explicit_weights(arch, random):
    """The modules with the explicit engine's matrices of network 0."""
    model = PlainStack(arch).double()
    with torch.no_grad():
        for layer, block in enumerate(model.blocks):
            drawn = ExplicitWeights(Program(arch).matrices(layer), random, layer)
            for name in arch.weights:
                block.get_parameter(f"{name}.weight").copy_(drawn.matrix(name)[0].T)
    return model


@pytest.mark.exact
@pytest.mark.parametrize("placement", BLOCKS)
@pytest.mark.parametrize(
    "fields", [{}, {"mask": "causal", "scaling": "gpt2"}, {"activation": "swiglu", "norm": "layer"}]
)
def test_modules_agree_with_the_explicit_engine_on_its_weights(placement, fields):
    arch = Architecture(placement, depth=3, width=24, heads=3, tokens=6, **fields)
    random = Randomness(3, range(1), dtype=torch.float64, device=CPU)
    stack = Stack(Program(arch), ExplicitWeights, random, arch.depth)
    expected = stack.run().values
    x = embedding(arch, random)
    probe = random.normal(0, Purpose.LOSS, x.numel()).view_as(x)
    found = measure(with_explicit_weights(arch, random), x.clone(), probe).values
    assert found.keys() == expected.keys()
    for key, layers in expected.items():
        for layer, value in layers.items():
            assert found[key][layer].item() == pytest.approx(value.item(), rel=1e-9, abs=1e-9), (key, layer)


@pytest.mark.statistical
def test_loop_draws_networks_of_the_same_law():
    arch = Architecture("post-norm", depth=2, width=32, heads=2, tokens=8)
    networks = 60
    records = loop(arch, networks)
    theirs = torch.stack([torch.stack([r.values["0", "grad_variance"][0] for r in records])]).flatten()
    ours = torch.from_numpy(simulate(arch, networks, progress=False).samples["0", "grad_variance"][:, 0])
    error = ((theirs.var() + ours.var()) / networks).sqrt()
    assert abs(theirs.mean() - ours.mean()) < 4 * error
    assert len({round(x, 9) for x in theirs.tolist()}) == networks


def test_one_model_drawn_anew_is_a_new_model():
    arch = Architecture("span-norm", depth=2, width=16, heads=2, tokens=4)
    for made, drawn in zip(loop(arch, 3), loop(arch, 3, tuned=True), strict=True):
        assert made.values == drawn.values


@pytest.mark.parametrize(
    "arch",
    [
        Architecture("siamese-norm"),
        Architecture("pre-norm", "layer-index"),
        Architecture("pre-norm", qk_norm=True),
    ],
)
def test_what_has_no_module_is_refused(arch):
    with pytest.raises(InputError, match="pre-norm, post-norm, span-norm"):
        PlainStack(arch)
