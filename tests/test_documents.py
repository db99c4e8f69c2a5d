"""README and docs: commands and code run on tiny data; links, commands, options, settings and names exist.

Blocks of a page run from top to bottom in one folder that all pages share. What a line needs and no earlier line has
made (``runs/a``, ``flow/``, ``rgb.npz``) is made first, by the command of the pages that makes it. A line runs once.
``SMALL`` lists the options that make commands small. A block below ``<!-- not run: reason -->`` does not run, but its
commands and options must exist. A block below ``<!-- file: NAME -->`` is a file that a test of its own runs.
"""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import praxiscope as px
from exported_models import each_exported_once
from support import Call, write_clip, write_moving

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINKED = [
    *PAGES,
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "benchmarks").glob("*.md")),
]

_TRAIN = {
    "--epochs": "1",
    "--batch": "4",
    "--workers": "0",
    "model.backbone": "resnet10",
    "input.size": "40",
    "input.short_side": "44",
    "input.snippets": "2",
    "optim.warmup_epochs": "0",
    "run.precision": "32",
    "run.tensorboard": "false",
}
SMALL: dict[str, dict[str, str]] = {
    "bench folds": {
        "--folds": "2",
        "--workers": "0",
        "model.backbone": "resnet10",
        "input.size": "40",
        "input.short_side": "44",
        "input.snippets": "2",
        "optim.epochs": "1",
        "run.tensorboard": "false",
    },
    "bench flow": {"--repeat": "1"},
    "bench predict": {"--videos": "1"},
    "check": {"--workers": "0"},
    "dataset move4mnist": {"--size": "32", "--frames": "12", "--workers": "1"},
    "dataset moving-shapes": {"--workers": "1"},
    "features": {"--backbone": "resnet10", "--size": "40", "--workers": "1"},
    "flow": {"--set": "warps=2", "--workers": "1"},
    "bench retrieval": {"--backbone": "resnet10"},
    "index": {"--backbone": "resnet10", "--layer": "layer2@64", "--words": "8", "--workers": "1"},
    "pack": {"--workers": "1"},
    "test": {"--workers": "0"},
    "train": _TRAIN,
}
"""Options, or settings of ``train``, that are added to a command that does not give them."""

_OPTIONS = {"model.backbone": "--backbone", "input.size": "--size", "input.snippets": "--watch"}
"""Options that give a setting."""
_OF_STREAMS = ("model.backbone", "input.size", "input.short_side", "input.snippets")
"""Settings that ``--from`` brings."""

_LAYERS = {"blocks.4": "layer3", "blocks.6": "layer4"}
"""Maps of the default backbone, and of the one that makes commands small."""

_BLOCK = re.compile(
    r"(?:<!-- (?:not run: )?(?P<reason>.+?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)```", re.DOTALL
)
_CODE = re.compile(r"`([^`\n]+)`")


class Block(NamedTuple):
    """A block of code of a page."""

    page: Path
    language: str
    text: str
    reason: str | None
    """Why it is not run."""


def blocks(page: Path) -> list[Block]:
    found = _BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(page, match["language"], match["text"], match["reason"]) for match in found]


def inline(page: Path) -> list[str]:
    """Code within sentences and tables."""
    return _CODE.findall(_BLOCK.sub("", page.read_text(encoding="utf-8")))


