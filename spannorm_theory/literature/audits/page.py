"""The audits as a page."""

from __future__ import annotations

from .audit import NETWORKS
from .catalogue import UNIT, audits

HEAD = """# Audits

Statements of the literature that contradict each other or their code, each as one number: what the claim
makes of it, what the engine derives, and what Monte Carlo measures on {networks} networks of width
{width} with {tokens} tokens (standard error in brackets). All at initialisation, on the unit block where
nothing else is said; a claim about trained networks may be right about those.

Written by `python -m spannorm_theory.literature.audits > docs/audits.md`; a test repeats it.

| | claim | number | claimed | derived | measured | the claim |
|---|---|---|---|---|---|---|
"""

FOOT = """
The logarithmic law of PreNorm gradients in the paper of ResiDual is not audited: its statement was not at
hand.
"""


def document(networks: int = NETWORKS) -> str:
    """The table in Markdown."""
    rows = []
    for audit in audits():
        found = audit.measure(networks)
        verdict = "stands" if audit.claim_agrees(found) else "does not stand"
        if not audit.engine_agrees(found):
            verdict = "open: engine and measurement differ"
        link = f"[source]({audit.source})" if audit.source.startswith("https") else audit.source
        rows.append(
            f"| {audit.id} | {audit.claim} ({link}) | {audit.quantity} | {audit.claimed:.3g} | "
            f"{audit.derived:.3g} | {found.value:.3g} ({found.se:.1g}) | {verdict} |\n"
        )
    head = HEAD.format(networks=networks, width=UNIT["width"], tokens=UNIT["tokens"])
    return head + "".join(rows) + FOOT
