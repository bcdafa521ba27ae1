"""The parts of a sweep: a specification, cut into cells that are each a pure function of their text.

Architectures are imported where they are made: a worker that reads cells does not need them.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
import json
import math
import tomllib
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base import arguments
from ..base.errors import InputError, UnknownNameError, shown
from .records import list_of, one_of, read_record, whole, written

if TYPE_CHECKING:
    from ..spec.architecture import Architecture

#: networks of one cell where the specification leaves it open
CHUNK = 16
#: cells of one sweep: each is a file in one folder
MOST_CELLS = 1_000_000
ENGINES = ("auto", "explicit", "implicit")
DTYPES = ("float32", "float64", "bfloat16")
#: the kinds of device; each draws random numbers of its own, so a cell names one
DEVICES = ("cpu", "cuda")

_NAMES = {"engine": one_of(ENGINES), "dtype": one_of(DTYPES), "device": one_of(DEVICES)}
#: the entries of a cell's text form, and of a specification's
_CELL = {"arch": written, "seed": whole(0), "first": whole(0), "count": whole(1), **_NAMES}
_SPECIFICATION = {
    "archs": list_of(written),
    "networks": whole(1),
    "chunk": whole(1),
    "seeds": list_of(whole(0)),
    "imports": list_of(written),
    **_NAMES,
}


@dataclass(frozen=True)
class Cell:
    """Networks ``first`` to ``first + count - 1`` of the ensemble that ``seed`` gives ``arch``.

    Attributes:
        arch: the architecture's text form.
        device: "cpu" or "cuda"; the same seed gives other networks on the other kind.
    """

    arch: str
    seed: int
    first: int
    count: int
    engine: str
    dtype: str
    device: str

    @property
    def text(self) -> str:
        """The canonical text form; :meth:`parse` is its inverse."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @property
    def key(self) -> str:
        """A hash of the text form, the same in every process: the name of the cell's file."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:32]

    @classmethod
    def parse(cls, text: str) -> Cell:
        """The cell of a text form.

        Raises:
            InputError: the text is not one that :attr:`text` made.
        """
        try:
            cell = cls(**read_record(text, _CELL))
        except ValueError:
            raise InputError(f"expected the text form of a cell, got {text[:80]!r}") from None
        if cell.text != text:
            raise InputError(f"expected the text form of a cell, got {text[:80]!r}")
        return cell


@dataclass(frozen=True)
class Specification:
    """The specification of a sweep: all that it was asked for.

    Attributes:
        archs: text forms of the architectures.
        networks: independent networks of each architecture and seed, a multiple of ``chunk``.
        chunk: networks of one cell.
        imports: modules that workers import first; they register placements, scaling rules or
            activations that ``archs`` name.
    """

    archs: tuple[str, ...]
    networks: int
    chunk: int
    seeds: tuple[int, ...]
    engine: str
    dtype: str
    device: str
    imports: tuple[str, ...] = ()

    def cells(self) -> list[Cell]:
        """Every cell, architecture by architecture, so that chunks of one ensemble are neighbours."""
        return [
            Cell(arch, seed, first, self.chunk, self.engine, self.dtype, self.device)
            for arch in self.archs
            for seed in self.seeds
            for first in range(0, self.networks, self.chunk)
        ]

    @property
    def text(self) -> str:
        """The canonical text form."""
        return json.dumps(asdict(self), sort_keys=True, indent=1)

    @property
    def key(self) -> str:
        """A hash of the text form."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:32]

    @classmethod
    def parse(cls, text: str) -> Specification:
        """The inverse of :attr:`text`.

        Raises:
            ValueError: the text is not one that :attr:`text` made.
        """
        values = read_record(text, _SPECIFICATION)
        for name in ("archs", "seeds", "imports"):
            values[name] = tuple(values[name])
        return cls(**values)


