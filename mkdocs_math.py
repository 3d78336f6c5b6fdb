"""A hook of MkDocs: blocks of ```math become MathML, which browsers draw without a script."""

from typing import Any

from latex2mathml.converter import convert


def on_config(config: Any) -> Any:
    """Add the fence, beside those of the theme."""
    fences = config.mdx_configs.setdefault("pymdownx.superfences", {}).setdefault("custom_fences", [])
    fences.append({"name": "math", "class": "math", "format": to_mathml})
    return config


def to_mathml(source: str, *_: Any, **__: Any) -> str:
    """Convert the LaTeX of one block."""
    return f'<div class="math">{convert(source, display="block")}</div>'
