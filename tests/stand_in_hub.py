"""A Hub on this machine: serves folders under hub ids by the few addresses that the hub's libraries ask for."""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlparse


class StandInHub:
    """Set `folders` ("datasets/a/b" or "models/a/b" to a folder), and what shall go wrong; `asked` is what was asked."""

    def __init__(self) -> None:
        self.folders: dict[str, Path] = {}
        self.gated: set[str] = set()
        self.moved = ""  # changes every commit
        self.down = False  # no answer at all
        self.cut: str | None = None  # downloads of files with this ending break off after half
        self.asked: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def commit(self, key: str) -> str:
        return hashlib.sha1((key + self.moved).encode()).hexdigest()

    def files(self, key: str) -> dict[str, Path]:
        root = Path(self.folders[key])
        return {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}


def _handler(hub: StandInHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_) -> None:
            pass

        def do_GET(self) -> None:
            path = unquote(urlparse(self.path).path)
            hub.asked.append(f"{self.command} {path}")
            if hub.down:
                self.close_connection = True
            elif found := re.match(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/([a-z-]+)/([^/]+))?", path):
                kind, name, what, revision = found.groups()
                self.answer(f"{kind}/{name}", revision, what, None)
            elif found := re.match(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                kind, name, revision, file = found.groups()
                self.answer(f"{'datasets' if kind else 'models'}/{name}", revision, "file", file)
            else:
                self.send(404)

        do_HEAD = do_GET
        do_POST = do_GET

        def answer(self, key: str, revision: str | None, what: str | None, file: str | None) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            if key not in hub.folders:
                self.send(401, error="RepoNotFound")
            elif key in hub.gated:
                self.send(403, error="GatedRepo")
            elif revision not in (None, "main", hub.commit(key)):
                self.send(404, error="RevisionNotFound")
            elif what == "file":
                self.send_file(key, hub.files(key).get(file))
            else:
                sizes = {name: path.stat().st_size for name, path in hub.files(key).items()}
                rows = [{"type": "file", "path": name, "size": size, "oid": name} for name, size in sizes.items()]
                if what == "paths-info":
                    rows = [row for row in rows if row["path"] in parse_qs(body).get("paths", [])]
                elif what in (None, "revision"):
                    files = [{"rfilename": name, "size": size} for name, size in sizes.items()]
                    rows = {"id": key.partition("/")[2], "sha": hub.commit(key), "siblings": files, "tags": []}
                self.send(200, json.dumps(rows).encode())

        def send_file(self, key: str, path: Path | None) -> None:
            commit = {"X-Repo-Commit": hub.commit(key)}
            if path is None:
                return self.send(404, error="EntryNotFound", headers=commit)
            content = path.read_bytes()
            headers = commit | {"ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
            start, end = 0, len(content)
            if wanted := re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
                start, end = int(wanted[1]), int(wanted[2]) + 1 if wanted[2] else end
                headers["Content-Range"] = f"bytes {start}-{min(end, len(content)) - 1}/{len(content)}"
            part = content[start:end]
            broken = hub.cut is not None and path.name.endswith(hub.cut) and self.command == "GET"
            headers["Content-Length"] = str(len(part))
            self.send(206 if wanted else 200, part[: len(part) // 2] if broken else part, headers=headers)
            self.close_connection = broken

        def send(self, status: int, body: bytes = b"", error: str = "", headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body)), "X-Error-Code": error} | (headers or {})).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    return Handler
