"""Tuning: what is tried, what is kept of it in MLflow, and what goes into params.yaml."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from sklearn.tree import DecisionTreeClassifier

from pipelines import model, paths, schema, spark, tune, tune_apply, tune_plots
from pipelines.errors import (
    NoTrialSucceeded,
    ParamsChanged,
    ParamsUneditable,
    SparkFailed,
    SparkMissing,
    StudyDiffers,
)
from pipelines.params import DataParams
from pipelines.tune_params import Dimension, tune_params
from registry.errors import ParamsInvalid
from registry.settings import load_yaml
from tests.conftest import Project
from tests.tiny import table

quick = hypothesis_settings(deadline=None, max_examples=60)
SPACE: dict[str, Any] = {
    "max_depth": {"low": 1, "high": 8},
    "min_samples_leaf": {"low": 5, "high": 95, "step": 10},
    "min_impurity_decrease": {"low": 0.0001, "high": 0.1, "log": True},
    "criterion": {"choices": ["gini", "entropy"]},
}
TODAY = {
    "max_depth": 8, "min_samples_leaf": 5, "min_impurity_decrease": 0.0001, "criterion": "gini",
}  # fmt: skip
BROKEN = {"ccp_alpha": {"choices": [-1.0, 0.0]}}
SPARK = spark.missing()
needs_spark = pytest.mark.skipif(SPARK is not None, reason=str(SPARK))


class Workshop:
    """A project with prepared rows, the held-out ones left out, and an empty store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.said: list[str] = []

    def params(self, **sections: Any) -> None:
        base = {
            "data": {"target": "y", "problem": "binary", "positive": "yes"},
            "train": {"estimator": "sklearn.tree.DecisionTreeClassifier", "params": dict(TODAY)},
            "evaluate": {},
            "registry": {"model": "m"},
            "tune": {"space": SPACE},
        }
        text = yaml.safe_dump({**base, **sections}, sort_keys=False)
        (self.root / "params.yaml").write_text(text)

    def tune(
        self, study: str = "s", *, say: tune.Say | None = None, on_spark: bool = False, **given: Any
    ) -> tune.Found:
        asked, tuned = tune.objective(self.root)
        tuned = tuned.model_copy(update=given)
        return tune.tune(
            self.root, asked, tuned, study, on_spark=on_spark, say=say or self.said.append
        )

    def command(self, *arguments: str) -> Result:
        with contextlib.chdir(self.root):
            return CliRunner().invoke(tune.main, arguments)

    def runs(self) -> list[Any]:
        """Those of the experiment, the study's first."""
        import mlflow

        client = mlflow.MlflowClient(f"sqlite:///{self.root}/mlflow.db")
        found = client.search_runs([client.get_experiment_by_name("m-tuning").experiment_id])
        return sorted(found, key=lambda r: int(r.data.tags.get("numbers", -1)))

    def files(self, run: str, folder: str = "") -> set[str]:
        import mlflow

        client = mlflow.MlflowClient(f"sqlite:///{self.root}/mlflow.db")
        return {f.path for f in client.list_artifacts(run, folder)}


@pytest.fixture
def make_workshop(migrated: Path, tmp_path: Path) -> Callable[[str], Workshop]:
    def make(name: str) -> Workshop:
        made = Workshop(tmp_path / name)
        (made.root / paths.PREPARED).mkdir(parents=True)
        shutil.copy2(migrated, made.root / "mlflow.db")
        made.params()
        rows = table(400, 5)
        told = DataParams(target="y", problem="binary", positive="yes")
        schema.resolve(rows, told).write(made.root / paths.CONTRACT)
        rows[:250].to_parquet(made.root / paths.PREPARED / "train.parquet", index=False)
        rows[250:].to_parquet(made.root / paths.PREPARED / "valid.parquet", index=False)
        return made

    return make


@pytest.fixture
def workshop(make_workshop: Callable[[str], Workshop]) -> Workshop:
    return make_workshop("work")


@pytest.fixture(autouse=True)
def _handlers_as_they_were() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def tried(found: tune.Found) -> list[Mapping[str, Any]]:
    return [t.params for t in found.trials]


# What is tried


