"""A fitted estimator as an ONNX graph in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np

from stiffgrad._extras import needing

OPSET, IR = 18, 8  # of 2022: what runtimes since then read
GELU = np.sqrt(2.0 / np.pi), 0.044715


class _Graph:
    """Nodes and constants, as they come; values are named by their number."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any) -> str:
        from onnx import numpy_helper

        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, operator: str, *inputs: Any, name: str = "", **options: Any) -> str:
        """The value of an operator; inputs are names, or arrays and numbers, which become constants."""
        from onnx import helper

        names = [each if isinstance(each, str) else self.constant(each) for each in inputs]
        name = name or f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [name], **options))
        return name

    def activation(self, kind: str, z: str) -> str:
        """As `_network.ACTIVATIONS` have it."""
        simple = {"tanh": "Tanh", "sigmoid": "Sigmoid", "logistic": "Sigmoid", "relu": "Relu", "sine": "Sin"}
        if kind in simple:
            return self.add(simple[kind], z)
        if kind == "silu":
            half = self.add("Mul", 0.5, z)  # by tanh: onnxruntime 1.20 makes z sigmoid(z) a kernel that it lacks
            return self.add("Mul", half, self.add("Add", 1.0, self.add("Tanh", half)))
        if kind == "softplus":
            small = self.add("Exp", self.add("Neg", self.add("Abs", z)))
            return self.add("Add", self.add("Relu", z), self.add("Log", self.add("Add", 1.0, small)))
        cube = self.add("Mul", GELU[1], self.add("Mul", z, self.add("Mul", z, z)))
        t = self.add("Tanh", self.add("Mul", GELU[0], self.add("Add", z, cube)))
        return self.add("Mul", self.add("Mul", 0.5, z), self.add("Add", 1.0, t))


def graph_of(estimator: Any) -> Any:
    """The model (`onnx.ModelProto`) of a fitted estimator of data without missing values."""
    with needing("onnx", "to_onnx()"):
        from onnx import TensorProto, checker, helper

    graph, (shift, unit) = _Graph(), estimator._y_scale
    inputs = graph.add("Div", graph.add("Sub", "X", estimator._x_mean), estimator._x_scale)
    total = ""
    for member in estimator._members:
        a, last = inputs, len(member.params) - 1
        for index, layer in enumerate(member.params):
            a = graph.add("Add", graph.add("MatMul", a, layer["weight"].T), layer["bias"])
            a = graph.activation(estimator.activation_, a) if index < last else a
        a = graph.add("Mul", member.share, a)
        total = graph.add("Add", total, a) if total else a
    classes, k = getattr(estimator, "classes_", None), estimator.n_outputs_
    name = "y" if classes is None else "logits"
    flat = bool(getattr(estimator, "_flat", False))
    total = graph.add("Add", graph.add("Mul", total, np.asarray(unit)), np.asarray(shift))
    z = graph.add("Reshape", total, np.array([-1] if flat else [-1, k]), name=name)
    shape: list[Any] = [None] if flat else [None, k]
    outputs = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, shape)]
    if classes is not None:
        kind, rows = estimator._kind, 2 if estimator._kind == "multilabel" else 1
        place = graph.add("ArgMax", z, axis=1, keepdims=0)
        if kind != "multiclass":
            place = graph.add("Cast", graph.add("Greater", z, 0.0), to=TensorProto.INT64)
            place = place if kind == "multilabel" else graph.add("Reshape", place, np.array([-1]))
        labels = np.array([0, 1]) if kind == "multilabel" else classes if len(classes) > 1 else np.repeat(classes, 2)
        texts = labels.dtype.kind in "OU"
        graph.add("Gather", np.asarray(labels, object) if texts else labels, place, axis=0, name="label")
        of = TensorProto.STRING if texts else helper.np_dtype_to_tensor_dtype(labels.dtype)
        outputs.insert(0, helper.make_tensor_value_info("label", of, [None, k][:rows]))
    given = [helper.make_tensor_value_info("X", TensorProto.DOUBLE, [None, estimator.n_features_in_])]
    made = helper.make_graph(graph.nodes, type(estimator).__name__, given, outputs, graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    checker.check_model(model, full_check=True)
    return model
