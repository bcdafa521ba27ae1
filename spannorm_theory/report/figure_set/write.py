"""Write the standard set of figures, or make one again from its recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from matplotlib.transforms import Bbox
from tqdm import tqdm

from ...base import arguments
from ...base.errors import InputError, UnknownNameError
from ...base.files import make_folder, write_file
from ...base.interrupts import whole_results
from ...base.jsontext import to_json
from ...placement_pages.cells import architectures, groups
from ...placement_pages.pictures import slug
from ...plot.canvas.paper import RC, STYLES, paper, save
from ...prediction.positions import declined
from ...prediction.predict import fitting
from ...render.latex_table import write_latex
from ...spec.architecture import Architecture
from ..write import NETWORKS
from .cost import LONGEST, STEPS, announce
from .kinds import KINDS, Results, make
from .recipe import Recipe

FORMS = ("pdf", "svg", "png")

#: kinds by which figures are asked for: a collapse is drawn as a comparison
NAMED = (*KINDS, "rank-collapse")


#: placements of a figure of laws, and of one of widths or positions, at most
FEW, FEWER = 4, 2

#: largest depth and width of a figure of the first step, each of whose networks is differentiated in float64,
#: and the depth and width at which the other one is swept
STEP_DEPTH, STEP_WIDTH = 16, 256
SWEPT_DEPTH, SWEPT_WIDTH = 4, 128

#: shares of the depth, and of the width, at which further networks are measured
SHARES = (4, 2, 1)


def standard_set(archs: Sequence[Architecture], style: str, networks: int, seed: int) -> Iterator[Recipe]:
    """The recipes of every kind of figure: those of several placements have at most five curves a panel, and
    are as many as that takes."""

    def recipe(name: str, kind: str, chosen: Sequence[Architecture], **options: object) -> Recipe:
        return Recipe(name, kind, style, tuple(chosen), networks, seed, options)

    scalings = list(dict.fromkeys(arch.scaling for arch in archs))
    plain = [arch for arch in archs if arch.scaling == scalings[0] and arch.name != "no-norm"] or list(archs)
    few = plain[:FEW]
    closely = next((at for at, arch in enumerate(few) if arch.name == "span-norm"), 0)
    yield recipe("overview", "overview", few, first=closely)
    for end, some in groups(archs):
        quantities = ["variance", "grad_variance", "token_cosine"]
        yield recipe(f"comparison{end}", "comparison", some, quantities=quantities)
        yield recipe(
            f"rank-collapse{end}", "comparison", some, quantities=["rank_collapse", "effective_rank"]
        )
        for scaling in scalings:
            chosen = [arch for arch in some if arch.scaling == scaling]
            yield recipe(f"weight-gradients-{slug(scaling)}{end}", "weight-gradients", chosen)
            yield recipe(f"residuals-{slug(scaling)}{end}", "residuals", chosen)
            columns = {1: 1, 2: 2, 3: 3, 4: 2}.get(len(chosen), 3)
            yield recipe(f"spectra-{slug(scaling)}{end}", "spectra", chosen, columns=columns)
    nearest = [few[closely], *(arch for arch in few if arch is not few[closely])][:FEWER]
    yield recipe("finite-width", "finite-width", [one for arch in nearest for one in _narrower(arch)])
    quick = [arch for arch in few if fitting(arch) == "pair"]  # else a plane or 1024 blocks take too long
    if quick:
        yield recipe("laws", "laws", [one for arch in quick for one in _shallower(arch)])
        yield recipe("branch-map", "branch-map", [arch for arch in nearest if arch in quick][:1] or quick[:1])
    yield from _steps(archs, recipe)
    unlike = [arch.with_(mask="causal") if arch.exchangeable else arch for arch in nearest]
    covered = [arch for arch in unlike if not declined(arch)]
    if covered:
        yield recipe("positions", "positions", covered)
    for arch in archs:
        yield recipe(f"block-{slug(arch.placement)}-{slug(arch.scaling)}", "block", [arch])


def _steps(archs: Sequence[Architecture], recipe: Callable[..., Recipe]) -> Iterator[Recipe]:
    """Figures of the first step of the first few placements, by every rule, in small."""
    names = list(dict.fromkeys(arch.placement for arch in archs if arch.name != "no-norm"))[:FEW]
    chosen = [arch for arch in archs if arch.placement in names]
    shallow = [one for arch in chosen for one in _possible(arch, "depth", [min(arch.depth, STEP_DEPTH)])]
    small = [one for arch in shallow for one in _possible(arch, "width", [min(arch.width, STEP_WIDTH)])]
    if not small:
        return
    yield recipe(STEPS[0], STEPS[0], small)
    swept: dict[Architecture, None] = {}
    for arch in small:
        narrow = _possible(arch, "width", [min(arch.width, SWEPT_WIDTH)])
        swept |= dict.fromkeys(one for base in narrow for one in _shallower(base))
        flat = _possible(arch, "depth", [min(arch.depth, SWEPT_DEPTH)])
        swept |= dict.fromkeys(one for base in flat for one in _narrower(base))
    yield recipe(STEPS[1], STEPS[1], list(swept))


def _narrower(arch: Architecture) -> list[Architecture]:
    """An architecture at shares of its width that its heads divide."""
    widths = [arch.width // share for share in SHARES if arch.width % (share * arch.heads) == 0]
    return _possible(arch, "width", widths)


def _shallower(arch: Architecture) -> list[Architecture]:
    """An architecture at shares of its depth."""
    return _possible(arch, "depth", sorted({max(2, arch.depth // share) for share in SHARES}))


def _possible(arch: Architecture, field: str, values: Sequence[int]) -> list[Architecture]:
    """An architecture with each value of a field that its other fields allow."""
    found = []
    for value in values:
        with suppress(InputError):
            found.append(arch.with_(**{field: value}))
    return found


@whole_results()
def write_figures(
    out: str | Path,
    placements: Sequence[str] | str | None = None,
    scalings: Sequence[str] | str = ("unit", "depth-scaled-init"),
    depth: int = 48,
    width: int = 1024,
    heads: int = 16,
    tokens: int = 32,
    networks: int = NETWORKS,
    seed: int = 0,
    style: str = "icml",
    progress: bool = True,
    names: Sequence[str] | str | None = None,
    longest: float | None = LONGEST,
    files: Mapping[str, str] = MappingProxyType({}),
    **fields: Any,
) -> list[Path]:
    """Write the standard set for a venue: each figure as PDF, SVG and PNG, and its recipe as JSON.

    The recipe (architectures, seed, versions) and the caption are in each file's metadata too.
    ``verification.tex`` holds the outcome of every comparison, ready for LaTeX.

    Source: docs/figures.md.

    Args:
        out: a folder, made if it does not exist; files of the same names are replaced.
        placements: registered names; None takes the eight standard ones.
        scalings: registered scaling rules.
        depth, width, heads, tokens: L, d, H and n of every architecture.
        networks: independent networks of each case, at least 3.
        seed: of the networks.
        style: "neurips", "icml", "iclr", "tmlr", "talk" or "house".
        progress: say what the set costs, and show bars.
        names: of kinds of figures, as "comparison" or "block", or of one of the set, as
            "block-pre-norm-unit"; None makes all, and the table.
        longest: seconds that the networks may take, by an estimate from one of two blocks; None for any.
        files: where placements of yours are defined, ``FILE.py:NAME`` by placement: recipes hold it, so that
            ``spannorm figures --from`` finds them.
        fields: further fields of :class:`~spannorm_theory.Architecture`; standard placements that cannot have
            them are left out.

    Returns:
        the files.

    Raises:
        InputError: a name, size or folder that cannot be used, or networks that take too long.

    Example:
        >>> import spannorm_theory as st
        >>> st.write_figures("figures", ["pre-norm"], "unit", depth=4, width=64, heads=2)  # doctest: +SKIP
    """
    out, seed = arguments.path("out", out), arguments.seed(seed)
    style, networks = (
        arguments.choice("style", style, STYLES),
        arguments.whole("networks", networks, 3, why="for a standard error"),
    )
    archs = architectures(placements, scalings, depth, width, heads, tokens, **fields)
    recipes = [_filed(recipe, files) for recipe in standard_set(archs, style, networks, seed)]
    if names is not None:
        asked = [_asked(recipes, name) for name in arguments.names("names", names)]
        recipes = list({recipe.name: recipe for some in asked for recipe in some}.values())
    if longest is not None:
        longest = arguments.number("longest", longest)
    folder = make_folder(out)
    announce(recipes, longest, progress)
    results, written = Results(progress), []
    for recipe in tqdm(recipes, desc="figures", disable=not progress):
        written += write(recipe, folder, results)
    if names is not None:
        return written
    everything = replace(recipes[0], name="verification", architectures=tuple(archs))
    return [*written, write_latex(results.verifications(everything), folder / "verification.tex")]


def _asked(recipes: Sequence[Recipe], name: str) -> list[Recipe]:
    """The figures of a kind, or the one of a name.

    Raises:
        UnknownNameError: the set has neither; it names the kinds that it has.
    """
    kinds = {kind: [one for one in recipes if f"{one.name}-".startswith(f"{kind}-")] for kind in NAMED}
    found = kinds.get(name) or [recipe for recipe in recipes if recipe.name == name]
    if not found:
        raise UnknownNameError("kind of figure", name, [kind for kind, some in kinds.items() if some])
    return found


def _filed(recipe: Recipe, files: Mapping[str, str]) -> Recipe:
    """A recipe with the files of its placements."""
    own = {arch.name for arch in recipe.architectures}
    return replace(recipe, files={name: text for name, text in files.items() if name in own})


@whole_results()
def remake(path: str | Path, out: str | Path | None = None, progress: bool = False) -> list[Path]:
    """Make the figure of a recipe file again, beside it or in the folder ``out``; with the same versions on
    the same machine the files are the same, byte for byte. ``progress`` says what it costs, with a bar."""
    recipe = Recipe.read(path)
    if progress:
        announce([recipe], None, progress)
    return write(recipe, make_folder(Path(path).parent if out is None else out), Results(progress))


def write(recipe: Recipe, folder: Path, results: Results | None = None) -> list[Path]:
    """The files of one recipe."""
    drawing = make(recipe, results)
    figure, record = drawing.figure, {**recipe.to_dict(), "caption": drawing.caption}
    # the layout is the same in all forms: solve it once, where text is as wide as on paper
    figure.set_dpi(RC["savefig.dpi"])
    with paper():
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:  # the solver's last bits differ from run to run, and name clip paths in SVG
        axes.set_position(Bbox(axes.get_position(original=True).get_points().round(9)))
    line = to_json(record, separators=(",", ":"))
    files = [save(figure, folder / f"{recipe.name}.{form}", line) for form in FORMS]
    return [*files, write_file(folder / f"{recipe.name}.json", to_json(record, indent=1) + "\n")]
