"""What needs a CUDA device: ``make gpu`` runs these."""

import pytest
import torch
from scipy import stats

from spannorm_theory.bench.gpu import synchronisations
from spannorm_theory.layers import attention_tiles
from spannorm_theory.montecarlo.ensemble import simulate
from spannorm_theory.spec.architecture import Architecture

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

STACKS = {
    "two streams": Architecture("siamese-norm", depth=4, width=64, heads=4, tokens=12),
    "causal": Architecture(
        "pre-norm", depth=3, width=64, heads=4, tokens=12, mask="causal", positions="rope", kv_heads=2
    ),
}


def both(arch, networks, engine, **options):
    """Ensembles on the CPU and on the device, with networks of their own."""
    return (
        simulate(arch, networks, seed=seed, device=device, engine=engine, progress=False, **options)
        for seed, device in enumerate(("cpu", "cuda"))
    )


def least_p(cpu, gpu):
    """The smallest p-value of two-sample tests, at the first layer of all, times their number."""
    assert gpu.device.startswith("cuda")
    assert set(cpu.samples) == set(gpu.samples)
    samples = [(cpu.samples[key][:, 0], gpu.samples[key][:, 0]) for key in cpu.samples]
    pairs = [
        (a, b) for x, y in samples for a, b in zip(x.reshape(500, -1).T, y.reshape(500, -1).T, strict=True)
    ]
    return len(pairs) * min(stats.ks_2samp(a, b).pvalue for a, b in pairs)


@pytest.mark.parametrize("engine", ["explicit", "implicit"])
@pytest.mark.parametrize("arch", STACKS.values(), ids=STACKS)
def test_cuda_has_the_law_of_the_cpu(arch, engine):
    assert least_p(*both(arch, 500, engine)) > 1e-3


@pytest.mark.parametrize("engine", ["explicit", "implicit"])
def test_tiles_and_positions_have_the_law_of_the_cpu(engine, monkeypatch):
    arch = STACKS["causal"]
    monkeypatch.setattr(attention_tiles, "TILE", 5 * arch.heads * arch.tokens)
    assert least_p(*both(arch, 500, engine, by="position", positions=[1, 2, 12])) > 1e-3


@pytest.mark.parametrize("engine", ["explicit", "implicit"])
@pytest.mark.parametrize("arch", STACKS.values(), ids=STACKS)
def test_no_synchronisation_inside_the_layer_loop(arch, engine):
    assert synchronisations(arch, engine) == []
