"""The page in a browser: curves, links, keyboard, phone, light and dark, files; its console stays empty."""

from __future__ import annotations

import base64
import functools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from devtools import CHROMIUM, Browser, chromium
from test_live import MINE, pyodide

import spannorm_theory as st
from spannorm_theory.explorer.designs import SIZES, shown_layers
from spannorm_theory.explorer.write import write_explorer
from spannorm_theory.placement_pages.pictures import slug

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")

THREE = "#d=siamese-norm.unit.96.swiglu.causal&d=pre-norm.unit.48.gelu.none&d=pre-norm.unit.48.gelu.causal"
BROKEN = "#d=nothing&d=post-norm.x.7..&view=%E2&at=-3&matrix=q&cosine=&code=%"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_explorer(tmp_path_factory.mktemp("explorer"))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def browser(running: Browser) -> Iterator[Browser]:
    """The browser, whose pages must not have complained when a test ends."""
    running.complaints.clear()
    yield running
    running.run("0")  # what happened until now is noted
    assert running.complaints == []


def address(folder: Path, link: str = "") -> str:
    return (folder / "index.html").as_uri() + link


def test_the_page_leads_to_the_documentation(browser: Browser, folder: Path, tmp_path: Path) -> None:
    browser.open(address(folder, THREE))
    assert browser.run("document.getElementById('home').hidden")
    assert browser.run("document.querySelectorAll('a[href*=catalogue]').length") == 0
    browser.open(address(write_explorer(tmp_path, documentation="../"), THREE))
    found = browser.run("[...document.querySelectorAll('a')].map(one => one.getAttribute('href'))")
    assert found[0] == "../index.html"
    placements = [f"../catalogue/placements/{slug(name)}.html" for name in ("siamese-norm", "pre-norm")]
    assert set(placements) | {"../catalogue/rules/unit.html"} <= set(found)
    names = list(st.placements())
    assert browser.run(
        f"{json.dumps(names)}.map(name => inCatalogue('placements', name, '').split('\"')[1])"
    ) == [f"../catalogue/placements/{slug(name)}.html" for name in names]


def chosen(browser: Browser) -> list[str]:
    """Everything that a link has to hold: choices, panels, values."""
    return list(
        browser.run(
            "[...document.querySelectorAll('select')].map(s => s.value).concat("
            "[...document.querySelectorAll('.panel svg, .values, #where, #code, #arch')].map("
            "e => e.getAttribute('aria-label') || e.value || e.textContent))"
        )
    )


def change(browser: Browser, element: str, value: str) -> None:
    browser.run(
        f"(e => {{ e.value = {json.dumps(value)}; for (const kind of ['input', 'change'])"
        f" e.dispatchEvent(new Event(kind, {{ bubbles: true }})); }})(document.querySelector({element!r}))"
    )


@pytest.mark.exact
def test_a_fresh_page_shows_the_gradient_of_spannorm_at_48_blocks(browser: Browser, folder: Path) -> None:
    browser.open(address(folder))
    assert browser.run("document.querySelectorAll('.panel path.curve').length") == 12
    table = st.predict(st.Architecture("span-norm", "depth-scaled-init", depth=48, **SIZES))
    first = table[(table["quantity"] == "grad_variance") & (table["layer"] == 0)]["value"].iloc[0]
    values = browser.run("document.querySelector('[data-panel=gradient] .values').textContent")
    assert values.split()[:2] == ["A", f"{first:.3g}"]
    shown = browser.run("document.querySelector('#findings .here + td, #findings td.here').textContent")
    assert shown == f"{first:.3g}"


def test_a_curve_is_drawn_where_its_values_are(browser: Browser, folder: Path) -> None:
    browser.open(address(folder, "#d=post-norm.unit.48.gelu.none&view=gradient"))
    points = browser.run(
        "(() => { const lines = series(drawn(state, null), 'gradient', ''), svg = "
        "document.querySelector('.panel svg'); const box = frame(lines, +svg.getAttribute('width'), "
        "+svg.getAttribute('height'), true); const d = document.querySelector('path.curve')"
        ".getAttribute('d').split(/[ML]/).slice(1).map(p => p.split(',').map(Number));"
        "return d.map(([x, y], i) => [lines[0].points[i].y, box.low + (box.high - box.low) * "
        "(1 - (y - MARGIN.top) / box.inner.h)]); })()"
    )
    table = st.predict(st.Architecture("post-norm", depth=48, **SIZES))
    logs = table[table["quantity"] == "grad_variance"]["log_value"].to_numpy()[shown_layers(48)] / np.log(10)
    span = logs.max() - logs.min()
    assert [value for value, _ in points] == pytest.approx(logs, abs=1e-4)
    assert [drawn for _, drawn in points] == pytest.approx(logs, abs=span / 1000)


def test_a_link_holds_the_whole_state(browser: Browser, folder: Path) -> None:
    browser.open(address(folder))
    change(browser, "[data-design='2'][data-field=placement]", "siamese-norm")
    change(browser, "[data-design='2'][data-field=depth]", "96")
    change(browser, "[data-design='0'][data-field=mask]", "causal")
    browser.run("document.querySelector('[data-cosine]').click()")
    change(browser, "[data-matrix]", "attn.value")
    change(browser, "#at", "5")
    change(browser, "#code", MINE)
    change(browser, "#arch", "mine unit depth=200")
    link, before = browser.run("location.hash"), chosen(browser)
    assert "siamese-norm.unit.96.gelu.none" in link
    browser.open(address(folder, link))
    assert chosen(browser) == before
    assert browser.run("location.hash") == link