def test_the_same_seed_tries_the_same_and_another_seed_something_else(
    make_workshop: Callable[[str], Workshop],
) -> None:
    # Beyond the ten with which the sampler begins at random.
    first, again, other = (
        make_workshop(name).tune(name, trials=trials, seed=seed)
        for name, seed, trials in [("a", 1, 12), ("b", 1, 12), ("c", 2, 2)]
    )
    assert tried(first) == tried(again)
    assert [t.value for t in first.trials] == [t.value for t in again.trials]
    assert tried(first)[1] != tried(other)[1]
    assert [t.number for t in first.trials] == list(range(12))
    assert first.best is not None
    assert first.best.value == max(t.value or 0 for t in first.trials)


def test_a_trial_is_scored_as_scikit_learn_scores_it_on_the_validation_rows(
    workshop: Workshop,
) -> None:
    rows = table(400, 5)
    known, valid = rows[:250], rows[250:]
    for trial in workshop.tune(trials=4).trials:
        tree = DecisionTreeClassifier(random_state=0, **trial.params)
        tree.fit(known[["a", "b"]], known["y"])
        chance = tree.predict_proba(valid[["a", "b"]])[:, 1]
        assert trial.value == pytest.approx(roc_auc_score(valid["y"] == "yes", chance), abs=1e-12)


def test_the_parameters_of_today_are_tried_first(workshop: Workshop) -> None:
    found = workshop.tune(trials=2)
    assert found.trials[0].params == TODAY
    assert found.best is not None
    assert (found.best.value or 0) >= (found.trials[0].value or 1)


@pytest.mark.parametrize("now", [{}, {**TODAY, "max_depth": 9}, {**TODAY, "criterion": "log_loss"}])
def test_parameters_outside_of_the_space_are_not_tried(
    workshop: Workshop, now: dict[str, Any]
) -> None:
    workshop.params(train={"estimator": "sklearn.tree.DecisionTreeClassifier", "params": dict(now)})
    assert tune.today(tune.objective(workshop.root)[0]) is None


def test_where_less_is_better_the_least_is_the_best(workshop: Workshop) -> None:
    workshop.params(evaluate={"metric": "log_loss"})
    found = workshop.tune(trials=4)
    assert found.best is not None
    assert found.best.value == min(t.value or 9 for t in found.trials)


def test_no_trial_begins_after_the_seconds(workshop: Workshop) -> None:
    found = workshop.tune(trials=1000, seconds=0.001)
    assert len(found.trials) == 1


@pytest.mark.parametrize(
    ("space", "inside", "outside"),
    [
        ({"low": 1, "high": 9}, [1, 5, 9], [0, 10, 5.0, 5.5, True, "5", None]),
        ({"low": 1, "high": 9, "step": 4}, [1, 5, 9], [3, 5.0]),
        ({"low": 0.1, "high": 0.7, "step": 0.2}, [0.1, 0.3, 0.5, 0.7], [0.2, 0.9]),
        ({"low": 0.5, "high": 2, "log": True}, [0.5, 1, 1.7, 2], [0.4, 2.1]),
        ({"choices": [1, None, "x", False]}, [1, None, "x", False], [True, 0, 1.0, "y"]),
    ],
)
def test_what_a_dimension_holds(
    space: dict[str, Any], inside: list[Any], outside: list[Any]
) -> None:
    dimension = Dimension(**space)
    assert all(dimension.holds(value) for value in inside)
    assert not any(dimension.holds(value) for value in outside)


