"""The pages' templates. Everything in them is escaped, but for what was made as HTML."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


@cache
def environment() -> Environment:
    """The templates beside this module."""
    return Environment(
        loader=PackageLoader("catchment.serve.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, /, **values: Any) -> str:
    """A page, or a part of one."""
    return environment().get_template(template).render(**values)
