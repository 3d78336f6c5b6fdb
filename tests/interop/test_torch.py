"""PyTorch modules: trained as they are, and back as they were. Runs where torch (and torchax) are installed."""

import pathlib
import re
import runpy

import numpy as np
import pytest

import stiffgrad as sg
from stiffgrad.objective.networks import MLP

torch = pytest.importorskip("torch")
prune = pytest.importorskip("torch.nn.utils.prune")
nn = torch.nn

X = np.random.default_rng(0).uniform(-1, 1, (20, 2))
y = np.sin(X[:, 0]) * X[:, 1]
FEW = {"solver": "lbfgs", "until": sg.Until(steps=3)}  # compiles little


def dense(*between):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(2, 4), nn.Tanh(), nn.Sequential(nn.Linear(4, 4), nn.Tanh()), *between, nn.Linear(4, 1)
    )


def loss(model, kind=torch.float32):
    with torch.no_grad():
        return float(0.5 * ((model(torch.tensor(X, dtype=kind))[:, 0] - torch.tensor(y)) ** 2).mean())


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_dense_layers_need_no_torchax(kind):
    model = dense(nn.Dropout(0.5)).to(kind).eval()
    objective = sg.supervised(model, torch.tensor(X), torch.tensor(y))
    assert objective.blocks[0].function == MLP((2, 4, 4, 1), "tanh")
    assert float(objective.value(objective.w0)) == pytest.approx(loss(model, kind), rel=1e-5)
    solution = sg.solve(objective, **FEW)
    assert loss(solution.model, kind) == pytest.approx(solution.loss, rel=1e-4)
    assert {p.dtype for p in solution.model.parameters()} == {kind}
    assert all(p.requires_grad for p in solution.model.parameters())
    assert not solution.model.training


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(2, 3), nn.Tanh()),
        nn.Sequential(nn.Linear(2, 3), nn.GELU(), nn.Linear(3, 1)),
        nn.Sequential(nn.Linear(2, 3, bias=False), nn.Tanh(), nn.Linear(3, 1)),
        nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1)),
    ],
)
def test_what_is_no_perceptron_is_not_taken_for_one(model):
    from stiffgrad.interop import carry

    assert carry(model).layers() is None


def test_layers_in_training_mode_are_named():
    with pytest.raises(ValueError, match=r"model\.3 is a Dropout of p=0.5.*model\.eval\(\)"):
        sg.supervised(dense(nn.Dropout(0.5)), X, y)
    with pytest.raises(ValueError, match=r"model\.3 is a BatchNorm1d.*model\.eval\(\)"):
        sg.supervised(dense(nn.BatchNorm1d(4)), X, y)
    with pytest.raises(ValueError, match=r"spectral norm, which changes with every call.*model\.eval\(\)"):
        sg.supervised(dense(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))), X, y)


def test_modules_without_numbers_are_named():
    with pytest.raises(ValueError, match=r"model\.weight has no shape before the first call"):
        sg.supervised(nn.LazyLinear(1), X, y)
    with pytest.raises(ValueError, match=r"model\.weight is on the device 'meta'"):
        sg.supervised(nn.Linear(2, 1, device="meta"), X, y)


class Parallel(nn.DataParallel):
    """As one made where there is no GPU; torchax, once imported, stands for one."""

    def __init__(self, module):
        nn.Module.__init__(self)
        self.module = module


def test_wrong_things_get_a_sentence():
    with pytest.raises(TypeError, match="is a class"):
        sg.supervised(nn.Linear, X, y)
    with pytest.raises(TypeError, match=r"torch\.compile"):
        sg.supervised(torch.compile(nn.Linear(2, 1), backend="eager"), X, y)
    with pytest.raises(TypeError, match=r"wrapped in Parallel.*model\.module"):
        sg.supervised(Parallel(nn.Linear(2, 1)), X, y)
    pruned = dense()
    prune.random_unstructured(pruned[0], "weight", amount=0.5)
    with pytest.raises(ValueError, match=r"cannot be copied.*prune\.remove"):
        sg.supervised(pruned, X, y)
    with pytest.raises(TypeError, match="the method forward of a model"):
        sg.supervised(dense().forward, X, y)
    with pytest.raises(TypeError, match="dict of parameters"):
        sg.supervised(dense().state_dict(), X, y)
    for criterion in (nn.MSELoss(), nn.functional.mse_loss):
        with pytest.raises(TypeError, match=r"is PyTorch's.*'squared'"):
            sg.supervised(dense(), X, y, criterion)
    data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(y))
    for batches in (data, torch.utils.data.DataLoader(data)):
        with pytest.raises(TypeError, match="give all samples as one array or tensor"):
            sg.supervised(dense(), batches, y)


def test_tensors_that_require_a_gradient_are_data():
    objective = sg.supervised(dense(), torch.tensor(X).requires_grad_(), torch.tensor(y).requires_grad_())
    assert float(objective.value(objective.w0)) == pytest.approx(loss(dense()), rel=1e-5)


def test_frozen_parameters_leave_nothing_to_train():
    with pytest.raises(ValueError, match="no parameter that requires a gradient"):
        sg.supervised(dense().requires_grad_(False), X, y)


