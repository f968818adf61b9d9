"""The house itself: public names, imports down the page's tree, what one loads, requirements."""

import ast
import importlib
import importlib.metadata
import re
import subprocess
import sys
import tomllib
import types
from functools import cache
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.version import Version

import peft_teach as pt

ROOT = Path(__file__).parent.parent
PACKAGE = Path(pt.__file__).parent
SOURCES = {".".join(f.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): f
           for f in sorted(PACKAGE.rglob("*.py"))}

# A method stands alone, but for these two: DoRA is a variation of LoRA, QLoRA takes either. The
# others are second pages of the same methods.
MAY_IMPORT = {"methods.dora": {"methods.lora"}, "methods.qlora": {"methods.lora", "methods.dora"},
              "methods.lora": {"methods.lora_plus"},
              "methods.prompt": {"methods.initial"},
              "methods.prefix": {"methods.projection", "methods.initial"},
              "methods.bottleneck": {"methods.placements"}}
EXAMINE = {"desk", "recording", "publish", "grade", "cli"}    # rooms that may call an examination
# Nothing else outside the course names a file of it: lessons ask `widgets` for its `Guess`.
A_LESSON = "peft_teach/course/lessons/NAME/"    # as the page draws the folder of each lesson
BROUGHT_LATER = {"widgets": {"course.desk.buttons"}}

# Lessons, graders and other people's notebooks depend on these.
PROMISED = {
    "bottleneck", "qlora", "nf4",
    "models", "data", "full", "bitfit", "ia3", "lora", "dora", "Adapter", "attach", "adapters",
    "adapter_parameters", "adapter_state", "disabled", "merge", "remove", "save", "load", "store",
    "swap", "saved", "train", "evaluate", "seed", "device", "account", "spectra", "export",
    "errors", "check", "require", "hint", "reset", "progress", "NotAttempted", "plots", "widgets",
}


# ── public names ─────────────────────────────────────────────────────────────────────────────


def test_all_is_what_can_be_imported():
    assert len(set(pt.__all__)) == len(pt.__all__)
    for name in pt.__all__:
        assert getattr(pt, name) is not None
    inner = {name for name in SOURCES if "." not in name}
    public = {name for name in dir(pt) if not name.startswith("_")}
    internal = {name for name in public if name in inner
                and isinstance(getattr(pt, name), types.ModuleType)} - set(pt.__all__)
    assert public - internal == set(pt.__all__)
    assert not set(pt.__all__) & {"core", "methods", "fetch"}
    assert not inner & set(pt._OF_THE_COURSE)    # a file of the same name would hide a function


def test_promised_names_are_there():
    assert set(pt.__all__) >= PROMISED
    for module, names in {
        pt.models: ("load", "places", "head", "to_hf"),
        pt.data: ("load", "batches", "chat", "labels", "voice"),
        pt.store: ("swap", "list", "save", "load"), pt.export: ("to_peft", "from_peft"),
        pt.lora: ("Config", "LoRALinear", "inject"), pt.full: ("Config", "inject"),
    }.items():
        for name in names:
            assert callable(getattr(module, name))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'lorra'"):
        pt.lorra  # noqa: B018


def test_each_error_has_its_place_in_the_tree():
    kinds = {name for name, kind in vars(pt.errors).items()
             if isinstance(kind, type) and issubclass(kind, Exception)}
    tree = re.findall(r"^    [├└]── (\w+)", pt.errors.__doc__, re.MULTILINE)
    assert kinds == {"PeftTeachError", *tree}
    assert all(issubclass(getattr(pt.errors, name), pt.errors.PeftTeachError) for name in kinds)


# ── the tree of the package ──────────────────────────────────────────────────────────────────


def drawn() -> list[str]:
    """Return the paths in the page's tree of the package, folders with a slash at the end."""
    page = (ROOT / "assets/site/package.md").read_text("utf-8")
    tree = re.search(r"^```\n(peft_teach/\n.*?)^\S", page, re.MULTILINE | re.DOTALL).group(1)
    paths, folders = [], {}
    for line in tree.splitlines()[1:]:
        entry = re.match(r"( *)([\w./]+)", line)
        depth = len(entry[1]) // 2
        path = folders.get(depth - 1, "peft_teach/") + entry[2]
        if path.endswith("/"):
            folders[depth] = path
        paths.append(path)
    return paths


