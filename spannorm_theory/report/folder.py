"""Write a folder beside its target and rename it, so that the target is whole at every moment."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from ..base.errors import InputError
from ..base.files import abandoned, locked


@contextmanager
def replacing(out: str | Path, mark: str, keep: str) -> Iterator[Path]:
    """A fresh folder that takes the place of ``out`` when the block ends well, and vanishes when it fails.

    A run that was killed leaves such a folder behind; the next one removes it, and puts an earlier result
    back that was moved away in the moment of the kill.

    Args:
        mark: a file that tells an earlier result of this program from anybody else's folder.
        keep: a folder inside ``out`` that stays; one that holds nothing else is an earlier result, too.

    Raises:
        InputError: ``out`` cannot be written, or holds something else.
    """
    target = Path(out).resolve()
    _recover(target, keep)
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
    locks = ExitStack()
    locks.enter_context(locked(staging))
    try:
        yield staging
        if target.exists():
            locks.enter_context(locked(target))
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
    except KeyboardInterrupt as error:
        kept = f", and the cells in {Path(out) / keep} are kept" if (target / keep).exists() else ""
        error.args = (f"nothing of the new report is written; {out} is as it was{kept}",)
        raise
    except OSError as error:
        raise InputError(f"cannot write the report to {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        shutil.rmtree(earlier, ignore_errors=True)
        locks.close()


def _recover(target: Path, keep: str) -> None:
    """Undo what a run that was killed has left beside the target."""
    name = re.escape(target.name)
    earlier = abandoned(target.parent, rf"\.{name}\.old-[0-9a-f]{{8}}")
    staging = abandoned(target.parent, rf"\.{name}\.new-[0-9a-f]{{8}}")
    with suppress(OSError):
        if earlier and not target.exists():
            earlier.pop().rename(target)
    for folder in (*earlier, *staging):
        with suppress(OSError):
            if (folder / keep).exists() and not (target / keep).exists():
                target.mkdir(exist_ok=True)
                (folder / keep).rename(target / keep)
            shutil.rmtree(folder, ignore_errors=True)
