"""Tables as they come: what is recognised is right, what is unclear is asked for, and nothing is mended in silence."""

import numpy as np
import pandas as pd
import pytest

from stiffgrad.estimators import TableModel, _csv
from stiffgrad.estimators._table import Columns


def table(tmp_path, text, delimiter=None):
    path = tmp_path / "data.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return _csv.read(path, delimiter)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n3,4,5\n", "row 3 has 3 fields and the header has 2"),
        ("a,b\n1,2,3\n4,5,6\n", "row 2 has 3 fields and the header has 2"),  # pandas alone shifts the columns here
        ("a,b\n1\n", "row 2 has 1 fields and the header has 2"),
        ("a,b,a\n1,2,3\n", "the column 'a' occurs twice"),
        ("1,2\n3,4\n", "first line holds numbers"),
        ('a,b\n1,"2\n3,4\n', "is not a CSV file"),
        ("", "it is empty"),
        (b"\xff\xfea\x00,\x00", "no text in UTF-8"),
        ("a;b,c;d\n1;2,3;4\n", "separated by ',' or ';': give --delimiter"),
    ],
)
def test_what_is_no_table_is_refused_with_its_row(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        table(tmp_path, text)


def test_delimiters_are_recognised_or_given(tmp_path):
    for symbol, name in _csv.DELIMITERS.items():
        text = f'a{symbol}"b{symbol}c"\n1{symbol}"2"\n'
        frame, notes = table(tmp_path, text)
        assert list(frame) == ["a", f"b{symbol}c"]
        assert frame.iloc[0].tolist() == ["1", "2"]
        assert notes == ([] if symbol == "," else [f"columns are separated by a {name}"])
    assert list(table(tmp_path, "a;b,c;d\n1;2,3;4\n", ";")[0]) == ["a", "b,c", "d"]
    with pytest.raises(ValueError, match="delimiter='x' must be one of"):
        table(tmp_path, "a\n1\n", "x")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1,5", "2,25", "1.234,5"], [1.5, 2.25, 1234.5]),
        (["1,234.5", "7", "-2"], [1234.5, 7.0, -2.0]),
        (["1 234", "12 345 678"], [1234, 12345678]),
        (["0,123", "1,234"], [0.123, 1.234]),
        (["1'234.5", "1e3"], [1234.5, 1000.0]),
        (["?", "3", "-"], [np.nan, 3.0, np.nan]),
        (["99999999999999999999", "1"], [1e20, 1.0]),
        ([" 4 ", "+5", ".5"], [4.0, 5.0, 0.5]),
    ],
)
def test_numbers_are_read_as_they_are_written(values, expected):
    column = pd.Series(values, name="x")
    found, _ = _csv.numbers(column, _csv.decimal_of([column]))
    np.testing.assert_array_equal(found, expected)


def test_what_may_be_thousands_or_a_decimal_comma_is_asked_for():
    column = pd.Series(["1,234", "5,678"], name="x")
    with pytest.raises(ValueError, match=r"column 'x' holds '1,234', which may be .* give --decimal"):
        _csv.decimal_of([column])
    for sign, expected in ((".", [1234.0, 5678.0]), (",", [1.234, 5.678])):
        assert _csv.numbers(column, _csv.decimal_of([column], sign))[0].tolist() == expected
    assert _csv.decimal_of([column, pd.Series(["1,5"])]) == ","  # another column tells
    with pytest.raises(ValueError, match="some numbers have a decimal point"):
        _csv.decimal_of([pd.Series(["1.5"]), pd.Series(["1,5"])])


def test_one_question_mark_among_numbers_is_a_missing_value_and_is_said():
    values = [f"{v:.3f}" for v in np.linspace(0, 1, 60)]
    columns, notes = Columns.of(pd.DataFrame({"x": [*values, "?"], "y": "1"}))
    assert list(columns.medians) == ["x", "y"]
    assert columns.medians["x"] == pytest.approx(0.5, abs=1e-3)
    assert notes == ["x: '?' taken as missing"]
    with pytest.raises(
        ValueError, match=r"column 'x' must hold numbers alone, and 1 of its values .* 'many' in row 62"
    ):
        Columns.of(pd.DataFrame({"x": [*values, "many"]}))
    columns, _ = Columns.of(pd.DataFrame({"x": ["1", "2", "3a"] * 9}))  # codes
    assert columns.categories == {"x": ["1", "2", "3a"]}