@pytest.mark.parametrize(
    "space",
    [
        {"low": 1, "high": 9}, {"low": 10, "high": 100, "step": 30},
        {"low": 0.1, "high": 0.7, "step": 0.2}, {"low": 0.5, "high": 2},
        {"low": 0.001, "high": 100.0, "log": True}, {"low": 1, "high": 64, "log": True},
        {"choices": ["a", None, 3, 0.5, True]},
    ],
)  # fmt: skip
def test_whatever_is_suggested_lies_in_the_space(space: dict[str, Any]) -> None:
    import optuna

    dimension = Dimension(**space)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3))
    values = [tune.suggest(study.ask(), "p", dimension) for _ in range(60)]
    assert all(dimension.holds(value) for value in values)
    assert len(set(values)) > 2


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"space": {"p": {}}}, "tune.space.p: it needs low and high, or choices"),
        ({"space": {"p": {"low": 1}}}, "tune.space.p: it needs low and high, or choices"),
        ({"space": {"p": {"low": 2, "high": 2}}}, "tune.space.p: low 2 is not below high 2"),
        ({"space": {"p": {"low": "a", "high": 2}}}, "tune.space.p.low is 'a': it is not a number"),
        (
            {"space": {"p": {"low": True, "high": 2}}},
            "tune.space.p.low is True: it is not a number",
        ),
        (
            {"space": {"p": {"low": float("nan"), "high": 2}}},
            "tune.space.p.low is nan: it is not a number",
        ),
        (
            {"space": {"p": {"low": 0, "high": 2, "log": True}}},
            "tune.space.p: log needs a low above 0, and no step",
        ),
        (
            {"space": {"p": {"low": 1, "high": 9, "step": 3}}},
            "tune.space.p: high is not low plus a multiple of step 3",
        ),
        (
            {"space": {"p": {"low": 1, "high": 9, "step": -1}}},
            "tune.space.p: high is not low plus a multiple of step -1",
        ),
        (
            {"space": {"p": {"choices": [1], "low": 1}}},
            "tune.space.p: choices stand alone, without low, high, log and step",
        ),
        ({"space": {"p": {"choices": []}}}, "tune.space.p.choices is []: it is not a list of"),
        (
            {"space": {"p": {"choices": [[1, 2]]}}},
            "tune.space.p.choices is [[1, 2]]: a choice is a word, a number, true, false or null",
        ),
        (
            {"space": {"p": {"lo": 1}}},
            "unknown key tune.space.p.lo",
        ),
        ({"trials": 0}, "tune.trials is 0: input should be greater than or equal to 1"),
        ({"trials": 1001}, "tune.trials is 1001: input should be less than or equal to 1000"),
        ({"seconds": 0}, "tune.seconds is 0: input should be greater than 0"),
    ],
)  # fmt: skip
def test_a_section_that_cannot_be_meant_is_a_sentence(
    workshop: Workshop, section: dict[str, Any], sentence: str
) -> None:
    workshop.params(tune=section)
    with pytest.raises(ParamsInvalid) as refused:
        tune_params(workshop.root)
    assert str(refused.value).startswith(f"params.yaml: {sentence}")


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        ({}, "params.yaml: tune.space is empty; name parameters of DecisionTreeClassifier and"),
        (
            {"depth": {"low": 1, "high": 2}},
            "params.yaml: tune.space.depth is not a parameter of DecisionTreeClassifier; it has cc",
        ),
    ],
)
def test_a_space_of_no_parameter_opens_no_study(
    workshop: Workshop, space: dict[str, Any], sentence: str
) -> None:
    workshop.params(tune={"space": space})
    done = workshop.command()
    assert (done.exit_code, done.output[: len(sentence) + 7]) == (1, f"Error: {sentence}")
    with pytest.raises(AttributeError):  # there is no experiment
        workshop.runs()


# What MLflow keeps


def test_a_study_is_a_run_and_its_trials_are_runs_below_it(workshop: Workshop) -> None:
    found = workshop.tune("first", trials=5, seed=7)
    study, *trials = workshop.runs()
    assert (study.info.run_id, study.info.run_name) == (found.run, "first")
    assert study.info.status == "FINISHED"
    assert study.data.params["metric"] == "roc_auc"
    assert json.loads(study.data.params["space"]) == SPACE
    assert found.best is not None
    assert study.data.metrics["valid/roc_auc"] == found.best.value
    assert len(trials) == 5
    for run, trial in zip(trials, found.trials, strict=True):
        assert run.data.tags["mlflow.parentRunId"] == found.run
        assert run.info.status == "FINISHED"
        assert run.info.run_name == f"first/{trial.number}"
        assert run.data.metrics["valid/roc_auc"] == trial.value
        params = run.data.params
        assert {k: params[k] for k in SPACE} == {k: str(v) for k, v in trial.params.items()}
        assert (params["train.seed"], params["tune.seed"]) == ("0", "7")
    for run in (study, *trials):
        assert len(run.data.tags["understudy.params_sha256"]) == 64
    assert workshop.files(found.run, "plots") == {"plots/history.png", "plots/importances.png"}
    assert "best.json" in workshop.files(found.run)
    assert workshop.said[-1].startswith("trial 4, 5 of 5: roc_auc 0.")


