"""One table of methods, `peft_teach.methods.METHODS`: what else lists them lists exactly these."""

import ast
import re
from pathlib import Path

import pytest
import torch

import peft_teach as pt
from peft_teach import export
from peft_teach.course.publish.methods import CARDS, HEAD, cards
from peft_teach.methods import METHODS
from peft_teach.settings import Settings

ROOT = Path(__file__).parents[2]


# No methods, but second pages of some: LoRA+, a bottleneck's places, how vectors start.
SECOND_PAGES = {"lora_plus", "placements", "projection", "initial"}
LISTS = {
    "the files of peft_teach/methods": lambda: {
        f.stem for f in Path(pt.methods.__file__).parent.glob("[!_]*.py")} - SECOND_PAGES,
    "the public names, in peft_teach/__init__.py": lambda: {
        name for name in pt.__all__ if getattr(pt, name).__class__ is type(pt)
        and getattr(pt, name).__name__.startswith("peft_teach.methods.")},
    "assets/site/methods, what the pages say of it": lambda: {
        f.stem for f in (ROOT / CARDS).glob("*.py")} - {HEAD},
    "peft_teach/export/writing.py, WRITTEN or NOT_WRITTEN": lambda: (
        {*export.WRITTEN, *export.NOT_WRITTEN} - {None}),
    "assets/records/rates.json, made by rates.py": lambda: {
        row["method"] for row in pt.course.records.load("rates")["runs"]},
}


@pytest.mark.parametrize("where", LISTS)
def test_every_list_has_the_methods_of_the_table(where):
    listed = LISTS[where]()
    assert listed == set(METHODS), (f"{where} lacks {sorted(set(METHODS) - listed)}, and has "
                                    f"{sorted(listed - set(METHODS))} that METHODS has not.")


COUNTED_ELSEWHERE = {"full", "qlora"}    # all weights of a model; with LoRA's count


def test_no_method_is_written_for_peft_and_not():
    assert not export.WRITTEN.keys() & export.NOT_WRITTEN.keys()


@pytest.mark.parametrize("name", METHODS)
def test_a_method_file_has_what_the_library_asks_of_one(name, tiny):
    method = METHODS[name]
    file = f"peft_teach/methods/{name}.py"
    assert method.__name__ == f"peft_teach.methods.{name}"
    assert getattr(pt, name) is method
    assert all(word in method.__doc__ for word in (" trained ", "Source", "arXiv")), (
        f"{file}: its docstring has a table of symbols and the sources, with arXiv")
    assert not (left := re.findall(r"20YY|0000\.00000", method.__doc__)), (
        f"{file}: its docstring has the skeleton's {' and '.join(left)}")
    card = cards(ROOT)[name]
    left = [key for key in ("WHEN", "EQUALS") if getattr(card, key).startswith("say what ")]
    assert not left, f"{CARDS}/{name}.py: {' and '.join(left)} as in the skeleton"
    assert issubclass(method.Config, Settings), f"Config of {file} is a settings.Settings"
    assert name in COUNTED_ELSEWHERE or ("Cost: " in method.__doc__ and callable(method.count)), (
        f"{file}: its docstring says the cost, and `count` is the closed form")
    assert 0 < method.LEARNING_RATE < 1, f"LEARNING_RATE of {file}"
    note = pt.notes.note_of(method.inject(tiny("bert")))
    assert (note.method, note.config) == (name, method.Config())
    if hasattr(note.config, "layers"):
        model = method.inject(tiny("bert"), method.Config(layers=(1,)))
        assert all(".layer.1." in n for n in pt.adapters(model)), f"{file}: inject asks `layers`"


def oracles() -> set[str]:
    """Return the methods that a test names by `@pytest.mark.oracle("lora")`."""
    texts = (file.read_text("utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    calls = (node for text in texts if "mark.oracle" in text
             for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
    return {argument.value for call in calls if ast.unparse(call.func) == "pytest.mark.oracle"
            for argument in call.args}


def test_every_method_has_an_oracle():
    """The laws let pass what is no method of its paper: x (I − 2Q) for an orthogonal matrix."""
    found = oracles()
    lacking = set(METHODS) - found
    assert not lacking, (
        f"No oracle of {sorted(lacking)}: in tests/oracles/test_NAME_oracle.py compare outputs and "
        'gradients with an implementation that is not ours, under @pytest.mark.oracle("NAME")')
    assert found == {*METHODS, "vera"}


@pytest.mark.oracle("full")
def test_full_fine_tuning_shows_the_step_that_training_takes(tiny, inputs):
    """Each weight's path under `pt.train` is what `full.step` says, from the same gradients."""
    model = pt.full.inject(tiny("bert"))
    batches, seen = [inputs(model)] * 4, []
    start = {n: p.detach().clone() for n, p in model.named_parameters()}
    for p in model.parameters():
        p.register_post_accumulate_grad_hook(lambda p: seen.append((id(p), p.grad.clone())))
    steps = list(pt.train(model, batches, lr=1e-3, warmup=0.0, clip=1e9))
    assert len(seen) == 4 * len(start)
    for name, p in model.named_parameters():
        theta, m, v = start[name], torch.zeros_like(p), torch.zeros_like(p)
        grads = [g for key, g in seen if key == id(p)]
        for t, (g, step) in enumerate(zip(grads, steps, strict=True), 1):
            theta, m, v = pt.full.step(theta, g, m, v, t, step.lr)
        assert not torch.equal(theta, start[name])
        torch.testing.assert_close(p.detach(), theta, rtol=1e-5, atol=1e-6)
