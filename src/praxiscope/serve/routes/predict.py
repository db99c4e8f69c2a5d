"""Predictions that are not kept."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request

from praxiscope.errors import PraxiscopeError
from praxiscope.evaluation.protocols import parse_protocol
from praxiscope.serve.items import display_name
from praxiscope.serve.options import LONG_S
from praxiscope.serve.routes.common import BODY, Name, state_of, uploading, while_there
from praxiscope.serve.upload import suffix_of, write_body

__all__ = ["router"]

router = APIRouter()
_MOST_VIEWS = 300


@router.post("/api/predict", openapi_extra=BODY)
async def predict(
    request: Request,
    name: Name = "video",
    top: Annotated[int, Query(ge=1, le=1000, description="Number of classes.")] = 5,
    protocol: Annotated[str | None, Query(max_length=40, description="Views, such as 25x10.")] = None,
) -> dict[str, Any]:
    """Predict the video in the body, which is not kept. The answer is that of `praxiscope predict --json`."""
    state, shown = state_of(request), display_name(name)
    if protocol is not None:
        try:
            chosen = parse_protocol(protocol)
        except PraxiscopeError as error:
            raise HTTPException(422, str(error)) from None
        if chosen.temporal_views * chosen.crop_count > _MOST_VIEWS:
            raise HTTPException(422, f"protocol {protocol}: the server averages {_MOST_VIEWS} views at most")
    with tempfile.TemporaryDirectory(prefix="upload-", dir=state.options.store) as folder:
        path = Path(folder) / f"video{suffix_of(shown)}"
        async with uploading(state):
            state.metrics.uploaded.inc(await write_body(request, path))

        async def work() -> dict[str, Any]:
            facts = await state.probe(path, shown)
            long = facts["duration_s"] > LONG_S
            settings = {
                "top": top,
                "protocol": protocol,
                "long": long,
                "windows": state.options.limits.windows,
            }
            settings["duration_s"] = facts["duration_s"] if long else 0.0
            return await state.predict(path, shown, settings)

        answer = await while_there(request, work())
    return {"source": shown, **answer}
