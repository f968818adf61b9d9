"""The capstone: a folder that is handed in gets a reason, never a crash; nobody is ranked by noise.

The folder of these tests has learned nothing; it is made once, without training.
"""

import csv
import itertools
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import answers
import pytest
import torch
from exact import assert_equal
from grading_corpus import ROOT, solved, zipped
from safetensors.torch import load, save

import peft_teach as pt
from peft_teach.course import records, verdicts
from peft_teach.course.checks import examination
from peft_teach.course.checks.examination import examine
from peft_teach.course.checks.exercise import Measured
from peft_teach.course.grade import Limits, Options, grade, handed, leaderboard, report, similarity
from peft_teach.course.grade.collect import collect
from peft_teach.course.grade.entries import LARGEST_ADAPTER
from peft_teach.course.grade.row import Row
from peft_teach.course.grade.sandbox import LEAST_MEMORY
from peft_teach.course.lessons.capstone import exercises, handed_in, pictures, reference
from peft_teach.course.publish import authored
from peft_teach.course.reading.notebook import Notebook
from peft_teach.errors import PeftTeachError

SENTENCES = (("He lied to us.", 0), ("A fine and generous plan.", 1), ("No.", 0)) * 3
NAME = "adapter.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("handed") / "adapter"
    handed_in.sample(place)
    return place


@pytest.fixture(scope="module")
def file(folder):
    return (folder / NAME).read_bytes()


def changed(file: bytes, settings=lambda told: told, **tensors) -> bytes:
    """The file with its description and some tensors changed."""
    head = json.loads(file[8:8 + int.from_bytes(file[:8], "little")])["__metadata__"]
    told = settings(json.loads(head["adapter.json"]))
    return save(load(file) | tensors, {"adapter.json": json.dumps(told)})


def marks(adapter, page=""):
    further, made = handed.examined(Notebook((), page, "14", None, adapter), "14", SENTENCES)
    return further, {mark.exercise: mark for mark in made}


# ── the folder ───────────────────────────────────────────────────────────────────────────────


def test_a_folder_as_the_brief_asks_has_its_points(folder, file):
    further, made = marks(file, "**What I predicted**: +6")
    assert made["capstone.file"].points == 4, made["capstone.file"]
    assert made["capstone.page"].state == handed.TO_MARK
    assert made["capstone.gain"].measured["size_bytes"] == len(file)
    assert made["capstone.file"].shape == tuple(handed_in.likeness(folder))
    assert [len(cases) for cases in further.values()] == [1]
    assert handed.problems("14") == []


@pytest.mark.parametrize("after", ["## Your name\nThis is the end.\n", "**Sources**"])
@pytest.mark.parametrize(("page", "state"), [
    ("**What I predicted**: +6", handed.TO_MARK),
    ("**What I predicted**: …\n\n**My claim**: …", examination.NOT_ATTEMPTED)])
def test_the_page_stands_beside_its_mark(page, state, after):
    made = marks("", f"| **What I predicted** |\nReplace the dots.\n{page}\n{after}")[1]
    made = made["capstone.page"]
    assert made.state == state
    assert ("+6" in made.message) == bool(made.flags) == (state == handed.TO_MARK)


@pytest.mark.parametrize(("config", "held"), [
    (pt.lora.Config(rank=1, targets=("query", "value")), 39_944),
    (pt.lora.Config(rank=2, targets=("query", "value"), layers=(0, 1, 2)), 39_944),
    (pt.lora.Config(rank=1, targets=("query", "key", "value"), layers=(0, 1, 2, 3, 5)), 49_160)])
def test_the_size_is_that_of_the_tensors(tmp_path, config, held):
    """What describes them in the file is the course's own, and no student can make it smaller."""
    model = pt.lora.inject(handed_in.base(), config)
    for p in pt.adapter_parameters(model).values():
        torch.nn.init.normal_(p, std=0.02)
    whole = (pt.save(model, tmp_path) / NAME).stat().st_size
    assert sum(t.nbytes for t in load((tmp_path / NAME).read_bytes()).values()) == held
    numbers = sum(p.nbytes for p in pt.adapter_parameters(model).values())
    told = f"{numbers:,} \\+ 3,080 of 40,000 bytes"

    def make(base):
        return pt.lora.LoRALinear(base, config.rank, config.alpha)

    if held > 40_000:
        with pytest.raises(PeftTeachError, match=told):
            pictures.places(config, make)
    else:
        assert numbers + 3_080 == held
        assert len(pictures.places(config, make)) == 12 // config.rank
    size, *others = handed_in.rows(tmp_path)
    assert size.found == (f"{held:,} bytes of tensors, of 40,000; with its description the file "
                          f"has {whole:,}, of 100,000")
    assert size.holds == (held < 40_000) == bool(others)
    if not size.holds:
        with pytest.raises(PeftTeachError, match="of 40,000"):
            handed_in.answered(tmp_path, SENTENCES)


