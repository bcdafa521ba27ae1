"""The ``spannorm claims`` command."""

from __future__ import annotations

import argparse
import json
from textwrap import wrap

from ..literature.run import ClaimsReport, claims


def run_claims(args: argparse.Namespace) -> int:
    """Run, print and write; exit status 1 where a verdict is not the recorded one."""
    report = claims(
        args.ids or None, full=args.full, path=args.file, device=args.device, progress=not args.quiet
    )
    if args.out:
        report.write(args.out)
    if args.html:
        report.write_page(args.html)
    print(json.dumps(report.to_dict(), indent=1) if args.json else text(report, args.evidence))
    return 0 if report.passed else 1


def text(report: ClaimsReport, evidence: bool = False) -> str:
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
    changed = sum(outcome.changed for outcome in report.outcomes)
    tail = f"; {report.skipped} more with --full" if report.skipped else ""
    lines.append(f"{len(report.outcomes)} claims, {changed} with another verdict than recorded{tail}")
    return "\n".join(lines)