def test_codes_stay_what_they_were_where_a_table_lacks_some(tmp_path):
    columns, _ = Columns.of(table(tmp_path, "x,n\n1,1\n2,2\n3a,3\n")[0])
    np.testing.assert_array_equal(columns.encode(table(tmp_path, "x,n\n1,5\n,5\n")[0]), [[5, 1, 0, 0], [5, 0, 0, 0]])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1970-01-02", "1971-01-01"], [1, 365]),
        (["1970-01-01T12:00:00", "1970-01-02 00:00"], [0.5, 1]),
        (["02/01/1970", "13/01/1970"], [1, 12]),
        (["01/02/1970", "01/13/1970"], [1, 12]),
        (["2.1.1970", "1.2.1970"], [1, 31]),
    ],
)
def test_dates_are_days(values, expected):
    columns, notes = Columns.of(pd.DataFrame({"when": values}))
    assert notes == ["when: dates, as days"]
    np.testing.assert_allclose(columns.encode(pd.DataFrame({"when": values})).ravel(), expected)
    with pytest.raises(ValueError, match="column 'when' must hold dates"):
        columns.encode(pd.DataFrame({"when": ["soon"]}))


def test_dates_whose_month_is_unclear_are_asked_for():
    with pytest.raises(ValueError, match=r"column 'when' holds dates such as '01/02/2020'.*write them as 2024-12-31"):
        Columns.of(pd.DataFrame({"when": ["01/02/2020", "03/04/2021"]}))


@pytest.mark.parametrize("column", ["x", "y"])
def test_numbers_whose_squares_overflow_are_named(column):
    frame = pd.DataFrame({"x": np.arange(20.0), "y": np.arange(20.0) + 0.5})
    frame.loc[3, column] = 1.9e307
    with pytest.raises(ValueError, match=f"column '{column}' holds numbers beyond 1e[+]150.*rescale"):
        TableModel.fit(frame, "y")


def test_a_duplicated_target_never_becomes_an_input():
    frame = pd.DataFrame(np.ones((9, 3)), columns=["a", "y", "y"])
    with pytest.raises(ValueError, match="the column 'y' occurs twice"):
        TableModel.fit(frame, "y")


def test_a_target_may_have_any_name():
    x = np.linspace(0, 1, 30)
    found = TableModel.fit(pd.DataFrame({"x": x, "standard deviation": 2 * x}), "standard deviation").predict(
        pd.DataFrame({"x": [0.5]})
    )
    assert list(found) == ["standard deviation", "standard deviation (2)"]
    assert found["standard deviation"][0] == pytest.approx(1.0, abs=0.05)


def test_labels_beyond_64_bits_stay_apart():
    big = [str(2**63 + 10), str(2**64 + 10**6)]
    frame = pd.DataFrame({"x": [0.0, 1.0] * 15, "label": big * 15})
    model = TableModel.fit(frame, "label")
    assert model.task == "classification"
    assert len(model.estimator.classes_) == 2
    assert model.predict(frame)["label"].nunique() == 2


def test_text_that_a_spreadsheet_would_run_is_escaped(tmp_path):
    frame = pd.DataFrame({"=a": ["=1+1", "@x", "-5", "up"], "n": [-1.5, 2, 3, 4]})
    _csv.write(frame, tmp_path / "out.csv")
    lines = (tmp_path / "out.csv").read_text().split()
    assert lines == ["'=a,n", "'=1+1,-1.5", "'@x,2.0", "-5,3.0", "up,4.0"]


@pytest.mark.parametrize("form", ["{}%", "${}.00", "{} kg", "€ {}"])
def test_numbers_with_a_unit_beside_each_are_no_categories(form):
    frame = pd.DataFrame({"x": [form.format(i) for i in range(20)], "z": np.arange(20)})
    with pytest.raises(ValueError, match=r"column 'x' holds numbers with .* beside them, such as .*leave that out"):
        Columns.of(frame)


def test_names_with_numbers_stay_categories_and_names_of_rows_are_left_out():
    frame = pd.DataFrame({"group": [f"group {i % 12}" for i in range(60)], "row": [f"row {i}" for i in range(60)]})
    columns, _ = Columns.of(frame)
    assert len(columns.categories["group"]) == 12
    assert columns.left_out == ["row"]


def test_rows_without_a_target_are_counted():
    frame = pd.DataFrame({"x": np.arange(12.0), "y": [*np.arange(10.0), None, None]})
    assert TableModel.fit(frame, "y").notes == ["2 rows without a value of 'y' left out"]
