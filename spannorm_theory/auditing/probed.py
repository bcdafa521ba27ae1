"""Fields of an architecture on which nothing depends that is measured of a user's module."""

from __future__ import annotations

from collections.abc import Iterable

from ..base.errors import InputError

#: fields of the loss, of a step and of training: networks are measured under a probe gradient, one sequence a
#: time, in evaluation mode
OF_TRAINING = (
    "loss", "head_gain", "logit_multiplier", "logit_cap", "tied_head", "embedding_multiplier",
    "batch", "dropout", "attention_dropout",
)  # fmt: skip
#: these and the fields of token ids, which a module's own inputs decide: no flags of ``spannorm audit``
NOT_READ = (*OF_TRAINING, "inputs", "vocabulary", "position_variance")


def require_probed(fields: Iterable[str]) -> None:
    """Refuse fields that nothing measured depends on.

    Raises:
        InputError: naming them.
    """
    unread = [name for name in fields if name in OF_TRAINING]
    if unread:
        raise InputError(
            "networks are measured under a probe gradient, one sequence a time, without dropout; leave out "
            f"{', '.join(unread)}"
        )
