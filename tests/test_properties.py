"""Every call of a public function has a sound result, or raises an error of the toolkit in one line.

``SPANNORM_EXAMPLES`` says how many calls are tried, 2,000 unless it is set (``make fuzz``: 50,000). The
2,000 are the same in every run; any other number is drawn anew each time.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hostile import ACTIVATIONS, GOOD, anything, good_fields, mostly, numbers, odd_fields, words
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as draw
from public_calls import calls

import spannorm_theory as st
from spannorm_theory.base.errors import SpannormError
from spannorm_theory.base.quantities import QUANTITIES

#: where drawn arguments are long, hypothesis says so
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

DEFAULT = 2_000
EXAMPLES = int(os.environ.get("SPANNORM_EXAMPLES", DEFAULT))

LABELS = ["placement", "scaling", "depth", "width", "tokens"]
ROW = [*LABELS, "layer", "stream", "quantity"]
ESTIMATES = ("value", "log_value", "networks", "se", "relative_se", "low", "high", "geometric")

#: quantities that docs/limitations.md says are declined in places, or that a stream of zeros does not have
DECLINED = {
    "stable_rank",
    "effective_rank",
    "participation_ratio",
    "rank_residual",
    "weight_grad_norm",
    "token_cosine",
    "grad_token_cosine",
    "layer_cosine",
    "branch_share",
    "load_imbalance",
}


def tried(share: float) -> Callable[[Any], Any]:
    """The settings of a test that takes a ``share`` of all examples."""
    return settings(
        max_examples=max(1, round(share * EXAMPLES)),
        derandomize=EXAMPLES == DEFAULT,
        database=None,
        deadline=None,
        print_blob=True,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


def sound(call: Callable[[], Any]) -> Any:
    """The result of a call; None where it was refused in one line."""
    try:
        return call()
    except SpannormError as error:
        message = str(error)
        assert message
        assert message.isprintable(), message
        assert len(message) < 2_000, message
        return None


def rows_are_sound(table: pd.DataFrame) -> None:
    """No infinite value, and no undefined one of a quantity that is always there, or of all at once."""
    logarithmic = table["quantity"].map(lambda name: QUANTITIES[name].logarithmic)
    value = table["log_value"].where(logarithmic, table["value"])
    assert not (value == np.inf).any()
    assert not (value[~logarithmic] == -np.inf).any()
    assert set(table["quantity"][value.isna()]) <= DECLINED
    cosines = value[table["quantity"].str.contains("cosine")].dropna()
    assert ((cosines > -1 - 1e-6) & (cosines < 1 + 1e-6)).all()
    assert value.notna().any()


# --- architectures and their text forms ------------------------------------------------------------


def round_trips(arch: st.Architecture) -> None:
    """The text form, the plain values and a pickle are the architecture."""
    text = str(arch)
    assert text.isprintable()
    assert st.Architecture.parse(text) == arch
    assert st.Architecture.from_dict(arch.to_dict()) == arch
    assert pickle.loads(pickle.dumps(arch)) == arch
    assert hash(st.Architecture.parse(text)) == hash(arch)
    assert st.Architecture.parse(text).key == arch.key
    assert arch.with_() == arch
    assert "<table>" in arch._repr_html_()


@tried(0.2)
@given(fields=odd_fields())
def test_fields_make_an_architecture_or_are_refused(fields: dict[str, Any]) -> None:
    arch = sound(lambda: st.Architecture(**fields))
    if arch is not None:
        round_trips(arch)


@tried(0.05)
@given(fields=good_fields(8))
def test_text_forms_round_trip(fields: dict[str, Any]) -> None:
    arch = sound(lambda: st.Architecture(**fields))
    if arch is not None:
        round_trips(arch)


@tried(0.1)
@given(
    text=draw.one_of(
        words,
        draw.builds(
            lambda *parts: "".join(parts),
            draw.sampled_from(["pre-norm", "siamese-norm(depth_scaling=False)", "mix-ln(fraction=", ""]),
            draw.sampled_from([" unit", " gpt2+completep", " ", "\n"]),
            draw.sampled_from(
                [" depth=2", " depth=2 depth=3", " width=1_6", " mask=causal", " depth", " =", ""]
            ),
            draw.one_of(
                draw.just(""), draw.builds(lambda k, v: f" {k}={v}", draw.sampled_from([*GOOD]), words)
            ),
        ),
    )
)
def test_text_is_parsed_or_refused(text: str) -> None:
    arch = sound(lambda: st.Architecture.parse(text))
    if arch is not None:
        round_trips(arch)


@tried(0.04)
@given(value=anything, name=draw.sampled_from(["with_", "from_dict", "parse", "block", "copies"]))
def test_methods_of_an_architecture(value: Any, name: str) -> None:
    arch = st.Architecture("pre-norm", depth=2)
    sound(lambda: arch.with_(depth=value) if name == "with_" else getattr(arch, name)(value))


@tried(0.1)
@given(value=anything, which=draw.integers(0, 200))
def test_public_functions_take_or_refuse_anything(
    value: Any, which: int, results: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    every = calls(value, results, tmp_path_factory.getbasetemp() / "any")
    sound(every[which % len(every)])


# --- theory -------------------------------------------------------------------------------------------


@tried(0.12)
@given(fields=good_fields())
def test_predictions_are_numbers_or_declined(fields: dict[str, Any]) -> None:
    arch = sound(lambda: st.Architecture(**fields))
    table = None if arch is None else sound(lambda: st.predict(arch))
    if table is not None:
        assert list(table)[:10] == [*ROW, "value", "log_value"]
        assert set(table) - {*ROW, "value", "log_value"} in ({"theory"}, {"theory", "se"})
        rows_are_sound(table)


@tried(0.05)
@given(
    placement=GOOD["placement"],
    scaling=GOOD["scaling"],
    activation=draw.sampled_from([None, *ACTIVATIONS]),
    gains=draw.lists(numbers, min_size=6, max_size=6),
    depth=draw.one_of(draw.integers(1, 5), anything),
)
def test_recursions_iterate_or_refuse(
    placement: str, scaling: str, activation: str | None, gains: list[Any], depth: Any
) -> None:
    recursion = sound(lambda: st.derive(placement, scaling, activation=activation))
    if recursion is None or not sound(lambda: recursion.forward):
        return
    assert recursion.backward
    names = ("sigma_a2", "sigma_f2", "omega_a2", "omega_f2", "q0", "gamma_out")
    depth = min(depth, 1000) if isinstance(depth, int) else depth
    for found in (gains, [0.5, 1, 0.3, 2, *gains[4:]], [0.5, 1, 0.3, 2, 1, 1]):
        table = sound(lambda found=found: recursion.iterate(depth, **dict(zip(names, found, strict=True))))
        if table is not None:
            assert list(table) == ["layer", "stream", "quantity", "value", "log_value"]
            assert table["log_value"].notna().all()
            assert (table["log_value"] < np.inf).all()


@tried(0.06)
@given(
    fields=good_fields(3),
    layers=mostly(draw.one_of(draw.none(), draw.lists(draw.integers(0, 3), max_size=3))),
    networks=mostly(draw.sampled_from([0, 2, 3])),
)
def test_spectra_are_numbers(fields: dict[str, Any], layers: Any, networks: Any) -> None:
    arch = sound(lambda: st.Architecture(**fields))
    few = networks if not isinstance(networks, int) or abs(networks) < 100 else 2
    table = None if arch is None else sound(lambda: st.spectra(arch, layers, networks=few))
    if table is not None:
        assert list(table) == [*LABELS, "layer", "stream", "index", "theory", "estimate", "se", "networks"]
        assert (table["theory"].isna() | table["theory"].between(0, 1 + 1e-9)).all()
        # dropout may leave nothing, and what is zero has no spectrum
        nothing = fields.get("dropout") or fields.get("attention_dropout")
        assert table["estimate"].isna().all() == (few == 0) or nothing


# --- networks -------------------------------------------------------------------------------------------


@tried(0.08)
@given(
    fields=good_fields(4),
    networks=mostly(draw.integers(1, 3)),
    seed=mostly(draw.integers(0, 9)),
    options=draw.dictionaries(
        draw.sampled_from(["engine", "dtype", "device", "first"]), anything, max_size=1
    ),
)
def test_simulations_are_numbers(
    fields: dict[str, Any], networks: Any, seed: Any, options: dict[str, Any]
) -> None:
    arch = sound(lambda: st.Architecture(**fields))
    few = networks if not isinstance(networks, int) or networks < 100 else 3
    if arch is None:
        return
    found = sound(lambda: st.simulate(arch, few, seed, progress=False, **options))
    if found is not None:
        table = found.table
        assert set(table) == {*ROW, *ESTIMATES}
        rows_are_sound(table)
        assert repr(found).isprintable()
        assert pickle.loads(pickle.dumps(found)).table.equals(table)


@tried(0.05)
@given(
    fields=good_fields(4), seed=draw.integers(0, 9), dtype=draw.sampled_from(["auto", "float64", "bfloat16"])
)
@example(
    fields={
        "placement": "sandwich",
        "depth": 1,
        "width": 4,
        "heads": 1,
        "tokens": 2,
        "input_cosine": 1 - 1e-9,
    },
    seed=0,
    dtype="bfloat16",
)
def test_verifications_have_a_verdict(fields: dict[str, Any], seed: int, dtype: str) -> None:
    arch = sound(lambda: st.Architecture(**fields))
    if arch is None:
        return
    found = sound(lambda: st.verify(arch, networks=4, seed=seed, dtype=dtype, progress=False))
    if found is not None:
        assert set(ROW) < set(found.table)
        assert found.passed == (found.verdict in ("agrees", "agrees within width"))
        assert not found.passed or len(found.failures) == 0
        assert found.summary().endswith(found.outcome())
        assert "<table" in found._repr_html_()
        assert pickle.loads(pickle.dumps(found)).verdict == found.verdict


# --- what users register ------------------------------------------------------------------------------


def raising() -> None:
    """Raise what no toolkit raises."""
    raise RuntimeError("two\nlines")


factors = draw.one_of(
    draw.sampled_from(
        ["l + 1", "1/sqrt(2*L)", "I*(l + 1)", "1/(l - 3)", "sqrt(l - 2)", "f(l)", "factorial(L)"]
    ),
    anything,
)


def expression(factor: Any) -> Any:
    """A formula in (l, L, d) of a text, and anything else as it is."""
    from sympy import SympifyError, sympify

    from spannorm_theory.base import symbols

    names = {"l": symbols.layer, "L": symbols.depth, "d": symbols.width}
    if not isinstance(factor, str) or not set(factor) <= set("lLdIf()+-*/ 123sqrtfactorial"):
        return factor
    try:
        return sympify(factor, locals=names)
    except (SympifyError, TypeError, SyntaxError, AttributeError):
        return factor


@tried(0.06)
@given(
    name=mostly(draw.just("mine")),
    slot=draw.sampled_from(["skip", "branch", "norm", "gains", "std", "embedding", "only", "returns"]),
    factor=factors,
    raises=draw.integers(0, 9).map(lambda n: n == 0),
)
@pytest.mark.usefixtures("registries")
def test_scaling_rules_work_or_are_refused(name: Any, slot: str, factor: Any, raises: bool) -> None:
    def mine(sublayer: str, l: Any, L: Any, d: Any) -> Any:
        if raises:
            raising()
        if slot == "returns":
            return expression(factor)
        if slot in ("gains", "std"):
            return st.Multipliers(**{slot: {"ffn.up": expression(factor)}})
        return (
            st.Multipliers()
            if slot in ("embedding", "only")
            else st.Multipliers(**{slot: expression(factor)})
        )

    options: dict[str, Any] = {"replace": True}
    if slot == "embedding":
        options["embedding"] = lambda L, d: expression(factor)
    if slot == "only":
        options["only"] = factor
    if sound(lambda: st.scaling(name, title="t", source="s", **options)(mine) or mine) is None:
        return
    arch = sound(lambda: st.Architecture("pre-norm", name, depth=3, width=8, heads=2, tokens=3))
    if arch is not None:
        round_trips(arch)
        table = sound(lambda: st.predict(arch))
        if table is not None:
            rows_are_sound(table)


PHI = ["cubic", "complex", "shape", "raises", "nan", "huge", "list", "kink", "float32"]


@tried(0.04)
@given(
    name=mostly(draw.just("mine")),
    value=mostly(
        draw.sampled_from(["cubic", "complex", "shape", "raises", "nan", "huge", "list", "kink", "float32"])
    ),
)
@pytest.mark.usefixtures("registries")
def test_activations_work_or_are_refused(name: Any, value: Any) -> None:
    def phi(x: Any) -> Any:
        kind = value if isinstance(value, str) else ""
        if kind == "raises":
            raising()
        known = {"complex": x * 1j, "shape": x[:-1], "nan": x * np.nan, "huge": x * 1e200}
        known |= {"list": list(x), "kink": np.abs(x - 1), "float32": np.float32(x), "cubic": x**3 / 5}
        return known.get(kind, value)

    if sound(lambda: st.activation(name, phi, lambda x: x * x, replace=True)) is None:
        return
    arch = sound(lambda: st.Architecture("pre-norm", activation=name, depth=2, width=8, heads=2, tokens=3))
    if arch is not None:
        round_trips(arch)
        table = sound(lambda: st.predict(arch))
        if table is not None:
            rows_are_sound(table)


@tried(0.05)
@given(
    name=mostly(draw.just("mine")),
    body=draw.sampled_from(
        ["norm", "add", "times", "returns", "raises", "turn", "early", "pointwise", "tuple", "twice"]
    ),
    value=draw.one_of(anything, factors.map(expression)),
    streams=mostly(draw.integers(1, 2)),
    option=mostly(draw.sampled_from([0.5, True, 3, "text"])),
)
@pytest.mark.usefixtures("registries")
@example(name="mine", body="turn", value=10**9, streams=1, option=1)
def test_placements_work_or_are_refused(name: Any, body: str, value: Any, streams: Any, option: Any) -> None:
    def mine(x: Any, net: Any, *, choice: Any = option) -> Any:
        if body == "raises":
            raising()
        if body == "returns":
            return value
        if body == "times":
            return net.add(x, net.ffn(net.norm(net.add(x, value * net.attention(net.norm(x))))))
        if body == "turn" and net.turn(value):
            return net.norm(x)
        if body == "early" and net.early(value):
            return net.norm(x)
        if body == "pointwise":
            return net.add(x, net.attention(net.pointwise(x, value)))
        if body == "tuple":
            return (x, x)
        if body == "twice":
            return net.add(x, net.ffn(x), net.ffn(x))
        x = net.add(x, net.attention(net.norm(x)))
        return net.norm(value) if body == "norm" else net.add(x, net.ffn(net.norm(x)))

    def registered() -> Any:
        return st.placement(name, title="t", source="s", streams=streams, replace=True)(mine) or mine

    if sound(registered) is None:
        return
    arch = sound(lambda: st.Architecture(name, depth=3, width=8, heads=2, tokens=3))
    if arch is not None:
        round_trips(arch)
        table = sound(lambda: st.predict(arch))
        if table is not None:
            rows_are_sound(table)
