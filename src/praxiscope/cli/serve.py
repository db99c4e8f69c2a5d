"""``praxiscope serve``."""

from __future__ import annotations

import re
import secrets
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from praxiscope.cli.common import DATA_PANEL, RUN_PANEL, Checkpoint, Device, Task, reporter
from praxiscope.errors import ArgumentError

HELP = """Serve a recogniser: a page in the browser, and a JSON API.

\b
Example: praxiscope serve runs/a
  praxiscope serve runs/a --library library/ --videos films/
Drop a video on the page, watch its timeline grow, see why, correct labels.
"""
_NEEDED = ("fastapi", "uvicorn", "prometheus_client")
_ADDRESS, _LIMITS = "Address", "Limits"


def serve(
    run: Annotated[str, typer.Argument(help="Run folder or model folder.")],
    library: Annotated[
        Path | None,
        typer.Option(
            help="Library (praxiscope index) to find similar videos in.", rich_help_panel=DATA_PANEL
        ),
    ] = None,
    videos: Annotated[
        Path | None,
        typer.Option(help="Folder whose videos can be chosen on the page.", rich_help_panel=DATA_PANEL),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            help="Folder of uploaded videos, results and corrections. Default: served in the folder of the run.",
            rich_help_panel=DATA_PANEL,
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen at. Others than this machine's own need a token, which is printed.",
            rich_help_panel=_ADDRESS,
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0: any that is free.", rich_help_panel=_ADDRESS)] = 8000,
    name: Annotated[
        list[str] | None,
        typer.Option(
            help="Host name by which the server may be called. May be repeated.", rich_help_panel=_ADDRESS
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            help="Token that clients must have. Default: a new one with --host, else none.",
            envvar="PRAXISCOPE_TOKEN",
            rich_help_panel=_ADDRESS,
        ),
    ] = None,
    max_upload: Annotated[
        str, typer.Option(help="Largest file, such as 500MB.", rich_help_panel=_LIMITS)
    ] = "2GiB",
    max_length: Annotated[
        str, typer.Option(help="Longest video, such as 30min.", rich_help_panel=_LIMITS)
    ] = "4h",
    max_videos: Annotated[
        int, typer.Option(min=1, help="Largest number of videos kept.", rich_help_panel=_LIMITS)
    ] = 500,
    queue: Annotated[
        int, typer.Option(min=1, help="Jobs that may wait; more get status 429.", rich_help_panel=_LIMITS)
    ] = 32,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes with a network each.", rich_help_panel=RUN_PANEL)
    ] = 1,
    runtime: Annotated[
        str,
        typer.Option(
            help="What runs the network on a CPU: auto, torch, onnxruntime or openvino. auto exports it once if "
            "another one than torch is faster.",
            rich_help_panel=RUN_PANEL,
        ),
    ] = "auto",
    checkpoint: Checkpoint = None,
    task: Task = None,
    device: Device = "auto",
) -> None:
    from praxiscope.checkpoint import check_recogniser
    from praxiscope.devices import check_device
    from praxiscope.inference.options import check_runtime
    from praxiscope.serve.options import LOOPBACK, Limits, ServeOptions
    from praxiscope.units import parse_duration, parse_size

    if missing := [module for module in _NEEDED if find_spec(module) is None]:
        raise ArgumentError(
            f"praxiscope serve needs {missing[0]}. Install it: pip install 'praxiscope[serve]'"
        )
    check_device(device)
    check_recogniser(run, checkpoint, task)
    for option, folder in (("--library", library), ("--videos", videos)):
        if folder is not None and not folder.is_dir():
            raise ArgumentError(f"{option} {folder}: no such folder")
    if token is not None and not re.fullmatch(r"[A-Za-z0-9._~-]{8,}", token):
        raise ArgumentError("--token (or PRAXISCOPE_TOKEN) needs 8 letters, digits or signs of -._~ or more")
    try:
        most = parse_size(max_upload)
    except ArgumentError:
        raise ArgumentError(f"--max-upload {max_upload}: expected a size such as 500MB or 2GiB") from None
    limits = Limits(
        bytes=most,
        seconds=parse_duration("--max-length", max_length),
        videos=max_videos,
        queue=queue,
    )
    options = ServeOptions(
        run=run,
        store=store or Path(run) / "served",
        videos=videos,
        library=library,
        host=host,
        port=port,
        names=tuple(name or ()),
        token=token or ("" if host in LOOPBACK else secrets.token_urlsafe(16)),
        workers=workers,
        device=device,
        checkpoint=checkpoint,
        task=task,
        runtime=check_runtime(runtime),
        limits=limits,
    )
    from praxiscope.serve.run import serve as run_server

    speaker = reporter()
    speaker.line("Loading the model …")
    run_server(options, say=speaker.line)
