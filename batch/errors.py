"""Errors of batch scoring.

UnderstudyError
└── BatchError
    ├── InputRefused
    │   ├── InputMissing
    │   ├── InputEmpty
    │   ├── InputFormatUnknown
    │   ├── InputMixed
    │   ├── InputUnreadable
    │   ├── InputColumnsMissing
    │   ├── InputColumnsDiffer
    │   ├── InputTypeRefused
    │   ├── InputChanged
    │   └── UrlRefused
    ├── SignatureRefused
    ├── ColumnsRefused
    ├── NoTextFor
    ├── TimeRefused
    ├── OutputTaken
    ├── OutputInsideInput
    ├── OutputUnwritable
    ├── JobDiffers
    ├── JobRunning
    ├── JobInterrupted
    ├── EveryRowRejected
    ├── ModelUnusable
    ├── ModelFails
    ├── AnswerUnusable
    └── WorkerDied
"""

from __future__ import annotations

from collections.abc import Sequence

from registry.errors import UnderstudyError
from registry.settings import without_password

SHOWN = 5
"""Names that a sentence lists."""


class BatchError(UnderstudyError):
    """No output was made."""

    def __init__(self, sentence: str) -> None:
        super().__init__(without_password(sentence))


class InputRefused(BatchError):
    """The input is not what can be scored."""


class InputMissing(InputRefused):
    """Nothing is there."""

    def __init__(self, path: str) -> None:
        super().__init__(f"there is no file or folder {path}")


class InputEmpty(InputRefused):
    """Nothing to score."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"{path} holds no {what}, so there is nothing to score")


class InputFormatUnknown(InputRefused):
    """Neither CSV nor Parquet by its name."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} is neither CSV nor Parquet by its name; names end in .csv, .csv.gz or .parquet"
        )


class InputMixed(InputRefused):
    """CSV and Parquet in one folder."""

    def __init__(self, path: str, one: str, other: str) -> None:
        super().__init__(
            f"{path} mixes CSV and Parquet ({one}, {other}); score each format from its own folder"
        )


class InputUnreadable(InputRefused):
    """A file that is not what its name says, cannot be read or is cut off."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path} cannot be read: {why}")


class InputColumnsMissing(InputRefused):
    """A file lacks columns that every row needs."""

    def __init__(self, path: str, missing: Sequence[str], there: Sequence[str], whose: str) -> None:
        alone = there[0] if len(there) == 1 else ""
        hint = "; fields are separated by commas" if any(c in alone for c in ";\t|") else ""
        super().__init__(
            f"{path} lacks {_listed(missing)}, which {whose}; it has {_listed(there)}{hint}"
        )


class InputColumnsDiffer(InputRefused):
    """The files of a folder are not of one table."""

    def __init__(self, path: str, column: str, first: str) -> None:
        super().__init__(
            f"column {column} is another one in {path} than in {first}; all files of a folder "
            "have the same columns, unless --columns names those that they share"
        )


class InputTypeRefused(InputRefused):
    """A Parquet column that no value of which the model can take."""

    def __init__(self, path: str, column: str, found: str, wanted: str) -> None:
        super().__init__(
            f"{path}: column {column} is {found}, and the model takes {wanted}; convert it first"
        )


class InputChanged(InputRefused):
    """A file was written to while it was read."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} changed while it was scored, so the output would be of no one state of it; "
            "score it again with --restart"
        )


class UrlRefused(InputRefused):
    """No file system for such a URL."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"{url} cannot be opened: {why}")


class SignatureRefused(BatchError):
    """A model whose signature does not say which columns it takes."""

    def __init__(self, version: int, why: str) -> None:
        super().__init__(
            f"v{version} cannot score tables: {why}; log the model with a signature of named "
            "columns of plain types"
        )


class ColumnsRefused(BatchError):
    """Two columns of the output would have one name."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            f"{_listed(names)} would be in the output twice, from the input and from the "
            "prediction; choose the input columns to pass on with --columns"
        )


class NoTextFor(BatchError):
    """A column of lists or structures, and an output of text."""

    def __init__(self, path: str, column: str, found: str) -> None:
        super().__init__(
            f"{path}: column {column} is {found}, which CSV cannot hold; write Parquet (--format, "
            "or an output that ends in .parquet), or leave it out with --columns"
        )


class TimeRefused(BatchError):
    """No moment."""

    def __init__(self, text: str) -> None:
        super().__init__(f"--at {text!r} is no moment with its zone, such as 2026-01-31T06:00:00Z")


class OutputTaken(BatchError):
    """Something is there already."""

    def __init__(self, output: str) -> None:
        super().__init__(
            f"{output} exists and is left as it is; name another output, or remove it first"
        )


class OutputInsideInput(BatchError):
    """The next job would read the output of this one."""

    def __init__(self, output: str, given: str) -> None:
        super().__init__(f"the output {output} lies in the input {given}; name one outside it")


class OutputUnwritable(BatchError):
    """The disk is full, or the folder belongs to somebody else."""

    def __init__(self, output: str, why: str) -> None:
        super().__init__(
            f"{output} cannot be written: {why}; once it can, the same command goes on with what "
            "was done until then"
        )


class JobDiffers(BatchError):
    """An interrupted job of this output was another one."""

    def __init__(self, output: str, differences: Sequence[str]) -> None:
        super().__init__(
            f"an interrupted job of {output} was another one ({'; '.join(differences)}); give "
            "the same command again to go on with it, or --restart to forget it"
        )


class JobRunning(BatchError):
    """Two of the same job at once."""

    def __init__(self, output: str) -> None:
        super().__init__(f"another process is making {output}; wait for it, or end it first")


class JobInterrupted(BatchError):
    """Ctrl-C, SIGTERM."""

    def __init__(self, rows: int) -> None:
        super().__init__(
            f"interrupted; {rows:,} rows are done and kept, the same command goes on with them"
        )


class EveryRowRejected(BatchError):
    """Nothing was predicted; the rejects file says why of each row."""

    def __init__(self, rows: int, reason: str, rejects: str) -> None:
        super().__init__(
            f"each of the {rows:,} rows was rejected, the first one because of {reason!r}; "
            f"all of them are in {rejects}"
        )


class ModelUnusable(BatchError):
    """The model does not load, or not here."""

    def __init__(self, version: int, why: str) -> None:
        super().__init__(
            f"v{version} cannot be loaded here ({why}); its file requirements.txt names what it "
            "needs"
        )


class ModelFails(BatchError):
    """It answers nothing at all."""

    def __init__(self, version: int, rows: int, kind: str) -> None:
        super().__init__(
            f"v{version} fails on each of the {rows:,} rows that were tried ({kind}); nothing "
            "was predicted"
        )


class AnswerUnusable(BatchError):
    """The model's answer is no table with a row for each row."""

    def __init__(self, version: int, why: str) -> None:
        super().__init__(f"the answer of v{version} cannot be written: {why}")


class WorkerDied(BatchError):
    """A process was killed, mostly because memory ran out."""

    def __init__(self, code: int | None) -> None:
        super().__init__(
            f"a process that predicts ended unexpectedly (exit code {code}), often for lack of "
            "memory; give the same command again to go on, with a smaller --processes, or with "
            "--restart and a smaller --chunk-rows"
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
