"""What a user's file holds: the module, the function that makes one, or the placement of a command."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

#: a function of a file where a text names a placement, in front of its options, rule and fields; and a file
OF_A_FILE, A_FILE = re.compile(r".+?\.py:\w+"), re.compile(r"\.py(?=$|[\s:@(])")

#: arguments of commands that name placements, or begin with one
NAMING = ("placement", "placements", "candidates", "expected")


def loaded(text: str) -> Any:
    """The object ``NAME`` of a Python file, given as ``FILE.py:NAME``, or its ``build`` where NAME is left
    out; of a configuration, FILE.json, a function that makes the model that it builds.

    Raises:
        InputError: no such file or name, or a file that fails.
    """
    from ..base.errors import InputError, UnknownNameError

    file, _, name = text.rpartition(":") if ":" in text else (text, "", "")
    path = Path(file)
    if path.suffix == ".json":
        from ..auditing.configured import builder

        return builder(path)
    if path.suffix != ".py" or not path.is_file():
        raise InputError(f"expected FILE.py:NAME or a configuration, of a file that exists, got {text!r}")
    module = _module(path.resolve(), path.stat().st_mtime_ns)
    known = {key: value for key, value in vars(module).items() if not key.startswith("_") and callable(value)}
    if (name or "build") not in known:
        raise UnknownNameError(f"name in {path.name}", name or "build", known)
    return known[name or "build"]


@lru_cache(maxsize=64)
def _module(path: Path, changed: int) -> ModuleType:
    """A file's module, of one file the same, however it is spelt; ``changed`` is when it was written.

    Raises:
        InputError: it fails.
    """
    from importlib.util import module_from_spec, spec_from_file_location

    from ..base.callables import calling
    from ..base.errors import InputError, UnknownNameError

    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    try:
        with calling(spec.loader.exec_module, path.name, file=str(path)):
            spec.loader.exec_module(module)
    except UnknownNameError:
        raise
    except InputError as error:  # of what the file registers; others say their place
        raise InputError(str(error) if path.name in str(error) else f"{path.name}: {error}") from None
    finally:
        sys.path.remove(str(path.parent))
    return module


def name_placements(args: argparse.Namespace) -> None:
    """Put registered names in the place of ``FILE.py:NAME`` wherever a command's arguments name placements;
    ``args.files`` keeps these texts by name.

    Raises:
        InputError: no such file or function, or one that is no block.
    """
    args.files = {}
    for argument in NAMING:
        given = getattr(args, argument, None)
        if isinstance(given, str):
            setattr(args, argument, named(given, args.files))
        elif isinstance(given, list):
            setattr(args, argument, [named(text, args.files) for text in given])


def named(text: str, files: dict[str, str]) -> str:
    """A text that begins with a placement, whose ``FILE.py:NAME`` is replaced by the name of it, and goes to
    ``files`` under that.

    Raises:
        InputError: no such file or function, or one that is no block.
    """
    file = OF_A_FILE.match(text)
    if file is not None:
        name = placement_of(file[0])
        files[name] = file[0]
        return name + text[file.end() :]
    if A_FILE.search(text):
        from ..base.errors import InputError

        raise InputError(f"expected FILE.py:NAME, NAME a placement's function, got {text!r}")
    return text


def placement_of(text: str) -> str:
    """The name of the placement that a function of a file defines, given as ``FILE.py:NAME``: the one that it
    is registered under, or else its own, with dashes.

    Raises:
        InputError: no such file or function, one that is no block, or whose name another placement has.
    """
    from ..base.errors import InputError
    from ..spec.placement import PLACEMENTS, placement

    function = loaded(text)
    known = next((entry.name for entry in PLACEMENTS.values() if entry.function is function), None)
    if known is not None:
        return known
    name = text.rpartition(":")[2].replace("_", "-")
    if name in PLACEMENTS:
        raise InputError(
            f"{text} would be called {name!r}, as a placement already is; give the function another name"
        )
    placement(name, title=name, source=text)(function)
    return name


def load_files(recipe: str, files: Mapping[str, str]) -> None:
    """Register the placements of a recipe that files define, but for those that are registered.

    Raises:
        InputError: no such file or function, with what to give.
    """
    from ..base.errors import InputError
    from ..spec.placement import PLACEMENTS

    for name, text in files.items():
        if name in PLACEMENTS:
            continue
        try:
            placement_of(text)
        except InputError as error:
            raise InputError(
                f"{recipe} draws {name!r}, of {text}; say where it is now, as figures --from {recipe} "
                f"FILE.py:NAME: {error}"
            ) from None
