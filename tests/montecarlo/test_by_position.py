"""Networks measured token by token."""

import numpy as np
import pytest

from spannorm_theory.montecarlo import batches as schedule
from spannorm_theory.montecarlo.ensemble import simulate
from spannorm_theory.spec.architecture import Architecture

STACKS = {
    "causal": Architecture("span-norm", depth=3, width=32, heads=4, tokens=12, mask="causal"),
    "two streams": Architecture("siamese-norm", depth=2, width=32, heads=4, tokens=6),
    "experts": Architecture("pre-norm", depth=2, width=16, heads=2, tokens=5, experts=4, top_k=2),
}


def run(arch, **options):
    return simulate(arch, **{"networks": 4, "device": "cpu", "progress": False, "dtype": "float64"} | options)


@pytest.mark.exact
@pytest.mark.parametrize("engine", ["explicit", "implicit"])
@pytest.mark.parametrize("arch", STACKS.values(), ids=STACKS)
def test_the_mean_over_positions_is_the_average(arch, engine):
    average, single = (run(arch, engine=engine, **o) for o in ({}, {"by": "position"}))
    if arch.mask == "causal":
        single = run(arch, engine=engine, by="position", positions=range(1, arch.tokens + 1))
    assert set(single.samples) == {k for k in average.samples if k[1] in ("variance", "grad_variance")}
    for key, sample in single.samples.items():
        assert sample.shape == (4, arch.depth + 1 if key[0] != "input" else 1, arch.tokens)
        mean = np.log(np.exp(sample).mean(-1))
        np.testing.assert_allclose(mean, average.samples[key], rtol=1e-9, atol=1e-9, err_msg=str(key))


@pytest.mark.exact
def test_the_table_has_a_row_for_each_position_asked():
    arch = STACKS["causal"]
    every = run(arch, by="position", positions=range(1, 13))
    some = run(arch, by="position", positions=[12, 3])
    average = run(arch).table
    table = some.table
    assert [c for c in table if c != "position"] == list(average)
    assert list(table)[list(table).index("layer") + 1] == "position"
    assert len(table) == 2 * 2 * (arch.depth + 1)
    row = table[(table["layer"] == 2) & (table["position"] == 3) & (table["quantity"] == "grad_variance")]
    values = np.exp(every.samples["0", "grad_variance"][:, 2, 2])
    assert row["value"].item() == pytest.approx(values.mean(), rel=1e-9)
    assert row["se"].item() == pytest.approx(values.std(ddof=1) / 2, rel=1e-9)
    assert "position" in some._repr_html_()


@pytest.mark.exact
def test_tables_by_position_do_not_depend_on_batches(monkeypatch):
    whole = run(STACKS["causal"], by="position").samples
    monkeypatch.setattr(schedule, "FULL", 1)
    monkeypatch.setattr(schedule, "KEEP", 1 << 15)
    monkeypatch.setattr(schedule, "KEEP_ALL", 0)
    for key, sample in run(STACKS["causal"], by="position").samples.items():
        np.testing.assert_allclose(sample, whole[key], rtol=1e-9, atol=1e-9, err_msg=str(key))


@pytest.mark.exact
def test_tokens_that_no_loss_reads_have_no_gradient():
    """The last token reads the others through attention alone, and behind the last block not at all."""
    arch = STACKS["causal"].with_(loss="last")
    table = run(arch, by="position", positions=[1, 12]).table
    table = table[table["quantity"] == "grad_variance"].set_index(["layer", "position"])["value"]
    assert table[arch.depth, 1] == 0
    assert table[arch.depth, 12] > 0
    assert table[0, 1] > 0
