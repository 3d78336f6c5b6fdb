"""The networks of the study: the data of the registry, sizes that a finite-difference Jacobian can afford."""

from __future__ import annotations

import dataclasses
import functools

from stiffgrad.laboratory import problems
from stiffgrad.laboratory.problems import NetworkProblem


@dataclasses.dataclass(frozen=True)
class Setting:
    """A network of the study.

    Attributes
    ----------
    base : str
        The problem whose data and loss it takes.
    sizes : tuple of int
        Units per layer.
    decay : float
        Weight decay; with it the loss has minima at finite weights.
    seconds : float
        Budget of one run, in seconds of solving.
    """

    base: str
    sizes: tuple[int, ...]
    decay: float
    seconds: float

    @functools.cached_property
    def problem(self) -> NetworkProblem:
        """The problem with this network."""
        found = problems.get(self.base)
        assert isinstance(found, NetworkProblem)
        return dataclasses.replace(found, sizes=self.sizes, weight_decay=self.decay)

    @property
    def weights(self) -> int:
        """Number of weights n."""
        return sum((a + 1) * b for a, b in zip(self.sizes, self.sizes[1:], strict=False))

    @property
    def words(self) -> str:
        """Network, size and decay in words."""
        shape = "-".join(map(str, self.sizes))
        decay = f", weight decay {self.decay:g}" if self.decay else ", no weight decay"
        return f"{self.base}: {shape} {self.problem.activation} network, {self.weights} weights{decay}"


SETTINGS: dict[str, Setting] = {
    "iris": Setting("iris", (4, 8, 3), 1e-3, 1.5),
    "diabetes": Setting("diabetes", (10, 8, 1), 1e-3, 2.0),
    "encoder": Setting("encoder", (8, 3, 8), 1e-4, 2.0),
    "sine": Setting("sine", (1, 10, 10, 1), 1e-5, 2.5),
    "digits": Setting("digits", (64, 10, 10), 1e-3, 5.0),
    # Owens and Filkin's table: the error must be able to fall to 0.1%, so no decay.
    "encoder-exact": Setting("encoder", (8, 3, 8), 0.0, 3.0),
    "xor-exact": Setting("xor", (2, 3, 1), 0.0, 3.0),
    "sine-exact": Setting("sine", (1, 10, 10, 1), 0.0, 3.0),
}
