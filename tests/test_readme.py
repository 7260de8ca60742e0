"""Every snippet of the README and of the guide runs, and prints what the page says it prints."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "_build" not in page.parts and "```python" in page.read_text()]
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def snippets(page: Path) -> list[tuple[str, str | None]]:
    """(code, output that the page shows or None) in the order of the page."""
    found: list[tuple[str, str | None]] = []
    for kind, text in BLOCK.findall(page.read_text()):
        if kind == "python":
            found.append((text, None))
        elif found and found[-1][1] is None:
            found[-1] = (found[-1][0], text)
    return found


def same(shown: str, printed: str) -> bool:
    """Equal but for blanks, and for numbers with a point, which vary a little with the machine."""
    if NUMBER.sub("#", shown).split() != NUMBER.sub("#", printed).split():
        return False
    return all(map(_near, NUMBER.findall(shown), NUMBER.findall(printed)))


def _near(shown: str, printed: str) -> bool:
    if "." not in shown:
        return shown == printed or abs(int(shown) - int(printed)) <= 0.05 * abs(int(shown))
    return abs(float(shown) - float(printed)) <= max(0.06, 0.05 * abs(float(shown)))


@pytest.mark.filterwarnings("ignore:IProgress not found")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_does_what_it_shows(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "__main__"}
    for code, shown in snippets(page):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(code, str(page), "exec"), names)
        if shown is not None:
            printed = output.getvalue()
            assert same(shown, printed), f"{page.name} shows\n{shown}\nbut it printed\n{printed}"


def test_first_snippet_of_the_readme_is_short():
    code, shown = snippets(ROOT / "README.md")[0]
    assert len(code.strip().splitlines()) <= 12
    assert "clean" in shown and "robust" in shown


@pytest.mark.parametrize(
    ("shown", "printed", "equal"),
    [
        ("clean 0.95", "clean  0.93\n", True),
        ("clean 0.95", "clean 0.80", False),
        ("143 rows", "143 rows", True),
        ("3 rows", "4 rows", False),
        ("clean 0.95", "robust 0.95", False),
        ("a 1.0 b", "a 1.0", False),
    ],
)
def test_comparison(shown, printed, equal):
    assert same(shown, printed) is equal
