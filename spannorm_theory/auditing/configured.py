"""The model that a configuration of ``transformers`` builds, as the library initialises it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from ..base.callables import calling
from ..base.errors import InputError
from ..models.config import mapping_of


def builder(path: str | Path) -> Callable[[int], nn.Module]:
    """A function of a seed that makes the model of a configuration's file, without a head.

    Raises:
        InputError: no configuration, or ``transformers`` is not installed or does not build it.
    """
    values: dict[str, Any] = dict(mapping_of(path)[0])
    try:
        from transformers import AutoConfig, AutoModel
    except ImportError:
        raise InputError(
            f"{path} says how transformers builds a model, which is not installed: pip install "
            "'spannorm_theory[models]'"
        ) from None
    kind = values.pop("model_type", None)
    with calling(AutoConfig.for_model, f"transformers on {path}"):
        config = AutoConfig.for_model(kind, **values)

    def build(seed: int) -> nn.Module:
        model: nn.Module = AutoModel.from_config(config, attn_implementation="eager")
        return model

    return build
