"""The claims that others, or their own code, contradict, as a page.

``python -m spannorm_theory.literature.audits > docs/audits.md`` writes it.
"""

from __future__ import annotations

from .bibliography import address, bibliography
from .claim import CONTRADICTION, load_claims
from .fact import prediction_of
from .outcomes import Outcome
from .run import claims

HEAD = """# Audits

Statements of the literature that contradict each other or their code, each decided at initialisation by one
number: what the statement makes of it, what the theory derives, and what Monte Carlo measures (standard error
in brackets). A claim about trained networks may be right about those. They are the claims of kind
"contradiction" in `papers/claims.toml`; `spannorm claims ID --evidence` shows all that is checked of one.

Written by `python -m spannorm_theory.literature.audits > docs/audits.md`; a test repeats it.

| claim | number | claimed | derived | measured | verdict |
|---|---|---|---|---|---|
"""

FOOT = """
The logarithmic law of PreNorm gradients in the paper of ResiDual is not audited: its statement was not at
hand.
"""


def document() -> str:
    """The table in Markdown, from checks that are run anew."""
    ids = [claim.id for claim in load_claims() if claim.kind == CONTRADICTION]
    return HEAD + "".join(_row(outcome) for outcome in claims(ids).outcomes) + FOOT


def _row(outcome: Outcome) -> str:
    claim, found = outcome.claim, outcome.checked[0]
    measure, title = found.check.measure, bibliography()[claim.source]["title"]
    cells = [
        f"`{claim.id}`: {claim.sentence} ([{title}]({address(claim.source)}))",
        f"{found.check.text}: `{measure.terms[0].arch}`",
        found.expected,
        f"{measure.theory(prediction_of):.3g}",
        f"{found.estimate:.3g} ({found.error:.1g})",
        outcome.verdict + (f": {claim.instead}" if claim.instead else ""),
    ]
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    print(document(), end="")
