"""The Hub's HTTP interface, and beside it the plainly named `/_sandbox` routes for tests.

- POST /_sandbox/rate {"bytes_per_second": N or null}: limits each download
- POST /_sandbox/fail {"status": 503, "count": N, "path": "/resolve/"}: the next N requests
  fail whose path holds `path` (default: all)
- POST /_sandbox/faults {"kind": "truncate", "count": N, "path": ".safetensors", "after": 0.99}:
  the next N downloads whose path holds `path` go wrong so (kinds: sandbox/hub/faults.py)
- POST /_sandbox/commit {"repo": ID, "kind": "weights", "config": {...}}: a new commit on main;
  kinds are in sandbox/hub/repository.py; `config` merges these keys into config.json (null takes
  one out), `reset` takes the newest commit back
- POST /_sandbox/repository {"repo": ID, "gated": "manual" or false, "private": true}: what its
  owner chooses, without a commit
- POST /_sandbox/behave: no limit any more, and no failure or fault that is still to come; no
  webhook, and every owner's first choice
- POST /_sandbox/rewind: every repository is as it began
- GET /_sandbox/requests: how many requests of each kind came, and how many bytes went
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sandbox.hub import documents, transfer
from sandbox.hub.access import (
    RefusedError,
    User,
    check_content,
    check_exists,
    describe,
    identify,
)
from sandbox.hub.faults import KINDS, Fault, shorten, spoiled
from sandbox.hub.repository import KINDS as CHANGES
from sandbox.hub.repository import Commit, Repository, Store
from sandbox.hub.webhooks import Webhooks

Handler = Callable[[Request], Awaitable[Response]]

_API = "/api/models/{owner}/{name}"


@dataclass
class Hub:
    """The server's state and its routes' handlers."""

    store: Store
    token: str
    rate: int | None = None
    requests: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    webhooks: Webhooks = field(default_factory=Webhooks)

    async def whoami(self, request: Request) -> Response:
        """Tell whose token it is; 401 without one."""
        user = self._user(request)
        if user is None:
            raise RefusedError(401, "Invalid username or password.")
        return JSONResponse(describe(user))

    async def auth_check(self, request: Request) -> Response:
        """Answer 200 when the user may download, else why not."""
        repository, user = self._repository(request)
        check_content(repository, user)
        return JSONResponse({})

    async def search(self, request: Request) -> Response:
        """List the repositories in whose ids a text occurs."""
        query = request.query_params
        limit = int(query.get("limit", "1000"))
        found = documents.search(self.store.repositories.values(), query.get("search", ""))
        return JSONResponse(found[:limit])

    async def model_info(self, request: Request) -> Response:
        """Describe the repository at a revision; a gated one too, as the Hub does."""
        repository, commit = self._commit(request)
        query = request.query_params
        expand = query.getlist("expand") + query.getlist("expand[]")
        document = documents.model_info(
            repository,
            commit,
            files="blobs" in query,
            security="securityStatus" in query,
            expand=expand,
        )
        return JSONResponse(document)

    async def tree(self, request: Request) -> Response:
        """List the files of a revision."""
        _, commit = self._commit(request)
        return JSONResponse(documents.tree(commit, request.path_params.get("path", "")))

    async def paths_info(self, request: Request) -> Response:
        """List the named files of a revision; the paths come as a form or as JSON."""
        _, commit = self._commit(request)
        return JSONResponse(documents.paths_info(commit, await _paths(request)))

    async def commits(self, request: Request) -> Response:
        """List the commits up to a revision, on one page."""
        repository, commit = self._commit(request)
        return JSONResponse(documents.commits(repository, commit))

    async def refs(self, request: Request) -> Response:
        """List branches and tags."""
        repository, _ = self._repository(request)
        return JSONResponse(documents.refs(repository))

    async def resolve(self, request: Request) -> Response:
        """Send a file or, for HEAD, its metadata; only to who may see the content."""
        repository, user = self._repository(request)
        check_content(repository, user)
        _, commit = self._commit(request)
        file = commit.files.get(request.path_params["path"])
        if file is None:
            raise RefusedError(404, "Entry not found", "EntryNotFound")
        fault = self._fault(request)
        if fault and fault.kind == "rate-limit":
            return JSONResponse({"error": "Slow down"}, 429, {"Retry-After": fault.retry_after})
        ignored = fault and fault.kind == "ignore-range"
        wanted = None if ignored else request.headers.get("Range")
        part = transfer.parse_range(wanted, file.size)
        headers = transfer.headers_of(commit, file, part)
        status = 206 if part else 200
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers)
        body = transfer.send(file, part, lambda: self.rate, self._count_bytes)
        if fault:
            body = spoiled(fault, body, int(headers["Content-Length"]))
            shorten(fault, headers)
        return StreamingResponse(body, status, headers, media_type="application/octet-stream")

    async def set_rate(self, request: Request) -> Response:
        """Limit every download to so many bytes per second; null lifts the limit."""
        self.rate = (await request.json()).get("bytes_per_second")
        return JSONResponse({"bytes_per_second": self.rate})

    async def fail(self, request: Request) -> Response:
        """Let the next requests fail."""
        body = await request.json()
        self.failures = [(body["status"], body.get("path", ""))] * body["count"]
        return JSONResponse({"failures": len(self.failures)})

    async def add_faults(self, request: Request) -> Response:
        """Let the next downloads go wrong in the way that is asked for."""
        body = await request.json()
        if body.get("kind") not in KINDS:
            raise RefusedError(400, f"kind is one of {', '.join(KINDS)}")
        count = body.pop("count", 1)
        self.faults += [Fault(**body)] * count
        return JSONResponse({"faults": len(self.faults)})

    async def add_commit(self, request: Request) -> Response:
        """Put a commit on main."""
        body = await request.json()
        if body.get("repo") not in self.store.repositories:
            raise RefusedError(404, "Repository not found", "RepoNotFound")
        kind, config = body.get("kind"), body.get("config", {})
        if kind not in CHANGES:
            raise RefusedError(400, f"kind is one of {', '.join(CHANGES)}")
        if not isinstance(config, dict) or (kind == "config") != bool(config):
            raise RefusedError(400, "config holds keys of config.json, for the kind config alone")
        repository = self.store.repositories[body["repo"]]
        before = repository.head
        newest = self.store.add_commit(body["repo"], kind, config)
        self.webhooks.tell(repository, before, str(request.base_url).rstrip("/"))
        return JSONResponse({"sha": newest.sha})

    async def set_repository(self, request: Request) -> Response:
        """Change what an owner chooses without a commit."""
        body = await request.json()
        repository = self.store.repositories.get(body.pop("repo", ""))
        if repository is None:
            raise RefusedError(404, "Repository not found", "RepoNotFound")
        repository.gated = body.get("gated", repository.gated)
        repository.private = body.get("private", repository.private)
        return JSONResponse({"gated": repository.gated, "private": repository.private})

    async def create_webhook(self, request: Request) -> Response:
        """Make a webhook, as `huggingface_hub.create_webhook` asks for one."""
        if self._user(request) is None:
            raise RefusedError(401, "Invalid username or password.")
        made = self.webhooks.create(await request.json())
        return JSONResponse({"webhook": made.describe()})

    async def behave(self, _request: Request) -> Response:
        """Lift the limit, and forget failures and faults to come, webhooks and owners' choices."""
        self.rate, self.failures, self.faults = None, [], []
        self.webhooks = Webhooks()
        for one in self.store.repositories.values():
            one.gated, one.private = one.sample.gated, False
        return JSONResponse({})

    async def rewind(self, _request: Request) -> Response:
        """Take back every commit that was made here."""
        self.store.rewind()
        return JSONResponse({})

    async def counters(self, _request: Request) -> Response:
        """Tell how many requests came, by the handler that took them."""
        return JSONResponse(dict(self.requests))

    def counted(self, handler: Handler) -> Handler:
        """Wrap a handler of the Hub's own API: count it, or fail it when told so."""

        async def handle(request: Request) -> Response:
            self.requests["total"] += 1
            self.requests[handler.__name__] += 1
            if self.failures and self.failures[0][1] in request.url.path:
                status, _ = self.failures.pop(0)
                raise RefusedError(status, "The sandbox was told to fail this request")
            answer = _conditional(request, await handler(request))
            self.requests["not_modified"] += answer.status_code == HTTPStatus.NOT_MODIFIED
            return answer

        return handle

    def _fault(self, request: Request) -> Fault | None:
        """Return what goes wrong with this download, once; nothing does with a HEAD."""
        if request.method != "HEAD":
            for fault in self.faults:
                if fault.path in request.url.path:
                    self.faults.remove(fault)
                    return fault
        return None

    def _count_bytes(self, size: int) -> None:
        self.requests["bytes"] += size

    def _user(self, request: Request) -> User | None:
        return identify(request.headers.get("Authorization"), self.token)

    def _repository(self, request: Request) -> tuple[Repository, User | None]:
        user = self._user(request)
        repo_id = f"{request.path_params['owner']}/{request.path_params['name']}"
        return check_exists(self.store.repositories.get(repo_id), user), user

    def _commit(self, request: Request) -> tuple[Repository, Commit]:
        repository, _ = self._repository(request)
        revision = request.path_params.get("revision", "main")
        commit = repository.find(revision)
        if commit is None:
            raise RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return repository, commit


