"""Records are made once: interrupted they go on; where nothing is missing nothing is written."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from peft_teach.course import recording

STORED = sorted((Path(__file__).parents[2] / "assets" / "records").glob("*.json"))
SETTING = {"model": "minilm", "torch": "2.13"}
WANTED = [{"group": "ranks", "setting": {"rank": rank, "targets": ("query", "value")}}
          for rank in (1, 2, 4)]


def make(record, calls, stop_at=None):
    """Make what is wanted; an interruption at one rank."""
    def run(about):
        rank = about["setting"]["rank"]
        if rank == stop_at:
            raise KeyboardInterrupt
        calls.append(rank)
        return {"accuracy": rank / 10}, {"spectra": {str(rank): [1.0]}} if rank == 2 else {}

    record.make(WANTED, run)


def test_an_interrupted_script_goes_on_where_it_stopped(tmp_path):
    record, calls = recording.Recorder(tmp_path / "lora.py", SETTING), []
    with pytest.raises(KeyboardInterrupt):
        make(record, calls, stop_at=4)
    make(recording.Recorder(tmp_path / "lora.py", SETTING), calls)
    assert calls == [1, 2, 4]
    assert json.loads((tmp_path / "lora.json").read_text()) == {
        "setting": SETTING, "spectra": {"2": [1.0]}, "runs": [
            {"group": "ranks", "setting": {"rank": rank, "targets": ["query", "value"]},
             "accuracy": rank / 10} for rank in (1, 2, 4)]}
    assert [file.name for file in tmp_path.iterdir()] == ["lora.json"]


def test_where_nothing_is_missing_nothing_is_written(tmp_path):
    record = recording.Recorder(tmp_path / "lora.py", SETTING)
    make(record, [])
    before, written = record.file.read_bytes(), record.file.stat().st_mtime_ns
    make(recording.Recorder(tmp_path / "lora.py", SETTING | {"torch": "2.14"}), calls := [])
    assert calls == []
    assert (record.file.read_bytes(), record.file.stat().st_mtime_ns) == (before, written)


def test_again_makes_all_anew_and_what_it_has_not_made_stands(tmp_path):
    record = recording.Recorder(tmp_path / "lora.py", SETTING)
    record.add({"group": "methods"}, {"accuracy": 0.5}, spectra={"full": [2.0]})
    make(record, calls := [])
    stood = record.read()
    anew = recording.Recorder(tmp_path / "lora.py", SETTING, again=True)
    assert (anew.read(), anew.made()) == (stood, {})    # a search begins with nothing
    with pytest.raises(KeyboardInterrupt):
        make(anew, calls, stop_at=4)
    assert anew.read() == stood
    assert [row["setting"]["rank"] for row in anew.made()["runs"]] == [1, 2]
    assert anew.made()["spectra"] == {"2": [1.0]}
    make(anew, calls)
    assert calls == [1, 2, 4] * 2
    assert anew.read() == stood


def test_all_that_stands_is_forgotten_where_it_is_asked(tmp_path):
    make(recording.Recorder(tmp_path / "lora.py", SETTING), [])
    asked = recording.arguments("Doc.").parse_args(["--forget"])
    record = recording.Recorder(tmp_path / "lora.py", SETTING, asked.again, asked.forget)
    assert record.read() == {}
    with pytest.raises(KeyboardInterrupt):
        make(record, [], stop_at=2)
    make(recording.Recorder(tmp_path / "lora.py", SETTING), calls := [])
    assert calls == [2, 4]


def test_a_row_made_under_another_setting_says_so(tmp_path):
    record = recording.Recorder(tmp_path / "lora.py", SETTING)
    with pytest.raises(KeyboardInterrupt):
        make(record, [], stop_at=4)
    make(recording.Recorder(tmp_path / "lora.py", SETTING | {"torch": "2.14"}), [])
    found = record.read()
    assert found["setting"] == SETTING
    assert [row.get("differs") for row in found["runs"]] == [None, None, {"torch": "2.14"}]


def test_a_setting_does_not_differ_from_what_was_read_of_it(tmp_path):
    record = recording.Recorder(tmp_path / "lora.py", {"targets": ("query", "value")})
    record.add({"seed": 0}, {})
    record.add({"seed": 1}, {})
    assert not any("differs" in row for row in record.read()["runs"])


def test_two_scripts_add_to_one_record(tmp_path):
    one, other = (recording.Recorder(tmp_path / "change.py", SETTING) for _ in range(2))
    one.add({"d": 16}, {"accuracy": 0.6}, truncated={"a": 1})
    other.add({"d": 64}, {"accuracy": 0.7}, truncated={"b": 2})
    assert one.holds({"d": 64})
    assert one.read()["truncated"] == {"a": 1, "b": 2}


def test_a_row_made_anew_takes_its_old_place(tmp_path):
    record = recording.Recorder(tmp_path / "benchmark.py")
    for device, method, ms in (("cpu", "full", 3), ("cpu", "lora", 2), ("cuda", "lora", 1),
                               ("cpu", "full", 4)):
        record.add({"device": device, "method": method}, {"ms": ms})
    assert [row["ms"] for row in record.read()["runs"]] == [4, 2, 1]


def test_a_machine_is_its_threads_and_versions_whatever_the_day(monkeypatch):
    here = recording.machine(pytest, threads=1)
    monkeypatch.setattr(recording, "today", lambda: {"date": "2020-01-01"})
    assert recording.machine(pytest, threads=1) == here
    assert recording.machine(pytest, threads=2) != here
    monkeypatch.setattr(pytest, "__version__", "0.1")
    assert recording.machine(pytest, threads=1) != here


@pytest.mark.parametrize("file", STORED, ids=lambda file: file.stem)
def test_what_is_written_is_what_was_read(file, tmp_path):
    record = recording.Recorder(tmp_path / file.name)
    found = json.loads(file.read_text("utf-8"))
    record.save(found)
    assert json.loads(record.file.read_text("utf-8")) == found
    lines = record.file.read_text("utf-8").splitlines()
    assert sum(line.startswith('{"') for line in lines) == sum(
        len(part) for part in found.values() if isinstance(part, list))
    assert record.file.read_bytes() == file.read_bytes()


def test_answers_are_one_text_a_digit_each():
    assert recording.bits(torch.tensor([True, False])) == recording.bits([1, 0]) == "10"


def test_a_search_of_rates_ends_between_two_worse_ones_or_at_the_ladders_end():
    ladder = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)

    def tried(good):
        found = {}
        while rate := recording.next_rate(found, ladder, 1e-3):
            found[rate] = good(rate)
        return list(found)

    assert tried(lambda rate: -abs(rate - 1e-3)) == [1e-3, 3e-3, 3e-4]
    assert tried(lambda rate: -abs(rate - 3e-3)) == [1e-3, 3e-3, 1e-2]
    assert tried(lambda rate: rate) == [1e-3, 3e-3, 1e-2]
    assert tried(lambda rate: -rate) == [1e-3, 3e-3, 3e-4, 1e-4]


def test_what_several_add_at_a_time_all_stands(tmp_path, monkeypatch):
    read = recording.Recorder.read

    def read_slowly(record):
        found = read(record)
        time.sleep(0.002)    # for another to write
        return found

    def add(i):
        record = recording.Recorder(tmp_path / "lora.py", SETTING)
        record.gain(costs={str(i): i})
        record.add({"run": i}, {}, spectra={str(i): [i]})

    monkeypatch.setattr(recording.Recorder, "read", read_slowly)
    with ThreadPoolExecutor(4) as several:
        list(several.map(add, range(20)))
    record = read(recording.Recorder(tmp_path / "lora.py"))
    assert {row["run"] for row in record["runs"]} == {*range(20)}
    assert len(record["spectra"]) == len(record["costs"]) == 20
