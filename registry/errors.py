"""The platform's error tree; each class builds its own sentence from values.

UnderstudyError
├── ProjectError
│   ├── ProjectNotFound
│   ├── ParamsMissing
│   └── ParamsInvalid
├── RegistryUnreachable
├── DriverMissing
├── StoreMissing
├── RegistryRefused
├── NotFound
│   ├── ModelNotFound
│   ├── VersionNotFound
│   ├── VersionNotEntered
│   ├── VersionGone
│   ├── ModelGone
│   ├── LedgerEmpty
│   ├── RunNotFound
│   └── NothingInStage
├── IllegalMove
│   ├── AlreadyInStage
│   ├── VersionArchived
│   ├── VersionLive
│   ├── NoFormerVersion
│   ├── NeverInProduction
│   ├── ApprovalRefused
│   ├── ApprovalsMissing
│   ├── AutomationRefused
│   ├── NoChampion
│   ├── ChallengerIsChampion
│   ├── ExperimentRunning
│   ├── NoExperiment
│   ├── WeightRefused
│   └── RuleRefused
├── GateRefused
├── UnknownGate
├── OverrideRefused
├── NotReproducible
│   ├── CommitUnknown
│   ├── DiffMissing
│   ├── DiffRefused
│   ├── RecordAltered
│   ├── DataUnobtainable
│   ├── EnvironmentFailed
│   └── PipelineFailed
├── NotIntact
│   ├── DigestUnknown
│   ├── ArtifactUnfetched
│   └── ArtifactAltered
├── FolderTaken
├── ToleranceRefused
├── LostRace
├── Unfinished
├── LedgerBroken
├── ModelNameRefused
├── ActorRefused
├── NotText
├── ReasonTooLong
└── KeyRefused
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path


class UnderstudyError(Exception):
    """Anything a person can mend; its text is a sentence that says how. Exit code 1."""


class ProjectError(UnderstudyError):
    """The working copy is not what it should be."""


class ProjectNotFound(ProjectError):
    """No params.yaml in this folder or above it."""

    def __init__(self, start: Path) -> None:
        super().__init__(
            f"no params.yaml in {start} or in any folder above it; change into the project, "
            "or name the model with --model and the server with MLFLOW_TRACKING_URI"
        )


class ParamsMissing(ProjectError):
    """params.yaml lacks a section that this command reads."""

    def __init__(self, section: str) -> None:
        super().__init__(
            f"params.yaml has no section {section!r}; add it, docs/parameters.md lists its keys"
        )


class ParamsInvalid(ProjectError):
    """params.yaml has unknown keys or wrong values; all of them are named at once."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("params.yaml: " + "; ".join(problems))


class RegistryUnreachable(UnderstudyError):
    """The tracking server or its database does not answer."""

    def __init__(self, uri: str, why: str) -> None:
        super().__init__(
            f"the MLflow store at {uri} does not answer ({why}); nothing was changed here; "
            "start it, or correct MLFLOW_TRACKING_URI"
        )


class DriverMissing(UnderstudyError):
    """The module that speaks to the store's database is not installed."""

    def __init__(self, uri: str, package: str) -> None:
        known = ", write postgresql+psycopg2:// where that one is," if package == "psycopg" else ""
        super().__init__(
            f"speaking to the MLflow store at {uri} needs the Python module {package}, which is "
            f"not installed; install it here,{known} or name a tracking server in "
            "MLFLOW_TRACKING_URI, which needs none"
        )


class StoreMissing(UnderstudyError):
    """The SQLite file of the store does not exist."""

    def __init__(self, uri: str) -> None:
        super().__init__(
            f"there is no MLflow store at {uri} yet; `dvc repro` makes one with its first run, "
            "`dvc repro --force` does where DVC remembers runs of a store that is gone"
        )


class RegistryRefused(UnderstudyError):
    """MLflow answered, and said no."""

    def __init__(self, uri: str, why: str) -> None:
        super().__init__(f"the MLflow store at {uri} refused the request: {why}")


class NotFound(UnderstudyError):
    """A name that nothing bears."""


class ModelNotFound(NotFound):
    """No registered model of that name."""

    def __init__(self, model: str, known: Iterable[str] = ()) -> None:
        names = ", ".join(sorted(known))
        super().__init__(
            f"no registered model {model!r}; "
            + (f"there are: {names}" if names else "none is registered yet; run `dvc repro`")
        )


