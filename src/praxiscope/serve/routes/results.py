"""What was found of a video."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel, Field

from praxiscope.serve.items import Item
from praxiscope.serve.routes.common import item_of, state_of

__all__ = ["router"]

router = APIRouter()
_KEEP_ALIVE_S = 15.0
# The explanation is one page with its own style and script; it may load nothing but the video.
_PAGE_POLICY = (
    "default-src 'none'; img-src data:; media-src 'self' data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)


class Asked(BaseModel):
    """The class that is explained; None: the one that was predicted."""

    label: str | None = Field(None, max_length=200)


@router.get("/api/videos/{id}/windows")
async def windows(request: Request, id: str, start: Annotated[int, Query(ge=0)] = 0) -> list[Any]:
    """The timeline: start and end in seconds, labels, probabilities, whether none of these."""
    return item_of(request, id).windows[start:]


@router.get("/api/videos/{id}/thumbs/{number}")
async def thumb(request: Request, id: str, number: int) -> FileResponse:
    """A thumbnail, JPEG."""
    item = item_of(request, id)
    if not 0 <= number < len(item.thumbs):
        raise HTTPException(404, "There is no such thumbnail.")
    return FileResponse(
        state_of(request).items.folder(item.id) / f"thumb-{number}.jpg", media_type="image/jpeg"
    )


@router.get("/api/videos/{id}/events")
async def events(request: Request, id: str) -> StreamingResponse:
    """Server-sent events: `windows` as the timeline grows, and `state` when something changes."""
    item = item_of(request, id)
    last = request.headers.get("last-event-id", "")
    start = int(last) if last.isdecimal() and len(last) < 10 else 0
    return StreamingResponse(_follow(item, start), media_type="text/event-stream")


async def _follow(item: Item, sent: int) -> AsyncIterator[bytes]:
    item.watchers += 1
    try:
        version = -1
        while True:
            if item.version == version:
                yield b": still here\n\n"
            version = item.version
            if sent > len(item.windows):  # the analysis has started again
                sent = 0
            state = item.public()  # with the windows until now, which are sent before it
            if new := item.windows[sent:]:
                sent += len(new)
                yield _event("windows", {"from": sent - len(new), "windows": new}, sent)
            yield _event("state", state)
            if item.removed:
                return
            await item.changed(version, _KEEP_ALIVE_S)
    finally:
        item.watchers -= 1
        item.seen = time.monotonic()


def _event(name: str, content: Any, id: int | None = None) -> bytes:
    number = "" if id is None else f"id: {id}\n"
    return f"event: {name}\n{number}data: {json.dumps(content)}\n\n".encode()


@router.post("/api/videos/{id}/why", status_code=202)
async def explain(request: Request, id: str, asked: Asked) -> dict[str, Any]:
    """Explain the answer, or the score of another class. The page is `GET /api/videos/{id}/why`."""
    item, state = item_of(request, id), state_of(request)
    if asked.label is not None and asked.label not in state.network.about["labels"]:
        raise HTTPException(422, f"The model has no class {asked.label!r}.")
    state.explain(item, asked.label)
    return item.public()


@router.get("/api/videos/{id}/why")
async def why(request: Request, id: str) -> FileResponse:
    """The explanation, one page of HTML."""
    path = state_of(request).items.folder(item_of(request, id).id) / "why.html"
    if not path.is_file():
        raise HTTPException(404, "There is no explanation yet. Ask for one.")
    return FileResponse(path, media_type="text/html", headers={"Content-Security-Policy": _PAGE_POLICY})


@router.post("/api/videos/{id}/similar", status_code=202)
async def search(request: Request, id: str) -> dict[str, Any]:
    """Search the library for items like this one. They are `GET /api/videos/{id}/similar`."""
    item, state = item_of(request, id), state_of(request)
    if state.options.library is None:
        raise HTTPException(409, "No library is served. Start the server with --library.")
    state.search(item)
    return item.public()


@router.get("/api/videos/{id}/similar")
async def similar(request: Request, id: str) -> FileResponse:
    """The items of the library that are most like this one, with thumbnails in base 64."""
    path = state_of(request).items.folder(item_of(request, id).id) / "similar.json"
    if not path.is_file():
        raise HTTPException(404, "There was no search yet. Ask for one.")
    return FileResponse(path, media_type="application/json")
