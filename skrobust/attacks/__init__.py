"""How do we search? One attack, one file."""

from skrobust.attacks._apgd import APGD
from skrobust.attacks._auto import Auto
from skrobust.attacks._base import Attack, Moved
from skrobust.attacks._best import Best, Survivors
from skrobust.attacks._check import ATTACKS, check_attack
from skrobust.attacks._exact import Exact
from skrobust.attacks._noise import Noise
from skrobust.attacks._objective import Climb, Objective, as_objective
from skrobust.attacks._pgd import PGD
from skrobust.attacks._search import Search
from skrobust.attacks._single import Single
from skrobust.attacks._worst_of import WorstOf

__all__ = [
    "APGD",
    "ATTACKS",
    "PGD",
    "Attack",
    "Auto",
    "Best",
    "Climb",
    "Exact",
    "Moved",
    "Noise",
    "Objective",
    "Search",
    "Single",
    "Survivors",
    "WorstOf",
    "as_objective",
    "check_attack",
]
