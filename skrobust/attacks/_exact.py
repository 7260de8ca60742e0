"""The exact worst case of models that are affine in the row."""

from __future__ import annotations

import torch
from torch import Tensor

from skrobust.attacks._base import Attack, Best, Objective
from skrobust.attacks._limits import FLAG
from skrobust.attacks._objective import Climb
from skrobust.exceptions import invalid
from skrobust.threats import Region

__all__ = ["Exact", "solve_affine"]


class Exact(Attack):
    """The exact worst case, for objectives whose pieces (or value) are affine in the row.

    For a piece ``a . z + b`` the worst case is the point of the region that is furthest along
    ``a``, ``max a . z = a . x + radius * ||scale * a||_q`` where nothing else limits the row; the
    region knows it for every norm, scale, bound and frozen feature. One gradient per piece finds
    all of them; the best of the points is kept. Margins of linear models, in any number of
    classes, and residuals of linear regressions are such objectives.

    Parameters
    ----------
    verify : bool
        Whether to check, at the points found, opposite to them and at random ones, that values and
        gradients are those of an affine function (three more gradients per piece). An objective
        that fails is an error, for its answer would not be exact.

    Examples
    --------
    >>> import torch
    >>> from skrobust.threats import LpBall
    >>> from skrobust.attacks import Exact
    >>> weight = torch.tensor([1.0, -3.0])
    >>> Exact().maximize(lambda z: z @ weight, torch.zeros(1, 2), LpBall("l1"), 0.5)[:2]
    (tensor([[ 0.0000, -0.5000]]), tensor([1.5000]))
    """

    limits = {"verify": FLAG}

    def __init__(self, verify: bool = True):
        self.verify = verify

    def search(
        self,
        fn: Objective,
        region: Region,
        best: Best,
        start: Tensor | None,
        generator: torch.Generator,
    ) -> None:
        probe = region.sample(generator) if self.verify else None
        affine, _ = solve_affine(fn, region, best, probe)
        if not affine:
            raise invalid(
                "attack",
                "exact",
                "an attack that suits model and threat: attack='exact' needs an affine model (linear "
                "or logistic regression, linear SVM) and a threat without band, repair or, for l2 "
                "and l1, whole numbers and levels",
                "Use attack='auto'.",
            )


def solve_affine(
    fn: Objective, region: Region, best: Best, probe: Tensor | None
) -> tuple[bool, Tensor]:
    """Report the linear worst case of each piece to ``best``, as long as pieces look affine.

    Values and gradients at ``probe``, at the best point and at the one opposite are compared with
    those at the rows; without ``probe`` nothing is compared. Returns whether every piece of every
    row passed (never for a threat whose linear worst case has no closed form), and which rows (n,)
    have no slope at all.
    """
    x = region.x
    if not region.exact_steepest:
        return False, torch.zeros(len(x), dtype=torch.bool, device=x.device)
    flat = torch.ones(len(x), dtype=torch.bool, device=x.device)
    # one piece of each row at a time; None stands for the value itself
    pieces = [None] if fn.pieces is None else fn.ranked_pieces(x).unbind(dim=1)
    for piece in pieces:
        here = fn.gradient(x, piece)
        flat &= (here.gradient == 0).flatten(1).all(dim=1)
        found = region.realize(region.steepest(here.gradient))
        if probe is None:
            best.update(found, fn(found))
            continue
        for z in (found, region.steepest(-here.gradient), probe):
            z = region.realize(z)
            there = fn.gradient(z, piece)
            best.update(z, there.value)
            if not _agree(here, there, x, z - x).all():
                return False, flat
    return True, flat


def _agree(here: Climb, there: Climb, x: Tensor, shift: Tensor) -> Tensor:
    """Whether two values and gradients, ``shift`` apart, can be those of one affine function."""
    tolerance = torch.finfo(shift.dtype).eps ** 0.5
    shift, x = torch.nan_to_num(shift, nan=0.0), torch.nan_to_num(x, nan=0.0)
    slope = here.gradient.flatten(1)
    bend = (there.gradient.flatten(1) - slope).abs().amax(dim=1)
    steady = bend <= tolerance * slope.abs().amax(dim=1)
    rise = slope * shift.flatten(1)
    size = here.climbed.abs() + there.climbed.abs()
    size = size + (slope * x.flatten(1)).abs().sum(dim=1) + rise.abs().sum(dim=1)
    miss = (there.climbed - here.climbed - rise.sum(dim=1)).abs()
    absent = here.climbed == -torch.inf  # a piece that the row does not have
    return absent | (steady & (miss <= tolerance * size))
