"""My ladder: runs by one protocol, kept once a rung and seed; verdicts on pairs of them."""

import random
from statistics import stdev

import pytest
import torch
from exact import assert_equal

import peft_teach as pt
from peft_teach import contents
from peft_teach.course import protocol, records, verdicts
from peft_teach.course.desk import board, board_picture, work
from peft_teach.course.lessons.ladder import rungs
from peft_teach.errors import BadConfig, NoAdapter, UnknownName


def lora(model):
    return pt.lora.inject(model, pt.lora.Config(8, 16.0))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A reader's folder, and a machine that computes a few steps only."""
    monkeypatch.setenv(work.VARIABLE, str(tmp_path))
    monkeypatch.setenv("PEFT_TEACH_BUDGET", "smoke")
    monkeypatch.setattr(work, "_here", {})
    return tmp_path


@pytest.fixture
def short(here, monkeypatch):
    """As if a few steps were a whole run."""
    monkeypatch.setattr(protocol, "STEPS", 2)
    monkeypatch.setattr(protocol, "TESTS", 8)


@pytest.fixture(scope="module")
def record():
    return records.load("ladder")


@pytest.fixture(scope="module")
def mine(record):
    """Rows as a reader's: recorded ones, of another seed than a colleague's."""
    return {row["method"]: row | {"step_ms": 200, "file_bytes": 0, "memory_bytes": 10**8}
            for row in protocol.finals(record) if row["seed"] == 6
            and row["method"] in ("lora 8", "prompt", "bitfit")}


# ── the verdict ──────────────────────────────────────────────────────────────────────────────


def test_a_share_of_the_way_counts_within_what_its_head_reads(record):
    """By hand: LoRA 8's runs, full fine-tuning's, and the head alone, solved on the same."""
    assert protocol.zeros(record) == {"pooler": pytest.approx(0.318, abs=5e-4),
                                      "mean": pytest.approx(0.413, abs=5e-4)}
    found = protocol.shares(record)
    assert found["lora 8"] == pytest.approx(0.75, abs=0.02)
    assert found["bitfit"] == pytest.approx(0.55, abs=0.01)
    assert found["full"] == 1
    few = [{"group": "mean", "method": method, "seed": seed, "r2": r2} for method, seed, r2 in (
        ("full", 2, 0.56), ("full", 3, 0.58), ("full", 4, 0.99), ("lora 8", 3, 0.5231),
        ("lora 8", 2, 0.5031))]    # over the seeds that both have
    by_mean = {"exact": {"r2": 0.3}, "exact_mean": {"r2": 0.4131}, "runs": [
        *few, {"group": "mean rates", "method": "lora 8"}, *protocol.finals(record)]}
    assert protocol.shares(by_mean, "mean") == {
        "full": 1, "lora 8": pytest.approx(0.1 / 0.1569, abs=1e-3)}
    with pytest.raises(BadConfig, match="not recorded for a head that reads the mean"):
        protocol.shares(by_mean | {"runs": few[3:]}, "mean")
    with pytest.raises(UnknownName, match="pooler"):
        protocol.shares(record, "poolr")


@pytest.mark.parametrize(("low", "high", "said"), [
    (-0.01, 0.01, "the same"), (0.01, 0.03, "better"), (-0.03, -0.01, "worse"),
    (0.005, 0.015, "the same"), (-0.01, 0.03, "cannot tell"), (-0.03, 0.03, "cannot tell"),
    (0.0, 0.02, "cannot tell")])
def test_a_verdict_is_one_of_four_words(low, high, said):
    assert verdicts.word(low, high, 0.02) == said


def test_two_runs_are_judged_on_new_sentences_alone_and_this_is_said():
    a, b = torch.randn(2, 900, dtype=torch.float64)
    found = pt.verdict(a, b)
    half = 1.96 * stdev((a - b).tolist()) / 30
    assert (found.low, found.high) == pytest.approx(
        ((a - b).mean().item() - half, (a - b).mean().item() + half), rel=1e-6)
    assert "for these two runs on new sentences, from 900: another seed may end" in repr(found)


