"""A web service for several tenants: each has documents and a cache of its own, in one store.

The store is the default one, so that ``ANYSTORE_URI`` moves the service from a folder to
Redis, PostgreSQL or S3. ``TENANT_TOKENS`` is JSON: which token belongs to which tenant.
"""

import asyncio
import json
import os
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from anystore import AnystoreError, DoesNotExist, InvalidKey, InvalidOption, Store, anycache, get_store
from anystore.keys import parse_prefix

_LARGEST = 10 << 20
_COMMONEST = 5

_tenant: ContextVar[str] = ContextVar("tenant")
_bearer = HTTPBearer()


class Words(BaseModel):
    """What is counted in a document."""

    words: int
    commonest: list[str]


def read_tokens() -> dict[str, str]:
    """Read which token belongs to which tenant; a tenant's name is a folder of the store.

    Raises:
        InvalidOption: If two tenants would share values.
    """
    tokens: dict[str, str] = json.loads(os.environ["TENANT_TOKENS"])
    folders = {parse_prefix(tenant) for tenant in tokens.values()}
    if any(folder.count("/") != 1 for folder in folders):
        raise InvalidOption("a tenant is one folder, such as 'team-a'; with 'team-a/b' the one would see the other")
    return tokens


def documents() -> Store:
    """Give the documents of the tenant who asks; no key leads out of them."""
    return get_store().under(_tenant.get()).under("documents")


def cache() -> Store:
    """Give the cache of the tenant who asks."""
    return get_store().under(_tenant.get()).under("cache")


@anycache(store=cache, ttl=3600)
async def count_words(key: str, version: str | None) -> Words:  # noqa: ARG001 - another version is another call
    """Count the words of a document; it is computed once for each version, whoever asks how often."""
    text = await documents().aio.get(key, serialization_mode="text")
    return await asyncio.to_thread(_count, text)


def _count(text: str) -> Words:
    counter = Counter(text.lower().split())
    return Words(words=counter.total(), commonest=[word for word, _ in counter.most_common(_COMMONEST)])


@asynccontextmanager
async def _read_configuration(service: FastAPI) -> AsyncIterator[None]:
    service.state.tokens = read_tokens()
    yield


app = FastAPI(title="Documents of tenants", lifespan=_read_configuration)


async def choose_tenant(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials, Depends(_bearer)]
) -> None:
    """Find the tenant by the token; what the path says has no part in it."""
    for token, tenant in request.app.state.tokens.items():
        if secrets.compare_digest(token.encode(), credentials.credentials.encode()):
            _tenant.set(tenant)
            return
    raise HTTPException(401, "unknown token")


@app.put("/documents/{key:path}", status_code=204, dependencies=[Depends(choose_tenant)])
async def put_document(key: str, request: Request) -> None:
    """Store a document."""
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > _LARGEST:
            raise HTTPException(413, f"a document has at most {_LARGEST:,} bytes")
    await documents().aio.put(key, bytes(data), serialization_mode="raw")


@app.get("/documents/{key:path}", dependencies=[Depends(choose_tenant)])
async def get_document(key: str) -> Response:
    """Give a document."""
    data = await documents().aio.get(key, serialization_mode="raw")
    return Response(data, media_type="application/octet-stream")


@app.get("/documents", dependencies=[Depends(choose_tenant)])
async def list_documents(prefix: str | None = None) -> list[str]:
    """List the keys of the documents."""
    return [entry.key async for entry in documents().aio.entries(prefix)]


@app.get("/words/{key:path}", dependencies=[Depends(choose_tenant)])
async def get_words(key: str) -> Words:
    """Count the words of a document, or remember that they were counted."""
    entry = await documents().aio.info(key)
    return await count_words(key, entry.version)


@app.get("/cache", dependencies=[Depends(choose_tenant)])
async def get_cache() -> dict[str, int]:
    """Tell how many results the tenant's cache holds."""
    usage = await asyncio.to_thread(cache().usage, depth=0)
    return {"results": usage.values, "bytes": usage.bytes}


@app.exception_handler(AnystoreError)
async def tell_error(_: Request, error: AnystoreError) -> JSONResponse:
    """Turn errors of the store into answers; what goes wrong behind it is no tenant's business."""
    if isinstance(error, DoesNotExist):
        return JSONResponse({"detail": "there is no such document"}, 404)
    if isinstance(error, InvalidKey):
        return JSONResponse({"detail": str(error)}, 400)
    return JSONResponse({"detail": "the store does not answer"}, 503)
