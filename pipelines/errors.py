"""What can be wrong with a person's data or pipeline, each with its sentence.

UnderstudyError
├── DataError
│   ├── DataMissing
│   ├── DataUnversioned
│   ├── DataDiffers
│   ├── NotATable
│   ├── MixedTypes
│   ├── ColumnsDiffer
│   ├── DataEmpty
│   ├── ContractBroken
│   ├── OneClassOnly
│   └── TooFewRows
├── NoGitRepository
├── EstimatorRefused
├── FitFailed
├── StageMissing
├── IngestFailed
├── TuneError
│   ├── TrialFailed
│   ├── NoTrialSucceeded
│   ├── StudyDiffers
│   ├── ParamsChanged
│   └── ParamsUneditable
└── SparkError
    ├── SparkMissing
    └── SparkFailed
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from registry.errors import UnderstudyError


class DataError(UnderstudyError):
    """The data is not what the pipeline can use."""


class DataMissing(DataError):
    """The data's path does not exist."""

    def __init__(self, path: str, remedies: Iterable[str]) -> None:
        super().__init__(f"there is no data at {path}; {' or '.join(remedies)} brings it")


class DataUnversioned(DataError):
    """The data has no .dvc file."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is not versioned; run `dvc add {path}`")


class DataDiffers(DataError):
    """The data is not the version its .dvc file names."""

    def __init__(self, path: str, recorded: str, found: str, source: str | None = None) -> None:
        without_cache = f" ({source} where DVC's cache lacks it)" if source else ""
        super().__init__(
            f"{path} is not the version that {path}.dvc names (it is {found}, recorded is "
            f"{recorded}); `dvc add {path}` makes it the next version, "
            f"`dvc checkout {path} --force` brings the recorded one back{without_cache}"
        )


class NotATable(DataError):
    """A file that cannot be read as what its name says."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} is not a CSV or Parquet table: {why}")


class MixedTypes(DataError):
    """More than one type of file."""

    def __init__(self, path: str, counts: dict[str, int]) -> None:
        shown = ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items()))
        super().__init__(
            f"{path} holds more than one type of file ({shown}); keep only CSV or only Parquet"
        )


class ColumnsDiffer(DataError):
    """Files of one table with different columns."""

    def __init__(self, first: str, other: str, columns: Sequence[str]) -> None:
        super().__init__(
            f"{first} and {other} do not have the same columns: "
            f"only one of them has {', '.join(columns)}"
        )


class DataEmpty(DataError):
    """A table without rows."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} has no rows; remove it or put rows into it")


class ContractBroken(DataError):
    """The table breaks the column contract; all violations are named at once."""

    def __init__(self, violations: Sequence[str]) -> None:
        self.violations = tuple(violations)
        lines = "".join(f"\n  - {v}" for v in violations)
        noun = "violation" if len(violations) == 1 else "violations"
        super().__init__(
            f"the data breaks its contract ({len(violations)} {noun}):{lines}\n"
            "correct the data, or section data of params.yaml"
        )


class OneClassOnly(DataError):
    """A classifier needs two classes."""

    def __init__(self, target: str, where: str, classes: Sequence[str]) -> None:
        only = f"only {classes[0]!r}" if classes else "no label at all"
        super().__init__(
            f"column {target} has {only} in {where}; a classifier needs at least two classes there"
        )


class TooFewRows(DataError):
    """A part of the split would be empty."""

    def __init__(self, part: str, total: int) -> None:
        super().__init__(
            f"the {part} part of the split is empty ({total} rows in all); "
            "change data.valid or data.holdout in params.yaml, or bring more rows"
        )


class NoGitRepository(UnderstudyError):
    """The project is not under version control."""

    def __init__(self) -> None:
        super().__init__(
            "this folder is not a git repository with a commit, so no run could be traced to its "
            "code; run `git init`, `git add -A` and `git commit`"
        )


class EstimatorRefused(UnderstudyError):
    """train.estimator cannot be used."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"params.yaml: train.estimator is {path!r}: {why}")


class FitFailed(UnderstudyError):
    """The estimator refused its parameters or the data."""

    def __init__(self, estimator: str, why: str) -> None:
        super().__init__(f"{estimator} could not be fitted: {why}")


class StageMissing(UnderstudyError):
    """A stage was asked to run before the one it reads from."""

    def __init__(self, path: str, stage: str) -> None:
        super().__init__(f"{path} is not there; run `dvc repro {stage}` first")


class IngestFailed(UnderstudyError):
    """The data's source cannot give what was asked."""


class TuneError(UnderstudyError):
    """Tuning cannot go on, or its result cannot be used."""


class TrialFailed(TuneError):
    """The estimator did not take these parameters."""


class NoTrialSucceeded(TuneError):
    """Every trial of a study failed."""

    def __init__(self, study: str, count: int, why: str) -> None:
        noun = "its only trial" if count == 1 else f"all {count} trials"
        super().__init__(
            f"study {study}: {noun} failed, the last one because: {why}; "
            "mend tune.space in params.yaml, and begin another study"
        )


class StudyDiffers(TuneError):
    """A study of that name asked something else."""

    def __init__(self, study: str, differing: Sequence[str]) -> None:
        super().__init__(
            f"study {study} was about other {', '.join(differing)}, and its trials cannot be "
            "compared with new ones; name another study, or none for a new one"
        )


class ParamsChanged(TuneError):
    """params.yaml is not what the study began with."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(
            "params.yaml changed while the study ran, and is left as it is; "
            f"the best values for train.params are {_shown(values)}"
        )


class ParamsUneditable(TuneError):
    """params.yaml is written in a way that cannot be changed piece by piece."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(
            "train.params of params.yaml is not written as simple keys and values, and is left as "
            f"it is; write there by hand: {_shown(values)}"
        )


def _shown(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in values.items())


class SparkError(UnderstudyError):
    """Spark was asked for and cannot be used."""


class SparkMissing(SparkError):
    """There is no pyspark, or no Java."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"engine spark needs {what}; {remedy}, or leave the engine out")


class SparkFailed(SparkError):
    """A job on Spark ended with an error."""

    def __init__(self, why: str) -> None:
        super().__init__(f"Spark gave up: {why}")
