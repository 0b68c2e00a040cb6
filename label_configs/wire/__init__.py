"""Label Studio's JSON to records and back: the only place that knows its key names."""

from label_configs.forms import TEXT_NAME
from label_configs.wire.keeping import KEPT_KEYS, kept_task, lacks_snapshot, submitted, with_snapshots
from label_configs.wire.metadata import OWN_KEYS, metadata
from label_configs.wire.reading import decisions, document, proposals
from label_configs.wire.shown import cost_from_json, cost_to_json
from label_configs.wire.team import prediction_to_team
from label_configs.wire.validating import validate_prediction
from label_configs.wire.writing import (
    JsonObject,
    candidate_data,
    coder_result,
    review_prediction,
    source_prediction,
    task_data,
)

__all__ = [
    "KEPT_KEYS",
    "OWN_KEYS",
    "TEXT_NAME",
    "JsonObject",
    "candidate_data",
    "coder_result",
    "cost_from_json",
    "cost_to_json",
    "decisions",
    "document",
    "kept_task",
    "lacks_snapshot",
    "metadata",
    "prediction_to_team",
    "proposals",
    "review_prediction",
    "source_prediction",
    "submitted",
    "task_data",
    "validate_prediction",
    "with_snapshots",
]