def test_a_trial_that_fails_is_a_failed_run_with_its_sentence(workshop: Workshop) -> None:
    workshop.params(tune={"space": BROKEN})
    found = workshop.tune(trials=6)
    assert found.best is not None
    assert 0 < len(found.failed) < 6
    _, *trials = workshop.runs()
    for trial in found.failed:
        run = trials[trial.number]
        assert run.info.status == "FAILED"
        assert run.data.tags["mlflow.note.content"] == trial.why
        assert trial.why.startswith(
            "sklearn.tree.DecisionTreeClassifier could not be fitted: The 'ccp_alpha' parameter"
        )
    assert any("failed: sklearn.tree" in line for line in workshop.said)


def test_a_study_whose_trials_all_fail_says_why(workshop: Workshop) -> None:
    workshop.params(tune={"space": {"ccp_alpha": {"choices": [-1.0]}}})
    with pytest.raises(NoTrialSucceeded) as refused:
        workshop.tune("bad", trials=2)
    assert str(refused.value).startswith(
        "study bad: all 2 trials failed, the last one because: sklearn.tree.DecisionTreeClassifier "
        "could not be fitted: The 'ccp_alpha' parameter of DecisionTreeClassifier must be"
    )
    assert workshop.runs()[0].info.status == "FAILED"


def test_what_an_estimator_raises_of_its_own_fails_the_trial_only(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Strange(Exception):
        """As estimators outside of scikit-learn have them."""

    def fit(self: Any, *_: Any) -> None:
        raise Strange("bad leaf\nat line 3")

    monkeypatch.setattr(model.Pipeline, "fit", fit)
    with pytest.raises(NoTrialSucceeded) as refused:
        workshop.tune(trials=1)
    assert "its only trial failed, the last one because: sklearn.tree.DecisionTreeClassifier: " in (
        str(refused.value)
    )
    assert "bad leaf;" in str(refused.value)


def test_an_interrupted_study_keeps_its_trials_and_goes_on(workshop: Workshop) -> None:
    def interrupt(sentence: str) -> None:
        if sentence.startswith("trial 2,"):
            raise KeyboardInterrupt

    stopped = workshop.tune("night", trials=7, say=interrupt)
    assert stopped.stopped
    assert stopped.best is not None
    assert len(stopped.trials) == 3
    study, *trials = workshop.runs()
    assert study.info.status == "KILLED"
    assert [t.info.status for t in trials] == ["FINISHED"] * 3
    assert "plots/history.png" in workshop.files(study.info.run_id, "plots")

    whole = workshop.tune("night", trials=7)
    assert not whole.stopped
    assert whole.trials[:3] == stopped.trials
    assert len(whole.trials) == 7
    # Going on with the seed of the beginning would try the same again.
    assert len({json.dumps(p, sort_keys=True) for p in tried(whole)}) == 7
    study, *trials = workshop.runs()
    assert study.info.status == "FINISHED"
    assert (study.info.run_id, len(trials)) == (stopped.run, 7)

    again = workshop.tune("night", trials=7)
    assert again.trials == whole.trials


def test_a_trial_that_is_interrupted_is_none(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, tuned = tune.objective(workshop.root)

    def score(self: Any, chosen: dict[str, Any]) -> float:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(tune.Objective, "score", score)
        found = tune.tune(workshop.root, asked, tuned, "s", on_spark=False, say=print)
    assert (found.stopped, found.trials, found.best) == (True, (), None)
    study, trial = workshop.runs()
    assert (study.info.status, trial.info.status) == ("KILLED", "FAILED")
    assert trial.data.tags["mlflow.note.content"] == "interrupted"
    assert [t.value is not None for t in workshop.tune(trials=2).trials] == [True, True]


@pytest.mark.parametrize(
    ("moment", "failed"),
    [
        ("create_new_trial", 1),
        ("set_trial_state_values", 0),  # the end of the second: the first is begun by it, too
        ("score", 1),
    ],
)
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])  # as `mlflow run` passes it on
def test_ctrl_c_waits_for_what_is_being_written_but_not_for_a_fit(
    sign: signal.Signals,
    moment: str,
    failed: int,
    workshop: Workshop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    signal.signal(sign, signal.default_int_handler)
    calls = []

    def interrupted(owner: type) -> None:
        real = getattr(owner, moment)

        def act(self: Any, *given: Any, **named: Any) -> Any:
            calls.append(moment)
            if len(calls) == 3:
                signal.raise_signal(sign)
            return real(self, *given, **named)

        monkeypatch.setattr(owner, moment, act)

    if moment == "score":
        interrupted(tune.Objective)
    else:
        from pipelines import tune_store

        interrupted(tune_store._Storage)
    found = workshop.tune(trials=7)
    study, *trials = workshop.runs()
    assert found.stopped
    assert study.info.status == "KILLED"
    assert [t.info.status for t in trials] == ["FINISHED"] * 2 + ["FAILED"] * failed
    assert len(found.trials) == 2
    monkeypatch.undo()
    assert signal.getsignal(sign) is signal.default_int_handler
    assert len(workshop.tune(trials=4).trials) == 4


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"tune": {"space": {**SPACE, "max_depth": {"low": 1, "high": 9}}}}, "space"),
        ({"evaluate": {"metric": "accuracy"}}, "metric"),
        (
            {"train": {"estimator": "sklearn.tree.ExtraTreeClassifier", "params": dict(TODAY)}},
            "train",
        ),
        ({}, "data"),
    ],
    ids=["space", "metric", "train", "data"],
)
def test_a_study_about_something_else_does_not_go_on(
    workshop: Workshop, change: dict[str, Any], what: str
) -> None:
    workshop.tune("s", trials=1)
    workshop.params(**change)
    if not change:
        table(150, 6).to_parquet(workshop.root / paths.PREPARED / "valid.parquet", index=False)
    with pytest.raises(StudyDiffers) as refused:
        workshop.tune("s", trials=2)
    assert str(refused.value) == (
        f"study s was about other {what}, and its trials cannot be compared with new ones; name "
        "another study, or none for a new one"
    )
    assert len(workshop.runs()) == 2


