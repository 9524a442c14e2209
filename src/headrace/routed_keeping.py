"""Files and batches of a Router. A group stores them at its first deployment whose provider supports them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from headrace.calls import Operation
from headrace.errors import BadRequestError, NotFoundError
from headrace.kept import (
    BATCH,
    BATCH_CANCEL,
    BATCH_LIST,
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
    from headrace.routing.engine import Engine
    from headrace.slices import Steps

NOBODY: Final = "-"
"""Model name of a call that names a deployment instead."""


class Asked(NamedTuple):
    """Arguments of one call about a file or batch, as the engine takes them."""

    operation: Operation
    model: str
    prompt: Any
    stream: bool
    options: Mapping[str, Any]
    place: Mapping[str, str]
    deployment: str


def _nowhere(asked: Sequence[Asked], error: NotFoundError) -> NotFoundError:
    """The error for an id that none of the deployments asked knows."""
    if len(asked) == 1:
        return error
    what, who = asked[0].operation.of or "files", ", ".join(repr(one.deployment) for one in asked)
    error.message = (
        f"{asked[0].place.get('id')!r} was not found at any deployment that stores {what}: {who}. Was it made by one that this Router no "
        f"longer has, or with another key? The last one responded: {error.message}"
    )
    return error


class Keeping:
    """Mixin with files and batches. `model` is a group or a deployment's id.

    Without `model`, a lookup asks all deployments whose provider stores such objects, in order; a new object goes to
    the first.
    """

    _engine: Engine

    # ---- files -------------------------------------------------------------------------------------------------------

    def create_file(self, file: Any, purpose: str, model: str | None = None, **options: Any) -> FileObject:
        """Upload a file. With `purpose="batch"`, its lines name the group, which is replaced by the deployment's own model name."""
        from headrace.slices import at_once  # late: few programs use files

        keeper = self._keeper_of_file(purpose, model)
        given, close = at_once(self._with_own_names(file, purpose, keeper))
        try:
            answer: FileObject = self._engine.blocking(*_new_file(given, purpose, keeper, options))
        finally:
            close()
        return answer

    async def acreate_file(self, file: Any, purpose: str, model: str | None = None, **options: Any) -> FileObject:
        from headrace.slices import in_slices  # late: few programs use files

        keeper = self._keeper_of_file(purpose, model)
        clock = self._engine.worlds.suspending().clock
        given, close = await in_slices(clock, self._with_own_names(file, purpose, keeper))
        try:
            answer: FileObject = await self._engine.suspending(*_new_file(given, purpose, keeper, options))
        finally:
            close()
        return answer

    def file_retrieve(self, file_id: str, model: str | None = None, **options: Any) -> FileObject:
        answer: FileObject = self._known(self._about(FILE, file_id, model, options))
        return answer

    async def afile_retrieve(self, file_id: str, model: str | None = None, **options: Any) -> FileObject:
        answer: FileObject = await self._aknown(self._about(FILE, file_id, model, options))
        return answer

    def file_content(self, file_id: str, model: str | None = None, *, stream: bool | None = None, **options: Any) -> Any:
        """A file's content as a `BinaryResponse`; with `stream=True`, a `Stream` of any size."""
        return self._known(self._about(FILE_CONTENT, file_id, model, options, stream=bool(stream)))

    async def afile_content(self, file_id: str, model: str | None = None, *, stream: bool | None = None, **options: Any) -> Any:
        return await self._aknown(self._about(FILE_CONTENT, file_id, model, options, stream=bool(stream)))

    def file_delete(self, file_id: str, model: str | None = None, **options: Any) -> Deleted:
        answer: Deleted = self._known(self._about(FILE_DELETE, file_id, model, options))
        return answer

    async def afile_delete(self, file_id: str, model: str | None = None, **options: Any) -> Deleted:
        answer: Deleted = await self._aknown(self._about(FILE_DELETE, file_id, model, options))
        return answer

    def file_list(self, model: str | None = None, **options: Any) -> Page:
        answer: Page = self._engine.blocking(*self._about(FILE_LIST, "", model, options)[0])
        return answer

    async def afile_list(self, model: str | None = None, **options: Any) -> Page:
        answer: Page = await self._engine.suspending(*self._about(FILE_LIST, "", model, options)[0])
        return answer

    # ---- batches -----------------------------------------------------------------------------------------------------

    def create_batch(
        self, completion_window: str, endpoint: str, input_file_id: str, model: str | None = None, **options: Any
    ) -> BatchObject:
        """Start a batch: the calls in a file, uploaded with `create_file` to the same group, completed within
        `completion_window` (24h)."""
        answer: BatchObject = self._engine.blocking(*self._order(completion_window, endpoint, input_file_id, model, options))
        return answer

    async def acreate_batch(
        self, completion_window: str, endpoint: str, input_file_id: str, model: str | None = None, **options: Any
    ) -> BatchObject:
        answer: BatchObject = await self._engine.suspending(*self._order(completion_window, endpoint, input_file_id, model, options))
        return answer

    def retrieve_batch(self, batch_id: str, model: str | None = None, **options: Any) -> BatchObject:
        answer: BatchObject = self._known(self._about(BATCH, batch_id, model, options))
        return answer

    async def aretrieve_batch(self, batch_id: str, model: str | None = None, **options: Any) -> BatchObject:
        answer: BatchObject = await self._aknown(self._about(BATCH, batch_id, model, options))
        return answer

    def cancel_batch(self, batch_id: str, model: str | None = None, **options: Any) -> BatchObject:
        """Cancel a batch; completed results remain."""
        answer: BatchObject = self._known(self._about(BATCH_CANCEL, batch_id, model, options))
        return answer

    async def acancel_batch(self, batch_id: str, model: str | None = None, **options: Any) -> BatchObject:
        answer: BatchObject = await self._aknown(self._about(BATCH_CANCEL, batch_id, model, options))
        return answer

    def list_batches(self, model: str | None = None, **options: Any) -> Page:
        answer: Page = self._engine.blocking(*self._about(BATCH_LIST, "", model, options)[0])
        return answer

    async def alist_batches(self, model: str | None = None, **options: Any) -> Page:
        answer: Page = await self._engine.suspending(*self._about(BATCH_LIST, "", model, options)[0])
        return answer

    # ---- choice of deployment ----------------------------------------------------------------------------------------

    def _keepers(self, what: Operation, model: str | None) -> list[str]:
        """Ids of the deployments that store such objects, one per account. Raises BadRequestError if there is none."""
        found = self._engine.fleet.offering(what.name, model)
        if not found:
            whose = "of this Router" if model is None else f"that serves {model!r}"
            raise BadRequestError(f"no provider {whose} is known to keep {what.name}", model or "")
        return found

    def _keeper(self, what: Operation, model: str | None) -> str:
        """The first deployment that stores such objects."""
        return self._keepers(what, model)[0]

    def _keeper_of_file(self, purpose: str, model: str | None) -> str:
        """The deployment for a new file. For batch input, one that supports batches, preferably with stored files."""
        if purpose != "batch":
            return self._keeper(FILES, model)
        found = self._keepers(BATCHES, model)
        files = self._engine.fleet.offering(FILES.name, model)
        return next((one for one in found if one in files), found[0])

    def _about(self, operation: Operation, id: str, model: str | None, options: Mapping[str, Any], *, stream: bool = False) -> list[Asked]:
        """The same request to each deployment that may have the object, since an id does not tell where it was created."""
        keepers = self._keepers(BATCHES if operation.of == "batches" else FILES, model)
        return [Asked(operation, NOBODY, None, stream, options, {"id": id} if id else {}, keeper) for keeper in keepers]

    def _known(self, asked: Sequence[Asked]) -> Any:
        """The response of the first deployment that knows the object. Raises NotFoundError if none does."""
        for one in asked:
            try:
                return self._engine.blocking(*one)
            except NotFoundError as error:
                unknown = error
        raise _nowhere(asked, unknown)

    async def _aknown(self, asked: Sequence[Asked]) -> Any:
        for one in asked:
            try:
                return await self._engine.suspending(*one)
            except NotFoundError as error:
                unknown = error
        raise _nowhere(asked, unknown)

    def _order(self, window: str, endpoint: str, file: str, model: str | None, options: Mapping[str, Any]) -> Asked:
        given = {"completion_window": window, "endpoint": endpoint, **sent_metadata(options)}
        return Asked(BATCHES, NOBODY, file, False, given, {}, self._keeper(BATCHES, model))

    def _with_own_names(self, file: Any, purpose: str, keeper: str) -> Steps[tuple[Any, Callable[[], object]]]:
        """The file with the deployment's model name in every line, written one line per step, and a function that closes it."""
        if purpose != "batch":
            return file, bool
        from tempfile import SpooledTemporaryFile  # late: few programs create batches

        from headrace.batch_lines import exchanging  # late: see above
        from headrace.multipart import MOST_IN_MEMORY, FormFile  # late: see above

        member, given = self._engine.fleet.members[keeper], FormFile(file, "file")
        content: Any = SpooledTemporaryFile(max_size=MOST_IN_MEMORY)  # noqa: SIM115 - closed below
        written: Any = SpooledTemporaryFile(max_size=MOST_IN_MEMORY)  # noqa: SIM115
        try:
            with content:
                for piece in given.pieces():
                    content.write(piece)
                    yield
                content.seek(0)
                yield from exchanging(content, member.deployment.group, member.to.model, written)
        except BaseException:
            written.close()
            raise
        return (given.name, written, "application/jsonl"), written.close


def _new_file(given: Any, purpose: str, keeper: str, options: Mapping[str, Any]) -> Asked:
    return Asked(FILES, NOBODY, given, False, {"purpose": purpose, **options}, {}, keeper)
