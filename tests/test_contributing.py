"""What a contributor meets first: the continuous integration, the hook, the quick tests."""

import re
import tomllib
from pathlib import Path

import quick
import yaml
from packaging.version import Version

import peft_teach as pt

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
README = (ROOT / "README.md").read_text("utf-8")


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


def test_the_hook_takes_the_ruff_of_the_test_extra():
    (hook,) = parsed(".pre-commit-config.yaml")["repos"][0]["hooks"]
    ruff, = (r for r in PROJECT["project"]["optional-dependencies"]["test"]
             if re.match(r"ruff\b", r))
    assert hook["additional_dependencies"] == [ruff]
    assert "ruff check" in hook["entry"]
    assert "ruff check ." in (ROOT / ".ci/run").read_text("utf-8")


def test_the_quick_tests_are_there_and_named():
    for path in (*quick.FILES, quick.LAWS):
        assert (ROOT / path).is_file(), f"{path} stands in tests/quick.py, and is not there"
    assert any(m.startswith("quick:") for m in PROJECT["tool"]["pytest"]["ini_options"]["markers"])
    assert "`pytest -m quick`" in README


def test_the_changelog_begins_with_what_is_unreleased():
    headings = re.findall(r"^## (.*)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert pt.__version__ == "0.1.0" or f"[{pt.__version__}]" in headings[1]