class VersionNotFound(NotFound):
    """No such version in the ledger of the model."""

    def __init__(self, model: str, version: int, known: Iterable[int]) -> None:
        self.version = version
        numbers = ", ".join(str(n) for n in sorted(known))
        super().__init__(
            f"{model} has no version {version}; "
            + (f"it has {numbers}" if numbers else "it has none yet; run `dvc repro`")
        )


class VersionNotEntered(NotFound):
    """MLflow has the version, the ledger has not."""

    def __init__(self, model: str, version: int) -> None:
        super().__init__(
            f"version {version} of {model} is in MLflow and not in the ledger; "
            f"`understudy register --version {version}` enters it"
        )


class VersionGone(NotFound):
    """The ledger has the version, MLflow has it no more."""

    def __init__(self, model: str, version: int) -> None:
        super().__init__(
            f"version {version} of {model} is in the ledger and was deleted from MLflow; "
            "it cannot be used again, `understudy status` shows what there is"
        )


class ModelGone(NotFound):
    """The ledger is there, the registered model was deleted."""

    def __init__(self, model: str, entries: int) -> None:
        super().__init__(
            f"registered model {model!r} was deleted from MLflow, and its ledger still has "
            f"{entries} entries; restore the store's backup, or begin again under another name "
            "(registry.model of params.yaml)"
        )


class LedgerEmpty(NotFound):
    """MLflow has the model, and nothing was ever decided of it."""

    def __init__(self, model: str) -> None:
        super().__init__(
            f"{model} has no ledger yet; `understudy register --version VERSION` enters a version "
            "that MLflow has"
        )


class RunNotFound(NotFound):
    """No such run, or a run without a model."""

    def __init__(self, run: str, why: str) -> None:
        super().__init__(
            f"run {run!r} cannot be registered: {why}; `mlflow run . -e train` makes one"
        )


class NothingInStage(NotFound):
    """No version of the model is in that stage."""

    def __init__(self, model: str, stage: str) -> None:
        super().__init__(
            f"{model} has no version in {stage}; "
            f"`understudy promote VERSION --to {stage.lower()}` puts one there"
        )


class IllegalMove(UnderstudyError):
    """A transition that the state of the ledger does not allow."""


class AlreadyInStage(IllegalMove):
    """The version is where it was asked to go."""

    def __init__(self, model: str, version: int, stage: str) -> None:
        super().__init__(
            f"version {version} of {model} is already in {stage}; there is nothing to do"
        )


class VersionArchived(IllegalMove):
    """An archived version was asked to do what only others may."""

    def __init__(
        self,
        model: str,
        version: int,
        *,
        was_live: bool,
        wish: str = "be promoted to Production",
    ) -> None:
        way = (
            f"`understudy rollback --to {version}` brings it back, it was in Production before"
            if was_live
            else f"`understudy promote {version} --to staging` takes it out of the archive first"
        )
        super().__init__(f"version {version} of {model} is archived and cannot {wish}; {way}")


class NoChampion(IllegalMove):
    """There is nothing that a challenger could be compared with."""

    def __init__(self, model: str) -> None:
        super().__init__(
            f"no version of {model} is in Production, so none can be challenged; "
            "`understudy promote VERSION --to production` comes first"
        )


class ChallengerIsChampion(IllegalMove):
    """A version cannot be compared with itself."""

    def __init__(self, model: str, version: int) -> None:
        super().__init__(
            f"version {version} of {model} is in Production; the challenger is to be another one"
        )


class ExperimentRunning(IllegalMove):
    """One experiment at a time, so that each has a cause for what it sees."""

    def __init__(self, model: str, challenger: int, mode: str) -> None:
        super().__init__(
            f"version {challenger} of {model} gets traffic already ({mode}); "
            "`understudy traffic stop` ends that, `understudy traffic weight` changes its share"
        )


class NoExperiment(IllegalMove):
    """There is no challenger."""

    def __init__(self, model: str) -> None:
        super().__init__(
            f"all traffic of {model} goes to one version; "
            "`understudy traffic canary VERSION --weight 5%` lets another one try"
        )


class WeightRefused(IllegalMove):
    """A share that is none."""

    def __init__(self, weight: float, most: str) -> None:
        super().__init__(
            f"a weight of {weight:g} is no share; it lies above 0 and {most} 1, as 0.05 or 5%"
            + ("; all of the traffic is a promotion" if weight == 1 else "")
        )


