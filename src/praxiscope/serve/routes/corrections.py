"""Corrections, and training on them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from praxiscope.errors import PraxiscopeError
from praxiscope.serve.items import CORRECTIONS
from praxiscope.serve.routes.common import item_of, state_of

__all__ = ["router"]

router = APIRouter()


class Correction(BaseModel):
    """The right label of a video, or of a part of it."""

    label: str = Field(min_length=1, max_length=100, pattern=r"^[^|\x00-\x1f\x7f]*$")
    start_s: float | None = Field(None, ge=0, allow_inf_nan=False)
    end_s: float | None = Field(None, gt=0, allow_inf_nan=False)


@router.post("/api/videos/{id}/corrections", status_code=201)
async def correct(request: Request, id: str, correction: Correction) -> dict[str, Any]:
    """Note the right label of a video or of a part. The CSV of all is `GET /api/corrections.csv`."""
    item, state = item_of(request, id), state_of(request)
    label = correction.label.strip()
    start_s, end_s = correction.start_s, correction.end_s
    if not any(sign.isprintable() and not sign.isspace() for sign in label):
        raise HTTPException(422, "The label is empty.")
    if end_s is not None and end_s <= (start_s or 0.0):
        raise HTTPException(422, "The part must end after it starts.")
    if (start_s or 0.0) >= item.facts["duration_s"]:
        raise HTTPException(
            422, f"The part starts after the end of the video, {item.facts['duration_s']:.1f} s."
        )
    if (end_s or 0.0) > item.facts["duration_s"] + 0.05:
        raise HTTPException(
            422, f"The part ends after the video, which lasts {item.facts['duration_s']:.1f} s."
        )
    same = {"start_s": start_s, "end_s": end_s}
    others = [one for one in item.corrections if {name: one[name] for name in same} != same]
    before, item.corrections = item.corrections, [*others, {"label": label, **same}]
    try:
        state.items.save(item)
    except OSError:
        item.corrections = before
        raise
    return {"corrections": state.items.write_corrections()}


@router.delete("/api/videos/{id}/corrections", status_code=204)
async def forget(request: Request, id: str) -> None:
    """Remove the corrections of a video."""
    item, state = item_of(request, id), state_of(request)
    item.corrections = []
    state.items.save(item)
    state.items.write_corrections()


@router.get("/api/corrections.csv")
async def corrections(request: Request) -> FileResponse:
    """All corrections, as `praxiscope train` reads them."""
    state = state_of(request)
    state.items.write_corrections()
    return FileResponse(state.options.store / CORRECTIONS, media_type="text/csv")


@router.get("/api/train")
async def training(request: Request) -> dict[str, Any]:
    """The training run: its status, and the end of its output."""
    return state_of(request).training.public()


@router.post("/api/train", status_code=202)
async def train(request: Request) -> dict[str, Any]:
    """Train on the corrections, from the network that is served, in a folder of the server."""
    state = state_of(request)
    if not state.network.about["one"]:
        raise HTTPException(
            409, "A fused run is not trained again. Train its parts with the CSV of the corrections."
        )
    if not state.items.write_corrections():
        raise HTTPException(409, "There are no corrections yet.")
    try:
        await state.training.start(str(state.network.about["model"]))
    except PraxiscopeError as error:
        raise HTTPException(409, str(error)) from None
    return state.training.public()
