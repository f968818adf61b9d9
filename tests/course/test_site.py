"""The pages: what stands on them and what does not.

The whole site is built and looked at in a browser by tests/browser/test_site.py.
"""

import copy
import json
import re
import runpy
import shutil
from functools import cache
from html import unescape
from itertools import combinations, pairwise

import pytest
import yaml
from grading_corpus import ROOT, lessons
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

from peft_teach import ink, plots
from peft_teach.course.desk import work
from peft_teach.course.publish import blocks, recorded_widgets, tables
from peft_teach.course.publish.glossary import link_terms, terms
from peft_teach.course.publish.methods import HEAD, cards
from peft_teach.course.publish.page import (
    FOLDED,
    NONE,
    page,
    take_pictures_out,
)
from peft_teach.course.publish.site import site
from peft_teach.course.publish.source import SourceCell
from peft_teach.errors import PeftTeachError

LESSON = lessons()["07"]


def texts(notebook) -> str:
    return "\n".join(cell.source for cell in notebook.cells)


def shown(notebook) -> str:
    """All that stands on a page below its cells."""
    return "\n".join(output.get("data", {}).get("text/html", "") + str(
        output.get("data", {}).get("text/plain", "")) for cell in notebook.cells
        for output in cell.get("outputs", ()))


@cache
def page_of(number: str) -> NotebookNode:
    """The page of a lesson, by its number, without pictures."""
    return page(lessons()[number], ROOT)


@pytest.fixture(scope="module")
def folded():
    return page_of("07")


def test_a_page_has_what_is_read_and_nothing_for_graders_or_colab(folded):
    read = texts(folded)
    for nothing in ("pt.require(", "find_spec", "BEGIN SOLUTION", "END SOLUTION", "Colab",
                    "START.ipynb", "[START](", "pt.progress(", "Set-up"):
        assert nothing not in read
    assert "[start here](../start.md)" in read
    assert "![" not in read
    assert "first page" not in read    # START's


def test_headings_stand_in_their_order_below_one_title(folded):
    prose = "\n".join(re.sub("```.*?```", "", cell.source, flags=re.DOTALL)
                      for cell in folded.cells if cell.cell_type == "markdown")
    levels = [len(hashes) for hashes, _ in re.findall("^(#+) (.*)", prose, re.MULTILINE)]
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise(levels))
    assert "\n## Further\n\n### Look inside the change\n" in prose    # a part, and its parts
    assert "### Exercise 1 · Count A and B\n\n*1 point, about 4 minutes*\n" in prose


@pytest.mark.parametrize("number", lessons())
def test_nothing_says_what_a_reader_has_not_done_and_each_bet_has_an_answer_of_its_own(number):
    assert not re.search(r"you said|\bno prediction|\b(no|not) [\w ]+ yet|^Lesson \d",
                         shown(page_of(number)), re.MULTILINE)
    each = [[re.findall(f'{kind}"?(.+?)"', shown(NotebookNode(cells=[cell]))) for kind in (
        "data-name=", 'id="measured-')] for cell in page_of(number).cells]
    asked, told = ({name: n for n, names in enumerate(column) for name in names}
                   for column in zip(*each))
    assert all(asked[name] < told[name] for name in asked)
    assert len({told[name] for name in asked}) == len(asked)    # none tells another


def test_a_page_has_nothing_that_only_a_notebook_can_do():
    """What a lesson marks as such, calls that show nothing without a kernel, whose pieces ran."""
    for number in ("01", "11"):
        assert 'class="notebook"' in "".join(cell.source for cell in lessons()[number].cells)
        for nothing in ('class="notebook"', "of your own.", "the button", "offer(", "Search("):
            assert nothing not in texts(page_of(number))
        outputs = [output for cell in page_of(number).cells for output in cell.get("outputs", ())]
        assert not any(output.get("name") == "stderr" for output in outputs)
        assert not any(output.get("text", "").startswith("yours: ") for output in outputs)


def test_the_first_use_of_a_term_leads_to_the_glossary(folded):
    known, linked = terms(ROOT), re.findall("{term}`(.+?)`", texts(folded))
    assert {"verdict", "pooler", "NF4"} <= {*known}
    assert len({*map(str.lower, linked)}) == len(linked) > 5
    assert {*map(str.lower, linked)} <= {*map(str.lower, known)}
    text = NotebookNode(cell_type="markdown", source=(
        "# The pooler\n\n`pooler` $pooler$ <code>pooler</code> [pooler](x)\n\n| pooler |\n\n"
        "Poolers, **pooler** and pooler.\n\n**Sources**\n\n- *QLoRA*"))
    after = text.source.replace("**pooler**", "**{term}`pooler`**")
    link_terms([text], known)
    assert text.source == after


