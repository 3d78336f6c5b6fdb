"""The house rules that a machine can check: layers, lengths, docstrings."""

import ast
import inspect
import pathlib

import pytest
from importlinter.cli import lint_imports

import stiffgrad

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "src" / "stiffgrad").rglob("*.py"))
MAX_FILE_LINES = 450
MAX_FUNCTION_LINES = 80


def _long_functions(tree: ast.AST, limit: int) -> list[str]:
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    lengths = ((node.name, (node.end_lineno or node.lineno) - node.lineno + 1) for node in functions)
    return [f"{name}: {lines} lines" for name, lines in lengths if lines > limit]


def _undocumented(name: str, thing: object) -> bool:
    # A dataclass without a docstring is given its signature as one, and an instance shows its class's.
    if isinstance(thing, str | int | float | tuple):
        return False
    documentation = (thing.__doc__ or "").strip() if isinstance(thing, type) else (inspect.getdoc(thing) or "").strip()
    return not documentation or documentation.startswith(f"{name}(")


def test_each_layer_imports_only_from_those_below_it() -> None:
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT / "src").as_posix())
def test_files_and_functions_are_short(path: pathlib.Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_FILE_LINES
    assert _long_functions(ast.parse(text), MAX_FUNCTION_LINES) == []


def test_the_length_check_sees_a_long_function() -> None:
    tree = ast.parse("def long():\n" + "    pass\n" * 5)
    assert _long_functions(tree, 5) == ["long: 6 lines"]
    assert _long_functions(tree, 6) == []


def test_every_public_name_exists_and_is_documented() -> None:
    public = {name: getattr(stiffgrad, name) for name in stiffgrad.__all__}
    assert [name for name, thing in public.items() if _undocumented(name, thing)] == []


def test_public_names_are_listed_once() -> None:
    assert sorted(set(stiffgrad.__all__)) == sorted(stiffgrad.__all__)