def commands(block: Block) -> list[tuple[str, ...]]:
    """The words of each line of a shell block, without comments."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := tuple(shlex.split(line, comments=True)))]


def relative(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


ALL = [block for page in PAGES for block in blocks(page)]
RUN = [
    line
    for block in ALL
    if block.language == "bash" and block.reason is None
    for line in commands(block)
    if line[0] == "praxiscope"
]


def output(line: tuple[str, ...]) -> str | None:
    """The file or folder that a command makes."""
    for flag in ("--out", ">"):
        if flag in line:
            return line[line.index(flag) + 1].rstrip("/")
    return line[3].rstrip("/") if line[1] in ("pack", "dataset") else None


def inputs(text: str) -> Iterator[str]:
    """What a command or code may read of what commands make."""
    yield from re.findall(
        r"(?<!out=.)\bruns/[\w-]+|(?<![\w/])\w+\.npz|(?<![\w-])(?:features|flow|idt|library|maps|last-maps|model|packed|digits|shapes)(?=/)",
        text,
    )


class Workshop:
    """The folder in which the pages are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done: set[tuple[str, ...]] = set()

    def run(self, call: Call, line: tuple[str, ...]) -> None:
        """Run a line once, and before it those that make what it reads."""
        if line in self.done:
            return
        self.done.add(line)
        made = output(line)
        self.make(call, [name for name in inputs(" ".join(line)) if name != made or "--resume" in line])
        words = [name for word in line[1:] for name in expand(_LAYERS.get(word, word))]
        target = words[words.index(">") + 1] if ">" in words else None
        words = words[: words.index(">")] if target else words
        result = call(*words, *small(words))
        assert result.code == 0, f"{shlex.join(line)}\n{result.err[-3000:]}"
        if target:
            Path(target).write_text(result.out)
        assert made is None or (self.folder / made).exists(), f"{shlex.join(line)} has not made {made}"

    def make(self, call: Call, names: list[str]) -> None:
        for name in names:
            if not (self.folder / name).exists():
                makers = [line for line in RUN if output(line) == name and "--resume" not in line]
                assert makers, f"no command of the pages makes {name}"
                self.run(call, makers[0])


def expand(word: str) -> list[str]:
    """What a shell makes of a word."""
    return sorted(map(str, Path().glob(word))) if "*" in word else [word]


def fitted(words: list[str]) -> set[str]:
    """The options of a ``train`` that fits a model to features or trajectories: without a loop, and with
    their own size."""
    stored = any(word.rstrip("/").endswith(("features", "idt", "maps")) for word in words)
    return {"--workers"} if stored else {"--workers", "model.backbone", "input.size"}


def small(words: list[str]) -> list[str]:
    """What is added to a command."""
    fits = words[0] == "train" and bool({"probe", "prototypes", "fisher-svm", "vlad-svm"} & set(words))
    name = " ".join(words[:2]) if " ".join(words[:2]) in SMALL else words[0]
    added: list[str] = []
    for option, value in SMALL.get(name, {}).items():
        if "--resume" in words or {option, _OPTIONS.get(option)} & set(words) - {"--epochs"}:
            continue
        if "--from" in words and option in _OF_STREAMS:
            continue
        if words[:2] == ["train", "features/"] and option in _OF_STREAMS:  # the store decides them
            continue
        if fits and option not in fitted(words):
            continue
        if name == "index" and Path("library", "library.json").is_file() and option != "--workers":
            continue  # a library keeps its encoder
        if name == "index" and "maps/" in words and option in ("--backbone", "--layer", "--fps"):
            continue  # the store decides them
        if option == "--set" and {"dis", "network", "raft"} & set(words):  # it is of TV-L1
            continue
        added += ["--set", f"{option}={value}"] if "." in option else [option, value]
    return added


def small_train(*given: Any, **settings: Any) -> px.Run:
    """``px.train`` with the settings that commands are made small by."""
    from praxiscope.commands.api import train

    added = {name.lstrip("-"): value for name, value in _TRAIN.items()}
    if settings.get("model") in ("probe", "prototypes"):
        added = {"workers": "0"}
    return train(*given, **{**settings, **added})


def small_features(*given: Any, **options: Any) -> Any:
    """``px.feature_store`` with the options that the command is made small by."""
    from praxiscope.commands.api import feature_store

    added = {name.lstrip("-"): value for name, value in SMALL["features"].items()}
    numbers = {name: int(value) if value.isdecimal() else value for name, value in added.items()}
    return feature_store(*given, **{**options, **numbers})


