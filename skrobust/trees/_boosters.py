"""XGBoost and LightGBM models behind their scikit-learn wrappers, read from what they save.

Neither library is imported: whoever holds a fitted model has it loaded already.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from skrobust.trees._floats import before
from skrobust.trees._read import Model, Nodes, Step, reads
from skrobust.trees._sklearn import as_float32, spread, widened

__all__ = ["lightgbm_trees", "xgboost_trees"]

_EXP = ("count:poisson", "reg:gamma", "reg:tweedie", "poisson", "gamma", "tweedie")
_SAME = (
    *("reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror", "reg:quantileerror"),
    *("regression", "regression_l1", "huber", "fair", "quantile", "mape"),
)
DUST = np.float64(np.float32(1e-35))
_CLASSES = ("binary:logistic", "multi:softprob", "multi:softmax", "binary", "multiclass")


@reads("xgboost.XGBClassifier", "xgboost.XGBRegressor")
def xgboost_trees(estimator: Any) -> Model | None:
    """Rows are rounded to single precision and go left where they are < the condition."""
    learner = json.loads(bytes(estimator.get_booster().save_raw("json")))["learner"]
    booster, objective = learner["gradient_booster"], learner["objective"]["name"]
    link, is_classifier = _link(objective), objective in _CLASSES
    missing = estimator.missing
    if link is None or booster["name"] != "gbtree" or not (missing is None or np.isnan(missing)):
        return None
    given = json.loads(learner["learner_model_param"]["base_score"].lower())
    n_outputs = max(1, int(learner["learner_model_param"]["num_class"]))
    n_outputs = max(n_outputs, int(learner["learner_model_param"]["num_target"]))
    base = np.broadcast_to(_start(np.atleast_1d(given), objective), (n_outputs,))
    model = booster["model"]
    kept = slice(0, model["iteration_indptr"][_n_rounds(estimator, model)])
    trees = []
    for tree, output in zip(model["trees"][kept], model["tree_info"][kept], strict=True):
        if any(tree["split_type"]) or int(tree["tree_param"]["size_leaf_vector"]) > 1:
            return None  # categories are no numbers; vector leaves
        trees.append(_xgboost_nodes(tree, output, n_outputs, is_classifier))
    width = estimator.n_features_in_
    base = widened(base, is_classifier)
    return Model(trees, base, width, is_classifier, link=link, steps=(as_float32(width),))


def _link(objective: str) -> str | None:
    if objective in _EXP:
        return "exp"
    return "identity" if objective in (*_SAME, *_CLASSES) else None


def _start(score: np.ndarray, objective: str) -> np.ndarray:
    """The base score before the link."""
    if objective == "binary:logistic":
        return np.log(score / (1 - score))
    return np.log(score) if objective in _EXP else score


def _n_rounds(estimator: Any, model: dict) -> int:
    """How many rounds predict uses: up to the best one after early stopping."""
    try:
        return int(estimator.best_iteration) + 1
    except AttributeError:
        return len(model["iteration_indptr"]) - 1


def _xgboost_nodes(tree: dict, output: int, n_outputs: int, is_classifier: bool) -> Nodes:
    left, right = (np.array(tree[key]) for key in ("left_children", "right_children"))
    condition, leaf, itself = np.array(tree["split_conditions"]), left < 0, np.arange(len(left))
    condition = condition.astype(np.float32).astype(np.float64)
    return Nodes(
        np.where(leaf, -1, tree["split_indices"]),
        before(condition, np.dtype(np.float32)),
        np.where(leaf, itself, left),
        np.where(leaf, itself, right),
        np.array(tree["default_left"]).astype(bool),
        spread(condition, output, n_outputs, is_classifier),
        {},
    )


@reads("lightgbm.LGBMClassifier", "lightgbm.LGBMRegressor")
def lightgbm_trees(estimator: Any) -> Model | None:
    """Rows are compared in double precision; categories are whole numbers."""
    head, *blocks = estimator.booster_.model_to_string().split("\nTree=")
    blocks[-1] = blocks[-1].partition("end of trees")[0]
    head = _fields(head)
    objective, *details = head.get("objective", "none").split()
    link, is_classifier = _link(objective), objective in _CLASSES
    if link is None or "sqrt" in details or estimator.booster_.params.get("zero_as_missing"):
        return None
    n_outputs, trees = int(head["num_tree_per_iteration"]), []
    for number, block in enumerate(blocks):
        nodes = _lightgbm_nodes(_fields(block), number % n_outputs, n_outputs, is_classifier)
        if nodes is None:
            return None
        trees.append(nodes)
    divisor = len(trees) / n_outputs if "average_output" in head else 1.0
    sigmoid = [detail.partition(":")[2] for detail in details if detail.startswith("sigmoid:")]
    divisor /= float(sigmoid[0]) if sigmoid else 1.0
    base = widened(np.zeros(n_outputs), is_classifier)
    width = estimator.n_features_in_
    steps = (Step(_without_dust, width, np.arange(width), np.ones(width, dtype=bool)),)
    return Model(trees, base, width, is_classifier, divisor, link, steps, whole_codes=True)


def _without_dust(X: np.ndarray) -> np.ndarray:
    """LightGBM takes numbers up to its smallest threshold for 0."""
    return np.where(np.abs(X) <= DUST, 0.0, X)


def _fields(text: str) -> dict[str, str]:
    lines = [line.partition("=") for line in text.splitlines()]
    return {name: value for name, _, value in lines}


def _lightgbm_nodes(tree: dict, output: int, n_outputs: int, is_classifier: bool) -> Nodes | None:
    """Inner nodes come first, then leaves, which LightGBM counts down from -1."""
    if tree.get("is_linear", "0") != "0":
        return None
    leaves = _numbers(tree, "leaf_value")
    inner = len(leaves) - 1
    kind = _numbers(tree, "decision_type").astype(int)[:inner]
    threshold = _numbers(tree, "threshold")[:inner]
    treats_missing = (kind >> 2) & 3  # 0: NaN counts as 0; 1: 0 counts as missing; 2: NaN is
    if (treats_missing == 1).any():
        return None
    categorical = (kind & 1).astype(bool)
    goes_left = np.where(treats_missing == 2, (kind & 2) > 0, threshold >= 0) & ~categorical
    left, right = (_numbers(tree, f"{way}_child").astype(int)[:inner] for way in ("left", "right"))
    ends = inner + np.arange(len(leaves))
    values = spread(np.concatenate([np.zeros(inner), leaves]), output, n_outputs, is_classifier)
    return Nodes(
        np.concatenate([_numbers(tree, "split_feature").astype(int)[:inner], -np.ones_like(ends)]),
        np.concatenate([threshold, np.zeros(len(leaves))]),
        np.concatenate([np.where(left < 0, inner - left - 1, left), ends]),
        np.concatenate([np.where(right < 0, inner - right - 1, right), ends]),
        np.concatenate([goes_left, np.zeros(len(leaves), dtype=bool)]),
        values,
        _lightgbm_codes(tree, categorical, threshold),
    )


def _lightgbm_codes(tree: dict, categorical: np.ndarray, threshold) -> dict[int, np.ndarray]:
    if not categorical.any():
        return {}
    borders = _numbers(tree, "cat_boundaries").astype(int)
    words = _numbers(tree, "cat_threshold").astype(np.int64)
    codes = {}
    for node in np.flatnonzero(categorical):
        which = int(threshold[node])
        bits = (words[borders[which] : borders[which + 1], None] >> np.arange(32)) & 1
        codes[int(node)] = np.flatnonzero(bits.ravel()).astype(np.float64)
    return codes


def _numbers(tree: dict, name: str) -> np.ndarray:
    return np.array(tree.get(name, "").split(), dtype=np.float64)
