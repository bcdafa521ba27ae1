"""Whether the entries of a matrix are what theory takes them for: independent draws of one law of mean zero.

Within a matrix: rows or columns that are zero, that repeat others, that are of several sizes, or that are
correlated, as those of a matrix of low rank are; a mean; a fourth moment above a Gaussian's. Between matrices
of one shape: entries at the same places, also of one turned over, that are correlated. What is named is far
beyond what independent draws of any law without heavy tails reach; large matrices are sampled where products
are taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

import torch

from .deviation import Deviation, blocks_in_words
from .structure import Structure

#: standard errors beyond which no draws are
BEYOND = 8.0
#: rows whose products are taken, and entries at which matrices are compared
ROWS, ENTRIES = 256, 4096
#: the fewest numbers of a row or column that say what its size is; one row alone is compared with none
FEWEST = 32
#: kurtosis above which tails count as heavy, a Gaussian's being 3
HEAVY = 3.3
#: distance up to which two directions are one, in float32
SAME = 1e-5

#: the names of the deviations: all matrices of some blocks are copies; some matrices are no draws
EQUAL, DRAWS = "equal blocks", "draws"


@dataclass(frozen=True)
class Oddity:
    """Matrices that are not independent draws of one law.

    Attributes:
        what: ``EQUAL`` or ``DRAWS``.
        layers: blocks that have it.
        words: what they are, without a full stop.
    """

    what: str
    layers: tuple[int, ...]
    words: str

    @property
    def deviation(self) -> Deviation:
        """As a thing that is not as expected."""
        end = (
            ", and are not independent draws" if self.what == EQUAL else ": not independent draws of one law"
        )
        return Deviation(self.what, self.layers, f"{self.words}{end}")


@dataclass(frozen=True)
class _Matrix:
    layer: int
    role: str
    numbers: torch.Tensor


def oddities(s: Structure) -> tuple[Oddity, ...]:
    """What is not an independent draw in the matrices of a module's blocks, a line for each role and kind."""
    matrices = list(_matrices(s))
    copied = tuple(_copies(matrices, s.called))
    within: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for one in matrices:
        found = _within(one.numbers)
        if found is not None:
            kind, words = found
            within.setdefault((one.role, kind), []).append((one.layer, words))
    single = []
    for (role, _), those in within.items():
        layers = tuple(sorted({layer for layer, _ in those}))
        where = blocks_in_words(layers, len(s.called))
        single.append(Oddity(DRAWS, layers, f"{role} of {where}: {those[0][1]}"))
    return (*copied, *single)


def _matrices(s: Structure) -> Iterator[_Matrix]:
    """Every matrix of the blocks, experts one by one; those that are zero are none."""
    modules = dict(s.blocks.modules)
    for layer, (path, own) in enumerate(zip(s.called, s.matrices, strict=True)):
        parameters = dict(modules[path].named_parameters())
        for part in own.parts:
            tensor = part.of(parameters[part.name].detach())
            for numbers in tensor if tensor.ndim == 3 else (tensor,):
                if bool(numbers.any()):
                    yield _Matrix(layer, part.role, numbers.float().cpu())


def _within(x: torch.Tensor) -> tuple[str, str] | None:
    """The first thing that tells a matrix from independent draws of one law: its kind, and words."""
    sides = ((x, "rows"), (x.mT, "columns"))
    for side, name in sides:
        zero = int((~side.any(1)).sum())
        if zero:
            return f"zero {name}", f"{zero} of {len(side)} {name} are zero"
    for side, name in sides:
        repeated = _repeated(side)
        if repeated:
            return f"repeated {name}", f"{repeated} of {len(side)} {name} are multiples of others"
    square = x.square()
    second = float(square.mean(dtype=torch.float64))
    mean = float(x.mean(dtype=torch.float64)) / second**0.5
    if abs(mean) > BEYOND / x.numel() ** 0.5:
        return "mean", f"entries have a mean, {mean:.2g} of their size"
    kurtosis = float((square / second).square().mean(dtype=torch.float64))
    compared = [one for one in sides if len(one[0]) > 1 and one[0].shape[1] >= FEWEST]
    found = [test for side, name in compared for test in _sides(side, name, kurtosis)]
    beyond, *named = max(found, default=(0.0, "", ""))
    if beyond > BEYOND:
        return named[0], named[1]
    error = 2 * (24 / x.numel()) ** 0.5  # twice that of a Gaussian's
    if kurtosis > HEAVY and kurtosis > 3 + BEYOND * error:
        return "heavy tails", f"heavy tails, a fourth moment {kurtosis / 3:.2g} times a Gaussian's"
    return None


def _sides(rows: torch.Tensor, name: str, kurtosis: float) -> Iterator[tuple[float, str, str]]:
    """What rows (or columns) show, by how many standard errors; kind, and words."""
    square = rows.square()
    sizes = square.mean(1).double() / float(square.mean(dtype=torch.float64))
    low, high = float(sizes.min()) ** 0.5, float(sizes.max()) ** 0.5
    words = f"{name} have several sizes, {low:.2g} to {high:.2g} times the whole matrix's"
    yield _spread(sizes, rows.shape[1], kurtosis), "sizes", words
    ratio, beyond = _alignment(rows)
    words = f"{name} are correlated, with squared cosines {ratio:.3g} times those of draws"
    yield beyond, "aligned", words


