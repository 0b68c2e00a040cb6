"""Tasks on their way into Label Studio, each once, also where it goes away while they are.

An import is the one request that must not be repeated blindly: the answer may be lost of one that was done. So what has
arrived is looked for before the rest is sent again; and when all is sent, the tasks are counted: where an earlier
request was done late, by a Label Studio that hung, what came twice is removed again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from tenacity import Retrying, retry_if_result, stop_when_event_set, wait_fixed
from tenacity.nap import sleep_using_event

from label_configs.errors import LabelStudioAway, LabelStudioBusy, LabelStudioError
from label_configs.wire import JsonObject
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.log_events import LogEvent, tell

log = logging.getLogger(__name__)

SETTLE_SECONDS = 5.0  # between two looks that must agree: a request may be on its way still
TRIES = 5  # times that a batch is sent


class Sender:
    """Sends tasks into one project. ``there`` comes first, ``settle`` last."""

    def __init__(self, client: LabelStudioClient, project_id: int, *, settle_seconds: float = SETTLE_SECONDS) -> None:
        self._client = client
        self._project = project_id
        self._settle_seconds = settle_seconds
        self._before = self._sent = self._newest = 0

    def there(self) -> Iterator[JsonObject]:
        """The data of the tasks that the project has."""
        self._before = self._sent = self._newest = 0
        for task_id, data in self._client.task_data_by_id(self._project):
            self._before += 1
            self._newest = max(self._newest, task_id)
            yield data

    def send(self, batch: Sequence[JsonObject]) -> int:
        """Import this data, each with a ``document_id`` of its own that the project lacks; how many.

        Raises LabelStudioError, and LabelStudioAway where it stayed away: what has arrived then, the next import sees.
        """
        missing: Sequence[JsonObject] = batch
        for left in reversed(range(TRIES)):
            try:
                self._client.import_tasks(self._project, missing)
                break
            except (LabelStudioAway, LabelStudioBusy) as error:
                if not left:
                    raise
                tell(log, LogEvent.IMPORT_REPEATED, reason=error)
            missing = self._lacking(missing)
            if not missing:
                break
        self._sent += len(batch)
        return len(batch)

    def settle(self) -> int:
        """Remove the tasks that came twice since ``there``, none that anybody has worked on; how many.

        Nothing comes twice unless an earlier import's request was done after ``there``, by a Label Studio that hung.
        """
        if self._client.project_state(self._project).tasks <= self._before + self._sent:
            return 0
        first: set[str] = set()
        doubled: list[int] = []
        for task in self._client.task_glances(self._project):
            name = str(task["data"].get("document_id") or "")
            worked_on = task["total_annotations"] or task["drafts"]
            if name in first and int(task["id"]) > self._newest and not worked_on and not task["data"].get("repeat"):
                doubled.append(int(task["id"]))
            elif name:
                first.add(name)
        if doubled:
            tell(log, LogEvent.DOUBLES_REMOVED, project=self._project, tasks=len(doubled))
            self._client.delete_tasks(self._project, doubled)
        return len(doubled)

    def _lacking(self, batch: Sequence[JsonObject]) -> list[JsonObject]:
        """What of a batch is not there: all looks agree on it, or nothing lacks."""
        wanted = {str(data["document_id"]) for data in batch}
        seen: list[set[str]] = []

        def look() -> bool:
            known = {str(data.get("document_id")) for _, data in self._client.task_data_by_id(self._project)}
            seen.append(wanted & known)
            return seen[-1] == wanted or (len(seen) > 1 and seen[-1] == seen[-2])

        def stopped(_: object) -> bool:
            raise LabelStudioError(f"project {self._project}: stopped before it was known what has arrived")

        Retrying(
            retry=retry_if_result(lambda settled: not settled), wait=wait_fixed(self._settle_seconds),
            sleep=sleep_using_event(self._client.stopped), stop=stop_when_event_set(self._client.stopped),
            retry_error_callback=stopped,
        )(look)  # fmt: skip
        return [data for data in batch if str(data["document_id"]) not in seen[-1]]
