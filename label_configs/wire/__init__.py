"""Label Studio's JSON to records and back: the only place that knows its key names."""

from label_configs.forms import TEXT_NAME
from label_configs.wire.reading import decisions, document, proposals
from label_configs.wire.shown import cost_from_json, cost_to_json
from label_configs.wire.validating import validate_prediction
from label_configs.wire.writing import (
    JsonObject,
    candidate_choices,
    coder_result,
    review_prediction,
    source_prediction,
    task_data,
)

__all__ = [
    "TEXT_NAME",
    "JsonObject",
    "candidate_choices",
    "coder_result",
    "cost_from_json",
    "cost_to_json",
    "decisions",
    "document",
    "proposals",
    "review_prediction",
    "source_prediction",
    "task_data",
    "validate_prediction",
]
