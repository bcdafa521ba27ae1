"""A model that was read: its architecture, where it came from, and what of it is not modelled."""

from __future__ import annotations

from dataclasses import dataclass, fields
from html import escape
from typing import Any

from ..spec.architecture import Architecture
from ..spec.fields import Fields
from .effects import SHORT

#: the fields that are said whatever they are
ALWAYS = ("placement", "scaling", "depth", "width", "heads", "tokens")


@dataclass(frozen=True)
class Gap:
    """A feature of a model that its architecture does not have, with what leaving it out is known to do.

    Attributes:
        feature: what the model has, in words.
        effect: what is known of leaving it out.
        gradients: the matrices whose weight gradients are all that it changes; empty where it may change
            anything.

    Example:
        >>> import spannorm_theory as st
        >>> st.model("bloom-176b", tokens=32).gaps[-1].feature
        'ALiBi'
    """

    feature: str
    effect: str
    gradients: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.feature}: {self.effect}"

    @property
    def below_noise(self) -> bool:
        """Whether leaving it out was measured to change nothing that could be seen."""
        return self.effect == SHORT


@dataclass(frozen=True)
class Model:
    """The result of :func:`.reader.from_config` and :func:`.registry.model`.

    Attributes:
        arch: the architecture, as far as one can say it.
        name: the name of a published model, or the model type of a configuration.
        source: where the configuration came from.
        gaps: what matters and is not in ``arch``, each with its effect.
        notes: what is not in ``arch`` and has no effect on what is predicted, and keys that were not read.

    Example:
        >>> import spannorm_theory as st
        >>> st.model("gpt2").name
        'gpt2'
    """

    arch: Architecture
    name: str
    source: str
    gaps: tuple[Gap, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON.

        Returns:
            ``name``, ``source``, ``architecture`` (text form), ``fields``, ``gaps``, each with ``feature``
            and ``effect``, and ``notes``.
        """
        return {
            "name": self.name,
            "source": self.source,
            "architecture": str(self.arch),
            "fields": self.arch.to_dict(),
            "gaps": [{"feature": gap.feature, "effect": gap.effect} for gap in self.gaps],
            "notes": list(self.notes),
        }

    def text(self) -> str:
        """The fields that are not the default, each gap and note, and the text form of the architecture.

        Returns:
            text of several lines.
        """
        lines = [f"{self.name}: {self.source}"]
        lines += [f"  {name:18s} {value}" for name, value in self.said.items()]
        lines += [f"not modelled: {gap}" for gap in self.gaps]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join([*lines, str(self.arch)])

    @property
    def said(self) -> dict[str, Any]:
        """Placement and scaling, and the fields that are not the default."""
        standard = {f.name: f.default for f in fields(Fields)}
        values = self.arch.to_dict()
        return {name: value for name, value in values.items() if value != standard[name] or name in ALWAYS}

    def _repr_html_(self) -> str:
        """The fields of the architecture, and the gaps below them."""
        gaps = "".join(
            f"<tr><td>{escape(gap.feature)}</td><td>{escape(gap.effect)}</td></tr>" for gap in self.gaps
        )
        table = f"<table><tr><th>not modelled</th><th>effect</th></tr>{gaps}</table>" if gaps else ""
        return f"<p>{escape(self.name)}: {escape(self.source)}</p>{self.arch._repr_html_()}{table}"
