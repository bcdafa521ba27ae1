"""PyTorch's settings are left as they were found, and change nothing."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress

import numpy as np
import pytest
import torch

from spannorm_theory.base.errors import NonFiniteError
from spannorm_theory.montecarlo import global_state
from spannorm_theory.montecarlo.ensemble import simulate
from spannorm_theory.montecarlo.global_state import arithmetic, one_thread
from spannorm_theory.montecarlo.spectra import simulate_spectra
from spannorm_theory.spec.architecture import Architecture

pytestmark = pytest.mark.exact
SIZE = {"width": 16, "heads": 2, "tokens": 4}
SMALL = Architecture("span-norm", depth=2, **SIZE)
BACKENDS = torch.backends
#: every setting of the newer interface that decides on float32 products, from the whole to its parts
LEVELS = (("generic", "all"), ("cuda", "all"), ("cuda", "matmul"), ("mkldnn", "all"), ("mkldnn", "matmul"))
get = getattr(torch._C, "_get_fp32_precision_getter", None)
put = getattr(torch._C, "_set_fp32_precision_setter", None)
USERS = {
    "nothing": lambda: None,
    "older high": lambda: torch.set_float32_matmul_precision("high"),
    "older medium": lambda: torch.set_float32_matmul_precision("medium"),
    "older flag": lambda: setattr(BACKENDS.cuda.matmul, "allow_tf32", True),
    "older flag, put back": lambda: (
        torch.set_float32_matmul_precision("medium"),
        setattr(BACKENDS.cuda.matmul, "allow_tf32", False),
    ),
    "newer, of all": lambda: setattr(BACKENDS, "fp32_precision", "tf32"),
    "newer, of products on CUDA": lambda: setattr(BACKENDS.cuda.matmul, "fp32_precision", "tf32"),
    "newer, of the CPU": lambda: put("mkldnn", "all", "bf16"),
    "newer, of convolutions": lambda: setattr(BACKENDS.cudnn.conv, "fp32_precision", "ieee"),
    "both": lambda: (
        torch.set_float32_matmul_precision("high"),
        setattr(BACKENDS.mkldnn.matmul, "fp32_precision", "bf16"),
    ),
}


def older():
    found = []
    for read in (
        torch.get_float32_matmul_precision,
        lambda: BACKENDS.cuda.matmul.allow_tf32,
        lambda: BACKENDS.cudnn.allow_tf32,
    ):
        try:
            found.append(read())
        except RuntimeError:  # PyTorch refuses where both interfaces were used
            found.append("mixed")
    return found


def reads():
    """All that can be read of the precision, and each level by itself."""
    found = [get(*level) for level in (*LEVELS, ("cuda", "conv"), ("mkldnn", "conv"))] + older()
    above = [(level, get(*level), put(*level, "none"))[:2] for level in (LEVELS[0], LEVELS[1], LEVELS[3])]
    for level, own in above:
        for value in ("none", "ieee", "tf32"):
            put(*level, value)
            found += [get(*one) for one in LEVELS]
        put(*level, "none")
        found.append(own)
    for level, own in above:
        put(*level, own)
    return found


@pytest.fixture
def _fresh_precision():
    def reset():
        torch.set_float32_matmul_precision("highest")
        for level in LEVELS:
            put(*level, "none")
        put("cuda", "conv", "tf32")

    reset()
    yield
    reset()


@pytest.mark.skipif(get is None, reason="needs PyTorch 2.9")
@pytest.mark.usefixtures("_fresh_precision")
@pytest.mark.parametrize("user", USERS)
def test_precision_is_full_inside_and_afterwards_as_found(user):
    reference = simulate(SMALL, 2, device="cpu", progress=False).samples
    USERS[user]()
    before = reads()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with arithmetic():
            assert {BACKENDS.cuda.matmul.fp32_precision, BACKENDS.mkldnn.matmul.fp32_precision} == {"ieee"}
            assert older()[:2] == ["highest", False]
        assert reads() == before
        with suppress(ZeroDivisionError), arithmetic():
            1 / 0  # noqa: B018
        assert reads() == before
        found = simulate(SMALL, 2, device="cpu", progress=False).samples
        simulate_spectra(SMALL, [1], 2, device="cpu")
    assert reads() == before
    assert all(np.array_equal(found[key], reference[key], equal_nan=True) for key in reference)


@pytest.mark.skipif(get is None, reason="needs PyTorch 2.9")
@pytest.mark.usefixtures("_fresh_precision")
def test_calls_that_overlap_put_back_what_the_first_one_found():
    torch.set_float32_matmul_precision("medium")
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    before, first_is_in, second_is_in = reads(), threading.Event(), threading.Event()
    inside = []

    def first():
        with arithmetic():
            first_is_in.set()
            assert second_is_in.wait(60)

    def second():
        assert first_is_in.wait(60)
        with one_thread():
            second_is_in.set()
            one.result()
            inside.append((torch.get_float32_matmul_precision(), torch.get_num_threads()))
        inside.append(torch.get_num_threads())

    try:
        with ThreadPoolExecutor(2) as pool:
            one = pool.submit(first)
            two = pool.submit(second)
            two.result()
        assert inside == [("highest", 1), threads + 1]
        assert reads() == before
        assert torch.get_num_threads() == threads + 1
        assert global_state._in_new_thread(torch.get_num_threads) == threads + 1
    finally:
        torch.set_num_threads(threads)


def test_many_calls_at_once_leave_the_number_of_threads():
    exploding = Architecture("no-norm", depth=40, init=100.0, activation="linear", **SIZE)
    before = torch.get_num_threads()

    def call(number):
        with suppress(NonFiniteError):
            simulate((SMALL, exploding)[number % 2], 3, device="cpu", progress=False)

    torch.set_num_threads(3)
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(call, range(12)))
        assert torch.get_num_threads() == 3
        assert global_state._in_new_thread(torch.get_num_threads) == 3
    finally:
        torch.set_num_threads(before)


class _Default:
    """PyTorch's default dtype or device while a block runs."""

    def __init__(self, dtype=None, device=None):
        self.dtype, self.device = dtype, device

    def __enter__(self):
        self.before = torch.get_default_dtype()
        if self.dtype is not None:
            torch.set_default_dtype(self.dtype)
        torch.set_default_device(self.device)

    def __exit__(self, *_):
        torch.set_default_dtype(self.before)
        torch.set_default_device(None)


