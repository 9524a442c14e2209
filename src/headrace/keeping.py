"""Files and batches stored by providers.

The provider is named; a model need not be. Each function has a blocking form and an async `a…` form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

from headrace.api import blocking, suspending
from headrace.calls import Operation, control_names
from headrace.kept import (
    BATCH,
    BATCH_CANCEL,
    BATCH_LIST,
    BATCH_OF_FILE,
    BATCHES,
    FILE,
    FILE_CONTENT,
    FILE_DELETE,
    FILE_LIST,
    FILES,
    BatchObject,
    Deleted,
    FileObject,
    Page,
    sent_metadata,
)

if TYPE_CHECKING:
    from headrace.objects import BinaryResponse
    from headrace.streams import AsyncStream, Stream


def at(provider: str) -> str:
    """A model name that resolves to the provider but to none of its models."""
    return f"{provider}/-"


# ---- files -------------------------------------------------------------------------------------------------------------------------


def create_file(file: Any, purpose: str, custom_llm_provider: str = "openai", **options: Any) -> FileObject:
    """Upload a file for `purpose` batch, assistants, fine-tune, … It is read while it is sent."""
    answer: FileObject = blocking(FILES, at(custom_llm_provider), file, False, {"purpose": purpose, **options})
    return answer


async def acreate_file(file: Any, purpose: str, custom_llm_provider: str = "openai", **options: Any) -> FileObject:
    answer: FileObject = await suspending(FILES, at(custom_llm_provider), file, False, {"purpose": purpose, **options})
    return answer


def file_list(custom_llm_provider: str = "openai", **options: Any) -> Page:
    """The files stored at a provider, filtered by `purpose`, `limit`, `after`, `order`."""
    answer: Page = blocking(FILE_LIST, at(custom_llm_provider), None, False, options)
    return answer


async def afile_list(custom_llm_provider: str = "openai", **options: Any) -> Page:
    answer: Page = await suspending(FILE_LIST, at(custom_llm_provider), None, False, options)
    return answer


def file_retrieve(file_id: str, custom_llm_provider: str = "openai", **options: Any) -> FileObject:
    """A file's metadata."""
    answer: FileObject = blocking(FILE, at(custom_llm_provider), None, False, options, {"id": file_id})
    return answer


async def afile_retrieve(file_id: str, custom_llm_provider: str = "openai", **options: Any) -> FileObject:
    answer: FileObject = await suspending(FILE, at(custom_llm_provider), None, False, options, {"id": file_id})
    return answer


def file_delete(file_id: str, custom_llm_provider: str = "openai", **options: Any) -> Deleted:
    """Delete a file at the provider."""
    answer: Deleted = blocking(FILE_DELETE, at(custom_llm_provider), None, False, options, {"id": file_id})
    return answer


async def afile_delete(file_id: str, custom_llm_provider: str = "openai", **options: Any) -> Deleted:
    answer: Deleted = await suspending(FILE_DELETE, at(custom_llm_provider), None, False, options, {"id": file_id})
    return answer


@overload
def file_content(file_id: str, custom_llm_provider: str = "openai", *, stream: Literal[True], **options: Any) -> Stream[bytes]: ...
@overload
def file_content(
    file_id: str, custom_llm_provider: str = "openai", *, stream: Literal[False] | None = None, **options: Any
) -> BinaryResponse: ...
def file_content(file_id: str, custom_llm_provider: str = "openai", *, stream: bool | None = None, **options: Any) -> Any:
    """A file's content, up to 64 MB; with `stream=True`, any size as a stream of bytes."""
    return blocking(FILE_CONTENT, at(custom_llm_provider), None, bool(stream), options, {"id": file_id})


@overload
async def afile_content(
    file_id: str, custom_llm_provider: str = "openai", *, stream: Literal[True], **options: Any
) -> AsyncStream[bytes]: ...
@overload
async def afile_content(
    file_id: str, custom_llm_provider: str = "openai", *, stream: Literal[False] | None = None, **options: Any
) -> BinaryResponse: ...
async def afile_content(file_id: str, custom_llm_provider: str = "openai", *, stream: bool | None = None, **options: Any) -> Any:
    return await suspending(FILE_CONTENT, at(custom_llm_provider), None, bool(stream), options, {"id": file_id})


