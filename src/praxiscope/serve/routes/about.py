"""The server itself."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response

from praxiscope import __version__
from praxiscope.serve.folder import Folder
from praxiscope.serve.routes.common import state_of

__all__ = ["router"]

router = APIRouter()


@router.get("/health")
async def health(request: Request, response: Response) -> dict[str, str]:
    """Whether videos can be answered: status 503 if the network cannot be started."""
    broken = state_of(request).network.broken
    response.status_code = 503 if broken else 200
    return {"status": "broken" if broken else "ok"}


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Counters for Prometheus."""
    return Response(state_of(request).metrics.text(), media_type="text/plain; version=0.0.4")


@router.get("/api/about")
async def about(request: Request) -> dict[str, Any]:
    """The model, its classes, and what the server accepts."""
    state = state_of(request)
    limits = state.options.limits
    return {
        "version": __version__,
        "model": state.network.about.get("model"),
        "trains": state.network.about.get("one"),
        "labels": state.network.about.get("labels"),
        "library": state.options.library is not None,
        "folder": state.options.videos is not None,
        "limits": {"bytes": limits.bytes, "seconds": limits.seconds, "pixels": limits.pixels},
    }


@router.get("/api/folder")
async def folder(request: Request) -> list[dict[str, Any]]:
    """The videos of the folder that is served."""
    found: Folder = request.app.state.folder
    return await asyncio.to_thread(found.listed)
