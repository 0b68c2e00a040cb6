"""A coder who knows the true codes, and works as people do: through Label Studio alone, judging what it shows."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping

from label_studio_sdk import LabelStudio
from label_studio_sdk.types.prediction import Prediction

from label_configs.codebook import Codebook
from label_configs.errors import LabelStudioError
from label_configs.forms import ReviewForm
from label_configs.records import CandidateSet
from label_configs.wire import coder_result, decisions, document
from ml_backend.labelstudio_access import label_studio_errors

CHARACTERS_PER_SECOND = 40.0
"""A practised coder skims newswire: about 400 words a minute."""
SECONDS_PER_KEY = 1.5


class ScriptedCoder:
    """Rejects wrong candidates and names missing codes in one project, through the SDK's ``client`` of ``url``.

    ``truth`` gives each document's code by the document's id. The time that a document is said to have taken follows
    from its length and the keys to press, give or take a quarter; the same ``seed`` repeats the same times.
    """

    def __init__(
        self,
        client: LabelStudio,
        url: str,
        project_id: int,
        codebook: Codebook,
        form: ReviewForm,
        truth: Mapping[str, str],
        *,
        seed: int = 0,
    ) -> None:
        self._client = client
        self._url = url
        self._project_id = project_id
        self._codebook = codebook
        self._form = form
        self._truth = truth
        self._seed = seed

    def code_all(self, task_ids: Iterable[int]) -> Iterator[int]:
        """Code the tasks in the order given; yields each annotation's id as soon as it is submitted."""
        for task_id in task_ids:
            yield self.code(task_id)

    def code(self, task_id: int) -> int:
        """Judge the candidates that the task shows now, submit, and return the annotation's id.

        In an arm without candidates the code is chosen from the whole codebook.

        Raises:
            LabelStudioError: Label Studio refuses or is away, the task has no review prediction yet, or its document
                is not among those whose code is known.
        """
        with label_studio_errors(self._url, f"reading task {task_id}"):
            task = {"id": task_id, "data": self._client.tasks.get(id=str(task_id)).data}
            version = self._client.projects.get(self._project_id).model_version
            predictions = self._client.predictions.list(task=task_id)
        read = document(task)
        if read.id not in self._truth:
            raise LabelStudioError(
                f"task {task_id}: the true code of document {read.id} is not known; give it in `truth`"
            )
        code = self._truth[read.id]
        prediction, candidates = self._shown(task, version, predictions)
        labels = [candidate.label for candidate in candidates.candidates]
        rejected = [label for label in labels if label != code]
        missed = [] if code in labels else [code]
        with label_studio_errors(self._url, f"submitting task {task_id}"):
            annotation = self._client.annotations.create(
                id=task_id,
                result=coder_result(self._codebook, candidates, self._form, rejected=rejected, missed=missed),
                lead_time=self._seconds(read.id, len(read.text), len(rejected) + len(missed)),
                parent_prediction=prediction.id,
            )
        return int(annotation.id)

    def _shown(
        self, task: dict[str, object], version: str | None, predictions: list[Prediction]
    ) -> tuple[Prediction, CandidateSet]:
        for prediction in predictions:
            if version and prediction.model_version == version:
                # Submitted as it is, a prediction is an annotation: read so, it says what the form shows.
                untouched = {**task, "annotations": [{"id": prediction.id, "result": prediction.result}]}
                shown = decisions(untouched, self._codebook, self._form)[0].shown
                if shown is not None:
                    return prediction, shown
        raise LabelStudioError(
            f"task {task['id']}: shows no candidates of version {version or '(none chosen)'}; wait for the prelabelling"
        )

    def _seconds(self, document_id: str, characters: int, keys: int) -> float:
        generator = random.Random(f"{self._seed}/{document_id}")
        return round(
            (characters / CHARACTERS_PER_SECOND + (keys + 1) * SECONDS_PER_KEY) * generator.uniform(0.75, 1.25), 2
        )
