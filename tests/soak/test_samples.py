"""The file of samples: what is written is read, and a run that was killed can go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardhttp.soak.samples import COLUMNS, MAX_NAME_CHARACTERS, Sample, SampleFile, read_samples
from tests.twistd_process import ENVIRONMENT, ROOT

SAMPLE = Sample(
    seconds=1.25,
    server='twisted.web, "26.10"',
    scenario="drip_head",
    round=1,
    phase="load",
    rss_bytes=41_000_000,
    pss_bytes=None,
    uss_bytes=0,
    descriptors=12,
    threads=1,
    cpu_seconds=0.5,
    processes=2,
    honest_p50_ms=1.5,
    honest_p99_ms=None,
    honest_requests=10,
    honest_failures=0,
)

names = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), max_size=30)
counts = st.integers(0, 1 << 50)
figures = st.floats(0, 1e9)
samples = st.builds(
    Sample,
    figures,
    names,
    names,
    st.integers(1, 1000),
    st.sampled_from(["baseline", "load", "rest"]),
    counts,
    st.none() | counts,
    st.none() | counts,
    counts,
    counts,
    figures,
    counts,
    st.none() | figures,
    st.none() | figures,
    counts,
    counts,
    st.none() | counts,
    st.none() | counts,
)


@settings(max_examples=30)
@given(st.lists(samples, max_size=5))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, written: list[Sample]) -> None:
    path = tmp_path_factory.mktemp("s") / "samples.csv"
    with SampleFile(path) as file:
        for sample in written:
            file.write(sample)
    assert list(read_samples(path)) == written
    assert path.read_bytes().count(b"\n") == len(written) + 1


def test_a_file_cut_at_any_byte_is_read_and_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "samples.csv"
    with SampleFile(path) as file:
        for number in range(2):
            file.write(attrs.evolve(SAMPLE, round=number + 1))
    content = path.read_bytes()
    header = content.index(b"\n") + 1
    for length in range(len(content) + 1):
        path.write_bytes(content[:length])
        whole = max(0, content[:length].count(b"\n") - 1)
        if length >= header:
            assert [sample.round for sample in read_samples(path)] == list(range(1, whole + 1))
        with SampleFile(path) as file:
            file.write(attrs.evolve(SAMPLE, round=99))
        assert [sample.round for sample in read_samples(path)] == [*range(1, whole + 1), 99]


@pytest.mark.slow
def test_kill_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "samples.csv"
    script = (
        "from hardhttp.soak.samples import SampleFile\nfrom tests.soak.test_samples import SAMPLE\n"
        f"file = SampleFile({str(path)!r})\nfile.write(SAMPLE)\nprint(flush=True)\nwhile True: file.write(SAMPLE)"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    found = list(read_samples(path))
    assert found
    assert set(found) == {SAMPLE}
    assert path.read_bytes().endswith(b"\n")


def test_a_full_disk_leaves_no_torn_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "samples.csv"
    write = os.write
    with SampleFile(path) as file:
        monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:10]))
        with pytest.raises(OSError, match="disk full"):
            file.write(SAMPLE)
        monkeypatch.undo()
        file.write(SAMPLE)
    assert list(read_samples(path)) == [SAMPLE]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "does not begin with the columns"),
        ("a,b\n1,2\n", "does not begin with the columns"),
        (",".join(COLUMNS) + "\n1,2\n", "line 2: 2 cells, not 20"),
        (",".join(COLUMNS) + "\n\n", "line 2"),
        (",".join(COLUMNS) + "\nx,s,,1,load,1,,,1,1,1,1,,,1,1,,,,\n", "line 2: seconds is 'x'"),
        (",".join(COLUMNS) + "\n1,s,,1,load,1,,,,1,1,1,,,1,1,,,,\n", "line 2: descriptors is ''"),
        (",".join(COLUMNS) + "\n1,s,,1,work,1,,,1,1,1,1,,,1,1,,,,\n", "line 2: phase is 'work'"),
    ],
)
def test_what_no_run_writes_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "samples.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        list(read_samples(path))


def test_another_file_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("mine\n")
    with pytest.raises(ValueError, match="columns of samples"):
        SampleFile(path)
    assert path.read_text() == "mine\n"


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\0b", "x" * (MAX_NAME_CHARACTERS + 1)])
def test_a_name_is_one_line(name: str) -> None:
    attrs.evolve(SAMPLE, server="x" * MAX_NAME_CHARACTERS)
    with pytest.raises(ValueError, match="printable"):
        attrs.evolve(SAMPLE, server=name)
