"""Batching, depth, bad input and what an Ensemble reports."""

import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from helpers import rounded
from scipy import stats

from spannorm_theory.base.errors import InputError, NonFiniteError
from spannorm_theory.base.quantities import QUANTITIES
from spannorm_theory.montecarlo import batches as schedule
from spannorm_theory.montecarlo.ensemble import simulate
from spannorm_theory.montecarlo.metrics import gram, log_rank_residual, product_norm, token_modes
from spannorm_theory.montecarlo.network import Stack, rescaled
from spannorm_theory.montecarlo.randomness import CHUNK, Purpose, Randomness
from spannorm_theory.spec.architecture import Architecture
from spannorm_theory.spec.placements import placement

CPU = torch.device("cpu")
SMALL = Architecture("span-norm", depth=3, width=32, heads=4, tokens=8)


def run(arch=SMALL, **options):
    return simulate(arch, **{"networks": 8, "device": "cpu", "progress": False} | options)


@pytest.fixture
def small_batches(monkeypatch):
    """Batches of so many networks, one after the other."""
    monkeypatch.setattr(schedule, "cores", lambda: 1)

    def choose(networks):
        monkeypatch.setattr(schedule, "FULL", networks * SMALL.tokens * SMALL.hidden)

    return choose


@pytest.mark.exact
@pytest.mark.parametrize("engine", ["explicit", "implicit"])
def test_results_do_not_depend_on_batches_or_on_what_is_kept(engine, small_batches, monkeypatch):
    whole = run(engine=engine, dtype="float64").samples
    for size in (1, 3):
        small_batches(size)
        monkeypatch.setattr(schedule, "KEEP", 1 << 15)
        monkeypatch.setattr(schedule, "KEEP_ALL", 0)
        cut = run(engine=engine, dtype="float64").samples
        for key, sample in whole.items():
            np.testing.assert_allclose(cut[key], sample, rtol=1e-9, atol=1e-9, err_msg=str(key))


@pytest.mark.exact
def test_a_larger_ensemble_begins_with_the_smaller_one():
    small, large = (run(networks=n, dtype="float64").samples for n in (3, 6))
    other = run(networks=3, seed=1, dtype="float64").samples
    for key, sample in small.items():
        np.testing.assert_allclose(large[key][:3], sample, rtol=1e-9, atol=1e-9)
    assert np.abs(other["0", "grad_variance"] - small["0", "grad_variance"]).min() > 1e-6


@pytest.mark.exact
def test_random_numbers_by_row_layer_and_purpose():
    def draw(networks, layer=2, purpose=Purpose.FORWARD, size=CHUNK + 7):
        return Randomness(5, networks, dtype=torch.float32, device=CPU).normal(layer, purpose, size)

    together = draw(range(4))
    torch.testing.assert_close(together[2:3], draw([2]), rtol=0, atol=0)
    assert not torch.equal(together, draw(range(4), layer=3))
    assert not torch.equal(together, draw(range(4), purpose=Purpose.BACKWARD))
    double = Randomness(5, range(4), dtype=torch.float64, device=CPU).normal(2, Purpose.FORWARD, CHUNK + 7)
    assert torch.equal(double, together.double())


@pytest.mark.statistical
def test_random_numbers_are_normal():
    x = Randomness(1, range(4), dtype=torch.float64, device=CPU).normal(0, Purpose.FORWARD, 1 << 19)
    assert torch.corrcoef(x).fill_diagonal_(0).abs().max() < 5 / 2**9.5
    values = x.flatten().numpy()
    assert stats.kstest(values, "norm").pvalue > 1e-4
    for bound in (3.0, 4.0, 4.5):
        expected = 2 * stats.norm.sf(bound) * values.size
        assert abs((abs(values) > bound).sum() - expected) < 5 * expected**0.5
    assert abs((values**4).mean() - 3) < 5 * (96 / values.size) ** 0.5


