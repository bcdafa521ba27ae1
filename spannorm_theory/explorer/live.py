"""What the page's worker asks: a placement that a reader has typed in, derived and predicted.

Questions and answers are JSON, so that the worker, Node and CPython ask alike.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from typing import Any

from ..base.errors import SpannormError
from ..base.jsontext import to_json
from ..gaussian.activations import ACTIVATIONS
from ..spec.architecture import Architecture
from ..spec.placements import PLACEMENTS
from ..spec.scalings import SCALINGS
from .curves import curves
from .formulas import diagram, formulas

#: the name of the reader's text in messages
FILE = "<definition>"

#: the library, as the reader's text calls it
LIBRARY = "st"


class Session:
    """What the reader's text has registered, until another text comes."""

    def __init__(self) -> None:
        self._code = ""
        self._registered = ExitStack()

    def define(self, code: str) -> None:
        """Forget what an earlier text has registered, and run this one; the same text is not run again."""
        if code == self._code:
            return
        self._registered.close()
        self._code = ""
        with ExitStack() as registered:  # a text that fails registers nothing
            for registry in (PLACEMENTS, SCALINGS, ACTIVATIONS):
                registered.enter_context(registry.temporarily())
            library = import_module(__name__.partition(".")[0])
            exec(compile(code, FILE, "exec"), {LIBRARY: library, "__name__": "definition"})
            self._registered = registered.pop_all()
        self._code = code


def _curves(arch: Architecture) -> dict[str, Any]:
    return {"arch": str(arch), "depth": arch.depth, "curves": curves(arch)}


def _formulas(arch: Architecture) -> dict[str, Any]:
    return formulas(arch.placement, arch.scaling)


def _diagram(arch: Architecture) -> dict[str, Any]:
    return {"svg": diagram(arch.placement, arch.scaling)}


#: what can be asked of an architecture
QUESTIONS: dict[str, Callable[[Architecture], dict[str, Any]]] = {
    "curves": _curves,
    "formulas": _formulas,
    "diagram": _diagram,
}

_SESSION = Session()


def answer(question: str, request: str) -> str:
    """Answer a question of :data:`QUESTIONS` as JSON.

    Args:
        request: JSON with "code", Python that registers placements, and "arch", an architecture's text form.

    Returns:
        "arch", "depth" and "curves"; or the formulas; or "svg"; or "error", in one line.
    """
    asked = json.loads(request)
    try:
        _SESSION.define(asked["code"])
        return to_json(QUESTIONS[question](Architecture.parse(asked["arch"])))
    except SpannormError as error:
        return to_json({"error": str(error)})
    except Exception as error:  # the reader's text may raise anything
        words = error.msg if isinstance(error, SyntaxError) else error
        return to_json({"error": f"{type(error).__name__}: {words}{_line(error)}"})


def _line(error: Exception) -> str:
    """Where in the reader's text an error arose; empty where it was not there."""
    trace, found = error.__traceback__, getattr(error, "lineno", None)
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILE:
            found = trace.tb_lineno
        trace = trace.tb_next
    return "" if found is None else f" (line {found} of the definition)"
