"""Train a torch.nn.Module: python examples/model_torch.py."""

import numpy as np
import torch

import stiffgrad as sg

X = np.random.default_rng(0).uniform(-1, 1, (200, 2))
y = np.sin(3 * X[:, 0]) * X[:, 1]
torch.manual_seed(0)
model = torch.nn.Sequential(
    torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)
)

objective = sg.supervised(model, X, y)
solution = sg.solve(objective, until=sg.Until(loss=1e-7, wall_seconds=20))
trained = solution.model  # a torch.nn.Sequential again

with torch.no_grad():
    error = float(((trained(torch.tensor(X, dtype=torch.float32))[:, 0] - torch.tensor(y)) ** 2).mean().sqrt())
print(f"{type(trained).__name__}: RMS error {error:.1e}; {solution.outcome.value}")
