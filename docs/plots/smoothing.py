"""What smoothing does to a decision: two moons, plain and robust training."""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_moons

from skrobust import RobustClassifier, robust_accuracy_score

X, y = make_moons(200, noise=0.08, random_state=0)
grid = np.stack(np.meshgrid(np.linspace(-1.6, 2.6, 150), np.linspace(-1.2, 1.7, 150)), axis=-1)
figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True)
for ax, smoothing in zip(axes, (0, 2), strict=True):
    model = RobustClassifier(radius=0.25, smoothing=smoothing, max_epochs=40, random_state=0)
    model.fit(X, y)
    robust = robust_accuracy_score(model, X, y, radius=0.25)
    shown = model.predict_proba(grid.reshape(-1, 2))[:, 1].reshape(grid.shape[:2])
    ax.contourf(*np.moveaxis(grid, -1, 0), shown, levels=20, cmap="RdBu", alpha=0.7)
    ax.contour(*np.moveaxis(grid, -1, 0), shown, levels=[0.5], colors="k", linewidths=1.2)
    for x, label in zip(X, y, strict=True):
        ax.add_patch(plt.Rectangle(x - 0.25, 0.5, 0.5, fill=False, lw=0.3, alpha=0.35))
        ax.plot(*x, "o", color="#4a0f1c" if label == 0 else "#08306b", markersize=2.5)
    ax.set_title(f"smoothing={smoothing}: clean {model.score(X, y):.0%}, robust {robust:.0%}")
    ax.set(xlim=(-1.6, 2.6), ylim=(-1.2, 1.7), aspect="equal")
figure.tight_layout()
