"""What the site's pages say of the library, run: its example, and the table for who knows peft."""

import copy
import re
from pathlib import Path

import pytest
import torch
from exact import assert_equal

import peft_teach as pt

# peft's; all others are errors.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
PAGES = Path(__file__).parents[2] / "assets/site"
ROWS = [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in
        (PAGES / "peft.md").read_text("utf-8").splitlines()
        if line.startswith("| `")]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    example, = re.findall(r"```python\n(import peft_teach as pt\n.*?)```",
                          (PAGES / "library.md").read_text("utf-8"), re.DOTALL)
    for whole, part in (("movies.train[:4000]", "movies.train[:64]"),
                        ("movies.test,", "movies.test[:64],")):
        assert example.count(whole) == 1
        example = example.replace(whole, part)
    monkeypatch.chdir(tmp_path)
    pt.seed(0)
    scope = {}
    exec(example, scope)
    said = capsys.readouterr().out
    assert re.search(r"^3 0\.\d+$", said, re.MULTILINE)    # four steps of 16
    assert "Evaluation(loss=0." in said
    assert "examples=64)" in said
    assert "Saved(name='movies', method='lora', parameters=74498" in said
    assert "The capital of France is Paris" in said
    assert {p.name for p in tmp_path.iterdir()} == {"adapters", "movies-peft"}
    assert pt.adapters(scope["model"])


# ── coming from peft ─────────────────────────────────────────────────────────────────────────


def trained(model) -> dict[str, int]:
    return {n: p.numel() for n, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("row", [r for r in ROWS if "Config(" in r[0]], ids=lambda r: code(r[0])[0])
def test_a_setting_means_the_same_there(row, tiny):
    """As many parameters train on the same model, and where there is a scale it is the same."""
    peft = pytest.importorskip("peft")
    theirs = eval(code(row[0])[0], vars(peft).copy())
    ours = eval(code(row[1])[0], {"pt": pt, "model": tiny("bert")})
    if type(ours).__name__ != "Config":    # two rows are about the head, which always trains
        ours, theirs.target_modules = pt.lora.Config(), {"query", "value"}
    theirs.task_type = theirs.task_type or "SEQ_CLS"
    method = getattr(pt, type(ours).__module__.rpartition(".")[2])
    if isinstance(theirs, peft.LoraConfig) and "lora_alpha" not in row[0]:
        theirs.lora_alpha = 16    # the default here
    # peft takes a BERT's pooler for one of all linear layers, and scales one layer more by (IA)³.
    family = "llama" if re.search("all-linear|IA3", row[0]) else "bert"
    model, reference = method.inject(tiny(family), ours), peft.get_peft_model(tiny(family), theirs)
    assert sum(trained(model).values()) == sum(trained(reference).values())
    assert set(pt.models.head(tiny(family))) == {
        n.partition("base_model.")[2].removeprefix("model.").replace("modules_to_save.default.", "")
        for n in trained(reference) if "classifier" in n or "score" in n}
    if isinstance(theirs, peft.LoraConfig):
        there = [m for n, m in reference.named_modules() if hasattr(m, "lora_A")]
        here = [a for a in pt.adapters(model).values() if isinstance(a, pt.lora.LoRALinear)]
        assert len(here) == len(there) > 0
        assert [a.scale for a in here] == [m.scaling["default"] for m in there]
        assert {a.dropout.p for a in here} == {getattr(m.lora_dropout["default"], "p", 0.0)
                                               for m in there}


def test_what_is_called_there_exists_there():
    peft = pytest.importorskip("peft")
    from peft import optimizers

    for name in [name for row in ROWS for text in code(row[0])
                 for name in re.findall(r"(?:\bmodel\.|\b)(\w+)\(", text)]:
        assert any(hasattr(place, name) for place in (
            peft, optimizers, peft.PeftModel, peft.PeftModel.from_pretrained, peft.LoraModel)), name


def test_each_line_for_it_runs_here(tiny, inputs, tmp_path, capsys):
    """From the top to the bottom, on one model, as a reader would go through them."""
    peft = pytest.importorskip("peft")
    model = tiny("bert")
    batch = inputs(model)
    plain = copy.deepcopy(model)
    before = model(**batch).logits
    scope = {"pt": pt, "model": model, "path": tmp_path / "kept", "batches": [batch] * 2}
    run = []
    for row in ROWS:
        line = code(row[1])[0]
        if line.startswith("with "):
            line = line.replace("...", "silent = model(**batch).logits")
            scope["batch"] = batch
        if "pt.train(" in line:
            line = f"list({line})"
        if "qlora" in line:
            scope["model"] = copy.deepcopy(plain)
        exec(line, scope)
        run.append(line)
        if "lora.inject(model, pt.lora.Config())" in line:
            with torch.no_grad():
                for p in pt.adapter_parameters(scope["model"]).values():
                    p.normal_()
                adapted = scope["model"](**batch).logits
        elif "account" in line:
            reference = peft.get_peft_model(copy.deepcopy(plain), peft.LoraConfig(
                task_type="SEQ_CLS", target_modules=["query", "value"]))
            reference.print_trainable_parameters()
            ours, theirs = capsys.readouterr().out.splitlines()
            n = sum(map(int, re.search(r"adapter=(\d+), head=(\d+)", ours).groups()))
            assert f"trainable params: {n:,} " in theirs
        elif "disabled" in line:
            assert_equal(scope["silent"], before)
        elif "pt.swap" in line:
            assert_equal(scope["model"](**batch).logits, adapted)
        elif "pt.remove" in line:
            assert not pt.adapters(scope["model"])
        elif "pt.load" in line and "models" not in line:
            assert_equal(scope["model"](**batch).logits, adapted)
        elif "pt.merge" in line:
            torch.testing.assert_close(scope["model"](**batch).logits, adapted, rtol=1e-4,
                                       atol=1e-4)
    assert len(run) == len(ROWS) >= 20
    assert pt.adapters(scope["model"])
