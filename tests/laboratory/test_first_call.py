"""The benchmark of the first call runs what it says, in processes of its own."""

from stiffgrad.laboratory.first_call import first_call


def test_each_method_reaches_the_target_in_a_fresh_process(tmp_path):
    said = []
    calls = first_call(["iris"], ["auto", "L-BFGS (SciPy)"], 1, tmp_path / "calls.json", say=said.append)
    assert [(call.method, call.cache) for call in calls] == [
        ("auto", False), ("auto", True), ("L-BFGS (SciPy)", False), ("L-BFGS (SciPy)", True)
    ]  # fmt: skip
    assert all(call.reached for call in calls)
    assert all(call.compile_seconds + call.solve_seconds < call.total_seconds for call in calls[:2])
    assert len(said) == 2
    assert (tmp_path / "calls.json").exists()
