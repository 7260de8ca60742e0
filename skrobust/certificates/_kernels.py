"""Nearest neighbours and RBF machines, by their formulas."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from skrobust.bridge import Chain, affine_map, is_affine
from skrobust.bridge._kernels import Kernel
from skrobust.bridge._neighbors import Neighbours
from skrobust.bridge._votes import Votes
from skrobust.certificates._base import Prover, Settings
from skrobust.exceptions import UnsupportedEstimatorError
from skrobust.metrics._rows import Rows
from skrobust.metrics._tasks import is_regression
from skrobust.metrics._view import torch_view
from skrobust.threats import Region, Threat
from skrobust.threats._geometry import find_norm

__all__ = ["NeighbourProver", "RbfProver"]

N_OWN = (
    64  # rows of the same class that are compared with all others; more of them prove little more
)
SLACK = 1e-11


class _Parts(NamedTuple):
    """``x -> x A' + c`` in front, the view of interest, and what comes after it."""

    weight: Tensor
    bias: Tensor
    view: nn.Module
    after: list[nn.Module]


def _parts(estimator: Any, rows: Rows, kind: type) -> _Parts:
    found = torch_view(estimator, rows)
    if found is None or rows.values.ndim != 2:
        raise UnsupportedEstimatorError(f"{type(estimator).__name__} has no torch view of tables.")
    flat = _flat(found.module.double().cpu())
    at = next((i for i, part in enumerate(flat) if isinstance(part, kind)), None)
    if at is None:
        raise UnsupportedEstimatorError(f"{type(estimator).__name__} has no {kind.__name__} in it.")
    front = Chain(*flat[:at])
    if not is_affine(front):
        raise UnsupportedEstimatorError(
            f"A step before the {kind.__name__} of {type(estimator).__name__} is not affine."
        )
    weight, bias = affine_map(front, rows.values.shape[1])
    return _Parts(weight.detach(), bias.detach(), flat[at], flat[at + 1 :])


def _flat(module: nn.Module) -> list[nn.Module]:
    if isinstance(module, Chain):
        return [leaf for part in module for leaf in _flat(part)]
    return [module]


def _refuse_rules(threat: Threat) -> None:
    if threat.ruled:
        raise UnsupportedEstimatorError(
            "Threats with whole numbers, categories, bands or repairs are not covered by formulas."
        )


def _steps(region: Region) -> tuple[Tensor, str]:
    """One step (n or 1, d) of each column that can move, in its units, and the norm that adds up."""
    moves = (region.high > region.low).any(dim=0)
    scale = region.scale.expand(1, region.x.shape[1]).double()
    return torch.where(moves, scale, 0.0), region.norm


