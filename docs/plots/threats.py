"""Where a row may go: three norms, and what scale, bounds, frozen columns and directions add."""

import matplotlib.pyplot as plt
import torch

from skrobust import LpBall

PANELS = [
    ('"linf"', LpBall("linf")),
    ('"l2"', LpBall("l2")),
    ('"l1"', LpBall("l1")),
    ('"l2", scale=(1, 0.4)', LpBall("l2", scale=(1.0, 0.4))),
    ('"linf", bounds=(-0.5, 0.7)', LpBall("linf", bounds=(-0.5, 0.7))),
    ('"l2", direction={0: "up"}', LpBall("l2", direction={0: "up"})),
]

angle = torch.linspace(0, 2 * torch.pi, 721, dtype=torch.float64)
far = 3 * torch.stack([torch.cos(angle), torch.sin(angle)], dim=1)
figure, axes = plt.subplots(2, 3, figsize=(8, 5.4), sharex=True, sharey=True)
for ax, (title, threat) in zip(axes.flat, PANELS, strict=True):
    edge = threat.region(torch.zeros_like(far), radius=1.0).project(far).numpy()
    ax.fill(edge[:, 0], edge[:, 1], alpha=0.3)
    ax.plot(edge[:, 0], edge[:, 1])
    ax.plot(0, 0, "ko", markersize=5)
    ax.set_title(title, fontsize=10, family="monospace")
    ax.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), aspect="equal")
    ax.grid(alpha=0.3)
for ax in axes[1]:
    ax.set_xlabel("column 0")
for ax in axes[:, 0]:
    ax.set_ylabel("column 1")
figure.tight_layout()
