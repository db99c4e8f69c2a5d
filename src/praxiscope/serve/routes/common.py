"""What several requests share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import HTTPException, Query, Request

from praxiscope.serve.items import Item
from praxiscope.serve.pool import Busy
from praxiscope.serve.state import State

__all__ = ["BODY", "UPLOADS", "Name", "item_of", "state_of", "uploading", "while_there"]

UPLOADS = ("/api/videos", "/api/predict")
BODY: dict[str, Any] = {"requestBody": {"content": {"video/*": {}}, "required": True}}
Name = Annotated[str, Query(max_length=1000, description="Name of the file, for display.")]


def state_of(request: Request) -> State:
    state: State = request.app.state.server
    return state


def item_of(request: Request, id: str) -> Item:
    item = state_of(request).items.get(id)
    if item is None:
        raise HTTPException(404, "There is no such video.")
    item.seen = time.monotonic()
    return item


@asynccontextmanager
async def uploading(state: State) -> AsyncIterator[None]:
    """Count an upload.

    Raises:
        Busy: too many already.
    """
    if state.uploads >= state.options.limits.uploads:
        raise Busy(f"{state.uploads} videos are being uploaded. Try again later.")
    state.uploads += 1
    try:
        yield
    finally:
        state.uploads -= 1


async def while_there(request: Request, work: Awaitable[Any]) -> Any:
    """Do work that ends with the client."""
    task = asyncio.ensure_future(work)

    async def gone() -> None:
        while not await request.is_disconnected():
            await asyncio.sleep(0.1)

    watch = asyncio.create_task(gone())
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise HTTPException(499, "The client has gone.")
    finally:
        task.cancel()
        watch.cancel()