def on_disk(folder: Path) -> set[str]:
    """Return the paths of what is in a folder: modules, and folders with a slash at the end."""
    return ({f"{folder.name}/{f.name}" for f in folder.glob("*.py") if f.stem != "__init__"}
            | {f"{folder.name}/{f.parent.name}/" for f in folder.glob("*/__init__.py")})


def test_the_page_draws_the_tree_that_is_there():
    there = on_disk(PACKAGE) | {
        f"peft_teach/{path}" for room in ("models", "data", "export", "drawing", "course")
        for path in on_disk(PACKAGE / room)} | {
        f"peft_teach/course/{path}" for room in ("checks", "reading", "desk", "publish", "grade")
        for path in on_disk(PACKAGE / "course" / room)} | {A_LESSON}
    shown = {*drawn()}
    assert shown == there, ("The page's tree and the package differ: give each new file a line "
                            f"in assets/site/package.md ({sorted(there - shown)}), and take "
                            f"out what is gone ({sorted(shown - there)}).")


def test_the_walks_on_the_page_lead_through_files_that_are_there():
    walked = re.findall(r"^([a-z_/]+\.py) ", (ROOT / "assets/site/package.md").read_text("utf-8"),
                        re.MULTILINE)
    assert walked
    assert [path for path in walked if not any(
        (folder / path).is_file() for folder in (PACKAGE, PACKAGE / "course"))] == []


def test_nothing_imports_what_the_page_draws_below_it():
    lines = drawn()
    rooms = [path for path in lines if path.endswith("/") and path != "peft_teach/course/"]

    def floor(module: str) -> int:
        if module.startswith("course.lessons."):
            return lines.index(A_LESSON)
        path = f"peft_teach/{module.replace('.', '/')}"
        return lines.index(next((room for room in rooms if f"{path}/".startswith(room)),
                                f"{path}.py"))

    wrong = [f"{module} imports {other}" for module, source in SOURCES.items()
             if module not in ("__init__", "course")
             for other in imports(module, source) - BROUGHT_LATER.get(module, set()) - {"course"}
             if floor(other) > floor(module)]
    assert wrong == [], "assets/site/package.md draws it otherwise"


@cache
def parsed(text: str) -> ast.Module:
    return ast.parse(text)


# ── docstrings ───────────────────────────────────────────────────────────────────────────────


def without_docstring(module: str) -> list[str]:
    """Return what of a module has no docstring: the module, public functions and classes."""
    tree = parsed(SOURCES[module].read_text("utf-8"))
    missing = [module] if tree.body and not ast.get_docstring(tree) else []
    # A version is told where it is named, an answer in its lesson.
    if module.endswith((".exercises", ".mutants", ".reference")):
        return missing
    said = ("_", "run_", "judge_") if ".lessons." in module else "_"    # by the exercise's text
    return missing + [f"{module}.{node.name}" for node in tree.body
                      if isinstance(node, ast.FunctionDef | ast.ClassDef)
                      and not node.name.startswith(said) and not ast.get_docstring(node)]


def test_everything_public_has_a_docstring():
    missing = [name for module in SOURCES for name in without_docstring(module)]
    assert not missing, f"needs a docstring: {', '.join(missing)}"


# ── imports ──────────────────────────────────────────────────────────────────────────────────


