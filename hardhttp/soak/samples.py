"""What a run saw, one line at a time, in a file that outlives the run.

``samples.csv`` is written as the samples come. Each line goes to the system in one call, so after a ``kill -9`` a
line is whole or absent; if the disk was full and a line is torn nevertheless, readers pass over it, and whoever
opens the file to go on cuts it off first. Names hold no line ends, therefore a line of the file is a sample.

The columns are the fields of ``Sample``, by name, in order. An empty cell is a figure that could not be had.
Counts of the honest client (``honest_requests``, ``honest_failures``) are of the time since the sample before,
and so are its percentiles. All else is what was so at that moment.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import attrs

__all__ = ["PHASES", "Sample", "SampleFile", "last_line_end", "read_samples"]

PHASES = ("baseline", "load", "rest")
MAX_NAME_CHARACTERS = 200
# A line of the longest names and figures is far shorter.
MAX_LINE_BYTES = 8192


def _name(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if len(value) > MAX_NAME_CHARACTERS or not value.isprintable():
        raise ValueError(f"{attribute.name} {value[:40]!r}: up to {MAX_NAME_CHARACTERS} printable characters")


def _phase(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if value not in PHASES:
        raise ValueError(f"phase is {value[:40]!r}, which is none of {', '.join(PHASES)}")


@attrs.frozen
class Sample:
    """One look at one server."""

    seconds: float  # since the run began
    server: str = attrs.field(validator=_name)  # its name in the report
    scenario: str = attrs.field(validator=_name)  # "" between scenarios
    round: int  # from 1
    phase: str = attrs.field(validator=_phase)
    rss_bytes: int  # resident, of the process and its children
    pss_bytes: int | None
    uss_bytes: int | None
    descriptors: int
    threads: int
    cpu_seconds: float
    processes: int
    honest_p50_ms: float | None
    honest_p99_ms: float | None
    honest_requests: int
    honest_failures: int
    ledger_bytes: int | None = None  # these four are what hardhttp's admin side says, where it is asked
    connections: int | None = None
    collected: int | None = None  # objects that only the garbage collector could free, since the process began
    traced_bytes: int | None = None  # what Python has allocated, while tracemalloc traces


COLUMNS = tuple(field.name for field in attrs.fields(Sample))
# Annotations are texts here: "int | None" is read by int, and may be empty.
_KINDS = {field.name: str(field.type).partition(" ")[0] for field in attrs.fields(Sample)}
_OPTIONAL = {field.name for field in attrs.fields(Sample) if str(field.type).endswith("None")}


class SampleFile:
    """Samples on their way to ``path``. A file that is there is gone on with.

    Raises ``ValueError`` if it has other columns. It is a context manager, and closes with it.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(self._fd, last_line_end(self._fd))
            if os.fstat(self._fd).st_size == 0:
                self._append(COLUMNS)
            else:
                _check_columns(self.path, os.pread(self._fd, MAX_LINE_BYTES, 0).partition(b"\n")[0].decode("utf-8"))
        except BaseException:
            self.close()
            raise

    def write(self, sample: Sample) -> None:
        """Raises ``OSError`` when the line was not written whole; the next line begins afresh."""
        self._append("" if value is None else value for value in attrs.astuple(sample))

    def _append(self, cells: Iterable[Any]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(cells)
        line = text.getvalue().encode("utf-8")
        size = os.fstat(self._fd).st_size
        if os.write(self._fd, line) != len(line):
            os.ftruncate(self._fd, size)
            raise OSError(f"{self.path}: a sample was not written whole; is the disk full?")

    def close(self) -> None:
        """Twice does no harm."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> SampleFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def last_line_end(fd: int) -> int:
    """How many bytes of the open file are whole lines."""
    size = end = os.fstat(fd).st_size
    while end > 0:
        begin = max(0, end - MAX_LINE_BYTES)
        found = os.pread(fd, end - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return min(size, end)


def read_samples(path: Path | str) -> Iterator[Sample]:
    """The samples of a file, in order, whoever else may be writing to it.

    Raises ``OSError``, or ``ValueError`` naming the line, for what no ``SampleFile`` writes.
    """
    with open(path, encoding="utf-8", newline="") as lines:
        whole = (line for line in lines if line.endswith("\n"))
        _check_columns(Path(path), next(whole, ""))
        for number, line in enumerate(whole, 2):
            try:
                yield _sample(next(csv.reader([line])))
            except (ValueError, TypeError, StopIteration, csv.Error) as error:
                raise ValueError(f"{path}, line {number}: {error}") from None


def _check_columns(path: Path, header: str) -> None:
    if header.rstrip("\n") != ",".join(COLUMNS):
        raise ValueError(f"{path} does not begin with the columns of samples: {','.join(COLUMNS)}")


def _sample(cells: list[str]) -> Sample:
    if len(cells) != len(COLUMNS):
        raise ValueError(f"{len(cells)} cells, not {len(COLUMNS)}")
    return Sample(**{name: _value(name, cell) for name, cell in zip(COLUMNS, cells)})


def _value(name: str, cell: str) -> Any:
    if not cell and name in _OPTIONAL:
        return None
    try:
        return {"int": int, "float": float, "str": str}[_KINDS[name]](cell)
    except ValueError:
        raise ValueError(f"{name} is {cell[:40]!r}") from None
