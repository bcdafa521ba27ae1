"""Networks to measure: fresh ones from a function of the seed, or the one that there is."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from ..base.callables import calling
from ..base.errors import InputError, shown

Build = Callable[..., Any]

#: the key of a probe gradient among what is drawn with a network's seed
PROBE = 1


def seeds_of(seed: int, networks: int) -> tuple[int, ...]:
    """The seeds with which an ensemble's networks are built: independent, and below 2^32."""
    roots = (np.random.SeedSequence(seed, spawn_key=(i,)) for i in range(networks))
    return tuple(int(root.generate_state(1)[0]) for root in roots)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The global generators of torch, numpy and Python, set for the block and then as they were found."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    try:
        with torch.random.fork_rng(devices=list(devices)):
            torch.manual_seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            random.seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def probe_gradient(like: torch.Tensor, seed: int) -> torch.Tensor:
    """Independent N(0, 1) numbers, also of what a user draws with the same seed."""
    own = int(np.random.SeedSequence(seed, spawn_key=(PROBE,)).generate_state(1)[0])
    drawn = torch.randn(like.shape, generator=torch.Generator().manual_seed(own))
    return drawn.to(like.device, like.dtype)


def require_buildable(build: Any) -> None:
    """Refuse what is neither a module nor a function that makes one.

    Raises:
        InputError: saying what is expected.
    """
    if isinstance(build, nn.Module):
        return
    if not callable(build) or (isinstance(build, type) and issubclass(build, nn.Module)):
        raise InputError(
            f"expected a torch.nn.Module, or a function of a seed that makes a fresh one, got {shown(build)}"
        )


def built(build: Build, seed: int) -> tuple[nn.Module, Any]:
    """A fresh network, and its inputs where the function returns both (else None).

    Raises:
        InputError: the function fails, or returns something else than a module.
    """
    with seeded(seed), calling(build, "build", f" on the seed {seed}"):
        made = build(seed) if _takes_a_seed(build) else build()
    model, inputs = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(model, nn.Module):
        raise InputError(f"build must return a torch.nn.Module, or it and its inputs, got {shown(made)}")
    return model, inputs


def _takes_a_seed(build: Build) -> bool:
    try:
        inspect.signature(build).bind(0)
    except TypeError:
        return False
    except ValueError:  # no signature to be had
        pass
    return True


def plain(model: nn.Module) -> nn.Module:
    """The module inside one that torch.compile or data parallelism has put around it."""
    for name in ("_orig_mod", "module"):
        inner = getattr(model, name, None)
        if isinstance(inner, nn.Module) and [id(p) for p in inner.parameters()] == [
            id(p) for p in model.parameters()
        ]:
            return plain(inner)
    return model


def require_numbers(model: nn.Module) -> None:
    """Refuse a module whose parameters hold no numbers yet.

    Raises:
        InputError: naming one, with what to do.
    """
    parameters = dict(model.named_parameters())
    if not parameters:
        raise InputError(f"{type(model).__name__} has no parameters, so there is nothing to measure")
    for name, parameter in parameters.items():
        if is_lazy(parameter):
            raise InputError(f"{name} has no shape yet; run the lazy module once before it is measured")
        if parameter.is_meta:
            raise InputError(
                f"{name} is on the meta device and holds no numbers; make the module on a real one, or call "
                "model.to_empty(device='cpu') and its own initialisation"
            )


def fingerprint(model: nn.Module) -> tuple[float, ...]:
    """A few entries of the largest parameters, by which two networks of one law are told apart."""
    largest = sorted(model.parameters(), key=lambda p: p.numel(), reverse=True)[:3]
    return tuple(float(x) for p in largest for x in p.detach().reshape(-1)[:4].double().cpu())
