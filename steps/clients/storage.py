"""Cloud Storage: objects that are written once."""

import warnings
from pathlib import Path
from typing import Any

from steps.errors import StepError

PIECE = 8 << 20
SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"


def create(bucket: str, name: str, content: Path, credentials: Path | None) -> bool:
    """Upload a file as an object unless there is one of that name, which is then taken to be the same.

    Args:
        bucket: its name.
        name: of the object.
        content: the file.
        credentials: a Google credentials file (service account key, external account); None is the credentials of the
            environment, such as Workload Identity.

    Returns:
        Whether anything was sent.
    """
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError
    from google.cloud import storage
    from requests import RequestException

    where = f"gs://{bucket}/{name}"
    try:
        client = storage.Client(project=None, credentials=_credentials(credentials))
        blob = client.bucket(bucket).blob(name, chunk_size=PIECE)
        if blob.exists():
            return False
        blob.upload_from_filename(str(content), content_type="application/gzip", if_generation_match=0)
    except exceptions.PreconditionFailed:
        return False
    except exceptions.NotFound as error:
        raise StepError("not-found", f"cannot create {where}: there is no bucket {bucket}") from error
    except (exceptions.Forbidden, exceptions.Unauthorized) as error:
        raise StepError(
            "auth",
            f"cannot create {where}: the credentials lack storage.objects.get or storage.objects.create on the bucket "
            f"(role roles/storage.objectUser): {error.message}",
        ) from error
    except GoogleAuthError as error:
        raise StepError(
            "auth",
            f"cannot create {where}: there are no credentials that Google takes; give --google-credentials=FILE, or run "
            f"as a service account with Workload Identity: {error.args[0]}",
            later=error.retryable,
        ) from error
    except (exceptions.TooManyRequests, exceptions.ServerError, exceptions.RetryError, RequestException) as error:
        raise StepError("storage", f"cannot create {where} now: {error}", later=True) from error
    except exceptions.GoogleAPICallError as error:
        raise StepError("storage", f"cannot create {where}: {error.message}") from error
    return True


def _credentials(path: Path | None) -> Any:
    if path is None:
        return None
    key = path / "key.json" if path.is_dir() else path
    import google.auth

    with warnings.catch_warnings():
        # It warns of credentials from strangers; this file comes from the operator's Secret.
        warnings.simplefilter("ignore", DeprecationWarning)
        credentials, _ = google.auth.load_credentials_from_file(str(key), scopes=[SCOPE])  # type: ignore[no-untyped-call]  # it ships types for some of its functions
    return credentials
