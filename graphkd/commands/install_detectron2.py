"""`graphkd install-detectron2`: Detectron2 0.6 as a pure-Python wheel, patched for today's torch,
numpy and Pillow.

Upstream publishes no package index release. The source distribution `pb1-detectron2` holds the
Python files of upstream tag v0.6 byte for byte, without the C++ sources. It is downloaded (its hash
is checked), `PATCHES` are applied, and the result is installed under the name `detectron2`.
"""

import argparse
import hashlib
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

from graphkd.errors import UserError
from graphkd.packages import REPLACE, cannot_import, require_packages

HELP = "Install Detectron2 0.6, which no package index has, patched for today's torch and Pillow."

NEEDS_TRAINING = False

EPILOG = """An installed Detectron2 that can be imported stays, whoever built it.

examples:
  graphkd install-detectron2
  graphkd install-detectron2 --replace      in the place of one that does not work here
"""

REQUIREMENT = (
    "pb1-detectron2==0.6 "
    "--hash=sha256:5d2e9e51e523ec72f6a31cca04b0a515492e9514b773a3d134cedc0677170b29\n"
)

NUMPY_ALIAS = r"\bnp\.(bool|int|float|str)\b(?!_)"
NUMPY_REASON = "numpy 1.24 removed the aliases of Python's own types"


class Patch(NamedTuple):
    """One edit: in `file`, every match of `pattern` becomes `replacement`; `count` matches are
    expected.
    """

    file: str
    pattern: str
    replacement: str
    count: int
    reason: str


PATCHES = (
    Patch(
        "data/transforms/transform.py",
        r"\bImage\.LINEAR\b",
        "Image.BILINEAR",
        1,
        "Pillow 10 removed the old name of the same constant",
    ),
    Patch("data/build.py", NUMPY_ALIAS, r"\1", 2, NUMPY_REASON),
    Patch("data/datasets/pascal_voc.py", NUMPY_ALIAS, r"\1", 1, NUMPY_REASON),
    Patch("evaluation/pascal_voc_evaluation.py", NUMPY_ALIAS, r"\1", 2, NUMPY_REASON),
    Patch("evaluation/sem_seg_evaluation.py", NUMPY_ALIAS, r"\1", 7, NUMPY_REASON),
    Patch("structures/masks.py", NUMPY_ALIAS, r"\1", 3, NUMPY_REASON),
    Patch("utils/visualizer.py", NUMPY_ALIAS, r"\1", 3, NUMPY_REASON),
    Patch("utils/video_visualizer.py", NUMPY_ALIAS, r"\1", 1, NUMPY_REASON),
    Patch(
        "modeling/anchor_generator.py",
        r"torch\.meshgrid\(shifts_y, shifts_x\)",
        'torch.meshgrid(shifts_y, shifts_x, indexing="ij")',
        1,
        "torch warns on every run unless the (unchanged) default is spelled out",
    ),
    Patch(
        "model_zoo/model_zoo.py",
        r"import pkg_resources\n",
        "from importlib.resources import files\n",
        1,
        "setuptools 81 removed pkg_resources",
    ),
    Patch(
        "model_zoo/model_zoo.py",
        r"pkg_resources\.resource_filename\(\s*(\S+), (os\.path\.join\([^)]*\))\s*\)",
        r"str(files(\1).joinpath(\2))",
        1,
        "setuptools 81 removed pkg_resources",
    ),
)

COMPILED_STAND_IN = '''\
"""Stands where upstream's compiled operators are: importing works, calling raises."""

import torch


def get_compiler_version():
    return "none (pure Python build)"


def get_cuda_version():
    return "not available"


def has_cuda():
    return False


def _missing(name):
    def operator(*args, **kwargs):
        raise RuntimeError(
            f"detectron2._C.{name} needs Detectron2's compiled operators (deformable convolution, "
            "rotated boxes, fast COCO evaluation), which this pure-Python build leaves out. "
            "Build Detectron2 from upstream's sources to use it."
        )

    return operator


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return _missing(name)


# The one operator that is called through torch.ops.
_library = torch.library.Library("detectron2", "DEF")
_library.define("nms_rotated(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor")
_library.impl("nms_rotated", _missing("nms_rotated"), "CompositeImplicitAutograd")
'''

