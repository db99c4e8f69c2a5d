"""The web interface: JSON under ``/api``, the page, ``/health`` and ``/metrics``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.staticfiles import StaticFiles

from praxiscope import __version__
from praxiscope.serve.folder import Folder
from praxiscope.serve.pool import Broken, Busy
from praxiscope.serve.routes import about, corrections, predict, results, videos
from praxiscope.serve.state import Conflict, Failed, State

__all__ = ["create_app"]

_STATIC = Path(__file__).with_name("static")


def create_app(state: State) -> FastAPI:
    """The application of a server.

    Args:
        state: started.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(state.look_after())
        yield
        task.cancel()

    app = FastAPI(
        title="praxiscope",
        version=__version__,
        description="Recognise actions in videos.",
        openapi_url="/api/openapi.json",
        docs_url=None,  # theirs is fetched from the network
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.server = state
    app.state.folder = Folder(state.options.videos)

    @app.exception_handler(Busy)
    async def busy(request: Request, error: Busy) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 429, {"Retry-After": "2"})

    @app.exception_handler(Broken)
    async def broken(request: Request, error: Broken) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 503)

    @app.exception_handler(Conflict)
    async def conflict(request: Request, error: Conflict) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 409)

    @app.exception_handler(OSError)
    async def full(request: Request, error: OSError) -> JSONResponse:
        return JSONResponse({"detail": f"The folder of the server cannot be written: {error.strerror}."}, 507)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        # Without the input, which may hold what JSON cannot.
        found = [{"loc": [str(part) for part in one["loc"]], "msg": one["msg"]} for one in error.errors()]
        return JSONResponse(json.loads(json.dumps({"detail": found}, ensure_ascii=True)), 422)

    @app.exception_handler(Failed)
    async def failed(request: Request, error: Failed) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 422)

    for part in (about, predict, videos, results, corrections):
        app.include_router(part.router)
    app.mount("/", StaticFiles(directory=_STATIC, html=True))
    return app
