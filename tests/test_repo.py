"""What a reader of the repository may rely on."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import skrobust

ROOT = Path(__file__).parents[1]
PACKAGES = [
    "threats",
    "attacks",
    "smoothing",
    "bridge",
    "estimators",
    "metrics",
    "bounds",
    "nets",
    "trees",
    "risk",
    "inspection",
    "certificates",
    "monitoring",
    "datasets",
    "testing",
]


def tracked_files() -> list[Path]:
    """Text files under version control (in a source archive: all files)."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    names = listed.stdout.split("\n") if listed.returncode == 0 else []
    paths = [ROOT / name for name in names if name] or [
        path for folder in ("skrobust", "tests", "docs") for path in (ROOT / folder).rglob("*")
    ]
    text = {".py", ".md", ".toml", ".txt", ".cff", ".yml", ".yaml", ".rst", ".css", ""}
    return [path for path in paths if path.is_file() and path.suffix in text]


# spelled in pieces, so that this file passes its own test
PATHS = re.compile(r"(?<![\w.~>])/(?:ho" + r"me|wo" + r"rk|ro" + r"ot|Us" + r"ers)/\w")
LEFTOVERS = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")


@pytest.mark.parametrize("pattern", [PATHS, LEFTOVERS], ids=["absolute paths", "leftovers"])
def test_tracked_files_are_clean(pattern):
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in tracked_files()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_patterns_can_find():
    assert PATHS.search("open('/ho" + "me/someone/data.csv')") and not PATHS.search("a/b/home/c")
    assert LEFTOVERS.search("# TO" + "DO: later")


def public_objects() -> dict[str, object]:
    """Every public function and class, by its full name."""
    found = {f"skrobust.{name}": getattr(skrobust, name) for name in skrobust.__all__}
    for package in PACKAGES:
        module = importlib.import_module(f"skrobust.{package}")
        for name in module.__all__:
            found[f"skrobust.{package}.{name}"] = getattr(module, name)
    return {
        name: thing
        for name, thing in found.items()
        if inspect.isclass(thing) or inspect.isfunction(thing)
    }


@pytest.mark.parametrize("name", sorted(public_objects()))
def test_public_name_is_documented(name):
    thing = public_objects()[name]
    doc = inspect.getdoc(thing) or ""
    assert doc and not doc.startswith(f"{thing.__name__}("), f"{name} has no docstring of its own"
    if name.count(".") == 1:  # the names that everybody meets first
        assert ">>> " in doc, f"{name} has no example"


@pytest.mark.parametrize("name", skrobust.__all__)
def test_top_level_functions_are_typed(name):
    thing = getattr(skrobust, name)
    if inspect.isclass(thing):
        return
    hints = thing.__annotations__
    missing = [p for p in inspect.signature(thing).parameters if p not in hints]
    assert "return" in hints and not missing, f"{name} lacks types for {missing}"


def test_all_is_sorted_and_complete():
    assert skrobust.__all__ == sorted(skrobust.__all__)
    public = {
        name
        for name, thing in vars(skrobust).items()
        if not name.startswith("_") and not inspect.ismodule(thing)
    }
    assert public == set(skrobust.__all__)


def test_version_is_in_changelog_and_citation():
    assert f"## {skrobust.__version__} " in (ROOT / "CHANGELOG.md").read_text()
    assert f"version: {skrobust.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_extras_named_in_errors_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    used = {
        (str(path.relative_to(ROOT)), extra)
        for path in (ROOT / "skrobust").rglob("*.py")
        for extra in re.findall(r'import_extra\(\s*"[\w.]+",\s*"(\w+)"', path.read_text())
    }
    assert used, "the pattern finds nothing"
    unknown = {use for use in used if use[1] not in project["optional-dependencies"]}
    assert unknown == set()


def test_types_are_shipped():
    assert (ROOT / "skrobust" / "py.typed").exists()


def names_of(path: Path) -> set[str]:
    """What a module of Python has at its top level."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            found |= {(alias.asname or alias.name) for alias in node.names}
    return found


BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_benchmarks_find_what_they_import_of_each_other(path):
    siblings = {sibling.stem: sibling for sibling in BENCHMARKS}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module in siblings:
            missing = {alias.name for alias in node.names} - names_of(siblings[node.module])
            assert not missing, f"{path.name} imports {missing} from {node.module}.py"
