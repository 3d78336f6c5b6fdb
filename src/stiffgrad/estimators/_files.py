"""Model files: a zip of one JSON text and NumPy arrays, read without running anything that is in them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from sklearn.preprocessing import LabelBinarizer

FORMAT = "stiffgrad model"
VERSION = 1
Estimator = TypeVar("Estimator")
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError)
_NUMBERS = ("_noise", "_temper")
_ARRAYS = ("_x_mean", "_x_scale", "_y_mean", "_y_std", "_covariance")
_PLAIN = ("_kind", "_flat", "n_features_in_", "n_layers_", "n_outputs_", "n_iter_", "loss_", "log_evidence_")


def state_of(estimator: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings (JSON) and arrays from which `restore` rebuilds what predicts."""
    kept = {name: getattr(estimator, name) for name in (*_NUMBERS, *_PLAIN) if hasattr(estimator, name)}
    arrays = {name: getattr(estimator, name) for name in _ARRAYS if getattr(estimator, name, None) is not None}
    for index, layer in enumerate(estimator._params):
        arrays |= {f"weight{index}": layer["weight"], f"bias{index}": layer["bias"]}
    settings = {"activation": estimator.activation, "sizes": list(estimator._sizes), "fitted": kept}
    if hasattr(estimator, "classes_"):
        settings["classes"] = estimator.classes_.tolist()
    return settings, arrays


def restore(estimator: Estimator, settings: dict[str, Any], arrays: dict[str, Any]) -> Estimator:
    """Give an unfitted estimator the state that `state_of` took from a fitted one."""
    state: dict[str, Any] = dict(settings["fitted"])
    sizes = tuple(int(size) for size in settings["sizes"])
    state |= {"activation": settings["activation"], "_sizes": sizes, "hidden_layer_sizes": sizes[1:-1]}
    state |= {name: arrays.get(name) for name in _ARRAYS if name in arrays or name == "_covariance"}
    state["_params"] = [{"weight": arrays[f"weight{i}"], "bias": arrays[f"bias{i}"]} for i in range(len(sizes) - 1)]
    for i, layer in enumerate(state["_params"]):
        if layer["weight"].shape != (sizes[i + 1], sizes[i]) or layer["bias"].shape != (sizes[i + 1],):
            raise ValueError(f"layer {i} has another shape than its sizes {sizes}")
    if "classes" in settings:
        state["_binarizer"] = LabelBinarizer().fit(np.array(settings["classes"]))
        state["classes_"] = np.array(settings["classes"])
    for name, value in state.items():
        setattr(estimator, name, value)
    return estimator


def write(path: Path, settings: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Write a model file, whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("model.json", json.dumps({"format": FORMAT, "version": VERSION, **settings}, indent=1))
            for name, array in arrays.items():
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
                file.writestr(f"{name}.npy", buffer.getvalue())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings and arrays of a model file."""
    if not path.is_file():
        raise FileNotFoundError(f"model file {path} does not exist")
    with refusing(path), zipfile.ZipFile(path) as file:
        settings = json.loads(file.read("model.json"))
        if settings.get("format") != FORMAT:
            raise ValueError("its model.json names another format")
        if settings.get("version") != VERSION:
            raise ValueError(f"it has version {settings.get('version')}, this stiffgrad reads version {VERSION}")
        names = [name for name in file.namelist() if name.endswith(".npy")]
        arrays = {
            name.removesuffix(".npy"): np.lib.format.read_array(io.BytesIO(file.read(name)), allow_pickle=False)
            for name in names
        }
    return settings, arrays


@contextlib.contextmanager
def refusing(path: str | Path) -> Iterator[None]:
    """Turn what goes wrong inside into one clear ValueError."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        OSError,
    ) as error:
        raise ValueError(f"{path} is not a model file of stiffgrad, or it is damaged: {error}") from error