@pytest.mark.statistical
@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize("engine", ["explicit", "implicit"])
def test_gradients_beyond_the_range_of_floats(engine):
    """x <- N(x + attention), N(gated ffn): the gradient grows by a constant factor per block."""

    @placement("growing-test", title="", source="test")
    def growing(x, net):
        return net.norm(net.ffn(net.norm(net.add(x, net.attention(x)))))

    arch = Architecture("growing-test", depth=450, width=16, heads=2, tokens=4, activation="swiglu")
    log_gamma = run(arch, networks=4, engine=engine).samples["0", "grad_variance"].mean(0)
    short = run(arch.with_(depth=60), networks=60, engine="explicit", dtype="float64")
    assert log_gamma[0] > 2 * np.log(torch.finfo(torch.float32).max)
    rate = (log_gamma[0] - log_gamma[-1]) / 450
    plain = short.samples["0", "grad_variance"].mean(0)
    assert rate == pytest.approx((plain[0] - plain[-1]) / 60, rel=0.35)  # up to the transients at both ends


@pytest.mark.exact
def test_rescaling_is_by_powers_of_two():
    grads = [torch.tensor([[[3e-39, 0.0]], [[5.0, -96.0]]]), torch.tensor([[[1e-39, 0.0]], [[1.0, 2.0]]])]
    scaled, exponent = rescaled(grads, torch.zeros(2, dtype=torch.float64))
    assert exponent.tolist() == [-127, 7]
    for before, after in zip(grads, scaled, strict=True):
        assert torch.equal(torch.ldexp(after.double(), exponent[:, None, None]), before.double())


@pytest.mark.exact
def test_engines_agree_on_what_weights_cannot_change():
    """Post-norm streams have second moment one, up to float32; the gradient behind them is the probe."""
    for engine in ("explicit", "implicit"):
        ensemble = run(Architecture("post-norm", depth=30, width=32, heads=4, tokens=8), engine=engine)
        np.testing.assert_allclose(ensemble.samples["0", "variance"][:, 1:], 0, rtol=0, atol=1e-5)
        gamma = ensemble.samples["0", "grad_variance"][:, -1]
        assert abs(np.exp(gamma).mean() - 1) < 5 * (2 / (8 * 8 * 32)) ** 0.5