class RuleRefused(IllegalMove):
    """An experiment whose end cannot be agreed upon like that."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(
            f"no experiment can begin with this: {'; '.join(problems)}; docs/parameters.md says "
            "what `experiment` may hold"
        )


class VersionLive(IllegalMove):
    """The Production version was asked to leave with nothing in its place."""

    def __init__(self, model: str, version: int, wish: str) -> None:
        super().__init__(
            f"version {version} of {model} is in Production and cannot be {wish}; "
            "promote another version or roll back first"
        )


class NoFormerVersion(IllegalMove):
    """Rollback with nothing to go back to."""

    def __init__(self, model: str) -> None:
        super().__init__(
            f"{model} has no former Production version to roll back to; "
            "`understudy history` shows what was live"
        )


class NeverInProduction(IllegalMove):
    """Rollback to a version that is not among the former Production versions."""

    def __init__(self, model: str, version: int, former: Iterable[int]) -> None:
        numbers = ", ".join(str(n) for n in dict.fromkeys(former))
        super().__init__(
            f"version {version} of {model} is not among its former Production versions "
            f"({numbers}); `understudy promote {version} --to staging` and then `--to production` "
            "takes it through the gates"
        )


class ApprovalRefused(IllegalMove):
    """An approval by somebody whose approval says nothing."""

    def __init__(self, model: str, version: int, actor: str, why: str) -> None:
        super().__init__(f"{actor} cannot approve version {version} of {model}: {why}")


class ApprovalsMissing(IllegalMove):
    """A promotion that too few have approved."""

    def __init__(self, model: str, version: int, needed: int, by: Sequence[str]) -> None:
        have = f"{len(by)} ({', '.join(by)})" if by else "none"
        super().__init__(
            f"version {version} of {model} needs {needed} approvals by others than who promotes, "
            f"trained or registered it, and has {have}; `understudy approve {version}` gives one"
        )
        self.page = ""
        """What the gates say, where a dry run asked them all the same."""


class AutomationRefused(IllegalMove):
    """A program asked for what only a person may."""

    def __init__(self, actor: str, wish: str, why: str) -> None:
        super().__init__(f"{actor} may not do this ({wish}): {why}")


class GateRefused(UnderstudyError):
    """A promotion, or a share of the traffic, that a gate refused; nothing was changed."""

    def __init__(
        self,
        model: str,
        version: int,
        failures: Sequence[str],
        report: str = "",
        page: str = "",
        *,
        traffic: bool = False,
    ) -> None:
        self.failures = tuple(failures)
        self.page = page
        super().__init__(
            f"version {version} of {model} {'gets no traffic' if traffic else 'was not promoted'}: "
            + "; ".join(failures)
            + ("; nothing was changed" if traffic else "; no stage was changed")
            + (f"; the report is {report} in its run" if report else "")
        )


class UnknownGate(UnderstudyError):
    """An override of a gate that does not exist."""

    def __init__(self, name: str, gates: Iterable[str]) -> None:
        super().__init__(f"there is no gate {name[:80]!r}; there are {', '.join(gates)}")


class OverrideRefused(UnderstudyError):
    """An override without a reason, or by a program."""

    def __init__(self, why: str) -> None:
        super().__init__(f"a gate is not overridden: {why}")


class NotIntact(UnderstudyError):
    """The files of a version cannot be held to be those that were registered."""


class DigestUnknown(NotIntact):
    """A version that was entered without the digest of its files."""

    def __init__(self, version: int) -> None:
        super().__init__(f"the ledger has no digest of v{version}; register it anew")


class ArtifactUnfetched(NotIntact):
    """The artifact store did not give the files."""

    def __init__(self, version: int, why: str) -> None:
        super().__init__(f"the artifact of v{version} cannot be fetched ({why})")


class ArtifactAltered(NotIntact):
    """The files are others than those that were registered."""

    def __init__(self, version: int, said: str, wanted: str) -> None:
        super().__init__(
            f"the artifact of v{version} is not what was registered: its digest is {said[:12]} "
            f"and the ledger has {wanted[:12]}"
        )


class NotReproducible(UnderstudyError):
    """A version that could not be made again, so that nothing can be said of it."""


class CommitUnknown(NotReproducible):
    """The repository does not hold the commit of a version."""

    def __init__(self, commit: str) -> None:
        super().__init__(
            f"commit {commit} is not in this repository; `git fetch` may bring it, or work in the "
            "repository that the version was trained in"
            if commit
            else "the record of the version names no commit, so its code cannot be found"
        )


class DiffMissing(NotReproducible):
    """A version of uncommitted code that was not kept."""

    def __init__(self, version: int, commit: str) -> None:
        super().__init__(
            f"version {version} was trained with uncommitted changes on commit {commit[:12]}, and "
            "they were not kept with its run; what was trained cannot be known; "
            "commit before you train, or keep large files out of git with .gitignore"
        )


class DiffRefused(NotReproducible):
    """Kept changes that do not fit their commit."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the changes kept with the run do not apply to its commit: {why}")


