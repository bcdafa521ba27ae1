"""Functions of the user that raise, or return what they should not: one line of ours, with their place."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sympy
import torch

import spannorm_theory as st
from spannorm_theory.base.errors import AssumptionError, InputError
from spannorm_theory.gaussian.activations import ACTIVATIONS

pytestmark = [pytest.mark.exact, pytest.mark.usefixtures("registries")]

SMALL: dict[str, Any] = {"depth": 3, "width": 16, "heads": 4, "tokens": 8}
HERE = r"\(.*test_user_functions.py:\d+\)"


def block(x: Any, net: Any) -> Any:
    return net.add(x, net.ffn(net.norm(x)))


def generator(x: Any, net: Any) -> Any:
    yield x


def second_turn_fails(x: Any, net: Any) -> Any:
    return [block(x, net)][net.turn(2)]


DEFINITIONS: dict[str, tuple[Any, str]] = {
    "raises": (lambda x, net: 1 / 0, f"'mine' failed on a stream: ZeroDivisionError: .*{HERE}"),
    "raises in its second turn": (second_turn_fails, f"'mine' failed on a stream: IndexError: .*{HERE}"),
    "takes nothing": (lambda: None, f"'mine' failed on a stream: TypeError: .*{HERE}"),
    "long message": (lambda x, net: {}["k" * 10_000], "KeyError: 'k+ ..."),
    "none": (lambda x, net: None, "the definition of 'mine' must return the stream .* got None"),
    "generator": (generator, "must return the stream .* got <generator object"),
    "complex": (lambda x, net: 1j, "must return the stream .* got 1j"),
    "array": (lambda x, net: block(x, net) * np.array([1, 2]), "a factor is a number .* got array"),
    "list": (lambda x, net: block(x, net) * [1, 2], r"a factor is a number .* got \[1, 2\]"),
    "imaginary": (lambda x, net: block(x, net) * sympy.I, "a factor must be a real number, got I"),
    "no function": ("abc", "the definition of 'mine' must be a function of a stream and net, got 'abc'"),
    "no signature": (dict, "the definition of 'mine' failed when its arguments were read: ValueError"),
    "turn of nothing": (lambda x, net: net.turn(0), "the period of turns must be an integer from 1 to 64"),
    "turn of a part": (lambda x, net: net.turn(2.5), "from 1 to 64, got 2.5"),
    "turn of a billion": (lambda x, net: net.turn(10**9), "from 1 to 64, got 1000000000"),
    "two turns": (lambda x, net: (net.turn(2), net.turn(3)), "may ask for one period only, got 2 and 3"),
    "early text": (lambda x, net: net.early("x"), r"the early blocks must be a fraction in \[0, 1\]"),
    "early nan": (lambda x, net: net.early(float("nan")), r"the early blocks must be a fraction in \[0, 1\]"),
}


@pytest.mark.parametrize("case", DEFINITIONS)
def test_placements(case: str) -> None:
    definition, message = DEFINITIONS[case]
    with pytest.raises(InputError, match=message) as caught:
        st.placement("mine", title="", source="")(definition)
    assert len(str(caught.value)) < 500
    assert (caught.value.__cause__ is not None) == ("failed" in message or "Error" in message)


def test_an_error_that_only_other_options_raise() -> None:
    def mine(x: Any, net: Any, *, divisor: int = 1) -> Any:
        return block(x, net) * (1 // divisor)

    st.placement("mine", title="", source="")(mine)
    arch = st.Architecture("mine(divisor=0)", **SMALL)
    for ask in (st.predict, lambda a: st.simulate(a, networks=2, progress=False)):
        with pytest.raises(InputError, match=f"'mine' failed on a stream: ZeroDivisionError: .*{HERE}"):
            ask(arch)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"readout": None}, "the readout of 'mine' must be a function of a stream and net, got None"),
        ({"readout": lambda x, net: 1 / 0}, f"the readout of 'mine' failed on a stream: Zero.*{HERE}"),
        ({"readout": lambda x, net: x * net.layer}, "its factors cannot depend on l"),
        ({"streams": 0}, "streams must be an integer from 1 to 64, got 0"),
        ({"streams": 10**7}, "streams must be an integer from 1 to 64"),
        ({"year": "2022"}, "year must be an integer of at least 0, got '2022'"),
        ({"title": None}, "title must be text, got None"),
    ],
)
def test_what_stands_beside_a_definition(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        st.placement("mine", **{"title": "", "source": "", **options})(block)


@pytest.mark.parametrize("half", [np.float64(0.5), np.float32(0.5), sympy.Rational(1, 2)])
def test_numbers_of_other_libraries_are_factors(half: Any) -> None:
    st.placement("right", title="", source="")(lambda x, net: block(x, net) * half)
    st.placement("left", title="", source="")(lambda x, net: half * block(x, net))
    st.placement("divided", title="", source="")(lambda x, net: block(x, net) / np.int64(2))
    st.placement("plain", title="", source="")(lambda x, net: block(x, net) * 0.5)
    forms = {st.derive(name).forward[0].rhs for name in ("right", "left", "divided", "plain")}
    assert len(forms) == 1
    assert st.Multipliers(branch=half) == st.Multipliers(branch=0.5)


def test_a_factor_counts_where_its_block_stands() -> None:
    """A pole at layer 0 is none where block 0 does not have the factor."""

    def mine(x: Any, net: Any) -> Any:
        return block(x, net) if net.first else net.add(x, net.ffn(net.norm(x)) / net.layer)

    st.placement("mine", title="", source="")(mine)
    for mask in ("none", "causal"):
        arch = st.Architecture("mine", **SMALL, mask=mask)
        assert st.predict(arch)["value"].notna().any()
    assert st.simulate(arch, networks=2, progress=False).table["value"].notna().all()


RULES: dict[str, tuple[Any, str]] = {
    "raises": (lambda s, l, L, d: {}["a"], f"'mine' failed on .*: KeyError: 'a' {HERE}"),
    "dict": (lambda s, l, L, d: {"branch": 1}, r"must return Multipliers\(...\), got {'branch': 1}"),
    "i": (lambda s, l, L, d: st.Multipliers(branch=sympy.I * (l + 1)), r"real number, got I\*\(l \+ 1\)"),
    "root": (lambda s, l, L, d: st.Multipliers(branch=sympy.sqrt(l - 2)), r"sqrt\(l - 2\) is no .* layer 0"),
    "pole": (lambda s, l, L, d: st.Multipliers(branch=1 / l), "the factor 1/l is no finite .* layer 0"),
    "huge": (lambda s, l, L, d: st.Multipliers(branch=1e300), "is 0 or from 1e-30 to 1e.30, got 1000.* ..."),
    "tiny": (lambda s, l, L, d: st.Multipliers(norm=1e-300), "is 0 or from 1e-30 to 1e.30, got 1/1000.* ..."),
    "below float64": (lambda s, l, L, d: st.Multipliers(norm=sympy.Float("1e-400")), "is 0 or from 1e-30"),
    "above float64": (lambda s, l, L, d: st.Multipliers(branch=10**400), "a factor must be finite, got 1000"),
    "inf": (lambda s, l, L, d: st.Multipliers(std={"ffn.up": float("inf")}), "must be finite, got inf"),
    "nan": (lambda s, l, L, d: st.Multipliers(gains={"ffn.up": float("nan")}), "must be finite, got nan"),
    "factorial": (lambda s, l, L, d: st.Multipliers(branch=sympy.factorial(l)), "cannot be evaluated"),
    "sum": (
        lambda s, l, L, d: st.Multipliers(branch=sympy.Sum(L, (sympy.Symbol("k"), 0, l))),
        "cannot be evaluated",
    ),
    "undefined": (
        lambda s, l, L, d: st.Multipliers(branch=sympy.Function("f")(l)),
        "undefined functions.*'f'",
    ),
    "matrix": (lambda s, l, L, d: st.Multipliers(branch=sympy.Matrix([1])), "got Matrix"),
    "truth": (lambda s, l, L, d: st.Multipliers(branch=True), "a factor is a number .* got True"),
}


@pytest.mark.parametrize("case", RULES)
def test_rules(case: str) -> None:
    rule, message = RULES[case]
    with pytest.raises(InputError, match=message) as caught:
        st.scaling("mine", title="", source="")(rule)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("embedding", "message"),
    [
        (lambda L, d: 1 / 0, f"embedding's factor .* failed on .*ZeroDivisionError: .*{HERE}"),
        (lambda L, d: None, "a factor is a number .* got None"),
        (lambda L, d: sympy.I * L, r"a factor must be a real number, got I\*L"),
        (lambda L, d: 1e200, "is 0 or from 1e-30 to 1e"),
        (3, r"embedding of the scaling rule 'mine' must be a function of \(L, d\), got 3"),
    ],
)
def test_embeddings(embedding: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        st.scaling("mine", title="", source="", embedding=embedding)(lambda *_: st.Multipliers())


def test_an_embedding_with_a_pole_at_one_depth() -> None:
    rule = st.scaling("mine", title="", source="", embedding=lambda L, d: 1 / (L - 3), only="pre-norm")
    rule(lambda sublayer, l, L, d: st.Multipliers())
    assert st.Architecture("pre-norm", "mine", depth=4).input_second_moment == 1.0
    with pytest.raises(InputError, match=r"1/\(L - 3\) is no finite real number at layer 0 of 3"):
        st.predict(st.Architecture("pre-norm", "mine", **SMALL))
    with pytest.raises(InputError, match="belongs to pre-norm, not to no-norm"):
        st.Architecture("no-norm", "mine")


def test_a_recursion_of_constant_gains_has_no_width() -> None:
    st.scaling("mine", title="", source="")(lambda s, l, L, d: st.Multipliers(branch=1 / sympy.sqrt(d)))
    gains = dict.fromkeys(("sigma_a2", "sigma_f2", "omega_a2", "omega_f2"), 1.0)
    with pytest.raises(AssumptionError, match=r"the factor 1/sqrt\(d\) depends on the width d"):
        st.derive("pre-norm", "mine").iterate(4, **gains)


def in_place(x: Any) -> Any:
    x *= 2
    return x


ON_ARRAYS: dict[str, tuple[Any, str]] = {
    "raises": (lambda x: 1 / 0, f"'mine' failed on a numpy array: ZeroDivisionError: .*{HERE}"),
    "of torch": (torch.tanh, "'mine' failed on a numpy array: TypeError: tanh"),
    "none": (lambda x: None, r"to real numbers of that shape, got object of shape \(\)"),
    "generator": (lambda x: (y for y in x), "to real numbers of that shape, got object"),
    "complex": (lambda x: x * 1j, "to real numbers of that shape, got complex128"),
    "short": (lambda x: x[:2], r"to real numbers of that shape, got float64 of shape \(2,\)"),
    "in place": (in_place, f"ValueError: output array is read-only {HERE}"),
    "infinite": (lambda x: x + np.inf, "finite numbers of the same shape, not all zero"),
    "zero": (lambda x: 0 * x, "finite numbers of the same shape, not all zero"),
    "text": ("tanh", "'mine' must be a function of numpy arrays, got 'tanh'"),
}
ON_TENSORS: dict[str, tuple[Any, str]] = {
    "raises": (lambda x: 1 / 0, f"'mine' failed on a tensor: ZeroDivisionError: .*{HERE}"),
    "of numpy": (lambda x: np.tanh(x.detach().numpy()), "of the same shape, .*; got <class 'numpy.ndarray'>"),
    "none": (lambda x: None, "of the same shape, .*; got <class 'NoneType'>"),
    "tuple": (lambda x: (x,), "of the same shape, .*; got <class 'tuple'>"),
    "short": (lambda x: x[:, :1], r"of the same shape, .*; got \(\d, 1, 64\)"),
    "double": (lambda x: x.double(), "of the same shape, .*; got .* of torch.float64"),
    "in place": (lambda x: x.tanh_(), "writes into the tensor that it is given"),
    "no gradient": (lambda x: x.detach().tanh(), "cuts gradients off"),
}


@pytest.mark.parametrize("case", ON_ARRAYS)
def test_activations_on_arrays(case: str) -> None:
    function, message = ON_ARRAYS[case]
    with pytest.raises(InputError, match=message):
        st.activation("mine", function, torch.tanh)


@pytest.mark.parametrize("case", ON_TENSORS)
def test_activations_on_tensors(case: str) -> None:
    function, message = ON_TENSORS[case]
    st.activation("mine", np.tanh, function)
    with pytest.raises(InputError, match=message):
        st.simulate(st.Architecture("pre-norm", **SMALL, activation="mine"), networks=2, progress=False)


def test_memory_that_runs_out_in_a_function_is_no_fault_of_it() -> None:
    def full(x: Any) -> Any:
        raise torch.OutOfMemoryError

    st.activation("mine", np.tanh, full)
    with pytest.raises(torch.OutOfMemoryError):
        ACTIVATIONS["mine"].torch_function(torch.zeros(2))


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (lambda: SimpleNamespace(value=max, slope=max, drop=max, pair=max), "must say its method"),
        (lambda: 3, "value of the kernel of the activation 'mine' must be a function, got None"),
        (
            lambda: ACTIVATIONS["relu"].kernel,
            r"the mean 0.5 for u of variance 1; that of the function is 0.39",
        ),
    ],
)
def test_kernels_of_something_else(kernel: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        st.activation("mine", np.tanh, torch.tanh, kernel=kernel())
