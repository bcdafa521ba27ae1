"""Executors by name: what ``spannorm sweep --executor`` opens, and closes when the sweep is over."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..base.errors import InputError, UnknownNameError
from .pools import cores

#: seconds until a Dask scheduler must have answered
ANSWER = 10
#: parameters of a Slurm job unless ``job`` says otherwise
JOB = {"name": "spannorm", "timeout_min": 60, "cpus_per_task": 1}
Opener = Callable[[int | None, str | None, Mapping[str, Any], Path], Iterator[Any]]


def _dask(workers: int | None, address: str | None, job: Mapping[str, Any], logs: Path) -> Iterator[Any]:
    """A running cluster's scheduler, or processes of this machine that end with the sweep."""
    distributed = _need("distributed", "dask")
    if address is None:
        with (
            TemporaryDirectory() as scratch,
            distributed.LocalCluster(
                n_workers=workers or cores(),
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                silence_logs="ERROR",  # a worker that takes its time to end is nothing to warn of
                local_directory=scratch,
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client.get_executor()
        return
    if workers is not None:
        raise InputError("--workers is for a cluster that the sweep starts; one at an address has its own")
    try:
        client = distributed.Client(address, timeout=ANSWER)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot reach a Dask scheduler at {address}: {error}") from None
    with client:
        yield client.get_executor()


def _submitit(workers: int | None, address: str | None, job: Mapping[str, Any], logs: Path) -> Iterator[Any]:
    """Slurm jobs; processes of this machine where there is no Slurm."""
    submitit = _need("submitit", "slurm")
    executor = submitit.AutoExecutor(folder=logs)
    try:
        executor.update_parameters(**{**JOB, **job})
    except (AssertionError, NameError, TypeError, ValueError) as error:
        raise InputError(f"--job: submitit says: {str(error).partition(chr(10))[0]}") from None
    yield executor


def _mpi(workers: int | None, address: str | None, job: Mapping[str, Any], logs: Path) -> Iterator[Any]:
    """The ranks of an MPI job: the first runs the sweep, and the others serve it and end."""
    futures, world = _need("mpi4py.futures", "mpi"), _need("mpi4py.MPI", "mpi").COMM_WORLD
    if world.Get_size() == 1:
        raise InputError("--executor mpi needs two ranks or more: mpiexec -n N spannorm sweep ...")
    with futures.MPICommExecutor(world, root=0) as executor:
        if executor is not None:
            yield executor
            return
    raise SystemExit(0)  # a rank that has served


#: how each executor is opened; the options beyond ``--workers`` that it takes
OPENERS: dict[str, tuple[Opener, frozenset[str]]] = {
    "dask": (_dask, frozenset({"workers", "address"})),
    "submitit": (_submitit, frozenset({"job"})),
    "mpi": (_mpi, frozenset()),
}
POOL = "pool"


@contextmanager
def opened(
    name: str, store: str | Path, workers: int | None, address: str | None, job: Sequence[str]
) -> Iterator[Any]:
    """The executor called ``name``, open while the block runs; None for the default pool.

    Args:
        workers: processes that are started; None takes one for each core.
        address: of a Dask scheduler; None starts workers on this machine.
        job: parameters of Slurm jobs, each as KEY=VALUE (``slurm_partition=gpu``, ``timeout_min=60``).

    Raises:
        InputError: an unknown name, a package that is not installed, an option of another executor, or a
            scheduler that cannot be reached.
    """
    if name not in (POOL, *OPENERS):
        raise UnknownNameError("executor", name, (POOL, *OPENERS))
    taken = frozenset({"workers"}) if name == POOL else OPENERS[name][1]
    for option, value in (("workers", workers), ("address", address), ("job", job)):
        if value and option not in taken:
            owners = [POOL] if option == "workers" else []
            owners += [known for known, (_, takes) in OPENERS.items() if option in takes]
            raise InputError(f"--{option} is an option of --executor {', '.join(owners)}, not of {name}")
    if workers is not None and workers < 1:
        raise InputError(f"workers must be an integer of at least 1, got {workers}")
    if name == POOL:
        yield None
        return
    logs = Path(store).with_name(f"{Path(store).name}-jobs")
    with contextmanager(OPENERS[name][0])(workers, address, _parameters(job), logs) as executor:
        yield executor


def _need(module: str, extra: str) -> Any:
    try:
        return import_module(module)
    except (ImportError, RuntimeError) as error:  # mpi4py's, where there is no MPI library
        why = str(error).partition("\n")[0]
        raise InputError(
            f"this executor needs {module.partition('.')[0]} ({why}): pip install 'spannorm_theory[{extra}]'"
            + (", and an MPI library" if extra == "mpi" else "")
        ) from None


def _parameters(texts: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE to what submitit takes: numbers where they are written so, else text."""
    found: dict[str, Any] = {}
    for text in texts:
        match = re.fullmatch(r"(\w+)=(.+)", text)
        if match is None:
            raise InputError(f"--job takes KEY=VALUE, got {text!r}")
        found[match[1]] = match[2]
        for kind in (float, int):
            with suppress(ValueError):
                found[match[1]] = kind(match[2])
    return found
