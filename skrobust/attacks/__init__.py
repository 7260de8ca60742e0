"""How do we search? One attack, one file."""

from skrobust.attacks._base import Attack, Best, Moved, Objective, as_objective

__all__ = ["Attack", "Best", "Moved", "Objective", "as_objective"]
