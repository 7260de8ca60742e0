"""What the options of attacks may be: checks by name, shared by the attacks that have them."""

from __future__ import annotations

import math
from functools import partial

from skrobust._params import check_bool, check_integer, check_number

__all__ = ["BUDGET", "COUNT", "COUNT_OR_NONE", "FLAG", "LENGTH", "LENGTH_OR_NONE", "SHARE"]

BUDGET = partial(check_integer, low=0)  # of nothing: rows and starts alone
COUNT = partial(check_integer, low=1)
SHARE = partial(check_number, low=0, high=1)
FLAG = check_bool


def COUNT_OR_NONE(name, value):
    return (
        None if value is None else COUNT(name, value, hint="None leaves the choice to the attack.")
    )


def LENGTH(name, value):
    return value if value == math.inf else check_number(name, value, low=0)


def LENGTH_OR_NONE(name, value):
    hint = "None leaves the choice to the attack."
    return None if value is None else check_number(name, value, low=0, open_low=True, hint=hint)
