"""The laws of attacks as a contract suite, and models whose exact worst case is known.

Nothing here uses the geometry of :mod:`skrobust.threats`: the closed forms are written a second
time, in numpy, so that the two can disagree.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from skrobust._torch import differences
from skrobust.attacks import Attack, Moved, Objective
from skrobust.threats import LpBall

__all__ = ["LinearOracle", "Problem", "check_attack_laws", "linear_problems", "network_problem"]


class LinearOracle(nn.Module):
    """A linear classifier whose exact worst margin is known in closed form.

    Parameters
    ----------
    weight : array of shape (k, d)
        One row per logit; a single row means two classes with logits ``(0, f)``.
    bias : array of shape (k,), optional

    Examples
    --------
    >>> oracle = LinearOracle([[3.0, -4.0]])
    >>> oracle.worst_margin([[1.0, 0.0]], [1], 0.5, norm="l2")
    array([0.5])
    """

    def __init__(self, weight, bias=None):
        super().__init__()
        weight = np.atleast_2d(np.asarray(weight, dtype=np.float64))
        bias = np.zeros(len(weight)) if bias is None else np.asarray(bias, dtype=np.float64)
        self.weight_, self.bias_ = weight, bias
        self.register_buffer("weight", torch.tensor(weight))
        self.register_buffer("bias", torch.tensor(bias))

    @classmethod
    def random(cls, n_logits: int, n_features: int, seed: int = 0) -> LinearOracle:
        """An oracle with normal weights and biases."""
        rng = np.random.default_rng(seed)
        return cls(rng.normal(size=(n_logits, n_features)), 0.3 * rng.normal(size=n_logits))

    @property
    def n_classes(self) -> int:
        return max(2, len(self.weight_))

    def forward(self, z: Tensor) -> Tensor:
        return z.flatten(1) @ self.weight.T.to(z.dtype) + self.bias.to(z.dtype)

    def worst_margin(
        self, x, y, radius, *, norm="linf", scale=1.0, low=-np.inf, high=np.inf, frozen=None
    ) -> np.ndarray:
        """Smallest margin ``f_y - max_k f_k`` (n,) that a move within the radius can reach.

        ``radius`` is a number or one per row; ``scale``, ``low``, ``high``, ``frozen`` broadcast
        against ``x``. The worst case over a maximum is the worst of the worst cases.
        """
        x = np.asarray(x, dtype=np.float64)
        shape = x.shape
        scale, low, high, frozen = (
            np.broadcast_to(part, shape).reshape(len(x), -1)
            for part in (scale, low, high, False if frozen is None else frozen)
        )
        x = x.reshape(len(x), -1)
        floor, roof = (low - x) / scale, (high - x) / scale
        floor, roof = np.where(frozen, 0.0, floor), np.where(frozen, 0.0, roof)
        radius = np.broadcast_to(np.asarray(radius, dtype=np.float64), len(x))
        weight, bias = self.weight_, self.bias_
        if len(weight) == 1:
            weight = np.concatenate([np.zeros_like(weight), weight])
            bias = np.concatenate([[0.0], bias])
        worst = np.full(len(x), np.inf)
        for i in range(len(x)):
            for k in set(range(len(weight))) - {int(y[i])}:
                slope, offset = weight[y[i]] - weight[k], bias[y[i]] - bias[k]
                fall = _support(-slope * scale[i], radius[i], floor[i], roof[i], norm)
                worst[i] = min(worst[i], slope @ x[i] + offset - fall)
        return worst


def _support(slope, radius, floor, roof, norm) -> float:
    """``max slope . u`` over ``||u|| <= radius``, ``floor <= u <= roof``, one row."""
    caps = np.minimum(np.where(slope > 0, roof, -floor), radius)
    slope = np.abs(slope)
    if norm == "linf":
        return float(slope @ caps)
    if norm == "l1":
        order = np.argsort(-slope)
        before = np.concatenate([[0.0], np.cumsum(caps[order])[:-1]])
        return float(slope[order] @ np.clip(radius - before, 0.0, caps[order]))
    if norm != "l2":
        raise ValueError(f"norm={norm!r}")
    if np.linalg.norm(np.where(slope > 0, caps, 0.0)) <= radius:
        return float(slope @ caps)
    small, large = 0.0, 1.0
    while np.linalg.norm(np.minimum(large * slope, caps)) < radius:
        large *= 2
    for _ in range(200):
        middle = (small + large) / 2
        inside = np.linalg.norm(np.minimum(middle * slope, caps)) < radius
        small, large = (middle, large) if inside else (small, middle)
    return float(slope @ np.minimum(small * slope, caps))


class Problem(NamedTuple):
    """A model, rows and a threat to attack it with; ``exact`` (n,) is the worst margin if known.

    ``limits`` are the numbers behind the threat: norm, scale, low, high, frozen.
    """

    name: str
    module: nn.Module
    x: Tensor
    y: Tensor
    threat: LpBall
    radius: float
    limits: dict
    exact: np.ndarray | None = None

    def objective(self, *, factor: float = 1.0, **options) -> Objective:
        """Negative margin times ``factor``, with the logit differences as pieces."""

        def pieces(z: Tensor, y: Tensor) -> Tensor:
            return factor * differences(self.module(z), y)

        return Objective(None, self.y, pieces=pieces, **options)


def _limits(kind: str, x: np.ndarray) -> tuple[dict, dict]:
    """Options of ``LpBall`` and the numbers that they mean."""
    d = x.shape[1]
    if kind == "free":
        return {}, {}
    scale = 10.0 ** np.linspace(-2, 2, d)
    if kind == "scaled":
        return {"scale": scale}, {"scale": scale}
    low, high = x.min(axis=0), x.max(axis=0)
    frozen = np.arange(d) % 4 == 3
    if kind == "boxed":
        return {"bounds": (low, high), "frozen": frozen}, {
            "low": low,
            "high": high,
            "frozen": frozen,
        }
    if kind == "one-way":
        low, high = np.full_like(x, -np.inf), np.full_like(x, np.inf)
        low[:, 0], high[:, 1] = x[:, 0], x[:, 1]
        ways = {0: "up", 1: "down"}
        return {"direction": ways, "scale": 0.5}, {"low": low, "high": high, "scale": 0.5}
    raise ValueError(f"kind={kind!r}")


def _problem(module: nn.Module, norm: str, kind: str, n_rows: int, n_features: int) -> Problem:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(n_rows, n_features))
    if kind == "scaled":
        x = x * 10.0 ** np.linspace(-2, 2, n_features)
    options, limits = _limits(kind, x)
    z = torch.tensor(x)
    with torch.no_grad():
        logits = module(z)
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    y = logits.argmax(dim=1)
    y[::7] = (y[::7] + 1) % logits.shape[1]  # a few rows are wrong from the start
    radius = {"linf": 0.1, "l2": 0.3, "l1": 0.7}[norm]
    name = f"{norm}-{kind}-{type(module).__name__}{logits.shape[1]}"
    limits = {"norm": norm, **limits}
    return Problem(name, module, z, y, LpBall(norm, **options), radius, limits)


def linear_problems(
    norms=("linf", "l2", "l1"),
    kinds=("free", "scaled", "boxed", "one-way"),
    n_logits=(1, 2, 3),
    n_rows: int = 15,
    n_features: int = 8,
) -> Iterator[Problem]:
    """Linear models under every norm and kind of limits, with their exact worst margins."""
    for norm in norms:
        for kind in kinds:
            for k in n_logits:
                oracle = LinearOracle.random(k, n_features, seed=k)
                if kind == "scaled":  # so that each feature matters as much
                    oracle = LinearOracle(
                        oracle.weight_ / 10.0 ** np.linspace(-2, 2, n_features), oracle.bias_
                    )
                found = _problem(oracle, norm, kind, n_rows, n_features)
                exact = oracle.worst_margin(
                    found.x.numpy(), found.y.numpy(), found.radius, **found.limits
                )
                yield found._replace(exact=exact, name=f"{norm}-{kind}-linear{k}")


def network_problem(norm: str = "linf", kind: str = "free", n_classes: int = 3) -> Problem:
    """A small network with batch normalisation and dropout, in evaluation mode."""
    generator = torch.Generator().manual_seed(n_classes)
    n_out = 1 if n_classes == 2 else n_classes
    module = nn.Sequential(
        nn.Linear(8, 16), nn.BatchNorm1d(16), nn.SiLU(), nn.Dropout(0.5), nn.Linear(16, n_out)
    ).double()
    with torch.no_grad():
        for tensor in [*module.parameters(), module[1].running_mean]:
            tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype))
    module.eval()
    found = _problem(module, norm, kind, n_rows=15, n_features=8)
    return found._replace(name=f"{norm}-{kind}-network{n_classes}")


def check_attack_laws(attack: Attack, *, reaches: float | None = None, affine_only=False) -> None:
    """Check that an attack keeps the laws of the project; raise AssertionError where not.

    The budget holds; the best point seen is returned, with its value; nothing passes the exact
    worst case of linear models; multiplying the objective changes nothing; no trace is left on
    generators, gradients, modes; the same generator gives the same rows.

    Parameters
    ----------
    attack : Attack
    reaches : float, optional
        How close to the exact worst case of linear models the attack has to come, as a share of
        the largest possible change of the margin (1e-6 for exact attacks).
    affine_only : bool
        Whether the attack works for affine models only.

    Examples
    --------
    >>> from skrobust.attacks import Noise
    >>> check_attack_laws(Noise(n_draws=3))
    """
    networks = () if affine_only else (("linf", "free"), ("l2", "scaled"), ("l1", "boxed"))
    for problem in linear_problems():
        check_truth(attack, problem, reaches)
    for problem in [
        *linear_problems(n_logits=(3,)),
        *(network_problem(*kind) for kind in networks),
    ]:
        for check in (check_no_trace, check_budget, check_best_seen, check_scale):
            check(attack, problem)


def run(
    attack: Attack, problem: Problem, fn: Objective | None = None, seed: int = 0, **kw
) -> Moved:
    generator = torch.Generator().manual_seed(seed)
    fn = problem.objective() if fn is None else fn
    return attack.maximize(fn, problem.x, problem.threat, problem.radius, generator=generator, **kw)


def check_budget(attack: Attack, problem: Problem, tolerance: float = 1e-9) -> None:
    """Law 1: ball, bounds and frozen features hold, in the units of X."""
    for goal in (None, 0.0):
        z = run(attack, problem, problem.objective(goal=goal)).z
        _inside(z.numpy(), problem, tolerance)


def _inside(z: np.ndarray, problem: Problem, tolerance: float) -> None:
    x, limits = problem.x.numpy(), problem.limits
    u = (z.astype(np.float64) - x.astype(np.float64)) / limits.get("scale", 1.0)
    order = {"linf": np.inf, "l2": 2, "l1": 1}[limits["norm"]]
    length = np.linalg.norm(u.reshape(len(u), -1), order, axis=1)
    assert (length <= problem.radius * (1 + tolerance)).all(), f"{problem.name}: budget {length}"
    low, high = (
        np.asarray(limits.get(*side)).astype(z.dtype)  # bounds count in the dtype of the rows
        for side in (("low", -np.inf), ("high", np.inf))
    )
    assert ((z >= low) & (z <= high)).all(), f"{problem.name}: out of bounds"
    frozen = np.broadcast_to(limits.get("frozen", False), x.shape)
    assert (z[frozen] == x[frozen]).all(), f"{problem.name}: a frozen feature moved"


def check_best_seen(attack: Attack, problem: Problem) -> None:
    """Law 2: per row, the largest value that was ever evaluated, and the point that has it."""
    n_rows = len(problem.x)
    seen = torch.full((n_rows,), -torch.inf, dtype=problem.x.dtype)
    calls = torch.zeros(n_rows, dtype=torch.long)

    def pieces(z: Tensor, y: Tensor, row: Tensor) -> Tensor:
        found = differences(problem.module(z), y)
        seen.scatter_reduce_(0, row, found.detach().amax(dim=1), "amax")
        calls.index_add_(0, row, torch.ones_like(row))
        return found

    for goal in (None, 0.0):
        seen.fill_(-torch.inf)
        calls.zero_()
        fn = Objective(None, problem.y, torch.arange(n_rows), pieces=pieces, goal=goal)
        moved = run(attack, problem, fn)
        assert torch.equal(moved.value, seen), f"{problem.name}: not the best seen"
        assert torch.equal(moved.n_forward, calls), f"{problem.name}: evaluations miscounted"
        again = problem.objective()(moved.z)
        assert torch.allclose(again, moved.value, rtol=1e-10, atol=1e-10), (
            f"{problem.name}: z does not have the value reported"
        )
        assert (moved.value >= problem.objective()(problem.x) - 1e-12).all(), problem.name


def check_truth(attack: Attack, problem: Problem, reaches: float | None) -> None:
    """Law 3: never beyond the exact worst case, and as close to it as promised."""
    moved = run(attack, problem)
    clean = problem.objective()(problem.x).numpy()
    room = -problem.exact - clean  # how much the negative margin can grow
    left = (-problem.exact - moved.value.numpy()) / np.maximum(room, 1e-12)
    assert (left >= -1e-9).all(), f"{problem.name}: beyond the exact worst case by {-left.min()}"
    if reaches is not None:
        assert (left <= reaches).all(), f"{problem.name}: {left.max()} of the way is missing"


def check_scale(attack: Attack, problem: Problem) -> None:
    """Law 5: the size of the logits changes nothing (powers of two are exact in floats)."""
    plain = run(attack, problem, problem.objective(goal=0.0))
    for factor in (2.0**40, 2.0**-40):
        moved = run(attack, problem, problem.objective(factor=factor, goal=0.0))
        assert torch.equal(moved.z, plain.z), f"{problem.name}: logits times {factor:g} fool it"


def check_no_trace(attack: Attack, problem: Problem) -> None:
    """Law 6: generators, gradients, flags, modes and rows are as before; runs repeat."""
    module, x = problem.module, problem.x.clone()
    flags = [p.requires_grad for p in module.parameters()]
    modes = [part.training for part in module.modules()]
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, second = run(attack, problem, seed=3), run(attack, problem, seed=3)
    assert torch.equal(torch.get_rng_state(), before[0]), "the global generator of torch moved"
    assert (np.random.get_state()[1] == before[1]).all(), "the global generator of numpy moved"
    assert all(p.grad is None for p in module.parameters()), "parameters were given gradients"
    assert flags == [p.requires_grad for p in module.parameters()], "requires_grad changed"
    assert modes == [part.training for part in module.modules()], "train/eval mode changed"
    assert torch.equal(problem.x, x) and not problem.x.requires_grad, "the rows were changed"
    assert not first.z.requires_grad and not first.value.requires_grad, "results carry a graph"
    assert torch.equal(first.z, second.z), f"{problem.name}: the same generator, other rows"
