"""What ``label-studio-ml start ml_backend`` runs: label-studio-ml's own server around WinnowModel.

It has neither Winnow's authentication of webhooks nor its deadlines, and is single-threaded by default; ``winnow serve`` is the
server to use. This one is for teams whose scripts start backends with label-studio-ml.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # started as a script, not as a module
from label_studio_ml.api import init_app

from ml_backend.model import WinnowModel
from ml_backend.settings import Settings, load_settings, with_secrets


def application(settings: Settings) -> Any:
    """label-studio-ml's Flask application, with basic authentication where the installed version knows it."""
    assert settings.password
    login = {"basic_auth_user": settings.username, "basic_auth_pass": settings.password.get_secret_value()}
    known = inspect.signature(init_app).parameters
    folder = {} if "basic_auth_user" in known else {"model_dir": str(settings.home / "label-studio-ml")}
    return init_app(WinnowModel, **(login if "basic_auth_user" in known else folder))


def main() -> None:
    """Serve on the address of the settings, or of ``--host`` and ``--port``."""
    settings = with_secrets(load_settings())
    parser = argparse.ArgumentParser(description="Winnow under label-studio-ml")
    parser.add_argument("-p", "--port", type=int, default=settings.port)
    parser.add_argument("--host", default=settings.host)
    arguments, _ = parser.parse_known_args()  # label-studio-ml passes options of its own on
    application(settings).run(host=arguments.host, port=arguments.port, threaded=True)


if __name__ == "__main__":
    main()
