"""``compare``: which of several architectures, in numbers, in words and as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..base import arguments
from ..base.interrupts import whole_results
from ..prediction.predict import THEORIES
from ..render.latex_table import as_latex
from ..spec.architecture import Architecture
from .candidates import Candidate, candidates
from .laws import laws as laws_of
from .measures import Measures, measures
from .page import deciding, html, text
from .simulated import Samples, simulated
from .sorting import columns, ordered, require_order
from .words import sentence

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: steps of the bar for a candidate: the theory, its laws, and two ensembles
STEPS = {"theory": 1, "laws": 1, "networks": 2}


@dataclass(frozen=True, repr=False)
class Comparison:
    """What :func:`compare` returns; rows, sentences and curves are in one order, the best first.

    Attributes:
        table: a row for each candidate; :func:`compare` says its columns.
        sentences: one for each.
        sort_by: what they are sorted by.
        networks: random networks behind the columns of Monte Carlo; 0 where there are none.

    Example:
        >>> import spannorm_theory as st
        >>> fields = {"depth": 8, "width": 64, "heads": 2, "tokens": 8}
        >>> found = st.compare(["post-norm", "pre-norm"], laws=False, progress=False, **fields)
        >>> len(found.sentences), found.sort_by
        (2, 'gradient')
    """

    table: pd.DataFrame
    sentences: tuple[str, ...]
    sort_by: str
    networks: int
    _measures: tuple[Measures, ...] = field(compare=False)
    _samples: tuple[Samples, ...] = field(compare=False)

    @property
    def architectures(self) -> tuple[Architecture, ...]:
        """The candidates."""
        return tuple(found.candidate.arch for found in self._measures)

    def figure(self, *, width: float | None = None) -> Figure:
        """The squared gradient norm and the token cosine against the block, of the first five candidates,
        each named at the end of its curve; Monte Carlo as points.

        Args:
            width: in inches; None for a column of the style in force.

        Returns:
            the figure.
        """
        from .figure import figure

        return figure(self._measures, self._samples, self.networks, width)

    def summary(self) -> str:
        """The table's main columns and the sentences, for a terminal.

        Returns:
            text of several lines.
        """
        return text(self.table, self.sentences)

    @property
    def deciding(self) -> list[str]:
        """Columns for a table in print: those of :data:`~.page.DECIDING` in which a candidate has a number;
        logarithms of a column that leaves float64's range."""
        return deciding(self.table)

    def latex(self, columns: Sequence[str] | str | None = None) -> str:
        r"""The table for a paper, with booktabs rules; :func:`~spannorm_theory.write_latex` writes it.

        Args:
            columns: which, in order; None takes the deciding ones.

        Returns:
            a ``tabular``.

        Raises:
            InputError: a column that the table does not have.

        Example:
            >>> import spannorm_theory as st
            >>> fields = {"depth": 4, "width": 64, "heads": 2, "tokens": 8}
            >>> found = st.compare("pre-norm", laws=False, progress=False, **fields)
            >>> print(found.latex(["candidate", "token_cosine"]).splitlines()[2])
            candidate & token cosine \\
        """
        names = self.deciding if columns is None else arguments.names("columns", columns)
        for name in names:
            arguments.choice("column", name, list(self.table.columns))
        return as_latex(self.table[names])

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        return html(self.table, self.sentences)


