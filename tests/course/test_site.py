"""The pages: what stands on them and what does not.

The whole site, with its charts, is built and looked at in a browser by tests/browser/test_site.py.
"""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from peft_teach.course import records
from peft_teach.course.publish import blocks, charts, site, tables
from peft_teach.course.publish.notebooks import make
from peft_teach.errors import PeftTeachError

ROOT = Path(__file__).parents[2]
LESSON, = make(ROOT, ["07"])


def texts(notebook) -> str:
    return "\n".join(cell.source for cell in notebook.cells)


@pytest.mark.parametrize("solutions", [site.FOLDED, site.NONE])
def test_a_page_has_what_is_read_and_nothing_for_graders(solutions):
    page = site.page(LESSON, ROOT, solutions)
    assert "pt.require(" not in texts(page)
    assert "find_spec" not in texts(page)
    prose = [re.sub("```.*?```", "", cell.source, flags=re.DOTALL) for cell in page.cells
             if cell.cell_type == "markdown"]
    assert len(re.findall(r"^# ", "\n".join(prose), re.MULTILINE)) == 1
    assert any(cell.get("outputs") for cell in page.cells)
    assert "[START](../start.md)" in texts(page)
    solved = [cell for cell in page.cells if "nn.Parameter(torch.zeros(" in cell.source
              and "class LoRALinear" in cell.source]
    if solutions == site.NONE:
        assert not solved
        assert "raise pt.NotAttempted" in texts(page)
    else:
        assert [cell.metadata["tags"] for cell in solved] == [["hide-input"]]


def test_the_table_names_every_lesson():
    start = (ROOT / "assets/site/start.md").read_text("utf-8")
    included = re.search(r"{include} README.md\n:start-after: (.+)\n:end-before: \"(.+)\"", start)
    readme = (ROOT / "README.md").read_text("utf-8")
    table = readme.partition(included[1])[2].partition(included[2])[0]
    for lesson in make(ROOT):
        assert f"(lessons/{lesson.name}.ipynb)" in table


# ── what is computed ─────────────────────────────────────────────────────────────────────────


@pytest.fixture
def pages(tmp_path):
    """A copy of the pages as a build leaves them, and of what they say of the methods."""
    for path in (*tables.PAGES, "assets/site/methods", "pyproject.toml"):
        copy = tmp_path / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / path).is_dir() else shutil.copy)(ROOT / path, copy)
    tables.write(tmp_path)
    return tmp_path


def test_the_pages_are_as_a_build_leaves_them():
    assert tables.problems(ROOT) == []


@pytest.mark.parametrize(("page", "old", "new"), [
    ("assets/site/library.md", "| 73,728 (rank 8,", "| 199,999 (rank 8,"),
    ("assets/site/library.md", "(length 20) | | yes |", "(length 21) | | yes |"),
    ("assets/site/library.md", "| `ia3` |", "| `lora` |"),
    ("assets/site/map.md", "| 73,728; merges |", "| 199,999; merges |"),
    ("assets/site/map.md", "| 7,680; stays beside the base |", "| 7,680; merges |"),
    ("assets/site/map.md", "LoRA: 73,728 ·", "LoRA: 199,999 ·"),
    ("README.md", "methods-wide-dark.png", "methods-dark.png"),
    ("assets/site/fast.md", "| 0.62 (0.60–0.65) | 0.19 ", "| 0.61 (0.60–0.65) | 0.19 "),
    ("assets/site/fast.md", "| lora               | 460,800 ", "| dora               | 460,800 "),
    ("assets/site/peft.md", "pt.prompt.Config(length=20)", "pt.prompt.Config(length=21)"),
    ("CHANGELOG.md", "methods, `full`", "methods, `fool`"),
    ("README.md", " families<", " familiars<"),
])
def test_what_a_page_counts_is_computed(pages, page, old, new):
    """A wrong cell is named with its page, and a build mends it and nothing else."""
    path = pages / page
    right = path.read_text("utf-8")
    assert old in right
    assert (tables.problems(pages), tables.write(pages)) == ([], [])
    path.write_text(right.replace(old, new, 1), "utf-8")
    problem, = tables.problems(pages)
    assert problem.startswith(f"{page}, computed '")
    assert new.strip("| <").split(" |")[0] in problem
    assert tables.write(pages) == [f"{page}: its computed parts written"]
    assert path.read_text("utf-8") == right