@pytest.mark.parametrize("solutions", [FOLDED, NONE])
def test_an_exercise_is_its_stub_the_card_of_a_slip_and_a_folded_solution(solutions):
    cells = page(LESSON, ROOT, solutions).cells
    stub = next(n for n, cell in enumerate(cells) if "raise pt.NotAttempted(\"lora.count\")"
                in cell.source)
    check, solution = cells[stub + 1:stub + 3]
    assert "gave 60; expected 32. That is all of W." in shown(NotebookNode(cells=[check]))
    assert "pt.hint" not in shown(NotebookNode(cells=[check]))    # where nobody can ask for it
    if solutions == FOLDED:
        assert "return rank * n_in + n_out * rank" in solution.source
        assert solution.metadata["tags"] == ["hide-input"]
    else:
        assert "return rank * n_in" not in texts(NotebookNode(cells=cells))


def test_a_bet_is_buttons_and_its_answer_stands_where_the_lesson_tells_it(folded):
    bet, = (cell for cell in folded.cells if '"lora.suspect"' in cell.source
            and "Guess(" in cell.source)
    html = shown(NotebookNode(cells=[bet]))
    assert re.findall("<button[^>]*>(.*?)</button>", html) == [
        "the rank", "the size of ΔW", "alpha"]
    assert html.count('hidden><span class="said"></span><a href="#measured-lora.suspect">') == 1
    assert bet.metadata["tags"] == ["remove-input"]
    free, = (cell for cell in folded.cells if "pt.commit(\"lora.zero_gradients\"" in cell.source)
    assert "<label>Your bet: <input required " in shown(NotebookNode(cells=[free]))
    assert "AB · A · B" not in shown(NotebookNode(cells=[free]))
    for name, value in (("suspect", "Why rank 64 failed:</strong> alpha"),
                        ("zero_gradients", "both random:</strong> AB · A · B · none")):
        told, = (cell for cell in folded.cells if f'pt.compare("lora.{name}"' in cell.source)
        html = shown(NotebookNode(cells=[told]))
        assert f'id="measured-lora.{name}"><span class="said"></span><strong>' in html
        assert value in html
    named, = (cell for cell in folded.cells if "felt.values()" in cell.source)    # by a name
    assert "<button type=\"button\" aria-pressed=\"false\">about as far</button>" in shown(
        NotebookNode(cells=[named]))


def test_of_a_number_and_how_sure_one_is_a_page_tells_the_number():
    told = shown(page_of("05"))
    assert re.search(r"<strong>Failing runs of three:</strong> \d<", told)
    assert "how sure one is now" not in told


def test_a_bets_answer_stands_above_the_picture_that_its_cell_makes(folded):
    lesson = lessons()["00"]
    cell, = (cell for cell in lesson.cells if "explore_step(" in cell.source)
    html, = (shown(NotebookNode(cells=[each])) for each in page(
        lesson, ROOT, pictures={cell.id: "<b>the picture</b>"}).cells
        if "explore_step(" in each.source)
    assert html.index("measured-inside.fullest") < html.index("<b>the picture</b>")
    told, = (cell for cell in folded.cells if 'pt.compare("lora.suspect"' in cell.source)
    html = shown(NotebookNode(cells=[told]))    # where the notebook draws it first, too
    assert html.index("measured-lora.suspect") < html.index("<img")


@pytest.mark.parametrize(("number", "form"), [
    ("00", "0.9"), ("02", "0.5, 0.5"), ("07", "A, B, AB, –"), ("10", "LoRA 8: 60, BitFit: 40")])
def test_a_field_shows_how_an_answer_looks(number, form):
    """How sure one is has a field of its own, which the page does not measure."""
    html = shown(page_of(number))
    assert f'placeholder="{form}"' in html
    assert ("How sure, 0 to 1: <input " in html) == (number in ("00", "02"))
    assert ("<input required data-share" in html) == (number in ("00", "02"))


@pytest.mark.parametrize("lesson", lessons().values(), ids=lambda lesson: lesson.name)
def test_each_field_shows_it(lesson):
    source = (ROOT / lesson.source).read_text("utf-8")
    assert re.findall(r"pt\.commit\((?!.*like=)", source) == []


@pytest.mark.parametrize(("number", "line", "tags"), [
    ("10", 'compare("ladder.mask"', {"after-ladder.mask", "after-ladder.bets"}),    # it tells both
    ("10", "pt.board.monday(", {"hide-output", "after-ladder.mask"}),    # early: it has a tag
    ("06", "pt.board.train(", {"hide-output", "after-ia3.rate"})],    # between a bet and its card
    ids=["both", "early", "between"])