@pytest.fixture(scope="module")
def workshop(_narrow: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """The videos that the pages speak of."""
    folder = tmp_path_factory.mktemp("pages")
    for name, step in (("left", -2), ("right", 2)):
        for clip in range(4):
            write_moving(folder / "videos" / name / f"{clip}.mp4", step, clip, frames=17)
    for number, name in enumerate(("red", "green")):
        for clip in range(4):
            write_clip(folder / "clips" / name / f"{clip}.mp4", number, seed=100 * number + clip)
    shutil.copy(folder / "videos" / "left" / "0.mp4", folder / "clip.mp4")
    write_moving(folder / "long.mp4", 0, 5, frames=60)
    write_moving(folder / "more" / "a.mp4", 2, 5)
    rows = [
        f"videos/{name}/{clip}.mp4,{name},{'test' if clip == 3 else 'train'}"
        for name in ("left", "right")
        for clip in range(4)
    ]
    (folder / "list.csv").write_text("\n".join(["path,label,split", *rows]) + "\n")
    parts = [
        "videos/left/0.mp4,left,0,1,train",
        "videos/right/1.mp4,right,0,1,train",
        "long.mp4,left,1,3,test",
    ]
    (folder / "segments.csv").write_text("\n".join(["path,label,start,end,split", *parts]) + "\n")
    with each_exported_once():
        yield Workshop(folder)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=relative)
def test_the_commands_and_the_code_of_a_page_run(
    page: Path, workshop: Workshop, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workshop.folder)
    monkeypatch.setattr(px, "train", small_train)
    monkeypatch.setattr(px, "feature_store", small_features)
    monkeypatch.setattr("praxiscope.bench.flow._SIZE", (48, 64))
    for block in blocks(page):
        if block.reason is None and block.language == "bash":
            for line in commands(block):
                assert line[0] == "praxiscope", f"{relative(page)}: mark the block of {line[0]!r} as not run"
                workshop.run(call, line)
        elif block.reason is None and block.language == "python":
            workshop.make(call, list(inputs(block.text)))
            exec(compile(block.text, relative(page), "exec"), {"__name__": "__main__"})


def test_each_folder_is_made_by_one_command_of_all_pages() -> None:
    made: dict[str, set[tuple[str, ...]]] = {}
    for line in RUN:
        if (name := output(line)) in inputs(f"{name}/") and "--resume" not in line:
            made.setdefault(name, set()).add(line)
    assert {name: lines for name, lines in made.items() if len(lines) > 1} == {}


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    reasons = [f"{relative(block.page)}: {block.reason}" for block in ALL if block.reason is not None]
    reasons = [reason for reason in reasons if ": file: " not in reason]
    assert len(reasons) <= 22, "\n".join(reasons)
    assert {block.language for block in ALL} <= {"bash", "python", "text", "toml"}


def test_links_and_images_lead_somewhere() -> None:
    broken = []
    for page in LINKED:
        text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, anchor = target.partition("#")
            if "://" in path:
                continue
            file = (page.parent / path).resolve() if path else page
            if not file.exists() or (anchor and anchor not in anchors(file)):
                broken.append(f"{relative(page)}: {target}")
    assert not broken, "\n".join(broken)


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_commands_and_options_of_the_pages_exist() -> None:
    unknown = []
    for page in LINKED:
        lines = [line for block in blocks(page) if block.language in ("", "bash") for line in commands(block)]
        if page in PAGES:
            lines += [tuple(code.split()) for code in inline(page)]
            words = [word for code in inline(page) for word in code.split() if word.startswith("--")]
            unknown += [f"{relative(page)}: {word}" for word in words if word.split("=")[0] not in options()]
        for line in lines:
            if line and line[0] == "praxiscope" and (problem := wrong(line[1:])):
                unknown.append(f"{relative(page)}: {shlex.join(line)}: {problem}")
    assert not unknown, "\n".join(unknown)


@lru_cache
def entry() -> Any:
    """The command ``praxiscope``."""
    import typer

    from praxiscope.cli.main import app

    return typer.main.get_command(app)


