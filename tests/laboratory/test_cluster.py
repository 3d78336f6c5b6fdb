"""Cells on a Dask cluster: the results of one machine, also where a worker is killed in the middle."""

import importlib
import os
import signal
import sys
import threading
import time

import joblib
import numpy as np
import pytest
from sklearn.model_selection import cross_val_score

from stiffgrad.estimators import FlowRegressor
from stiffgrad.laboratory import compare
from stiffgrad.laboratory.cells import Method
from stiffgrad.laboratory.schedule import run_all
from stiffgrad.laboratory.store import Store
from stiffgrad.laboratory.study import _lab
from stiffgrad.laboratory.study._lab import Lab, Scale
from stiffgrad.laboratory.workers import Job

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

pytestmark = [
    pytest.mark.timeout(300),
    # What Dask leaves open where its workers are killed, as they are here.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


TASKS = """
import os, pathlib, signal, time


def sleep_once(marker):
    '''Takes long the first time, so that it can be killed in; the second time it does not.'''
    first = not pathlib.Path(marker).exists()
    pathlib.Path(marker).touch()
    time.sleep(60.0 if first else 0.0)
    return {"answer": 42}


def crash():
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """Functions that the workers can import."""
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "cluster_tasks.py").write_text(TASKS)
    sys.path.insert(0, str(folder))  # which Dask's processes inherit
    yield importlib.import_module("cluster_tasks")
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def cluster(tasks, tmp_path_factory):
    # Dask gives a killed worker 15 seconds to come back, then does without it. On a crowded core it takes longer.
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "300s"}),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=":0",  # any port: two processes of tests may each have a cluster
            local_directory=str(tmp_path_factory.mktemp("dask")),
        ) as made,
        distributed.Client(made, set_as_default=False) as client,
    ):
        yield client


def address(cluster):
    return cluster.scheduler_info()["address"]


def kill_a_worker(cluster, after):
    """In a thread: wait until `after()`, then kill a process of Dask as by `kill -9`."""

    def kill():
        while not after():
            time.sleep(0.01)
        killed.append(next(iter(cluster.run(os.getpid).values())))
        os.kill(killed[0], signal.SIGKILL)

    killed: list[int] = []
    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    return thread, killed


def outcome(result):
    """All that repeats: everything but the seconds and the machine."""
    traced = {name: result["trace"][name] for name in ("loss", "gradient_norm", "steps", "presentations")}
    return {name: result[name] for name in ("key", "loss", "outcome", "statistics", "message", "success")} | traced


def test_results_are_those_of_one_machine_though_a_worker_is_killed(cluster, tmp_path):
    asked = (["xor"], ["lsoda", "lbfgs"], 2, 5.0)
    here = compare.compare(*asked, tmp_path / "here", isolated=False)
    there = tmp_path / "there"
    thread, killed = kill_a_worker(cluster, lambda: any(there.glob("*.json")))
    found = compare.compare(*asked, there, dask=address(cluster))
    thread.join()
    assert killed
    assert [outcome(result) for result in found] == [outcome(result) for result in here]


def test_a_task_of_a_killed_worker_is_run_by_another(cluster, tasks, tmp_path):
    marker, path = tmp_path / "began", tmp_path / "result.json"
    task = Job("a task", path, tasks.sleep_once, lambda: (str(marker),), lambda *_: {"answer": 0}, 100.0)
    owner: list[str] = []

    def began():
        owner[:] = [name for name, tasks in cluster.processing().items() if tasks]
        return marker.exists() and bool(owner)

    def kill():
        while not began():
            time.sleep(0.01)
        os.kill(cluster.run(os.getpid, workers=owner)[owner[0]], signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    run_all([task], 0, dask=address(cluster))
    thread.join()
    assert path.read_text() == '{"answer": 42}'


def test_a_crash_is_a_result_and_harms_no_worker(cluster, tasks, tmp_path):
    before = set(cluster.run(os.getpid).values())
    task = Job("a task", tmp_path / "result.json", tasks.crash, tuple, lambda reason, seconds: {"reason": reason}, 10.0)
    run_all([task], 0, dask=address(cluster))
    assert (tmp_path / "result.json").read_text() == '{"reason": "its process died: signal 9"}'
    assert set(cluster.run(os.getpid).values()) == before


def test_folds_of_an_estimator_are_those_of_one_machine(cluster):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 2))
    estimator, y = FlowRegressor(hidden_layer_sizes=(4,), random_state=0), X[:, 0] ** 2
    here = cross_val_score(estimator, X, y, cv=3)
    with joblib.parallel_config("dask", client=cluster, wait_for_workers_timeout=120):
        there = cross_val_score(estimator, X, y, cv=3)
    np.testing.assert_allclose(there, here, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"dask": "tcp://127.0.0.1:1"}, ValueError, "no scheduler answers there"),
        ({"dask": "nonsense"}, ValueError, "dask='nonsense'"),
        ({"dask": 3}, TypeError, "dask=3 must be the address"),
        ({"dask": "tcp://127.0.0.1:1", "jobs": 2}, ValueError, "dask goes neither with jobs"),
        ({"dask": "tcp://127.0.0.1:1", "isolated": False}, ValueError, "dask goes neither with jobs"),
    ],
)
def test_bad_addresses_are_named(options, error, words, tmp_path, monkeypatch):
    monkeypatch.setattr("stiffgrad.laboratory.cluster.SECONDS", 1.0)
    with pytest.raises(error, match=words):
        compare.compare(["xor"], ["lsoda"], 1, 5.0, tmp_path, **options)


def test_a_cluster_of_other_code_is_refused(cluster, tasks, tmp_path, monkeypatch):
    monkeypatch.setattr("stiffgrad.laboratory.cluster.code", lambda: "other")
    task = Job("a task", tmp_path / "result.json", tasks.sleep_once, tuple, lambda *_: {}, 10.0)
    with pytest.raises(ValueError, match="runs another stiffgrad than this process"):
        run_all([task], 0, dask=address(cluster))
    assert not (tmp_path / "result.json").exists()


def test_the_study_runs_its_cells_there(cluster, tmp_path, monkeypatch):
    def lab(dask):
        made = Lab(Store(tmp_path), Scale(problems=("iris",), seeds=2, patience=0.05), lambda words: None, dask)
        made.want("iris", [Method("lsoda")])
        return made

    there, here = lab(address(cluster)), lab(None)
    monkeypatch.setattr(_lab, "run_cell", lambda *_: pytest.fail("a cell was run here"))
    there.make()
    assert there.store.computed == 4  # two cells, and the two references of their levels
    here.make()
    assert here.store.computed == 0
    name = _lab.NETWORKS["iris"].name
    assert [result.seed for result in here.results(name, Method("lsoda"))] == [0, 1]
