"""The theory of the first step against matrices and stacks that are written out in plain torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

import spannorm_theory as st
from spannorm_theory.base.errors import AssumptionError, InputError, NoClosedForm
from spannorm_theory.first_steps import branch_steps
from spannorm_theory.first_steps.matrix_steps import matrix_step
from spannorm_theory.first_steps.optimisers import optimiser
from spannorm_theory.first_steps.theory import predicted
from spannorm_theory.gaussian.product_roots import mode_roots


def polar(g):
    u, s, v = torch.linalg.svd(g, full_matrices=False)
    kept = s > 1e-9 * s[0]
    return u[:, kept] @ v[kept]


def normals(seed):
    """Standard normal tensors of a generator of their own."""
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=generator)


RULES = {"sgd": lambda g: g, "sign": torch.sign, "orthogonal": polar}


@pytest.mark.exact
def test_modes_of_wide_matrices_have_the_inverse_root() -> None:
    values = np.geomspace(1e-3, 50, 12)
    np.testing.assert_allclose(mode_roots(values, (1e12, 1e12)), values**-0.5, rtol=1e-6)


@pytest.mark.exact
def test_adam_without_epsilon_is_sign_descent() -> None:
    sigma = np.array([0.1, 3.0])
    adam, sign = optimiser("adam", 0.0), optimiser("sign")
    np.testing.assert_allclose(adam.slope(sigma), sign.slope(sigma), rtol=1e-3)
    np.testing.assert_allclose(adam.square(sigma), 1, rtol=1e-9)
    with pytest.raises(InputError):
        optimiser("sgd", 1e-8)


@pytest.mark.statistical
@pytest.mark.parametrize("rule", RULES)
def test_one_matrix_that_reads_gaussian_tokens(rule: str) -> None:
    normal = normals(0)
    n, inputs, outputs, draws = 6, 48, 64, 120
    read = np.full((n, n), 0.4) + 0.6 * np.eye(n)
    grad = np.diag(np.linspace(0.5, 2, n)) + 0.1
    roots = [torch.tensor(np.linalg.cholesky(x)) for x in (read, grad)]
    found = []
    for _ in range(draws):
        x = roots[0] @ normal(n, inputs)
        g = x.mT @ (delta := roots[1] @ normal(n, outputs))
        moved = x @ RULES[rule](g)
        along = float((moved * delta).sum()) / outputs
        nuclear = float(torch.linalg.svdvals(g).sum())
        found.append([float(g.abs().sum()), nuclear, along, float(moved.square().mean())])
    step = matrix_step(optimiser(rule), (inputs, outputs), read, grad, 1, 1.0)
    theory = [step.l1, step.nuclear, np.trace(step.linear @ grad), np.trace(step.square) / n]
    mean, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / np.sqrt(draws)
    # beside four standard errors, draws of sigma (0.2 %) and singular values beyond leading order (1/d)
    assert (np.abs(mean - theory) < 4 * error + 0.01 * mean).all(), (mean / theory, error / mean)


@pytest.mark.statistical
def test_singular_values_of_a_matrix_whose_input_has_a_gram_that_spreads() -> None:
    normal = normals(4)
    n, inputs, outputs, degrees = 16, 48, 64, 32
    found = []
    for _ in range(60):
        root = normal(n, degrees) / degrees**0.5  # a Gram of mean one whose entries vary by 1/32
        g = (root @ normal(degrees, inputs)).mT @ normal(n, outputs)
        found.append(float(torch.linalg.svdvals(g).sum()))
    one = np.eye(n)
    rule, shape = optimiser("sign"), (inputs, outputs)
    plain, spread = (matrix_step(rule, shape, one, one, 1, 1.0, x).nuclear for x in (0.0, 1 / degrees))
    mean, error = np.mean(found), np.std(found, ddof=1) / np.sqrt(len(found))
    assert abs(mean - spread) < 4 * error + 0.002 * mean, (mean / spread, error / mean)
    assert plain > 1.04 * mean


def rms(x):
    return x / x.square().mean(-1, keepdim=True).sqrt()


def attention(x, w, heads, causal):
    n, d = x.shape
    q, k, v = ((x @ w[name]).view(n, heads, -1).transpose(0, 1) for name in ("query", "key", "value"))
    logits = q @ k.mT / (d // heads) ** 0.5
    if causal:
        logits = logits.masked_fill(torch.ones(n, n).triu(1).bool(), -torch.inf)
    return (logits.softmax(-1) @ v).transpose(0, 1).reshape(n, d) @ w["output"]


def pre_norm(x, w, l, heads, causal):
    x = x + attention(rms(x), w, heads, causal)
    return x + functional.gelu(rms(x) @ w["up"]) @ w["down"]


def span_norm(x, w, l, heads, causal):
    y = rms(x + attention(rms(x) if l == 0 else x, w, heads, causal))
    return rms(x + functional.gelu(y @ w["up"]) @ w["down"])


CASES = {
    "pre-norm": (pre_norm, rms, "pre-norm depth=3 width=128 heads=4 tokens=8 mask=causal"),
    "span-norm": (span_norm, lambda x: x, "span-norm depth-scaled-init depth=3 width=128 heads=4 tokens=8"),
}


@pytest.mark.statistical
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("rule", ["sign", "orthogonal"])
def test_streams_move_as_predicted(case: str, rule: str) -> None:
    normal = normals(1)
    block, readout, text = CASES[case]
    arch = st.Architecture.parse(text)
    depth, d, n, scaled = arch.depth, arch.width, arch.tokens, "scaled" in text
    std = {"query": d**-0.5, "key": d**-0.5, "value": d**-0.5, "output": d**-0.5, "up": d**-0.5}
    std["down"] = (4 * d) ** -0.5
    if scaled:
        std |= {name: std[name] / depth**0.5 for name in ("output", "down")}
    shapes = {"up": (d, 4 * d), "down": (4 * d, d)}
    found = []
    for _ in range(12):
        weights = [
            {k: (s * normal(*shapes.get(k, (d, d)))).requires_grad_() for k, s in std.items()}
            for _ in range(depth)
        ]
        start, probe = normal(2, n, d)

        def streams(weights, start=start):
            x, kept = start, []
            for l, w in enumerate(weights):
                kept.append(x := block(x, w, l, arch.heads, arch.mask == "causal"))
            return [*kept, readout(x)]

        flat = [w for ws in weights for w in ws.values()]
        grads = torch.autograd.grad(streams(weights)[-1], flat, probe)
        names = [k for ws in weights for k in ws]
        steps = iter([RULES[rule](g) for g in grads])
        updates = [{k: next(steps) for k in ws} for ws in weights]
        plain = [{k: w.detach() for k, w in ws.items()} for ws in weights]
        _, moved = torch.func.jvp(streams, (plain,), (updates,))
        down = sum(float(g.abs().sum()) for k, g in zip(names, grads, strict=True) if k == "down")
        size = [float(x.square().mean()) for x in moved]
        along = float((moved[-1] * probe).sum()) ** 2 / float(probe.square().sum()) / (n * d)
        found.append([*size, along, down])
    prediction = predicted(arch, optimiser(rule), dict.fromkeys(arch.weights, 1.0)).profiles
    size = np.exp([*prediction["0", "stream_change"][1:], prediction["output", "stream_change"][0]])
    along = np.exp(prediction["output", "coherent_change"][0])
    theory = np.array([*size, along, np.exp(prediction["ffn.down", "grad_l1"]).sum()])
    mean, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / np.sqrt(len(found))
    # beside four standard errors, the order of a head's width of 32 that is left out
    assert (np.abs(mean - theory) < 4 * error + mean / 32).all(), (mean / theory, error / mean)


@pytest.mark.statistical
def test_nuclear_norms_know_what_grams_vary_by_in_a_deep_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    arch, normal = st.Architecture.parse("span-norm depth=6 width=128 heads=2 tokens=16"), normals(5)
    d, names = arch.width, ("ffn.up", "ffn.down")
    shapes = dict.fromkeys(("query", "key", "value", "output"), (d, d))
    shapes |= {"up": (d, 4 * d), "down": (4 * d, d)}
    found = []
    for _ in range(10):
        weights = [{k: normal(*s) / s[0] ** 0.5 for k, s in shapes.items()} for _ in range(arch.depth)]
        x, read = normal(16, d), [w[name].requires_grad_() for name in ("up", "down") for w in weights]
        for l, w in enumerate(weights):
            x = span_norm(x, w, l, 2, False)
        grads = torch.autograd.grad(x, read, normal(16, d))
        found.append([float(torch.log(torch.linalg.svdvals(g).sum() / g.norm())) for g in grads])
    sizes = st.predict(arch, theory="sampled").set_index(["stream", "quantity"])["log_value"]

    def off() -> np.ndarray:
        """Mean logarithm of networks over theory in all blocks, of each network; (networks, 2)."""
        step = predicted(arch, optimiser("sign"), dict.fromkeys(arch.weights, 1.0)).profiles
        logs = [step[n, "grad_nuclear"] - sizes[n, "weight_grad_norm"].to_numpy() / 2 for n in names]
        return (np.array(found).reshape(10, 2, -1) - logs).mean(axis=-1)

    each = off()
    mean, error = each.mean(axis=0), each.std(axis=0, ddof=1) / np.sqrt(10)
    assert (np.abs(mean) < 3 * error).all(), (mean, error)
    monkeypatch.setattr(branch_steps, "LARGEST_EXCESS", 0.0)
    assert (off().mean(axis=0) < mean - 0.01).all()  # at the mean of the Gram


@pytest.mark.statistical
def test_a_branch_of_relu_on_tokens_that_are_alike() -> None:
    arch = st.Architecture.parse(
        "pre-norm depth=1 width=64 heads=2 tokens=8 activation=relu input_cosine=0.95"
    )
    normal = normals(2)
    d, n = arch.width, arch.tokens
    found = []
    for _ in range(60):
        common, own = normal(1, d), normal(n, d)
        x = rms(0.95**0.5 * common + 0.05**0.5 * own)
        w = {k: normal(d, d) / d**0.5 for k in ("query", "key", "value", "output")}
        up = (normal(d, 4 * d) * (2 / d) ** 0.5).requires_grad_()
        down = (normal(4 * d, d) / (4 * d) ** 0.5).requires_grad_()
        x = rms(x + attention(x, w, 2, False))
        y = functional.relu(x @ up) @ down
        probe = normal(n, d)
        grads = torch.autograd.grad(y, (up, down), probe)
        found.append([float(g.abs().sum()) for g in grads])
    gains = arch.base_gains
    found = np.array(found)
    ratio = np.mean(found[:, 0]) / np.mean(found[:, 1])
    # the readout's norm multiplies both gradients alike
    theory = predicted(arch, optimiser("sign"), dict.fromkeys(arch.weights, 1.0)).profiles
    want = np.exp(theory["ffn.up", "grad_l1"][0] - theory["ffn.down", "grad_l1"][0])
    want *= (2 / gains["ffn.up"]) ** -0.5 / (gains["ffn.down"] ** 0.5)
    error = np.std(found[:, 0] / found[:, 1], ddof=1) / np.sqrt(len(found))
    assert abs(ratio - want) < 4 * error + 0.02 * ratio, (ratio, want, error)


@pytest.mark.statistical
def test_keys_of_tokens_that_are_alike_have_gradients_of_one_direction_in_each_head() -> None:
    text = "pre-norm depth=1 width=128 heads=4 tokens=16 input_cosine=0.95"
    arch, normal = st.Architecture.parse(text), normals(3)
    d, n = arch.width, arch.tokens
    found = []
    for _ in range(40):
        x = 0.95**0.5 * normal(1, d) + 0.05**0.5 * normal(n, d)
        w = {k: normal(d, d) / d**0.5 for k in ("query", "value", "output")}
        w |= {"up": normal(d, 4 * d) / d**0.5, "down": normal(4 * d, d) / (4 * d) ** 0.5}
        w["key"] = (normal(d, d) / d**0.5).requires_grad_()
        (g,) = torch.autograd.grad(rms(pre_norm(x, w, 0, arch.heads, False)), w["key"], normal(n, d))
        found.append([float(g.abs().sum()), float(torch.linalg.svdvals(g).sum())] / g.norm().numpy())
    theory = predicted(arch, optimiser("sign"), dict.fromkeys(arch.weights, 1.0)).profiles
    size = st.predict(arch, theory="sampled")
    key = (size["stream"] == "attn.key") & (size["quantity"] == "weight_grad_norm")
    root = np.sqrt(float(size[key]["value"].iloc[0]))
    want = np.exp([theory["attn.key", q][0] for q in ("grad_l1", "grad_nuclear")]) / root
    mean, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / np.sqrt(len(found))
    # beside four standard errors, what the scatter of |G|_F among networks takes from a mean of its root
    assert (np.abs(mean - want) < 4 * error + 0.03 * mean).all(), (mean / want, error / mean)
    assert mean[0] < 0.75 * d  # a Gaussian gradient has sqrt(2 / pi) d


@pytest.mark.law
@pytest.mark.parametrize("rule", ["sgd", "sign"])
@pytest.mark.parametrize(
    "text", ["pre-norm depth-scaled-init", "span-norm depth-scaled-init", "post-norm deepnorm"]
)
def test_exponents_in_the_depth(text: str, rule: str) -> None:
    law = st.step_law(*text.split(), rule)
    totals = {}
    for depth in (256, 1024):
        table = st.predict(f"{text} depth={depth} width=1024 heads=16 tokens=4")
        for name in law.depth:
            logs = table[(table["stream"] == name) & (table["quantity"] == "weight_grad_norm")]["log_value"]
            power = 1 if rule == "sgd" else 0.5
            totals.setdefault(name, []).append(np.log(np.exp(power * logs).sum()))
    for name, (one, two) in totals.items():
        assert -(two - one) / np.log(4) == pytest.approx(float(law.depth[name]), abs=0.03), name


@pytest.mark.law
@pytest.mark.parametrize("scaling", ["depth-scaled-init", "depth-mup"])
@pytest.mark.parametrize("placement", ["pre-norm", "post-norm", "span-norm"])
def test_exponents_fitted_from_4_to_64_blocks(placement: str, scaling: str) -> None:
    law = st.step_law(placement, scaling, "adam")
    depths = (4, 8, 16, 32, 64)
    totals = {}
    for depth in depths:
        table = st.predict(f"{placement} {scaling} depth={depth} width=1024 heads=16 tokens=4")
        for name in law.depth:
            logs = table[(table["stream"] == name) & (table["quantity"] == "weight_grad_norm")]["log_value"]
            totals.setdefault(name, []).append(np.log(np.exp(logs / 2).sum()))
    for name, total in totals.items():
        fitted = -np.polyfit(np.log(depths), total, 1)[0]
        assert fitted == pytest.approx(float(law.depth[name]), abs=0.05), name


@pytest.mark.law
@pytest.mark.parametrize("rule", ["sgd", "adam", "orthogonal", "muon"])
def test_exponents_fitted_from_width_128_to_1024(rule: str) -> None:
    widths, logs = (128, 256, 512, 1024), []
    for width in widths:
        arch = st.Architecture("pre-norm", depth=1, width=width, heads=4, tokens=4)
        found = predicted(arch, optimiser(rule), dict.fromkeys(arch.weights, 1.0)).profiles
        logs.append(found["output", "coherent_change"][0] / 2)
    fitted = -np.polyfit(np.log(widths), logs, 1)[0]
    assert fitted == pytest.approx(float(st.step_law("pre-norm", "unit", rule).width), abs=0.05)


@pytest.mark.law
def test_exponents_between_depths_are_those_of_networks() -> None:
    text, depths = "pre-norm width=64 heads=2 tokens=8", (2, 8)
    said = st.step_exponents(f"{text} depth=2", "sign", depths=depths)
    totals = []
    for depth in depths:
        arch = st.Architecture.parse(f"{text} depth={depth}")
        both = []
        for seed in range(12):
            model, normal = st.module(arch, seed=seed).double(), normals(seed)
            (model(normal(1, 8, 64)) * normal(1, 8, 64)).sum().backward()
            sizes = {name: 0.0 for name in arch.weights}
            for name, p in model.named_parameters():
                if (role := name.split(".", 2)[-1]) in sizes:
                    sizes[role] += float(p.grad.abs().sum())
            both.append([*sizes.values(), sum(sizes.values())])
        totals.append(np.array(both))
    names = [*arch.weights, "all"]
    assert list(said) == names
    means, errors = ([f(x) for x in totals] for f in (lambda x: x.mean(0), lambda x: x.std(0, ddof=1)))
    for i, name in enumerate(names):
        fitted = -np.log(means[1][i] / means[0][i]) / np.log(4)
        error = np.hypot(*(e[i] / m[i] for e, m in zip(errors, means, strict=True))) / 12**0.5 / np.log(4)
        assert abs(fitted - said[name]) < 3 * error + 0.02, (name, fitted, said[name], error)
    assert said["all"] < -0.65  # in many blocks -1/2


@pytest.mark.exact
def test_exponents_need_two_depths() -> None:
    for depths in ((4,), (4, 4), (0, 4), (2.5, 4)):
        with pytest.raises(InputError, match="depths"):
            st.step_exponents("pre-norm depth=2 width=32 heads=2 tokens=4", depths=depths)


@pytest.mark.exact
def test_numbers_of_a_law() -> None:
    assert st.step_law("span-norm", "depth-scaled-init", "sign").at((1, 0.4, 1, 0.5)) == (-1, 0)
    power, rate = st.step_law("post-norm", "unit", "sign").at((1, 0.4, 1, 0.5))
    assert power == 0
    assert rate == pytest.approx(-np.log(1.5 / 1.4) / 2)
    for gains, said in (
        ((1, 2), "four numbers, sigma_a^2, sigma_f^2"),
        ((1, 2, 3, "x"), "omega_f^2 must be"),
    ):
        with pytest.raises(InputError, match=said.replace("^", r"\^")):
            st.step_law("pre-norm").at(gains)


@pytest.mark.exact
def test_widths_and_several_streams() -> None:
    assert [st.step_law("pre-norm", "unit", rule).width for rule in ("adam", "orthogonal")] == [-1, 0]
    with pytest.raises(NoClosedForm, match="several streams"):
        st.step_law("siamese-norm")


@pytest.mark.exact
@pytest.mark.parametrize(
    "text",
    ["pre-norm experts=4 top_k=2", "pre-norm kv_heads=1", "pre-norm dropout=0.1", "dyt"],
)
def test_what_is_not_derived_is_refused(text: str) -> None:
    arch = st.Architecture.parse(f"{text} depth=2 width=32 heads=2 tokens=4")
    with pytest.raises(AssumptionError, match="not derived"):
        predicted(arch, optimiser("sign"), dict.fromkeys(arch.weights, 1.0))


@pytest.mark.exact
def test_rotated_keys_leave_out_what_streams_move_by() -> None:
    arch = st.Architecture.parse("pre-norm depth=1 width=32 heads=2 tokens=4 mask=causal positions=rope")
    found = predicted(arch, optimiser("sign"), dict.fromkeys(arch.weights, 1.0)).profiles
    assert np.isnan(found["0", "stream_change"][1])
    assert np.isfinite(found["attn.key", "grad_l1"]).all()
    assert np.isfinite(found["all", "coherent_change"][1])
