"""The claims as a section of a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape

from ..render.html import document, paragraph, table, tag
from .bibliography import address, bibliography
from .claim import HOLDS, NOT_TESTABLE, OWN, VERDICTS, WITH_CONDITIONS
from .outcomes import Checked, Outcome

SIMULATED = (
    "Each claim was decided by a result of the theory and checked on random networks; an estimate counts "
    "with its standard error over networks, and one whose interval crosses the border of what is expected "
    "decides nothing."
)
DERIVED = (
    "Here the results of the theory were derived anew, and no random network was simulated: verdicts are "
    "those recorded with Monte Carlo, wherever the derivation agrees. To run the checks too: spannorm claims "
    "--full, or spannorm report --full."
)
LEGEND = "Only what can be seen at initialisation is judged."


def section(outcomes: Sequence[Outcome], simulated: bool, heading: str = "h2") -> str:
    """Heading, tally, table of verdicts, and each claim's evidence folded away."""
    counts = Counter(outcome.verdict for outcome in outcomes)
    order = [*VERDICTS, *(v for v in counts if v not in VERDICTS)]
    tally = ", ".join(f"{verdict} {counts[verdict]}" for verdict in order if counts[verdict])
    rows = [_row(outcome) for outcome in outcomes]
    different = sum(outcome.changed for outcome in outcomes)
    changed = f" {different} differ from the recorded verdict." if different else ""
    how = SIMULATED if simulated else DERIVED
    return "\n".join(
        [
            tag(heading, "Published claims", id="claims"),
            paragraph(f"{len(outcomes)} claims: {tally}.{changed} {how} {LEGEND}"),
            tag("div", table(["Claim", "Source", "Kind", "Verdict"], rows), class_="prose"),
            tag("h3", "Evidence"),
            *(_evidence(outcome) for outcome in outcomes if outcome.fact is not None),
        ]
    )


def page(outcomes: Sequence[Outcome], simulated: bool, before: str = "") -> str:
    """The section as a page of its own, with markup ``before`` it."""
    return document("Published claims", [before + section(outcomes, simulated, "h1")])


def _row(outcome: Outcome) -> list[str]:
    claim = outcome.claim
    verdict = escape(outcome.verdict)
    if outcome.verdict != NOT_TESTABLE:
        good = outcome.verdict in (HOLDS, WITH_CONDITIONS)
        verdict = tag("span", verdict, class_="good" if good else "bad")
    if outcome.changed:
        verdict += escape(f" (recorded: {claim.verdict})")
    note = claim.conditions or claim.instead
    sentence = escape(claim.sentence)
    return [
        sentence if outcome.fact is None else tag("a", sentence, href=f"#{claim.id}"),
        _source(claim.source),
        escape(claim.kind),
        verdict + (f": {escape(note)}" if note else ""),
    ]


def _source(key: str) -> str:
    if key == OWN:
        return "own derivation"
    return tag("a", escape(key), href=address(key), title=bibliography()[key]["title"])


def _evidence(outcome: Outcome) -> str:
    fact = outcome.fact
    assert fact is not None
    inner = paragraph(f"Theory: {fact.formula}.")
    if outcome.checked:
        head = ["", "Measure", "Networks", "Expected", "Estimate", "SE", ""]
        rows = [_check(found) for found in outcome.checked]
        inner += tag("div", table(head, rows, frozenset({3, 4, 5})), class_="checks")
    claim = outcome.claim
    summary = tag("summary", f"<strong>{escape(claim.id)}</strong> {escape(claim.sentence)}")
    return tag("details", summary + inner, id=claim.id)


def _check(found: Checked) -> Sequence[str]:
    check = found.check
    archs = dict.fromkeys(str(term.arch) for term in check.measure.terms)
    lines = [escape(check.text), *(tag("code", escape(arch)) for arch in archs)]
    lines += [f"tolerance: {escape(check.reason)}"] if check.reason else []
    return [
        escape(check.role),
        "<br>".join(lines),
        f"{found.networks}, seed {check.seed}",
        escape(found.expected),
        f"{found.estimate:.4g}",
        f"{found.error:.2g}",
        escape(found.outcome),
    ]