# ---- batches -----------------------------------------------------------------------------------------------------------------------


def create_batch(
    completion_window: str, endpoint: str, input_file_id: Any, custom_llm_provider: str = "openai", **options: Any
) -> BatchObject:
    """Start a batch: the calls in a file, completed within `completion_window` (24h). `endpoint`: /v1/chat/completions, …

    `input_file_id` is the id of an uploaded file, or the file itself (bytes, a path, an open file), which is uploaded
    first. `model` names the provider, and the model where the lines do not.
    """
    where, given = _batch_at(custom_llm_provider, completion_window, endpoint, options)
    operation = _ordered(where, input_file_id)
    if operation is BATCHES and not isinstance(input_file_id, str):
        input_file_id = blocking(FILES, where, input_file_id, False, {"purpose": "batch", **_way(options)}).id
    answer: BatchObject = blocking(operation, where, input_file_id, False, given)
    return answer


async def acreate_batch(
    completion_window: str, endpoint: str, input_file_id: Any, custom_llm_provider: str = "openai", **options: Any
) -> BatchObject:
    where, given = _batch_at(custom_llm_provider, completion_window, endpoint, options)
    operation = _ordered(where, input_file_id)
    if operation is BATCHES and not isinstance(input_file_id, str):
        input_file_id = (await suspending(FILES, where, input_file_id, False, {"purpose": "batch", **_way(options)})).id
    answer: BatchObject = await suspending(operation, where, input_file_id, False, given)
    return answer


def _batch_at(provider: str, window: str, endpoint: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The destination of a batch, and its parameters. A model with a provider prefix determines both."""
    given = {"completion_window": window, "endpoint": endpoint, **sent_metadata(options)}
    model = given.pop("model", None)
    return at(provider) if model is None else resolved_name(model, provider), given


def resolved_name(model: str, provider: str) -> str:
    """`model` with its provider: its own prefix if that names one, else `provider`."""
    from headrace.providers.catalog import catalog  # late: it reads all rows

    named = catalog().get(model.partition("/")[0]) if "/" in model else None
    return model if named is not None else f"{provider}/{model}"


def _ordered(where: str, file: Any) -> Operation:
    """The operation that creates the batch. The file is sent along if the provider offers no stored files to read it from."""
    from headrace.dialects.forms import WITH_THE_ORDER  # late: few programs create batches
    from headrace.providers.catalog import resolve

    inline = not isinstance(file, str) and resolve(where).provider.forms.get("batches") in WITH_THE_ORDER
    return BATCH_OF_FILE if inline else BATCHES


def _way(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that configure the call to the provider, not the batch."""
    return {name: value for name, value in options.items() if name in control_names() and name not in ("metadata", "extra_body")}


def retrieve_batch(batch_id: str, custom_llm_provider: str = "openai", **options: Any) -> BatchObject:
    """A batch's status."""
    answer: BatchObject = blocking(BATCH, at(custom_llm_provider), None, False, options, {"id": batch_id})
    return answer


async def aretrieve_batch(batch_id: str, custom_llm_provider: str = "openai", **options: Any) -> BatchObject:
    answer: BatchObject = await suspending(BATCH, at(custom_llm_provider), None, False, options, {"id": batch_id})
    return answer


def list_batches(custom_llm_provider: str = "openai", **options: Any) -> Page:
    """The batches at a provider, paged by `limit` and `after`."""
    answer: Page = blocking(BATCH_LIST, at(custom_llm_provider), None, False, options)
    return answer


async def alist_batches(custom_llm_provider: str = "openai", **options: Any) -> Page:
    answer: Page = await suspending(BATCH_LIST, at(custom_llm_provider), None, False, options)
    return answer


def cancel_batch(batch_id: str, custom_llm_provider: str = "openai", **options: Any) -> BatchObject:
    """Cancel a batch; completed results remain."""
    answer: BatchObject = blocking(BATCH_CANCEL, at(custom_llm_provider), None, False, options, {"id": batch_id})
    return answer


async def acancel_batch(batch_id: str, custom_llm_provider: str = "openai", **options: Any) -> BatchObject:
    answer: BatchObject = await suspending(BATCH_CANCEL, at(custom_llm_provider), None, False, options, {"id": batch_id})
    return answer
