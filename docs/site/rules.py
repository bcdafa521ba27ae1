"""The page of a scaling rule: its factors as formulas, its laws, and who uses it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

from embedding import inline, raw
from sympy import Expr, latex

from spannorm_theory.atlases.build import architectures
from spannorm_theory.atlases.check import VALUES
from spannorm_theory.atlases.records import Cell as Laws
from spannorm_theory.atlases.shown import shown
from spannorm_theory.literature.claim import Claim, load_claims
from spannorm_theory.models.registry import published
from spannorm_theory.placement_pages.origins import TOKENS, source
from spannorm_theory.placement_pages.pictures import slug
from spannorm_theory.spec.architecture import Architecture
from spannorm_theory.spec.catalogue import placements, scalings
from spannorm_theory.spec.scaling import ONE, Multipliers

#: of all networks and laws of the catalogue, so that two of its pages have one number for one design
SIZES = {"depth": 24, "width": 128, "heads": 4, "tokens": 16}

#: the placements under which a rule's laws are shown, where it can be taken
UNDER = ("pre-norm", "post-norm", "span-norm")

SUBLAYERS = {"attention": "attention", "ffn": "feed-forward"}


@lru_cache(maxsize=1)
def cases() -> tuple[Architecture, ...]:
    """The architectures whose laws the pages show: of a rule for one placement, that placement's."""
    found = []
    for name, rule in scalings().items():
        found += architectures(list(rule.only or UNDER), [name], **SIZES)
    return tuple(found)


def page(name: str, laws: Mapping[Architecture, Laws]) -> str:
    """The page of one rule, as Markdown."""
    rule = scalings()[name]
    address, title = source(rule.source)
    origin = f"[{title}]({address})" if address else title
    year = f" · {rule.year}" if rule.year else ""
    parts = [f"# {name}", f"*{inline(rule.title)}*{year} · {origin}", inline(rule.doc)]
    if rule.only:
        parts.append(f"It belongs to {', '.join(map(_placement, rule.only))} alone.")
    parts += ["## Factors", _factors(name), "## Laws with numbers", _laws(name, laws)]
    parts += ["## Who uses it", *_users(name), "## Claims about it", *_claims(name)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _placement(name: str) -> str:
    return f"[{placements()[name].title}](../placements/{slug(name)}.md)"


def _factors(name: str) -> str:
    """Every factor of both sublayers that is not one, in a table."""
    rule = scalings()[name]
    rows = {where: dict(_terms(rule.multipliers(key), key)) for key, where in SUBLAYERS.items()}
    if rule.embedding_factor != ONE:
        rows["embedding"] = {"embedding": rule.embedding_factor}
    lines = [
        f"| {where} | {what} | ${latex(factor)}$ |"
        for where, terms in rows.items()
        for what, factor in terms.items()
    ]
    if not lines:
        return "All factors are one."
    head = "Blocks count from $l=0$; $L$ is their number and $d$ the width. All other factors are one.\n\n"
    return head + "\n".join(["| where | on what | factor |", "|---|---|---|", *lines])


def _terms(found: Multipliers, sublayer: str) -> Iterator[tuple[str, Expr]]:
    """The factors at a sublayer, with what they are on; of matrices, its own."""
    own = "attn." if sublayer == "attention" else "ffn."
    plain = {"skip path": found.skip, "branch": found.branch, "norm in front of the branch": found.norm}
    if found.learnt:
        yield "branch, where learnt factors start", plain.pop("branch")
    yield from ((what, factor) for what, factor in plain.items() if factor != ONE)
    yield from (
        (f"standard deviation of `{matrix}`", factor)
        for matrix, factor in found.gains.items()
        if own in matrix
    )
    yield from (
        (f"standard deviation of `{matrix}` itself", value)
        for matrix, value in found.std.items()
        if own in matrix
    )


def _laws(name: str, laws: Mapping[Architecture, Laws]) -> str:
    """Variance at the top and gradient at the embedding against depth, under a few placements."""
    head = "".join(f'<th class="n">{depth}{" blocks" * (depth == VALUES[-1])}</th>' for depth in VALUES)
    rows = []
    for arch in (arch for arch in cases() if arch.scaling == name):
        for quantity, label in (
            ("forward", "variance at the top"),
            ("gradient", "squared gradient, embedding"),
        ):
            law = shown(laws[arch].found.get(quantity))
            values = "".join(f'<td class="n">{value}</td>' for value in law.values or ("–",) * len(VALUES))
            first = placements()[arch.name].title if quantity == "forward" else ""
            kind = ' class="first"' if first else ""
            rows.append(
                f"<tr{kind}><td>{first}</td><td>{label}</td><td>{law.numbers}</td>{values}"
                f"<td>{law.since or '–'}</td></tr>"
            )
    table = (
        f'<div class="wide even"><table><thead><tr><th></th><th></th><th>law in L</th>{head}'
        f"<th>holds to 10 %</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
    words = (
        f"{SIZES['tokens']} tokens, no mask, GELU branches, fan-in initialisation; gradients for a unit "
        "gradient at the model's output.\n"
    )
    return f"{words}\n{raw(table)}"


def _users(name: str) -> Iterator[str]:
    entries = [entry for entry in placements().values() if entry.scaling == name and name != "unit"]
    if entries:
        yield f"Published with {', '.join(_placement(entry.name) for entry in entries)}."
    models = _models().get(name, [])
    if name == "unit":
        yield f"{len(models)} of the [published models](../../docs/models.md)."
    elif models:
        yield f"[Published models](../../docs/models.md): {', '.join(models)}."
    elif not entries:
        yield "None of the published models and placements that the toolkit knows."


@lru_cache(maxsize=1)
def _models() -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, entry in published().items():
        for rule in entry.read(TOKENS).arch.scaling.split("+"):
            found.setdefault(rule, []).append(name)
    return found


def _claims(name: str) -> Iterator[str]:
    about = [claim for claim in load_claims() if name in _scalings(claim)]
    if name == "unit":
        yield "Those of all placements are checked under it: see [the claims](../../claims.md)."
    elif about:
        yield "\n".join(f"- *{claim.verdict}*: {inline(claim.sentence)} (`{claim.id}`)" for claim in about)
    else:
        yield "No [published claim](../../claims.md) that the toolkit checks is about it."


def _scalings(claim: Claim) -> set[str]:
    """The rules that the claim's networks have."""
    archs = [term.arch for check in claim.checks for term in check.measure.terms]
    return {rule for arch in archs for rule in arch.scaling.split("+")}
