"""Every error that Winnow raises on purpose.

    WinnowError                 one line for a person: what is wrong, and how to mend it
    ├── ConfigError             a YAML or CSV file, or a setting, says something that cannot be
    │   ├── CodebookError       ... a codebook
    │   └── LabelConfigError    ... a Label Studio label config that Winnow cannot read
    ├── WireError               JSON from Label Studio that has not the expected shape
    ├── LabelStudioError        Label Studio refused, failed or is away
    │   ├── LabelStudioAway     ... it does not answer, or broke off; what was sent may have arrived
    │   └── LabelStudioBusy     ... it failed in a way that another try may not meet
    ├── QueueError              Redis is away or refuses
    ├── ModelError              model files are missing or do not load, or a model gives no answer
    │   └── SourceError         ... a source as a whole: its server is away or refuses, its budget is spent
    ├── AdapterError            an adapter is missing, damaged, or does not fit base or codebook
    ├── TrainingError           a fine-tuning round cannot start or cannot end
    │   └── NoRoundError        ... none is there to be stopped
    └── EnvironmentFault        a port in use, a missing program, a Python too old

Errors of other libraries are wrapped where they enter. The command line prints the message and exits with 2.
"""

from __future__ import annotations


class WinnowError(Exception):
    """Root of the tree. ``str(error)`` is one line, fit to be shown to a user: what is wrong and the remedy."""

    code = "error"


class ConfigError(WinnowError):
    """A configuration file or setting is not valid."""

    code = "config"


class CodebookError(ConfigError):
    """A codebook is not valid, or does not match the project it is used with."""

    code = "codebook"


class LabelConfigError(ConfigError):
    """A label config XML that Winnow cannot read."""

    code = "label-config"


class WireError(WinnowError):
    """JSON from Label Studio that has not the expected shape."""

    code = "wire"


class LabelStudioError(WinnowError):
    """Label Studio refused a request, failed, or cannot be reached."""

    code = "label-studio"


class LabelStudioAway(LabelStudioError):
    """Label Studio does not answer, or broke off: what was sent may have arrived or not."""


class LabelStudioBusy(LabelStudioError):
    """Label Studio failed in a way that another try may not meet, such as a locked database."""


class QueueError(WinnowError):
    """Redis cannot be reached or refuses."""

    code = "queue"


class ModelError(WinnowError):
    """Model files are missing or cannot be loaded, or a model gives no answer for a document."""

    code = "model"


class SourceError(ModelError):
    """A source as a whole proposes nothing: its server is away or refuses, or its budget is spent."""


class AdapterError(WinnowError):
    """An adapter is missing, damaged, or does not fit the base model or the codebook."""

    code = "adapter"


class TrainingError(WinnowError):
    """A fine-tuning round cannot start or cannot end."""

    code = "training"


class NoRoundError(TrainingError):
    """A round is to be stopped, and none is queued or running."""


class EnvironmentFault(WinnowError):
    """The machine lacks something: a free port, a program, a Python version."""

    code = "environment"


def reason(error: BaseException) -> str:
    """The first line of another library's error, or its class where it says nothing: fit for a message of one line."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
