"""What the server refuses, each with a clear status, and without harm to others."""

from __future__ import annotations

import io
import socket
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from video_files import make_video


def raw(port: int, request: bytes, wait_s: float = 30.0) -> bytes:
    """Send bytes, and return what comes until the server closes or says its first words."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait_s) as connection:
        try:
            connection.sendall(request)
            return connection.recv(65536)
        except ConnectionError:
            return b""


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "", "[::1"]
)
def test_other_hosts_are_refused(server: Any, host: str) -> None:
    assert server.ask("GET", "/api/videos", headers={"Host": host}).status == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000"])
def test_its_own_names_are_accepted(server: Any, host: str) -> None:
    assert server.ask("GET", "/health", headers={"Host": host}).json == {"status": "ok"}


def test_two_hosts_or_none_are_refused(server: Any) -> None:
    assert status(raw(server.port, b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n")) in (400, 421)
    assert status(raw(server.port, b"GET / HTTP/1.1\r\n\r\n")) in (400, 421)


def test_other_origins_cannot_change_anything(server: Any, clip: Path) -> None:
    elsewhere = ("http://evil.example", "null", "http://[", "https://127.0.0.1")
    for headers in (*({"Origin": origin} for origin in elsewhere), {"Sec-Fetch-Site": "cross-site"}):
        assert server.ask("POST", "/api/videos", clip, headers).status == 403
        assert server.ask("POST", "/api/train", headers=headers).status == 403
    own = {"Origin": f"http://127.0.0.1:{server.port}"}
    assert server.ask("POST", "/api/predict", clip, own).status == 200


def test_pages_may_load_nothing_from_elsewhere(server: Any) -> None:
    page = server.ask("GET", "/")
    assert page.status == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'self'" in page.headers["content-security-policy"]
    assert "access-control-allow-origin" not in page.headers


@pytest.mark.parametrize(
    "path",
    [
        "/../../../etc/passwd",
        "/..%2f..%2f..%2fetc/passwd",
        "/api/videos/..%2f..%2f/file",
        "/api/videos/0000000000000000/file",
        "/api/videos/%00/file",
        "/static/../run.py",
        "/api/videos/x/thumbs/-1",
    ],
)
def test_no_path_leads_out(server: Any, path: str) -> None:
    answer = server.ask("GET", path)
    assert answer.status in (404, 405, 422)
    assert b"root:" not in answer.body


def test_names_never_become_paths(server: Any, clip: Path) -> None:
    before = {path for path in server.store.parent.rglob("*") if path.is_file()}
    for name in (
        "..%2F..%2Fescape.mp4",
        "%2Fetc%2Fcron.d%2Fx.mp4",
        "a%00b.mp4",
        "C:%5Cx.mp4",
        "%E2%80%AE4pm.exe",
        "." * 900,
    ):
        answer = server.ask("POST", f"/api/videos?name={name}", clip)
        assert answer.status == 201
        assert "/" not in answer.json["name"]
        assert "\\" not in answer.json["name"]
        assert answer.json["name"].replace("\u200d", "").isprintable()
        server.ended(answer.json["id"])
        assert server.ask("DELETE", f"/api/videos/{answer.json['id']}").status == 204
    after = {path for path in server.store.parent.rglob("*") if path.is_file()}
    assert {path.name for path in after - before} <= {"corrections.csv"}


def zip_bytes() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.mp4", b"x" * 1000)
    return file.getvalue()


def test_what_is_no_video_is_refused_and_not_kept(server: Any, clip: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.ts"
    secret.write_bytes(clip.read_bytes())
    playlist = f"#EXTM3U\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode()
    concat = f"ffconcat version 1.0\nfile {secret}\n".encode()
    whole = clip.read_bytes()
    cut = whole[: len(whole) // 3]
    before = server.ask("GET", "/api/videos").json
    for body in (
        zip_bytes(),
        playlist,
        concat,
        b"<?xml?><MPD/>",
        b"v=0\r\nm=video",
        b"\x00" * 5000,
        cut,
        b"MZ",
        b"GIF8\nv=0\nm=video 9",
        b"#!/bin/sh\n",
    ):
        for path in ("/api/predict?name=a.mp4", "/api/videos?name=a.mp4"):
            answer = server.ask("POST", path, body)
            assert answer.status == 422, body[:20]
            assert str(server.store) not in answer.json["detail"]
    for path in ("/api/predict", "/api/videos"):
        assert server.ask("POST", path, b"").status == 400
    assert server.ask("GET", "/api/videos").json == before
    assert not list(server.store.glob("upload-*"))


def test_bounds(start: Any, clip: Path, tmp_path: Path) -> None:
    large = make_video(tmp_path / "large.mp4", size=(128, 96), frames=10)
    long = make_video(tmp_path / "long.mp4", frames=60, rate=10)
    many = make_video(tmp_path / "many.mp4", frames=60, rate=25)
    size = max(path.stat().st_size for path in (clip, large, long, many))
    limits = {"bytes": size, "seconds": 5.0, "pixels": 64 * 48, "frames": 59, "videos": 1, "body_s": 1.0}
    with start(limits) as server:
        assert server.ask("POST", "/api/predict", clip).status == 200
        assert server.ask("POST", "/api/predict", large).status == 422
        assert server.ask("POST", "/api/predict", long).status == 422
        assert "frames" in server.ask("POST", "/api/predict", many).json["detail"]
        assert server.ask("POST", "/api/predict", b"x" * (size + 1)).status == 413
        # A length that is only claimed, and chunks without a length.
        head = b"POST /api/videos HTTP/1.1\r\nHost: localhost\r\n"
        assert status(raw(server.port, head + b"Content-Length: 10737418240\r\n\r\nabc")) == 413
        chunk = b"%x\r\n%s\r\n" % (size // 2, b"x" * (size // 2))
        assert status(raw(server.port, head + b"Transfer-Encoding: chunked\r\n\r\n" + 3 * chunk)) == 413
        began = time.monotonic()
        assert status(raw(server.port, head + b"Content-Length: 1000\r\n\r\nabc")) == 408
        assert time.monotonic() - began < 10
        assert (
            status(
                raw(
                    server.port,
                    b"POST /api/train HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999\r\n\r\n",
                )
            )
            == 413
        )
        assert server.ask("POST", "/api/videos", clip).status == 201
        assert server.ask("POST", "/api/videos", clip).status == 507
        assert not list(server.store.glob("upload-*"))


def test_headers_are_bounded(server: Any) -> None:
    bomb = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(
        b"X-%d: %s\r\n" % (n, b"x" * 1000) for n in range(200)
    )
    assert status(raw(server.port, bomb + b"\r\n")) in (400, 431)
    assert status(raw(server.port, b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")) in (
        400,
        414,
    )
    assert server.ask("GET", "/health").status == 200


def test_a_token_is_needed_where_others_can_call(start: Any, clip: Path) -> None:
    with start(token="a-long-token", host="0.0.0.0") as server:
        assert server.ask("GET", "/health").status == 200
        for path in ("/", "/api/videos", "/metrics", "/api/openapi.json", "/app.js"):
            assert server.ask("GET", path).status == 401
        assert server.ask("POST", "/api/predict", clip).status == 401
        assert server.ask("GET", "/?token=a-long-tokeN").status == 401
        bearer = {"Authorization": "Bearer a-long-token"}
        assert server.ask("POST", "/api/predict", clip, bearer).status == 200
        assert server.ask("GET", "/api/videos", headers={"Authorization": "Bearer wrong"}).status == 401
        opened = server.ask("GET", "/?token=a-long-token")
        assert opened.status == 303
        cookie = opened.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert server.ask("GET", "/", headers={"Cookie": cookie.split(";")[0]}).status == 200
        assert server.ask("GET", "/api/videos", headers={**bearer, "Host": "evil.example"}).status == 421


def test_a_folder_has_one_server(start: Any, network: Path, tmp_path: Path) -> None:
    from praxiscope.errors import ArgumentError
    from praxiscope.serve.options import ServeOptions
    from praxiscope.serve.run import serve

    with start(store=tmp_path) as server:
        with pytest.raises(ArgumentError, match=str(tmp_path)):
            serve(ServeOptions(str(network), tmp_path, port=0), say=lambda text: None)
        with pytest.raises(ArgumentError, match=str(server.port)):
            serve(ServeOptions(str(network), tmp_path / "b", port=server.port), say=lambda text: None)
    with pytest.raises(ArgumentError):
        ServeOptions(str(network), tmp_path, host="0.0.0.0")


def test_connections_without_a_request_are_closed(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from praxiscope.serve import run

    monkeypatch.setattr(run, "_HEADER_S", 1.0)
    first = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
    endless = b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
    with start() as server:
        for request in (first, first + b"\r\n" + first, first + endless):
            with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
                connection.sendall(request)
                ended = False
                for _ in range(40):  # a few bytes now and then keep no connection open
                    try:
                        connection.sendall(b"X" if request is not first + endless else b"1\r\nx\r\n")
                        connection.settimeout(0.2)
                        ended = connection.recv(65536) == b""
                    except TimeoutError:
                        continue
                    except OSError:
                        ended = True
                    if ended:
                        break
                assert ended


def test_what_is_being_made_is_not_made_twice(server: Any, clip: Path) -> None:
    id = server.ask("POST", "/api/videos", clip).json["id"]
    assert server.ask("POST", f"/api/videos/{id}/why", label="up").status == 202
    assert server.ask("POST", f"/api/videos/{id}/why", label="left").status == 409
    assert server.ask("POST", f"/api/videos/{id}/why", label="sideways").status == 422
    assert server.ask("DELETE", f"/api/videos/{id}").status == 204


def test_a_folder_that_cannot_be_written_is_said(
    server: Any, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from praxiscope.serve import items

    id = server.ask("POST", "/api/videos", clip).json["id"]
    server.ended(id)

    def full(path: Path, content: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(items, "write_json", full)
    assert server.ask("POST", f"/api/videos/{id}/corrections", label="up").status == 507
    assert server.ask("GET", f"/api/videos/{id}").json["corrections"] == []
    assert server.ask("POST", "/api/videos", clip).status == 507
    assert server.ask("GET", "/api/videos").json[0]["id"] == id  # the one that could not be kept is gone


def test_names_that_are_no_text_hide_no_other_video(clip: Path, tmp_path: Path) -> None:
    from praxiscope.serve.folder import Folder

    (tmp_path / "good.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "b\udcffd.mp4").write_bytes(clip.read_bytes())
    assert [one["name"] for one in Folder(tmp_path).listed()] == ["good.mp4"]
