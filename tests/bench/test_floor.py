"""The floor draws and multiplies what the implicit engine does, counted on the engine itself."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from spannorm_theory.bench.floor import Floor, products, total_numbers
from spannorm_theory.montecarlo.ensemble import simulate
from spannorm_theory.montecarlo.implicit import ImplicitWeights
from spannorm_theory.montecarlo.network import Stack
from spannorm_theory.montecarlo.program import Program
from spannorm_theory.montecarlo.randomness import Randomness
from spannorm_theory.montecarlo.record import Record
from spannorm_theory.spec.architecture import Architecture

pytestmark = pytest.mark.exact

ARCHS = [
    Architecture("span-norm", depth=3, width=48, heads=4, tokens=8),
    Architecture("pre-norm", depth=2, width=32, heads=2, tokens=6, activation="swiglu"),
]


@pytest.fixture
def drawn(monkeypatch):
    counts = []
    normal = Randomness.normal

    def counted(self, layer, purpose, size):
        counts.append(len(self.networks) * size)
        return normal(self, layer, purpose, size)

    monkeypatch.setattr(Randomness, "normal", counted)
    return counts


@pytest.mark.parametrize("arch", ARCHS)
def test_random_numbers_are_those_of_the_implicit_engine(arch, drawn):
    simulate(arch, 3, engine="implicit", device="cpu", progress=False)
    engine = sum(drawn)
    drawn.clear()
    Floor(arch, 3).run()
    assert sum(drawn) == engine == 3 * total_numbers(arch)


class Multiplications(TorchDispatchMode):
    """Counts the scalar multiplications of batched products."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name in ("bmm", "baddbmm", "baddbmm_"):
            left, right = args[-2:]
            self.count += math.prod(left.shape) * right.shape[-1]
        assert name not in ("mm", "addmm", "einsum"), name
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("arch", ARCHS)
def test_products_are_those_of_the_implicit_engine(arch, monkeypatch):
    monkeypatch.setattr(Record, "boundary", lambda *_: None)
    random = Randomness(0, range(2), dtype=torch.float32, device=torch.device("cpu"))
    stack = Stack(Program(arch), ImplicitWeights, random, arch.depth)
    with Multiplications() as seen:
        stack.run()
    assert seen.count == 2 * arch.depth * sum(p.multiplications for p in products(arch))
