"""A first robust model, on real measurements and on images.

1. Breast-cancer measurements in their raw units: a pipeline of scaler and RobustClassifier, tuned
   by GridSearchCV over radius and smoothing, with clean and robust accuracy side by side.
2. The same question asked of other models, under the same threat, beside the majority class.
3. Images (Fashion-MNIST where it is on the machine, digits otherwise).
4. A picture: accuracy against radius, clean and attacked.

Run it with ``make demo``, or ``python examples/00_first_robust_model.py``.
"""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrobust import LpBall, RobustClassifier, RobustScorer, robustness_curve
from skrobust.datasets import fashion_mnist_available, load_digits_images, load_fashion_mnist

OUTPUT = Path(__file__).parent / "output"


def with_progress(estimator):
    """Attach scikit-learn's progress bar where this version of scikit-learn has one."""
    try:
        from sklearn.callback import ProgressBar
    except ImportError:
        return estimator
    return estimator.set_callbacks(ProgressBar(max_propagation_depth=0))


def table(title, curves, radius):
    """Print clean and robust accuracy of each model at one radius, with 95% intervals."""
    print(f"\n{title}")
    print(f"{'model':32s}{'clean':>8s}{'robust':>9s}   95% interval")
    for name, curve in curves.items():
        at = int(np.flatnonzero(curve.radii == radius)[0])
        low, high = curve.interval[at]
        attacked = curve.attacked[at]
        print(f"{name:32s}{curve.clean:8.1%}{attacked:9.1%}   {low:.1%} to {high:.1%}")
    majority = next(iter(curves.values())).majority
    print(f"{'always the most frequent class':32s}{majority:8.1%}{majority:9.1%}")


def measurements():
    """Breast cancer: 30 measurements of cell nuclei, in raw units."""
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)

    # Every column may move by up to 0.5 of its standard deviation, in the raw columns of X.
    radius = 0.5
    threat = LpBall("linf", scale="std").bind(X_train)

    model = make_pipeline(StandardScaler(), RobustClassifier(max_epochs=25, random_state=0))
    knobs = [
        {"robustclassifier__radius": [0.0]},  # plain training
        {"robustclassifier__radius": [0.25, 0.5], "robustclassifier__smoothing": [1.0, 4.0]},
    ]
    scorer = RobustScorer(
        radius=radius,
        threat=threat,
        metric=["clean_accuracy", "robust_accuracy"],
        attack="pgd",
        random_state=0,
    )
    search = GridSearchCV(model, knobs, scoring=scorer, refit="robust_accuracy", cv=3, n_jobs=2)
    print("Breast cancer: searching radius and smoothing (5 settings, 3 folds) ...")
    with_progress(search).fit(X_train, y_train)

    print(f"\n{'radius':>8s}{'smoothing':>11s}{'clean':>8s}{'robust':>9s}   (3 folds)")
    results = search.cv_results_
    for i, chosen in enumerate(results["params"]):
        mark = "  <- chosen" if i == search.best_index_ else ""
        print(
            f"{chosen['robustclassifier__radius']:8g}"
            f"{chosen.get('robustclassifier__smoothing', '-'):>11}"
            f"{results['mean_test_clean_accuracy'][i]:8.1%}"
            f"{results['mean_test_robust_accuracy'][i]:9.1%}{mark}"
        )

    def network(**options):
        return make_pipeline(
            StandardScaler(), RobustClassifier(max_epochs=25, random_state=0, **options)
        )

    others = {
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression()),
        "random forest": RandomForestClassifier(random_state=0, n_jobs=2),
        "plain network": network(smoothing=0),
        "trained with noise": network(radius=radius, attack="noise", divergence="loss"),
        "adversarial training": network(radius=radius, divergence="loss", attack="pgd"),
    }
    with warnings.catch_warnings():  # noise is there to lose; fit would say so
        warnings.filterwarnings("ignore", ".*no better than a constant")
        fitted = {name: other.fit(X_train, y_train) for name, other in others.items()}
    fitted["RobustClassifier (searched)"] = search.best_estimator_
    radii = [0.0, 0.1, 0.25, 0.5, 0.75, 1.0]
    curves = {
        name: robustness_curve(
            fitted_model,
            X_test,
            y_test,
            radii=radii,
            threat=threat,
            random_state=0,
        )
        for name, fitted_model in fitted.items()
    }
    table(f"Breast cancer, {len(X_test)} test rows, every column +-{radius} std:", curves, radius)
    return curves


def images():
    """Fashion-MNIST (1,500 training images) or digits: small changes of every pixel."""
    if fashion_mnist_available():
        name, radius, epochs = "Fashion-MNIST", 0.1, 5
        X_train, y_train = load_fashion_mnist(
            subset="train", n_rows=1500, random_state=0, return_X_y=True
        )
        X_test, y_test = load_fashion_mnist(
            subset="test", n_rows=200, random_state=0, return_X_y=True
        )
    else:
        name, radius, epochs = "Digits", 0.1, 20
        X, y = load_digits_images(return_X_y=True)
        X_train, X_test, y_train, y_test = train_test_split(
            X, y, test_size=200, stratify=y, random_state=0
        )
    threat = LpBall("linf", bounds=(0, 1))  # pixels stay pixels
    common = {"threat": threat, "radius": radius, "max_epochs": epochs, "random_state": 0}
    models = {
        "plain network": RobustClassifier(smoothing=0, **common),
        "RobustClassifier": RobustClassifier(smoothing=2, **common),
    }
    print(f"\n{name}: training a plain and a robust convolutional network ...")
    radii = [0.0, 0.02, 0.05, 0.1]
    curves = {}
    for label, model in models.items():
        with_progress(model).fit(X_train, y_train)
        curves[label] = robustness_curve(
            model, X_test, y_test, radii=radii, threat=threat, attack="apgd", random_state=0
        )
    table(f"{name}, {len(X_test)} test rows, every pixel +-{radius} of its range:", curves, radius)
    return name, curves


def picture(panels, path):
    """Accuracy against radius, one panel a data set."""
    figure, axes = plt.subplots(1, len(panels), figsize=(11, 4.4), sharey=True)
    for ax, (title, unit, curves) in zip(axes, panels, strict=True):
        for name, curve in curves.items():
            ours = name.startswith("RobustClassifier")
            ax.plot(
                curve.radii,
                curve.attacked,
                label=name,
                marker="o",
                markersize=4,
                linewidth=2.6 if ours else 1.4,
                zorder=3 if ours else 2,
            )
        ax.axhline(curve.majority, color="gray", linestyle=":", label="most frequent class")
        ax.set(title=title, xlabel=f"radius ({unit})", ylim=(-0.02, 1.02))
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8, loc="lower left")
    axes[0].set_ylabel("accuracy under attack (radius 0: clean)")
    figure.tight_layout()
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main():
    began = time.perf_counter()
    cells = measurements()
    name, pixels = images()
    path = OUTPUT / "accuracy_against_radius.png"
    panels = [("Breast cancer", "standard deviations", cells), (name, "pixel range", pixels)]
    picture(panels, path)
    print(f"\nPicture: {path}")
    print(f"Done in {time.perf_counter() - began:.0f} s.")


if __name__ == "__main__":
    main()
