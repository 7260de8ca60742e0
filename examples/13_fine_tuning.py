"""A digit classifier that exists already is made robust, for about the price of one plain fit.

Prints clean and robust accuracy and the price of each model; writes
``examples/output/fine_tuning.png``.
"""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from sklearn.model_selection import train_test_split

from skrobust import LpBall, RobustClassifier
from skrobust.datasets import load_digits_images
from skrobust.inspection import RobustnessCurveDisplay

OUTPUT = Path(__file__).parent / "output"
SETTING = dict(radius=0.1, threat=LpBall(bounds=(0, 1)), random_state=0)


def timed(model, X, y):
    began = time.process_time()
    model.fit(X, y)
    return model, time.process_time() - began


def main() -> None:
    warnings.simplefilter("ignore")
    X, y = load_digits_images(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.3, stratify=y, random_state=0)
    RobustClassifier(max_epochs=1, **SETTING).fit(
        X[:100], y[:100]
    )  # loads what the first fit loads
    plain, price = timed(RobustClassifier(smoothing=0, **SETTING), X, y)
    fits = {
        "plain": (plain, price),
        "fine-tuned": timed(RobustClassifier(initial_weights=plain, **SETTING), X, y),
        "robust from scratch": timed(RobustClassifier(**SETTING), X, y),
    }
    display = RobustnessCurveDisplay.from_estimator(
        {name: model for name, (model, _) in fits.items()},
        X_test,
        y_test,
        radii=[0.05, 0.1, 0.15, 0.2],
        threat=SETTING["threat"],
        random_state=0,
    )
    print(f"{'':20}  clean  robust  price in plain fits")
    for name, (_, seconds) in fits.items():
        curve = display.curves[name]
        robust = curve.attacked[list(curve.radii).index(0.1)]
        print(f"{name:20}  {curve.clean:5.1%}  {robust:6.1%}  {seconds / price:.1f}")
    OUTPUT.mkdir(exist_ok=True)
    display.figure_.savefig(OUTPUT / "fine_tuning.png", dpi=120, bbox_inches="tight")
    plt.close(display.figure_)
    print(f"Saved {OUTPUT.name}/fine_tuning.png")


if __name__ == "__main__":
    main()
