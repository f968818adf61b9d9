"""Record a learner at work, twenty seconds in JupyterLab, for the README: `assets/learner.webp`,
and `assets/learner-dark.webp` for readers whose system is dark.

    pip install -e ".[lab,browser]" && python assets/site/animation.py

Lesson 07 is opened in Chromium as a reader has it, and worked in by keyboard: an answer with a
slip, its card, the mend, its card, the training. The film is cut to the cells, and narrow: on a
phone its letters have eight pixels.
"""

import io
import json
import os
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/browser"))
from lab import CHROMIUM, FLAGS, RUNS, Notebook, server  # noqa: E402

LESSON = ROOT / "lessons/07_lora.ipynb"
OUT = {"JupyterLab Light": ROOT / "assets/learner.webp",
       "JupyterLab Dark": ROOT / "assets/learner-dark.webp"}
SIZE = (640, 640)     # pixels of the window
SLIP, MEND = "self.scale = alpha", "self.scale = alpha / rank"
ANSWER = """class LoRALinear(pt.Adapter):
    def __init__(self, base, rank=8, alpha=16.0):
        super().__init__(base)
        n_in, n_out = base.in_features, base.out_features
        A, B = torch.randn(rank, n_in), torch.zeros(n_out, rank)
        self.A = torch.nn.Parameter(A / n_in**0.5)
        self.B = torch.nn.Parameter(B)
        self.scale = alpha

    def forward(self, x):
        y = self.base(x)
        h = x.float() @ self.A.T
        return (y + self.scale * h @ self.B.T).to(y.dtype)"""
# How the cells begin that are worked in, or what they alone have.
WRITE, CHECK = "class LoRALinear(", "LoRALinear = pt.check("
WRAP, LOAD = "class MyLoRA(", "answers unchanged, to the bit"
TRAIN = "pt.board.train("

# Whether the training stands at so many steps, or has ended.
STEP = """([number, steps]) => {
    const cell = document.querySelectorAll('.jp-Notebook .jp-Cell')[number];
    const found = cell.innerText.match(/step (\\d+) of/);
    return found ? Number(found[1]) >= steps : !cell.innerText.includes('[*]');
}"""


class Film:
    """Frames of a notebook's cells, each with how long it stays."""

    def __init__(self, page, cell):
        self.page, self.frames, self.stays = page, [], []
        cells = page.locator(".jp-WindowedPanel-outer").bounding_box()
        code = cell.locator(".jp-InputArea-editor").bounding_box()
        self.cut = {"x": code["x"] - 6, "width": code["width"] + 12,
                    "y": cells["y"], "height": cells["height"]}

    def take(self, milliseconds: int) -> None:
        """Add what the page shows now."""
        shot = Image.open(io.BytesIO(self.page.screenshot(clip=self.cut)))
        self.frames.append(shot.convert("RGB"))
        self.stays.append(milliseconds)

    def save(self, path: Path) -> None:
        """Write the animation."""
        self.frames[0].save(path, save_all=True, append_images=self.frames[1:],
                            duration=self.stays, loop=0, quality=60, method=6)


def record(theme: str, out: Path) -> None:
    """Work through the lesson, and write the animation."""
    os.environ["PEFT_TEACH_BUDGET"] = "cpu"
    os.environ.pop("PEFT_TEACH_WORK", None)
    notebook = json.loads(LESSON.read_text("utf-8"))
    sources = ["".join(cell["source"]) for cell in notebook["cells"]]

    def where(text: str) -> int:
        return next(i for i, source in enumerate(sources) if text in source)

    with tempfile.TemporaryDirectory() as folder, server(Path(folder)) as lab, \
            sync_playwright() as play:
        lab.add(notebook, LESSON.name)
        lab.settings("@jupyterlab/notebook-extension/tracker", windowingMode="none")
        lab.settings("@jupyterlab/apputils-extension/themes", theme=theme)
        browser = play.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = browser.new_page()
        opened = Notebook(page, lab, LESSON.name)
        page.set_viewport_size({"width": SIZE[0], "height": SIZE[1]})    # hides the kernel's name
        film = Film(page, opened.cell(where(WRITE)))

        def run(text: str, wait: bool = True) -> None:
            opened.cell(where(text)).locator(".cm-content").click()
            page.keyboard.press("Control+Enter")
            if wait:
                page.wait_for_timeout(200)
                opened.idle()

        def show(text: str, block: str = "end") -> None:
            opened.cell(where(text)).evaluate(
                "(cell, block) => cell.scrollIntoView({block})", block)

        def write(answer: str, each: int) -> None:
            opened.cell(where(WRITE)).locator(".cm-content").click()
            page.keyboard.press("Control+a")
            for i, line in enumerate(answer.splitlines(keepends=True)):
                page.keyboard.insert_text(line)
                if each:
                    film.take(each if i else 2 * each)

        opened.cell(where(WRITE)).locator(".cm-content").click()
        opened.command("notebook:run-all-above")
        opened.idle()
        show(WRITE, "start")
        write(ANSWER, 250)
        run(WRITE)
        run(CHECK)
        show(CHECK)
        film.take(3500)                                           # the red card
        write(ANSWER.replace(SLIP, MEND, 1), 0)
        show(CHECK)
        film.take(1200)
        run(WRITE)
        run(CHECK)
        show(CHECK)
        film.take(2500)                                           # the green one
        run(WRAP)
        run(LOAD)
        run(TRAIN, wait=False)
        for steps in range(25, 250, 25):                          # the training
            page.wait_for_function(STEP, arg=[where(TRAIN), steps], timeout=RUNS)
            show(TRAIN, "start")
            film.take(500)
        opened.idle()
        show(TRAIN, "start")
        film.take(4000)                                           # how much of the gain it is
        browser.close()
        film.save(out)
    print(f"{out.name}: {len(film.frames)} frames, {sum(film.stays) / 1000:.0f} s, "
          f"{out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    for theme, out in OUT.items():
        record(theme, out)
