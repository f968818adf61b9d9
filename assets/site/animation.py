"""Record a learner at work, twenty seconds in JupyterLab: `assets/learner.webp`, for the README.

    pip install -e ".[browser]" && python assets/site/animation.py

A short notebook of lesson 07's own cells is opened in Chromium and worked in by keyboard: an answer
with a slip, its card, the mend, its card, the training, and what then stands in `my_peft.py`.
"""

import io
import os
import sys
import tempfile
from pathlib import Path

from nbformat import v4
from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/browser"))
from lab import CHROMIUM, FLAGS, RUNS, Notebook, server  # noqa: E402

OUT = ROOT / "assets/learner.webp"
SIZE = (900, 640)     # pixels of the window
SLIP, MEND = "self.scale = alpha", "self.scale = alpha / rank"
ANSWER = """class LoRALinear(pt.Adapter):
    def __init__(self, base, rank=8, alpha=16.0):
        super().__init__(base)
        self.scale = alpha
        self.A = torch.nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.B = torch.nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x):
        y = self.base(x)
        return (y + self.scale * (x.float() @ self.A.T) @ self.B.T).to(y.dtype)"""
CELLS = ["""import torch

import peft_teach as pt

movies = pt.data.load("movies")
model, tokenizer = pt.models.load("minilm", labels=2)
batches = pt.data.batches(movies.train[:1600], tokenizer, 16)""",
         "", 'LoRALinear = pt.check("lora.layer", LoRALinear)',
         """inject = pt.mine("change.inject")
model = inject(model, ("query", "value"), lambda base: LoRALinear(base, 8, 16))
steps = pt.widgets.watch(pt.train(model, batches, lr=3e-3), len(batches))""",
         """test = pt.data.batches(movies.test[:640], tokenizer, 64, shuffle=False)
print(pt.account.parameters(model), pt.evaluate(model, test), sep="\\n")
!cat my_peft.py"""]


# Whether the bar of the training stands at so many steps, or has gone.
STEP = """steps => {
    const text = document.querySelectorAll('.jp-CodeCell')[3].innerText;
    const found = text.match(/step (\\d+) of/);
    return found && Number(found[1]) >= steps || /100 steps/.test(text);
}"""


class Film:
    """Frames of a page, each with how long it stays."""

    def __init__(self, page):
        self.page, self.frames, self.stays = page, [], []

    def take(self, milliseconds: int) -> None:
        """Add what the page shows now."""
        shot = Image.open(io.BytesIO(self.page.screenshot()))
        self.frames.append(shot.convert("RGB"))
        self.stays.append(milliseconds)

    def save(self, path: Path) -> None:
        """Write the animation."""
        self.frames[0].save(path, save_all=True, append_images=self.frames[1:],
                            duration=self.stays, loop=0, quality=60, method=6)


def main() -> None:
    """Work through the notebook, and write the animation."""
    os.environ["PEFT_TEACH_BUDGET"] = "cpu"
    os.environ.pop("PEFT_TEACH_WORK", None)
    notebook = v4.new_notebook(cells=[v4.new_code_cell(source) for source in CELLS])
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python",
                                       "name": "python3"}
    with tempfile.TemporaryDirectory() as folder, server(Path(folder)) as lab, \
            sync_playwright() as play:
        lab.add(notebook, "07_lora.ipynb")
        browser = play.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        opened = Notebook(page, lab, "07_lora.ipynb")
        film = Film(page)
        cells = page.locator(".jp-CodeCell")

        def run(number: int, wait: bool = True) -> None:
            cells.nth(number).locator(".cm-content").click()
            page.keyboard.press("Control+Enter")
            cells.nth(number).scroll_into_view_if_needed()
            if wait:
                page.wait_for_timeout(200)
                opened.idle()

        def show(number: int) -> None:
            cells.nth(number).evaluate("cell => cell.scrollIntoView({block: 'end'})")

        run(0)
        film.take(600)
        cells.nth(1).locator(".cm-content").click()
        for i, line in enumerate(ANSWER.splitlines(keepends=True)):
            page.keyboard.insert_text(line)
            film.take(250 if i else 500)
        run(1)
        run(2)
        film.take(3500)                                           # the red card
        editor = cells.nth(1).locator(".cm-content")
        editor.click()
        page.keyboard.press("Control+a")
        page.keyboard.insert_text(ANSWER.replace(SLIP, MEND, 1))
        film.take(1200)
        run(1)
        run(2)
        film.take(2500)                                           # the green one
        run(3, wait=False)
        for percent in range(10, 100, 10):                        # the training
            page.wait_for_function(STEP, arg=percent, timeout=RUNS)
            show(3)
            film.take(500)
        opened.idle()
        show(3)
        film.take(1500)
        run(4)
        show(4)
        film.take(4000)                                           # my_peft.py
        browser.close()
        film.save(OUT)
    print(f"{OUT.name}: {len(film.frames)} frames, {sum(film.stays) / 1000:.0f} s, "
          f"{OUT.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