def wrong(words: tuple[str, ...]) -> str | None:
    """What a command line names that does not exist."""
    command = entry()
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {
        "--help",
        *_COMPLETION,
    }
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        if command.name == "explain" and (words[0] == "RUN" or "/" in words[0]):
            words = ("page", *words)  # as the command does
        if words[0] not in command.commands:
            return words[0]
        command, words = command.commands[words[0]], words[1:]
        known |= {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    given = [word.split("=")[0] for word in words if word.startswith("--") and word != "--"]
    return next((word for word in given if word not in known), None)


_COMPLETION = ("--install-completion", "--show-completion")
_OTHERS = {"--nproc-per-node", *_COMPLETION}
"""Options of torchrun, and those that typer adds."""


@lru_cache
def options() -> set[str]:
    """The options of all commands."""
    found = set(_OTHERS)
    pending = [entry()]
    while pending:
        command = pending.pop()
        found |= {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
        pending += list(getattr(command, "commands", {}).values())
    return found | {"--help"}


def test_names_of_the_python_api_exist() -> None:
    missing = []
    for page in PAGES:
        code = [block.text for block in blocks(page) if block.language == "python"] + inline(page)
        for name in {name for text in code for name in re.findall(r"\bpx((?:\.[A-Za-z_]\w*)+)", text)}:
            found: Any = px
            for part in name[1:].split("."):
                found = getattr(found, part, None)
            if found is None:
                missing.append(f"{relative(page)}: px{name}")
    assert not missing, "\n".join(missing)


def test_modules_and_files_that_the_pages_name_exist() -> None:
    """Paths are below the root, ``src/praxiscope`` or one of its packages. Folders are those of users in the guide."""
    source = ROOT / "src" / "praxiscope"
    roots = [ROOT, source, *(folder for folder in source.iterdir() if folder.is_dir())]
    missing = []
    for page in PAGES:
        files = {block.reason for block in blocks(page)}
        folders = "" if page.parent.name == "guide" else r"|[a-z_]+(/[a-z_]+)*/"
        for code in inline(page):
            is_path = re.fullmatch(rf"[\w/]+\.py{folders}", code) and f"file: {code}" not in files
            if is_path and not any((root / code).exists() for root in roots):
                missing.append(f"{relative(page)}: {code}")
            if re.fullmatch(r"praxiscope(\.\w+)+", code) and code not in ENTRY_POINTS:
                module, _, name = code.rpartition(".")
                try:
                    importlib.import_module(code)
                except ModuleNotFoundError:
                    if not hasattr(importlib.import_module(module), name):
                        missing.append(f"{relative(page)}: {code}")
    assert not missing, "\n".join(missing)


ENTRY_POINTS = {
    f"praxiscope.{group}"
    for group in (
        "flow_layouts",
        "flow_methods",
        "layouts",
        "loggers",
        "models",
        "pictures",
        "recipes",
        "steps",
    )
}


def test_settings_that_the_pages_name_exist() -> None:
    from praxiscope.models import list_models
    from praxiscope.models.names import keywords_of
    from praxiscope.recipes.settings import TrainSettings
    from praxiscope.steps.registered import setting_names

    known = {
        name: set(getattr(field.annotation, "model_fields", ()))
        for name, field in TrainSettings.model_fields.items()
    }
    known["model"] |= {key for name in list_models() for key in keywords_of(name)}
    known["backprop"] = set(setting_names())
    known["run"] |= {"json", "path", *dir(px.Run)}  # a file; attributes in Python
    known["model"].add("sees")
    missing = []
    for page in [page for page in PAGES if page.name != "write_a_model.md"]:  # whose settings are its own
        code = [block.text for block in blocks(page) if block.language == "bash"]
        for text in [*code, *inline(page)]:
            for section, key in re.findall(r"(?<![\w./])([a-z]+)\.([a-z_]+)(?![\w.(/])", text):
                if section in known and key not in known[section]:
                    missing.append(f"{relative(page)}: {section}.{key}")
    assert not missing, "\n".join(missing)