def drawn(file: bytes, size: float, only: str = "", seed: int = 1) -> bytes:
    """The file, to whose tensors, or to only one, something of this size is added."""
    generator = torch.Generator().manual_seed(seed)
    return changed(file, **{name: t + size * torch.randn(t.shape, generator=generator)
                            for name, t in load(file).items() if only in ("", name)})


def test_a_copy_that_was_changed_by_a_little_is_near_and_another_adapter_is_not(file, tmp_path):
    first = next(name for name in load(file) if name.endswith(".A"))
    files = {"first": file, "noise": drawn(file, 1e-3),
             "scale": changed(file, **{name: 1.1 * t for name, t in load(file).items()
                                       if name.endswith(".B")}),
             "16 bits": changed(file, **{name: t.half().float() for name, t in load(file).items()}),
             "one of its tensors": drawn(file, 1.0, first),
             "another": drawn(file, 1.0), "a third": drawn(file, 1.0, seed=2)}
    rows = []
    for who, data in files.items():
        (tmp_path / who).mkdir()
        (tmp_path / who / NAME).write_bytes(data)
        mark = {"exercise": "capstone.file", "shape": handed_in.likeness(tmp_path / who),
                "text": similarity.of_bytes(handed._tensors(data))}
        rows.append(Row(who, "14", who, (mark,), ()))
    copies = [*files][:5]
    found = {frozenset(pair.students) for pair in similarity.similar(rows)}
    assert found == {frozenset(pair) for pair in itertools.combinations(copies, 2)}


def other_base(told):
    name, (shape, values) = next(iter(told["base"].items()))
    return told | {"base": told["base"] | {name: [shape, [5.0 for _ in values]]}}


