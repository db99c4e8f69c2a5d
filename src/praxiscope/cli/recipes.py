"""``praxiscope recipes``."""

from __future__ import annotations

from typing import Annotated

import typer

from praxiscope.cli.common import Json, print_json, print_table

HELP = """List the recipes, or show the settings of one.

Example: praxiscope recipes move4mnist-64
"""


def recipes(
    name: Annotated[str | None, typer.Argument(help="Name of a recipe, to show all of its settings.")] = None,
    json: Json = False,
) -> None:
    import yaml

    from praxiscope.recipes.named import get_recipe, recipe_groups

    if name is not None:
        settings = get_recipe(name).model_dump(mode="json")
        if json:
            print_json(settings)
        else:
            print(yaml.safe_dump(settings, sort_keys=False).rstrip())
        return
    groups = recipe_groups()
    if json:
        print_json({key: text for group in groups.values() for key, text in group.items()})
        return
    for title, group in groups.items():
        print_table(["recipe", "description"], [[key, text] for key, text in group.items()], title=title)
