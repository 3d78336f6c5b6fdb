"""ONNX graphs give what the estimators predict, in onnxruntime."""

import sys

import numpy as np
import pytest
from sklearn.datasets import load_iris, make_friedman1, make_multilabel_classification

from stiffgrad.estimators import FlowClassifier, FlowRegressor
from stiffgrad.estimators._network import ACTIVATIONS

onnxruntime = pytest.importorskip("onnxruntime")
X, Y = make_friedman1(60, noise=1.0, random_state=0)
IRIS, LABELS = load_iris(return_X_y=True)
NAMES = np.array(["one", "two", "three"])
FEW = {"max_iter": 20, "random_state": 0, "restarts": 1}


def run(model, data):
    session = onnxruntime.InferenceSession(model.to_onnx().SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"X": data})


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_regressor(activation):
    model = FlowRegressor((5, 3), activation, **FEW).fit(X, Y)
    (y,) = run(model, X)
    np.testing.assert_allclose(y, model.predict(X), rtol=1e-9, atol=1e-9)


def test_several_targets():
    model = FlowRegressor((5,), **FEW).fit(X, np.column_stack([Y, 1e6 * Y**2]))
    (y,) = run(model, X)
    np.testing.assert_allclose(y, model.predict(X), rtol=1e-9)


@pytest.mark.parametrize(
    "labels", [LABELS, NAMES[LABELS], LABELS == 1, np.zeros(150, int)], ids=["int", "str", "bool", "one"]
)
def test_a_classifier(labels):
    model = FlowClassifier(**FEW).fit(IRIS, labels)  # networks with shares
    label, logits = run(model, IRIS)
    assert label.tolist() == model.predict(IRIS).tolist()
    np.testing.assert_allclose(logits, model.export()(IRIS), rtol=1e-9, atol=1e-9)


def test_several_labels():
    data, labels = make_multilabel_classification(60, 5, n_classes=3, random_state=0)
    model = FlowClassifier((3,), **FEW).fit(data, labels)
    np.testing.assert_array_equal(run(model, data)[0], model.predict(data))


def test_missing_values_are_refused():
    data = X.copy()
    data[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"to_onnx\(\) needs a model of data without missing values"):
        FlowRegressor((3,), **FEW).fit(data, Y).to_onnx()


def test_without_onnx_it_says_what_to_install(monkeypatch):
    model = FlowRegressor((3,), **FEW).fit(X, Y)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"to_onnx\(\) needs onnx: pip install 'stiffgrad\[onnx\]'"):
        model.to_onnx()
