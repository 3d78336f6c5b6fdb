"""The house rules that a machine can check: layers and docstrings."""

import inspect
import pathlib

from importlinter.cli import lint_imports

import stiffgrad

ROOT = pathlib.Path(__file__).resolve().parent.parent


def _undocumented(name: str, thing: object) -> bool:
    # A dataclass without a docstring is given its signature as one, and an instance shows its class's.
    if isinstance(thing, str | int | float | tuple):
        return False
    documentation = (thing.__doc__ or "").strip() if isinstance(thing, type) else (inspect.getdoc(thing) or "").strip()
    return not documentation or documentation.startswith(f"{name}(")


def test_each_layer_imports_only_from_those_below_it() -> None:
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


def test_every_public_name_exists_and_is_documented() -> None:
    public = {name: getattr(stiffgrad, name) for name in stiffgrad.__all__}
    assert [name for name, thing in public.items() if _undocumented(name, thing)] == []


def test_public_names_are_listed_once() -> None:
    assert sorted(set(stiffgrad.__all__)) == sorted(stiffgrad.__all__)