class _Deterministic:
    def __enter__(self):
        torch.use_deterministic_algorithms(True)

    def __exit__(self, *_):
        torch.use_deterministic_algorithms(False)


STATES = {
    "default dtype": lambda: _Default(dtype=torch.float64),
    "half as the default": lambda: _Default(dtype=torch.float16),
    "default device": lambda: _Default(device="meta"),
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "gradients": torch.enable_grad,
    "anomalies": torch.autograd.detect_anomaly,
    "deterministic": _Deterministic,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "numbers drawn": lambda: (torch.randn(3), np.random.rand(3), nullcontext())[2],  # noqa: NPY002
    "numpy raises": lambda: np.errstate(all="raise"),
}


def settings():
    return (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_anomaly_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_num_threads(),
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002
        np.geterr(),
        [str(f) for f in warnings.filters],
    )


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("state", STATES)
def test_state_of_the_user_changes_nothing_and_is_left_alone(state):
    reference = simulate(SMALL, 2, device="cpu", progress=False).samples
    spectra = simulate_spectra(SMALL, [1], 2, device="cpu")
    with STATES[state]():
        before = settings()
        found = simulate(SMALL, 2, device="cpu", progress=False).samples
        seen = simulate_spectra(SMALL, [1], 2, device="cpu")
        assert settings() == before
    assert all(np.array_equal(found[key], reference[key], equal_nan=True) for key in reference)
    assert all(np.array_equal(seen[key], spectra[key]) for key in spectra)
