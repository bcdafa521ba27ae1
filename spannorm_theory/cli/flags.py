"""The commands of the parser, and the flags of an architecture; nothing heavy is imported."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any

from .given import prepare

if TYPE_CHECKING:
    from ..spec.architecture import Architecture

Run = Callable[[argparse.Namespace], int]

#: architecture fields as flags, in the groups of ``--help`` and the order of the dataclass (a test holds them
#: together): name, type, help
FIELDS: dict[str, tuple[tuple[str, type, str], ...]] = {
    "sizes": (
        ("depth", int, "blocks of one attention and one feed-forward sublayer"),
        ("width", int, "coordinates of a stream"),
        ("heads", int, "attention heads"),
        ("tokens", int, "sequence length"),
    ),
    "attention": (
        ("kv_heads", int, "heads of keys and values, shared by groups of query heads"),
        ("mask", str, "none or causal"),
        ("window", int, "tokens that a token sees under a causal mask, itself included"),
        ("positions", str, "none, or rope (rotary embedding of queries and keys)"),
        ("qk_norm", bool, "normalise queries and keys over each head"),
        ("qkv_norm", bool, "normalise queries, keys and values over each head"),
        ("qk_norm_over", str, "head, or width (those norms run over all heads)"),
        ("logit_scale", str, "sqrt or linear: what of the head width logits are divided by"),
        ("logit_variance", float, "variance of the attention logits for unit input"),
    ),
    "feed-forward": (
        ("activation", str, "relu, gelu, silu, reglu, geglu, swiglu or a registered one"),
        ("ffn_ratio", float, "hidden width of the feed-forward branch over width"),
    ),
    "experts": (
        ("experts", int, "feed-forward experts; 1 is a dense branch"),
        ("top_k", int, "experts that a token is sent to"),
        ("shared_experts", int, "experts that every token is sent to beside them"),
        ("gates", str, "renormalised (over the chosen experts) or softmax (over all)"),
    ),
    "norms": (
        ("norm", str, "rms or layer"),
        ("norm_epsilon", float, "epsilon under the root of norms on streams and on branch outputs"),
        ("norm_gain", float, "gain of these norms"),
    ),
    "initialisation": (("init", str, "fan-in, unit-branch, xavier, or a standard deviation"),),
    "dropout": (
        ("dropout", float, "rate of dropout on branch outputs"),
        ("attention_dropout", float, "rate of dropout on attention weights"),
    ),
    "input": (
        ("inputs", str, "gaussian, or zipf or uniform (law of token ids through an embedding)"),
        ("input_variance", float, "second moment of the input (or embedding) per coordinate"),
        ("input_cosine", float, "cosine between gaussian input tokens"),
        ("position_variance", float, "second moment of learned positions of token ids"),
        ("embedding_multiplier", float, "factor on the embedding, within input-variance"),
        ("batch", int, "sequences of a step, whose mean loss weights learn"),
    ),
    "loss": (
        ("loss", str, "probe, mean, last or cross-entropy"),
        ("vocabulary", int, "types of token ids and of cross-entropy"),
        ("head_gain", float, "width times the variance of an unembedding's entry"),
        ("logit_multiplier", float, "factor on the logits, within head-gain"),
    ),
}


class Commands:
    """The commands of a parser, to which each file adds its own."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._parsers = parser.add_subparsers(dest="command", metavar="COMMAND")

    @property
    def names(self) -> list[str]:
        """The commands that there are."""
        return list(self._parsers.choices)

    def add(self, name: str, text: str, run: Run, json: bool = True) -> argparse.ArgumentParser:
        """A command whose exit status is what ``run`` returns; ``json`` gives it the flag --json."""
        parser = self._parsers.add_parser(name, help=text, description=text, allow_abbrev=False)
        parser.set_defaults(run=run, flags=parser._option_string_actions)
        prepare(parser)
        if json:
            parser.add_argument("--json", action="store_true", help="machine-readable output")
        return parser


def architecture_flags(parser: argparse.ArgumentParser) -> None:
    """The positional placement, the scaling rule and the fields of an architecture."""
    parser.add_argument("placement", help="a norm placement (see: spannorm list)")
    parser.add_argument("--scaling", default="unit", help="a scaling rule (default: unit)")
    field_flags(parser)


def field_flags(parser: argparse.ArgumentParser) -> None:
    """One flag for each field, in groups."""
    for title, rows in FIELDS.items():
        group = parser.add_argument_group(title)
        for name, kind, text in rows:
            flag = "--" + name.replace("_", "-")
            if kind is bool:
                group.add_argument(flag, action="store_true", help=text)
            else:
                group.add_argument(flag, type=kind, metavar=kind.__name__.upper(), help=text)


def architecture(args: argparse.Namespace) -> Architecture:
    """The architecture that flags say."""
    from ..spec.architecture import Architecture

    return Architecture(args.placement, args.scaling, **fields(args))


def fields(args: argparse.Namespace) -> dict[str, Any]:
    """The architecture fields that flags have set."""
    values: dict[str, Any] = {}
    for name, kind, _ in chain.from_iterable(FIELDS.values()):
        value = getattr(args, name)
        if value is not None and not (kind is bool and value is False):
            values[name] = value
    if "init" in values:
        with suppress(ValueError):  # a named initialisation
            values["init"] = float(values["init"])
    return values
