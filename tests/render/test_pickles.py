"""Every kind of result travels by pickle and by deepcopy, before and after it was shown or solved."""

import copy
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pandas as pd
import pytest

import spannorm_theory as st

pytestmark = pytest.mark.exact
SIZE = {"depth": 2, "width": 16, "heads": 2, "tokens": 4}
ARCH = ("span-norm", "depth-scaled-init")
RUN = {"progress": False, "device": "cpu"}


def architecture():
    return st.Architecture(*ARCH, **SIZE)


def swept(folder):
    with ThreadPoolExecutor(1) as pool:
        return st.sweep([architecture()], 2, pool, folder / "store", chunk=2, **RUN)


def registered(_):
    @st.scaling("mine", title="Mine", source="test")
    def mine(sublayer, l, L, d):
        return st.Multipliers(branch=0.5)

    return st.Architecture("pre-norm", "mine", **SIZE)


#: what makes each kind, and what shows or solves it
KINDS = {
    "recursion": (lambda _: st.derive("pre-norm"), ("text", "latex", "asymptotics", "closed_form", "bounds")),
    "streams": (lambda _: st.derive("siamese-norm", ARCH[1]), ("text", "asymptotics", "to_dict")),
    "turns": (lambda _: st.derive("hyper-connections"), ("text",)),
    "gains": (lambda _: st.derive("post-norm", activation="relu"), ("closed_form",)),
    "laws": (lambda _: st.derive("post-norm").asymptotics(), ()),
    "forms": (lambda _: st.derive("post-norm").closed_form(), ()),
    "bounds": (lambda _: st.derive("pre-norm").bounds(), ()),
    "architecture": (lambda _: architecture(), ("weights", "hidden")),
    "rule of one's own": (registered, ("weights",)),
    "prediction": (lambda _: st.predict(architecture()), ()),
    "ensemble": (lambda _: st.simulate(architecture(), 2, **RUN), ("table",)),
    "verification": (lambda _: st.verify(architecture(), networks=3, **RUN), ("table", "outcome", "passed")),
    "spectra": (lambda _: st.spectra(architecture()), ()),
    "sweep": (swept, ("table", "summary")),
    "atlas": (lambda _: st.atlas(["pre-norm"], ["unit"], workers=1), ("table", "summary")),
    "claims": (lambda _: st.claims(simulated=False, ids=["prenorm-linear-variance"]), ("summary",)),
}


def same(copied, kept):
    assert type(copied) is type(kept)
    if isinstance(kept, pd.DataFrame):
        pd.testing.assert_frame_equal(copied, kept)
        return
    assert repr(copied) == repr(kept)


@pytest.mark.usefixtures("registries")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_results_travel(kind, tmp_path):
    make, uses = KINDS[kind]
    fresh = make(tmp_path)
    untouched = pickle.dumps(fresh)
    deep = copy.deepcopy(fresh)
    for name in ("_repr_html_", "_repr_latex_", "__repr__", "__str__", *uses):
        with suppress(AttributeError):
            value = getattr(fresh, name)
            if callable(value):
                value()
    for copied in (pickle.loads(untouched), deep, pickle.loads(pickle.dumps(fresh)), copy.deepcopy(fresh)):
        same(copied, fresh)
    for name in ("text", "summary"):
        if name in uses:
            assert getattr(copied, name)() == getattr(fresh, name)()


def test_an_architecture_may_arrive_where_its_rule_is_unknown(registries, tmp_path):
    path = tmp_path / "arch"
    path.write_bytes(pickle.dumps(registered(tmp_path)))
    code = f"""
import pickle, pathlib, spannorm_theory as st
arch = pickle.loads(pathlib.Path({str(path)!r}).read_bytes())
try:
    st.predict(arch)
except ValueError as error:
    print(arch, "|", error)
"""
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert found.startswith("pre-norm mine depth=2")
    assert "unknown scaling rule 'mine'" in found
