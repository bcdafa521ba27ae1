"""What a user's file holds: the module, or the function that makes one, that a command names."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def loaded(text: str) -> Any:
    """The object ``NAME`` of a Python file, given as ``FILE.py:NAME``, or its ``build`` where NAME is left
    out; of a configuration, FILE.json, a function that makes the model that it builds.

    Raises:
        InputError: no such file or name, or a file that fails.
    """
    from importlib.util import module_from_spec, spec_from_file_location

    from ..base.callables import calling
    from ..base.errors import InputError, UnknownNameError

    file, _, name = text.rpartition(":") if ":" in text else (text, "", "")
    path = Path(file)
    if path.suffix == ".json":
        from ..auditing.configured import builder

        return builder(path)
    if path.suffix != ".py" or not path.is_file():
        raise InputError(f"expected FILE.py:NAME or a configuration, of a file that exists, got {text!r}")
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    try:
        with calling(spec.loader.exec_module, str(path)):
            spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    known = {key: value for key, value in vars(module).items() if not key.startswith("_") and callable(value)}
    if (name or "build") not in known:
        raise UnknownNameError(f"name in {path.name}", name or "build", known)
    return known[name or "build"]


def placement_of(text: str) -> str:
    """The name of the placement that a function of a file defines, given as ``FILE.py:NAME``: the one that it
    is registered under, or else its own, with dashes.

    Raises:
        InputError: no such file or function, or one that is no block.
    """
    from ..base.errors import InputError
    from ..spec.placement import PLACEMENTS, placement

    if ":" not in text:
        raise InputError(f"expected FILE.py:NAME, NAME a placement's function, got {text!r}")
    function = loaded(text)
    known = next((entry.name for entry in PLACEMENTS.values() if entry.function is function), None)
    if known is not None:
        return known
    name = text.rpartition(":")[2].replace("_", "-")
    placement(name, title=name, source=text)(function)
    return name