def test_the_spread_of_recorded_seeds_is_borrowed_and_this_is_said():
    flat = torch.ones(900)                               # sentences do not vary
    seeds = [0.00, 0.01, -0.01, 0.02]
    recorded = torch.tensor(seeds)[:, None] * flat, torch.zeros(4, 900)
    found = pt.verdict(0.05 * flat, 0 * flat, borrowed=recorded)
    half = 3.182 * stdev(seeds)                          # of one run, whose spread four tell
    assert (found.low, found.high) == pytest.approx((0.05 - half, 0.05 + half), rel=1e-4)
    assert found.word == "better"
    assert repr(found).startswith("better: +0.050 (+0.009 to +0.091, margin 0.02), for new seeds")
    assert "borrowed from 4 recorded ones" in repr(found)
    alone = pt.verdict(*(scores + flat for scores in recorded))
    half = 3.182 * stdev(seeds) / 2
    assert (alone.low, alone.high) == pytest.approx((0.005 - half, 0.005 + half), rel=1e-4)
    assert "from 4 and 900 of them" in repr(alone)


def test_scores_of_the_record_mean_its_r2_and_accuracy(record):
    for of in ("r2", "accuracy"):
        one, other = pt.board.scores("LoRA 8", "ia3", of=of)
        assert len(one) == len(other) == 5                # the seeds that both have
        for scores, method in ((one, "lora 8"), (other, "ia3")):
            told = [row[of] for row in sorted(protocol.finals(record), key=lambda r: r["seed"])
                    if row["method"] == method][:5]
            assert scores.mean(1).tolist() == pytest.approx(told, abs=3e-3)
    assert pt.verdict(*pt.board.scores("full", "bitfit")).word == "better"
    assert pt.verdict(*pt.board.scores("bitfit", "full", of="accuracy"), verdicts.POINT
                      ).word == "worse"


@pytest.mark.parametrize(("a", "b", "more", "told"), [
    ("lora 8", "ia3", {}, "not scores"), ([1.0, 2.0], [1.0], {}, r"\(1, 2\) and \(1, 1\)"),
    (torch.zeros(21, 9), torch.zeros(21, 9), {}, r"\(21, 9\)"),
    (torch.zeros(2, 3, 4), torch.zeros(2, 3, 4), {}, r"\(2, 3, 4\)"), ([], [], {}, r"\(1, 0\)"),
    ([1.0, float("nan")], [1.0, 2.0], {}, "not finite"),
    ([1.0, 2.0], [1.0, 2.0], {"margin": -1}, "margin"),
    ([1.0, 2.0], [1.0, 2.0], {"margin": float("nan")}, "margin"),
    ([1.0, 2.0], [1.0, 2.0], {"borrowed": ([1.0, 2.0], [1.0, 2.0])}, "One seed")])
def test_what_is_no_pair_of_scores_is_refused(a, b, more, told):
    with pytest.raises(BadConfig, match=told):
        pt.verdict(a, b, **more)


# ── a run ────────────────────────────────────────────────────────────────────────────────────


def halved(model):
    return pt.lora.inject(model, pt.lora.Config(4, 16.0))


def thawed(model):
    model = lora(model)
    model.bert.encoder.layer[0].attention.self.query.base.weight.requires_grad_(True)
    return model


def headless(model):
    model = lora(model)
    for p in contents.head_parameters(model).values():
        p.requires_grad_(False)
    return model


def silent(model):
    return lora(model).requires_grad_(False)


def by_hand(model):
    """Layers that no file would keep."""
    model.requires_grad_(False)
    model.bert.more = torch.nn.Parameter(torch.zeros(73_728))
    model.classifier.requires_grad_(True)
    return model


@pytest.mark.parametrize(("rung", "wrap", "error", "told"), [
    ("lora", lora, UnknownName, "There is no rung 'lora'"), (8, lora, UnknownName, "no rung 8"),
    ("lora 8", None, BadConfig, "wrap is None"),
    ("lora 8", lambda model: None, BadConfig, "wrap returned NoneType"),
    ("lora 8", lambda model: lora(model).requires_grad_(False) and None, BadConfig, "NoneType"),
    ("lora 8", lambda model: pt.full.inject(model, pt.full.Config("head")), BadConfig,
     "0 parameters of this model train"),
    ("lora 8", lambda model: model, BadConfig, "is the base frozen"),
    ("lora 8", thawed, BadConfig, "221,184 parameters.*73,728: LoRA 8 has as many"),
    ("lora 8", halved, BadConfig, "36,864.*same places, and of the same size"),
    ("ia3", lora, BadConfig, "73,728.*13,824: IA³"),
    ("lora 8", headless, BadConfig, "The head does not train"),
    ("lora 8", silent, BadConfig, "The head does not train"),
    ("lora 8", by_hand, NoAdapter, "No method was put on")])
