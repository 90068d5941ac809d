"""`python -m ser_core`: the answers of `Recognizer.predict` on files and folders, and its exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ser_core
from ser_core import __main__ as command
from ser_core import files, hub
from ser_core.emotions import LABELS
from ser_core.errors import BundleError
from tests import bundles, sounds
from tests.bundles import logits_of
from tests.processes import ROOT, start

if TYPE_CHECKING:
    from ser_core.recognizer import Recognizer

Capture = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("no_model_named")


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Recognizer:
    """The recogniser that the command loads in this process: no network, quick."""
    made = bundles.recognizer()
    monkeypatch.setattr(command, "load", lambda model, precision: made)
    return made


@pytest.fixture
def voices(tmp_path: Path) -> Path:
    """A folder of two voices, a silence below them, and files that are no sound."""
    folder = tmp_path / "voices"
    (folder / "deeper" / "still").mkdir(parents=True)
    sounds.write(folder, sounds.voice(6.5), 16_000, stem="b-long")
    sounds.write(folder / "deeper", sounds.voice(2.0, 44_100, pitch=220.0), 44_100, "flac-16", stem="a")
    sounds.write(folder / "deeper" / "still", sounds.silence(1.0), 16_000, stem="silence")
    (folder / "readme.txt").write_text("no sound", encoding="utf-8")
    (folder / "._b-long.wav").write_bytes(b"what macOS leaves on other file systems")
    return folder


def in_order(folder: Path) -> list[str]:
    return [str(folder / name) for name in ("b-long.wav", "deeper/a.flac", "deeper/still/silence.wav")]


def without_time(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != "timings"}


def expected(judge: Recognizer, path: str) -> dict[str, Any]:
    """What `predict` says, as JSON gives it back."""
    fields: dict[str, Any] = json.loads(json.dumps({"source": path, **judge.predict(path).to_dict()}))
    return without_time(fields)


def run(*arguments: str | Path | bytes, **options: Any) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the real command."""
    process = start(*arguments, **options)
    out, error = process.communicate(timeout=120)
    return process.returncode, out, error


# Files, folders and formats.


