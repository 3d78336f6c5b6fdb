"""Model files: a zip of one JSON text and NumPy arrays, read through a schema without running anything in them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from sklearn.preprocessing import LabelBinarizer

from stiffgrad import _archive, _checks
from stiffgrad.estimators._network import ACTIVATIONS
from stiffgrad.estimators._training import Member
from stiffgrad.estimators._variance import VarianceFunction

FORMAT = "stiffgrad model"
VERSION = 3
TEXT = "model.json"
Estimator = TypeVar("Estimator")
KINDS = ("binary", "multiclass", "multilabel")
_COUNTS = ("n_features_in_", "n_layers_", "n_outputs_", "n_iter_")
_NUMBERS = ("_noise", "_degrees", "_temper", "loss_", "log_evidence_")  # or None
_ARRAYS = ("_x_mean", "_x_scale", "_y_mean", "_y_std")
_PARTS, _LEVELS = ("waves", "phases", "weights"), ("bias", "low", "high")  # of a variance function


def state_of(estimator: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings (JSON) and arrays from which `restore` rebuilds what predicts."""
    names = ("_kind", "_flat", *_COUNTS, *_NUMBERS)
    kept = {name: getattr(estimator, name) for name in names if hasattr(estimator, name)}
    arrays = {name: getattr(estimator, name) for name in _ARRAYS if getattr(estimator, name, None) is not None}
    settings = {"activation": estimator.activation_, "fitted": kept, "arrays": sorted(arrays)}
    settings["networks"] = [
        {"sizes": list(member.sizes), "share": member.share, "covariance": member.covariance is not None}
        for member in estimator._members
    ]
    for number, member in enumerate(estimator._members):
        for index, layer in enumerate(member.params):
            arrays |= {f"{number}.weight{index}": layer["weight"], f"{number}.bias{index}": layer["bias"]}
        if member.covariance is not None:
            arrays[f"{number}.covariance"] = member.covariance
    settings["few"] = None if estimator._columns is None else estimator._columns.tolist()
    settings["variance"] = None
    if (function := getattr(estimator, "_variance_function", None)) is not None:
        settings["variance"] = {"waves": len(function.phases)} | {name: getattr(function, name) for name in _LEVELS}
        arrays |= {f"variance.{name}": getattr(function, name) for name in _PARTS}
    if hasattr(estimator, "classes_"):
        settings["classes"] = estimator.classes_.tolist()
    return settings, arrays


def restore(estimator: Estimator, settings: dict[str, Any], arrays: dict[str, Any]) -> Estimator:
    """Give an unfitted estimator the state that `state_of` took from a fitted one."""
    state: dict[str, Any] = dict(settings["fitted"])
    members = [
        Member(
            tuple(network["sizes"]),
            [
                {"weight": arrays[f"{number}.weight{i}"], "bias": arrays[f"{number}.bias{i}"]}
                for i in range(len(network["sizes"]) - 1)
            ],
            network["share"],
            arrays.get(f"{number}.covariance"),
        )
        for number, network in enumerate(settings["networks"])
    ]
    state |= {"activation": settings["activation"], "activation_": settings["activation"], "_members": members}
    state["_lead"] = max(range(len(members)), key=lambda number: members[number].share)
    state |= {name: arrays[name] for name in _ARRAYS if name in arrays}
    if settings.get("few") is not None:
        state["_columns"] = np.array(settings["few"])
    if (levels := settings.get("variance")) is not None:
        parts = {name: arrays[f"variance.{name}"] for name in _PARTS}
        state["_variance_function"] = VarianceFunction(**parts, **{name: levels[name] for name in _LEVELS})
    if "classes" in settings:
        state["_binarizer"] = LabelBinarizer().fit(np.array(settings["classes"]))
        state["classes_"] = np.array(settings["classes"])
    for name, value in state.items():
        setattr(estimator, name, value)
    return estimator


