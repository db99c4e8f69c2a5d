"""Videos that are kept."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from praxiscope.serve.items import PREVIEW, Item, display_name
from praxiscope.serve.pool import Broken, Busy
from praxiscope.serve.routes.common import BODY, Name, item_of, state_of, uploading, while_there
from praxiscope.serve.state import State, new_id
from praxiscope.serve.upload import suffix_of, write_body

__all__ = ["router"]

router = APIRouter()


class Chosen(BaseModel):
    """A video of the folder that is served."""

    id: str = Field(max_length=64)
    keep: bool = False


@router.get("/api/videos")
async def videos(request: Request) -> list[dict[str, Any]]:
    """All videos, the newest first."""
    return [item.public() for item in state_of(request).items]


def _check_room(state: State) -> None:
    if len(state.items) >= state.options.limits.videos:
        raise HTTPException(507, f"{len(state.items)} videos are kept. Remove some first.")


@router.post(
    "/api/videos",
    status_code=201,
    openapi_extra=BODY,
)
async def upload(request: Request, name: Name = "video", keep: bool = False) -> dict[str, Any]:
    """Keep the video in the body, and start its analysis.

    With `keep`, the analysis goes on when nobody watches it.
    """
    state, shown, id = state_of(request), display_name(name), new_id()
    _check_room(state)
    folder = state.items.folder(id)
    path = folder / f"video{suffix_of(shown)}"
    folder.mkdir()
    try:
        async with uploading(state):
            size = await write_body(request, path)
            state.metrics.uploaded.inc(size)
        facts = await while_there(request, state.probe(path, shown))
        item = Item(id, shown, str(path.resolve()), True, size, facts, keep=keep)
    except BaseException:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        raise
    try:
        return _begin(state, item)
    except HTTPException:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        raise


def _begin(state: State, item: Item) -> dict[str, Any]:
    _check_room(state)  # others may have come meanwhile
    try:
        state.items.add(item)
        state.analyse(item)
    except (Busy, Broken, OSError):
        state.items.remove(item)
        raise
    return item.public()


@router.post("/api/videos/choose", status_code=201)
async def choose(request: Request, chosen: Chosen) -> dict[str, Any]:
    """Start the analysis of a video of the folder that is served."""
    state, found = state_of(request), request.app.state.folder.path(chosen.id)
    if found is None:
        raise HTTPException(404, "There is no such video in the folder.")
    _check_room(state)
    facts = await while_there(request, state.probe(found, found.name))
    size = found.stat().st_size
    return _begin(
        state, Item(new_id(), display_name(found.name), str(found), False, size, facts, keep=chosen.keep)
    )


@router.get("/api/videos/{id}")
async def video(request: Request, id: str) -> dict[str, Any]:
    """One video: its status, its answer, the number of its windows."""
    return item_of(request, id).public()


@router.delete("/api/videos/{id}", status_code=204)
async def remove(request: Request, id: str) -> None:
    """Remove a video, its results and its corrections."""
    state_of(request).remove(item_of(request, id))


@router.post("/api/videos/{id}/analyse", status_code=202)
async def analyse(request: Request, id: str) -> dict[str, Any]:
    """Analyse a video again."""
    item = item_of(request, id)
    if item.ended:
        state_of(request).analyse(item)
    return item.public()


@router.post("/api/videos/{id}/stop", status_code=202)
async def stop(request: Request, id: str) -> dict[str, Any]:
    """Stop the analysis of a video; what was found is kept."""
    item = item_of(request, id)
    state_of(request).stop(item)
    return item.public()


@router.post("/api/videos/{id}/preview", status_code=202)
async def preview(request: Request, id: str) -> dict[str, Any]:
    """Make a copy that browsers play. It is `GET /api/videos/{id}/file` then."""
    item = item_of(request, id)
    if not item.facts["playable"]:
        state_of(request).copy(item)
    return item.public()


@router.get("/api/videos/{id}/file")
async def file(request: Request, id: str) -> FileResponse:
    """The video itself, or the copy that browsers play, for a player."""
    item = item_of(request, id)
    copy = state_of(request).items.folder(item.id) / PREVIEW
    if not item.facts["playable"] and copy.is_file():
        return FileResponse(copy, media_type="video/mp4")
    kind = "video/webm" if item.path.lower().endswith(".webm") else "video/mp4"
    if not item.facts["playable"]:
        kind = "application/octet-stream"
    if not Path(item.path).is_file():
        raise HTTPException(410, "The file is no longer there.")
    return FileResponse(item.path, media_type=kind)
