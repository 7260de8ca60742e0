"""Accuracy against radius: the picture to draw before any claim."""

import matplotlib.pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from skrobust import LpBall, RobustClassifier, robustness_curve

X, y = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
threat = LpBall(scale="std").bind(X_train)
figure, ax = plt.subplots(figsize=(7, 4))
for label, smoothing in (("plain training", 0), ("robust training", 2)):
    model = RobustClassifier(
        radius=0.4, smoothing=smoothing, threat=threat, max_epochs=30, random_state=0
    ).fit(X_train, y_train)
    curve = robustness_curve(
        model, X_test, y_test, radii=[0, 0.1, 0.2, 0.3, 0.4, 0.5], threat=threat, random_state=0
    )
    ax.plot(curve.radii, curve.attacked, marker="o", label=label)
    ax.fill_between(curve.radii, *curve.interval.T, alpha=0.15)
ax.axhline(curve.majority, color="gray", linestyle=":", label="most frequent class")
ax.set(xlabel="radius (standard deviations of each column)", ylabel="accuracy under attack")
ax.set_ylim(0, 1.02)
ax.grid(alpha=0.3)
ax.legend(loc="lower left")