def write(path: Path, settings: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Write a model file, whole or not at all; links are followed."""
    settings = {"format": FORMAT, "version": VERSION, **settings}
    _archive.write(_archive.target(path, "model file"), settings, arrays, TEXT)


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings and arrays of a model file, all of their types and shapes, and finite."""
    settings, arrays = _archive.read(path, _schema, TEXT)
    with _archive.damage(path):
        for name, array in arrays.items():
            if not np.all(np.isfinite(array)):
                raise ValueError(f"its array {name!r} holds NaN or infinity")
            if name.endswith(".covariance"):
                even = np.allclose(array, array.T, rtol=1e-3, atol=1e-6 * np.abs(array).max(initial=0.0))
                if not even or not np.all(np.diag(array) >= 0):
                    raise ValueError(f"its array {name!r} is no covariance")
        for name in ("_x_scale", "_y_std"):
            if name in arrays and not np.all(arrays[name] > 0):
                raise ValueError(f"its array {name!r} is not positive")
    return settings, arrays


def _schema(settings: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays, once every setting is known, of its type, and fits the others."""
    if settings.get("format") != FORMAT:
        raise ValueError(f"its {TEXT} names another format")
    if settings.get("version") != VERSION:
        raise ValueError(f"it has version {settings.get('version')!r}, this stiffgrad reads version {VERSION}")
    _checks.choice("task", settings["task"], ("regression", "classification"))
    _checks.choice("activation", settings["activation"], tuple(ACTIVATIONS))
    _text("target", settings["target"])
    _checks.number("score", settings["score"])
    shapes: dict[str, tuple[int, ...]] = {}
    ends = set()
    for number, network in enumerate(_list("networks", settings["networks"])):
        sizes = [_checks.whole("size", size, 1) for size in _list("sizes", network["sizes"])]
        if len(sizes) < 2:
            raise ValueError(f"its sizes {sizes} are no network")
        _checks.number("share", network["share"])
        layers = list(enumerate(itertools.pairwise(sizes)))
        own: dict[str, tuple[int, ...]] = {f"{number}.weight{i}": (after, before) for i, (before, after) in layers}
        own |= {f"{number}.bias{i}": (after,) for i, (_, after) in layers}
        count = sum(math.prod(shape) for shape in own.values())
        if (few := _few(settings.get("few"), sizes[0])) is not None:
            count -= (sizes[0] - few) * sizes[1]
        if _checks.flag("covariance", network["covariance"]):
            own[f"{number}.covariance"] = (count, count)
        shapes |= own
        ends.add((sizes[0], sizes[-1]))
    if len(ends) != 1:
        raise ValueError("its networks are none, or differ in their inputs or outputs")
    inputs, outputs = ends.pop()
    columns = _columns(settings["columns"])
    if columns != inputs:
        raise ValueError(f"its columns give {columns} inputs, and its networks have {inputs}")
    shapes |= _variance(settings.get("variance"), inputs + outputs)
    _fitted(settings["fitted"])
    if settings["fitted"]["n_features_in_"] != inputs:
        raise ValueError(
            f"its fitted model has {settings['fitted']['n_features_in_']} inputs, and {inputs} in its networks"
        )
    if settings["task"] == "classification":
        _classes(settings, outputs)
    known: dict[str, tuple[int, ...]] = {"_x_mean": (inputs,), "_x_scale": (inputs,)}
    known |= {"_y_mean": (outputs,), "_y_std": (outputs,)}
    needed = {"_x_mean", "_x_scale"} | ({"_y_mean", "_y_std"} if settings["task"] == "regression" else set())
    present = {_checks.choice("array", name, tuple(known)) for name in _list("arrays", settings["arrays"])}
    if needed - present:
        raise ValueError(f"it lacks the array {min(needed - present)!r}")
    return shapes | {name: known[name] for name in sorted(present)}


def _few(columns: Any, inputs: int) -> int | None:
    """How many columns the model is fitted to, where these are not all of its inputs; files had none before."""
    if columns is None:
        return None
    numbers = [_checks.whole("column", column, 0, inputs - 1) for column in _list("few", columns)]
    if not numbers or sorted(set(numbers)) != numbers:
        raise ValueError("the columns that it is fitted to are none, or not in order")
    return len(numbers)


def _variance(levels: Mapping[str, Any] | None, columns: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays of a variance function of so many inputs and predictions; files had none before."""
    if levels is None:
        return {}
    waves = _checks.whole("waves", levels["waves"], 0)
    for name in _LEVELS:
        _checks.number(name, levels[name])
    if levels["low"] > levels["high"]:
        raise ValueError("the bounds of its variance are not in order")
    return {
        "variance.waves": (waves, columns),
        "variance.phases": (waves,),
        "variance.weights": (columns + waves,),
    }


def _columns(columns: Mapping[str, Any]) -> int:
    """How many inputs the columns of the table give."""
    if set(columns) != {"medians", "categories", "left_out", "dates", "decimal"}:
        raise ValueError(f"its columns have other entries: {sorted(columns)}")
    for name, median in columns["medians"].items():
        _checks.number(f"median of {name!r}", median)
    for name, levels in columns["categories"].items():
        seen = [_text(f"category of {name!r}", level) for level in _list(name, levels)]
        if not seen or sorted(set(seen)) != seen:
            raise ValueError(f"the categories of {name!r} are none, or not in order")
    for name in _list("left_out", columns["left_out"]):
        _text("left_out", name)
    for name, form in columns["dates"].items():
        if name not in columns["medians"]:
            raise ValueError(f"its date column {name!r} has no median")
        _checks.choice("dates", form, ("ISO8601", *(f"%{a}{s}%{b}{s}%Y" for a, b in ("dm", "md") for s in "/.-")))
    _checks.choice("decimal", columns["decimal"], (".", ","))
    return len(columns["medians"]) + sum(map(len, columns["categories"].values()))


def _fitted(fitted: Mapping[str, Any]) -> None:
    """Only what an estimator has, of its type: nothing else may be set on it."""
    for name, value in fitted.items():
        if name == "_kind":
            _checks.choice(name, value, KINDS)
        elif name == "_flat":
            _checks.flag(name, value)
        elif name in _COUNTS:
            _checks.whole(name, value)
        elif name not in _NUMBERS:
            raise ValueError(f"its fitted attribute {name!r} is unknown")
        elif value is not None:
            _checks.number(name, value, least=0.0 if name in ("_noise", "_temper") else -math.inf)


def _classes(settings: Mapping[str, Any], outputs: int) -> None:
    classes = _list("classes", settings["classes"])
    kinds = {type(label) for label in classes}
    if len(kinds) != 1 or not kinds <= {str, int, bool} or len(set(classes)) != len(classes):
        raise ValueError("its classes are no different labels of one type")
    kind = settings["fitted"].get("_kind")
    if len(classes) != (2 if kind == "binary" else outputs) or (kind == "binary" and outputs != 1):
        raise ValueError(f"its {len(classes)} classes do not fit {outputs} outputs of a {kind} model")


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"its {name!r} is no list")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"its {name} is no text")
    return value
