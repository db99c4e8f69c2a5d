"""``praxiscope recipes``."""

from __future__ import annotations

from typing import Annotated

import typer

from praxiscope.cli.common import Json, print_json, print_table

HELP = """List the recipes, or show one's settings.

Example: praxiscope recipes move4mnist-64
"""


def recipes(
    name: Annotated[str | None, typer.Argument(help="A recipe, to see all of its settings.")] = None,
    json: Json = False,
) -> None:
    import inspect

    import yaml

    from praxiscope.recipes.named import get_recipe, list_recipes
    from praxiscope.recipes.named import recipes as registry

    if name is not None:
        settings = get_recipe(name).model_dump(mode="json")
        if json:
            print_json(settings)
        else:
            print(yaml.safe_dump(settings, sort_keys=False).rstrip())
        return
    described = {name: inspect.getdoc(registry.get(name)) or "" for name in list_recipes()}
    if json:
        print_json(described)
    else:
        print_table(["recipe", "what it is"], [[key, text] for key, text in described.items()])