def test_what_tells_an_answer_waits_for_its_bets(number, line, tags):
    told = next(cell for cell in page_of(number).cells if line in cell.source)
    assert tags <= {*told.metadata["tags"]}


def test_a_picture_that_shows_a_bets_answer_waits_for_the_bet():
    cell, = (cell for cell in LESSON.cells if "explore_rank(" in cell.source)
    read = page(LESSON, ROOT, pictures={cell.id: "<b>the picture</b>"})
    html, = (shown(NotebookNode(cells=[each])) for each in read.cells
             if "explore_rank(" in each.source)
    assert html.index("<button") < html.index("<details") < html.index("<b>the picture</b>")


def test_what_was_measured_waits_for_its_bet(folded):
    """The tags that site.js looks for; what stands between without prose waits as well."""
    waiting = [(cell.metadata["tags"], shown(NotebookNode(cells=[cell]))) for cell in folded.cells
               if "hide-output" in cell.metadata.get("tags", ())]
    assert all(any(f"after-{name}" in tags for tags, _ in waiting)
               for name in re.findall('data-name="(.+?)"', shown(folded)))
    assert sum('class="measured"' in html for _, html in waiting) == shown(folded).count(
        '<p class="measured" ')
    assert any("after-lora.rank" in tags and "<table" in html for tags, html in waiting)


def test_a_fold_has_the_question_of_its_bet(folded):
    names = [cell.metadata["mystnb"]["code_prompt_show"] for cell in folded.cells
             if "hide-output" in cell.metadata.get("tags", ())]
    assert {"After the bet: Rank 64 failed because of", "After the bet: The hidden states move",
            "After the bet: the result"} <= {*names}    # of a field, above which no question stands
    assert len({*names}) == len(names)
    opened = [cell.metadata["mystnb"]["code_prompt_hide"] for cell in folded.cells
              if "hide-output" in cell.metadata.get("tags", ())]
    assert {"The answer: Rank 64 failed because of", "The answer"} <= {*opened}


def test_pictures_become_files_that_load_when_they_are_seen(folded, tmp_path):
    """A phone has its own of those that were drawn for it; another scrolls."""
    notebook = copy.deepcopy(folded)
    alts = re.findall('<img alt="(.+?)"', shown(notebook))
    take_pictures_out(notebook, tmp_path, {unescape(alts[0]): "<source narrow>"})
    assert "data:image/png" not in shown(notebook)
    found = re.findall('<img alt="(.+?)".*? height="([0-9]+)" loading="lazy" '
                       rf'src="../_static/{tmp_path.name}/(.+?)"', shown(notebook))
    assert [alt for alt, *_ in found] == alts
    assert all((tmp_path / name).is_file() and int(height) > 50 for _, height, name in found)
    assert re.findall('<source narrow><img alt="(.+?)"', shown(notebook)) == alts[:1]
    assert len(re.findall(r"min-width: \d", shown(notebook))) == len(found)


def test_a_phone_takes_the_picture_that_its_notebook_has_for_it(tmp_path):
    html = plots.html(ink.both(plots.curves)({"a": [1.0, 0.5]}), "A loss.")
    cell = new_code_cell(outputs=[new_output("display_data", data={"text/html": html})])
    notebook = new_notebook(cells=[cell])
    take_pictures_out(notebook, tmp_path, {})
    phone, wide = re.findall(rf"../_static/{tmp_path.name}/(\w+\.png)", shown(notebook))
    assert f'{phone} 2x" width="' in shown(notebook)
    assert {phone, wide} == {each.name for each in tmp_path.iterdir()}
    assert shown(notebook).count("<picture>") == shown(notebook).count("</picture>") == 1


# ── pictures that move without a kernel ──────────────────────────────────────────────────────


def cell(source: str) -> SourceCell:
    return SourceCell(f"id-{hash(source)}", "code", source, source, {}, None, None, "a lesson")


