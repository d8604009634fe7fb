"""The direction of imports, as docs/architecture.md draws it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "graphkd"
FILES = sorted(PACKAGE.rglob("*.py"))

# Of a task, its models, losses and metrics the engine sees the base classes alone.
TASKS = [
    "graphkd.tasks.layout",
    "graphkd.tasks.layout_report",
    "graphkd.tasks.text_detection",
    "graphkd.tasks.text_recognition",
]
FAMILIES = [
    *("graphkd.views.rcnn", "graphkd.views.dense", "graphkd.views.maps", "graphkd.views.line"),
    *("graphkd.modeling.dense", "graphkd.modeling.maps", "graphkd.modeling.line"),
]
METRICS = [
    "graphkd.evaluation.coco",
    "graphkd.evaluation.hmean",
    "graphkd.evaluation.matching",
    "graphkd.evaluation.reading",
]
LOSSES = [
    f"graphkd.distill.losses.{path.stem}"
    for path in (PACKAGE / "distill" / "losses").glob("*.py")
    if path.stem not in ("__init__", "base", "build")
]
MODELS = ["graphkd.modeling", "graphkd.views", "graphkd.distill", "graphkd.engine"]
COMMANDS = ["graphkd.commands", "graphkd.cli"]

FORBIDDEN = {
    "io.py": ["torch", "detectron2", "graphkd"],
    "document.py": ["torch", "detectron2", "graphkd"],
    "distill/outputs.py": ["graphkd"],
    "distill/taps.py": ["graphkd"],
    "distill/graph": ["graphkd", "detectron2"],
    "distill/losses": ["graphkd", "detectron2"],
    "distill": ["graphkd.engine", *TASKS, *METRICS, *COMMANDS],
    "views": ["graphkd.distill.losses", "graphkd.distill.teacher", "graphkd.engine"],
    "engine": [
        *TASKS,
        *FAMILIES,
        *METRICS,
        *LOSSES,
        *COMMANDS,
        "graphkd.export",
        "graphkd.predict",
    ],
    "compare": [*TASKS, *FAMILIES, *METRICS, *LOSSES, *COMMANDS, "graphkd.export"],
    "report": [*MODELS, *TASKS, "graphkd.modelfile"],
    "evaluation": [*MODELS, "graphkd.tasks"],
    "data": [*MODELS, "graphkd.tasks"],
    "formats": [*MODELS, "torch", "detectron2", "graphkd.predict"],
    "predict": [*MODELS, *TASKS],
    "read": ["torch", "detectron2", *MODELS, "graphkd.tasks"],
    "text": ["torch", "detectron2", *MODELS, *TASKS],
    "synthesis": ["torch", "detectron2", *MODELS],
}
# What a room may import in spite of its entry above.
ALLOWED = {
    "io.py": ["graphkd.errors"],
    "document.py": ["graphkd.errors"],
    "distill/graph": ["graphkd.distill.graph", "graphkd.errors"],
    "distill/losses": [
        "graphkd.distill.losses",
        "graphkd.distill.graph",
        "graphkd.distill.outputs",
        "graphkd.distill.comm",
        "graphkd.errors",
    ],
}
# The registry alone uses Detectron2's class.
EXEMPT = {"distill/losses/build.py": ["detectron2"]}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def inside(name, rooms):
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    place = path.relative_to(PACKAGE).as_posix()
    for name in imports(path):
        assert not inside(name, ["projects"])
        for room, banned in FORBIDDEN.items():
            if place != room and not place.startswith(f"{room}/"):
                continue
            free = [*ALLOWED.get(room, []), *EXEMPT.get(place, [])]
            assert inside(name, free) or not inside(name, banned), f"{name} in {room}"


@pytest.mark.parametrize("room", ["engine", "compare", "distill"])
def test_the_engine_names_no_task_and_no_metric(room):
    for path in (PACKAGE / room).rglob("*.py"):
        if path.name == "rows.py":  # it reads files of before metrics had names
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value not in ("AP", "hmean", "CER", "layout"), f"{path}: {node.value}"


def test_the_onnx_path_of_prediction_needs_no_torch():
    code = """
import sys
for name in ("torch", "torchvision", "detectron2", "fvcore", "timm"):
    sys.modules[name] = None
import graphkd.cli, graphkd.document, graphkd.formats, graphkd.modelfile
import graphkd.predict.model, graphkd.predict.onnx_detector, graphkd.predict.output
import graphkd.shipped, graphkd.tasks.base
for name in ("scipy", "matplotlib", "pycocotools", "reportlab", "yaml"):
    sys.modules[name] = None
import graphkd.read.log, graphkd.evaluation.page_text
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


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
