"""Checks of the search: would another attack have found more? (D5 to D12)"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from skrobust._torch import to_tensor
from skrobust.attacks import APGD, PGD, Search, WorstOf
from skrobust.inspection._checks_model import Verdict
from skrobust.inspection._lab import Lab
from skrobust.inspection._rows import feature_names

__all__ = [
    "black_box",
    "convergence",
    "huge_radius",
    "last_step",
    "noise",
    "one_step",
    "restarts",
    "valid_rows",
]

COLLAPSED = 15.0  # points of accuracy between one step and twenty
LUCKY = 0.25  # share of rows where noise gets further than the attack
FALLEN = 0.08  # share of rows whose ascent ends well below its best


def one_step(lab: Lab) -> Verdict:
    """D5: a single step that beats twenty, or that is far too harmless."""
    one, twenty = lab.one_step.value, lab.twenty
    gap = lab.growth(one, twenty)
    if lab.beyond(-gap, 2.5):
        return (
            False,
            gap,
            f"One large step finds {-gap:.1f} {lab.unit} more than twenty small ones: the slope "
            "misleads (masked gradients). Believe attack='thorough' and attack='search' only.",
        )
    if lab.classifies and gap > COLLAPSED and _resists_one_step(lab):
        kept, left = (100 * (len(lab.rows) - (v > 0).sum()) / lab.n_rows for v in (one, twenty))
        return (
            False,
            gap,
            f"Under one step the accuracy is {kept:.0f}%, under twenty {left:.0f}%: the model has "
            "learned to resist one single step and nothing else (collapsed single-step training). "
            "Train with attack='pgd', or with a smaller radius, and keep an eye on the held-out "
            "accuracy under several steps.",
        )
    return True, gap, f"Twenty steps find {gap:.1f} {lab.unit} more than one."


def _resists_one_step(lab: Lab) -> bool:
    """Whether one step breaks less than half of the rows that twenty break.

    An undefended model gives way to the very first step; a collapsed one has learned that step.
    """
    return (lab.one_step.value > 0).sum() < (lab.twenty > 0).sum() / 2


def convergence(lab: Lab) -> Verdict:
    """D6: twice as many steps, or queries."""
    if lab.doubled is None:
        return None, None, f"{lab.base_attack} has no number of steps that could be doubled."
    more = _more(lab, lab.doubled, 0.5 if lab.white else 5.0)
    what = "steps" if lab.white else "queries"
    if lab.beyond(more, 0.5 if lab.white else 5.0):
        return (
            False,
            more,
            f"Twice the {what} find {more:.1f} {lab.unit} more: the search has not converged, and "
            "the truth is lower than the score. Use attack='thorough', or give the attack more "
            f"{what}.",
        )
    return True, more, f"Twice the {what} find {more:.1f} {lab.unit} more."


def restarts(lab: Lab) -> Verdict:
    """D7: four more starts."""
    if not lab.white:
        return None, None, "A random search starts anew all the time; D6 doubles its queries."
    more = _more(lab, lab.restarts, 1.0)
    if lab.beyond(more, 1.0):
        return (
            False,
            more,
            f"Five restarts find {more:.1f} {lab.unit} more than one: the surface is rugged and one "
            "start does not do. Use attack='thorough', or set n_restarts.",
        )
    return True, more, f"Five restarts find {more:.1f} {lab.unit} more than one."


def _more(lab: Lab, found: np.ndarray, points: float) -> float:
    """What was found beyond the user's attack, whose expensive part runs only in case of doubt."""
    more = lab.growth(lab.base.value, found)
    if not lab.beyond(more, points):
        return more
    return lab.growth(lab.full, np.fmax(lab.full, found))


def huge_radius(lab: Lab) -> Verdict:
    """D8: when rows may go anywhere nothing is left but chance, and more room is never better."""
    rise = _rise(lab)
    if lab.beyond(rise, 2.0):
        return (
            False,
            rise,
            f"At a larger radius the attack finds {rise:.1f} {lab.unit} less, which cannot be: it "
            "gets lost on the way. Use attack='thorough'.",
        )
    if not lab.classifies:
        return True, rise, "The loss grows with the radius."
    attack = WorstOf([PGD(n_steps=20), APGD(n_steps=30)]) if lab.white else Search(n_queries=300)
    left = float((lab.everywhere(attack).value <= 0).sum()) / lab.n_rows
    chance = lab.task.majority(np.ones(lab.n_rows))
    if lab.beyond(100 * (left - chance), 2.0):
        return (
            False,
            left,
            f"{left:.0%} of the rows stay right although each may become any other row (chance is "
            f"{chance:.0%}): the attack is blind, not the model robust. Believe attack='search' only.",
        )
    return True, left, f"With room to go anywhere {left:.0%} stay right (chance: {chance:.0%})."


def _rise(lab: Lab) -> float:
    """How much less the attack finds at twice the radius, or at it than at half of it."""
    attack = PGD(n_steps=20) if lab.white else Search(n_queries=200)
    found = [lab.run(attack, radius=lab.radius * f, salt="radii").value for f in (0.5, 1.0, 2.0)]
    return max(-lab.growth(a, b) for a, b in pairwise(found))