def test_a_study_goes_on_after_its_best_was_applied(workshop: Workshop) -> None:
    workshop.tune("s", trials=3)
    applied = workshop.command("--study", "s", "--trials", "3", "--apply")
    assert applied.exit_code == 0, applied.output
    assert len(workshop.tune("s", trials=4).trials) == 4


# The command and params.yaml


def test_apply_changes_the_values_and_nothing_else(workshop: Workshop) -> None:
    workshop.params()
    path = workshop.root / "params.yaml"
    text = path.read_text().replace("max_depth: 8", "max_depth:   8 # levels")
    path.write_text(f"# mine\n{text}")
    path.chmod(0o640)
    done = workshop.command("--trials", "6", "--seed", "3", "--study", "x", "--apply", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    best = told["best"]["params"]
    assert best != TODAY
    written = load_yaml(path.read_text())
    assert written["train"]["params"] == best
    assert path.stat().st_mode & 0o777 == 0o640
    before, after = f"# mine\n{text}".splitlines(), path.read_text().splitlines()
    changed = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert {a.split(":")[0].strip() for a, _ in changed} <= set(SPACE)
    assert f"    max_depth:   {best['max_depth']} # levels" in after
    for a, b in changed:
        assert f"-{a}\n" in told["difference"]
        assert f"+{b}\n" in told["difference"]
    assert told["trials"] == 6

    again = workshop.command("--trials", "6", "--study", "x", "--apply")
    assert "params.yaml has these already" in again.stdout
    assert path.read_text().splitlines() == after


def test_without_apply_params_yaml_stays_and_the_next_command_is_named(workshop: Workshop) -> None:
    before = (workshop.root / "params.yaml").read_bytes()
    # As the MLproject passes what nobody gave.
    done = workshop.command(
        "--trials", "2", "--seconds", "", "--seed", "", "--study", "", "--apply", "false"
    )
    assert done.exit_code == 0, done.output
    assert (workshop.root / "params.yaml").read_bytes() == before
    assert "... trial 1, 2 of 2: roc_auc" in done.stderr
    study = workshop.runs()[0].info.run_name
    assert done.stdout.endswith(f"--study {study} --trials 2 --apply\n")


@pytest.mark.parametrize(
    "arguments",
    [["--trials", "0"], ["--trials", "x"], ["--seconds", "0"], ["--study", "a'b"],
     ["--study", "a/1"], ["--engine", "ray"], ["--apply", "perhaps"]],
)  # fmt: skip
def test_options_that_cannot_be_meant_end_with_two(
    workshop: Workshop, arguments: list[str]
) -> None:
    assert workshop.command(*arguments).exit_code == 2


FORMS = {
    "block": "train:\n  estimator: e # why\n  params:\n    a: 1 # one\n    'b': x\n  seed: 0\n",
    "flow": "train: {estimator: e, params: {a: 1, b: [1, 2]}, seed: 0}\n",
    "over lines": "train:\n  params: {a: 1,\n           b: null}\n# end",
    "last": "data: {x: [1,\n    2]}\ntrain:\n  estimator: e\n  params:\n    a: 1",
    "empty": "train:\n  params:\n  seed: 1\n",
    "nothing": "train:\n  estimator: e\n  seed: 1 # s\nevaluate: {}\n",
    "no value": "train:\n  params:\n    a:\n    b: 1\n",
    "windows": "train:\r\n  params:\r\n    a: 1 # one\r\nevaluate: {}\r\n",
    "empty flow": "train: {params: {}}\n",
    "twice": "train:\n  params: {a: 1, a: 2}\n",
}
VALUES = st.dictionaries(
    st.sampled_from(["a", "b", "c", "max_depth"]),
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12),
    min_size=1,
)


