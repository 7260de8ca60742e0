"""Can the score be trusted? Twelve checks that can fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from skrobust._params import check_integer, check_number
from skrobust._torch import seeded
from skrobust.inspection import _checks_attack as of_attack
from skrobust.inspection import _checks_model as of_model
from skrobust.inspection._finding import TITLES, Finding
from skrobust.inspection._lab import Lab

__all__ = ["diagnose"]


class _Check(NamedTuple):
    """A check, and what it needs."""

    judge: Callable[[Lab], of_model.Verdict]
    gradient: bool = False
    classes: bool = False
    right_rows: bool = True


_CHECKS = {
    "D1": _Check(of_model.repeats, right_rows=False),
    "D2": _Check(of_model.logits, gradient=True, classes=True, right_rows=False),
    "D3": _Check(of_model.gradients, gradient=True),
    "D4": _Check(of_model.saturation, gradient=True, classes=True),
    "D5": _Check(of_attack.one_step, gradient=True),
    "D6": _Check(of_attack.convergence),
    "D7": _Check(of_attack.restarts),
    "D8": _Check(of_attack.huge_radius),
    "D9": _Check(of_attack.black_box, gradient=True),
    "D10": _Check(of_attack.noise),
    "D11": _Check(of_attack.last_step, gradient=True),
    "D12": _Check(of_attack.valid_rows),
}


def diagnose(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    radius: float,
    threat: Any = "linf",
    attack: Any = "auto",
    random_state: Any = None,
    max_rows: int | None = 200,
    loss: Any = None,
) -> list[Finding]:
    """Examine whether a robust score of this model can be trusted.

    A model may look robust because the search is led astray: outputs that are noisy, rounded,
    saturated or cut off from the input, or training that resists one kind of step only. Each of
    the twelve checks measures one sign of that on rows that the model gets right.

    Parameters
    ----------
    estimator, X, y, threat
        As for :func:`skrobust.worst_case`.
    radius : float
        > 0, in steps of the threat's ``scale``; take one at which some rows break and some hold.
    attack : str or attack object
        The attack whose score is in question. D6 and D7 double its steps and restart it; of
        ``"auto"`` they take the part that follows gradients.
    random_state : int, RandomState or None
        An int gives the same findings each time.
    max_rows : int or None
        How many rows to draw, 200 by default, half of them for a black box; None takes all.
        Differences of fewer than three rows never count.
    loss : str or callable, optional
        Of a regressor.

    Returns
    -------
    list of Finding
        D1 to D12, in this order; ``ok`` is None where a check does not apply to the model.

    Notes
    -----
    ====  ==========================================  ==============================================
    code  what is measured (``value``)                fails
    ====  ==========================================  ==============================================
    D1    share of rows whose output changes in a     at all
          second call
    D2    share of outputs that are probabilities     above .99
    D3    share of rows with a gradient of exactly 0  above .01
    D4    share of rows where the cross-entropy has   above .5, or probabilities all alike; for
          no slope in floating point                  networks of your own
    D5    points that twenty steps find more than     below -2.5 (masked); above 15 while one step breaks
          one                                         less than half of what twenty break (collapsed)
    D6    points that twice the steps find            above .5 (black box: 5)
    D7    points that five restarts find              above 1
    D8    accuracy when each row may become any       above chance by 2 points; or an attack that finds
          other row                                   less at a larger radius
    D9    share of the rows that gradients could not  above 2 points of accuracy
          break and random search does
    D10   share of rows where noise gets further      above .25
          than as many points of the attack
    D11   share of rows that lose 5% of their way up  above .08
          again before the last of twenty steps
    D12   share of moved rows that break the threat   at all
    ====  ==========================================  ==============================================

    Of a regressor, points are percent of the mean worst loss, and four times as many are allowed.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skrobust.inspection import diagnose
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegression(max_iter=1000).fit(X, y)
    >>> findings = diagnose(model, X, y, radius=0.4, random_state=0)
    >>> [finding.code for finding in findings if finding.ok is False]
    []
    >>> print(findings[2])
    D3  passed  Gradients are not zero: 0.0% of the rows have no gradient.
    """
    radius = check_number(
        "radius", radius, low=0, open_low=True, hint="At radius 0 there is nothing to diagnose."
    )
    if max_rows is not None:
        max_rows = check_integer("max_rows", max_rows, low=10)
    with seeded(0):  # models that draw random numbers leave no trace either
        lab = Lab(
            estimator,
            X,
            y,
            radius=radius,
            threat=threat,
            attack=attack,
            max_rows=max_rows,
            random_state=random_state,
            loss=loss,
        )
        return [_finding(code, check, lab) for code, check in _CHECKS.items()]


def _finding(code: str, check: _Check, lab: Lab) -> Finding:
    why = _not_applicable(check, lab)
    ok, value, advice = (None, None, why) if why else check.judge(lab)
    return Finding(code, ok, value, advice, TITLES[code])


def _not_applicable(check: _Check, lab: Lab) -> str:
    if check.gradient and not lab.white:
        return "The model has no gradient that could mislead."
    if check.classes and not lab.classifies:
        return "It is for classifiers."
    if check.right_rows and len(lab.rows) == 0:
        return "The model gets no row right: there is nothing to lose."
    return ""
