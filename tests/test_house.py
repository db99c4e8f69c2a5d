"""Rules that keep the source easy to read: sizes, parameters, imports, and what is asked of a model.

Each rule has a list of exceptions with a reason. A list is exact: a new offender fails, and so does one that is listed
but no longer offends, so that it must be removed from the list.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

import praxiscope
from praxiscope.models.names import FILES

ROOT = Path(praxiscope.__file__).parent
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 8

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def trees() -> dict[str, ast.Module]:
    """Every source file, by its path inside the package."""
    paths = sorted(ROOT.rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def functions() -> Iterator[tuple[str, Function]]:
    """Every function and method, by ``file:qualified.name``."""

    def below(node: ast.AST, prefix: str) -> Iterator[tuple[str, Function]]:
        for child in ast.iter_child_nodes(node):
            inner = prefix
            if isinstance(child, Function | ast.ClassDef):
                inner = f"{prefix}{child.name}."
            if isinstance(child, Function):
                yield prefix + child.name, child
            yield from below(child, inner)

    for file, tree in trees().items():
        yield from below(tree, f"{file}:")


def is_command(name: str) -> bool:
    """Whether the command line is made from a function's signature: its parameters are options with help texts."""
    file, function = name.split(":")
    return file.startswith("cli/") and not function.startswith("_") and "." not in function


def long_files() -> set[str]:
    lines = {file: len((ROOT / file).read_text(encoding="utf-8").splitlines()) for file in trees()}
    return {file for file, count in lines.items() if count > MAX_FILE_LINES}


def function_lines(name: str, function: Function) -> int:
    """Lines without the docstring; of a command without its signature, which is the table of its options."""
    first = function.body[0].lineno if is_command(name) else function.lineno
    lines = (function.end_lineno or first) - first + 1
    if ast.get_docstring(function) is not None:
        lines -= (function.body[0].end_lineno or 0) - function.body[0].lineno + 1
    return lines


def long_functions() -> set[str]:
    return {name for name, function in functions() if function_lines(name, function) > MAX_FUNCTION_LINES}


def parameters(function: Function) -> list[str]:
    """Names of the parameters, without ``self`` and ``cls``."""
    given = function.args
    listed = [*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg]
    return [each.arg for each in listed if each is not None and each.arg not in ("self", "cls")]


def is_builder(function: Function) -> bool:
    """Whether the function builds a model: its keywords are the settings of the model."""
    return any("register_model" in ast.unparse(decorator) for decorator in function.decorator_list)


def wide_functions() -> set[str]:
    return {
        name
        for name, function in functions()
        if len(parameters(function)) > MAX_PARAMETERS and not is_command(name) and not is_builder(function)
    }


def module_name(file: str) -> str:
    return f"praxiscope.{file.removesuffix('.py').replace('/', '.')}".removesuffix(".__init__")


def imported(node: ast.AST, modules: set[str]) -> Iterator[str]:
    """Modules of ours that a module imports as soon as it is imported itself."""
    if isinstance(node, Function | ast.Lambda):
        return
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in modules)
    if isinstance(node, ast.ImportFrom):
        inner = {f"{node.module}.{alias.name}" for alias in node.names}
        yield from (inner & modules) or ({str(node.module)} & modules)
    for child in ast.iter_child_nodes(node):
        yield from imported(child, modules)


def circles() -> set[str]:
    """Modules that import themselves by way of others."""
    modules = {module_name(file) for file in trees()}
    direct = {module_name(file): set(imported(tree, modules)) for file, tree in trees().items()}
    found = set()
    for module, waiting in direct.items():
        reached: set[str] = set()
        while waiting:
            reached |= waiting
            waiting = set().union(*(direct[other] for other in waiting)) - reached
        if module in reached:
            found.add(module)
    return found


def attributes_asked() -> set[str]:
    """Attributes of models that are read as if a model might lack them. The contract says what a model has."""
    return {
        f"{file}:{ast.unparse(node.args[1])}"
        for file, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("getattr", "hasattr")
        and ast.unparse(node.args[0]).split(".")[-1] in ("model", "network", "recogniser")
    }


def entangled_models() -> set[str]:
    """Files of models that import another model's file; what two models need stands in a file of its own."""
    files = {f"models/{file}.py" for file in FILES.values()}
    modules = {module_name(file) for file in files}
    return {file for file in files if set(imported(trees()[file], modules))}


ODD_WORDS = re.compile(
    r"(?<!full-)mirror|by custom|stands? twice|a say in|flatters|goodbye|take_up", re.IGNORECASE
)


def odd_words() -> set[str]:
    """Words of ours for which the field has others: flipped, usually, duplicate, affects, resume, …"""
    texts = {file: (ROOT / file).read_text(encoding="utf-8") for file in trees()}
    return {f"{file}:{word.lower()}" for file, text in texts.items() for word in ODD_WORDS.findall(text)}


@pytest.mark.parametrize(
    "offenders",
    [long_files, long_functions, wide_functions, circles, attributes_asked, entangled_models, odd_words],
    ids=lambda rule: rule.__name__,
)
def test_the_source_keeps_the_rule(offenders: Callable[[], set[str]]) -> None:
    found, listed = offenders(), set(EXCEPTIONS[offenders.__name__])
    assert sorted(found - listed) == []
    assert sorted(listed - found) == [], "listed in EXCEPTIONS, but no longer an exception"


EXCEPTIONS: dict[str, dict[str, str]] = {
    "long_files": {},
    "long_functions": {},
    "wide_functions": {
        "commands/api.py:test": "a public function spells its options out, as its command does",
        "models/multiplier.py:TwoStreamResidualNetwork.__init__": "takes the keywords of its builders",
        "models/snippets.py:SnippetNetwork.__init__": "takes the keywords of its builders",
        "models/temporal_difference.py:TemporalDifference.__init__": "takes the keywords of its builder",
    },
    "circles": {},
    "entangled_models": {},
    "odd_words": {},
    "attributes_asked": {
        "models/timm_backbones.py:'patch_embed'": "only transformers of timm have it",
        "models/timm_backbones.py:'set_input_size'": "only some networks of timm have it",
        "models/network_ends.py:'get_classifier'": "only networks of timm have it",
    },
}