@pytest.mark.exact
def test_collapsed_tokens_keep_their_digits():
    make = torch.Generator().manual_seed(0)
    common, own = (torch.randn(1, n, 32, generator=make, dtype=torch.float64) for n in (1, 6))
    x = common + 1e-9 * (own - own.mean(1, keepdim=True))
    modes = token_modes(x)
    # the tokens themselves hold their differences to 1e-16 / 1e-9
    residual = ((x - x.mean(1, keepdim=True)).norm() / x.norm()).log().item()
    assert log_rank_residual(gram(modes)).item() == pytest.approx(residual, abs=1e-7)
    torch.testing.assert_close(modes @ modes.mT, token_modes(token_modes(x @ x.mT).mT), atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(token_modes(modes), x, atol=1e-14, rtol=0)
    torch.testing.assert_close(
        product_norm(modes @ modes.mT, own @ own.mT), (modes.mT @ own).square().sum((1, 2)), rtol=1e-9, atol=0
    )


@pytest.mark.exact
def test_table_has_means_and_intervals_also_of_numbers_too_small_for_a_float():
    ensemble = run(networks=5)
    table = ensemble.table
    assert len(table) == sum(sample.shape[1] for sample in ensemble.samples.values())
    row = table[(table.quantity == "grad_variance") & (table.layer == 1)].iloc[0]
    values = np.exp(ensemble.samples["0", "grad_variance"][:, 1])
    assert row.value == rounded(values.mean())
    assert row.se == rounded(stats.sem(values))
    assert (row.low, row.high) == rounded(stats.t.interval(0.95, 4, values.mean(), stats.sem(values)))
    assert row.geometric == rounded(stats.gmean(values))
    assert (row.networks, row.stream) == (5, "0")
    for (_, quantity), sample in ensemble.samples.items():
        assert sample.dtype == np.float64
        assert sample.shape == (5, SMALL.depth + (not QUANTITIES[quantity].per_block))
    tiny = {key: sample - 2e4 for key, sample in ensemble.samples.items() if QUANTITIES[key[1]].logarithmic}
    deep = type(ensemble)(**{**vars(ensemble), "samples": tiny}).table
    small = deep[(deep.quantity == "grad_variance") & (deep.layer == 1)].iloc[0]
    assert small.log_value == rounded(row.log_value - 2e4)
    assert small.relative_se == rounded(row.relative_se)
    assert "5 networks" in ensemble._repr_html_()


@pytest.mark.exact
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_precisions_see_the_same_networks(dtype):
    tolerance = {"float64": 1e-4, "bfloat16": 0.15}[
        dtype
    ]  # what 24 and 8 binary digits leave of three blocks
    reference, other = run(dtype="float32"), run(dtype=dtype)
    for key in (("0", "token_cosine"), ("0", "grad_variance"), ("ffn.down", "weight_grad_norm")):
        assert np.abs(other.samples[key] - reference.samples[key]).max() < tolerance


@pytest.mark.exact
def test_auto_says_what_it_took_and_why():
    assert run().engine == "implicit"
    wide = run(SMALL.with_(tokens=40))
    assert (wide.engine, wide.device) == ("explicit", "cpu")
    assert "tokens" in wide.reason


@pytest.mark.exact
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"networks": 0}, "networks"),
        ({"networks": 2.5}, "networks"),
        ({"seed": -1}, "seed"),
        ({"dtype": "float16"}, "dtype"),
        ({"engine": "impicit"}, "implicit"),
        ({"device": "tpu"}, "device"),
        ({"device": "cuda:99"}, "not available"),
        ({"arch": SMALL.with_(tokens=32), "engine": "implicit"}, "engine='explicit'"),
        ({"arch": SMALL.with_(width=1 << 22, tokens=1 << 20), "engine": "explicit"}, "would fit|reduce"),
    ],
)
def test_bad_input_is_refused_in_one_line(options, message):
    with pytest.raises(InputError, match=message) as caught:
        run(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.exact
def test_not_finite_is_reported_with_its_place():
    exploding = Architecture(
        "no-norm", depth=40, width=32, heads=4, tokens=8, init=100.0, activation="linear"
    )
    with pytest.raises(NonFiniteError, match=r"variance of 0 is not finite at layer 3 in \d of \d networks"):
        run(exploding)


@pytest.mark.exact
def test_out_of_memory_halves_the_batch_and_then_says_so(monkeypatch, small_batches):
    whole, sizes = run(dtype="float64"), []

    class Limited(Stack):
        most = 2

        def run(self):
            sizes.append(len(self.random.networks))
            if sizes[-1] > self.most:
                raise torch.OutOfMemoryError
            return super().run()

    small_batches(8)
    monkeypatch.setattr(schedule, "Stack", Limited)
    halved = run(dtype="float64")
    assert {8, 4, 2} == set(sizes)
    np.testing.assert_allclose(
        halved.samples["0", "variance"], whole.samples["0", "variance"], rtol=1e-9, atol=1e-12
    )
    Limited.most = 0
    with pytest.raises(InputError, match=r"does not fit.*width \d+ would fit"):
        run()


@pytest.mark.exact
def test_interrupt_keeps_the_networks_that_are_finished(monkeypatch, small_batches):
    class Interrupted(Stack):
        def __init__(self, program, make_weights, random, segment, tick, record):
            super().__init__(program, make_weights, random, segment, tick, record)
            self.tick = tick

        def run(self):
            if self.random.networks.start == 4:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
                for _ in range(2000):  # until a tick says stop
                    self.tick()
                    time.sleep(0.01)
            return super().run()

    small_batches(2)
    monkeypatch.setattr(schedule, "Stack", Interrupted)
    with pytest.warns(RuntimeWarning, match="interrupted"):
        ensemble = run()
    assert ensemble.networks == 4
    assert ensemble.samples["0", "variance"].shape[0] == 4


@pytest.mark.exact
def test_threads_and_denormals_are_left_as_they_were():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        run()
        assert torch.get_num_threads() == 3
        assert (torch.tensor(1e-40) * 1.0).item() != 0
    finally:
        torch.set_num_threads(before)


@pytest.mark.exact
def test_progress_goes_to_stderr_only_when_it_takes_long(capfd):
    run(progress=None)
    assert capfd.readouterr() == ("", "")


@pytest.mark.exact
def test_a_placement_that_uses_a_weight_twice_is_refused():
    def twice(x, net):
        return net.add(net.add(x, net.ffn(x)), net.ffn(x))

    with pytest.raises(InputError, match="twice"):
        placement("twice-test", title="", source="test")(twice)


@pytest.mark.exact
def test_definitions_do_not_import_torch():
    modules = "spannorm_theory.spec.architecture, spannorm_theory.montecarlo.metrics"
    code = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