class NeighbourProver(Prover):
    """Nearest neighbours with equal votes: how far until other rows are nearer.

    A row z is nearer to j than to i on one side of a plane, which is

        eps_ij = (||x - x_j||^2 - ||x - x_i||^2) / (2 ||scale * (x_i - x_j)||_dual)

    steps away. For one neighbour nothing changes within ``min over j of max over i of eps_ij``, i of
    the row's class and j of others (Wang et al. 2019, "Evaluating the robustness of nearest neighbor
    classifiers", arXiv:1906.03972). For k, b rows of another class must each be nearer than all but
    some of the own ones; order statistics take the place of min and max. A lower bound; bounds of
    the threat are not used, frozen columns are. Distances are euclidean; rows move in any norm.
    """

    name = "neighbours"

    def __init__(self, estimator: Any, threat: Threat, rows: Rows, settings: Settings):
        _refuse_rules(threat)
        self.threat = threat
        self.front_weight, self.front_bias, view, after = _parts(estimator, rows, Neighbours)
        weighed = view.weigh and view.n_nearest != 1
        if is_regression(estimator) or not view.log or after or view.radius is not None or weighed:
            raise UnsupportedEstimatorError(
                "Of nearest neighbours, classifiers by the votes of k rows of equal weight are proven."
            )
        if view.order != 2.0:
            raise UnsupportedEstimatorError("Neighbours are proven for euclidean distances only.")
        self.n_nearest = view.n_nearest
        self.points, self.classes = view.rows, view.targets.argmax(dim=1)
        self.n_classes = view.targets.shape[1]
        moves = threat.region(torch.as_tensor(rows.values.astype("float64")), 1.0)
        steps, norm = _steps(moves)
        self.order = find_norm(norm.dual).order
        self.spread = self.points @ self.front_weight * steps  # what a step does to products

    def largest(self, X: Tensor, label: Tensor) -> Tensor:
        seen = X @ self.front_weight.T + self.front_bias
        every = [self._radius(row, int(own)) for row, own in zip(seen, label, strict=True)]
        return torch.tensor(every, dtype=torch.float64)

    def margin(self, X: Tensor, label: Tensor, radius: Tensor) -> Tensor:
        """One vote at least, as a difference of log shares, within what is proven."""
        held = self.largest(X, label) > radius
        return torch.where(held, math.log1p(1 / self.n_nearest), -torch.inf).double()

    def outputs(self, X: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
        """Log shares of votes: nothing more is known of them than what shares can be."""
        shape = (len(X), self.n_classes)
        least = math.log(torch.finfo(torch.float64).tiny)
        return torch.full(shape, least).double(), torch.zeros(shape).double()

    def _radius(self, x: Tensor, own: int) -> float:
        apart = (self.points - x).square().sum(dim=1)
        mine = torch.nonzero(self.classes == own).flatten()
        mine = mine[apart[mine].argsort()][: max(N_OWN, 2 * self.n_nearest)]
        found = math.inf
        for other in range(self.n_classes):
            theirs = torch.nonzero(self.classes == other).flatten()
            if other == own or not len(theirs):
                continue
            if not len(mine):
                return 0.0
            gap = (apart[theirs] - apart[mine][:, None]) / 2  # of i (rows) and j (columns)
            length = torch.cdist(self.spread[mine], self.spread[theirs], p=self.order)
            gap = gap - SLACK * (apart[theirs] + apart[mine][:, None])
            eps = torch.where(gap > 0, gap / length, 0.0)
            found = min(found, self._votes_changed(eps))
        return found

    def _votes_changed(self, eps: Tensor) -> float:
        """The least radius at which the other class may have as many votes as the row's own."""
        k = self.n_nearest
        ranked = eps.sort(dim=0, descending=True).values  # the hardest to pass first
        found = math.inf
        for b in range(-(-k // self.n_classes), min(k, eps.shape[1]) + 1):
            left = min(b, k - b)  # own votes that may remain
            if left >= len(ranked):
                return 0.0  # fewer own rows than votes
            need = ranked[left].sort().values[b - 1]
            found = min(found, float(need))
        return found


class RbfProver(Prover):
    """Machines with an RBF kernel: support vectors, kernel ridge.

    ``f = sum_i a_i exp(-gamma ||x - c_i||^2) + b`` changes within euclidean distance r by at most

        ||f||_H sqrt(2 - 2 exp(-gamma r^2)),   ||f||_H^2 = a' K a

    and by what its terms can change one by one, each between its values at distances
    ``||x - c_i|| +- r``; the better of both counts. The movement of the threat is enclosed in such
    a ball, through affine steps in front. Several classes: the label must win each of its pairs.
    """

    name = "rbf"

    def __init__(self, estimator: Any, threat: Threat, rows: Rows, settings: Settings):
        _refuse_rules(threat)
        self.threat = threat
        self.front_weight, self.front_bias, kernel, after = _parts(estimator, rows, Kernel)
        if kernel.kind != "rbf":
            raise UnsupportedEstimatorError(f"Kernels are proven for 'rbf', not {kernel.kind!r}.")
        self.votes = after.pop() if after and isinstance(after[-1], Votes) else None
        if not is_affine(Chain(*after)):
            raise UnsupportedEstimatorError("What follows the RBF kernel is not affine.")
        self.gamma = float(kernel.gamma)
        self.centers = (kernel.centers + kernel.origin).detach()
        weight, bias = affine_map(Chain(*after), len(self.centers))
        self.weight, self.bias = weight.detach(), bias.detach()
        self.is_values = is_regression(estimator)
        self.gram = (-self.gamma * torch.cdist(self.centers, self.centers).square()).exp()

    def outputs(self, X: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
        """Bounds of values or logits; of votes of pairs nothing is said."""
        if self.votes is not None:
            none = torch.full((len(X), len(self.votes.signs)), torch.inf, dtype=torch.float64)
            return -none, none
        units = torch.eye(len(self.weight), dtype=torch.float64).expand(len(X), -1, -1)
        low, high = self._least(units, X, radius), -self._least(-units, X, radius)
        pad = (1, 0) if low.shape[1] == 1 and not self.is_values else (0, 0)
        return nn.functional.pad(low, pad), nn.functional.pad(high, pad)

    def margin(self, X: Tensor, label: Tensor, radius: Tensor) -> Tensor:
        if self.votes is not None:
            signs = self.votes.signs.double()[label]  # (n, n_pairs): +1 where first, 0 where absent
            found = self._least(torch.diag_embed(signs), X, radius) - signs * self.votes.center
            return torch.where(signs != 0, found, torch.inf).amin(dim=1)
        if len(self.weight) == 1:
            sign = (2.0 * label - 1)[:, None, None].double()
            return self._least(sign, X, radius)[:, 0]
        units = torch.eye(len(self.weight), dtype=torch.float64)
        found = self._least(units[label][:, None, :] - units, X, radius)
        return found.scatter(1, label[:, None], torch.inf).amin(dim=1)

    def _least(self, directions: Tensor, X: Tensor, radius: Tensor) -> Tensor:
        """Lower bound (n, m) of directions (n, m, n_outputs) of the outputs within the region."""
        found = []
        size = max(1, 2**22 // (len(self.centers) * max(1, directions.shape[1])))
        for rows in torch.arange(len(X)).split(size):
            found.append(self._least_of(directions[rows], X[rows], radius[rows]))
        return torch.cat(found)

    def _least_of(self, directions: Tensor, X: Tensor, radius: Tensor) -> Tensor:
        seen = X @ self.front_weight.T + self.front_bias
        r = farthest(self.threat.region(X, radius), self.front_weight)
        apart = torch.cdist(seen, self.centers, compute_mode="donot_use_mm_for_euclid_dist")
        near = (-self.gamma * (apart - r[:, None]).clamp(min=0).square()).exp()
        far = (-self.gamma * (apart + r[:, None]).square()).exp()
        here = (-self.gamma * apart.square()).exp()
        weight, bias = directions @ self.weight, directions @ self.bias
        up, down = weight.clamp(min=0), weight.clamp(max=0)
        terms = (up * far[:, None] + down * near[:, None]).sum(dim=2)
        length = torch.einsum("nmi,ij,nmj->nm", weight, self.gram, weight).clamp(min=0).sqrt()
        whole = (weight * here[:, None]).sum(dim=2) - length * (
            -2 * torch.expm1(-self.gamma * r.square())
        ).sqrt()[:, None]
        slack = SLACK * (weight.abs().sum(dim=2) + bias.abs())
        return torch.maximum(terms, whole) + bias - slack


def farthest(region: Region, weight: Tensor) -> Tensor:
    """Upper bound (n,) of ``||A (z - x)||_2`` over the region, for ``weight`` A (m, d)."""
    width = torch.maximum(region.high - region.x, region.x - region.low).double()
    found = torch.linalg.vector_norm(width @ weight.abs().T, dim=1)
    steps, norm = _steps(region)
    if norm.order <= 2:  # such a ball lies in the euclidean one
        stretch = torch.linalg.matrix_norm(weight * steps, ord=2)
        found = torch.minimum(found, region.radius.double() * stretch)
    return found * (1 + 1e-12)