def test_pages_get_the_address_of_the_course_from_its_one_entry(pages):
    """The line that clones, the link to Colab and the citation; unset, each says what to set."""
    def read(page):
        return (pages / page).read_text("utf-8")

    def given(address):
        (pages / "pyproject.toml").write_text(f'[tool.peft-teach]\naddress = "{address}"\n')
        return {line.partition(":")[0] for line in tables.write(pages)}

    told = {"README.md", "CITATION.cff", "assets/site/start.md"}
    given("")
    for page in told:
        assert "`address` in pyproject.toml" in read(page)
    address = "https://github.com/someone/some-peft.git"
    assert given(address) == told
    for page in ("README.md", "assets/site/start.md"):
        assert f"\ngit clone {address} && cd some-peft\n" in read(page)
    assert ("(https://colab.research.google.com/github/someone/some-peft/blob/main/lessons/"
            "START.ipynb)") in read("README.md")
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["repository-code"] == address
    assert given("https://example.org/c/peft") == told    # Colab opens no other host's notebooks
    assert "git clone https://example.org/c/peft && cd peft\n" in read("README.md")
    assert "colab.research" not in read("README.md")
    with pytest.raises(PeftTeachError, match=r"'git@example\.org:x'"):
        given("git@example.org:x")


def test_rows_in_another_order_are_a_problem(pages):
    path = pages / "assets/site/map.md"
    lines = path.read_text("utf-8").splitlines(keepends=True)
    lines[-2], lines[-3] = lines[-3], lines[-2]
    path.write_text("".join(lines), "utf-8")
    assert len(tables.problems(pages)) == 1


def test_each_page_has_its_computed_parts():
    marks = {name for page in tables.PAGES for _, name, *_ in tables.MARKED.findall(
        (ROOT / page).read_text("utf-8"))}
    assert marks == set(tables.COMPUTED)


@pytest.mark.parametrize(("old", "new", "says"), [
    ("WHEN =", "WEN =", r"assets/site/methods/lora\.py has no WHEN"),
    ("IN_PEFT =", "PEFT =", r"assets/site/methods/lora\.py: IN_PEFT and WRITTEN .* do not agree"),
    ("", "", r"assets/site/methods/lora\.py is missing")])
def test_a_methods_card_that_lacks_something_is_named(pages, old, new, says):
    card = pages / "assets/site/methods/lora.py"
    if old:
        card.write_text(card.read_text("utf-8").replace(old, new), "utf-8")
    else:
        card.unlink()
    with pytest.raises(PeftTeachError, match=says):
        tables.problems(pages)


def test_the_pictures_of_all_methods_are_as_a_build_draws_them(tmp_path):
    assert blocks.problems(ROOT) == []
    assert blocks.problems(tmp_path) == []    # no site, no pictures
    shutil.copytree(ROOT / blocks.FOLDER, tmp_path / blocks.FOLDER)
    wide, phone = ((blocks.FOLDER / f"methods-{name}.png") for name in ("wide-dark", "phone-light"))
    (tmp_path / phone).unlink()
    shutil.copyfile(ROOT / blocks.FOLDER / "methods-wide-light.png", tmp_path / wide)
    assert [line.partition(":")[0] for line in blocks.problems(tmp_path)] == [
        wide.as_posix(), phone.as_posix()]
    assert blocks.write(tmp_path) == [f"{wide.as_posix()}: drawn", f"{phone.as_posix()}: drawn"]
    assert blocks.problems(tmp_path) == []


def test_a_page_names_files_that_are_there_and_both_themes():
    for page, folder in (("README.md", ROOT), ("assets/site/map.md", ROOT / "assets/site")):
        named = re.findall(r'(?:src|srcset)="([^" ]+methods-[^" ]+)',
                           (ROOT / page).read_text("utf-8"))
        assert all((folder / name).is_file() for name in named)
        assert {name.rpartition("/")[2] for name in named} == {
            path.name for path in (ROOT / blocks.FOLDER).glob("methods-*.png")}
        assert sum((folder / name).stat().st_size for name in {*named}) < 250_000


def test_a_mark_that_nothing_computes_is_told(pages):
    (pages / "README.md").write_text("<!-- computed: lines -->5<!-- end -->", "utf-8")
    with pytest.raises(PeftTeachError, match=r"README\.md: nothing computes 'lines'"):
        tables.write(pages)


@pytest.mark.long
def test_the_charts_are_the_lessons_pictures_of_the_records(tmp_path):
    charts.draw(tmp_path)
    rank, updates, ladder = (re.findall('alt="(.+?)"', (tmp_path / f"{name}.html").read_text(
        "utf-8")) for name in charts.CHARTS)
    runs = records.load("lora").runs.query("group == 'ranks' and rank == 64")
    assert "rank 64, query, value: 589,824" in rank[0]
    assert f"recorded: {runs.accuracy.mean():.1%}" in rank[0]
    assert len(updates) == 12
    assert "full fine-tuning: " in updates[0]
    assert len(ladder) == 4
    assert all(f"{method}: " in each for each in ladder for method in ("LoRA 8", "the head alone"))


def test_no_checkout_is_an_error_that_says_so(tmp_path):
    with pytest.raises(PeftTeachError, match="no checkout of the course"):
        site.site(tmp_path, tmp_path / "out")
