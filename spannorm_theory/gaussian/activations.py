"""Activations: the nonlinearity for the theory and for torch, and its Gaussian kernel.

A gated activation (SwiGLU and its kin) is a nonlinearity whose output multiplies a second, linear
projection of the same input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import erf, expit, ndtr

from ..base.arguments import flag
from ..base.callables import require_callable
from ..base.errors import InputError
from ..base.names import require_source, require_usable
from ..base.registry import Registry
from ..base.symbols import GAINS
from .closed_forms import Array, Kernel, erf_kernel, gelu_kernel, linear_kernel, relu_kernel
from .guard import OnArrays, OnTensors, require_kernel
from .hermite import HermiteSeries
from .sigmoids import tanh_kernel

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Activation:
    """An element-wise function phi with its Gaussian kernel, as it is registered.

    Attributes:
        function: phi on numpy arrays.
        torch_function: phi on tensors; imports torch when it runs.
        kernel: the Gaussian kernel of phi.
        gated: whether the branch is phi(x W_gate) * (x W_up) rather than phi(x W_up).
    """

    name: str
    title: str
    source: str
    function: Callable[[Array], Array]
    torch_function: Callable[[torch.Tensor], torch.Tensor]
    kernel: Kernel
    gated: bool = False


#: names of the branches of a block, among which an activation stands in a norm's place
BRANCHES = tuple(GAINS)

#: where an activation is tried when it is registered
GRID = np.linspace(-6, 6, 7)

ACTIVATIONS: Registry[Activation] = Registry("activation")


def activation(
    name: str,
    function: Callable[[Array], Array],
    torch_function: Callable[[Any], Any],
    *,
    title: str | None = None,
    source: str = "user",
    kernel: Kernel | None = None,
    gated: bool = False,
    replace: bool = False,
) -> Activation:
    """Register an activation; without a closed-form ``kernel`` its moments come by quadrature.

    Raises:
        InputError: a name that is taken or that text forms cannot hold, a ``function`` that does not map an
            array to finite numbers of its shape, not all zero, or a ``kernel`` of another function.
    """
    require_usable("activation", name, BRANCHES)
    require_source(title or name, source)
    what = f"the activation {name!r}"
    require_callable(function, what, "a function of numpy arrays")
    require_callable(torch_function, what, "a function of tensors, too")
    on_arrays = OnArrays(name, function)
    tried = on_arrays(GRID)
    if not np.isfinite(tried).all() or not tried.any():
        raise InputError(f"{what} must map an array to finite numbers of the same shape, not all zero")
    if kernel is None:
        kernel = HermiteSeries(on_arrays, name)
    else:
        require_kernel(name, kernel, on_arrays)
    entry = Activation(
        name, title or name, source, on_arrays, OnTensors(name, torch_function), kernel, flag("gated", gated)
    )
    return ACTIVATIONS.add(entry, replace=replace)


def _torch_functional(name: str) -> Callable[[Any], Any]:
    def call(x: Any) -> Any:
        import torch.nn.functional as functional

        return getattr(functional, name)(x)

    return call


def _relu(x: Array) -> Array:
    return np.maximum(x, 0)


def _gelu(x: Array) -> Array:
    return np.asarray(x * ndtr(x))


def _silu(x: Array) -> Array:
    return np.asarray(x * expit(x))


_SHAZEER = "arXiv:2002.05202"
_silu_kernel = HermiteSeries(_silu, "silu")

for _name, _title, _source, _function, _kernel, _gated in (
    ("relu", "ReLU", "Nair and Hinton, ICML 2010", _relu, relu_kernel(), False),
    ("gelu", "GELU", "arXiv:1606.08415", _gelu, gelu_kernel(), False),
    ("silu", "SiLU", "arXiv:1702.03118", _silu, _silu_kernel, False),
    ("reglu", "ReGLU", _SHAZEER, _relu, relu_kernel(), True),
    ("geglu", "GEGLU", _SHAZEER, _gelu, gelu_kernel(), True),
    ("swiglu", "SwiGLU", _SHAZEER, _silu, _silu_kernel, True),
):
    activation(
        _name,
        _function,
        _torch_functional(_function.__name__.removeprefix("_")),
        title=_title,
        source=_source,
        kernel=_kernel,
        gated=_gated,
    )


def _torch_method(name: str) -> Callable[[Any], Any]:
    def call(x: Any) -> Any:
        return getattr(x, name)()

    return call


activation(
    "tanh",
    np.tanh,
    _torch_method("tanh"),
    title="tanh",
    source="classical",
    kernel=tanh_kernel(),
)
activation(
    "erf",
    erf,
    _torch_method("erf"),
    title="erf",
    source="arXiv:2604.11890",
    kernel=erf_kernel(),
)


def _identity(x: Any) -> Any:
    return x


activation("linear", _identity, _identity, title="linear", source="theory", kernel=linear_kernel())