def test_what_cannot_count_is_told_before_it_trains(here, monkeypatch, rung, wrap, error, told):
    monkeypatch.setattr(pt.training, "train", lambda *args, **more: pytest.fail("it trains"))
    pt.seed(3)
    before = random.random(), torch.get_rng_state()
    pt.seed(3)
    with pytest.raises(error, match=f"(?s)(?i){told}"):
        board.train(rung, wrap)
    assert random.random() == before[0]
    assert_equal(torch.get_rng_state(), before[1])
    assert board.runs() == []


def by_script(seed, examples, tests):
    """The run of `assets/records/ladder.py`: R² and predictions, tested in the plain order."""
    pt.seed(seed)
    movies = pt.data.ratings("movies")
    model, tokenizer = pt.models.load("minilm", labels=1)
    model = lora(model)
    batches = pt.data.batches(movies.train[:examples], tokenizer, seed=seed)
    head = [model.classifier.weight, model.classifier.bias]
    groups = [{"params": [*pt.adapter_parameters(model).values()], "lr": 0.0032},
              {"params": head, "lr": 0.01}]
    losses = [step.loss for step in pt.train(model, batches, groups=groups)]
    found, ratings = [], []
    with torch.no_grad():
        for text, rating in movies.test[:tests]:
            found.append(model(**tokenizer(text, truncation=True, max_length=32,
                                           return_tensors="pt")).logits.item())
            ratings.append(rating)
    found, ratings = torch.tensor(found), torch.tensor(ratings)
    return losses, found, 1 - ((found - ratings)**2).mean() / ratings.var(correction=0)


def test_a_run_is_the_recorded_one_and_its_row_replaces_an_older_one(here, short):
    first = board.train("LoRA 8", lora, seed=2)
    losses, guess, r2 = by_script(2, 32, 8)
    assert [step.loss for step in first.steps] == losses
    assert first.predictions.tolist() == pytest.approx(guess.tolist(), abs=1e-5)
    assert first.row["r2"] == pytest.approx(r2.item(), abs=1e-4)
    assert protocol.unpack(first.row["answers"]).tolist() == pytest.approx(guess.tolist(), abs=0.02)
    recorded = records.load("ladder")["costs"]["lora 8"]
    assert first.row["memory_bytes"] == recorded["memory_bytes"]
    assert first.row["file_bytes"] == pytest.approx(recorded["file_bytes"], abs=50)
    assert first.row.items() >= {"parameters": 73_728, "lr": 0.0032, "head_lr": 0.01}.items()
    assert repr(first) == (f"LoRA 8, seed 2: R² {first.row['r2']:.3f}, right signs "
                           f"{first.row['accuracy']:.1%}, on 8 sentences")

    work.add_point(board.POINTS, first.row | {"protocol": "ratings-0", "r2": 0.9})
    work.add_point(board.POINTS, first.row | {"seed": 5})
    button = board.offer("lora 8", lora, seed=2)
    assert "not trained" in button.still()[0]
    button.run.start_button.click()
    again = button.trained.row
    assert again.keys() == first.row.keys()
    assert {n: v for n, v in again.items() if n not in ("when", "step_ms")} == {
        n: v for n, v in first.row.items() if n not in ("when", "step_ms")}
    assert "R² " in button.still()[1]
    assert "lesson 09" in button.picture.value
    assert [row["seed"] for row in board.runs()] == [5, 2]
    assert board.rows() == {"lora 8": again}
    assert len(work.points(board.POINTS)) == 3             # that of another protocol stays


def test_a_few_steps_leave_no_row_and_random_numbers_as_they_were(here, capsys):
    pt.seed(3)
    before = torch.get_rng_state()
    found = board.train("lora 8", lora)
    told = "Not kept: runs of 250 steps are, and this one made 2"
    assert f"{told}.\n" in capsys.readouterr().out
    assert repr(found).endswith(f"sentences. {told}")    # as below a button
    assert_equal(torch.get_rng_state(), before)
    assert (len(found.steps), found.row["tests"], found.row["seed"]) == (2, 8, board.SEED)
    assert board.rows() == {}
    assert not (here / work.FILE).exists()


