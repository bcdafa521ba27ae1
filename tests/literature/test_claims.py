"""The recorded claims: theory agrees with each verdict, verdicts follow evidence, wrong ones are caught."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import Page

from spannorm_theory.base.errors import InputError, UnknownNameError
from spannorm_theory.cli.main import main
from spannorm_theory.literature import claims, load_claims
from spannorm_theory.literature.claim import FAILS, HOLDS, NOT_TESTABLE, WITH_CONDITIONS
from spannorm_theory.literature.fact import Fact
from spannorm_theory.literature.judge import UNDECIDED, verdict

SMALL = "pre-norm unit depth=2 width=32 heads=2 tokens=8"
CLAIM = """
[[claim]]
id = "mine"
source = "xiong2020"
kind = "derived"
sentence = "A sentence."
result = "norms.linear_variance"
verdict = "holds"
"""
CHECK = f"""
[[claim.check]]
architecture = "{SMALL}"
networks = 12
quantity = "variance"
layer = -1
"""
#: relations that hold of the last layer's variance, about 2.2
RELATIONS = {
    "about": 'relation = "about"\nvalue = 2.3\ntolerance = 0.4\nreason = "a test"',
    "predicted": 'relation = "predicted"\ntolerance = 0.3\nreason = "a test"',
    "below": 'relation = "below"\nvalue = 5.0',
    "above": 'relation = "above"\nvalue = 1.1',
    "between": 'relation = "between"\nvalue = [1.1, 5.0]',
}


def _file(folder: Path, text: str) -> Path:
    path = folder / "claims.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.reference
def test_the_theory_agrees_with_every_recorded_verdict() -> None:
    known = load_claims()
    assert len(known) >= 35
    for claim in known:
        fact = claim.fact()
        if claim.verdict == NOT_TESTABLE:
            assert fact is None
            continue
        assert fact is not None
        assert fact.formula
        assert fact.holds == (claim.verdict != FAILS), claim.id
        roles = {check.role for check in claim.checks}
        assert ("outside" in roles or fact.outside is False) == (claim.verdict == WITH_CONDITIONS), claim.id
        assert ("instead" in roles) == (claim.verdict == FAILS), claim.id
        assert all(check.name in fact.numbers for check in claim.checks if check.name), claim.id


@pytest.mark.reference
def test_quick_claims_come_out_as_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = [
        "swin-v2-identity",
        "hybridnorm-coupling-qk",
        "siamesenorm-reduces-to-prenorm",
        "keel-learning-rate",
    ]
    out, page = tmp_path / "claims.json", tmp_path / "claims.html"
    assert main(["claims", *ids, "--quiet", "--json", "--out", str(out), "--html", str(page)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(out.read_text())
    assert [entry["id"] for entry in printed["claims"]] == ids
    check = printed["claims"][0]["checks"][0]
    assert abs(check["estimate"] - 1) < 1e-5
    assert {"se", "networks", "seed", "outcome", "reason"} <= set(check)
    text = page.read_text()
    assert "Published claims" in text
    assert Page(text).ids == ids


@pytest.mark.exact
@pytest.mark.parametrize("relation", RELATIONS)
def test_a_negated_relation_comes_out_as_failing(relation: str, tmp_path: Path) -> None:
    text = CLAIM + CHECK + RELATIONS[relation]
    right = claims(path=_file(tmp_path, text))
    assert right.passed
    assert right.outcomes[0].verdict == HOLDS
    wrong = claims(path=_file(tmp_path, text + "\nnegated = true"))
    assert not wrong.passed
    assert wrong.outcomes[0].checked[0].outcome == "contradicted"
    assert wrong.table["outcome"].tolist() == ["contradicted"]


@pytest.mark.exact
def test_a_changed_verdict_exits_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = CLAIM.replace('"holds"', '"fails at initialisation"\ninstead = "nothing"')
    path = _file(tmp_path, text + CHECK + RELATIONS["above"])
    assert main(["claims", "--file", str(path), "--quiet"]) == 1
    printed = capsys.readouterr().out
    assert "CHANGED: recorded as fails at initialisation" in printed
    assert "theory: yes" in printed


@pytest.mark.exact
def test_derivations_alone_keep_a_verdict_or_unsettle_it(tmp_path: Path) -> None:
    text = CLAIM + CHECK + RELATIONS["above"]
    kept = claims(path=_file(tmp_path, text), simulated=False)
    assert kept.passed
    assert kept.outcomes[0].checked == ()
    assert kept.to_dict()["simulated"] is False
    wrong = text.replace('"holds"', '"fails at initialisation"\ninstead = "nothing"', 1)
    unsettled = claims(path=_file(tmp_path, wrong), simulated=False)
    assert unsettled.outcomes[0].verdict == UNDECIDED
    unsettled.write_page(tmp_path / "page.html")
    assert "1 differ from the recorded verdict" in (tmp_path / "page.html").read_text()


@pytest.mark.exact
def test_verdicts_need_theory_and_samples_to_agree() -> None:
    yes, no = Fact(True, ""), Fact(False, "")
    assert verdict(None, ()) == NOT_TESTABLE
    assert verdict(yes, ()) == HOLDS
    assert verdict(no, ()) == FAILS
    assert verdict(Fact(True, "", outside=False), ()) == WITH_CONDITIONS
    assert verdict(Fact(True, "", outside=True), ()) == HOLDS


@pytest.mark.exact
@pytest.mark.parametrize(
    ("fact", "outcomes", "expected"),
    [
        (Fact(True, ""), {"claim": "holds"}, HOLDS),
        (Fact(True, ""), {"claim": "undecided"}, UNDECIDED),
        (Fact(True, ""), {"claim": "holds", "outside": "holds"}, HOLDS),
        (Fact(True, ""), {"claim": "holds", "outside": "contradicted"}, WITH_CONDITIONS),
        (Fact(True, ""), {"claim": "holds", "outside": "undecided"}, UNDECIDED),
        (Fact(True, "", outside=False), {"claim": "holds", "outside": "holds"}, UNDECIDED),
        (Fact(False, ""), {"claim": "contradicted", "instead": "holds"}, FAILS),
        (Fact(False, ""), {"claim": "contradicted", "instead": "undecided"}, UNDECIDED),
        (Fact(False, ""), {"claim": "undecided", "instead": "holds"}, UNDECIDED),
        (Fact(False, ""), {"claim": "holds", "instead": "holds"}, UNDECIDED),
    ],
)
def test_every_sample_counts_by_its_role(fact: Fact, outcomes: dict[str, str], expected: str) -> None:
    checked = [SimpleNamespace(check=SimpleNamespace(role=r), outcome=o) for r, o in outcomes.items()]
    assert verdict(fact, checked) == expected  # type: ignore[arg-type]


@pytest.mark.exact
@pytest.mark.parametrize("negated", [False, True])
def test_a_contradiction_without_a_result_is_decided_by_the_theory_of_its_check(
    negated: bool, tmp_path: Path
) -> None:
    text = CLAIM.replace('"derived"', '"contradiction"').replace('result = "norms.linear_variance"', "")
    if negated:
        text = text.replace('"holds"', '"fails at initialisation"\ninstead = "it grows"')
    check = CHECK + RELATIONS["above"] + f"\nnegated = {str(negated).lower()}"
    report = claims(path=_file(tmp_path, text + check))
    assert report.passed
    (outcome,) = report.outcomes
    assert outcome.fact is not None
    assert outcome.fact.holds != negated
    assert not claims(path=_file(tmp_path, text + check), simulated=False).outcomes[0].changed


@pytest.mark.exact
def test_a_noisy_or_contradicted_claim_is_undecided(tmp_path: Path) -> None:
    near = claims(path=_file(tmp_path, CLAIM + CHECK + 'relation = "above"\nvalue = 2.25'))
    assert near.outcomes[0].verdict == UNDECIDED
    refuted = claims(path=_file(tmp_path, CLAIM + CHECK + 'relation = "above"\nvalue = 9.0'))
    assert refuted.outcomes[0].verdict == UNDECIDED  # samples contradict what the theory says
    assert not refuted.passed


@pytest.mark.exact
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('source = "xiong2020"', 'source = "xiong2019"', "did you mean xiong2020"),
        ('kind = "derived"', 'kind = "guessed"', "unknown kind"),
        ('sentence = "A sentence."', "", "sentence must be a text, and is missing"),
        ('verdict = "holds"', 'verdict = "holds"\nconditions = "some"', "conditions belongs to the verdict"),
        ('verdict = "holds"', 'verdict = "not testable here"', "does not go with the verdict"),
        ('result = "norms.linear_variance"', 'result = "norms.linear"', "there is no function"),
        ('result = "norms.linear_variance"', "", "result is missing"),
        ('quantity = "variance"', 'quantity = "varience"', "did you mean variance"),
        ('quantity = "variance"', 'quantity = "variance"\nlayr = 1', "unknown field of a check"),
        ("networks = 12", "networks = 2", "networks must be an integer of at least 3"),
        ("depth=2", "depth=0", "depth must be an integer"),
        ("layer = -1", "layers = [4]", "layers must be at least two"),
        ("layer = -1", "", "layer must be an integer"),
        ("value = 1.1", "", "needs either value, a number, or name"),
        ("value = 1.1", 'name = "slope"', "unknown number of the result"),
        ("value = 1.1", "value = 1.1\ntolerance = 0.1", "need a positive tolerance and its reason"),
    ],
)
def test_a_broken_claim_is_one_error_that_names_it(
    old: str, new: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = CLAIM + CHECK + RELATIONS["above"]
    assert old in text
    path = _file(tmp_path, text.replace(old, new))
    assert main(["claims", "--file", str(path), "--quiet"]) == 2
    error = capsys.readouterr().err
    assert "claim 'mine'" in error
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.exact
def test_unreadable_files_and_unknown_ids_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read claims"):
        load_claims(tmp_path / "none.toml")
    with pytest.raises(InputError, match="cannot read claims"):
        load_claims(_file(tmp_path, "[[claim"))
    with pytest.raises(InputError, match="the id is taken"):
        load_claims(_file(tmp_path, (CLAIM + CHECK + RELATIONS["above"]) * 2))
    with pytest.raises(UnknownNameError, match="did you mean swin-v2-identity"):
        claims(["swin-identity"])