@quick
@given(form=st.sampled_from(sorted(FORMS)), values=VALUES)
def test_whatever_is_written_is_read_again_and_the_rest_is_as_it_was(
    form: str, values: dict[str, Any]
) -> None:
    text = FORMS[form]
    new = tune_apply.edited(text, values)
    before, after = load_yaml(text), load_yaml(new)
    wanted = {**(before["train"].get("params") or {}), **values}
    assert after["train"]["params"] == wanted
    for name, value in values.items():
        assert type(after["train"]["params"][name]) is type(value)
    del before["train"], after["train"]
    assert after == before
    comments = [part.partition("\n")[0] for part in text.split("#")[1:]]
    assert all(f"#{comment}" in new for comment in comments)
    assert new.count("\r\n") == new.count("\n") or "\r" not in text
    assert tune_apply.edited(new, values) == new


@pytest.mark.parametrize(
    "text",
    [
        "train:\n  params:\n    a:\n      - 1\n",
        "train:\n  params:\n    a: |\n      text\n",
        "base: &p {a: 1}\ntrain:\n  params: *p\n",
        "train:\n  params:\n    b:\n      - 1\n  seed: 0\n",
    ],
    ids=["sequence", "text", "alias", "sequence at the end"],
)
def test_what_cannot_be_changed_piece_by_piece_is_refused(text: str) -> None:
    with pytest.raises(ParamsUneditable) as refused:
        tune_apply.edited(text, {"a": 3})
    assert str(refused.value) == (
        "train.params of params.yaml is not written as simple keys and values, and is left as it "
        "is; write there by hand: a: 3"
    )


def test_a_file_that_changed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("train: {params: {a: 2}}\n")
    with pytest.raises(ParamsChanged) as refused:
        tune_apply.apply(path, b"train: {params: {a: 1}}\n", {"a": 3, "b": None})
    assert str(refused.value) == (
        "params.yaml changed while the study ran, and is left as it is; the best values for "
        "train.params are a: 3, b: None"
    )
    assert path.read_text() == "train: {params: {a: 2}}\n"
    assert list(tmp_path.iterdir()) == [path]


def test_the_history_shows_the_best_until_then() -> None:
    figure = tune_plots.history([(2, 0.5), (0, 0.3), (3, 0.4)], [1], "rmse", up=False)
    (axes,) = figure.axes
    assert list(axes.lines[0].get_ydata()) == [0.3, 0.3, 0.3]
    assert list(axes.lines[1].get_xdata()) == [1]
    assert axes.collections[0].get_offsets().tolist() == [[0, 0.3], [2, 0.5], [3, 0.4]]


# Spark