@pytest.mark.long
def test_lora_8_with_seed_2_comes_out_as_recorded(here, monkeypatch, record):
    monkeypatch.setenv("PEFT_TEACH_BUDGET", "cpu")
    row = board.train("lora 8", lora, seed=2).row
    told, = records.select(record, group="final", method="lora 8", seed=2)
    assert row["r2"] == pytest.approx(told["r2"], abs=1e-4)
    assert row["accuracy"] == pytest.approx(told["accuracy"], abs=5e-4)
    assert board.rows()["lora 8"] == row
    own, recorded = (protocol.unpack(each["answers"]) for each in (row, told))
    assert (own - recorded).abs().max() < 0.05


# ── the ladder ───────────────────────────────────────────────────────────────────────────────


def test_nothing_recorded_is_seen_before_a_row_or_a_bet(here, mine):
    closed = board.frame()
    assert closed.index.tolist() == ["prompt", "ia3", "bitfit", "lora 8", "dora 8", "prefix",
                                     "bottleneck", "qlora all", "full"]
    assert (closed.whose == "").all()
    assert closed[["r2", "low", "high"]].isna().all(axis=None)
    assert board_picture.table(closed).empty
    assert "diamonds" not in board_picture.caption(closed)
    work.commit(board.bet("ia3"), 0.5)
    work.add_point(board.POINTS, mine["lora 8"] | {
        "protocol": protocol.NAME, "tests": protocol.TESTS})
    found = board.frame()
    assert found.whose[found.whose != ""].to_dict() == {"ia3": "the course's", "lora 8": "you"}
    assert found.r2["lora 8"] == mine["lora 8"]["r2"]
    assert (found.low < found.r2)["ia3"]
    table = board_picture.table(found)
    assert table.index.tolist() == ["LoRA 8", "IA³"]
    assert table.loc["IA³"].tolist() == [
        "the course's", f"{found.r2['ia3']:.3f}", "81.3", "13,824", "81"]
    assert table["whose"]["LoRA 8"] == "you"
    assert "diamonds are your runs, rings the course's, bars" in board_picture.caption(found)
    assert "◂" not in board_picture.caption(found)
    low = board_picture.caption(found.assign(r2=0.1))    # neither a diamond nor a ring is drawn
    assert "files; bars" in low
    assert "◂ is off the scale" in low
    assert "◂" in board_picture.caption(board.frame(mine))
    beside = board.frame(mine | {"mask": mine["lora 8"] | {"method": "mask"}})
    assert beside.whose["mask"] == "you"
    level = board_picture.draw(beside.loc[["lora 8", "mask"]]).get_label()
    assert level.startswith("Highest of 2 so far: LoRA 8 and a random mask, level, R² ")
    assert [*beside.index].index("mask") == [*beside.index].index("lora 8") + 1    # by its file
    assert board_picture.draw(found).get_label().startswith(
        "Highest of 2 so far: IA³, R² 0.519, 83% of the gain. 1 of 9 built. prompt, 54.7 kB: "
        "lesson 03; IA³, 81 kB: the course's 0.519")


def test_a_pair_of_the_readers_is_at_the_seeds_that_both_have(here, mine, record):
    whole = {"protocol": protocol.NAME, "tests": protocol.TESTS}
    work.add_point(board.POINTS, mine["lora 8"] | whole)
    with pytest.raises(BadConfig, match=r"LoRA 8: seeds \[6\], BitFit: seeds none"):
        board.own("lora 8", "bitfit")
    work.add_point(board.POINTS, mine["bitfit"] | whole)
    work.add_point(board.POINTS, mine["bitfit"] | whole | {"seed": 1})
    one, other = board.own("lora 8", "bitfit")
    assert one.shape == other.shape == (1, 2716)
    found = pt.verdict(one, other, borrowed=board.scores("lora 8", "bitfit"))
    assert found.difference == pytest.approx(mine["lora 8"]["r2"] - mine["bitfit"]["r2"], abs=3e-3)
    wide = found.high - found.low
    alone = pt.verdict(one, other)
    assert alone.high - alone.low < wide
    with pytest.raises(UnknownName):
        board.scores("lora 8", of="f1")


