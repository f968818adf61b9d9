"""What a contributor meets first: the guide, the gate on GitHub, the hook, the quick tests."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import quick
import vera
import yaml
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import peft_teach as pt
from peft_teach.course.cli import _parser
from peft_teach.methods import METHODS

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
README = (ROOT / "README.md").read_text("utf-8")
GUIDE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
# What its backquotes and blocks hold, with lesson 07 and LoRA as the example.
SPANS = [span.replace("NN", "07").replace("NAME", "lora") for span in (
    *re.findall(r"`([^`\n]+)`", GUIDE),
    *"".join(re.findall(r"^```\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)).splitlines())]


def parsed(path: str) -> dict:
    return yaml.safe_load((ROOT / path).read_text("utf-8"))


def test_the_workflow_calls_the_gate_on_the_oldest_and_a_new_python():
    workflow = parsed(".github/workflows/ci.yml")
    assert set(workflow[True]) == {"push", "pull_request"}    # YAML 1.1 takes `on` for true
    (job,) = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step][-1] == ".ci/run"
    assert (ROOT / ".ci/run").stat().st_mode & 0o111
    oldest, newest = map(Version, job["strategy"]["matrix"]["python"])
    assert PROJECT["project"]["requires-python"] == f">={oldest}"
    assert oldest < newest


def test_a_devcontainer_has_what_the_readme_says_on_a_python_that_is_tested():
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text("utf-8"))
    install, start = container["postCreateCommand"], container["postAttachCommand"]
    assert f"\n{install}\npeft-teach start\n" in README
    assert _parser().parse_known_args(shlex.split(start)[1:])[0].command
    assert Version(container["image"].rpartition(":")[2]) in SpecifierSet(
        PROJECT["project"]["requires-python"])


def test_the_hook_takes_the_ruff_of_the_test_extra():
    (hook,) = parsed(".pre-commit-config.yaml")["repos"][0]["hooks"]
    ruff, = (r for r in PROJECT["project"]["optional-dependencies"]["test"]
             if re.match(r"ruff\b", r))
    assert hook["additional_dependencies"] == [ruff]
    assert "ruff check" in hook["entry"]
    assert "ruff check ." in (ROOT / ".ci/run").read_text("utf-8")


def test_the_quick_tests_are_there_and_named():
    for path in quick.FILES:
        assert (ROOT / path).is_file(), f"{path} stands in tests/quick.py, and is not there"
    assert any(m.startswith("quick:") for m in PROJECT["tool"]["pytest"]["ini_options"]["markers"])
    assert "`pytest -m quick`" in README


def test_the_changelog_begins_with_what_is_unreleased():
    headings = re.findall(r"^## (.*)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert pt.__version__ == "0.1.0" or f"[{pt.__version__}]" in headings[1]


# ── CONTRIBUTING.md ──────────────────────────────────────────────────────────────────────────


def test_every_path_that_the_guide_names_is_there():
    paths = {word.rstrip(",;") for span in SPANS for word in span.split() if re.fullmatch(
        r"[\w.-]+(/[\w.-]*)+|\w+\.md", word) and not word.startswith((".venv", "/"))}
    assert len(paths) > 25
    assert [path for path in sorted(paths) if not any(
        (folder / path).exists() for folder in (ROOT, ROOT / "solutions/07_lora"))] == []


def test_the_commands_of_the_guide_are_commands():
    commands = [span for span in SPANS if span.startswith("peft-teach ")]
    assert commands
    for command in commands:
        _parser().parse_args(shlex.split(command, comments=True)[1:])
    for name in re.findall(r"-m (\w+)`", GUIDE):
        assert any(marker.startswith(f"{name}:") for marker in
                   PROJECT["tool"]["pytest"]["ini_options"]["markers"])


@pytest.mark.parametrize(("file", "name"), [
    ("peft_teach/methods/__init__.py", "METHODS"), ("peft_teach/models/families.py", "FAMILIES"),
    ("tests/library/test_laws.py", "METHODS"), ("tests/library/test_laws.py", "BIASED"),
    ("peft_teach/settings.py", "Rank"), ("tests/vera.py", "Projections"),
    ("peft_teach/course/lessons/lora/exercises.py", "EXERCISES"),
])
def test_every_name_that_the_guide_sends_one_to_is_there(file, name):
    assert f"`{name}`" in GUIDE
    assert re.search(rf"^(class )?{name}\b", (ROOT / file).read_text("utf-8"), re.MULTILINE)


def test_vera_s_file_has_the_size_that_the_guide_says(tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, "vera", vera)
    model, _ = pt.models.load("minilm", pretrained=False, device="cpu")
    model = vera.inject(model)
    trained = sum(p.numel() for p in pt.adapter_parameters(model).values())
    kept_kb = (pt.save(model, tmp_path) / "adapter.safetensors").stat().st_size / 1e3
    pairs_mb = sum(b.nbytes for a in pt.adapters(model).values() for b in a.shared.buffers()) / 1e6
    assert f"{pairs_mb + kept_kb / 1e3:.1f} MB for {trained:,} trained" in " ".join(GUIDE.split())
    assert f"where the file now has {kept_kb:.0f} kB" in " ".join(GUIDE.split())
