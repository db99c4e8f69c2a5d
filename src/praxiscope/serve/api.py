"""The web interface: JSON under ``/api``, the page, ``/health`` and ``/metrics``."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, Field
from starlette.staticfiles import StaticFiles

from praxiscope import __version__
from praxiscope.errors import PraxiscopeError
from praxiscope.evaluation.protocols import parse_protocol
from praxiscope.serve.folder import Folder
from praxiscope.serve.items import CORRECTIONS, Item, display_name
from praxiscope.serve.pool import Busy
from praxiscope.serve.state import Failed, State, new_id
from praxiscope.serve.upload import suffix_of, write_body

__all__ = ["UPLOADS", "create_app"]

UPLOADS = ("/api/videos", "/api/predict")
_STATIC = Path(__file__).with_name("static")
_KEEP_ALIVE_S = 15.0
# The explanation is one page with its own style and script; it may load nothing but the video.
_PAGE_POLICY = (
    "default-src 'none'; img-src data:; media-src 'self' data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)
Name = Annotated[str, Query(max_length=1000, description="Name of the file, for display.")]


class Chosen(BaseModel):
    """A video of the folder that is served."""

    id: str = Field(max_length=64)


class Correction(BaseModel):
    """The right label of a video, or of a part of it."""

    label: str = Field(min_length=1, max_length=100, pattern=r"^[^|\x00-\x1f\x7f]*$")
    start_s: float | None = Field(None, ge=0, allow_inf_nan=False)
    end_s: float | None = Field(None, gt=0, allow_inf_nan=False)


class Asked(BaseModel):
    """The class that is explained; None: the one that was predicted."""

    label: str | None = Field(None, max_length=200)


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

    @app.exception_handler(Failed)
    async def failed(request: Request, error: Failed) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 422)

    for router in (_about, _predict, _videos, _results, _training):
        app.include_router(router)
    app.mount("/", StaticFiles(directory=_STATIC, html=True))
    return app


_about, _predict, _videos, _results, _training = (APIRouter() for _ in range(5))


def _state(request: Request) -> State:
    state: State = request.app.state.server
    return state


def _item(request: Request, id: str) -> Item:
    item = _state(request).items.get(id)
    if item is None:
        raise HTTPException(404, "There is no such video.")
    item.seen = time.monotonic()
    return item


@_about.get("/health")
async def health() -> dict[str, str]:
    """Whether the server runs."""
    return {"status": "ok"}


@_about.get("/metrics")
async def metrics(request: Request) -> Response:
    """Counters for Prometheus."""
    return Response(_state(request).metrics.text(), media_type="text/plain; version=0.0.4")


@_about.get("/api/about")
async def about(request: Request) -> dict[str, Any]:
    """The model, its classes, and what the server accepts."""
    state = _state(request)
    limits = state.options.limits
    return {
        "version": __version__,
        "model": state.network.about.get("text"),
        "labels": state.network.about.get("labels"),
        "library": state.options.library is not None,
        "folder": state.options.videos is not None,
        "limits": {"bytes": limits.bytes, "seconds": limits.seconds, "pixels": limits.pixels},
    }


@_about.get("/api/folder")
async def folder(request: Request) -> list[dict[str, Any]]:
    """The videos of the folder that is served."""
    found: Folder = request.app.state.folder
    return await asyncio.to_thread(found.listed)


@asynccontextmanager
async def _uploading(state: State) -> AsyncIterator[None]:
    if state.uploads >= state.options.limits.uploads:
        raise Busy(f"{state.uploads} videos are being uploaded. Try again later.")
    state.uploads += 1
    try:
        yield
    finally:
        state.uploads -= 1


async def _while_there(request: Request, work: Awaitable[Any]) -> Any:
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


@_predict.post("/api/predict", openapi_extra={"requestBody": {"content": {"video/*": {}}, "required": True}})
async def predict(
    request: Request,
    name: Name = "video",
    top: Annotated[int, Query(ge=1, le=1000, description="Number of classes.")] = 5,
    protocol: Annotated[str | None, Query(max_length=40, description="Views, such as 25x10.")] = None,
) -> dict[str, Any]:
    """Predict the video in the body, which is not kept. The answer is that of `praxiscope predict --json`."""
    state, shown = _state(request), display_name(name)
    if protocol is not None:
        try:
            parse_protocol(protocol)
        except PraxiscopeError as error:
            raise HTTPException(422, str(error)) from None
    with tempfile.TemporaryDirectory(prefix="upload-", dir=state.options.store) as folder:
        path = Path(folder) / f"video{suffix_of(shown)}"
        async with _uploading(state):
            state.metrics.uploaded.inc(await write_body(request, path))

        async def work() -> dict[str, Any]:
            await state.probe(path, shown)
            settings = {"top": top, "protocol": protocol}
            return await state.predict(path, shown, settings)

        answer = await _while_there(request, work())
    return {"source": shown, **answer}


@_videos.get("/api/videos")
async def videos(request: Request) -> list[dict[str, Any]]:
    """All videos, the newest first."""
    return [item.public() for item in _state(request).items]


def _check_room(state: State) -> None:
    if len(state.items) >= state.options.limits.videos:
        raise HTTPException(507, f"{len(state.items)} videos are kept. Remove some first.")


@_videos.post(
    "/api/videos",
    status_code=201,
    openapi_extra={"requestBody": {"content": {"video/*": {}}, "required": True}},
)
async def upload(request: Request, name: Name = "video", keep: bool = False) -> dict[str, Any]:
    """Keep the video in the body, and start its analysis.

    With `keep`, the analysis goes on when nobody watches it.
    """
    state, shown, id = _state(request), display_name(name), new_id()
    _check_room(state)
    folder = state.items.folder(id)
    path = folder / f"video{suffix_of(shown)}"
    folder.mkdir()
    try:
        async with _uploading(state):
            size = await write_body(request, path)
            state.metrics.uploaded.inc(size)
        facts = await _while_there(request, state.probe(path, shown))
        item = Item(id, shown, str(path.resolve()), True, size, facts, keep=keep)
    except BaseException:
        await asyncio.to_thread(_remove, folder)
        raise
    return _begin(state, item)


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _begin(state: State, item: Item) -> dict[str, Any]:
    state.items.add(item)
    try:
        state.analyse(item)
    except Busy:
        state.items.remove(item)
        raise
    return item.public()


@_videos.post("/api/videos/choose", status_code=201)
async def choose(request: Request, chosen: Chosen) -> dict[str, Any]:
    """Start the analysis of a video of the folder that is served."""
    state, found = _state(request), request.app.state.folder.path(chosen.id)
    if found is None:
        raise HTTPException(404, "There is no such video in the folder.")
    _check_room(state)
    facts = await _while_there(request, state.probe(found, found.name))
    size = found.stat().st_size
    return _begin(state, Item(new_id(), display_name(found.name), str(found), False, size, facts))


@_videos.get("/api/videos/{id}")
async def video(request: Request, id: str) -> dict[str, Any]:
    """One video: its status, its answer, the number of its windows."""
    return _item(request, id).public()


@_videos.delete("/api/videos/{id}", status_code=204)
async def remove(request: Request, id: str) -> None:
    """Remove a video, its results and its corrections."""
    _state(request).remove(_item(request, id))


@_videos.post("/api/videos/{id}/analyse", status_code=202)
async def analyse(request: Request, id: str) -> dict[str, Any]:
    """Analyse a video again."""
    item = _item(request, id)
    if item.ended:
        _state(request).analyse(item)
    return item.public()


@_videos.post("/api/videos/{id}/stop", status_code=202)
async def stop(request: Request, id: str) -> dict[str, Any]:
    """Stop the analysis of a video; what was found is kept."""
    item = _item(request, id)
    _state(request).network.cancel(item.id)
    return item.public()


@_videos.get("/api/videos/{id}/file")
async def file(request: Request, id: str) -> FileResponse:
    """The video itself, for a player."""
    item = _item(request, id)
    kind = "video/webm" if item.path.lower().endswith(".webm") else "video/mp4"
    if not item.facts["playable"]:
        kind = "application/octet-stream"
    if not Path(item.path).is_file():
        raise HTTPException(410, "The file is no longer there.")
    return FileResponse(item.path, media_type=kind)


@_results.get("/api/videos/{id}/windows")
async def windows(request: Request, id: str, start: Annotated[int, Query(ge=0)] = 0) -> list[Any]:
    """The timeline: start and end in seconds, labels, probabilities, whether none of these."""
    return _item(request, id).windows[start:]


@_results.get("/api/videos/{id}/thumbs/{number}")
async def thumb(request: Request, id: str, number: int) -> FileResponse:
    """A thumbnail, JPEG."""
    item = _item(request, id)
    if not 0 <= number < len(item.thumbs):
        raise HTTPException(404, "There is no such thumbnail.")
    return FileResponse(
        _state(request).items.folder(item.id) / f"thumb-{number}.jpg", media_type="image/jpeg"
    )


@_results.get("/api/videos/{id}/events")
async def events(request: Request, id: str) -> StreamingResponse:
    """Server-sent events: `windows` as the timeline grows, and `state` when something changes."""
    item = _item(request, id)
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
            await item.changed(version, _KEEP_ALIVE_S)
    finally:
        item.watchers -= 1
        item.seen = time.monotonic()


def _event(name: str, content: Any, id: int | None = None) -> bytes:
    number = "" if id is None else f"id: {id}\n"
    return f"event: {name}\n{number}data: {json.dumps(content)}\n\n".encode()


@_results.post("/api/videos/{id}/why", status_code=202)
async def explain(request: Request, id: str, asked: Asked) -> dict[str, Any]:
    """Explain the answer, or the score of another class. The page is `GET /api/videos/{id}/why`."""
    item, state = _item(request, id), _state(request)
    if asked.label is not None and asked.label not in state.network.about["labels"]:
        raise HTTPException(422, f"The model has no class {asked.label!r}.")
    state.explain(item, asked.label)
    return item.public()


@_results.get("/api/videos/{id}/why")
async def why(request: Request, id: str) -> FileResponse:
    """The explanation, one page of HTML."""
    path = _state(request).items.folder(_item(request, id).id) / "why.html"
    if not path.is_file():
        raise HTTPException(404, "There is no explanation yet. Ask for one.")
    return FileResponse(path, media_type="text/html", headers={"Content-Security-Policy": _PAGE_POLICY})


@_results.post("/api/videos/{id}/similar", status_code=202)
async def search(request: Request, id: str) -> dict[str, Any]:
    """Search the library for items like this one. They are `GET /api/videos/{id}/similar`."""
    item, state = _item(request, id), _state(request)
    if state.options.library is None:
        raise HTTPException(409, "No library is served. Start the server with --library.")
    state.search(item)
    return item.public()


@_results.get("/api/videos/{id}/similar")
async def similar(request: Request, id: str) -> FileResponse:
    """The items of the library that are most like this one, with thumbnails in base 64."""
    path = _state(request).items.folder(_item(request, id).id) / "similar.json"
    if not path.is_file():
        raise HTTPException(404, "There was no search yet. Ask for one.")
    return FileResponse(path, media_type="application/json")


@_training.post("/api/videos/{id}/corrections", status_code=201)
async def correct(request: Request, id: str, correction: Correction) -> dict[str, Any]:
    """Note the right label of a video or of a part. The CSV of all is `GET /api/corrections.csv`."""
    item, state = _item(request, id), _state(request)
    label = correction.label.strip()
    start_s, end_s = correction.start_s, correction.end_s
    if not label:
        raise HTTPException(422, "The label is empty.")
    if end_s is not None and end_s <= (start_s or 0.0):
        raise HTTPException(422, "The part must end after it starts.")
    if (start_s or 0.0) >= item.facts["duration_s"]:
        raise HTTPException(
            422, f"The part starts after the end of the video, {item.facts['duration_s']:.1f} s."
        )
    same = {"start_s": start_s, "end_s": end_s}
    others = [one for one in item.corrections if {name: one[name] for name in same} != same]
    item.corrections = [*others, {"label": label, **same}]
    state.items.save(item)
    return {"corrections": state.items.write_corrections()}


@_training.delete("/api/videos/{id}/corrections", status_code=204)
async def forget(request: Request, id: str) -> None:
    """Remove the corrections of a video."""
    item, state = _item(request, id), _state(request)
    item.corrections = []
    state.items.save(item)
    state.items.write_corrections()


@_training.get("/api/corrections.csv")
async def corrections(request: Request) -> FileResponse:
    """All corrections, as `praxiscope train` reads them."""
    state = _state(request)
    state.items.write_corrections()
    return FileResponse(state.options.store / CORRECTIONS, media_type="text/csv")


@_training.get("/api/train")
async def training(request: Request) -> dict[str, Any]:
    """The training run: its status, and the end of its output."""
    return _state(request).training.public()


@_training.post("/api/train", status_code=202)
async def train(request: Request) -> dict[str, Any]:
    """Train on the corrections, from the network that is served, in a folder of the server."""
    state = _state(request)
    if not state.items.write_corrections():
        raise HTTPException(409, "There are no corrections yet.")
    try:
        await state.training.start()
    except PraxiscopeError as error:
        raise HTTPException(409, str(error)) from None
    return state.training.public()