@pytest.mark.parametrize("link", ["#", BROKEN, "#d=toString.a.b.c.d"])
def test_a_broken_link_shows_what_there_is(link: str, browser: Browser, folder: Path) -> None:
    browser.open(address(folder, link))
    assert browser.run("document.querySelectorAll('.panel path.curve').length") >= 4


def test_the_keyboard_moves_the_layer_and_keeps_its_place(browser: Browser, folder: Path) -> None:
    browser.open(address(folder))
    browser.run("document.getElementById('at').focus()")
    browser.press("ArrowRight")
    browser.press("ArrowRight")
    assert browser.run("[state.at, document.activeElement.id]") == [2, "at"]
    assert browser.run("document.getElementById('where').textContent") == "at layer 2 of 48"
    browser.run("document.querySelector('[data-design=\"0\"][data-field=depth]').focus()")
    browser.press("ArrowDown")
    browser.wait("state.designs[0].depth === '96'")
    assert browser.run("document.activeElement.dataset.field") == "depth"


@pytest.mark.parametrize("link", ["", THREE, "#view=cosine", "#view=weights"])
def test_a_phone_shows_all_without_scrolling_sideways(link: str, browser: Browser, folder: Path) -> None:
    browser.open(address(folder, link), width=390)
    browser.run("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert browser.run("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("dark", [False, True])
def test_every_colour_stands_out_from_its_paper(dark: bool, browser: Browser, folder: Path) -> None:
    browser.open(address(folder), dark=dark)
    paper = browser.run("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(23, 25, 29)" if dark else "rgb(255, 255, 255)")
    least = browser.run(
        "Math.min(...Object.values(GRID.placements).map(look => contrast(channels("
        f"{'onDark(look.colour)' if dark else 'look.colour'}), channels("
        f"{'DARK_PAPER' if dark else repr('#ffffff')}))))"
    )
    assert least >= (5 if dark else 2)
    browser.run("switchLight()")
    assert browser.run("getComputedStyle(document.body).backgroundColor") != paper


@pytest.mark.parametrize("link", ["", THREE, THREE + "&view=gradient&at=7"])
def test_files_hold_what_is_shown(link: str, browser: Browser, folder: Path) -> None:
    browser.open(address(folder, link))
    curves = browser.run("document.querySelectorAll('.panel path.curve').length")
    root = ElementTree.fromstring(browser.run("figureSvg(state, drawn(state, live))"))
    space = {"svg": "http://www.w3.org/2000/svg"}
    assert len(root.findall(".//svg:path[@class='curve']", space)) == curves
    assert "light-dark" not in ElementTree.tostring(root, "unicode")
    png = browser.run(
        "figurePng(state, drawn(state, live)).then(blob => new Promise(done => {"
        " const reader = new FileReader(); reader.onload = () => done(reader.result.split(',')[1]);"
        " reader.readAsDataURL(blob); }))"
    )
    assert base64.b64decode(png).startswith(b"\x89PNG")
    table = pd.read_csv(StringIO(browser.run("figureCsv(drawn(state, live))")))
    designs = browser.run("drawn(state, live).map(one => one.words)")
    assert list(table["design"].unique()) == designs
    assert {"variance", "grad_variance", "token_cosine", "weight_grad_norm"} == set(table["quantity"])


def test_opened_as_a_file_it_says_why_there_is_no_live_theory(browser: Browser, folder: Path) -> None:
    browser.open(address(folder))
    assert browser.run("document.getElementById('run').disabled")
    assert "http.server" in browser.run("document.getElementById('status').textContent")


def test_a_runtime_that_is_not_there_is_said(browser: Browser, tmp_path: Path) -> None:
    with served(write_explorer(tmp_path, runtime="nowhere/")) as base:
        browser.open(f"{base}/index.html")
        browser.run("document.getElementById('run').click()")
        browser.wait("document.getElementById('status').className === 'bad'")
        assert "could not be loaded" in browser.run("document.getElementById('status').textContent")
    browser.run("0")
    browser.complaints.clear()  # that the file is not there


def test_a_placement_that_is_typed_in_is_drawn(browser: Browser, tmp_path: Path) -> None:
    runtime = pyodide()
    (tmp_path / "pyodide").symlink_to(runtime)
    link = f"#code={quote(MINE)}&arch={quote('mine unit depth=12 mask=none')}"
    with served(write_explorer(tmp_path, runtime="pyodide/")) as base:
        browser.open(f"{base}/index.html{link}")
        browser.run("document.getElementById('run').click()")
        browser.wait("document.getElementById('status').className", patience=600)
        assert browser.run("document.getElementById('status').className") == "good"
    assert browser.run("document.querySelectorAll('.panel path[data-letter=Y]').length") == 4
    assert browser.run("document.querySelectorAll('#derived math').length") > 4


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a web server for a folder."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
