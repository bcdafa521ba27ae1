"""Activations: the nonlinearity for the theory and for torch, and its Gaussian kernel.

A gated activation (SwiGLU and its kin) is a nonlinearity whose output multiplies a second, linear
projection of the same input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..base.arguments import flag, real
from ..base.callables import require_callable
from ..base.errors import InputError
from ..base.names import require_source, require_usable
from ..base.registry import Registry
from ..base.symbols import GAINS
from .closed_forms import Array, Kernel, erf_kernel, gelu_kernel, linear_kernel, relu2_kernel, relu_kernel
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
        up_offset: number a of a gated branch phi(x W_gate) * (x W_up + a).
    """

    name: str
    title: str
    source: str
    function: Callable[[Array], Array]
    torch_function: Callable[[torch.Tensor], torch.Tensor]
    kernel: Kernel
    gated: bool = False
    up_offset: float = 0.0


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
    up_offset: float = 0.0,
    replace: bool = False,
) -> Activation:
    """Register an activation; without a closed-form ``kernel`` its moments come by quadrature.

    Source: docs/theory.md, T5.1 to T5.6.

    Args:
        name: letters, digits, dots, dashes and underscores, at most 60.
        function: phi of a numpy array of any shape; returns one of the same shape.
        torch_function: phi of a tensor; Monte Carlo differentiates it.
        title: how tables and figures call it; None for the name.
        source: where it was published.
        kernel: its Gaussian kernel (:class:`~spannorm_theory.gaussian.closed_forms.Kernel`) in closed form;
            None for a Hermite series.
        gated: the branch is phi(x W_gate) * (x W_up + up_offset), not phi(x W_up).
        up_offset: number a of a gated branch phi(x W_gate) * (x W_up + a).
        replace: whether a name that is taken is defined anew.

    Returns:
        the registered entry.

    Raises:
        InputError: a name that is taken or that text forms cannot hold, a ``function`` that does not map an
            array to finite numbers of its shape, not all zero, a ``kernel`` of another function, or an
            ``up_offset`` of what is not gated.

    Example:
        >>> import spannorm_theory as st
        >>> import numpy as np
        >>> softplus = st.activation(
        ...     "softplus", lambda x: np.logaddexp(0, x), lambda x: x.exp().log1p(), replace=True
        ... )
        >>> round(float(softplus.kernel.value(1.0, 1.0, 1.0)), 4)
        0.9212
    """
    require_usable("activation", name, BRANCHES)
    require_source(title or name, source)
    what = f"the activation {name!r}"
    require_callable(function, what, "a function of numpy arrays")
    require_callable(torch_function, what, "a function of tensors, too")
    on_arrays = OnArrays(name, function)
    if ACTIVATIONS.trying:
        require_numbers(name, on_arrays, kernel)
    offset = real("up_offset", up_offset)
    if offset and not flag("gated", gated):
        raise InputError(f"{what} is not gated, and has no up_offset; set gated=True")
    on_tensors = OnTensors(name, torch_function)
    entry = Activation(
        name=name,
        title=title or name,
        source=source,
        function=on_arrays,
        torch_function=on_tensors,
        kernel=HermiteSeries(on_arrays, name) if kernel is None else kernel,
        gated=flag("gated", gated),
        up_offset=offset,
    )
    return ACTIVATIONS.add(entry, replace=replace)


def require_numbers(name: str, function: Callable[[Array], Array], kernel: Kernel | None = None) -> None:
    """Refuse a function that no branch can use, and a kernel that is not its own.

    Raises:
        InputError: ``function`` does not map an array to finite numbers of its shape, not all zero, or
            ``kernel`` is of another function.
    """
    tried = function(GRID)
    if not np.isfinite(tried).all() or not tried.any():
        raise InputError(
            f"the activation {name!r} must map an array to finite numbers of the same shape, not all zero"
        )
    if kernel is not None:
        require_kernel(name, kernel, function)


def _relu(x: Array) -> Array:
    return np.maximum(x, 0)


def _relu2(x: Array) -> Array:
    return np.square(np.maximum(x, 0))


def _gelu(x: Array) -> Array:
    return np.asarray(x * _special("ndtr")(x))


