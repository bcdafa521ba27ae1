"""Architectures that stand on one curve: they may differ in what it sweeps, and in nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..base.errors import InputError
from ..spec.architecture import Architecture

#: the width, and sizes that go with it: there are as many more heads of one size
OF_WIDTH = ("width", "heads", "kv_heads", "head_width", "latent_queries", "latent_keys")


def require_alike(archs: Iterable[Architecture], swept: Sequence[str]) -> None:
    """Refuse architectures of one placement and rule that differ in more than ``swept``.

    Raises:
        InputError: naming the field, with both values.
    """
    first: dict[tuple[str, str], Architecture] = {}
    for arch in archs:
        known = first.setdefault((arch.placement, arch.scaling), arch)
        for name, value in arch.to_dict().items():
            if name not in swept and value != (other := getattr(known, name)):
                raise InputError(
                    f"the networks of a curve differ in {' and '.join(swept[:2])} alone, and not in {name}, "
                    f"as those of {arch.placement} ({other} and {value}); draw them in figures of their own"
                )