SETUP = """from setuptools import find_packages, setup

projects = {
    "detectron2.projects.point_rend": "projects/PointRend/point_rend",
    "detectron2.projects.deeplab": "projects/DeepLab/deeplab",
    "detectron2.projects.panoptic_deeplab": "projects/Panoptic-DeepLab/panoptic_deeplab",
}
setup(
    name="detectron2",
    version="VERSION",
    license="Apache-2.0",
    packages=find_packages(include=["detectron2", "detectron2.*"]) + list(projects),
    package_dir=projects,
    package_data={"detectron2.model_zoo": ["configs/**/*.yaml", "configs/**/*.py"]},
    install_requires=[
        "Pillow", "matplotlib", "pycocotools", "termcolor", "yacs", "tabulate", "cloudpickle",
        "tqdm", "tensorboard", "fvcore", "iopath", "omegaconf", "hydra-core", "torch",
        "torchvision",
    ],
)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--replace", action="store_true", help="replace another installed Detectron2"
    )
    parser.epilog = EPILOG


def run(args: argparse.Namespace) -> int:
    require_packages("Detectron2")
    found = installed_version()
    ours = found is not None and found.startswith("0.6+graphkd.")
    if found == version() or (found is not None and not ours and not args.replace):
        if problem := import_problem():
            raise UserError(f"{cannot_import(problem)}; {REPLACE}")
        print(f"Detectron2 {found} is installed already; keeping it")
        return 0
    install()
    if problem := import_problem():
        raise UserError(f"Detectron2 was installed, but it cannot be imported: {problem}")
    print(f"Detectron2 {version()} (pure Python) installed")
    return 0


def import_problem() -> str | None:
    """Why `detectron2.data` cannot be imported by this interpreter; None if it can."""
    command = [sys.executable, "-c", "import detectron2.data"]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = done.stderr.strip().splitlines() or ["no message"]
    return lines[-1] if done.returncode else None


def pip(*arguments: str) -> None:
    """Runs pip of this interpreter; its output is shown only when it fails."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(f"{done.stdout}{done.stderr}", file=sys.stderr)
        raise UserError(f"pip {arguments[0]} failed; see the lines above")


def download(folder: Path) -> Path:
    """Fetches the hash-checked source distribution into `folder` and unpacks it; returns its root.

    Its own setup.py imports torch, which is why the build isolation is off.
    """
    requirement = folder / "requirement.txt"
    requirement.write_text(REQUIREMENT)
    pip(
        "download", "--no-deps", "--no-build-isolation", "--no-binary", ":all:", "--require-hashes",
        "--dest", str(folder), "--requirement", str(requirement),
    )  # fmt: skip
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        # Python before 3.10.12 and 3.11.4 has no filters; the archive's hash was checked.
        safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        files.extractall(folder, **safe)
    return folder / archive.name.removesuffix(".tar.gz")


def apply_patches(package: Path) -> None:
    """Edits the files of `package`, the folder `detectron2`.

    Raises:
        UserError: a patch does not fit exactly.
    """
    for patch in PATCHES:
        path = package / patch.file
        text, count = re.subn(patch.pattern, patch.replacement, path.read_text())
        if count != patch.count:
            raise UserError(
                f"{patch.file}: {count} places match {patch.pattern!r}, "
                f"{patch.count} were expected; the source is not upstream v0.6"
            )
        path.write_text(text)
    (package / "_C.py").write_text(COMPILED_STAND_IN)


def version() -> str:
    """0.6 with a mark of this build, so that changed patches are installed anew."""
    build = repr((PATCHES, COMPILED_STAND_IN, SETUP)).encode()
    return f"0.6+graphkd.{hashlib.sha256(build).hexdigest()[:8]}"


def installed_version() -> str | None:
    """Version of the Detectron2 that Python finds here; None for none, "" for one without
    metadata.
    """
    if importlib.util.find_spec("detectron2") is None:
        return None
    try:
        return importlib.metadata.version("detectron2")
    except importlib.metadata.PackageNotFoundError:
        return ""


def install() -> None:
    """Downloads, patches, builds and installs Detectron2 into the running interpreter's place."""
    with tempfile.TemporaryDirectory() as folder:
        root = download(Path(folder))
        apply_patches(root / "detectron2")
        (root / "setup.py").write_text(SETUP.replace("VERSION", version()))
        pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, str(root))
        (wheel,) = Path(folder).glob("detectron2-*.whl")
        pip("install", "--no-deps", "--no-index", "--force-reinstall", str(wheel))
