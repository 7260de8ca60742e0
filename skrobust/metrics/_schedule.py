"""A cheap attack while a search sorts its candidates, a careful one for the last of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

from sklearn.base import BaseEstimator

from skrobust.attacks import Attack, check_attack
from skrobust.exceptions import invalid

__all__ = ["AttackSchedule", "attack_for"]


class AttackSchedule(BaseEstimator):
    """The attack of a scorer, by one parameter of the model that is scored.

    ``attacks[k]`` with the largest ``k <= value of the parameter``

    For ``attack=`` of :class:`RobustScorer` in scikit-learn's searches by successive halving: there
    the resource (``max_epochs``) grows from round to round, so it tells the rounds apart. Candidates
    are only ever compared within a round, hence always under the same attack.

    Parameters
    ----------
    parameter : str
        Name of a parameter of the model, as in its ``get_params()``; what ``resource=`` of the
        search is given, such as ``"max_epochs"`` or ``"robustclassifier__max_epochs"``.
    attacks : dict
        Attacks (names or objects) by the value from which they are used, for example
        ``{1: "pgd", 27: "thorough"}``. Below the smallest number its attack is used too. Where the
        parameter is no number (``max_epochs="auto"``, None) nobody is halving, and the attack of
        the largest number is used.

    Raises
    ------
    ValueError, TypeError
        When scoring, if ``attacks`` is no such dict or the model has no such parameter. All attacks
        are checked in the first round.

    Notes
    -----
    The last round reaches ``min_resources * factor ** k``, which may be less than ``max_resources``:
    let the careful attack begin at a number that the last round reaches. With
    ``resource="n_samples"`` there is no parameter to read, and no schedule. Say
    ``return_train_score=False``: by default scikit-learn's halving has the training rows attacked too.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.experimental import enable_halving_search_cv
    >>> from sklearn.model_selection import HalvingGridSearchCV
    >>> from skrobust import RobustClassifier, RobustScorer
    >>> from skrobust.metrics import AttackSchedule
    >>> X, y = load_iris(return_X_y=True)
    >>> schedule = AttackSchedule("max_epochs", {1: "pgd", 8: "apgd"})
    >>> search = HalvingGridSearchCV(
    ...     RobustClassifier(batch_size=30, random_state=0),
    ...     {"radius": [0.0, 0.2], "lr": [0.0001, 0.02]},
    ...     resource="max_epochs",
    ...     min_resources=4,
    ...     max_resources=8,
    ...     factor=2,
    ...     cv=2,
    ...     scoring=RobustScorer(radius=0.2, attack=schedule, random_state=0),
    ...     return_train_score=False,
    ... ).fit(X, y)
    >>> search.n_resources_, search.n_candidates_
    ([4, 8], [4, 2])
    >>> search.best_params_["lr"], search.best_params_["max_epochs"]
    (0.02, 8)
    """

    def __init__(self, parameter: str, attacks: Mapping[float, Any]):
        self.parameter = parameter
        self.attacks = attacks

    def of(self, estimator: Any) -> Attack:
        """The attack for a model.

        Parameters
        ----------
        estimator : estimator or fitted search
            Of a fitted search the ``best_estimator_`` is meant.

        Returns
        -------
        Attack
        """
        checked = self._checked()
        value = self._value(getattr(estimator, "best_estimator_", estimator))
        if isinstance(value, bool) or not isinstance(value, Real):
            return checked[max(checked)]
        return checked[max((k for k in checked if k <= value), default=min(checked))]

    def _checked(self) -> dict[float, Attack]:
        allowed = "a dict of attacks by numbers, such as {1: 'pgd', 27: 'thorough'}"
        if not isinstance(self.attacks, Mapping):
            raise invalid("attacks", self.attacks, allowed, error=TypeError)
        if not self.attacks or not all(map(_is_number, self.attacks)):
            raise invalid("attacks", self.attacks, allowed)
        return {start: check_attack(attack) for start, attack in self.attacks.items()}

    def _value(self, estimator: Any) -> Any:
        known = estimator.get_params() if hasattr(estimator, "get_params") else {}
        if self.parameter not in known:
            alike = [name for name in known if name.endswith(f"__{self.parameter}")]
            raise invalid(
                "parameter",
                self.parameter,
                f"a parameter of the model, here {type(estimator).__name__}",
                f"Did you mean {alike[0]!r}?" if alike else "Give what resource= was given.",
            )
        return known[self.parameter]


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def attack_for(attack: Any, estimator: Any) -> Any:
    """What a scorer uses for a model: schedules are looked up, anything else stays as it is."""
    return attack.of(estimator) if isinstance(attack, AttackSchedule) else attack