def specify(
    archs: Iterable[Architecture | str] | Architecture | str | Mapping[str, Any],
    *,
    networks: int = 64,
    chunk: int | None = None,
    seed: int | Iterable[int] = 0,
    engine: str = "auto",
    dtype: str = "float32",
    device: str = "auto",
    imports: Sequence[str] = (),
) -> Specification:
    """Check what a sweep is asked for.

    Args:
        archs: architectures or their text forms, or a grid: fields of ``Architecture``, each with a value or
            a list of values, of which every combination is taken.
        chunk: networks of one cell; None takes 16, or all where there are fewer.
        seed: one seed, or several, each of which gives every architecture ``networks`` of its own.

    Raises:
        InputError: a value that cannot be used, or an architecture or seed that comes twice.
    """
    from ..spec.arguments import architectures

    _import(imports)
    listed = grid(archs) if isinstance(archs, Mapping) else architectures(archs)
    if not listed:
        raise InputError("a sweep needs at least one architecture")
    listed_seeds = [seed] if isinstance(seed, str) or not isinstance(seed, Iterable) else list(seed)
    seeds = tuple(map(arguments.seed, listed_seeds))
    if not seeds:
        raise InputError("a sweep needs at least one seed")
    networks = arguments.whole("networks", networks, 1)
    chunk = min(CHUNK, networks) if chunk is None else arguments.whole("chunk", chunk, 1)
    if networks % chunk:
        near = max(chunk, networks // chunk * chunk)
        raise InputError(
            f"networks must be a multiple of chunk, got {networks} and {chunk}; take {near} or {near + chunk}"
        )
    engine = arguments.choice("engine", engine, ENGINES)
    dtype = arguments.choice("dtype", dtype, DTYPES)
    device = arguments.choice("device", arguments.device(device), ("auto", *DEVICES))
    _require_few(len(listed) * len(seeds) * (networks // chunk))
    texts = tuple(str(arch) for arch in listed)
    _refuse_duplicates("architecture", texts)
    _refuse_duplicates("seed", seeds)
    return Specification(texts, networks, chunk, seeds, engine, dtype, _device_kind(device), tuple(imports))


def _import(modules: Sequence[str]) -> None:
    if isinstance(modules, str):
        raise InputError(f"imports must be a list of modules, got {shown(modules)}")
    for module in arguments.names("imports", modules):
        try:
            import_module(module)
        except (Exception, SystemExit) as error:  # whatever a user's own module does
            raise InputError(f"imports: cannot import {module!r}: {_where(error)}") from None


def _where(error: BaseException) -> str:
    """An error of somebody's own code with the file and line that it comes from."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "importlib" not in frame.filename and frame.filename != __file__]
    place = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {str(error)[:200]}{place}"


def _require_few(cells: int) -> None:
    """Refuse, before they are made, more cells than a store is good for."""
    if cells > MOST_CELLS:
        raise InputError(
            f"a sweep of {cells:,} cells is too large; up to {MOST_CELLS:,} fit: take fewer values or "
            "networks, a larger chunk, or several sweeps, which may share a store"
        )


def _refuse_duplicates(kind: str, values: Sequence[object]) -> None:
    seen: set[object] = set()
    for value in values:
        if value in seen:
            raise InputError(f"the {kind} {value} comes twice in the sweep; its cells would be duplicates")
        seen.add(value)


def _device_kind(name: str) -> str:
    if name != "auto":
        return name
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def grid(values: Mapping[str, Any]) -> list[Architecture]:
    """Every combination of the given values, the last field varying fastest; ``like``, of a published model
    or the file of a configuration, says the fields that are not given.

    Raises:
        InputError: an unknown field, or a combination that no architecture can have.
    """
    from ..spec.architecture import Architecture
    from ..spec.fields import require_fields

    values = dict(values)
    like = values.pop("like", None)
    require_fields(values)
    axes = [
        arguments.items(name, v, "values") if isinstance(v, Iterable) and not isinstance(v, str) else [v]
        for name, v in values.items()
    ]
    _require_few(math.prod(map(len, axes)))
    cells = [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*axes)]
    if like is None:
        return [Architecture.from_dict(cell) for cell in cells]
    from ..models.named import named

    return [named(like, **cell).arch for cell in cells]


#: what a specification file may hold beside ``grid`` and ``architecture``
OPTIONS = ("networks", "chunk", "seed", "seeds", "engine", "dtype", "device", "imports")


def read_specification(path: str | Path, **overrides: Any) -> Specification:
    """The specification of a TOML file: options, one table ``[grid]`` and any ``[[architecture]]``.

    Raises:
        InputError: the file cannot be read, is not TOML, or holds an unknown field.
    """
    from ..spec.architecture import Architecture

    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:  # not TOML, not text, or a number of thousands of digits
        raise InputError(f"{path} is not TOML: {error}") from None
    known = (*OPTIONS, "grid", "architecture")
    for key in values:
        if key not in known:
            raise UnknownNameError("field of a sweep", key, known)
    if "seed" in values and "seeds" in values:
        raise InputError(f"{path} has both seed and seeds; keep one")
    table, listed = values.pop("grid", {}), values.pop("architecture", [])
    if not isinstance(table, Mapping) or not isinstance(listed, list):
        raise InputError(f"{path}: write one table [grid], and each architecture as [[architecture]]")
    if "seeds" in values:
        values["seed"] = values.pop("seeds")
    for architecture in listed:
        if not isinstance(architecture, Mapping):
            raise InputError(f"{path}: write each architecture as a table [[architecture]]")
    _import(values.get("imports", ()))  # before names that they register are looked up
    archs = [*(grid(table) if table else []), *(Architecture.from_dict(a) for a in listed)]
    return specify(archs, **{**values, **overrides})


def fields_of(arch: str) -> dict[str, Any]:
    """The fields that an architecture's text form gives, defaults included, without building it: a store
    may name definitions that are not registered here."""
    from ..spec.architecture import Architecture

    words = arch.split()
    values = {f.name: f.default for f in fields(Architecture) if f.init}
    values.update(zip(("placement", "scaling"), words, strict=False))
    for word in words[2:]:
        key, _, value = word.partition("=")
        try:
            values[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            values[key] = value
    return values
