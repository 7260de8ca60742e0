"""Threats with rules, as trees see them: columns that move in steps, and columns that leap."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skrobust.threats import Region

__all__ = ["Leap", "changed", "is_enumerated", "leaps_of", "steps_of"]


class Leap(NamedTuple):
    """One category of one group: its columns, and what stands in them."""

    columns: Tensor
    values: Tensor


def steps_of(region: Region) -> dict[int, np.ndarray | None]:
    """Columns of whole numbers (None), and columns that know few values (these values)."""
    if not region.ruled:
        return {}
    rules = region.rules
    whole = [] if rules.whole is None else np.flatnonzero(rules.whole.cpu().numpy()).tolist()
    known = {k: np.sort(v.cpu().double().numpy()) for k, v in rules.levels.items()}
    return dict.fromkeys(whole) | known


def leaps_of(region: Region) -> list[Leap]:
    """All categories of all one-hot groups and columns of codes."""
    if not region.ruled or region.rules.leaps is None or not region.rules.leaps.most:
        return []
    rules, found = region.rules.leaps, []
    for columns, valid, empty in zip(rules.index, rules.valid, rules.may_be_empty, strict=True):
        columns = columns[valid]
        ones = torch.eye(len(columns), dtype=region.x.dtype, device=region.x.device)
        found += [Leap(columns, one) for one in ones]
        found += [Leap(columns, torch.zeros_like(ones[0]))] * bool(empty)
    for column, values in zip(rules.codes, rules.levels, strict=True):
        place = torch.tensor([column], device=region.x.device)
        found += [Leap(place, value[None]) for value in values]
    return found


def is_enumerated(region: Region) -> bool:
    """Whether single leaps, and boxes of cells around them, are all that a region allows."""
    if not region.ruled:
        return True
    rules = region.rules
    coupled = rules.band is not None or rules.rules.repair is not None
    return not coupled and (rules.leaps is None or rules.leaps.most <= 1)


def changed(region: Region, base: Tensor, leap: Leap) -> tuple[Tensor, Tensor]:
    """Rows ``base`` (n, d) with that category, and the numbers of rows that may change to it."""
    moved = base.clone()
    moved[:, leap.columns] = leap.values
    moves = (moved != base).any(dim=1) & ~base[:, leap.columns].isnan().any(dim=1)
    allowed = region.distance(moved) <= region.radius
    rows = torch.nonzero(moves & allowed & (region.radius > 0)).flatten()
    return moved[rows], rows