def _tanh_gelu(x: Array) -> Array:
    return np.asarray(x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))))


def _silu(x: Array) -> Array:
    return np.asarray(x * _special("expit")(x))


def _erf(x: Array) -> Array:
    return np.asarray(_special("erf")(x))


def _special(name: str) -> Callable[[Array], Array]:
    """A function of scipy.special, which a list of activations does not load."""
    from scipy import special

    return cast("Callable[[Array], Array]", getattr(special, name))


#: slope at which a sigmoid stands for the normal distribution function
QUICK = 1.702


def _quick_gelu(x: Array) -> Array:
    return np.asarray(x * _special("expit")(QUICK * x))


def _torch_quick_gelu(x: Any) -> Any:
    return x * (QUICK * x).sigmoid()


def _identity(x: Any) -> Any:
    return x


def _functional(name: str, **options: Any) -> Callable[[Any], Any]:
    def call(x: Any) -> Any:
        import torch.nn.functional as functional

        return getattr(functional, name)(x, **options)

    return call


def _method(name: str) -> Callable[[Any], Any]:
    def call(x: Any) -> Any:
        return getattr(x, name)()

    return call


def _torch_relu2(x: Any) -> Any:
    return _functional("relu")(x).square()


_HENDRYCKS, _SHAZEER, _OSS = "arXiv:1606.08415", "arXiv:2002.05202", "arXiv:2508.10925"
_RELU = _relu, _functional("relu"), relu_kernel()
_GELU = _gelu, _functional("gelu"), gelu_kernel()
_SILU = _silu, _functional("silu"), HermiteSeries(_silu, "silu")
_QUICK = _quick_gelu, _torch_quick_gelu, HermiteSeries(_quick_gelu, "quick-gelu")
_TANH = _tanh_gelu, _functional("gelu", approximate="tanh"), HermiteSeries(_tanh_gelu, "gelu-tanh")

_Parts = tuple[Callable[[Array], Array], Callable[[Any], Any], Kernel]
#: name, title, source, and phi on arrays, on tensors and its kernel; of gated ones the offset of up
_KNOWN: tuple[tuple[str, str, str, _Parts], ...] = (
    ("relu", "ReLU", "Nair and Hinton, ICML 2010", _RELU),
    ("relu2", "squared ReLU", "arXiv:2109.08668", (_relu2, _torch_relu2, relu2_kernel())),
    ("gelu", "GELU", _HENDRYCKS, _GELU),
    ("gelu-tanh", "GELU by a tanh", _HENDRYCKS, _TANH),
    ("quick-gelu", "GELU by a sigmoid", _HENDRYCKS, _QUICK),
    ("silu", "SiLU", "arXiv:1702.03118", _SILU),
    ("tanh", "tanh", "classical", (np.tanh, _method("tanh"), tanh_kernel())),
    ("erf", "erf", "arXiv:2604.11890", (_erf, _method("erf"), erf_kernel())),
    ("linear", "linear", "theory", (_identity, _identity, linear_kernel())),
)
_GATED: tuple[tuple[str, str, str, _Parts, float], ...] = (
    ("reglu", "ReGLU", _SHAZEER, _RELU, 0.0),
    ("geglu", "GEGLU", _SHAZEER, _GELU, 0.0),
    ("geglu-tanh", "GEGLU by a tanh", _SHAZEER, _TANH, 0.0),
    ("swiglu", "SwiGLU", _SHAZEER, _SILU, 0.0),
    ("bilinear", "bilinear", _SHAZEER, (_identity, _identity, linear_kernel()), 0.0),
    # gpt-oss clamps both factors at 7, which pre-activations behind a norm do not reach: left out
    ("swiglu-oss", "SwiGLU of gpt-oss, (up + 1) gate", _OSS, _QUICK, 1.0),
)
with ACTIVATIONS.shipping():
    for _name, _title, _source, (_function, _torch, _kernel) in _KNOWN:
        activation(_name, _function, _torch, title=_title, source=_source, kernel=_kernel)
    for _name, _title, _source, (_function, _torch, _kernel), _offset in _GATED:
        activation(
            _name,
            _function,
            _torch,
            title=_title,
            source=_source,
            kernel=_kernel,
            gated=True,
            up_offset=_offset,
        )