def black_box(lab: Lab) -> Verdict:
    """D9: a search without gradients on what gradients left."""
    white = lab.white_box
    more = lab.growth(white, np.fmax(white, lab.black_box))
    if lab.beyond(more, 2.0):  # too few restarts, or no slope to follow?
        white = lab.stubborn
        more = lab.growth(white, np.fmax(white, lab.black_box))
    left = (white <= 0).sum() / lab.n_rows if lab.classifies else 1.0
    share = more / (100 * max(left, 1 / lab.n_rows))
    if not lab.beyond(more, 2.0):
        return True, share, f"Random search adds {share:.1%} to what gradients found."
    what = f"breaks {share:.1%} of the rows that gradients could not break"
    if not lab.classifies:
        what = f"finds a mean loss {share:.1%} larger than gradients do"
    return (
        False,
        share,
        f"Random search {what}: the gradients mislead (masked). Believe attack='search' and "
        "attack='thorough' only.",
    )


def noise(lab: Lab) -> Verdict:
    """D10: as many random points as points chosen by the attack, row by row."""
    share = _luck(lab, lab.radius)
    # gradients that are blind are so at any radius; votes and ties fool them at small ones
    if share > LUCKY:
        share = min(share, *(_luck(lab, factor * lab.radius) for factor in (2, 4)))
    if share > LUCKY:
        return (
            False,
            share,
            f"For {share:.0%} of the rows twenty random points are worse than twenty that the attack "
            "chose: it does not know where to go. The score measures noise, not the worst case.",
        )
    return True, share, f"Noise gets further than the attack on {share:.0%} of the rows."


def _luck(lab: Lab, radius: float) -> float:
    """Share of rows where noise gets further; a row that is lost is lost, no matter how far."""
    gain, luck = (run(radius) - lab.clean for run in (lab.guided, lab.noise))
    if lab.classifies:
        gain, luck = (np.minimum(part, -lab.clean) for part in (gain, luck))
    with np.errstate(invalid="ignore"):
        return float(np.mean(luck > 1.05 * gain + 1e-12 * np.abs(lab.clean)))


def last_step(lab: Lab) -> Verdict:
    """D11: ascents that end well below where they have been."""
    share = max(_fallen(lab, factor * lab.radius) for factor in (0.5, 1.0))
    if share > max(FALLEN, 2.5 / len(lab.rows)):
        return (
            False,
            share,
            f"{share:.0%} of the rows lose more than a twentieth of their way up again before the "
            "last of twenty steps: the ascent jumps about (steps too large, or a jagged surface). "
            "skrobust returns the best point seen; tools that return the last one will overrate "
            "this model.",
        )
    return True, share, f"{share:.1%} of the rows end lower than they have been."


def _fallen(lab: Lab, radius: float) -> float:
    """Share of rows that lose more than 5% of their gain; lost rows stay lost."""
    path = lab.path(radius)
    if lab.classifies:
        path = np.minimum(path, 0.0)
    best = path.max(axis=0)
    with np.errstate(invalid="ignore"):
        return float(np.mean(best - path[-1] > 0.05 * (best - path[0])))


def valid_rows(lab: Lab) -> Verdict:
    """D12: whether the moved rows could be rows at all, in the user's own container."""
    rows = lab.evaluation.rows
    z = rows.values.copy()
    z[lab.rows] = lab.base.z
    given = rows.read(rows.like_given(z))
    region = lab.threat.region(to_tensor(rows.values), lab.radius)
    moved = region.distance(to_tensor(given, dtype=region.x.dtype))
    slack = 1e-9 if rows.values.dtype == np.float64 else 1e-6
    wrong = ~torch.isfinite(moved) | (moved > lab.radius * (1 + slack))
    share = float(wrong.double().mean())
    if share:
        return (
            False,
            share,
            f"{share:.0%} of the moved rows break the threat (too far, out of bounds, or a frozen "
            "column moved): the attack cheats, and the score is too low.",
        )
    return True, share, " ".join(["All moved rows keep to the threat.", *_remarks(lab, given)])


def _remarks(lab: Lab, z: np.ndarray) -> list[str]:
    """What a table would not hold: halves of whole numbers, values never seen."""
    x = lab.evaluation.rows.values
    if x.ndim != 2:
        return []
    names = feature_names(lab.evaluation.rows.given, x.shape[1])
    whole = (np.nan_to_num(x) % 1 == 0).all(axis=0) & (np.nan_to_num(z) % 1 != 0).any(axis=0)
    n_values = np.array([len(np.unique(column[~np.isnan(column)])) for column in x.T])
    found = []
    few = np.flatnonzero(whole & (n_values == 2))
    if len(few):
        found.append(
            f"{_some(names, few)} hold(s) two values only and moved between them: freeze such columns "
            "if they are categories."
        )
    with np.errstate(invalid="ignore"):
        outside = (z < np.nanmin(x, axis=0)) | (z > np.nanmax(x, axis=0))
    far = np.flatnonzero(outside.mean(axis=0) > 0.05)
    if len(far) and getattr(lab.threat, "bounds", None) is None:
        found.append(
            f"{_some(names, far)} left the range of the rows given in more than 5% of the rows: if "
            "that cannot happen, set bounds in the threat."
        )
    return found


def _some(names: list[str], index: np.ndarray) -> str:
    shown = ", ".join(names[j] for j in index[:3])
    rest = f" and {len(index) - 3} more" if len(index) > 3 else ""
    return f"{'Column' if len(index) == 1 else 'Columns'} {shown}{rest}"
