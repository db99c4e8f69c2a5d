"""Videos with stored flow as samples: the frames and fields of a part of a file, at the size of the flow."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from praxiscope.commands.flow import StoreOptions, extract_flow
from praxiscope.data.flow_videos import video_samples
from praxiscope.data.manifest import load_records
from praxiscope.flow.store import FlowStore
from praxiscope.video.opening import open_video
from support import write_clip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flow_videos")
    write_clip(folder / "clip.mp4", 0, frames=12)
    # 12 frames at 12 per second: the first part has the frames 0 to 4, the second 5 to 11
    times = open_video(folder / "clip.mp4").timestamps()
    cut = float(times[4] + times[5]) / 2
    (folder / "list.csv").write_text(
        f"path,label,start,end,split\nclip.mp4,a,,{cut},train\nclip.mp4,a,{cut},,test\n", encoding="utf-8"
    )
    options = StoreOptions(method="dis", parameters={"preset": "ultrafast"}, workers=1, short_side=32)
    extract_flow(folder / "list.csv", folder / "flow", options)
    return folder


def test_parts_of_a_file_have_their_own_frames_and_fields(data: Path) -> None:
    store, manifest = FlowStore(data / "flow"), load_records(data / "list.csv")
    first, second = video_samples(manifest.records, store, 60.0)
    assert (first.num_fields, second.num_fields) == (4, 6)
    clip = store.clip("clip.mp4")
    assert torch.equal(first.fields(0, 4), clip.fields(range(4)))
    assert torch.equal(second.fields(1, 5), clip.fields(range(6, 11)))
    frames = open_video(data / "clip.mp4").frames(range(5, 12), short_side=32)
    assert torch.equal(second.frames(0, 7), frames)
    assert frames.shape[-2:] == second.fields(0, 1).shape[-2:]