def test_mondays_table_has_the_readers_rows_and_a_colleagues_for_the_rest(record, mine,
                                                                          monkeypatch):
    monkeypatch.setattr(board, "rows", lambda: mine)
    table = board.monday(record, means=True)
    assert len(table) == 13
    assert table["R²"].is_monotonic_decreasing
    by = table.set_index("method")
    assert by.whose[by.whose == "you"].index.tolist() == ["LoRA 8", "BitFit", "prompt"]
    assert by["R²"]["LoRA 8"] == round(mine["lora 8"]["r2"], 3)
    assert by["R²"]["IA³"] == 0.519
    assert by["recorded mean"]["LoRA 8"] == round(sum(
        row["r2"] for row in protocol.finals(record) if row["method"] == "lora 8"
        and row["seed"] in range(2, 7)) / 5, 3)    # all methods have these, and six no others
    assert sorted(by["place by it"]) == [*range(1, 14)]
    assert by.sort_values("place by it")["recorded mean"].is_monotonic_decreasing
    monkeypatch.setattr(board, "rows", dict)
    assert set(board.monday(record).whose) == {"a colleague"}


# ── a method of one's own ────────────────────────────────────────────────────────────────────


def mask(model):
    return pt.attach(model, ("query", "value"), lambda base: rungs.Masked(base, 100))


@pytest.mark.parametrize(("name", "wrap", "lr", "told"), [
    ("LoRA 8", lora, 1e-3, "is a rung: its rate is recorded"),
    ("", lora, 1e-3, "The name is ''"),
    ("mine", lora, 0, "lr is 0"), ("mine", lora, True, "lr is True"),
    ("mine", lambda model: model, 1e-3, "the base frozen"),
    ("mine", headless, 1e-3, "head does not")])
def test_what_cannot_count_of_ones_own_is_told_before_it_trains(here, monkeypatch, name, wrap, lr,
                                                               told):
    monkeypatch.setattr(pt.training, "train", lambda *args, **more: pytest.fail("it trains"))
    with pytest.raises(BadConfig, match=f"(?s){told}"):
        board.train(name, wrap, lr=lr)


def test_a_method_of_ones_own_stands_beside_a_rung_and_not_on_the_ladder(here, short, record):
    with pytest.raises(BadConfig, match="No seed has a run of 'mine' and of LoRA 8"):
        board.beside("mine")
    found = board.train("mine", mask, seed=2, lr=1.28e-2)
    assert found.row.items() >= {"method": "mine", "parameters": 1200, "lr": 1.28e-2,
                                 "head_lr": 0.01}.items()
    assert repr(found).startswith("mine, seed 2: R²")
    assert work.points(board.OWN) == [found.row]
    assert board.runs() == work.points(board.POINTS) == []
    theirs, = records.select(record, group="final", method="mask", seed=2)
    work.add_point(board.OWN, found.row | {"answers": theirs["answers"], "r2": theirs["r2"]},
                   replaces=("protocol", "method", "seed"))
    table = board.beside("mine")
    lora_8, = records.select(record, group="final", method="lora 8", seed=2)
    assert table.index.tolist() == ["mine", "LoRA 8"]
    assert table["R²"].tolist() == [round(theirs["r2"], 3), round(lora_8["r2"], 3)]
    assert table["parameters"].tolist() == [1200, 73_728]
    one, other = protocol.shared(protocol.scores(
        [theirs, lora_8], protocol.rated(record)), "mask", "lora 8")
    told = pt.verdict(one, other)
    assert table["difference"]["mine"] == (
        f"{told.difference:+.3f} ({told.low:+.3f} to {told.high:+.3f})")
    assert table.attrs["difference"] == told.difference
    assert table["difference"]["LoRA 8"] == "seed no. 2"


def test_a_rate_is_tried_on_validation_sentences_and_nothing_is_kept(here):
    asked = []
    real = protocol.begin
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "begin", lambda *args, **more: asked.append(
            real(*args, **more)) or asked[-1])
        r2 = board.trial(mask, 1e-3)
    run, = asked
    few = pt.course.budget().test_examples
    assert [*run.tests] == [*pt.data.ratings("movies").validation[:few]]
    assert run.seed == 0
    rating = torch.tensor([example.label for example in run.tests])
    assert r2 == pytest.approx(protocol.r2(run.predictions(), rating), abs=1e-6)
    assert not (here / work.FILE).exists()
