"""Truth first: on linear models attacks reach the closed-form worst case."""

from __future__ import annotations

import pytest
import torch

from skrobust._torch import differences
from skrobust.attacks import APGD, PGD, Auto, Exact, Noise, Objective, Search, Single
from skrobust.testing import _attack as laws
from skrobust.testing._attack import linear_problems, network_problem

NORMS = ("linf", "l2", "l1")
KINDS = ("free", "scaled", "boxed", "one-way")
LINEAR = {problem.name: problem for problem in linear_problems()}

REACHES = [
    ("exact", Exact(), 1e-9, (1, 2, 3)),
    ("exact-unverified", Exact(verify=False), 1e-9, (1, 2, 3)),
    ("auto", Auto(), 1e-9, (1, 2, 3)),
    ("apgd-targeted", APGD(n_steps=3, targeted=True), 1e-9, (1, 2, 3)),
    ("apgd", APGD(n_steps=3), 1e-9, (1, 2)),
    # a step far longer than the radius: the projection then turns towards the worst corner
    ("pgd", PGD(n_steps=20, step_size=20.0), 1e-6, (1, 2)),
    ("single", Single(n_steps=20, step_size=20.0), 1e-6, (1, 2)),
    ("search", Search(n_queries=400), 0.05, (1, 2)),
    # the larger of two pieces has local maxima that values alone do not always leave
    ("search-3", Search(n_queries=400), 0.25, (3,)),
    ("noise", Noise(n_draws=10), None, (1, 2, 3)),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    ("name", "attack", "reaches", "n_logits"), REACHES, ids=lambda v: str(v)[:16]
)
def test_truth(name, attack, reaches, n_logits, norm, kind):
    for k in n_logits:
        laws.check_truth(attack, LINEAR[f"{norm}-{kind}-linear{k}"], reaches)


@pytest.mark.parametrize("norm", NORMS)
def test_exact_value_is_the_closed_form_to_the_last_digits(norm):
    for kind in KINDS:
        for k in (1, 2, 3):
            problem = LINEAR[f"{norm}-{kind}-linear{k}"]
            value = laws.run(Exact(), problem).value.numpy()
            assert abs(value + problem.exact).max() < 1e-9


@pytest.mark.parametrize("factor", [50.0, 1e30, 1e-30])
def test_cross_entropy_saturates_where_margins_do_not(factor):
    """The trap behind law 5: on large logits the cross-entropy has no gradient left."""
    problem = network_problem()
    plain = laws.run(PGD(n_steps=5), problem).value
    scaled = laws.run(PGD(n_steps=5), problem, problem.objective(factor=factor)).value
    assert torch.allclose(scaled / factor, plain, rtol=1e-6)


def test_scale_in_single_precision():
    """Gradients that would underflow or overflow when squared."""
    problem = LINEAR["l2-free-linear3"]
    x = problem.x.float()
    for factor in (1e-30, 1e30):
        fn = Objective(
            None, problem.y, pieces=lambda z, y, f=factor: f * differences(problem.module(z), y)
        )
        value = Exact(verify=False).maximize(fn, x, problem.threat, problem.radius).value
        assert torch.allclose(value.double() / factor, -torch.tensor(problem.exact), atol=1e-4)
