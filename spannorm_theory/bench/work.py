"""The work of a cell, counted on the CPU, and the time that it would take on a GPU that was not measured.

A batch of networks is one operation where one network is, on more numbers. It takes at least what starting
its operations takes, plus what moving their bytes and the arithmetic take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

from ..spec.architecture import Architecture
from ..sweeps.cells import specify
from ..sweeps.worker import simulate_cells

#: one H200, assumed: seconds to start an operation from Python; bytes and float32 operations a second, half
#: of the data sheet's 4.8e12 and 67e12
LAUNCH, BANDWIDTH, ARITHMETIC = 1e-5, 2.4e12, 3e13


@dataclass
class Work:
    """Operations of a batch of networks, and bytes and floating-point operations of each of them."""

    operations: int = 0
    bytes: int = 0
    flops: int = 0

    def seconds(self, networks: int) -> float:
        """The least time of a batch of ``networks`` on the assumed GPU."""
        return LAUNCH * self.operations + networks * (self.bytes / BANDWIDTH + self.flops / ARITHMETIC)


def work(arch: Architecture) -> Work:
    """Count what one network of ``arch`` does."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    from ..montecarlo import batches as schedule
    from ..montecarlo import resources

    total = Work()

    base: Any = TorchDispatchMode

    class Count(base):  # torch's class is untyped
        def __torch_dispatch__(
            self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
        ) -> Any:
            result = function(*args, **(kwargs or {}))
            _add(total, function, args, kwargs or {}, result, flop_registry)
            return result

    def counted() -> None:
        resources.prepare_worker()
        Count().__enter__()  # of the thread, which ends with its batch

    (cell,) = specify([arch], networks=1, device="cpu").cells()
    with mock.patch.object(schedule, "prepare_worker", counted):
        simulate_cells([cell])
    return total


def _add(total: Work, function: Any, args: Any, kwargs: Any, result: Any, flops: Any) -> None:
    import torch
    from torch.utils._pytree import tree_leaves

    if function.is_view or function.overloadpacket is torch.ops.aten._unsafe_view:
        return
    total.operations += 1
    tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
    total.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    count = flops.get(function.overloadpacket)
    if count is not None:
        total.flops += count(*args, **kwargs, out_val=result)
