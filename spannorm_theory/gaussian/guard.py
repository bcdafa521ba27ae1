"""The guard around an activation's functions: what they return has the shape and kind of what they got."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.callables import calling, require_callable
from ..base.errors import InputError
from .closed_forms import Array, Kernel

if TYPE_CHECKING:
    import torch

#: grid on which a kernel is held against its function, and the share by which they may differ
POINTS, CLOSE = np.linspace(-10, 10, 4001), 0.01


@dataclass(frozen=True)
class OnArrays:
    """An activation's function on numpy arrays, which it must leave as they are.

    Calls raise InputError: the function failed, or returned something else than as many real numbers.
    """

    name: str
    function: Callable[[Array], Array]

    def __call__(self, x: Array) -> Array:
        """phi of every entry."""
        seen = np.asarray(x, dtype=float).view()
        seen.flags.writeable = False
        with calling(self.function, f"the activation {self.name!r}", " on a numpy array"):
            found = np.asarray(self.function(seen))
        if found.dtype.kind not in "fiub" or found.shape != seen.shape:
            raise InputError(
                f"the activation {self.name!r} must map an array of shape {seen.shape} to real numbers of "
                f"that shape, got {found.dtype} of shape {found.shape}"
            )
        return found.astype(float, copy=False)


@dataclass(frozen=True)
class OnTensors:
    """An activation's function on tensors, which it must leave as they are.

    Calls raise InputError: the function failed, or returned something else than a tensor of the same shape,
    dtype and device.
    """

    name: str
    function: Callable[[torch.Tensor], torch.Tensor]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """phi of every entry."""
        import torch

        if torch.compiler.is_compiling():  # traces operations, and cannot ask what they did
            return self.function(x)
        before = None if x.is_inference() else x._version
        with calling(self.function, f"the activation {self.name!r}", " on a tensor"):
            found = self.function(x)
        if not isinstance(found, torch.Tensor) or _kind(found) != _kind(x):
            got = "{} of {} on {}".format(*_kind(found)) if isinstance(found, torch.Tensor) else type(found)
            raise InputError(
                f"the activation {self.name!r} must map a tensor to one of the same shape, dtype and device, "
                f"{'{} of {} on {}'.format(*_kind(x))}; got {got}"
            )
        if torch.is_grad_enabled() and x.requires_grad and not found.requires_grad:
            raise InputError(
                f"the activation {self.name!r} cuts gradients off (detach, or no operations of torch); "
                "return what torch can differentiate"
            )
        if before is not None and x._version != before:
            raise InputError(
                f"the activation {self.name!r} writes into the tensor that it is given; return a new one"
            )
        return found


def _kind(x: torch.Tensor) -> tuple[Any, ...]:
    return tuple(x.shape), x.dtype, x.device


def require_kernel(name: str, kernel: Kernel, function: Callable[[Array], Array]) -> None:
    """Refuse a kernel that lacks something, or whose second moment is not that of the function.

    Raises:
        InputError: naming the activation.
    """
    what = f"the kernel of the activation {name!r}"
    for part in ("value", "slope", "drop", "pair"):
        require_callable(getattr(kernel, part, None), f"{part} of {what}", "a function")
    if not isinstance(getattr(kernel, "method", None), str):
        raise InputError(f"{what} must say its method: 'closed form' or 'quadrature'")
    with calling(type(kernel).value, what, " on (1, 1, 1)"):
        found = float(kernel.value(1.0, 1.0, 1.0))
    weight = np.exp(-(POINTS**2) / 2)
    expected = float(weight @ function(POINTS) ** 2 / weight.sum())
    if not abs(found - expected) <= CLOSE * expected:
        raise InputError(
            f"{what} says that phi(u)^2 has the mean {found:.4g} for u of variance 1; that of the function "
            f"is {expected:.4g}"
        )
