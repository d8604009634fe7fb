"""The direction of imports, as docs/architecture.md draws it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "graphkd"
FILES = sorted(PACKAGE.rglob("*.py"))

FORBIDDEN = {
    "distill/outputs.py": ["graphkd"],
    "distill/taps.py": ["graphkd"],
    "distill/graph": [
        "graphkd.distill.losses",
        "graphkd.distill.teacher",
        "graphkd.views",
        "graphkd.engine",
        "detectron2",
    ],
    "distill/losses": [
        "graphkd.views",
        "graphkd.distill.teacher",
        "graphkd.engine",
        "graphkd.config",
    ],
    "views": ["graphkd.distill.losses", "graphkd.distill.teacher", "graphkd.engine"],
    "distill/teacher.py": ["graphkd.distill.losses", "graphkd.engine"],
    "distill/distiller.py": ["graphkd.engine", "graphkd.config"],
    "report": [
        "graphkd.engine",
        "graphkd.distill",
        "graphkd.views",
        "graphkd.modeling",
        "graphkd.modelfile",
        "graphkd.tasks.layout",
    ],
    "evaluation": ["graphkd.engine", "graphkd.distill.losses", "graphkd.views"],
    "data": ["graphkd.engine", "graphkd.distill.losses", "graphkd.views"],
}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    place = path.relative_to(PACKAGE).as_posix()
    banned = ["projects"]
    for room, names in FORBIDDEN.items():
        if place == room or place.startswith(f"{room}/"):
            banned += names
    for name in imports(path):
        assert not any(name == ban or name.startswith(f"{ban}.") for ban in banned), name


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_house_rules(path):
    text = path.read_text()
    tree = ast.parse(text)
    if path.name != "__init__.py" or tree.body:
        assert ast.get_docstring(tree), "every file opens with what is in this room"
    assert "sys.path" not in text and "import *" not in text
    if "commands" not in path.parts and path.name not in {
        "cli.py",
        "jobs.py",
        "demo.py",
        "launch.py",
    }:
        calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
        names = {call.func.id for call in calls if isinstance(call.func, ast.Name)}
        assert "print" not in names
