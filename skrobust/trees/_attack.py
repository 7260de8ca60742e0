"""The attack on tree models, and the same as a function."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from skrobust._torch import differences, generator_from
from skrobust.attacks import Attack, Best, Objective, Search, Survivors
from skrobust.exceptions import invalid
from skrobust.threats import Region, check_threat
from skrobust.trees._forest import LINKS, Forest
from skrobust.trees._hunt import Effort, hunt
from skrobust.trees._rules import is_enumerated

__all__ = ["TreeSearch", "WorstRows", "worst_rows"]


class TreeSearch(Attack):
    """Worst rows of a tree model, found among the leaves that each row can reach.

    A tree model is constant between its thresholds, so the worst case within a region is a choice
    of one leaf per tree whose boxes meet there. One tree has its best leaf looked up: the answer
    is exact. For ensembles

    1. trees are cut down to the leaves that the row can reach; where the sum of the largest
       leaves of all trees does not pass the goal, the row is proven safe and leaves;
    2. the best move of a single column (all of them are known exactly, at the price of one pass
       over the leaves) is made until none helps;
    3. ``n_states`` states per row climb again and again from a leaf entered at random; in l1 and
       l2 balls first at several prices per step;
    4. ``exact=True``: what is open still is solved by mixed-integer programming.

    Parameters
    ----------
    n_states : int
        Places from which each row climbs.
    n_rounds : int
        Kicks of each of them.
    n_targets : int or None
        Classes that kicks aim at, those first whose scores came closest; None: all of them.
    exact : bool or int
        Which answers to prove: all of those that are open, or those of rows that reach at most
        so many leaves. A proof takes 0.01 to 1 s for 100 trees of usual size; where only the
        goal counts (is the row lost?) it is several times faster.
    time_limit : float
        Seconds for each proof; without one, the best row found counts. A row of which one class
        cannot be settled within that time is left unproven.

    References
    ----------
    Kantchelian, Tygar & Joseph (2016), "Evasion and hardening of tree ensemble classifiers";
    Chen et al. (2019), "Robustness verification of tree-based models"; Zhang, Zhang & Hsieh
    (2020), "An efficient adversarial attack for tree ensembles".

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from skrobust import worst_case
    >>> from skrobust.trees import TreeSearch
    >>> X, y = load_iris(return_X_y=True)
    >>> forest = RandomForestClassifier(20, random_state=0).fit(X, y)
    >>> worst_case(forest, X, y, radius=0.3, attack=TreeSearch(exact=True))
    WorstCase(150 rows, 50 broken)
    """

    needs_gradient = False

    def __init__(
        self,
        n_states: int = 8,
        n_rounds: int = 5,
        n_targets: int | None = 3,
        exact: bool | int = False,
        time_limit: float = 10.0,
    ):
        self.n_states = n_states
        self.n_rounds = n_rounds
        self.n_targets = n_targets
        self.exact = exact
        self.time_limit = time_limit

    def search(
        self,
        fn: Objective,
        region: Region,
        best: Best,
        start: Tensor | None,
        generator: torch.Generator,
    ) -> None:
        forest = getattr(fn, "model", None)
        if not isinstance(forest, Forest):
            raise invalid(
                "attack", self, "an attack that suits the model, for it is not made of trees",
                "Use attack='auto'.",
            )  # fmt: skip
        effort = Effort(**self.get_params())
        seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
        aims = _aims(forest, fn.row_args[0], fn.is_largest_piece)
        hunt(forest, aims, fn, region, best, effort, np.random.default_rng(seed))
        if not is_enumerated(region):  # columns move together: boxes of cells are not all there is
            live = Survivors(fn, region, best)
            live.prune()
            Search(200 * max(1, self.n_rounds)).search(
                live.fn, live.region, live.best, None, generator
            )
            live.close()


def _aims(forest: Forest, y: Tensor, is_margin: bool = True) -> np.ndarray:
    """Weights of the scores (n, n_aims, n_outputs): other classes against y; up and down.

    Where not the margin counts, all other classes together against y are an aim too: of shares
    of votes, that is the log loss. Where y (n, n_outputs) marks classes (1: wanted, -1: the one that
    the row has now), wanted ones against that, and against the mean of those not wanted.
    """
    units = np.eye(forest.n_outputs)
    if not forest.is_classifier:
        return np.broadcast_to(
            np.concatenate([units, -units]), (len(y), 2 * len(units), len(units))
        )
    if y.ndim == 2:
        return _towards(y.cpu().numpy())
    own = y.cpu().numpy().astype(np.int64)
    others = np.arange(forest.n_outputs - 1)
    others = others + (others >= own[:, None])
    aims = units[others] - units[own][:, None]
    if is_margin or forest.n_outputs < 3:
        return aims
    return np.concatenate([aims.mean(axis=1, keepdims=True), aims], axis=1)


def _towards(marks: np.ndarray) -> np.ndarray:
    """Aims (n, n_aims, n_outputs) of marked classes; rows with fewer of them than others repeat."""
    wanted = marks > 0
    count = wanted.sum(axis=1)
    first = np.argsort(~wanted, axis=1, kind="stable")  # the wanted classes of each row first
    turn = np.arange(count.max(initial=1)) % np.maximum(1, count)[:, None]
    units = np.eye(marks.shape[1])
    chosen = units[np.take_along_axis(first, turn, axis=1)]
    now = chosen - (marks < 0)[:, None]
    if (count == marks.shape[1] - 1).all():
        return now
    rest = ~wanted / np.maximum(1, (~wanted).sum(axis=1, keepdims=True))
    return np.concatenate([now, chosen - rest[:, None]], axis=1)


class WorstRows(NamedTuple):
    """Moved rows (n, d), what is worst there, a bound that no place passes, and evaluations."""

    z: np.ndarray
    value: np.ndarray
    upper: np.ndarray
    n_evaluations: np.ndarray


def worst_rows(
    forest: Forest,
    X: np.ndarray,
    y: np.ndarray,
    *,
    radius: float,
    threat: Any = "linf",
    attack: TreeSearch | None = None,
    random_state: Any = 0,
) -> WorstRows:
    """Worst rows of a forest, and how bad it can get at most.

    ``value`` is the largest difference of scores (shares of votes, or decision values)
    ``max_k s_k - s_y`` for classes y (numbers), the largest absolute residual for values y;
    ``upper`` is proven: value <= the true worst case <= upper. They meet for a single tree, and
    with ``TreeSearch(exact=True)`` where its time was enough.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from skrobust.trees import tree_view, worst_rows
    >>> X, y = load_iris(return_X_y=True)
    >>> tree = tree_view(DecisionTreeClassifier(max_depth=2, random_state=0).fit(X, y))
    >>> worst = worst_rows(tree, X[48:51], y[48:51], radius=1.0)
    >>> worst.value == worst.upper  # one tree: exact
    array([ True,  True,  True])
    >>> worst.value.round(2)
    array([0.91, 0.91, 1.  ])
    """
    x = torch.as_tensor(np.asarray(X))
    attack = attack or TreeSearch()
    target = torch.as_tensor(np.asarray(y))
    if not forest.is_classifier:
        target = target.reshape(len(x), -1)
    fn = Objective(_value(forest), target, differentiable=False).over(len(x))
    region = check_threat(threat).region(x, radius)
    best = Best(region.x, fn(region.x), None)
    effort = Effort(**attack.get_params())
    seed = int(torch.randint(2**62, (1,), generator=generator_from(random_state)))
    aims = _aims(forest, target)
    bounds = hunt(forest, aims, fn, region, best, effort, np.random.default_rng(seed))
    upper = bounds.max(axis=1)
    if not forest.is_classifier:
        link, half = LINKS[forest.link], forest.n_outputs
        high, low = link(bounds[:, :half]), link(-bounds[:, half:])
        upper = np.maximum(high - target.numpy(), target.numpy() - low).max(axis=1)
    value = best.value.numpy()
    return WorstRows(best.z.numpy(), value, np.maximum(upper, value), fn.counts(x)[0].numpy())


def _value(forest: Forest):
    def margin(z: Tensor, y: Tensor) -> Tensor:
        return differences(torch.as_tensor(forest.scores(z.numpy())), y).amax(dim=1)

    def residual(z: Tensor, y: Tensor) -> Tensor:
        return (forest.forward(z) - y).abs().amax(dim=1)

    return margin if forest.is_classifier else residual