class RecordAltered(NotReproducible):
    """What a run kept is not what the ledger was told of it."""

    def __init__(self, version: int, run: str) -> None:
        super().__init__(
            f"what the run of version {version} keeps of its origin is not what the ledger has "
            f"the hash of; nothing of it was run; compare the artifacts of run {run} with a backup"
        )


class DataUnobtainable(NotReproducible):
    """The data version is nowhere to be had."""

    def __init__(self, md5: str, tried: Sequence[str]) -> None:
        super().__init__(
            f"data version {md5 or '(none)'} cannot be had: {'; '.join(tried)}; "
            "bring it into DVC's cache with `dvc add` or `dvc fetch`, or configure the remote"
        )


class EnvironmentFailed(NotReproducible):
    """The environment of a version could not be built."""

    def __init__(self, step: str, why: str) -> None:
        super().__init__(f"the environment of the version cannot be built: {step}: {why}")


class PipelineFailed(NotReproducible):
    """The pipeline of a version did not run to its end."""

    def __init__(self, step: str, why: str) -> None:
        super().__init__(
            f"the version could not be made again, {step} failed: {why}; "
            "`--keep FOLDER` keeps the whole log"
        )


class FolderTaken(UnderstudyError):
    """A folder to write to that has something in it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"{folder} is not an empty folder; name another one, or one to be made")


class ToleranceRefused(UnderstudyError):
    """A tolerance that nothing can be held against."""

    def __init__(self, tolerance: float) -> None:
        super().__init__(f"the tolerance is {tolerance:g}; it must be a finite number from 0 up")


class LostRace(UnderstudyError):
    """Somebody else changed the same model in the same moment."""

    def __init__(self, model: str, wish: str, now: str) -> None:
        super().__init__(
            f"not done: {wish} ({model}), because somebody else changed it in the same moment; "
            f"now {now}; look at `understudy history` and ask again if you still want it"
        )


class Unfinished(UnderstudyError):
    """The store failed after a decision was sent to it; `number` where its entry counts."""

    def __init__(self, model: str, wish: str, why: str, number: int | None = None) -> None:
        self.number = number
        done = (
            f"{wish} ({model}) was sent and not confirmed; `understudy history` says whether it "
            "counts"
            if number is None
            else f"{wish} ({model}) counts, as entry {number} of the ledger, and MLflow does not "
            "show it yet; the next command, or `understudy repair`, finishes it"
        )
        super().__init__(f"{done}; {why.replace('nothing was changed here; ', '')}")


class LedgerBroken(UnderstudyError):
    """The chain of entries does not hold."""

    def __init__(self, model: str, number: int, why: str) -> None:
        self.number = number
        super().__init__(f"the ledger of {model} is broken at entry {number}: {why}")


class ModelNameRefused(UnderstudyError):
    """A name that no model can have."""

    def __init__(self, model: str, why: str) -> None:
        super().__init__(f"{model[:80]!r} cannot be a model's name: {why}")


class ActorRefused(UnderstudyError):
    """A name that nobody can be known by."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the actor {why}; name one with --actor or UNDERSTUDY_ACTOR, at most 200 characters "
            "in one line"
        )


class NotText(UnderstudyError):
    """An actor or a reason that cannot be written down."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the {what} holds bytes that are not UTF-8 text; write it in UTF-8")


class ReasonTooLong(UnderstudyError):
    """A reason that is more than a reason."""

    def __init__(self, length: int, limit: int) -> None:
        super().__init__(
            f"the reason has {length:,} characters, at most {limit:,} are kept; "
            "put the long text where it can be linked"
        )


class KeyRefused(UnderstudyError):
    """A signing key that is missing, unreadable, or somebody else's."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the entry cannot be signed: {why}; `understudy key --help` says how")
