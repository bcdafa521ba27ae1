"""A quantity against depth on the laws of the atlas."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from ...atlases.build import SECONDS
from ...atlases.cell import compute
from ...base.errors import InputError
from ...plot import against_law, caption
from ...prediction.predict import predict
from ...spec.architecture import Architecture

#: depths of the theory, beside those of the networks
DEPTHS = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)

#: what the atlas calls a quantity
NAMES = {"variance": "forward", "grad_variance": "gradient"}


def law_figure(
    measured: Sequence[pd.DataFrame], archs: Sequence[Architecture], quantity: str = "grad_variance"
) -> tuple[Figure, str]:
    """The figure of each placement's law, through the theory of stacks up to 1024 blocks, and its caption.

    Args:
        measured: tables of networks.
        archs: their architectures.
        quantity: "variance" or "grad_variance".

    Raises:
        InputError: the atlas has a law of none of them.
    """
    deepest = {arch.placement: arch for arch in sorted(archs, key=lambda arch: arch.depth)}
    laws = {}
    for placement, arch in deepest.items():
        found = compute(arch, (arch.depth,), SECONDS).found.get(NAMES[quantity])
        if found is not None and found.trend is not None:
            laws[placement] = found.trend
    if not laws:
        raise InputError(f"the atlas has no law of the {quantity} of {', '.join(deepest)}")
    known = [table for table in measured if table["placement"].iloc[0] in laws]
    depths = {int(table["depth"].iloc[0]) for table in known}
    theory = [
        predict(deepest[placement].with_(depth=depth))
        for placement in laws
        for depth in DEPTHS
        if depth not in depths
    ]
    figure = against_law([*known, *theory], quantity, laws)
    return figure, caption([*known, *theory], quantity, figure="against_law")
