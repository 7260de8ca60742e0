"""The laws of attacks, over a table of every attack x threat x model."""

from __future__ import annotations

import pytest
import torch

from skrobust.attacks import APGD, PGD, Auto, Exact, Noise, Search, Single, WorstOf
from skrobust.testing import _attack as laws
from skrobust.testing._attack import LinearOracle, Problem, linear_problems, network_problem

NORMS = ("linf", "l2", "l1")
KINDS = ("free", "scaled", "boxed", "one-way")

LINEAR = {problem.name: problem for problem in linear_problems()}
NETWORKS = {
    problem.name: problem
    for problem in (
        network_problem("linf", "free", n_classes=3),
        network_problem("l2", "scaled", n_classes=2),
        network_problem("l1", "boxed", n_classes=3),
    )
}
# small budgets: laws must hold whatever the effort
ATTACKS = {
    "noise": Noise(n_draws=3),
    "single": Single(),
    "single-steps": Single(n_steps=4),
    "pgd": PGD(n_steps=5),
    "pgd-restarts": PGD(n_steps=2, n_restarts=2, random_start=False),
    "apgd": APGD(n_steps=6),
    "apgd-targeted": APGD(n_steps=4, n_restarts=2, targeted=True),
    "search": Search(n_queries=40),
    "worst-of": WorstOf([Noise(), PGD(n_steps=2), APGD(n_steps=3, targeted=True)]),
    "auto": Auto(n_steps=4, n_queries=20),
}


def problems_of(attack: str) -> list[str]:
    """Each attack meets all threats; the number of classes goes round."""
    linear = [
        f"{n}-{k}-linear{1 + (i + j) % 3}" for i, n in enumerate(NORMS) for j, k in enumerate(KINDS)
    ]
    return linear + (list(NETWORKS) if attack != "exact" else [])


TABLE = [(attack, name) for attack in [*ATTACKS, "exact"] for name in problems_of(attack)]


def row(attack: str, name: str) -> tuple:
    return {"exact": Exact(), **ATTACKS}[attack], {**LINEAR, **NETWORKS}[name]


@pytest.mark.parametrize(("attack", "name"), TABLE)
def test_budget(attack, name):
    laws.check_budget(*row(attack, name))


@pytest.mark.parametrize(("attack", "name"), TABLE)
def test_best_seen_and_counts(attack, name):
    laws.check_best_seen(*row(attack, name))


@pytest.mark.parametrize(("attack", "name"), TABLE)
def test_scale_does_not_fool_it(attack, name):
    laws.check_scale(*row(attack, name))


@pytest.mark.parametrize(("attack", "name"), TABLE)
def test_no_trace(attack, name):
    laws.check_no_trace(*row(attack, name))


@pytest.mark.parametrize("attack", [*ATTACKS, "exact"])
def test_float32_keeps_the_budget(attack):
    for name in ("linf-boxed-linear2", "l2-free-linear3", "l1-scaled-linear1"):
        attack_, problem = row(attack, name)
        narrow = problem._replace(x=problem.x.float())
        z = laws.run(attack_, narrow).z
        assert z.dtype == torch.float32
        laws._inside(z.numpy(), narrow, tolerance=1e-6)


@pytest.mark.parametrize("attack", [*ATTACKS, "exact"])
def test_images_and_series(attack):
    """Rows of any shape: (n, c, h, w) and (n, c, t)."""
    generator = torch.Generator().manual_seed(0)
    for shape in ((2, 4, 3), (3, 6)):
        oracle = LinearOracle.random(3, int(torch.tensor(shape).prod()))
        x = torch.randn((5, *shape), generator=generator, dtype=torch.float64)
        y = oracle(x).argmax(dim=1)
        exact = oracle.worst_margin(x.numpy(), y.numpy(), 0.1, norm="l2")
        threat = type(LINEAR["l2-free-linear1"].threat)("l2")
        problem = Problem("shape", oracle, x, y, threat, 0.1, {"norm": "l2"}, exact)
        attack_ = {"exact": Exact(), **ATTACKS}[attack]
        laws.check_budget(attack_, problem)
        laws.check_best_seen(attack_, problem)
        laws.check_truth(attack_, problem, 1e-9 if attack in ("exact", "auto") else None)


def test_suite_fails_for_attacks_that_break_the_laws():
    class Outside(Noise):
        def search(self, fn, region, best, start, generator):
            z = region.x + 2 * (region.sample(generator) - region.x)
            best.update(z, fn(z))

    class Last(Noise):
        def search(self, fn, region, best, start, generator):
            best.z = region.sample(generator)
            best.value = fn(best.z)

    class Global(Noise):
        def search(self, fn, region, best, start, generator):
            z = region.project(region.x + torch.randn_like(region.x))
            best.update(z, fn(z))

    class Fooled(Noise):
        def search(self, fn, region, best, start, generator):
            _, _, gradient = fn.gradient(region.x)
            z = region.project(region.x + 0.1 * gradient)
            best.update(z, fn(z))

    for attack, word in [
        (Outside(), "beyond|budget"),
        (Last(), "best seen"),
        (Global(), "global generator"),
        (Fooled(), "fool"),
    ]:
        with pytest.raises(AssertionError, match=word):
            laws.check_attack_laws(attack)
    with pytest.raises(AssertionError, match="missing"):
        laws.check_attack_laws(Noise(n_draws=1), reaches=0.01)


def test_suite_passes_for_good_attacks():
    laws.check_attack_laws(PGD(n_steps=2))
    laws.check_attack_laws(Exact(), reaches=1e-9, affine_only=True)