@whole_results()
def compare(
    archs: Architecture | str | Sequence[Architecture | str],
    *,
    like: str | None = None,
    sort_by: str = "gradient",
    networks: int | None = None,
    seed: int = 0,
    theory: str = "auto",
    laws: bool = True,
    progress: bool | None = None,
    **fields: Any,
) -> Comparison:
    """Candidates side by side: what becomes of signal and gradient at initialisation, in numbers.

        st.compare(["pre-norm", "span-norm@depth-scaled-init"], like="llama-3-8b", depth=200)

    Source: docs/comparing.md.

    Args:
        archs: architectures, their text forms, or ``placement[@rule] field=value ...``; without a rule that
            of ``like``, or "unit".
        like: a published model (:func:`~spannorm_theory.published`), or the file of a configuration, whose
            fields a text takes that says none.
        sort_by: "gradient" (by its largest ratio between layers), "collapse" (by the token cosine at the
            top), "variance", "branch_share" (the largest first), "given", or any other column of the table,
            the smallest first.
        networks: random networks of each candidate, at least 3; None for none.
        seed: of these.
        theory: that of :func:`~spannorm_theory.predict`; where it has no answer, or "auto" none within
            seconds, the row says why, and has the numbers of the layers that it reached.
        laws: derive large-depth laws, which takes seconds a placement.
        progress: False shows no bar; otherwise there is one after two seconds.
        fields: fields of :class:`~spannorm_theory.Architecture` that all take, but for those that a text says
            itself.

    Returns:
        a :class:`Comparison`, whose table has these columns. NaN is what the theory does not predict.

    Columns:
        candidate, placement, scaling, depth, width, tokens: of the architecture.
        squared_gradient: the squared norm of the gradient at the embedding over that at the model's output.
        gradient_ratio: the largest ratio of squared gradient norms between two layers.
        cosine_above_0.5, cosine_above_0.9: the first layer whose token cosine is above; NaN where none is.
        token_cosine, variance: at the top.
        branch_share: relative update of the last block.
        loss: before the first step of training, under a cross-entropy.
        logit_variance: second moment of the logits then.
        global_gradient_norm: a norm, then; and first_block_share: what the first block's weights have of
            its square.
        weight_ratio MATRIX: the squared norm of the last block's weight gradient over that of the first.
        forward_law, gradient_law, forward_from, gradient_from: laws and the depths from which they hold
            (:mod:`spannorm_theory.comparing.laws`).
        log_X: the natural logarithm of a column X that may leave float64's range.
        X_mc, X_se: mean over networks and its standard error, with ``networks``.
        theory: its name.
        problem: why there are no numbers, or not all.

    Raises:
        InputError: no candidate, one twice, or a name or field that no architecture can have.

    Example:
        >>> import spannorm_theory as st
        >>> fields = {"depth": 8, "width": 64, "heads": 2, "tokens": 8}
        >>> found = st.compare(["post-norm", "pre-norm"], laws=False, progress=False, **fields)
        >>> sorted(found.table["placement"])
        ['post-norm', 'pre-norm']
    """
    found = candidates(archs, like, fields)
    count = 0 if networks is None else arguments.whole("networks", networks, 3, why="for a standard error")
    seed, laws = arguments.seed(seed), arguments.flag("laws", laws)
    theory = arguments.choice("theory", theory, ("auto", *THEORIES))
    require_order(sort_by, columns([candidate.arch for candidate in found], laws, bool(count)))
    from tqdm.auto import tqdm

    steps = STEPS["theory"] + STEPS["laws"] * laws + STEPS["networks"] * bool(count)
    measured, samples, rows = [], [], []
    with tqdm(
        total=steps * len(found), desc="compare", delay=2, leave=False, disable=progress is False
    ) as bar:
        for candidate in found:
            own = measures(candidate, theory, progress is not False)
            bar.update()
            row = _row(candidate, own)
            if laws:
                row |= laws_of(candidate.arch)
                bar.update()
            drawn: Samples = {}
            if count:
                means, drawn = simulated(own, count, seed, bar.update)
                row |= means
            measured.append(own)
            samples.append(drawn)
            rows.append(row | {"theory": own.theory, "problem": own.problem})
    table = _arranged(pd.DataFrame(rows))
    best = ordered(table, sort_by)
    order = best.index.tolist()
    chosen = tuple(measured[i] for i in order)
    sentences = tuple(map(sentence, chosen))
    return Comparison(
        best.reset_index(drop=True), sentences, sort_by, count, chosen, tuple(samples[i] for i in order)
    )


def _row(candidate: Candidate, own: Measures) -> dict[str, Any]:
    return {"candidate": candidate.name, **candidate.arch.labels, **own.numbers}


def _arranged(table: pd.DataFrame) -> pd.DataFrame:
    """Laws and remarks behind all numbers, which not every row has."""
    names: list[str] = table.columns.tolist()
    last = [name for name in names if name.endswith(("_law", "_from")) or name in ("theory", "problem")]
    return table[[*(name for name in names if name not in last), *last]]
