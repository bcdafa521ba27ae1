"""Titles, sources and text forms are text, whatever is in them: in LaTeX, in HTML and in figures."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import pandas as pd
import pytest

import spannorm_theory as st
from spannorm_theory.render.latex_table import as_latex
from spannorm_theory.render.latex_text import escape

SPECIAL = r"""\end{x} {}$ & # ^ _ ~ % < > | " ' ` é ï Ž ç α Ω − × – “q” … ß 漢 😀"""
HOSTILE = "<script>alert(1)</script> & \"x\" 'y' $\\bad$ %_#"
SIZE = {"depth": 2, "width": 16, "heads": 2, "tokens": 4}


def test_each_character_has_one_form():
    assert escape(r"\{}$&#^_~%<>|") == (
        r"\textbackslash{}\{\}\$\&\#\textasciicircum{}\_\textasciitilde{}\%\textless{}\textgreater{}\textbar{}"
    )
    assert escape("é ï Ž ç ß") == r"\'{e} \"{\i} \v{Z} \c{c} \ss{}"
    assert escape("αλΩ − – “q”") == r"$\alpha$$\lambda$$\Omega$ $-$ -- ``q''"
    assert escape("漢\x07😀") == "{[}U+6F22]{[}U+0007]{[}U+1F600]"
    assert escape("two\n\nlines\tand\x00more") == "two lines and{[}U+0000]more"
    assert escape("ﬀ\u0301\u0302x\ud800") == "{[}U+FB00]{[}U+0301]{[}U+0302]x{[}U+D800]"
    assert all(character.isascii() for character in escape(SPECIAL))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_pdflatex_sets_every_character(tmp_path):
    """All of Latin, Greek and the planes that titles take their signs from, a few hundred at a time."""
    every = "".join(
        map(chr, [*range(1, 0x250), *range(0x300, 0x400), *range(0x2000, 0x2300), 0x6F22, 0x1F600])
    )
    table = pd.DataFrame({"text": [SPECIAL, HOSTILE, *(every[i : i + 40] for i in range(0, len(every), 40))]})
    body = as_latex(table).replace("tabular", "longtable")
    (tmp_path / "x.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs,longtable}\\begin{document}"
        + body
        + "\\end{document}",
        encoding="utf-8",
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "x.tex"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False
    )
    assert done.returncode == 0, re.findall(r"^!.*", done.stdout, re.MULTILINE)


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = set(), ""

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def hostile(registries):
    """An architecture whose placement has a hostile title and source."""

    @st.placement("hostile", title=HOSTILE, source=HOSTILE)
    def one(x, net):
        return net.add(x, net.ffn(net.norm(net.add(x, net.attention(net.norm(x))))))

    return st.Architecture("hostile", **SIZE)


def test_what_notebooks_show_is_escaped(hostile, tmp_path, monkeypatch):
    from concurrent.futures import ThreadPoolExecutor

    run = {"progress": False, "device": "cpu"}
    ensemble = st.simulate(hostile, 2, **run)
    with ThreadPoolExecutor(1) as pool:
        swept = st.sweep([hostile], 2, pool, tmp_path / "<b>store</b>", **run)
    verified = st.verify(hostile, networks=3, **run)
    monkeypatch.setattr(st.Architecture, "__str__", lambda arch: HOSTILE)
    for result in (hostile, ensemble, swept, verified):
        page = _Tags()
        page.feed(result._repr_html_())
        assert not page.tags & {"script", "x"}, type(result)
        assert "<script>" in page.text or result in (hostile, swept)
    assert "&lt;b&gt;store" in swept._repr_html_()


def test_figures_show_titles_as_text(hostile):
    from spannorm_theory.plot.canvas.marks import placement_label

    figure, axes = plt.subplots()
    axes.set_title(placement_label("hostile"))
    figure.canvas.draw()
    plt.close(figure)
    st.plot.depth_profile(st.predict(hostile), "variance").figure.canvas.draw()
    st.plot.block_diagram("hostile").figure.canvas.draw()
    plt.close("all")