def test_json_is_a_list_of_what_predict_says(judge: Recognizer, voices: Path, capsys: Capture) -> None:
    assert command.main([str(voices), "--format", "json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert [record["source"] for record in records] == in_order(voices)
    assert [without_time(record) for record in records] == [expected(judge, path) for path in in_order(voices)]
    assert [record["state"] for record in records] == ["ok", "ok", "no_speech"]
    assert len(records[0]["windows"]) == 5


def test_json_of_one_file_is_a_list_too(judge: Recognizer, voices: Path, capsys: Capture) -> None:
    path = in_order(voices)[1]
    assert command.main(["--format", "json", path]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert without_time(record) == expected(judge, path)


def test_jsonl_has_an_object_a_line(judge: Recognizer, voices: Path, capsys: Capture) -> None:
    assert command.main([str(voices), "--format", "jsonl"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [without_time(record) for record in records] == [expected(judge, path) for path in in_order(voices)]


def test_csv_is_flat(judge: Recognizer, voices: Path, tmp_path: Path, capsys: Capture) -> None:
    assert command.main([str(voices), str(tmp_path / "none.wav"), "--format", "csv"]) == 1
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert list(rows[0]) == [
        *("source", "state", "label", "confidence", *LABELS),
        *("duration_s", "sound_start_s", "sound_end_s", "notes", "error"),
    ]
    first = judge.predict(in_order(voices)[0])
    assert first.sound is not None
    row = rows[0]
    assert (row["source"], row["state"], row["label"]) == (in_order(voices)[0], first.state, first.label)
    assert float(row["confidence"]) == first.confidence
    assert {label: float(row[label]) for label in LABELS} == first.probabilities
    assert float(row["duration_s"]) == first.duration_s == 6.5
    assert (float(row["sound_start_s"]), float(row["sound_end_s"])) == (first.sound.start_s, first.sound.end_s)
    silence = rows[2]
    assert (silence["state"], silence["notes"], silence["duration_s"]) == ("no_speech", "silence", "1.0")
    for column in ("label", "confidence", *LABELS, "sound_start_s", "sound_end_s", "error"):
        assert silence[column] == ""
    assert rows[3]["source"] == str(tmp_path / "none.wav")
    assert "no file none.wav" in rows[3]["error"]
    assert not any(rows[3][column] for column in ("state", "label", "confidence", *LABELS, "duration_s", "notes"))


def test_text_tells_the_three_nearest(
    monkeypatch: pytest.MonkeyPatch, voices: Path, tmp_path: Path, capsys: Capture
) -> None:
    backend = bundles.ScriptedBackend(logits_of(sad=0.5, calm=0.3, angry=0.1))
    monkeypatch.setattr(command, "load", lambda model, precision: bundles.recognizer(backend))
    quiet = sounds.write(tmp_path, sounds.voice(2.0, level=0.005), 16_000, "wav-float", stem="quiet")
    assert command.main([str(voices), str(quiet)]) == 0
    lines = capsys.readouterr().out.splitlines()
    long, short, silence = in_order(voices)
    assert lines[0] == f"{long}: sad 50 %, calm 30 %, angry 10 % (6.5 s in 5 windows)"
    assert lines[1] == f"{short}: sad 50 %, calm 30 %, angry 10 % (2.0 s)"
    assert lines[2] == f"{silence}: no voice (1.0 s)"
    assert lines[3].startswith("  Nothing can be heard in this recording.")
    assert lines[4] == f"{quiet}: sad 50 %, calm 30 %, angry 10 % (2.0 s)"
    assert lines[5].startswith("  The recording is very quiet.")
    assert len(lines) == 6


@pytest.mark.parametrize("samples", [sounds.noise(2.0), sounds.tone(2.0)], ids=["noise", "tone"])
def test_sound_that_is_no_voice_is_told_from_silence(
    judge: Recognizer, tmp_path: Path, capsys: Capture, samples: sounds.Floats
) -> None:
    path = sounds.write(tmp_path, samples, 16_000)
    assert command.main([str(path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{path}: no voice (2.0 s)",
        (
            "  There is sound in this recording, but nobody was heard to speak or sing. Come closer to the microphone, "
            "in a quiet place, and record again."
        ),
    ]
    assert command.main([str(path), "--format", "csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["state"], row["notes"], row["label"], row["error"]) == ("no_speech", "no_voice", "", "")
    assert command.main([str(path), "--format", "json"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert (record["state"], record["probabilities"], record["sound"]) == ("no_speech", {}, None)
    assert [note["code"] for note in record["notes"]] == ["no_voice"]


def test_text_says_where_it_is_uncertain(monkeypatch: pytest.MonkeyPatch, voices: Path, capsys: Capture) -> None:
    backend = bundles.ScriptedBackend(logits_of(sad=0.5, calm=0.3, angry=0.1))
    unsure = bundles.recognizer(backend, uncertain_below=0.6)
    monkeypatch.setattr(command, "load", lambda model, precision: unsure)
    assert command.main([in_order(voices)[1]]) == 0
    assert ": uncertain; nearest are sad 50 %, calm 30 %, angry 10 % (2.0 s)" in capsys.readouterr().out


@pytest.mark.parametrize("jobs", ["1", "4"])
@pytest.mark.parametrize("form", ["text", "json", "jsonl", "csv"])
def test_answers_come_in_the_order_of_the_sources(
    judge: Recognizer, voices: Path, tmp_path: Path, capsys: Capture, form: str, jobs: str
) -> None:
    """However many files are judged at once, and though the first takes longest."""
    long, short, silence = in_order(voices)
    asked = [long, silence, str(voices / "deeper"), str(tmp_path / "none.wav"), long]
    assert command.main([*asked, "--format", form, "--jobs", jobs]) == 1
    told = capsys.readouterr().out
    if form == "json":
        sources = [record["source"] for record in json.loads(told)]
    elif form == "jsonl":
        sources = [json.loads(line)["source"] for line in told.splitlines()]
    elif form == "csv":
        sources = [row["source"] for row in csv.DictReader(io.StringIO(told))]
    else:
        sources = [line.split(": ")[0] for line in told.splitlines() if not line.startswith("  ")]
    assert sources == [long, silence, short, silence, str(tmp_path / "none.wav"), long]


def test_a_named_file_may_be_called_anything(judge: Recognizer, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "recording"
    path.write_bytes(sounds.encode(sounds.voice(), 16_000, "wav-16"))
    assert command.main([str(path)]) == 0
    assert capsys.readouterr().out.startswith(f"{path}: ")


@pytest.mark.parametrize("name", sounds.FORMATS)
def test_every_format_that_can_be_read_is_found_in_a_folder(name: str, tmp_path: Path) -> None:
    path = sounds.write(tmp_path, sounds.tone(0.1), 48_000, name, stem="LOUD")
    shouted = path.rename(path.with_suffix(path.suffix.upper()))
    assert files.find_all([str(tmp_path)]) == [str(shouted)]


# Failures.


def test_some_fail_and_the_others_are_answered(
    judge: Recognizer, voices: Path, tmp_path: Path, capsys: Capture
) -> None:
    junk = voices / "c-junk.mp3"
    junk.write_bytes(b"This is no sound.\n" * 99)
    assert command.main([str(tmp_path / "none.wav"), str(voices), "--format", "json"]) == 1
    captured = capsys.readouterr()
    records = json.loads(captured.out)
    assert [record["source"] for record in records] == [
        *(str(tmp_path / "none.wav"), in_order(voices)[0], str(junk), *in_order(voices)[1:])
    ]
    failed = [record for record in records if "error" in record]
    assert [set(record) for record in failed] == [{"source", "error"}] * 2
    assert failed[0]["error"] == "There is no file none.wav. Check its name, or record something."
    assert "Give a WAV, FLAC" in failed[1]["error"]
    assert captured.err.splitlines() == [f"{record['source']}: {record['error']}" for record in failed]


def test_a_folder_without_sound_is_a_failure(judge: Recognizer, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "notes.txt").write_text("no sound", encoding="utf-8")
    assert command.main([str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert f"There is no sound file in {tmp_path}. Looked for names that end in .wav, .flac" in captured.err
    assert captured.out.startswith(f"{tmp_path}: not judged. There is no sound file")


def test_a_folder_that_may_not_be_read_is_a_failure(
    judge: Recognizer, voices: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    real = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path).name == "deeper":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert command.main([str(voices)]) == 1
    captured = capsys.readouterr()
    assert in_order(voices)[0] in captured.out
    assert f"The folder {voices / 'deeper'} can't be read (Permission denied)" in captured.err


def test_every_hostile_file_through_the_command(tmp_path: Path) -> None:
    """The real command, all of them at once with a good one last: each its own message, no traceback."""
    model = bundles.make(tmp_path / "model").folder
    made = {}
    for name, hostile in sounds.HOSTILE.items():
        if name != "folder":  # for the command it is a source of its own kind
            (tmp_path / name).mkdir()
            made[name] = hostile.make(tmp_path / name)
    good = sounds.write(tmp_path, sounds.voice(), 16_000)
    code, out, error = run(*made.values(), good, "--model", model, "--format", "json")
    assert code == 1
    records = json.loads(out)
    assert [record["source"] for record in records] == [*map(str, made.values()), str(good)]
    for name, record in zip(made, records, strict=False):
        assert set(record) == {"source", "error"}, name
        assert sounds.HOSTILE[name].says in record["error"], name
    assert records[-1]["label"] in LABELS
    assert error.splitlines() == [f"{record['source']}: {record['error']}" for record in records[:-1]]


# Wrong usage.


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "SOURCE"),
        (["a.wav", "--format", "xml"], "invalid choice: 'xml'"),
        (["a.wav", "--precision", "fp8"], "invalid choice: 'fp8'"),
        (["a.wav", "--jobs", "0"], "'0' is no number from 1 to 256"),
        (["a.wav", "--jobs", "two"], "'two' is no number from 1 to 256"),
        (["a.wav", "--loud"], "unrecognized arguments: --loud"),
        (["a.wav", "--out", "/nowhere/at/all.json"], "--out /nowhere/at/all.json can't be written (No such file"),
        (["a.wav", "--out", "."], "can't be written (Is a directory)"),
        (["a.wav", "--format", "jsonl", "--out", "/nowhere/a"], "--out /nowhere/a can't be written (No such file"),
        (["a.wav", "--format", "jsonl", "--out", "."], "can't be written (Is a directory)"),
    ],
    ids=[
        *("no-source", "format", "precision", "jobs", "jobs-text", "option"),
        *("out", "out-is-a-folder", "kept-out", "kept-out-is-a-folder"),
    ],
)
def test_wrong_usage_is_2(judge: Recognizer, capsys: Capture, arguments: list[str], says: str) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.out == ""


def test_a_model_that_is_none_is_2(voices: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out.json"
    with pytest.raises(SystemExit) as caught:
        command.main([str(voices), "--model", str(tmp_path), "--out", str(out)])
    assert caught.value.code == 2
    assert f"error: There is no model in {tmp_path}" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["voices"]


def test_model_and_precision_reach_load(voices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(model: str | None, precision: str | None) -> Recognizer:
        asked.append((model, precision))
        return bundles.recognizer()

    monkeypatch.setattr(command, "load", load)
    for options in ([], ["--model", "there", "--precision", "int8"]):
        assert command.main([str(voices), *options]) == 0
    assert asked == [(None, None), ("there", "int8")]
    # The environment names the model where the option doesn't.
    asked.clear()
    for named, options in (("ann/voice@v1", []), ("ann/voice@v1", ["--model", "there"]), ("", [])):
        monkeypatch.setenv(hub.VARIABLE, named)
        assert command.main([str(voices), *options]) == 0
    assert asked == [("ann/voice@v1", None), ("there", None), (None, None)]


def run_lightly(*arguments: str) -> tuple[int, str, str]:
    """Like `run`, for a command that ends early: it must not have imported anything heavy."""
    code = (
        "import sys; from ser_core import __main__ as command\n"
        "try: code = command.main(sys.argv[1:])\n"
        "except SystemExit as end: code = end.code\n"
        "heavy = 'librosa', 'openvino', 'scipy', 'numba', 'soundfile', 'av', 'huggingface_hub'\n"
        "assert not any(name in sys.modules for name in heavy), sys.modules\n"
        "sys.exit(code)"
    )
    line = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("model", ["nowhere", "./nowhere", "/nowhere", ".", "ann/voice@"])
def test_a_model_that_can_be_none_is_told_at_once(model: str) -> None:
    code, out, error = run_lightly("voice.wav", "--model", model)
    assert (code, out) == (2, "")
    assert error.startswith("python -m ser_core: error: ")
    assert error.count("\n") == 1


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code, out, error = run_lightly("--help")
    assert (code, error) == (0, "")
    assert "python -m ser_core" in out
    # What the choices above leave open: where else a model is named, what happens to an --out that is there, what is
    # left of a run that is stopped, and what the exit codes mean.
    told = " ".join(out.split())
    assert hub.VARIABLE in told
    assert "a file of this name is replaced, once all is judged" in told
    assert "With --format jsonl and --out FILE, what is judged is kept in FILE.part" in told
    assert "Other formats begin anew" in told
    assert "Exit code: 0 if all files were judged" in told


# --out.


@pytest.mark.parametrize("form", ["text", "json", "jsonl", "csv"])
def test_out_gets_what_standard_output_would(judge: Recognizer, voices: Path, tmp_path: Path, form: str) -> None:
    silent = in_order(voices)[2]  # its timings aside, and text and CSV have none, an answer is always the same
    out = tmp_path / "out"
    assert command.main([silent, "--format", form, "--out", str(out)]) == 0
    content = out.read_bytes().decode("utf-8")
    assert "\r" not in content
    if form == "json":
        assert [without_time(record) for record in json.loads(content)] == [expected(judge, silent)]
    elif form == "jsonl":
        assert without_time(json.loads(content)) == expected(judge, silent)
    else:
        assert len(content.splitlines()) == 2
        assert silent in content


def test_out_leaves_standard_output_empty_and_nothing_beside(
    judge: Recognizer, voices: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert command.main([str(voices), "--out", str(tmp_path / "new.txt")]) == 0
    assert capsys.readouterr().out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.txt", "voices"]


def test_out_is_replaced_only_when_all_is_judged(voices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("before", encoding="utf-8")
    out.chmod(0o640)
    judge = bundles.recognizer()
    seen = []

    class Watched:
        info = judge.info

        def predict(self, path: str) -> Any:
            seen.append(out.read_text(encoding="utf-8"))
            return judge.predict(path)

    monkeypatch.setattr(command, "load", lambda model, precision: Watched())
    with out.open(encoding="utf-8") as reader:
        assert command.main([str(voices), "--format", "jsonl", "--out", str(out)]) == 0
        # Replaced, not written over: who was reading goes on reading what was there.
        assert reader.read() == "before"
    assert seen == ["before"] * 3
    assert len(out.read_text(encoding="utf-8").splitlines()) == 3
    assert stat.S_IMODE(out.stat().st_mode) == 0o640


@pytest.mark.parametrize("stopped_by", [KeyboardInterrupt, BundleError("gone")])
def test_out_is_left_as_it_was_when_stopped(
    voices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_by: Any
) -> None:
    out = tmp_path / "out.json"
    out.write_text("before", encoding="utf-8")

    def load(model: str | None, precision: str | None) -> Recognizer:
        raise stopped_by

    monkeypatch.setattr(command, "load", load)
    try:
        code: Any = command.main([str(voices), "--out", str(out)])
    except SystemExit as end:
        code = end.code
    assert code == (130 if stopped_by is KeyboardInterrupt else 2)
    assert out.read_text(encoding="utf-8") == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json", "voices"]


def test_out_follows_a_link(judge: Recognizer, voices: Path, tmp_path: Path) -> None:
    target, link = tmp_path / "target.txt", tmp_path / "link.txt"
    target.write_text("before", encoding="utf-8")
    link.symlink_to(target)
    assert command.main([str(voices), "--out", str(link)]) == 0
    assert link.is_symlink()
    assert target.read_text(encoding="utf-8").startswith(in_order(voices)[0])


def test_out_may_be_a_device(judge: Recognizer, voices: Path) -> None:
    assert command.main([str(voices), "--out", os.devnull]) == 0
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_out_never_replaces_a_recording(judge: Recognizer, voices: Path, capsys: Capture) -> None:
    path = Path(in_order(voices)[0])
    before = path.read_bytes()
    for source in (path, voices):
        with pytest.raises(SystemExit) as caught:
            command.main([str(source), "--out", str(path)])
        assert caught.value.code == 2
        assert "is one of the recordings" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_a_full_disk_is_told(judge: Recognizer, voices: Path, capsys: Capture) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(SystemExit) as caught:
        command.main([str(voices), "--out", "/dev/full"])
    assert caught.value.code == 2
    assert "--out /dev/full can't be written (No space left on device)" in capsys.readouterr().err


# Strange names.

WEIRD = b"\x1b[31mred\nline\xff\xe2\x80\xae.wav"


def test_a_name_can_not_steer_the_terminal(judge: Recognizer, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / os.fsdecode(WEIRD)
    path.write_bytes(sounds.encode(sounds.voice(), 16_000, "wav-16"))
    (tmp_path / os.fsdecode(b"\x1b]0;title\x07.wav")).write_bytes(b"no sound")
    shown = rf"{tmp_path}/\x1b[31mred\nline\udcff\u202e.wav"
    assert command.main([str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0].startswith(f"{shown}: ")
    assert captured.err.startswith(rf"{tmp_path}/\x1b]0;title\x07.wav: ")
    for text in (captured.out, captured.err):
        assert all(character.isprintable() or character == "\n" for character in text)
    assert command.main([str(tmp_path), "--format", "csv"]) == 1
    assert {row["source"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))} >= {shown}


def test_json_keeps_a_strange_name_as_it_is(judge: Recognizer, tmp_path: Path, capsys: Capture) -> None:
    path = os.fsencode(tmp_path) + b"/" + WEIRD
    Path(os.fsdecode(path)).write_bytes(sounds.encode(sounds.voice(), 16_000, "wav-16"))
    for form in ("json", "jsonl"):
        assert command.main([str(tmp_path), "--format", form]) == 0
        out = capsys.readouterr().out
        assert out.isascii()
        (record,) = json.loads(out) if form == "json" else [json.loads(out)]
        assert os.fsencode(record["source"]) == path


def test_a_terminal_without_unicode_gets_escapes(tmp_path: Path) -> None:
    model = bundles.make(tmp_path / "model").folder
    path = sounds.write(tmp_path, sounds.voice(), 16_000, stem="Straße-声")
    for form in ("text", "csv", "json"):
        code, out, error = run(
            path, "--model", model, "--format", form, env={**os.environ, "PYTHONIOENCODING": "ascii"}
        )
        assert (code, error) == (0, "")
        assert "Stra\\xdfe-\\u58f0" in out or "Stra\\u00dfe-\\u58f0" in out


# A reader that goes away, and an interrupt.


def test_a_reader_that_went_away_ends_it_quietly(voices: Path, tmp_path: Path) -> None:
    model = bundles.make(tmp_path / "model").folder
    for form in ("text", "jsonl"):
        process = start(*[voices] * 20, "--model", model, "--format", form)
        assert process.stdout is not None
        assert process.stdout.readline() != ""
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 141


def test_an_interrupt_does_not_wait_for_what_is_being_judged(voices: Path) -> None:
    """As a recording of ten minutes would be."""
    code = (
        "import runpy, sys, time\n"
        "from ser_core import recognizer\n"
        "class Slow:\n"
        "    def predict(self, path):\n"
        "        print('begun\\n', end='', flush=True)\n"
        "        time.sleep(600)\n"
        "recognizer.load = lambda model, precision: Slow()\n"
        "runpy.run_module('ser_core', run_name='__main__', alter_sys=True)\n"
    )
    process = start(*[voices] * 20, code=code)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    try:
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, error) == (130, "")


def test_an_interrupt_ends_it_without_a_traceback(voices: Path, tmp_path: Path) -> None:
    model = bundles.make(tmp_path / "model").folder
    process = start(*[voices] * 400, "--model", model, "--format", "jsonl")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["source"] == in_order(voices)[0]
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error == ""


# The model that ships.


@bundles.needs_shipped
def test_the_command_and_the_library_agree_to_the_bit(voices: Path) -> None:
    shipped = ser_core.load()
    code, out, error = run(voices, "--format", "json")
    assert (code, error) == (0, "")
    assert [without_time(record) for record in json.loads(out)] == [
        expected(shipped, path) for path in in_order(voices)
    ]


@bundles.needs_shipped
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_each_precision_answers(voices: Path, precision: str) -> None:
    code, out, _ = run(in_order(voices)[1], "--format", "json", "--precision", precision)
    assert code == 0
    (record,) = json.loads(out)
    assert record["model"]["precision"] == precision
    assert sum(record["probabilities"].values()) == pytest.approx(1.0, abs=1e-9)
