"""PyTorch modules, by torchax: trained are the parameters that require a gradient; buffers stay as they are.

Modules of PyTorch are written for batches, so a sample is given as a batch of one. A stack of dense layers is read off
and needs no torchax.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from stiffgrad._types import Params
from stiffgrad.interop._carrier import Carrier, Held, Layers, of_one, single, widened

INSTALL = "pip install 'stiffgrad[torch]' (torchax 0.0.13 works with torch 2.9 to 2.11)"


def carry(model: Any, variables: Any = None) -> Carrier | None:
    """The carrier of a torch module, or None for anything else."""
    if isinstance(model, type) and issubclass(model, torch.nn.Module):
        raise TypeError(f"model={model.__name__} is a class: make a module of it first, {model.__name__}(...)")
    if not isinstance(model, torch.nn.Module):
        return None
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError("model is a TorchScript module, which hides its code: pass the module it was made of")
    if hasattr(model, "_orig_mod"):
        raise TypeError("model is wrapped in torch.compile: pass the module it was made of (stiffgrad compiles it)")
    if isinstance(model, torch.nn.DataParallel | torch.nn.parallel.DistributedDataParallel):
        raise TypeError(f"model is wrapped in {type(model).__name__}: pass the module it was made of, model.module")
    _check_numbers(model)
    _check_frozen(model)
    return Torch(model)


def _check_numbers(model: torch.nn.Module) -> None:
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if torch.nn.parameter.is_lazy(tensor):
            raise ValueError(f"model.{name} has no shape before the first call: call model(X[:1]) once")
        if tensor.is_meta:
            raise ValueError(
                f"model.{name} is on the device 'meta' and has no numbers: make the module on a real device, or move "
                "it there by model.to_empty(device='cpu') and load its numbers"
            )


def _check_frozen(model: torch.nn.Module) -> None:
    for name, module in model.named_modules():
        label = f"model.{name}" if name else "model"
        if not module.training:
            continue
        if isinstance(module, torch.nn.modules.dropout._DropoutNd) and module.p > 0:
            raise ValueError(
                f"{label} is a {type(module).__name__} of p={module.p:g}, so E(w) would be random: switch it off with "
                "model.eval(), and use weight_decay against overfitting"
            )
        if isinstance(module, torch.nn.utils.parametrizations._SpectralNorm):
            raise ValueError(
                f"{label} is the estimate of a spectral norm, which changes with every call, so E(w) would be no "
                "function of w: freeze it with model.eval()"
            )
        if isinstance(module, torch.nn.modules.batchnorm._NormBase) and module.track_running_stats:
            raise ValueError(
                f"{label} is a {type(module).__name__} that averages over the batch, so E(w) would be no mean over "
                "samples: freeze its statistics with model.eval(), or use torch.nn.LayerNorm"
            )


@functools.cache
def _torchax() -> Any:
    try:
        import torchax
    except Exception as error:  # torchax breaks on newer torch with errors of many kinds
        raise ImportError(
            f"this torch module is more than a stack of dense layers, and needs torchax: {INSTALL}; here is torch "
            f"{torch.__version__} ({type(error).__name__}: {error})"
        ) from error
    return torchax


@dataclasses.dataclass(frozen=True)
class _View:
    """Params -> a function of a batch, as JAX arrays."""

    model: Held
    rest: Held

    def __call__(self, params: Params) -> Callable[..., Any]:
        states = {**params, **self.rest.content}
        states = widened(jax.tree.map(jnp.asarray, states), params)
        return lambda *inputs: self._run(states, inputs)

    def _run(self, states: Params, inputs: tuple[Any, ...]) -> Any:
        environment = _torchax().default_env()
        given = environment.j2t_iso((states, inputs))
        try:
            with environment, torch.device("jax"):  # also what the module makes on the way
                return environment.t2j_iso(torch.func.functional_call(self.model.content, *given))
        except (AssertionError, AttributeError, NotImplementedError, RuntimeError, TypeError) as error:
            if isinstance(error, jax.errors.JAXTypeError):  # a branch on numbers, say: what to do is said elsewhere
                raise
            raise ValueError(
                f"torchax cannot run this torch module ({type(error).__name__}: {str(error)[:200]}): it must be made "
                "of torch functions alone, no NumPy, and of parameters, buffers (register_buffer) and its inputs"
            ) from error


@dataclasses.dataclass(frozen=True)
class _Apply:
    view: _View

    def __call__(self, params: Params, x: Any) -> Any:
        return single(self.view(params)(of_one(x)))


class Torch(Carrier):
    """A torch module; `params` is a dict by the names of `named_parameters()`."""

    kind = "a torch module"

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = _copied(model)
        self.params = self.extract(model)
        if not self.params:
            raise ValueError("model has no parameter that requires a gradient: there is nothing to train")
        tensors = [*_unregistered(self._model), *self._model.named_buffers(), *self._model.named_parameters()]
        rest = {name: _array(tensor) for name, tensor in tensors if name not in self.params}
        self._view = _View(Held(self._model), Held(rest))

    def __reduce__(self) -> Any:
        return Torch, (self._model,)

    @property
    def view(self) -> Callable[[Params], Any]:
        return self._view

    @property
    def function(self) -> Callable[[Params, Any], Any]:
        return _Apply(self._view)

    def on_batch(self, batch: Any) -> Any:
        tensor = torch.as_tensor(np.array(batch))
        first = next(self._model.parameters())
        tensor = tensor.to(first.device, first.dtype if tensor.is_floating_point() else None)
        with torch.no_grad():
            outputs = self._model(tensor)
        if not isinstance(outputs, torch.Tensor):
            raise TypeError(f"it returns a {type(outputs).__name__}, expected one tensor")
        return outputs.cpu().float().numpy()

    def restore(self, params: Params) -> Any:
        model = copy.deepcopy(self._model)
        tensors = dict(model.named_parameters())
        with torch.no_grad():
            for name, leaf in params.items():
                tensors[name].copy_(torch.from_numpy(np.array(leaf)))
        return model

    def extract(self, model: Any) -> Params:
        return {name: _array(tensor) for name, tensor in model.named_parameters() if tensor.requires_grad}

    def layers(self) -> Layers | None:
        """Dense layers and one activation in turns, inside one another or not, each of exactly the plain class."""
        flat = _flat(self._model, "")
        names, activations = [name for name, _ in flat[::2]], {_activation(module) for _, module in flat[1::2]}
        if len(flat) % 2 == 0 or len(activations) > 1 or None in activations:
            return None
        if any(type(module) is not torch.nn.Linear or module.bias is None for _, module in flat[::2]):
            return None
        order = sorted(self.params)  # a dict's leaves lie by key
        wanted = [(f"{name}weight", f"{name}bias") for name in names]
        if sorted(leaf for pair in wanted for leaf in pair) != order or _hooked(self._model):
            return None
        weights, biases = zip(*((order.index(weight), order.index(bias)) for weight, bias in wanted), strict=True)
        return Layers(weights, biases, False, next(iter(activations), None) or "tanh")


def _copied(model: torch.nn.Module) -> torch.nn.Module:
    try:
        return copy.deepcopy(model)
    except RuntimeError as error:
        raise ValueError(
            f"model cannot be copied ({str(error)[:80]}): it holds tensors computed from its parameters. Make pruning "
            "permanent by torch.nn.utils.prune.remove(module, 'weight'), and take weight_norm from "
            "torch.nn.utils.parametrizations"
        ) from error


def _unregistered(model: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    """Tensors that are plain attributes, neither parameters nor buffers."""
    return [
        (f"{name}.{attribute}" if name else attribute, value)
        for name, module in model.named_modules()
        for attribute, value in vars(module).items()
        if isinstance(value, torch.Tensor)
    ]


def _flat(module: torch.nn.Module, prefix: str) -> list[tuple[str, torch.nn.Module]]:
    if type(module) is not torch.nn.Sequential:
        return [(prefix, module)]
    parts = [_flat(child, f"{prefix}{name}.") for name, child in module.named_children()]
    return [pair for part in parts for pair in part if type(pair[1]) not in (torch.nn.Identity, torch.nn.Dropout)]


def _activation(module: torch.nn.Module) -> str | None:
    if type(module) is torch.nn.GELU:
        return "gelu" if module.approximate == "tanh" else None
    plain: dict[type, str] = {
        torch.nn.Tanh: "tanh",
        torch.nn.Sigmoid: "sigmoid",
        torch.nn.ReLU: "relu",
        torch.nn.SiLU: "silu",
    }
    return plain.get(type(module))


def _hooked(model: torch.nn.Module) -> bool:
    return any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def _array(tensor: torch.Tensor) -> Any:
    plain = tensor.detach().cpu()
    return (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy().copy()
