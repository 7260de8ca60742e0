"""The architecture: imports point up one list, and three kinds of code live in one place each."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [path.relative_to(ROOT) for path in sorted((ROOT / "skrobust").rglob("*.py"))]
# A module imports from its own layer and from those before it; docs/design.md says why.
LAYERS = [
    "exceptions",
    "_categories",
    "_compat",
    "_params",
    "_costs",
    "_torch",
    "threats",
    "attacks",
    "bounds",
    "smoothing",
    "nets",
    "bridge",
    "trees",
    "estimators",
    "metrics",
    "certificates",
    "risk",
    "inspection",
    "monitoring",
    "datasets",
    "testing",
    "__init__",
]
# What a layer may not import although it comes earlier in the list.
APART = {"metrics": {"estimators", "nets", "smoothing"}, "risk": {"attacks", "estimators", "nets"}}


def imports(tree: ast.AST) -> list[tuple[str, str]]:
    """(module, name) of every import, those inside functions included."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [("." * node.level + (node.module or ""), alias.name) for alias in node.names]
    return found


def complaints(path: Path, source: str) -> list[str]:
    """What is wrong with a file of the package."""
    tree, layer, found = ast.parse(source), path.with_suffix("").parts[1], []
    if layer not in LAYERS:
        return [f"{layer} has no place in the list of layers"]
    for module, name in imports(tree):
        root, *inner = module.split(".")
        if root == "":
            found.append(f"relative import of {name}")
        elif root == "skrobust":
            other = inner[0] if inner else name
            if other not in LAYERS or LAYERS.index(other) > LAYERS.index(layer):
                found.append(f"{layer} imports {other}, which comes later")
            if other in APART.get(layer, ()):
                found.append(f"{layer} imports {other}, which it must not know")
        elif root == "skorch" and layer not in ("nets", "_compat"):
            found.append("skorch outside nets")
        private = any(part.startswith("_") for part in [*inner, name])
        if root in ("sklearn", "skorch") and private and layer != "_compat":
            found.append(f"private {module}.{name} outside _compat")
    top_level = ast.Module([node for node in tree.body if not _is_definition(node)], [])
    if any(module.split(".")[0] == "matplotlib" for module, _ in imports(top_level)):
        found.append("matplotlib at import time")
    at_home = path.name == "_geometry.py" or layer == "testing"  # the oracle does its own sums
    if not at_home and any(map(_asks_for_norm, ast.walk(tree))):
        found.append("norm arithmetic outside threats/_geometry.py")
    return found


def _is_definition(node: ast.AST) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))


def _asks_for_norm(node: ast.AST) -> bool:
    """``norm == ...``, ``self.norm in ...``, ``match norm``."""
    if isinstance(node, ast.Match):
        asked = [node.subject]
    elif isinstance(node, ast.Compare) and isinstance(
        node.ops[0], (ast.Eq, ast.NotEq, ast.In, ast.NotIn)
    ):
        asked = [node.left, *node.comparators]
    else:
        return False
    return any(getattr(part, "id", getattr(part, "attr", "")) == "norm" for part in asked)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_file_keeps_to_its_layer(path):
    assert complaints(path, (ROOT / path).read_text()) == []


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("mine/_a.py", "", "no place"),
        ("threats/_a.py", "from skrobust.attacks import PGD", "comes later"),
        ("threats/_a.py", "def f():\n    import skrobust.attacks", "comes later"),
        ("threats/_a.py", "from skrobust import LpBall", "comes later"),
        ("attacks/_a.py", "from ._base import Attack", "relative"),
        ("metrics/_a.py", "from skrobust.estimators import RobustClassifier", "must not know"),
        ("metrics/_a.py", "import skorch", "skorch outside nets"),
        ("nets/_a.py", "from skorch.utils import _make_split", "private"),
        ("metrics/_a.py", "from sklearn.utils._tags import Tags", "private"),
        ("metrics/_a.py", "try:\n    import matplotlib.pyplot\nexcept: pass", "at import time"),
        ("attacks/_a.py", "def f(norm):\n    return norm == 2", "norm arithmetic"),
        ("attacks/_a.py", "f = lambda self: self.norm in ('l1', 'l2')", "norm arithmetic"),
    ],
)
def test_breaches_are_seen(path, source, complaint):
    (found,) = complaints(Path("skrobust") / path, source)
    assert complaint in found


def test_what_is_allowed():
    source = "from skrobust.threats import LpBall\ndef plot():\n    import matplotlib.pyplot"
    assert complaints(Path("skrobust/attacks/_a.py"), source) == []
