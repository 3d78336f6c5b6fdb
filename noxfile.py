"""Other Pythons and other versions of what stiffgrad stands on: `nox -l` lists the sessions, `nox -s oldest` runs one.

Without arguments a session runs `SMOKE`, a few minutes; with arguments, those tests: `nox -s tests-3.13 -- tests/run`.
"""

import pathlib
import tempfile

import nox

nox.needs_version = ">=2024.10"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["tests", "newest", "oldest", "core", "wheel"]

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
SMOKE = [
    "tests/cli",
    "tests/estimators/test_csv.py",
    "tests/estimators/test_onnx.py",
    "tests/interop",
    "tests/laboratory/test_cluster.py",
    "tests/laboratory/test_packages.py",
    "tests/run/test_checkpoint.py",
    "tests/run/test_driver.py",
    "tests/solvers/test_solvers.py",
    "tests/test_compare_own.py",
    "tests/test_degenerate.py",
    "tests/test_docs.py",
    "tests/test_extras.py",
    "tests/test_float64.py",
]
# With the core alone: every solver that it promises, from an empty folder, so that the installed package is what runs.
CORE = """
import numpy as np, stiffgrad as sg
X = np.linspace(-1, 1, 30)[:, None]
objective = sg.supervised(sg.mlp([1, 8, 1]), X, np.sin(3 * X))
own = ["auto", "rosenbrock", "quasi-newton", "krylov", "secants", "ros2", "ros34pw2", "chebyshev"]
for name in [*own, "zvode", "lsoda", "dopri5", "dop853", "radau", "bdf", "lbfgs", "bfgs", "cg", "minpack"]:
    solution = sg.solve(objective, name, until=sg.Until(loss=1e-3, wall_seconds=60))
    assert solution.loss <= 1e-3, solution
    print(name, solution.outcome.value)
try:
    sg.solve(objective, "adam")
except ImportError as error:
    assert "pip install 'stiffgrad[peers]'" in str(error)
print(sg.__version__, sg.__file__)
"""


def run_core(session: nox.Session) -> None:
    """Solve in an empty folder."""
    with tempfile.TemporaryDirectory() as folder, session.chdir(folder):
        session.run("python", "-c", CORE, env={"PYTHONPATH": ""})


def run_tests(session: nox.Session, *options: str) -> None:
    """Pytest on what was asked for."""
    session.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, *(session.posargs or SMOKE))


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The pinned versions, on every Python."""
    session.install("-c", "constraints.txt", ".[test]")
    run_tests(session)


@nox.session(python=PYTHONS[-1])
def newest(session: nox.Session) -> None:
    """The newest versions that pyproject.toml allows, with a SciPy whose VODE is the faulty one."""
    session.install("--upgrade", ".[test]")
    run_tests(session)


@nox.session(python=PYTHONS[0], venv_backend="uv")
def oldest(session: nox.Session) -> None:
    """The oldest versions that pyproject.toml allows; their own deprecation warnings are not ours."""
    session.install("--resolution", "lowest-direct", ".[test]")
    run_tests(session, "-o", "filterwarnings=default")


@nox.session(python=PYTHONS[0], venv_backend="uv")
def core(session: nox.Session) -> None:
    """The core alone, without any extra, as old as pyproject.toml allows."""
    session.install("--resolution", "lowest-direct", ".")
    run_core(session)


@nox.session(python=PYTHONS[0])
def wheel(session: nox.Session) -> None:
    """Build, check, and install what would be published into a clean environment."""
    session.install("build", "twine", "check-wheel-contents")
    folder = pathlib.Path(session.create_tmp()) / "dist"
    session.run("python", "-m", "build", "--outdir", str(folder))
    built = sorted(map(str, folder.iterdir()))
    wheels = [path for path in built if path.endswith(".whl")]
    session.run("twine", "check", "--strict", *built)
    session.run("check-wheel-contents", *wheels)
    session.install(*wheels)
    run_core(session)


@nox.session(python=PYTHONS[0])
def fuzz(session: nox.Session) -> None:
    """All readers of files under coverage-guided changes, a minute each: `nox -s fuzz -- --seconds 300 --seed 2`."""
    session.install("-c", "constraints.txt", ".[test]")
    session.install("atheris==3.0.0")
    for reader in ("model", "checkpoint", "solution", "cell", "table"):
        session.run("python", "tests/fuzz/atheris_readers.py", reader, *session.posargs)


@nox.session(python=PYTHONS[0])
def mutants(session: nox.Session) -> None:
    """What part of changes to the core the tests notice (hours): `nox -s mutants -- --each 4` tries fewer."""
    session.install("-c", "constraints.txt", ".[test]")
    session.install("cosmic-ray==8.7.0")
    session.run("python", "benchmarks/mutants.py", *session.posargs)
