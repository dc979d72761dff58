"""The column contract: which part each column plays, and every way a table can break it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines import conform, schema
from pipelines.errors import ContractBroken, OneClassOnly
from pipelines.params import DataParams
from pipelines.schema import Contract

ROWS = 20


def table(**columns: Any) -> pd.DataFrame:
    """Twenty good rows, with these columns in place of or beside the good ones."""
    good = {
        "number": np.arange(ROWS) / 2,
        "colour": ["red", "green"] * 10,
        "when": [f"2024-01-{day:02}" for day in range(1, ROWS + 1)],
        "label": ["no", "no", "no", "yes"] * 5,
    }
    return pd.DataFrame({**good, **columns})


def params(**values: Any) -> DataParams:
    return DataParams(**{"target": "label", "problem": "binary", "time": "when", **values})


def validate(rows: pd.DataFrame, **values: Any) -> pd.DataFrame:
    section = params(**values)
    return conform.validate(rows, schema.resolve(rows, section), section)


def violations(rows: pd.DataFrame, **values: Any) -> tuple[str, ...]:
    with pytest.raises(ContractBroken) as error:
        validate(rows, **values)
    return error.value.violations


# Parts


def test_columns_that_params_does_not_name_get_their_parts() -> None:
    rows = table(
        count=range(ROWS),
        flag=[True, False] * 10,
        grade=pd.Categorical(["a", "b"] * 10),
        moment=pd.Timestamp("2024-01-01"),
        note=[f"text {i}" for i in range(ROWS)],
        key=range(ROWS),
    )
    found = schema.resolve(rows, params(ignore=["key"]))
    assert found.numeric == ("number", "count", "flag")
    assert found.categorical == ("colour", "grade", "note")
    assert found.left_out == ("moment", "key")
    assert (found.target, found.time, found.inferred) == ("label", "when", True)


@pytest.mark.parametrize(("distinct", "used"), [(50, True), (51, False)])
def test_text_with_more_than_fifty_values_is_left_out(distinct: int, used: bool) -> None:
    note = [f"text {i % distinct}" for i in range(120)]
    rows = pd.DataFrame({"note": note, "label": ["no", "yes"] * 60})
    found = schema.resolve(rows, params(time=None))
    assert ("note" in found.categorical, "note" in found.left_out) == (used, not used)


def test_numbers_are_never_left_out_however_many_values_they_have() -> None:
    rows = pd.DataFrame({"n": range(300), "label": ["no", "yes"] * 150})
    assert schema.resolve(rows, params(time=None)).numeric == ("n",)


def test_columns_that_params_names_are_taken_and_the_others_left_out() -> None:
    found = schema.resolve(table(code=1), params(numeric=["number"], categorical=["code"]))
    assert (found.numeric, found.categorical) == (("number",), ("code",))
    assert (found.left_out, found.inferred) == (("colour",), False)
    assert found.features == ("code", "number")


def test_naming_one_kind_leaves_the_other_to_inference() -> None:
    found = schema.resolve(table(code=1), params(categorical=["code"]))
    assert (found.numeric, found.categorical, found.inferred) == (("number",), ("code",), True)


def test_a_contract_reads_back_as_it_was_written(tmp_path: Path) -> None:
    found = schema.resolve(table(), params(positive="no"))
    found.write(tmp_path / "contract.json")
    assert Contract.read(tmp_path / "contract.json") == found


# Classes


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([0, 1], ["0", "1"]),
        ([0.0, 1.0], ["0", "1"]),
        ([0.0, 1.0, None], ["0", "1", None]),
        (["0", "1", None], ["0", "1", None]),
        ([0.5, 1.0], ["0.5", "1"]),
        ([True, False], ["True", "False"]),
        ([True, None], ["True", None]),
        (pd.array([1, None], dtype="Int64"), ["1", None]),
        (pd.Categorical(["b", "a"]), ["b", "a"]),
    ],
    ids=str,
)
def test_a_class_has_the_same_name_however_it_was_stored(
    labels: Any, names: list[str | None]
) -> None:
    found = schema.class_names(pd.Series(labels))
    assert [None if pd.isna(name) else name for name in found] == names
    assert all(isinstance(name, str) for name in found.dropna())


@pytest.mark.parametrize(
    ("labels", "positive", "name"),
    [
        ([0, 1] * 10, 1, "1"),
        ([0.0, 1.0] * 10, 1, "1"),
        (["0", "1"] * 10, 1, "1"),
        ([True, False] * 10, True, "True"),
        (["no", "yes"] * 10, "no", "no"),
        (["no", "yes"] * 10, None, "yes"),
    ],
)
def test_the_positive_class_is_found_by_its_name(labels: Any, positive: Any, name: str) -> None:
    assert schema.resolve(table(label=labels), params(positive=positive)).positive == name


def test_the_positive_class_may_be_written_as_a_float() -> None:
    found = schema.resolve(table(label=[0.0, 1.0] * 10), params(positive=1.0))
    assert found.positive == "1"


def test_a_wrong_positive_is_refused_with_the_classes_there_are() -> None:
    (sentence,) = violations(table(), positive="maybe")
    assert sentence == "data.positive is 'maybe', column label has no and yes"


@pytest.mark.parametrize(
    ("label", "what"), [(["no", None] * 10, "only 'no'"), ([None] * ROWS, "no label at all")]
)
def test_a_classifier_needs_two_classes_in_the_data(label: Any, what: str) -> None:
    with pytest.raises(OneClassOnly) as error:
        validate(table(label=label))
    assert str(error.value) == (
        f"column label has {what} in the data; a classifier needs at least two classes there"
    )


def test_a_binary_problem_with_three_classes_is_refused_and_a_multiclass_one_is_not() -> None:
    rows = table(label=["a", "b", "c", "a"] * 5)
    assert violations(rows) == ("column label has 3 classes (a, b, c), a binary problem has two",)
    found = schema.resolve(rows, params(problem="multiclass"))
    assert (found.classes, found.positive) == (("a", "b", "c"), None)


def test_a_regression_has_no_classes() -> None:
    found = schema.resolve(table(), params(target="number", problem="regression"))
    assert (found.classes, found.positive, found.numeric) == ((), None, ())


# Types


def test_good_columns_come_back_with_their_types_and_missing_values_stay_missing() -> None:
    rows = table(
        number=["1", "2.5", None, "4"] * 5, colour=[1.0, 2.0, None, 1.0] * 5, other="unused"
    )
    typed = validate(rows, numeric=["number"], categorical=["colour"])
    assert list(typed.columns) == ["colour", "number", "label", "when"]
    assert typed.dtypes.map(str).to_dict() == {
        "colour": "object",
        "number": "float64",
        "label": "object",
        "when": "datetime64[ns]",
    }
    assert typed["number"].iloc[:2].tolist() == [1.0, 2.5]
    assert typed["colour"].iloc[:2].tolist() == ["1", "2"]
    assert typed.isna().sum().to_dict() == {"colour": 5, "number": 5, "label": 0, "when": 0}
    assert typed["when"].iloc[1] == pd.Timestamp("2024-01-02")


def test_the_given_table_is_left_as_it_is() -> None:
    rows = table(label=[0, 1] * 10)
    before = rows.copy(deep=True)
    validate(rows)
    pd.testing.assert_frame_equal(rows, before)


def test_a_regression_target_is_a_number() -> None:
    values = {"target": "number", "problem": "regression"}
    assert validate(table(number=["1", "2"] * 10), **values)["number"].dtype == "float64"
    assert violations(table(number=["1", "two"] * 10), **values)[0] == (
        "column number: 10 of 20 values are not a number, such as 'two', first in row 2"
    )


# Violations


def test_every_missing_column_is_named_with_those_there_are() -> None:
    assert violations(table(), numeric=["number", "weight"], time="day") == (
        "column day is missing; the table has number, colour, when, label",
        "column weight is missing; the table has number, colour, when, label",
    )


def test_all_violations_are_named_at_once_with_counts_and_examples() -> None:
    rows = table(
        number=["1", "2", "three", "three"] * 5,
        size=[1.0, 2.0, 3.0, 40.0] * 5,
        colour=["red", None, "blue", "blue"] * 5,
        when=["2024-01-01"] * 18 + ["soon", "soon"],
        label=["no", "yes", None, "yes"] * 5,
    )
    contract = {
        "size": {"min": 2, "max": 30},
        "colour": {"allowed": ["red"], "missing": 0.2},
        "label": {"missing": 0},
        "weight": {"min": 0},
    }
    found = violations(rows, numeric=["number", "size"], contract=contract)
    sentences = [sentence.replace("np.float64(1.0)", "1.0") for sentence in found]
    sentences = [sentence.replace("np.float64(40.0)", "40.0") for sentence in sentences]
    assert sorted(set(sentences)) == [
        "column colour: 10 of 20 values are not one of red, such as 'blue', first in row 3",
        "column colour: missing in more than 20% of the rows",
        "column label: missing in more than 0% of the rows",
        "column number: 10 of 20 values are not a number, such as 'three', first in row 3",
        "column size: 5 of 20 values are above 30, such as 40.0, first in row 4",
        "column size: 5 of 20 values are below 2, such as 1.0, first in row 1",
        "column when: 2 of 20 values are not a date or time, such as 'soon', first in row 19",
        "data.contract names column weight, which the model does not use",
    ]


def test_at_most_three_examples_are_shown() -> None:
    colours = [f"c{i}" for i in range(ROWS)]
    (sentence,) = violations(table(colour=colours), contract={"colour": {"allowed": ["red"]}})
    assert sentence.startswith("column colour: 20 of 20 values are not one of red, such as 'c0', ")
    assert sentence.endswith(", first in row 1")
    assert sentence.count("'") == 6


def test_the_error_says_how_many_violations_there_are_and_what_to_do() -> None:
    with pytest.raises(ContractBroken) as error:
        validate(table(), contract={"colour": {"allowed": ["red"]}})
    assert str(error.value) == (
        "the data breaks its contract (1 violation):\n"
        "  - column colour: 10 of 20 values are not one of red, such as 'green', first in row 2\n"
        "correct the data, or section data of params.yaml"
    )
    many = str(ContractBroken(["one", "two"]))
    assert many.startswith("the data breaks its contract (2 violations):\n  - one\n  - two\n")


@pytest.mark.parametrize(
    ("share", "broken"), [(0.25, False), (0.2, True), (0, True), (1, False)], ids=str
)
def test_as_many_values_may_be_missing_as_the_rule_allows(share: float, broken: bool) -> None:
    rows = table(number=[None, 1.0, 2.0, 3.0] * 5)
    rule = {"number": {"missing": share}}
    if broken:
        assert violations(rows, contract=rule) == (
            f"column number: missing in more than {share:.0%} of the rows",
        )
    else:
        assert validate(rows, contract=rule)["number"].isna().sum() == 5


def test_the_bounds_themselves_are_allowed_and_missing_values_break_no_bound() -> None:
    rows = table(number=[0.0, 5.0, None, 10.0] * 5)
    assert len(validate(rows, contract={"number": {"min": 0, "max": 10}})) == ROWS


def test_a_row_without_a_time_is_refused() -> None:
    assert violations(table(when=["2024-01-01", None] * 10)) == (
        "column when: 10 of 20 values are missing, and must not be, first in row 2",
    )


def test_a_rule_for_a_column_the_model_does_not_use_is_named() -> None:
    rows, rule = table(key=range(ROWS)), {"key": {"min": 0}, "when": {"missing": 0}}
    assert violations(rows, ignore=["key"], contract=rule) == (
        "data.contract names column key, which the model does not use",
        "data.contract names column when, which the model does not use",
    )


def test_a_violation_is_named_once() -> None:
    assert len(violations(table(number=["1", "two"] * 10), numeric=["number"])) == 1


def test_the_examples_are_the_first_bad_values() -> None:
    colours = [f"c{i}" for i in range(ROWS)]
    (sentence,) = violations(table(colour=colours), contract={"colour": {"allowed": ["red"]}})
    assert "such as 'c0', 'c1', 'c2', first in row 1" in sentence


def test_an_example_is_shown_as_the_person_wrote_it() -> None:
    (sentence,) = violations(table(), contract={"number": {"max": 9}})
    assert sentence == "column number: 1 of 20 values are above 9, such as 9.5, first in row 20"


def test_a_word_that_is_allowed_in_a_column_of_numbers_is_named() -> None:
    assert violations(table(), contract={"number": {"allowed": [1, "small"]}}) == (
        "data.contract allows small in column number, which holds numbers",
    )


def test_a_number_may_have_allowed_values() -> None:
    rows = table(number=[1, 2] * 10)
    assert len(validate(rows, contract={"number": {"allowed": [1, 2]}})) == ROWS


def test_a_bound_on_a_categorical_column_is_refused_as_a_wrong_rule() -> None:
    (sentence,) = violations(table(), contract={"colour": {"min": 1}})
    assert "colour" in sentence
    assert "number" in sentence


def test_dates_may_vary_in_their_form() -> None:
    rows = table(when=["2024-01-01", "2024-01-02 10:00"] * 10)
    assert validate(rows)["when"].nunique() == 2


@pytest.mark.parametrize("gap", [False, True])
def test_truth_values_are_one_and_zero_as_a_caller_sends_them(gap: bool) -> None:
    flags = [True, None if gap else False] * 10
    rows = table(flag=pd.Series(flags, dtype=object if gap else bool))
    typed = validate(rows)
    assert typed["flag"].dropna().unique().tolist() == ([1.0] if gap else [1.0, 0.0])
    assert violations(rows, categorical=["colour", "flag"]) == (
        "column flag holds truth values; name it in data.numeric instead",
    )