def build_app(hub: Hub) -> Starlette:
    """Return the ASGI application of this Hub."""
    api: list[tuple[str, Handler, list[str]]] = [
        ("/api/whoami-v2", hub.whoami, ["GET"]),
        ("/api/models", hub.search, ["GET"]),
        ("/api/settings/webhooks", hub.create_webhook, ["POST"]),
        (f"{_API}/auth-check", hub.auth_check, ["GET"]),
        (f"{_API}/revision/{{revision:path}}", hub.model_info, ["GET"]),
        (f"{_API}/tree/{{revision}}", hub.tree, ["GET"]),
        (f"{_API}/tree/{{revision}}/{{path:path}}", hub.tree, ["GET"]),
        (f"{_API}/paths-info/{{revision}}", hub.paths_info, ["POST"]),
        (f"{_API}/commits/{{revision:path}}", hub.commits, ["GET"]),
        (f"{_API}/refs", hub.refs, ["GET"]),
        (_API, hub.model_info, ["GET"]),
        ("/{owner}/{name}/resolve/{revision}/{path:path}", hub.resolve, ["GET", "HEAD"]),
    ]
    control = [
        Route("/_sandbox/rate", hub.set_rate, methods=["POST"]),
        Route("/_sandbox/fail", hub.fail, methods=["POST"]),
        Route("/_sandbox/faults", hub.add_faults, methods=["POST"]),
        Route("/_sandbox/commit", hub.add_commit, methods=["POST"]),
        Route("/_sandbox/repository", hub.set_repository, methods=["POST"]),
        Route("/_sandbox/behave", hub.behave, methods=["POST"]),
        Route("/_sandbox/rewind", hub.rewind, methods=["POST"]),
        Route("/_sandbox/requests", hub.counters, methods=["GET"]),
    ]
    routes = [Route(path, hub.counted(handler), methods=methods) for path, handler, methods in api]
    handlers = {RefusedError: _refuse, HTTPException: _not_found}
    return Starlette(routes=[*control, *routes], exception_handlers=handlers)


def _conditional(request: Request, answer: Response) -> Response:
    """Give a JSON answer its ETag, a weak one as the Hub's; to who knows that one, 304."""
    if request.method != "GET" or not isinstance(answer, JSONResponse):
        return answer
    etag = f'W/"{hashlib.sha256(bytes(answer.body)).hexdigest()[:32]}"'
    if request.headers.get("If-None-Match") == etag:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": etag})
    answer.headers["ETag"] = etag
    return answer


async def _paths(request: Request) -> list[str]:
    if "json" in request.headers.get("Content-Type", ""):
        paths = (await request.json()).get("paths", [])
        return [paths] if isinstance(paths, str) else list(paths)
    # A form is parsed here: starlette's parser would need one more dependency.
    from urllib.parse import parse_qs

    return parse_qs((await request.body()).decode()).get("paths", [])


async def _refuse(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)  # noqa: S101 -- registered for this class alone
    headers = {"X-Error-Message": error.message}
    if error.code:
        headers["X-Error-Code"] = error.code
    return JSONResponse({"error": error.message}, error.status, headers)


async def _not_found(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 -- registered for this class alone
    return JSONResponse({"error": error.detail}, error.status_code)