@pytest.mark.parametrize(
    ("away", "sentence"),
    [
        ("pyspark", "pyspark; `pip install 'understudy[spark]'` brings it, or leave the engine"),
        ("java", "Java; install Java 17 or newer, or set JAVA_HOME to it, or leave the engine out"),
    ],
)
def test_what_spark_lacks_is_named(
    away: str, sentence: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(spark, "find_spec", lambda name: None if name == away else object())
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(SparkMissing) as refused:
        spark.session("s")
    assert str(refused.value).startswith(f"engine spark needs {sentence}")


def test_the_reason_of_a_trace_is_its_last_line() -> None:
    trace = "Traceback\n  File x\nValueError: bad rows\n\nJVM stacktrace:\norg.x: y\n  at z"
    assert spark.reason(trace) == "ValueError: bad rows"
    assert spark.reason("") == "no reason given"
    assert str(SparkFailed("it")) == "Spark gave up: it"


@pytest.fixture
def local_spark(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SPARK_MASTER", "local[2]")
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    yield
    from pyspark.sql import SparkSession

    if found := SparkSession.getActiveSession():
        found.stop()


@needs_spark
def test_on_spark_the_trials_are_the_same_kind_of_runs(
    workshop: Workshop, local_spark: None
) -> None:
    # Two at once draw in no fixed order, whatever the seed: nearly every choice cannot be fitted.
    broken = {"choices": [0.0, *(-float(n) for n in range(1, 20))]}
    workshop.params(
        tune={"space": {**SPACE, "ccp_alpha": broken}},
        train={
            "estimator": "sklearn.tree.DecisionTreeClassifier",
            "params": {**TODAY, "ccp_alpha": 0.0},
        },
    )
    found = workshop.tune(trials=6, seed=4, on_spark=True)
    asked, _ = tune.objective(workshop.root)
    assert len({t.run for t in found.trials}) == 6
    assert len(found.failed) > 0
    assert len({json.dumps(p, sort_keys=True) for p in tried(found)}) == 6
    study, *runs = workshop.runs()
    assert study.info.status == "FINISHED"
    by_id = {run.info.run_id: run for run in runs}
    for trial in found.trials:
        run = by_id[trial.run]
        assert run.data.tags["mlflow.parentRunId"] == found.run
        assert run.data.tags["understudy.params_sha256"]
        if trial.value is None:
            assert run.info.status == "FAILED"
            assert "could not be fitted" in run.data.tags["mlflow.note.content"]
        else:
            assert trial.value == asked.score(dict(trial.params))
            assert run.data.metrics["valid/roc_auc"] == trial.value


# All of it, as a person does it


@pytest.mark.flow
@pytest.mark.slow
def test_mlflow_run_tunes_is_interrupted_goes_on_and_applies(
    make_project: Callable[..., Project],
) -> None:
    space = {"alpha": {"low": 0.001, "high": 1000.0, "log": True}}
    rows = pd.DataFrame(table(300, 8)).assign(y=lambda t: t["a"] * 3 + t["b"])
    project = make_project(
        {
            "data": {"path": "data", "target": "y", "problem": "regression"},
            "train": {"estimator": "sklearn.linear_model.Ridge", "params": {"alpha": 500.0}},
            "evaluate": {},
            "registry": {"model": "m"},
            "tune": {"space": space},
        },
        {"data/a.csv": rows.to_csv(index=False)},
    )
    project.run("dvc", "repro", "-q", "prepare")
    command = ["mlflow", "run", ".", "-e", "tune", "--env-manager", "local", "-P", "study=n"]
    with subprocess.Popen(
        [*command, "-P", "trials=1000"], cwd=project.root, env=dict(project.env),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as running:  # fmt: skip
        assert running.stdout is not None
        for line in running.stdout:
            if line.startswith("... trial 1,"):
                running.send_signal(signal.SIGINT)
                break
        rest = running.stdout.read()  # until all that write to it have ended
        assert running.wait(60) != 0
    assert "stopped after " in rest
    assert "`python -m pipelines.tune --study n --trials 1000` goes on" in rest
    done = int(rest.partition("stopped after ")[2].split()[0])

    project.run(*command, "-P", f"trials={done + 2}", "-P", "apply=true")
    told = json.loads(project.module("pipelines.tune", "--study", "n", "--trials", "1",
                                     "--json").stdout)  # fmt: skip
    assert told["trials"] == done + 2
    params = load_yaml((project.root / "params.yaml").read_text())
    assert params["train"]["params"] == told["best"]["params"] != {"alpha": 500.0}
    run = project.module("pipelines.train").stdout.split()[-1]
    script = f"import mlflow; print(mlflow.get_run({run!r}).data.metrics['valid/rmse'])"
    scored = float(project.run(sys.executable, "-c", script).stdout)
    assert scored == told["best"]["value"]