A, B = (f"bert.encoder.layer.0.attention.self.value.{name}" for name in "AB")
HOSTILE = {
    "no file": (lambda file: "", "No adapter.safetensors was handed in"),
    "a reason": (lambda file: "adapter.safetensors is a link", "is a link"),
    "another base": (lambda file: changed(file, other_base), "for a model with other weights"),
    "NaN": (lambda file: changed(file, **{A: torch.full((1, 384), torch.nan)}), "nan or infinity"),
    "overflow": (lambda file: changed(file, **{A: torch.full((1, 384), 3e38), B: torch.full(
        (384, 1), 3e38)}), "hidden states by nan%"),
    "silent": (lambda file: changed(file, **{name: torch.zeros_like(t) for name, t in load(
        file).items() if name.endswith(".B")}), "moves hidden states by 0.0%"),
    "too large": (lambda file: file + bytes(20_000), "of 40,000"),
    "described at length": (lambda file: changed(file, lambda told: told | {"x": "y" * 80_000}),
                            "of 100,000"),
    "a pickle": (lambda file: b"\x80\x04cos\nsystem\n(S'true'\ntR.", "is damaged"),
    "cut off": (lambda file: file[:-100], "is damaged"),
    "a huge rank": (lambda file: changed(file, lambda told: told | {
        "config": told["config"] | {"rank": 10**9}}), "rank 1000000000"),
    "no method": (lambda file: changed(file, lambda told: told | {
        "method": None, "config": None, "wrapped": [], "also_train": []}), "bare pt.attach"),
    "not for peft": (lambda file: changed(file, lambda told: told | {"method": "bitfit"}),
                     "does not know"),
    "an empty axis": (lambda file: changed(file, lambda told: told | {
        "method": "bottleneck", "config": {"size": 60_000}}, x=torch.empty(60_000, 0)),
        "method bottleneck, which the brief does not know"),
    "a thin axis": (lambda file: changed(file, lambda told: told | {
        "config": told["config"] | {"rank": 300}}, x=torch.zeros(300, 1)), "rank 300"),
    "deep": (lambda file: save(load(file), {"adapter.json": "[" * 20_000}), "damaged"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_bad_folder_gets_a_reason_and_a_flag(file, kind):
    make, says = HOSTILE[kind]
    further, made = marks(make(file))
    mark = made["capstone.file"]
    assert mark.points == 0
    assert says in mark.message, mark
    assert f"capstone.file: {mark.message}" in mark.flags
    assert kind in ("overflow", "silent", "described at length") or (
        further, made["capstone.gain"].points) == ({}, 0)


@pytest.mark.parametrize(("limits", "says"), [
    (Limits(seconds=1, file_bytes=10_000), "Looking at the file "),
    pytest.param(Limits(memory_bytes=LEAST_MEMORY), "memory", marks=pytest.mark.skipif(
        sys.platform != "linux", reason="a limit of Linux"))], ids=["seconds", "memory"])
def test_it_is_looked_at_in_a_confined_process(file, limits, says, monkeypatch):
    """Nothing of the file is read in this one, and what ends that one ends nothing else."""
    monkeypatch.setattr(pt.store, "read", None)
    assert marks(file)[1]["capstone.file"].points == 4
    looking = handed.runner(handed._limits(SENTENCES), handed.FORKS, "", "14")
    monkeypatch.setattr(looking, "limits", limits)
    _, made = marks(file)
    mark = made["capstone.file"]
    assert mark.points == made["capstone.gain"].points == 0
    assert says in mark.message
    assert f"capstone.file: {mark.message}" in mark.flags
    assert "capstone.page" in made


def test_an_export_that_is_not_equal_is_found(folder, monkeypatch):
    to_peft = pt.export.to_peft

    def swapped(model, place):
        to_peft(model, place)
        settings = Path(place) / "adapter_config.json"
        settings.write_text(json.dumps(json.loads(settings.read_text()) | {"lora_alpha": 9.0}))

    monkeypatch.setattr(pt.export, "to_peft", swapped)
    found = handed_in.rows(folder)[-1]
    assert (found.property, found.holds) == ("in peft", False)
    monkeypatch.setattr(handed_in.importlib.util, "find_spec", lambda name: None)
    found = handed_in.rows(folder)[-1]
    assert ("read back" in found.found, found.holds) == (True, False)


def test_the_notebooks_adapter_must_be_the_files(folder):
    case, = handed_in.module_case(folder)
    assert examine(exercises.ADAPTER, reference.my_adapter, [case]).passed
    for make in (lambda base: pt.lora.LoRALinear(base, 1, 9.0),
                 lambda base: pt.lora.LoRALinear(base, 2, 8.0)):
        assert not examine(exercises.ADAPTER, make, [case]).passed


def test_what_is_shipped_is_what_was_trained(tmp_path):
    config = pt.lora.Config(rank=1, alpha=8.0, targets=("value",), layers=(1,))
    model = handed_in.base()
    names = tuple(pt.models.find(model, config.targets, config.layers))
    model = pt.attach(model, names, reference.my_adapter)
    for p in pt.adapter_parameters(model).values():
        torch.nn.init.normal_(p, std=0.3)
    pictures.ship(model, config, tmp_path / "a")
    again = pt.load(handed_in.base(), tmp_path / "a")
    assert_equal(handed_in.logits(again), handed_in.logits(model))
    for other, says in ((replace(config, alpha=9.0), "differ"), (pt.prompt.Config(), "a setting"),
                        (replace(config, rank=2), "not what")):
        with pytest.raises(PeftTeachError, match=says):
            pictures.ship(model, other, tmp_path / "b")
        with pytest.raises(PeftTeachError, match=says):
            pictures.places(other, reference.my_adapter)
    assert pictures.places(config, reference.my_adapter) == names
    assert not (tmp_path / "b").exists()


def setting(rank=1, **other):
    """All queries and values, or another `config`; alpha is 16."""
    return {"make": lambda base: pt.lora.LoRALinear(base, rank, 16.0), "epochs": 1, "lr": 0.01,
            "config": pt.lora.Config(rank=rank)} | other


@pytest.mark.long
def test_where_dots_are_left_an_example_trains_in_another_folder(capsys):
    mine = setting()
    assert pictures.filled("a", mine) == {"name": "a", **mine}
    assert "36,864 + 3,080 of 40,000 bytes" in capsys.readouterr().out
    for left in ("config", "epochs", "lr"):
        example = pictures.filled("a", setting(**{left: ...}))
        assert example["name"] == "example"
        assert pictures.places(example["config"], example["make"]) == (
            "bert.encoder.layer.5.attention.self.value",)
    assert "Dots are left" in capsys.readouterr().out


@pytest.mark.long
def test_a_pair_is_trained_with_three_seeds_each(monkeypatch, capsys):
    ran, mine = [], setting()
    monkeypatch.setattr(pictures, "answered", lambda folder, sentences: torch.tensor(folder))

    def train(name, make, config, epochs, lr, seed):
        ran.append((name, lr))
        return [float(seed), lr]

    values = pt.lora.Config(rank=2, targets=("value",))
    found = pictures.pair(train, mine, setting(2, config=values, lr=0.5), SENTENCES, [0.0, 0.01])
    assert [*found] == [
        "one: query, value in all blocks, rank 1", "other: value in all blocks, rank 2"]
    assert ran == [(f"one-{seed}", 0.01) for seed in (1, 2)] + [
        (f"other-{seed}", 0.5) for seed in (0, 1, 2)]
    for right in found.values():
        assert_equal(right.T[0], torch.tensor([0.0, 1, 2]))
    assert capsys.readouterr().out == "Each: 36,864 + 3,080 of 40,000 bytes, adapter and head.\n"
    ran.clear()
    narrow = replace(values, layers=(5,))
    for other, says in ((mine, "two settings that differ"),
                        (setting(2, config=narrow), "39,944 bytes, the other 9,224"),
                        (setting(2), "73,728 \\+ 3,080 of 40,000"),
                        (setting(config=values), "not what")):
        with pytest.raises(PeftTeachError, match=says):
            pictures.pair(train, mine, other, SENTENCES, [0.0, 0.01])
    stands_in = pictures.pair(train, mine, setting(lr=...), SENTENCES, [0.0, 0.01])
    assert [each.shape for each in stands_in.values()] == [(3, len(SENTENCES))] * 2
    assert ran == []
    assert "Dots are left" in capsys.readouterr().out


@pytest.mark.parametrize(("config", "name"), [
    (pt.dora.Config(rank=1, targets=("attention_out",), layers=(0, 3)),
     "attention_out in block 0, 3, rank 1"),
    (pt.ia3.Config(), "key, value, ffn_out in all blocks")])
def test_a_setting_is_called_by_what_it_trains(config, name):
    assert pictures.named(config) == name


def test_of_the_recorded_pairs_one_decides_and_one_cannot():
    rows = records.load("capstone")["runs"]
    assert {row["accuracy"] for row in rows} == {
        round(row["answers"].count("1") / len(row["answers"]), 4) for row in rows}
    assert {row["parameters"] for row in rows} == {768, 12 * 768}
    assert [verdicts.verdict(*pair.values(), verdicts.POINT).word
            for pair in pictures.recorded()] == ["better", "cannot tell"]


# ── a split, and the laws ────────────────────────────────────────────────────────────────────

@pytest.mark.parametrize("style", answers.right("full.frozen_stays"))
def test_any_right_frozen_stays_of_lesson_01_serves_in_the_test_of_the_laws(style):
    """It is asked only what its own check asks."""
    laws, text = answers.right("capstone.laws")["the solution"], answers.right("full.frozen_stays")
    made = authored.define("capstone.laws", authored.but(
        laws, 'frozen_stays = pt.mine("full.frozen_stays")\n', f"{text[style]}\n"))
    result = examine(exercises.LAWS, made)
    assert result.passed, result



def test_a_split_by_document_leaves_no_relatives_in_the_test():
    archive = [("a", "One."), ("a", "Two."), ("b", "Three."), ("b", "one. "), ("c", "Four.")]
    told = pictures.siblings(archive, lambda lines: ([0, 1, 4], [2, 3])).loc["your split"]
    assert [*told] == ["2", "0%", 1]
    assert len(pictures.lines()) > len({text for _, text in pictures.lines()})


class Mirrors(pt.Adapter):
    """The lesson's, whose u is in no file; `mended` has it as a parameter."""

    mended = False

    def __init__(self, base):
        super().__init__(base)
        u = torch.randn(base.in_features)
        self.v = torch.nn.Parameter(u.clone())
        self.u = torch.nn.Parameter(u) if self.mended else u

    def forward(self, x):
        n = len(self.u)
        H, K = (torch.eye(n) - 2 * v.outer(v) / v.dot(v) for v in (self.u, self.v))
        return self.base(x @ K @ H)

    def merged(self):
        raise pt.errors.NotMergeable("Not here.")


class Mended(Mirrors):
    mended = True


class Unmerged(Mended):
    def merged(self):
        raise AttributeError("scale")


def test_the_readers_test_finds_what_a_file_lacks_in_a_method_that_no_lesson_has():
    assert [pictures.broken_law(make) for make in (Mirrors, Mended, Unmerged)] == [
        "all of it", "none", "the merge"]
    told = [pictures.put_to(reference.keeps_the_laws, make) for make in (Mirrors, Mended)]
    assert told[0].startswith("your test rejects it: AssertionError")
    assert told[1] == "your test accepts it"


# ── the gain and the board ───────────────────────────────────────────────────────────────────


def test_the_interval_is_that_of_paired_sentences(monkeypatch, folder):
    mine = torch.tensor([1.0, 1, 1, 0, 1, 1, 1, 1, 0]).double()
    alone = torch.tensor([1.0, 0, 1, 0, 0, 1, 0, 1, 1]).double()
    monkeypatch.setattr(handed_in, "answered", lambda *_: mine)
    monkeypatch.setattr(handed_in, "right_alone", lambda _: alone)
    found = handed_in.gain(folder, SENTENCES)
    # d = 0 1 0 0 1 0 1 0 -1: mean 2/9, variance (3 · (7/9)² + 5 · (2/9)² + (11/9)²) / 8 = 4/9
    assert found.gain == pytest.approx(2 / 9)
    assert found.high - found.gain == pytest.approx(1.96 * (4 / 9 / 9) ** 0.5)
    assert found.low < 0
    assert handed_in.measure(folder, SENTENCES)[0]    # a mark is a decision, and no claim


def test_the_bet_is_held_against_all_seeds_of_the_first_setting(monkeypatch):
    alone = torch.tensor([1.0, 0, 1, 0, 0, 1, 0, 1, 1]).double()
    monkeypatch.setattr(handed_in, "right_alone", lambda _: alone)
    more = torch.stack([alone, alone.logical_or(torch.arange(9) == 1), torch.ones(9)]).double()
    found = pictures.ahead({"one": more, "other": torch.zeros(3, 9)}, SENTENCES)
    assert found.difference == pytest.approx((0 + 1 + 4) / 27)
    assert found.word == "cannot tell"
    assert pictures.ahead({"one": torch.zeros(3, 9)}, SENTENCES).word == "worse"


def entry(name, low, high, size=50_000):
    return leaderboard.Entry(name, Measured(size, (low + high) / 2, low, high, 0.8, 300))


def test_overlapping_intervals_are_one_group_in_the_order_of_size():
    made = leaderboard.groups([entry("far", 0.0, 0.1), entry("top", 0.2, 0.5, 60_000),
                         entry("mid", 0.3, 0.4, 40_000), entry("low", 0.15, 0.25, 50_000)])
    assert [[each.name for each in group] for group in made] == [["mid", "low", "top"], ["far"]]


def test_pseudonyms_stay_and_differ_from_folder_to_folder(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / leaderboard.KEY).write_text("0" * 32)
    whole = [f"student{n:05}" for n in range(2000)]
    first = leaderboard.pseudonyms(whole[1::2], tmp_path)
    assert leaderboard.pseudonyms(whole, tmp_path).items() >= first.items()
    assert leaderboard.pseudonyms(whole[1::2], tmp_path / "other") != first
    assert len(set(first.values())) == 1000


def test_no_two_students_have_one_pseudonym(tmp_path, monkeypatch):
    monkeypatch.setattr(leaderboard, "DIGITS", 2)
    with pytest.raises(PeftTeachError, match="one pseudonym"):
        leaderboard.pseudonyms([*map(str, range(257))], tmp_path)


def test_sentences_that_are_held_must_be_enough_and_labelled(tmp_path):
    for text, says in (("text,label\nGood.,1\n", "1 sentences"), ("text,label\nA.,3\n", "line 2")):
        (tmp_path / "a.csv").write_text(text)
        with pytest.raises(PeftTeachError, match=says):
            handed.read.__wrapped__(tmp_path)
    (tmp_path / "a.csv").write_text("text,label\n" + "Good.,1\nBad.,0\n" * 150)
    assert len(handed.read.__wrapped__(tmp_path)) == 300


# ── from an export to the board ──────────────────────────────────────────────────────────────


def test_who_handed_in_which_adapter(tmp_path, file):
    work = json.dumps({"cells": [{"cell_type": "code", "source": "1"}],
                       "metadata": {"peft_teach": {"lesson": "14"}}}).encode()
    for student, name, data in (
            ("anna", "work/adapter/adapter.safetensors", file), ("anna", "work/x/" + NAME, b"x"),
            ("bo", "adapter.pt", b"x"), ("cy", "adapter/" + NAME, bytes(LARGEST_ADAPTER + 1)),
            ("di", "x.txt", b"x"), ("ed", "adapter/x.txt", b"")):
        path = tmp_path / student / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        (tmp_path / student / "14_capstone.ipynb").write_bytes(work)
    os.symlink("/etc/passwd", tmp_path / "ed/adapter" / NAME)
    packed = zipped({"14_capstone.ipynb": work, f"../adapter/{NAME}": file})
    (tmp_path / "fi.zip").write_bytes(packed)
    found = {each.student: each for each in collect(tmp_path) if each.notebook}
    adapters = {student: each.notebook.adapter for student, each in found.items()}
    assert (adapters["anna"], adapters["di"], adapters["fi"]) == (file, "", file)
    assert "work/adapter/adapter.safetensors counts" in found["anna"].flags[0]
    assert "expected adapter.safetensors" in adapters["bo"]
    assert "far too large" in adapters["cy"]
    assert "link, which is not followed" in adapters["ed"]


@pytest.mark.long
def test_a_class_from_its_zips_to_the_board(tmp_path, file):
    held, out = tmp_path / "held", tmp_path / "out"
    held.mkdir()
    out.mkdir()
    (held / "a.csv").write_text("text,label\n" + "A fine plan.,1\nHe lied.,0\n" * 150)
    notebook = json.dumps(solved("14", capstone_adapter="""
def my_adapter(base):
    return pt.lora.LoRALinear(base, 1, 9.0)"""))
    for student, text in (("anna", json.dumps(solved("14"))), ("bo", notebook)):
        shutil.copytree(ROOT / "solutions", tmp_path / "s", dirs_exist_ok=True)
        (tmp_path / "in" / student / "work/adapter").mkdir(parents=True)
        (tmp_path / "in" / student / "14_capstone.ipynb").write_text(text)
        (tmp_path / "in" / student / "work/adapter" / NAME).write_bytes(file)
    (out / "overrides.csv").write_text("student,exercise,points\nanna,capstone.page,9\n")
    grade(tmp_path / "in", out, Options(solutions=tmp_path / "s", held=held, jobs=1))
    text = (out / "grades.csv").read_text(encoding="utf-8-sig")
    anna, bo = csv.DictReader(text.splitlines())
    assert [anna[f"capstone.{part}"] for part in ("laws", "adapter", "file", "page")] == [
        "3", "2", "4", "9"]
    assert bo["capstone.adapter"] == "0"
    page = (out / "feedback/anna.html").read_text()
    shown = (out / "board.html").read_text()
    name = leaderboard.pseudonyms(["anna", "bo"], out)["anna"]
    assert f"On the board of the class: {name}." in page
    assert name in shown
    assert "anna" not in shown
    assert "gives other answers than the file" in (out / "feedback/bo.html").read_text()


def test_the_board_has_the_names_that_it_is_given(tmp_path):
    measured = entry("", 0.1, 0.2).found.plain()
    row = Row("anna", "14", "", ({"exercise": "capstone.gain", "measured": measured},), ())
    report.write_board([row], tmp_path)
    assert not (tmp_path / "board.html").exists()
    report.write_board([replace(row, known_as="<b>$\\frac{$")], tmp_path)    # no formula either
    page = (tmp_path / "board.html").read_text()
    assert "<td>&lt;b&gt;$\\frac{$</td>" in page
    assert "<b>" not in page    # nor in the words of the picture
