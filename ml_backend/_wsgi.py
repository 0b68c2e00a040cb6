"""What ``label-studio-ml start ml_backend`` runs: label-studio-ml's own server around WinnowModel.

Predictions go through label-studio-ml. Authentication, /setup and /webhook are Winnow's own: 1.0.9 authenticates
nobody, gives no prediction's version and writes a webhook's secrets to disk; 2.x refuses the webhook's token and knows
only some of its events. ``winnow serve`` is the server to use; this one is for teams whose scripts start backends with
label-studio-ml.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # started as a script: this folder's queue.py must not stand before the standard library's
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import argparse
import inspect
import os

from flask import Flask
from werkzeug.exceptions import HTTPException

from label_configs.errors import ConfigError, WinnowError
from ml_backend import queue
from ml_backend.app import error_answer, setup, webhook
from ml_backend.authentication import Logins, authenticate
from ml_backend.request_header import carry_request_ids
from ml_backend.settings import Settings, is_loopback, load_settings, with_secrets


def application(settings: Settings) -> Flask:
    """label-studio-ml's Flask application. ``settings`` must hold the secrets; label-studio-ml keeps it per process."""
    folder = str(settings.home / "label-studio-ml")
    os.environ.setdefault("MODEL_DIR", folder)  # 2.x opens its cache there while it is imported
    from label_studio_ml.api import init_app

    from ml_backend.model import WinnowModel

    is_2x = "basic_auth_user" in inspect.signature(init_app).parameters
    app: Flask = init_app(WinnowModel, **({} if is_2x else {"model_dir": folder}))
    served = "winnow" in app.extensions
    redis = queue.client(settings)
    app.extensions["winnow"] = (settings, redis)
    app.extensions["winnow-logins"] = Logins(settings, redis)
    if not served:
        carry_request_ids(app)
        app.before_request(authenticate)
        app.register_error_handler(WinnowError, error_answer)
        app.register_error_handler(HTTPException, error_answer)
        app.view_functions |= {"_setup": setup, "webhook": webhook}
    return app


def main() -> int:
    """Serve on the address of the settings, or of ``--host`` and ``--port``; 2 when a setting is wrong."""
    try:
        settings = with_secrets(load_settings())
        parser = argparse.ArgumentParser(description="Winnow under label-studio-ml")
        parser.add_argument("-p", "--port", type=int, default=settings.port)
        parser.add_argument("--host", default=settings.host)
        arguments, _ = parser.parse_known_args()  # label-studio-ml passes options of its own on
        if not (settings.authentication or is_loopback(arguments.host)):
            raise ConfigError(f"--host {arguments.host}: WINNOW_AUTHENTICATION is false; only 127.0.0.1 goes with that")
        application(settings).run(host=arguments.host, port=arguments.port, threaded=True)
    except WinnowError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
