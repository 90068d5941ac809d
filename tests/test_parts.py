"""The folder of a corpus' answers: written whole or not at all, no source twice, nothing of anybody else's touched."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from ser_core import journal, parts, rows
from ser_core.errors import OutputError
from ser_core.journal import Stamp
from ser_core.records import Record
from ser_core.sources import Place
from tests import bundles, fakes
from tests.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ser_core.parts import Parts

INFO = bundles.INFO
SEEN = Stamp(10, 1_700_000_000_123_456_789)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "answers"


@pytest.fixture
def kept(out: Path) -> Iterator[Parts]:
    with parts.opened(Place.of(str(out)), INFO) as opened:
        opened.begin()
        yield opened


def put(kept: Parts, *sources: str, failed: bool = False, run: str | None = None, number: int = 1) -> str:
    """Write a part with a row for each of these sources; its name."""
    records = [Record(one, None if failed else fakes.answer(), "It is empty." if failed else None) for one in sources]
    name = parts.part_name(run or uuid.uuid4().hex, number)
    kept.folder.write(name, rows.table([(record, SEEN) for record in records], INFO))
    return name


def names(out: Path) -> list[str]:
    return sorted(path.name for path in out.iterdir())


def listed(out: Path) -> list[str]:
    """The sources of all rows, as whoever reads the folder finds them."""
    return sorted(source for path in out.glob("*.parquet") for source in parquet.read_table(path)["source"].to_pylist())


def test_a_row_is_found_again_with_what_its_recording_looked_like(kept: Parts) -> None:
    name = put(kept, "a", "b")
    other = put(kept, "c", failed=True)
    found = kept.rows()
    assert found["b"] == (name, 1, SEEN, None)
    assert found["c"] == (other, 0, SEEN, "It is empty.")
    assert list(found) == ["a", "b", "c"]


def test_a_part_that_is_written_again_replaces_itself(kept: Parts, out: Path) -> None:
    run = uuid.uuid4().hex
    for sources in (("a", "b"), ("a", "b", "c")):
        put(kept, *sources, run=run, number=7)
    assert listed(out) == ["a", "b", "c"]
    assert len(names(out)) == 1


def test_a_part_that_could_not_be_written_is_not_seen(kept: Parts, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(kept, "a")
    before = names(out)
    write = parquet.write_table

    def full(table: pa.Table, place: str, **options: Any) -> None:
        write(table, place, **options)
        os.truncate(place, 100)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parquet, "write_table", full)
    with pytest.raises(OSError, match="No space left"):
        put(kept, "b")
    assert list(kept.rows()) == ["a"]
    assert len(names(out)) == 2  # what is unfinished has a name that no reader of Parquet looks at
    kept.begin()
    assert names(out) == before


@pytest.mark.parametrize("left", [0, 4, 1000, -1])
def test_what_a_killed_run_left_half_written_is_taken_away(kept: Parts, out: Path, left: int) -> None:
    put(kept, "a")
    broken = out / put(kept, "b")
    broken.write_bytes(broken.read_bytes()[:left])
    kept.begin()
    assert not broken.exists()
    assert list(kept.rows()) == ["a"]


def test_what_is_somebody_else_s_stays(kept: Parts, out: Path) -> None:
    put(kept, "a")
    others = {
        "notes.txt": b"mine",
        "table.parquet": b"no table",
        ".ser_core-1234.tmp": b"another command's",
        f"{parts.part_name('0' * 32, 1)}.bak": b"mine",
    }
    for name, content in others.items():
        (out / name).write_bytes(content)
    (out / "deeper").mkdir()
    (out / "deeper" / parts.part_name("1" * 32, 1)).write_bytes(b"PAR1")
    # Called like one of ours, but with nothing in it that says so.
    namesake = out / parts.part_name("2" * 32, 1)
    parquet.write_table(pa.table({"x": [1]}), namesake)
    for fresh in (False, True):
        kept.begin(fresh=fresh)
        assert list(kept.rows()) == ([] if fresh else ["a"])
        assert {name: (out / name).read_bytes() for name in others} == others
        assert parquet.read_table(namesake)["x"].to_pylist() == [1]
        assert (out / "deeper" / parts.part_name("1" * 32, 1)).exists()


def test_rows_are_taken_out_and_the_others_stay(kept: Parts, out: Path) -> None:
    whole = out / put(kept, "a", "b", "c")
    put(kept, "d")
    before = {row["source"]: row for row in parquet.read_table(whole).to_pylist()}
    found = kept.rows()
    kept.drop([found["b"], found["d"]])
    assert listed(out) == ["a", "c"]
    assert parquet.read_table(whole).to_pylist() == [before["a"], before["c"]]
    assert parquet.read_schema(whole).equals(rows.schema())
    assert names(out) == [whole.name]
    kept.begin()  # it is still known for ours
    assert list(kept.rows()) == ["a", "c"]


def test_of_two_rows_of_a_source_the_last_one_stays(kept: Parts, out: Path) -> None:
    first = out / put(kept, "a", "b", "c")
    os.utime(first, (1, 1))
    last = put(kept, "b", "d")
    found = kept.rows()
    assert listed(out) == ["a", "b", "c", "d"]
    assert found["b"].part == last
    assert (found["c"].part, found["c"].position) == (first.name, 1)


@pytest.mark.parametrize(
    "changes", [{"name": "other"}, {"version": "9"}, {"revision": "ab12cd34ef"}, {"precision": "int8"}]
)
def test_another_model_is_refused_and_loses_nothing(kept: Parts, out: Path, changes: dict[str, Any]) -> None:
    put(kept, "a", "b")
    other = parts.Parts(Place.of(str(out)), kept.folder._replace(made_by=journal.made_by(replace(INFO, **changes))))
    with pytest.raises(OutputError, match=r"(?s)answers holds the answers for 2 files, by another model.* --fresh"):
        other.begin()
    assert listed(out) == ["a", "b"]
    other.begin(fresh=True)
    assert listed(out) == []


def test_another_version_of_the_program_is_refused(kept: Parts, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(kept, "a")
    monkeypatch.setattr(journal, "program", lambda: "changed")
    with pytest.raises(OutputError, match="another version of this program"):
        parts.Parts(Place.of(str(out)), kept.folder._replace(made_by=journal.made_by(INFO))).begin()


def test_one_run_holds_a_folder_at_a_time(kept: Parts, out: Path) -> None:
    code = (
        "import sys; from ser_core import parts, sources; from tests import bundles\n"
        "with parts.opened(sources.Place.of(sys.argv[1]), bundles.INFO): pass"
    )
    again = subprocess.run([sys.executable, "-c", code, out], cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.stderr.splitlines()[-1] == (
        f"ser_core.errors.OutputError: Another run is writing {out}. Wait until it ends, or name another --out."
    )


def test_a_file_is_no_folder(out: Path) -> None:
    out.write_bytes(b"mine")
    with pytest.raises(OutputError, match="is a file"), parts.opened(Place.of(str(out)), INFO):
        pass
    assert out.read_bytes() == b"mine"