def _repeated(rows: torch.Tensor) -> int:
    """How many rows have the direction of one before them, or its opposite."""
    count, size = rows.shape
    if size < 8 or count < 2:
        return 0
    generator = torch.Generator().manual_seed(0)
    seen = rows.double() @ torch.randn(size, 3, generator=generator, dtype=torch.float64)
    seen = seen / torch.linalg.vector_norm(rows.double(), dim=1, keepdim=True)
    seen = seen * torch.sign(seen[:, :1])
    seen = seen[seen[:, 0].argsort()]
    equal = torch.zeros(count, dtype=torch.bool)
    for apart in (1, 2):  # another direction may be between two that are one
        equal[apart:] |= ((seen[apart:] - seen[:-apart]).abs() < SAME).all(1)
    return int(equal.sum())


def _spread(sizes: torch.Tensor, entries: int, kurtosis: float) -> float:
    """Standard errors by which mean squares of rows differ more than those of draws do."""
    count, share = len(sizes), max(kurtosis - 1, 0.1) / entries
    excess = float((sizes - 1).square().sum()) / share - count
    return excess / sqrt(2 * count * (1 + 6 / entries))


def _alignment(rows: torch.Tensor) -> tuple[float, float]:
    """Mean squared cosine of two rows over that of independent ones, and by how many standard errors it is
    more."""
    count, size = rows.shape
    if count > ROWS:
        rows = rows[torch.randperm(count, generator=torch.Generator().manual_seed(0))[:ROWS]]
    unit = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    squares = (unit @ unit.mT).triu(1).square()
    pairs = len(rows) * (len(rows) - 1) / 2
    total = float(squares.sum(dtype=torch.float64)) * size
    return total / pairs, (total - pairs) / (2 * pairs) ** 0.5


def _copies(matrices: Sequence[_Matrix], called: Sequence[str]) -> Iterator[Oddity]:
    """Matrices that are those of another one, up to a factor, and nearly: whole blocks, roles, experts; of
    blocks at the paths ``called``."""
    depth = len(called)
    roles = [{m.role for m in matrices if m.layer == layer} for layer in range(depth)]
    alike: dict[tuple[int, ...], list[str]] = {}
    experts: dict[str, set[int]] = {}
    mixed: dict[tuple[str, ...], set[int]] = {}
    for group in _groups(matrices):
        own, layers = tuple(dict.fromkeys(m.role for m in group)), {m.layer for m in group}
        if len(own) > 1:
            mixed.setdefault(own, set()).update(layers)
        elif len(layers) == 1:
            experts.setdefault(own[0], set()).update(layers)
        else:
            those = alike.setdefault(tuple(sorted(layers)), [])
            those += [] if own[0] in those else [own[0]]
    for equal, those in alike.items():
        where = blocks_in_words(equal, depth)
        if all(roles[layer] <= set(those) for layer in equal):
            one = len({called[layer] for layer in equal}) == 1
            how = "are one module" if one else "hold the same numbers: they were copied from one"
            yield Oddity(EQUAL, equal, f"{where[0].upper()}{where[1:]} {how}")
        else:
            yield _copied(", ".join(those), set(equal), depth)
    for role, found in experts.items():
        yield _copied(f"experts of {role}", found, depth)
    for several, found in mixed.items():
        yield _copied(" and ".join(several), found, depth)


def _copied(what: str, found: set[int], depth: int) -> Oddity:
    layers = tuple(sorted(found))
    where = blocks_in_words(layers, depth)
    return Oddity(DRAWS, layers, f"{what} of {where} are copies of one another")


def _groups(matrices: Sequence[_Matrix]) -> Iterator[list[_Matrix]]:
    """Matrices that are correlated with one another, at some entries that all of a shape are compared at."""
    shapes: dict[tuple[int, ...], list[_Matrix]] = {}
    for one in matrices:
        shapes.setdefault(tuple(sorted(one.numbers.shape)), []).append(one)
    for (short, long), those in shapes.items():
        generator = torch.Generator().manual_seed(0)
        rows, columns = (torch.randint(n, (ENTRIES,), generator=generator) for n in (short, long))
        centred = (m.numbers - m.numbers.mean() for m in those)  # a mean is another matter
        plain = [x if x.shape == (short, long) else x.mT for x in centred]
        seen = torch.stack([x[rows, columns] for x in plain])
        products = _correlations(seen, seen)
        if short == long:
            products = torch.maximum(
                products, _correlations(seen, torch.stack([x[columns, rows] for x in plain]))
            )
        reach = BEYOND * (1 / ENTRIES + 1 / (short * long)) ** 0.5
        first = (products > reach).int().fill_diagonal_(1).argmax(1).tolist()
        for root in dict.fromkeys(first):
            group = [one for one, own in zip(those, first, strict=True) if own == root]
            if len(group) > 1:
                yield group


def _correlations(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Absolute correlations of the rows of one with those of another, about zero."""
    lengths = [torch.linalg.vector_norm(x, dim=1).clamp_min(1e-30) for x in (one, other)]
    products: torch.Tensor = one @ other.mT / torch.outer(*lengths)
    return products.abs()