def test_the_example_runs(capsys):
    runpy.run_path(str(pathlib.Path(__file__).parents[2] / "examples" / "model_torch.py"))
    assert re.search(r"Sequential: RMS error \d\.\de-0[34]", capsys.readouterr().out)


# ---- by torchax


class Convolution(nn.Module):
    """Frozen statistics, a frozen parameter, and a reshape that counts on a batch."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.last = nn.Linear(8, 3)
        self.convolution.bias.requires_grad_(False)
        self.norm.running_mean += 0.5

    def forward(self, x):
        return self.last(torch.relu(self.norm(self.convolution(x))).flatten(1))


def test_any_module_by_torchax():
    pytest.importorskip("torchax", exc_type=Exception)
    images = np.random.default_rng(1).standard_normal((12, 1, 4, 4))
    labels = np.arange(12) % 3
    model = Convolution().eval()
    objective = sg.supervised(model, images, labels, "cross_entropy")
    solution = sg.solve(objective, **FEW)
    trained = solution.model
    with torch.no_grad():
        seen = nn.functional.cross_entropy(trained(torch.tensor(images, dtype=torch.float32)), torch.tensor(labels))
    assert float(seen) == pytest.approx(solution.loss, rel=1e-4)
    assert torch.equal(trained.convolution.bias, model.convolution.bias)
    assert torch.equal(trained.norm.running_mean, model.norm.running_mean)
    assert sorted(solution.params) == ["convolution.weight", "last.bias", "last.weight", "norm.bias", "norm.weight"]


class Made(nn.Module):
    """Of a parametrisation, a list of parameters, a plain tensor and one that is made on the way; with a tie."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
        self.turns = nn.ParameterList([nn.Parameter(torch.randn(2, 2)), nn.Parameter(torch.randn(2))])
        self.again, self.last = nn.Linear(2, 2), nn.Linear(2, 1)
        self.again.weight = self.turns[0]
        self.scales = torch.tensor([1.0, 2.0])

    def forward(self, x):
        x = torch.sin(self.first(x) * self.scales) @ self.turns[0] + self.turns[1]
        return self.last(torch.cos(self.again(x) * torch.tensor([1.0, 0.5])))


def test_whatever_a_module_is_made_of():
    pytest.importorskip("torchax", exc_type=Exception)
    model = Made()
    objective = sg.supervised(model, X, y)
    assert float(objective.value(objective.w0)) == pytest.approx(loss(model), rel=1e-5)
    solution = sg.solve(objective, **FEW)
    trained = solution.model
    assert loss(trained) == pytest.approx(solution.loss, rel=1e-4)
    assert solution.loss < float(objective.value(objective.w0))
    assert trained.again.weight is trained.turns[0]
    assert torch.equal(trained.scales, model.scales)


def test_what_torchax_cannot_run_gets_a_sentence():
    pytest.importorskip("torchax", exc_type=Exception)

    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.scales = nn.Linear(2, 1), [torch.ones(2)]

        def forward(self, x):
            return self.layer(x * self.scales[0])

    class Pair(nn.Linear):
        def forward(self, x):
            return super().forward(x), x

    with pytest.raises(ValueError, match=r"register_buffer"):
        sg.supervised(Hidden(), X, y)
    with pytest.raises(ValueError, match="returns a tuple, expected one tensor"):
        sg.supervised(Pair(2, 1), X, y)


def test_own_dense_modules_are_recognised_by_what_they_compute():
    pytest.importorskip("torchax", exc_type=Exception)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.out, self.first = nn.Linear(4, 1), nn.Linear(2, 4)

        def forward(self, x):
            return self.out(torch.relu(self.first(x)))

    assert sg.supervised(Net(), X, y).blocks[0].function == MLP((2, 4, 1), "relu")


def test_a_sample_needs_an_axis():
    pytest.importorskip("torchax", exc_type=Exception)
    with pytest.raises(ValueError, match=r"X\[:, None\]"):
        sg.supervised(nn.Sequential(nn.Linear(1, 3), nn.ELU(), nn.Linear(3, 1)), X[:, 0], y)


def test_models_that_squeeze_their_outputs():
    class Squeezed(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = dense()

        def forward(self, x):
            return self.dense(x).squeeze()

    pytest.importorskip("torchax")
    objective, same = sg.supervised(Squeezed(), X, y), sg.supervised(dense(), X, y)
    assert float(objective.value(objective.w0)) == pytest.approx(float(same.value(same.w0)), rel=1e-6)


def test_a_softmax_before_cross_entropy_is_refused():
    pytest.importorskip("torchax", exc_type=Exception)
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3), nn.Softmax(-1))
    with pytest.raises(ValueError, match="Leave the softmax out"):
        sg.supervised(model, X, np.arange(20) % 3, "cross_entropy")


def test_a_module_of_a_dict_gets_a_dict():
    pytest.importorskip("torchax", exc_type=Exception)

    class Parts(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = dense()

        def forward(self, x):
            return self.dense(torch.cat([x["left"], x["right"]], -1)) + x["left"]

    left, right = X[:, :1], X[:, 1:]
    objective = sg.supervised(Parts(), {"left": left, "right": right}, y + X[:, 0])
    assert float(objective.value(objective.w0)) == pytest.approx(loss(dense()), rel=1e-5)
