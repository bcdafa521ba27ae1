"""``spannorm claims``: published claims, decided and checked."""

from __future__ import annotations

import argparse
from textwrap import wrap
from typing import TYPE_CHECKING

from .ends import require_encodable
from .flags import Commands
from .given import require_read

if TYPE_CHECKING:
    from ..literature.run import ClaimsReport


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    text = "Published claims, decided and checked (exit status 1 if a verdict changed)."
    parser = commands.add("claims", text, _run)
    parser.add_argument("ids", nargs="*", metavar="ID", help="only these claims (default: the quick set)")
    parser.add_argument("--full", action="store_true", help="all claims")
    parser.add_argument("--evidence", action="store_true", help="print theory and checks of each claim")
    parser.add_argument("--out", help="JSON file to write")
    parser.add_argument("--html", help="page to write")
    parser.add_argument("--file", help="another file of claims (default: papers/claims.toml)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _run(args: argparse.Namespace) -> int:
    from ..base.files import require_file
    from ..base.jsontext import to_json
    from ..literature.run import claims

    if args.json:
        require_read(args, "--json", ("full", "out", "html", "file", "device"))
    else:
        require_encodable("±")
    if args.ids:
        require_read(args, "ID", ("evidence", "out", "html", "file", "device"))
    require_file(args.out)
    require_file(args.html)
    report = claims(
        args.ids or None, full=args.full, path=args.file, device=args.device, progress=not args.quiet
    )
    if args.out:
        report.write(args.out)
    if args.html:
        report.write_page(args.html)
    print(to_json(report.to_dict(), indent=1) if args.json else _text(report, args.evidence))
    return 0 if report.passed else 1


def _text(report: ClaimsReport, evidence: bool = False) -> str:
    """The table of verdicts, with the checks of each claim where asked for or where its verdict changed."""
    lines = []
    for outcome in report.outcomes:
        claim = outcome.claim
        lines.append(f"{claim.id:36s} {claim.source:18s} {outcome.verdict}")
        if outcome.changed:
            lines.append(f"    CHANGED: recorded as {claim.verdict}")
        if evidence or outcome.changed:
            lines += [f"    {line}" for line in wrap(claim.sentence, 104)]
            if outcome.fact is not None:
                says = "yes" if outcome.fact.holds else "no"
                lines += [f"    {line}" for line in wrap(f"theory: {says}; {outcome.fact.formula}", 104)]
            for found in outcome.checked:
                value = f"{found.estimate:.4g} ± {found.error:.2g}, expected {found.expected}"
                lines.append(f"    {found.check.role:8s} {found.check.text}: {value}: {found.outcome}")
            note = claim.conditions or claim.instead
            lines += [f"    {line}" for line in wrap(f"{claim.verdict}: {note}", 104)] if note else []
    return "\n".join([*lines, report.summary().replace("full=True", "--full")])