MADE = [cell(text) for text in (
    "import ipywidgets as ipw\nfrom peft_teach.course.desk import work\n"
    "from peft_teach.plots import figure\nfrom peft_teach.widgets import Explorer",
    "trained = pt.board.train('lora 8', wrap)",
    "raise RuntimeError('nobody asks for this cell')",
    "def explore_height(names, most=3):\n"
    "    def draw(data):\n"
    "        made, ax = figure(3, 2)\n"
    "        ax.bar([0], [data[1]])\n"
    "        made.set_label(f'{data[0]} is {data[1]} high')\n"
    "        return made\n"
    "    return Explorer({'name': ipw.Dropdown(options=names, description='whose'),\n"
    "                     'high': ipw.IntSlider(2, 1, most, description='height')},\n"
    "                    lambda **s: (s['name'], s['high']), draw, lambda data: f'Of {data[0]}.'\n"
    "                    + ' Commit first.' * (work.folder() is not None))",
    "names = [('A </script>', 'a'), ('B', 'b')]",
    "explore_height(names)",
    "explore_height([str(trained)])",
    "names = [('C', 'c')]",
    "import peft_teach as pt\nmade, left, right = figure(8, 2, columns=2)\n"
    "made.set_label('two panels')\npt.plots.show(made, 'Beside each other.')",
)]


def test_a_picture_is_made_of_the_cells_that_it_needs():
    source = [each.source for each in MADE]
    assert recorded_widgets.needs(source, 5) == {0, 3, 4, 5}
    assert recorded_widgets.needs(source, 6) == {0, 1, 3, 6}
    (id, picture), = recorded_widgets.made(MADE)[0].items()    # no training of minutes
    assert (id, picture.data) == (MADE[5].id, ("a", 2))


def test_a_picture_is_drawn_at_every_setting(tmp_path, monkeypatch):
    monkeypatch.setenv(work.VARIABLE, str(tmp_path))    # of which a picture knows nothing
    (html,), _ = map(dict.values, recorded_widgets.draw(MADE, tmp_path))
    files = json.loads(re.search(r'<script type="application/json">(.*?)</script>', html)[1])
    assert [told for *_, told, _ in files] == [f"{a} is {n} high" for a in "ab" for n in (1, 2, 3)]
    for same in zip(*(names for *names, _, _ in files)):    # on a wide page, and on a phone
        assert len({*same}) == 3    # the names are not drawn
        assert all((tmp_path / recorded_widgets.FILES / file).is_file() for file in same)
    assert {caption for *_, caption in files} == {"Of a.", "Of b."}    # none waits for a bet
    assert "<label class=\"control\">whose <select><option selected>A &lt;/script&gt;" in html
    assert 'alt="a is 2 high"' in html
    assert 'max="2" value="1"' in html


def test_for_a_phone_a_picture_is_drawn_anew_with_its_panels_below_each_other(tmp_path):
    _, still = recorded_widgets.draw(MADE, tmp_path)
    (says, source), = still.items()
    file, width, height = re.fullmatch(
        r'<source media="\(max-width: 480px\)" srcset="../_static/moving/(.+) 2x" '
        r'width="(\d+)" height="(\d+)">', source).groups()
    assert (says, width, height) == ("two panels", "432", "384")
    with Image.open(tmp_path / recorded_widgets.FILES / file) as image:
        assert image.size == (864, 768)


def test_a_long_slider_keeps_every_other_stop_and_where_it_stands():
    stops = {"x": ([(str(n), n) for n in range(101)], 51), "y": ([("a", "a"), ("b", "b")], 1)}
    (x, at), y = recorded_widgets.thinned(stops).values()
    assert len(x) * 2 <= recorded_widgets.MOST
    assert x[at] == ("51", 51)
    assert y == stops["y"]


# ── the pages beside the lessons ─────────────────────────────────────────────────────────────


def test_the_table_names_every_lesson():
    index = (ROOT / "assets/site/index.md").read_text("utf-8")
    included = re.search(r'{include} README.md\n:start-after: "(.+)"\n:end-before: "(.+)"', index)
    readme = (ROOT / "README.md").read_text("utf-8")
    table = readme.partition(included[1])[2].partition(included[2])[0]
    for lesson in lessons().values():
        assert f"(lessons/{lesson.name}.ipynb)" in table


# ── what is computed ─────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The pages as a build leaves them, and what they say of the methods."""
    folder = tmp_path_factory.mktemp("built")
    sources = (source.relative_to(ROOT) for source in ROOT.glob("solutions/*/lesson.py"))
    for path in (*tables.PAGES, "assets/site/methods", "pyproject.toml", *sources):
        copy = folder / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / path).is_dir() else shutil.copy)(ROOT / path, copy)
    tables.write(folder)
    return folder


@pytest.fixture
def pages(built, tmp_path):
    """A copy of them."""
    return shutil.copytree(built, tmp_path / "pages")


def test_the_pages_are_as_a_build_leaves_them(pages):
    assert tables.problems(ROOT) == []
    assert (tables.problems(pages), tables.write(pages)) == ([], [])


