"""Revisions of small repositories, and how they lie complete on a volume."""

from __future__ import annotations

import hashlib
from pathlib import Path

from vllm_flows.weights_blobs import Record, write_json
from vllm_flows.weights_order import File, Order
from vllm_flows.weights_volume import link

COMMITS = {letter: letter * 40 for letter in "abcd"}
SHARED = b"shared by every revision"


def file_of(name: str, content: bytes) -> File:
    return File(name, len(content), hashlib.sha256(content).hexdigest(), "")


def order_of(cache: Path, letter: str, repository: str = "o/m") -> Order:
    files = (file_of("own.bin", letter.encode() * 100), file_of("shared.bin", SHARED))
    return Order(repository, COMMITS[letter], files, cache)


def fill(order: Order) -> None:
    """Put a complete revision on the volume, as the program leaves it."""
    for folder in (order.blobs, order.marker.parent):
        folder.mkdir(parents=True, exist_ok=True)
    record = Record(order.folder)
    contents = (order.commit[:1].encode() * 100, SHARED)
    for file, content in zip(order.files, contents, strict=True):
        (order.blobs / file.etag).write_bytes(content)
        record.add(order.blobs / file.etag)
    link(order)
    write_json(order.marker, order.manifest)
