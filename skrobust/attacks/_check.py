"""What users write for an attack becomes an attack."""

from __future__ import annotations

import math
from collections.abc import Callable

from skrobust.attacks._apgd import APGD
from skrobust.attacks._auto import Auto
from skrobust.attacks._base import Attack
from skrobust.attacks._exact import Exact
from skrobust.attacks._noise import Noise
from skrobust.attacks._pgd import PGD
from skrobust.attacks._search import Search
from skrobust.attacks._single import Single
from skrobust.exceptions import invalid

__all__ = ["ATTACKS", "check_attack"]


def _thorough() -> Attack:
    return Auto(
        n_steps=100, n_restarts=12, n_queries=2000, n_queries_black_box=5000, close=math.inf
    )


_COMMON: dict[str, Callable[[], Attack]] = {
    "pgd": PGD,
    "apgd": APGD,
    "exact": Exact,
    "search": Search,
}
ATTACKS: dict[str, dict[str, Callable[[], Attack]]] = {
    "evaluate": {
        **_COMMON,
        "noise": lambda: Noise(n_draws=100),
        "single": Single,
        "auto": Auto,
        "thorough": _thorough,
    },
    "train": {
        **_COMMON,
        "noise": Noise,
        "exact": lambda: Exact(verify=False),  # the estimator knows whether its network is affine
        "single": lambda: Single(verify=False),
        "auto": lambda: Single(verify=False),
    },
}


def check_attack(attack, purpose: str = "evaluate") -> Attack:
    """An attack from its name, or an attack as it is.

    Parameters
    ----------
    attack : str or Attack
        ``"noise"``, ``"single"``, ``"pgd"``, ``"apgd"``, ``"exact"``, ``"search"`` or ``"auto"``; for
        evaluation also ``"thorough"``: "auto" with more steps, restarts and queries.
    purpose : {"evaluate", "train"}
        Training wants a cheap "auto" (one step from where each row went last), evaluation one
        that is hard to fool.

    >>> check_attack("pgd")
    PGD()
    >>> check_attack("auto", purpose="train")
    Single(verify=False)
    """
    if purpose not in ATTACKS:
        raise invalid("purpose", purpose, '"evaluate" or "train"')
    if isinstance(attack, Attack):
        return attack.checked()
    known = ATTACKS[purpose]
    if isinstance(attack, str) and attack in known:
        return known[attack]()
    allowed = ", ".join(f'"{name}"' for name in sorted(known)) + " or an attack object"
    hint = f"Did you mean {attack.__name__}()?" if isinstance(attack, type) else ""
    error = ValueError if isinstance(attack, str) else TypeError
    raise invalid("attack", attack, allowed, hint, error)
