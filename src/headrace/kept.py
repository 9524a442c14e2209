"""Files and batches that providers store, and the operations on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from headrace.calls import Operation
from headrace.objects import JsonObject


class FileObject(JsonObject):
    """A file stored by a provider."""

    id: str = ""
    object: str = "file"
    purpose: str | None = None


class BatchObject(JsonObject):
    """Many calls in one file, completed within a day."""

    id: str = ""
    object: str = "batch"
    status: str = ""
    output_file_id: str | None = None
    error_file_id: str | None = None


class Page(JsonObject):
    """One page of a list; `has_more` tells whether others follow."""

    data: list[Any]
    has_more: bool = False


class Deleted(JsonObject):
    id: str = ""
    deleted: bool = False


FILES: Final = Operation("files", "file", FileObject, None, files=("file",), named=False, of="files")
FILE_LIST: Final = Operation("files", "", Page, None, method="GET", named=False, of="files")
FILE: Final = Operation("file", "", FileObject, None, method="GET", named=False, of="files")
FILE_DELETE: Final = Operation("file", "", Deleted, None, method="DELETE", named=False, of="files")
FILE_CONTENT: Final = Operation("file_content", "", JsonObject, None, method="GET", reads="bytes", named=False, of="files")
BATCHES: Final = Operation("batches", "input_file_id", BatchObject, None, named=False, of="batches")
BATCH_OF_FILE: Final = Operation("batches", "input_file_id", BatchObject, None, files=("input_file_id",), named=False, of="batches")
BATCH_LIST: Final = Operation("batches", "", Page, None, method="GET", named=False, of="batches")
BATCH: Final = Operation("batch", "", BatchObject, None, method="GET", named=False, of="batches")
BATCH_CANCEL: Final = Operation("batch_cancel", "", BatchObject, None, named=False, of="batches")


def sent_metadata(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with a batch's `metadata` moved to `extra_body`: it is stored by the provider, unlike a call's, which is ours."""
    given = dict(options)
    metadata = given.pop("metadata", None)
    return {**given, "extra_body": {"metadata": metadata, **(given.get("extra_body") or {})}} if metadata else given
