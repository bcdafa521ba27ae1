"""The commands of the parser, and the flags of an architecture; nothing heavy is imported."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .given import prepare

if TYPE_CHECKING:
    from ..models.model import Model
    from ..spec.architecture import Architecture

Run = Callable[[argparse.Namespace], int]

#: the help of an argument that names a placement
PLACEMENT = "a norm placement (see: spannorm list), or FILE.py:NAME, the function of one; @RULE may follow"

#: architecture fields as flags, in the groups of ``--help`` and the order of the dataclass (a test holds them
#: together): name, type, help
FIELDS: dict[str, tuple[tuple[str, type, str], ...]] = {
    "sizes": (
        ("depth", int, "blocks of one attention and one feed-forward sublayer"),
        ("width", int, "coordinates of a stream"),
        ("heads", int, "attention heads"),
        ("tokens", int, "sequence length"),
    ),
    "weights used more than once": (
        ("unique_blocks", int, "blocks of matrices of their own: block l has those of block l mod so many"),
        ("copied", bool, "those start with the same numbers, and are separate after"),
    ),
    "attention": (
        ("head_width", int, "coordinates of a head, unless width / heads"),
        ("kv_heads", int, "heads of keys and values, shared by groups of query heads"),
        (
            "latent_queries",
            int,
            "rank of queries: they read so many coordinates, a normed down projection",
        ),
        ("latent_keys", int, "rank of keys and values, likewise"),
        ("mask", str, "none or causal"),
        ("window", int, "tokens that a token sees, itself included: before it, and behind it without a mask"),
        ("attention_pattern", str, "full, window, full-nope, window-nope: cycled over the blocks"),
        ("positions", str, "none, or rope (rotary embedding of queries and keys)"),
        ("rotary_base", float, "base of the frequencies of rope"),
        ("rotary_share", float, "share of a head's coordinates that rope rotates"),
        ("qk_norm", bool, "normalise queries and keys over each head"),
        ("qkv_norm", bool, "normalise queries, keys and values over each head"),
        ("qk_norm_over", str, "head, or width (those norms run over all heads)"),
        ("logit_scale", str, "sqrt or linear (what of the head width q.k is divided by), or a factor"),
        ("logit_variance", float, "variance of the attention logits for unit input"),
        ("sinks", bool, "one more logit of 0 in each row of attention, whose value is nothing"),
        ("attention_gate", bool, "multiply what attention's output projection reads by sigmoid(x W_gate)"),
    ),
    "feed-forward": (
        (
            "activation",
            str,
            "relu, gelu, silu, swiglu or another, as spannorm list says",
        ),
        ("ffn_ratio", float, "hidden width of the feed-forward branch, or of each expert, over width"),
        ("ffn_width", int, "that hidden width itself, in place of its ratio"),
    ),
    "experts": (
        ("experts", int, "feed-forward experts; 1 is a dense branch"),
        ("top_k", int, "experts that a token is sent to"),
        ("shared_experts", int, "experts that every token is sent to beside them"),
        ("gates", str, "renormalised (over the chosen experts), softmax (over all) or sigmoid"),
        ("router_gain", float, "variance of the router's logits for unit input"),
        ("routed_scale", float, "factor on the sum of the chosen experts"),
        ("shared_gate", bool, "multiply the shared experts by a sigmoid of one more projection"),
        ("expert_groups", int, "equal groups that the experts are in"),
        ("top_groups", int, "groups that a token's experts are taken from"),
        ("dense_layers", int, "first blocks that have a dense branch in place of experts"),
        ("dense_ffn_width", int, "hidden width of these, where it is not that of an expert"),
    ),
    "norms": (
        ("norm", str, "rms or layer"),
        (
            "norm_epsilon",
            float,
            "epsilon under the root of norms, those of queries and keys included",
        ),
        ("norm_gain", float, "gain of norms of streams and of branch outputs"),
    ),
    "initialisation": (
        ("init", str, "fan-in, unit-branch, xavier, or a standard deviation"),
        ("draw", str, "normal, truncated (at 2 standard deviations), uniform or orthogonal"),
    ),
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
        ("logit_cap", float, "soft cap C of the logits, C tanh(z / C)"),
        ("tied_head", bool, "an unembedding that is the embedding's transpose"),
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
    parser.add_argument("placement", nargs="?", help=PLACEMENT)
    parser.add_argument("--scaling", help="a scaling rule (default: unit, or that of --like)")
    field_flags(parser)


def field_flags(parser: argparse.ArgumentParser, without: Collection[str] = ()) -> None:
    """A model, and one flag for each field but those ``without``, in groups, that go over its own."""
    parser.add_argument(
        "--like", metavar="NAME", help="a published model (see: spannorm model), or a configuration's file"
    )
    for title, rows in FIELDS.items():
        offered = [row for row in rows if row[0] not in without]
        if not offered:
            continue
        group = parser.add_argument_group(title)
        for name, kind, text in offered:
            flag = "--" + name.replace("_", "-")
            if kind is bool:
                group.add_argument(flag, action="store_true", help=text)
            else:
                group.add_argument(flag, type=kind, metavar=kind.__name__.upper(), help=text)


def part_rule(args: argparse.Namespace) -> None:
    """Of a command with one placement and a rule, take ``PLACEMENT@RULE`` as both.

    Raises:
        InputError: --scaling says a rule, too.
    """
    text = getattr(args, "placement", None)
    if not isinstance(text, str) or "@" not in text or not hasattr(args, "scaling"):
        return
    if "scaling" in args.given:
        from ..base.errors import InputError

        raise InputError(f"{text} says a scaling rule, and so does --scaling; say it once")
    args.placement, _, args.scaling = (part.strip() for part in text.partition("@"))


def architecture(args: argparse.Namespace) -> Architecture:
    """The architecture that flags say.

    Raises:
        InputError: neither a placement nor a model, or fields that no architecture has.
    """
    from ..spec.architecture import Architecture

    named = {
        name: getattr(args, name) for name in ("placement", "scaling") if getattr(args, name) is not None
    }
    if args.like is not None:
        return like(args, named).arch
    if args.placement is None:
        from ..base.errors import InputError

        raise InputError(
            f"{args.command} needs a placement (see: spannorm list), or --like and the name of a model (see: "
            "spannorm model)"
        )
    return Architecture(**named, **given_fields(args))


def fields(args: argparse.Namespace) -> dict[str, Any]:
    """The architecture fields beside placement and scaling that flags say, those of --like included."""
    if args.like is None:
        return given_fields(args)
    from ..spec.fields import Fields

    values = like(args).arch.to_dict()
    sizes = {name for name, _, _ in FIELDS["sizes"]}
    return {
        name: value
        for name, value in values.items()
        if name in sizes or (name not in ("placement", "scaling") and value != getattr(Fields, name))
    }


def like_scaling(args: argparse.Namespace) -> str:
    """The scaling rule of --like; "unit" without it."""
    if args.like is None:
        return "unit"
    from ..models.named import named

    return named(args.like).arch.scaling


def like(args: argparse.Namespace, over: Mapping[str, Any] = MappingProxyType({})) -> Model:
    """The model of --like, over whose fields those go that are given, and flags; standard error says what it
    leaves out."""
    import sys

    from ..models.named import named

    found = named(args.like, **{**over, **given_fields(args)})
    if found.gaps and not getattr(args, "quiet", False):
        features = "; ".join(gap.feature for gap in found.gaps)
        print(
            f"spannorm: not modelled of {found.name}: {features} (spannorm model {args.like})",
            file=sys.stderr,
        )
    return found


def given_fields(args: argparse.Namespace) -> dict[str, Any]:
    """The architecture fields that flags have set."""
    values: dict[str, Any] = {}
    for name, kind, _ in chain.from_iterable(FIELDS.values()):
        value = getattr(args, name, None)  # not every command has every flag
        if value is not None and not (kind is bool and value is False):
            values[name] = value
    for name in {"init", "logit_scale"} & set(values):
        with suppress(ValueError):  # a name
            values[name] = float(values[name])
    return values