@pytest.mark.parametrize(("page", "old", "new"), [
    ("assets/site/library.md", "| 73,728 (rank 8,", "| 199,999 (rank 8,"),
    ("assets/site/library.md", "(length 20) | | yes |", "(length 21) | | yes |"),
    ("assets/site/library.md", "| `ia3` |", "| `lora` |"),
    ("assets/site/map.md", "| 73,728 (rank 8,", "| 199,999 (rank 8,"),
    ("assets/site/map.md", "(length 20); stays beside the base |", "(length 20); merges |"),
    ("assets/site/map.md", "LoRA, q and v: 73,728 ·", "LoRA, q and v: 199,999 ·"),
    ("README.md", "methods-wide-dark.png", "methods-dark.png"),
    ("assets/site/index.md", ">400</button>", ">500</button>"),
    ("assets/site/fast.md", "| 0.62 (0.60–0.65) | 0.19 ", "| 0.61 (0.60–0.65) | 0.19 "),
    ("assets/site/fast.md", "| lora               | 460,800 ", "| dora               | 460,800 "),
    ("assets/site/peft.md", "pt.prompt.Config(length=20)", "pt.prompt.Config(length=21)"),
    ("CHANGELOG.md", "methods, `full`", "methods, `fool`"),
    ("README.md", " families<", " familiars<"),
    ("README.md", " hours<", " days<"),
])
def test_what_a_page_counts_is_computed(pages, page, old, new):
    """A wrong cell is named with its page, and a build mends it and nothing else."""
    path = pages / page
    right = path.read_text("utf-8")
    assert old in right
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
    for name in told:
        assert "`address` in pyproject.toml" in read(name)
    address = "https://github.com/someone/some-peft.git"
    assert given(address) == told
    for name in ("README.md", "assets/site/start.md"):
        assert f"\ngit clone {address} && cd some-peft\n" in read(name)
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
    with Image.open(tmp_path / phone) as image:    # at twice its size: what a phone shows at once
        assert image.height < 2 * 800
    assert blocks.problems(tmp_path) == []


def test_a_page_names_files_that_are_there_and_both_themes():
    for name, folder in (("README.md", ROOT), *((f"assets/site/{each}.md", ROOT / "assets/site")
                                                for each in ("index", "map"))):
        named = re.findall(r'(?:src|srcset)="([^" ]+methods-[^" ]+)',
                           (ROOT / name).read_text("utf-8"))
        assert all((folder / name).is_file() for name in named)
        assert {name.rpartition("/")[2] for name in named} == {
            path.name for path in (ROOT / blocks.FOLDER).glob("methods-*.png")}
        assert sum((folder / name).stat().st_size for name in {*named}) < 250_000


def test_a_mark_that_nothing_computes_is_told(pages):
    (pages / "README.md").write_text("<!-- computed: lines -->5<!-- end -->", "utf-8")
    with pytest.raises(PeftTeachError, match=r"README\.md: nothing computes 'lines'"):
        tables.write(pages)


def test_each_method_of_the_picture_is_a_link_laid_over_it():
    linked = re.findall(r'<a href="lessons/(\w+)\.html" aria-label="(.+?)" style="(.+?)">',
                        blocks.for_site(ROOT))
    assert [name for name, *_ in linked] == [
        card.LESSON for name, card in cards(ROOT).items() if name != HEAD and card.LESSON]
    for width in ("", "phone-"):
        boxes = [[float(re.search(rf"--{width}{side}: ([\d.]+)%", style)[1]) for side in (
            "left", "top", "width", "height")] for *_, style in linked]
        for (left, top, wide, high), (right, low, *_) in combinations(boxes, 2):
            # None covers another.
            assert abs(left - right) > wide - 0.2 or abs(top - low) > high - 0.2
        assert all(left + wide <= 100.1 and top + high <= 100.1 for left, top, wide, high in boxes)


def test_a_number_keeps_its_sign_and_unit_a_formula_its_stop_and_code_stays(monkeypatch):
    monkeypatch.chdir(ROOT)
    formula = '<span class="math notranslate">(W)</span>'
    context = {"body": f"57 % ± 0.02, 4 × 4, 12 kB: <pre>5 % 2</pre> 7 days {formula}. {formula}"}
    runpy.run_path("assets/site/conf.py")["_joined"](None, None, None, context, None)
    assert context["body"].replace("\N{NO-BREAK SPACE}", "~") == (
        "57~% ±~0.02, 4~×~4, 12~kB: <pre>5 % 2</pre> 7 days "
        f'<span class="whole">{formula}.</span> {formula}')


def test_no_checkout_is_an_error_that_says_so(tmp_path):
    with pytest.raises(PeftTeachError, match="not a checkout of the course"):
        site(tmp_path, tmp_path / "out")
