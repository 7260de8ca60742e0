"""Columns that leap: one-hot groups and categorical codes, under a budget of changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from skrobust.threats._rules import Rules

__all__ = ["Leaps"]


@dataclass(frozen=True)
class Leaps:
    """The leaping columns of a threat, the same for all rows.

    Groups are padded to one width: ``index`` and ``valid`` (n_groups, width). In every array of
    scores (n, n_groups, width + 1) the last place stands for the empty group, all zeros.
    """

    mask: Tensor  # (n_columns,), what leaps and is not frozen
    index: Tensor
    valid: Tensor
    may_be_empty: Tensor  # (n_groups,)
    free: Tensor  # (n_groups, width), categories that may be taken or left
    codes: list[int]
    levels: list[Tensor]
    most: int

    @classmethod
    def of(cls, rules: Rules, x: Tensor, free: np.ndarray) -> Leaps:
        width = max((len(group.columns) for group in rules.groups), default=1)
        index = np.zeros((len(rules.groups), width), dtype=np.int64)
        valid = np.zeros(index.shape, dtype=bool)
        for g, group in enumerate(rules.groups):
            index[g, : len(group.columns)] = group.columns
            valid[g, : len(group.columns)] = True
        mask = np.zeros(x.shape[1:], dtype=bool)
        mask[rules.leaps] = True
        codes = [place for place in sorted(rules.categorical) if free[place]]
        n_leaps = len(rules.groups) + len(codes)
        most = n_leaps if rules.max_changes is None else min(rules.max_changes, n_leaps)
        make = lambda values: torch.as_tensor(values, device=x.device)
        return cls(
            make(mask & free),
            make(index),
            make(valid),
            make(np.array([group.may_be_empty for group in rules.groups], dtype=bool)),
            make(valid & free[index]),
            codes,
            [make(rules.categorical[place]).to(x.dtype) for place in codes],
            most,
        )

    def limits(self, x: Tensor, radius: Tensor, low: Tensor, high: Tensor):
        """The box of the convex region: 0 to 1 for groups, the outermost levels for codes."""
        low, high = low.expand_as(x).clone(), high.expand_as(x).clone()
        awake = (radius > 0)[:, None] & self.mask & ~x.isnan() & (self.most > 0)
        low, high = torch.where(awake, 0.0, low), torch.where(awake, 1.0, high)
        for place, levels in zip(self.codes, self.levels, strict=True):
            own, here = x[:, place], awake[:, place]
            low[:, place] = torch.where(here, torch.minimum(own, levels[0]), own)
            high[:, place] = torch.where(here, torch.maximum(own, levels[-1]), own)
        return low, high

    def climb(self, z: Tensor, gradient: Tensor, share: Tensor) -> Tensor:
        """A step up the gradient: ``share`` (n,) or number of the way, for the steepest column."""
        width = torch.ones_like(z[0])
        for place, levels in zip(self.codes, self.levels, strict=True):
            width[place] = levels[-1] - levels[0]
        slope = torch.where(self.mask, gradient * width, 0.0).nan_to_num()
        largest = slope.abs().amax(dim=1, keepdim=True)
        slope = slope / torch.where(largest > 0, largest, 1.0)
        return z + share.reshape(-1, 1) * width * slope

    def steepest(self, z: Tensor, gradient: Tensor, x: Tensor, awake: Tensor) -> Tensor:
        """``z`` with the changes that gain most, exactly: at most ``most`` of them."""
        gain, best = self._groups_of(self._spread(gradient, empty=0.0), x)
        code_gain, code_best = [], []
        for place, levels in zip(self.codes, self.levels, strict=True):
            slope, own = gradient[:, place], x[:, place]
            there = torch.where(slope > 0, levels[-1], levels[0])
            code_gain.append((slope * (there - own)).nan_to_num(nan=-torch.inf))
            code_best.append(there)
        return self._written(z, x, awake, gain, best, code_gain, code_best)

    def settled(self, z: Tensor, x: Tensor, awake: Tensor) -> Tensor:
        """``z`` with a category for each group: the one with the largest number."""
        scores = self._spread(z, empty=0.0)
        scores[..., -1] = 1 - scores[..., :-1].masked_fill(~self.valid, -torch.inf).amax(dim=-1)
        gain, best = self._groups_of(scores, x)
        code_gain, code_best = [], []
        for place, levels in zip(self.codes, self.levels, strict=True):
            here, own = z[:, place].contiguous(), x[:, place]
            middles = (levels[1:] + levels[:-1]) / 2
            there = levels[torch.searchsorted(middles, here)]
            stays = (here - own).abs() < (here - there).abs()
            there = torch.where(stays, own, there)
            width = (levels[-1] - levels[0]).clamp(min=torch.finfo(z.dtype).tiny)
            code_gain.append(((there - own).abs() / width).nan_to_num(nan=-torch.inf))
            code_best.append(there)
        return self._written(z, x, awake, gain, best, code_gain, code_best)

    def broken(self, z: Tensor, x: Tensor) -> Tensor:
        """Rows (n,) that are not one-hot any more, or changed too much."""
        missing = z[:, self.index].isnan() | x[:, self.index].isnan()
        ones = self._spread(z, empty=0.0)[..., :-1].masked_fill(~self.valid, 0.0)
        moved = (z[:, self.index] != x[:, self.index]) & self.valid & ~missing
        total = ones.sum(dim=-1)
        was_empty = self._current(x) == self.index.shape[1]
        wrong = ((ones != 0) & (ones != 1)).any(dim=-1) | (total > 1)
        wrong |= (total == 0) & ~(self.may_be_empty | was_empty)
        wrong |= (moved & ~self.free).any(dim=-1)
        wrong &= moved.any(dim=-1)
        changes, wrong = moved.any(dim=-1).sum(dim=1), wrong.any(dim=1)
        for place, levels in zip(self.codes, self.levels, strict=True):
            here, own = z[:, place], x[:, place]
            changed = (here != own) & ~own.isnan()
            wrong |= changed & ~torch.isin(here, levels)
            changes = changes + changed
        return wrong | (changes > self.most)

    def _spread(self, values: Tensor, empty: float) -> Tensor:
        """Values of each group's columns, and of the empty group (n, n_groups, width + 1)."""
        return torch.nn.functional.pad(values[:, self.index], (0, 1), value=empty)

    def _current(self, x: Tensor) -> Tensor:
        """The category of each row and group (n, n_groups)."""
        ones = self._spread(x, empty=0.5).nan_to_num()
        ones[..., :-1].masked_fill_(~self.valid, -torch.inf)
        return ones.argmax(dim=-1)

    def _groups_of(self, scores: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The best category of each row and group, and how much it is above the present one."""
        now = self._current(x)
        n = len(x)
        empty_now = now == self.index.shape[1]
        allowed = torch.cat(
            [self.free.expand(n, -1, -1), (self.may_be_empty | empty_now)[..., None]], dim=-1
        )
        own = scores.gather(-1, now[..., None])[..., 0]
        best = scores.masked_fill(~allowed, -torch.inf).max(dim=-1)
        leaves = torch.cat([self.free, torch.ones_like(self.free[:, :1])], dim=1)
        stuck = ~leaves.expand(n, -1, -1).gather(-1, now[..., None])[..., 0]
        stuck |= x[:, self.index].isnan().any(dim=-1)
        gain = (best.values - own).masked_fill(stuck | (best.indices == now), -torch.inf)
        return gain.nan_to_num(nan=-torch.inf, neginf=-torch.inf), best.indices

    def _written(self, z, x, awake, gain, best, code_gain, code_best) -> Tensor:
        """The changes of largest gain, as many as the budget has; all other leaps stay at home."""
        gains = torch.cat([gain, *[part[:, None] for part in code_gain]], dim=1)
        changed = (gains > 0) & awake[:, None]
        if self.most == 0:
            changed = torch.zeros_like(changed)
        elif self.most < gains.shape[1]:
            top = gains.topk(self.most, dim=1).indices
            changed &= torch.zeros_like(changed).scatter(1, top, True)
        z = torch.where(self.mask, x, z)
        groups = len(self.index)
        ones = torch.nn.functional.one_hot(best, self.index.shape[1] + 1)[..., :-1].to(z.dtype)
        ones = torch.where(changed[:, :groups, None], ones, x[:, self.index])
        z[:, self.index[self.valid]] = ones[:, self.valid]
        for k, place in enumerate(self.codes):
            z[:, place] = torch.where(changed[:, groups + k], code_best[k], x[:, place])
        return z