def imports(module: str, source: Path) -> set[str]:
    """Return the modules of this package that one imports, inside functions too."""
    package = module if source.name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(parsed(source.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            named = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = ["peft_teach", *(package.split(".") if package else [])]
                parts = parts[:len(parts) - node.level + 1]
                base = ".".join([*parts, *([node.module] if node.module else [])])
            named = {base, *(f"{base}.{alias.name}" for alias in node.names)}
        else:
            continue
        named = {n.removeprefix("peft_teach.") for n in named if n.startswith("peft_teach.")}
        found |= named & set(SOURCES)
    return found - {module}


def test_the_reader_of_imports_reads(tmp_path):
    file = tmp_path / "x.py"
    file.write_text("from . import errors, models\nfrom .methods import lora\nimport torch\n"
                    "def f():\n    from .course.cli import main\n    import peft_teach.store\n")
    assert imports("x", file) == {"errors", "models", "methods", "methods.lora", "course.cli",
                                  "store"}
    assert imports("methods.x", file) & {"errors", "models"} == set()
    file.write_text("from .. import core\nfrom ..models import load\n")
    assert imports("methods.x", file) == {"core", "models"}


def test_a_method_imports_no_other():
    wrong = [f"{module} imports {other}" for module, source in SOURCES.items()
             if module.startswith("methods.")
             for other in imports(module, source) - MAY_IMPORT.get(module, set())
             if other.startswith("methods.")]
    assert wrong == []


REFERENCE_OF = ("full",)    # frozen_stays, in the capstone's test of the laws


def test_no_lesson_imports_another_or_examines():
    wrong = []
    for module, source in SOURCES.items():
        course, room, *rest = *module.split("."), ""
        others = imports(module, source)
        if (course, room) == ("course", "lessons"):
            its = f"course.lessons.{rest[0]}."
            earlier = {f"course.lessons.{name}.reference" for name in (REFERENCE_OF if rest[1:] == [
                "reference", ""] else ())}    # an answer may be made of one that `pt.mine` gives
            wrong += [f"{module} imports {other}" for other in others - earlier if other.startswith(
                "course.lessons.") and not f"{other}.".startswith(its)]
        # An examination calls lessons, and `watch`: a file that imports it is not called by it.
        if course == "course" and room not in EXAMINE and "course.checks.examination" in others:
            wrong.append(f"{module} examines")
    assert wrong == []


def test_the_imports_are_not_empty():
    assert imports("core", SOURCES["core"]) == {
        "adapter", "errors", "guards", "models", "models.replacing", "notes",
        "trained_copy", "valid", "wrapped"}
    assert "methods" in imports("reading", SOURCES["reading"])


# ── what an import loads ─────────────────────────────────────────────────────────────────────

HEAVY = {"transformers", "matplotlib", "ipywidgets", "IPython", "tokenizers", "huggingface_hub",
         "accelerate", "gguf", "peft", "nbformat", "nbclient", "jupytext", "pandas", "distributed"}
SHOWN = {"matplotlib", "ipywidgets", "peft_teach.plots", "peft_teach.widgets"}


def loaded_after(*lines: str) -> list[set[str]]:
    """Run lines in one fresh process; return which modules are loaded after each."""
    code = "\n".join(f"{line}\nprint('loaded', *sys.modules)" for line in ("import sys", *lines))
    done = subprocess.run([sys.executable, "-c", code],
                          capture_output=True, text=True, cwd=PACKAGE.parent)
    assert not done.returncode, done.stderr
    shown = [line.split() for line in done.stdout.splitlines() if line.startswith("loaded ")]
    return [set(names) for _, *names in shown[1:]]


def test_what_is_heavy_comes_when_it_is_first_used():
    """The library loads without the course; neither a card nor the rows of a record, no check and
    no grader loads what draws, nor any lesson's pictures."""
    package, *light, grader, frame, plots, widgets = loaded_after(
        "import peft_teach as pt",
        "from peft_teach.course.cli import main",
        "try: main(['--help'])\nexcept SystemExit: pass",
        "from peft_teach.course.desk.card import Card, show; show(Card('x'))",
        "record = pt.course.records.load('lora'); record['runs'], record.losses, record.spectra",
        "pt.course.records.gain(0.8)",
        "from peft_teach.course import lessons, publish\n"
        "from peft_teach.course.grade import child, collect, engine, job, report, run\n"
        "for exercise in lessons.all_exercises(): exercise.resolve()",
        "record.runs", "pt.plots", "pt.widgets")
    assert "torch" in package
    assert {name.split(".")[1] for name in package if name.startswith("peft_teach.")} == (
        {name for name in SOURCES if "." not in name} - {
            "__init__", "course", "drawing", "ink", "plots", "widgets"})
    assert not any(loaded & HEAVY for loaded in (package, *light))
    assert not grader & {"pandas", *SHOWN}
    assert not any(name.endswith(".pictures") for name in grader)
    assert "pandas" in frame
    assert "matplotlib" in plots
    assert "ipywidgets" not in plots
    assert "ipywidgets" in widgets


# ── requirements ─────────────────────────────────────────────────────────────────────────────

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
BASE = [Requirement(line) for line in PROJECT["dependencies"]]
PYTHON = {"python_version": "3.13", "python_full_version": "3.13.15", "extra": ""}
NEW_ON_COLAB = {"gguf"}    # all that an installation there may add


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def colab() -> dict[str, Version]:
    lines = (Path(__file__).parent / "colab-2026-08-19.txt").read_text("utf-8").splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonical(name): Version(version) for name, version in pairs}


def test_colab_keeps_all_its_versions():
    image = colab()
    assert {canonical(r.name) for r in BASE} - set(image) == NEW_ON_COLAB
    for requirement in BASE:
        name = canonical(requirement.name)
        if name in image:
            assert image[name] in requirement.specifier, f"{requirement} moves {image[name]}"
    assert Version("3.13.15") in Requirement("python" + PROJECT["requires-python"]).specifier


@pytest.mark.parametrize("name", sorted(NEW_ON_COLAB))
def test_what_is_new_on_colab_moves_nothing_there(name):
    needs = [Requirement(line) for line in importlib.metadata.requires(name) or ()]
    needs = [r for r in needs if not r.marker or r.marker.evaluate(PYTHON)]
    assert needs
    for requirement in needs:
        assert colab()[canonical(requirement.name)] in requirement.specifier, requirement


def test_notebook_tools_are_in_no_base_requirement():
    base = {canonical(r.name) for r in BASE}
    assert not base & {"jupyterlab", "notebook", "nbval", "nbgrader", "pytest", "peft", "ruff",
                       "ipykernel", "ipython", "jupytext", "nbclient", "bitsandbytes", "datasets"}
    extras = {extra: {canonical(Requirement(line).name) for line in lines}
              for extra, lines in PROJECT["optional-dependencies"].items()}
    assert {"jupyterlab", "peft", "transformers"} <= extras["lab"]    # what peft 0.21 knows
    assert "nbval" in extras["test"]


def test_every_third_party_import_is_required():
    base = {canonical(r.name).replace("-", "_") for r in BASE}
    # used by the command line and by notebooks only, which bring them; ipywidgets brings traitlets
    # peft and bitsandbytes by the lesson about them, where installed; transformers brings
    # tokenizers, matplotlib brings Pillow, jupyterlab its server; the rest by the site
    elsewhere = {"nbformat", "nbclient", "jupytext", "IPython", "psutil", "jupyterlab",
                 "jupyter_server", "distributed", "traitlets", "peft", "bitsandbytes", "sphinx",
                 "tokenizers", "PIL", "pygments"}    # the last by IPython
    for module, source in SOURCES.items():
        for node in ast.walk(parsed(source.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                named = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                named = {node.module.split(".")[0]}
            else:
                continue
            third = named - set(sys.stdlib_module_names) - {"peft_teach"}
            assert third <= base | elsewhere, f"{module} imports {third - base - elsewhere}"


@pytest.mark.parametrize(("of", "name", "old"), [
    (sys, "version_info", (3, 10, 13)), (torch, "__version__", "2.5.1+cpu")])
def test_an_older_python_or_torch_is_told_at_once(of, name, old, monkeypatch):
    needed = [r.specifier for r in BASE if r.name == "torch"]
    needed.append(Requirement("Python" + PROJECT["requires-python"]).specifier)
    torches, pythons = (str(each).removeprefix(">=") for each in needed)
    monkeypatch.setattr(of, name, old)
    with pytest.raises(ImportError, match=rf"needs Python {pythons} and torch {torches}, or later"):
        importlib.reload(pt)


def test_the_version_is_said_once():
    assert pt.__version__ == PROJECT["version"]
