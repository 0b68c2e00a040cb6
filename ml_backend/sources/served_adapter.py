"""A promoted adapter as a source that a vLLM server answers for: loaded there when it is first asked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from label_configs.errors import ModelError
from label_configs.records import Document, Proposal
from ml_backend.adapter_files import Adapter
from ml_backend.adapter_serving import AdapterServer
from ml_backend.log_events import LogEvent, tell
from ml_backend.sources.chat_api import ChatApiSource

log = logging.getLogger(__name__)


class ServedAdapter:
    """``source`` asks ``server`` under the id of the adapter, which ``adapter`` gives with its bytes checked.

    A promotion asks under a new name, a roll-back under an older one; what the server has lost, by a restart or since
    another process unloaded it, is loaded again.
    """

    def __init__(
        self, source: ChatApiSource, server: AdapterServer, adapter_id: str, adapter: Callable[[], Adapter]
    ) -> None:
        self._source = source
        self._server = server
        self._adapter_id = adapter_id
        self._adapter = adapter

    @property
    def name(self) -> str:
        """The name of what training makes."""
        return self._source.name

    @property
    def version(self) -> str:
        """Names the base, the adapter, and that a server answers."""
        return self._source.version

    def propose(self, documents: Sequence[Document]) -> list[Proposal]:
        """One proposal for each document, in order. Raises ModelError or AdapterError when the server does not."""
        self._load()
        try:
            return self._source.propose(documents)
        except ModelError:
            if self._server.has(self._adapter_id):
                raise
        self._load()
        return self._source.propose(documents)

    def propose_each(self, documents: Sequence[Document]) -> list[Proposal | ModelError]:
        """For each document a proposal, or why there is none. Raises as ``propose`` what keeps the adapter away."""
        self._load()
        made = self._source.propose_each(documents)
        failed = [place for place, one in enumerate(made) if isinstance(one, ModelError)]
        if not failed or self._server.has(self._adapter_id):
            return made
        self._load()
        again = self._source.propose_each([documents[place] for place in failed])
        for place, one in zip(failed, again, strict=True):
            made[place] = one
        return made

    def _load(self) -> None:
        if not self._server.has(self._adapter_id):
            self._server.load(self._adapter())
            tell(log, LogEvent.ADAPTER_LOADED, adapter=self._adapter_id, into="the model server")

    def unload(self) -> None:
        """Have the server drop it. What cannot be told to the server stays there and costs memory, no more."""
        try:
            self._server.unload(self._adapter_id)
        except ModelError as error:
            tell(log, LogEvent.ADAPTER_STAYS_LOADED, adapter=self._adapter_id, reason=error)
