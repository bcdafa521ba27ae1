"""``spannorm step``: the first step of an optimiser, in theory, measured, or one against the other."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .ends import require_encodable
from .flags import Commands, architecture, architecture_flags
from .given import require_read
from .profiles import PLUS_MINUS, print_json, print_table, print_verification, with_plain_errors

if TYPE_CHECKING:
    import pandas as pd


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    text = "The first step of an optimiser: sizes, slopes of the loss, and what it moves, layer by layer."
    parser = commands.add("step", text, _run)
    architecture_flags(parser)
    group = parser.add_argument_group("step")
    group.add_argument(
        "--optimiser",
        default="adam",
        metavar="NAME",
        help="sgd, sign, adam, orthogonal or muon (default: adam)",
    )
    group.add_argument(
        "--lr",
        default="1",
        metavar="RATE",
        help="a learning rate, or rates of matrices that move, as attn.query=0.1,ffn.up=0.2 (default: 1)",
    )
    group.add_argument("--epsilon", type=float, help="epsilon of adam (default: 1e-8)")
    group.add_argument("--verify", action="store_true", help="theory against networks (exit 1 if it fails)")
    group.add_argument("--kernel", action="store_true", help="the tangent kernel of tokens, of no optimiser")
    group.add_argument(
        "--exponents",
        nargs="+",
        type=int,
        metavar="DEPTH",
        help="powers of the depth with which rates must fall between these depths, matrix by matrix",
    )
    group.add_argument("--networks", type=int, help="random networks (default: none; 32 with --verify)")
    group.add_argument("--seed", type=int, default=0)
    group.add_argument("--device", default="auto", help="auto, cpu or cuda")
    group.add_argument("--quiet", action="store_true", help="no progress bar")


def _run(args: argparse.Namespace) -> int:
    if not args.json:
        require_encodable(PLUS_MINUS)
    arch = architecture(args)
    if args.exponents:
        unread = {"depth", "lr", "verify", "kernel", "networks", "seed", "device"}
        require_read(args, "--exponents", args.given - unread)
        return _print_exponents(args)
    if args.kernel:
        require_read(args, "--kernel", args.given - {"optimiser", "lr", "epsilon", "verify"})
        from ..first_steps.tangent_kernel import tangent_kernel

        table = tangent_kernel(arch, networks=args.networks or 0, seed=args.seed, device=args.device)
        return _print(args, table, "tangent kernel")
    options = {
        "lr": rates(args.lr),
        "epsilon": args.epsilon,
        "seed": args.seed,
        "device": args.device,
        "progress": False if args.quiet else None,
    }
    if args.verify:
        from ..first_steps.verify_step import verify_step

        networks = 32 if args.networks is None else args.networks
        return print_verification(verify_step(arch, args.optimiser, networks=networks, **options), args.json)
    from ..first_steps.first_step import first_step

    table = first_step(arch, args.optimiser, networks=args.networks or 0, **options)
    return _print(args, table, f"first step of {args.optimiser}")


def _print_exponents(args: argparse.Namespace) -> int:
    """Exponents of learning rates by matrix."""
    import pandas as pd

    from ..first_steps.exponents import step_exponents

    arch = architecture(args)
    found = step_exponents(arch, args.optimiser, depths=args.exponents, epsilon=args.epsilon)
    if args.json:
        return print_json(pd.DataFrame({"stream": list(found), "exponent": list(found.values())}))
    depths = " ".join(map(str, args.exponents))
    print(f"{arch.name}: learning rates of {args.optimiser} go as powers of the depth, over {depths} blocks")
    for name, exponent in found.items():
        print(f"{name:<12} {exponent:7.3f}")
    return 0


def _print(args: argparse.Namespace, table: pd.DataFrame, what: str) -> int:
    """A table of theory or of networks, under the name of what it has."""
    if args.json:
        return print_json(table)
    if args.networks:
        print(f"{architecture(args)}: {what}, means over {args.networks} networks")
    else:
        print(f"{architecture(args)}: {what}, {table['theory'].iloc[0]} theory")
        table = with_plain_errors(table)
    print_table(table)
    return 0


def rates(text: str) -> float | dict[str, float]:
    """A learning rate, or rates by matrix.

    Raises:
        InputError: text that says neither.
    """
    from ..base.errors import InputError, shown

    try:
        if "=" not in text:
            return float(text)
        return {name.strip(): float(rate) for name, rate in (word.split("=") for word in text.split(","))}
    except ValueError:
        raise InputError(
            f"--lr must be a number, or numbers by matrix as attn.query=0.1,ffn.up=0.2, got {shown(text)}"
        ) from None
