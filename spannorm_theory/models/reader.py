"""A configuration becomes an architecture and a list of gaps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields as fields_of
from math import gcd
from typing import Any

from ..spec.fields import Fields, require_fields
from .attention import attention
from .config import Config, mapping_of
from .families import row
from .family import Family
from .feedforward import feedforward, shape
from .keys import NO_EFFECT, SILENT
from .model import Model
from .settle import Fact, settle
from .stream import embedding, head, ids, stream


def from_config(config: Any, tokens: int | None = None, **fields: Any) -> Model:
    """The architecture that a configuration of ``transformers`` builds, as the library initialises it.

    The library itself is not needed. Tokens are independent draws of ids, dropout is off, and the loss is the
    probe of :func:`~spannorm_theory.predict` unless ``fields`` say otherwise.

    Source: docs/models.md.

    Args:
        config: a configuration object, a mapping of its keys, or the path of a JSON file or of a folder that
            holds config.json.
        tokens: length of the sequence; None for an architecture's default.
        fields: fields of :class:`~spannorm_theory.Architecture` that go over those of the model.

    Returns:
        The architecture, its source, and the gaps: what matters and is not in it.

    Raises:
        InputError: no configuration, one of a model type that is not known, or one that lacks a size.

    Example:
        >>> import spannorm_theory as st
        >>> config = {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 2}
        >>> str(st.from_config(config, tokens=8).arch).split()[:2]
        ['pre-norm', 'gpt2']
    """
    values, where = mapping_of(config)
    return read(values, where, "", tokens, fields)


def read(
    values: Mapping[str, Any], source: str, name: str, tokens: int | None, given: Mapping[str, Any]
) -> Model:
    """The model of a configuration's mapping; ``name`` is its model type where it is empty.

    Raises:
        InputError: see :func:`from_config`.
    """
    given = dict(given) if tokens is None else {**given, "tokens": tokens}
    require_fields(given)
    config = Config(values.get("model_type"), values)  # type: ignore[arg-type]
    family = row(config)
    if family.twins > 1 and "num_hidden_layers" not in values:
        config = Config(
            config.model_type, {**values, "num_hidden_layers": family.twins * config.whole("depth")}
        )
    core = _core(config, family, given)
    arch, gaps, notes = settle(core, _facts(config, family, core, given), given)
    return Model(arch, name or config.model_type, source, gaps, (*notes, *_keys(config)))


def _core(config: Config, family: Family, given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that every model has, at their given values where an architecture must have those first."""
    known = frozenset(f.name for f in fields_of(Fields))
    width, heads = config.whole("width"), config.whole("heads")
    read = embedding(config, family)
    core = {
        "placement": family.placement,
        "scaling": family.scaling,
        "depth": config.whole("depth"),
        "width": width,
        "heads": heads if width % heads == 0 else gcd(width, heads),
        "tokens": Fields.tokens,
        "mask": family.mask,
        "norm": family.norm,
        "init": config.size("std", family.std),
        "inputs": Fields.inputs,
        "input_variance": read.moment,
        "input_cosine": read.cosine,
        "loss": Fields.loss,
        **shape(config, family, known),
    }
    if "width" in given and "ffn_width" in core and not {"ffn_ratio", "ffn_width"} & set(given):
        core["ffn_width"] = max(1, round(core["ffn_width"] / width * given["width"]))
    if {"ffn_ratio", "ffn_width"} & set(given):
        core = {key: value for key, value in core.items() if key not in ("ffn_ratio", "ffn_width")}
    if given.get("inputs", "gaussian") != "gaussian":  # ids, through an embedding
        core |= {"input_variance": read.ids, "position_variance": read.positions, "input_cosine": 0.0}
    return core


def _facts(config: Config, family: Family, core: Mapping[str, Any], given: Mapping[str, Any]) -> list[Fact]:
    variance = core["width"] * (core["init"] * family.gain) ** 2
    facts = [
        *stream(config, family),
        *attention(config, family, given, variance),
        *feedforward(config, family, variance),
    ]
    of_ids, loss = given.get("inputs", "gaussian") != "gaussian", given.get("loss") == "cross-entropy"
    config.ignore("vocabulary")
    if loss:
        facts += head(config, family, given)
    if of_ids:
        facts += ids(config, family, loss)
    if loss or of_ids:
        vocabulary = config.whole("vocabulary")
        facts.append(Fact(f"{vocabulary} types", "the law of ids is another", {"vocabulary": vocabulary}))
    return facts


def _keys(config: Config) -> list[str]:
    """Notes on the keys that no fact is made of."""
    notes = [f"{key}: {NO_EFFECT[key]}" for key in config.unread if key in NO_EFFECT and config.value(key)]
    rest = [key for key in config.unread if key not in SILENT and key not in NO_EFFECT]
    return [*notes, f"keys that were not read: {', '.join(rest)}"] if rest else notes
