"""What an attack could not break, and what no attack can: three models of one table.

    python examples/30_certify.py

Trains a plain, an adversarially trained and an interval-trained network on scikit-learn's breast cancer
data, and prints for each radius the accuracy under attack and the accuracy that is proven. The truth
lies between the two. Draws both against the radius. Takes about half a minute.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import MinMaxScaler

from skrobust import RobustClassifier, certified_accuracy_score, certify, robust_accuracy_score

OUTPUT = Path(__file__).parent / "output"
RADII = (0.0, 0.025, 0.05, 0.1, 0.15)


def models(radius: float) -> dict[str, RobustClassifier]:
    return {
        "plain": RobustClassifier(smoothing=0, random_state=0),
        "adversarial": RobustClassifier(radius=radius, divergence="loss", random_state=0),
        "interval": RobustClassifier(
            radius=radius, attack="interval", divergence="loss", random_state=0
        ),
    }


def main() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    scaler = MinMaxScaler(clip=True).fit(X_train)
    X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)
    print(f"{'radius':>12}", *(f"{radius:>11}" for radius in RADII))
    curves = {}
    for name, model in models(0.1).items():
        model.fit(X_train, y_train)
        attacked = [
            robust_accuracy_score(model, X_test, y_test, radius=r, random_state=0) for r in RADII
        ]
        proven = [certified_accuracy_score(model, X_test, y_test, radius=r) for r in RADII]
        pairs = (f"{p:.2f}..{a:.2f}" for p, a in zip(proven, attacked, strict=True))
        print(f"{name:>12}", *(f"{pair:>11}" for pair in pairs))
        curves[name] = proven, attacked
    certificate = certify(model, X_test, y_test, radius=0.1)
    print("\n", certificate, "radii of the first rows:", np.round(certificate.radius[:5], 3))
    draw(curves)


def draw(curves: dict) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(curves), figsize=(10, 3), sharey=True)
    for ax, (name, (proven, attacked)) in zip(axes, curves.items(), strict=True):
        ax.fill_between(RADII, proven, attacked, alpha=0.2, label="not known")
        ax.plot(RADII, attacked, marker="o", label="under attack")
        ax.plot(RADII, proven, marker="s", label="proven")
        ax.set(title=name, xlabel="radius")
    axes[0].set_ylabel("accuracy")
    axes[0].legend()
    OUTPUT.mkdir(exist_ok=True)
    figure.tight_layout()
    figure.savefig(OUTPUT / "certify.png", dpi=120)


if __name__ == "__main__":
    main()
