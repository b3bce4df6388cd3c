"""A small hub on the loopback address: models with commits, as the client of the hub reads and writes them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_tests"
Files = dict[str, bytes]


@dataclass
class Repository:
    """One model: its commits from the first one, and whether it needs the token."""

    private: bool = False
    commits: dict[str, Files] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, files: Files, message: str = "") -> str:
        """Add a commit and return its name."""
        content = repr(sorted(files.items())) + str(len(self.commits))
        name = hashlib.sha1(content.encode()).hexdigest()
        self.commits[name] = files
        self.messages.append(message)
        return name

    def at(self, revision: str) -> str | None:
        """Return the commit of a revision."""
        names = list(self.commits)
        return (names or [None])[-1] if revision == "main" else revision if revision in names else None


@dataclass
class FakeHub:
    """What the hub holds, and what it was asked."""

    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    uploaded: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)


@contextmanager
def serving() -> Iterator[FakeHub]:
    """Serve a hub inside the block."""
    hub = FakeHub()

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._get()

    def do_GET(self) -> None:
        self._get()

    def _get(self) -> None:
        path = self._path()
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            if commit := self._commit(*found.groups("main")):
                files = self.state.repositories[found[1]].commits[commit]
                siblings = [{"rfilename": name} for name in files]
                self._json({"id": found[1], "sha": commit, "siblings": siblings, "tags": [], "private": False})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            if commit := self._commit(*found.groups()):
                files = self.state.repositories[found[1]].commits[commit]
                tree = [
                    {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                    for name, data in files.items()
                ]
                self._json(tree)
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            if commit := self._commit(found[1], found[2]):
                data = self.state.repositories[found[1]].commits[commit].get(found[3])
                if data is None:
                    self._fail(404, "EntryNotFound")
                else:
                    self._send(200, data, {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha1(data).hexdigest()}"'})
        else:
            self._fail(404, "NotServed")

    def do_POST(self) -> None:
        path, data = self._path(), self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._fail(401)
        elif path == "/api/repos/create":
            asked = json.loads(data)
            name = f"{asked.get('organization') or 'tester'}/{asked['name']}"
            exists = name in self.state.repositories
            if not exists:
                self.state.repositories[name] = Repository(
                    asked.get("visibility") == "private" or bool(asked.get("private"))
                )
            self._json({"url": f"{self.state.address}/{name}"}, 409 if exists else 200)
        elif re.fullmatch(r"/api/models/[^/]+/[^/]+/preupload/main", path):
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith((".onnx", ".bin")) else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(data)["files"]
            ]
            self._json({"files": files})
        elif path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {**each, "actions": {"upload": {"href": f"{self.state.address}/lfs/{each['oid']}"}}}
                for each in json.loads(data)["objects"]
            ]
            self._json({"transfer": "basic", "objects": objects})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            repository = self.state.repositories[found[1]]
            last = repository.at("main")
            files, message = dict(repository.commits[last]) if last else {}, ""
            for line in map(json.loads, data.splitlines()):
                value = line["value"]
                if line["key"] == "header":
                    message = value["summary"]
                elif line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = self.state.uploaded[value["oid"]]
            name = repository.commit(files, message)
            self._json({"commitUrl": f"{self.state.address}/{found[1]}/commit/{name}", "commitOid": name})
        else:
            self._fail(404, "NotServed")

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.state.uploaded[self._path().removeprefix("/lfs/")] = data
        self._send(200, b"")

    def _path(self) -> str:
        path = unquote(urlsplit(self.path).path)
        self.state.requests.append(f"{self.command} {path}")
        return path

    def _commit(self, name: str, revision: str) -> str | None:
        """Return the commit of a revision; else send why there is none."""
        repository = self.state.repositories.get(name)
        is_allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repository is None or (repository.private and not is_allowed):
            self._fail(404 if is_allowed else 401, "RepoNotFound")
            return None
        commit = repository.at(revision)
        if commit is None:
            self._fail(404, "RevisionNotFound")
        return commit

    def _json(self, document: Any, status: int = 200) -> None:
        self._send(status, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _fail(self, status: int, code: str = "") -> None:
        self._send(status, b'{"error": "refused"}', {"X-Error-Code": code} if code else {})

    def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
