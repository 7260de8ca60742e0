"""What users write for a method becomes a prover."""

from __future__ import annotations

from typing import Any

from skrobust.certificates._additive import AdditiveProver
from skrobust.certificates._base import Prover, Settings
from skrobust.certificates._branch import BranchProver
from skrobust.certificates._by_noise import ByNoise
from skrobust.certificates._kernels import NeighbourProver, RbfProver
from skrobust.certificates._networks import (
    CrownProver,
    IntervalProver,
    LinearProver,
    LipschitzProver,
)
from skrobust.certificates._trees import TreeProver
from skrobust.exceptions import UnsupportedEstimatorError, invalid
from skrobust.metrics._rows import Rows
from skrobust.threats import Threat

__all__ = ["AUTO", "PROVERS", "find_prover"]

PROVERS: dict[str, type[Prover]] = {
    prover.name: prover
    for prover in (
        LinearProver,
        AdditiveProver,
        TreeProver,
        CrownProver,
        IntervalProver,
        LipschitzProver,
        BranchProver,
        NeighbourProver,
        RbfProver,
        ByNoise,
    )
}
# What "auto" tries, one after the other: what is exact first, and then what is cheap.
AUTO: tuple[str, ...] = ("linear", "additive", "trees", "crown", "neighbours", "rbf", "noise")


def find_prover(
    method: Any, estimator: Any, threat: Threat, rows: Rows, settings: Settings
) -> Prover:
    """The prover of that name for an estimator; for ``"auto"`` the first that can read it.

    Raises
    ------
    UnsupportedEstimatorError
        If it cannot read the estimator or the threat; for ``"auto"`` with the reason of each.
    """
    if isinstance(method, str) and method in PROVERS:
        return PROVERS[method](estimator, threat, rows, settings)
    if method != "auto":
        error = ValueError if isinstance(method, str) else TypeError
        raise invalid("method", method, f"one of {['auto', *PROVERS]}", "", error)
    reasons = []
    for name in AUTO:
        try:
            return PROVERS[name](estimator, threat, rows, settings)
        except UnsupportedEstimatorError as error:
            reasons.append(f"{name}: {error}")
    raise UnsupportedEstimatorError(
        f"Nothing can be proven about {type(estimator).__name__}:\n- " + "\n- ".join(reasons)
    )
