"""Write a folder beside its target and rename it, so that the target is whole at every moment."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from ..base.errors import InputError


@contextmanager
def replacing(out: str | Path, mark: str, keep: str) -> Iterator[Path]:
    """A fresh folder that takes the place of ``out`` when the block ends well, and vanishes when it fails.

    Args:
        mark: a file that tells an earlier result of this program from anybody else's folder.
        keep: a folder inside ``out`` that stays; one that holds nothing else is an earlier result, too.

    Raises:
        InputError: ``out`` cannot be written, or holds something else.
    """
    target = Path(out).resolve()
    if target.exists() and not target.is_dir():
        raise InputError(f"cannot write the report to {out}: it is a file")
    if target.is_dir() and not {p.name for p in target.iterdir()} <= {keep} and not (target / mark).is_file():
        raise InputError(
            f"cannot write the report to {out}: the folder holds something else (no {mark} in it)"
        )
    staging, earlier = (
        target.with_name(f".{target.name}.{word}-{uuid4().hex[:8]}") for word in ("new", "old")
    )
    try:
        staging.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"cannot write the report to {out}: {error.strerror or error}") from None
    try:
        yield staging
        if target.exists():
            target.rename(earlier)
        try:
            if (earlier / keep).exists():
                (earlier / keep).rename(staging / keep)
            staging.rename(target)
        except BaseException:
            if earlier.exists():
                if (staging / keep).exists():
                    (staging / keep).rename(earlier / keep)
                earlier.rename(target)
            raise
    except OSError as error:
        raise InputError(f"cannot write the report to {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        shutil.rmtree(earlier, ignore_errors=True)
