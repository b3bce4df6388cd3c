"""Models on the hub: download into its cache, and upload. Needs huggingface_hub, the extra ``hub``."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from textrnn.bundle import CARD, MANIFEST, Bundle, read_bundle, read_manifest
from textrnn.errors import UserError
from textrnn.files import new_folder
from textrnn.models.card import card_of

SCHEME = "hf://"
SECONDS = 10  # to wait for the hub
_NAME = re.compile(r"([^/@\s]+/[^/@\s]+)(?:@(\S+))?")


def download(address: str) -> Path:
    """Return the bundle folder of a model of the hub, downloaded when it is first used or has changed.

    Where the hub does not respond, or ``HF_HUB_OFFLINE=1`` is set, it is the model as it was downloaded last.

    Args:
        address: ``hf://user/model``, with ``@`` and a branch, tag or commit if it is not the main branch.

    Raises:
        UserError: no such model, no access, no network and no copy, the extra is not installed, or the files are not
            those of the manifest.
    """
    found = _NAME.fullmatch(address.removeprefix(SCHEME))
    if not found:
        raise UserError(f"a model of the hub is {SCHEME}USER/MODEL or {SCHEME}USER/MODEL@REVISION, was: {address}")
    name, revision = found.groups()
    hub = _huggingface_hub()
    with _explained(address, name):
        # The manifest first, so that nothing else is downloaded than what it lists.
        is_offline = not _answers(hub, name, revision)
        manifest = Path(hub.hf_hub_download(name, MANIFEST, revision=revision, local_files_only=is_offline))
        commit = manifest.parent.name
        # Files of the hub's cache are links, which a bundle must not have.
        folder = Path(hub.constants.HF_HOME) / "textrnn" / name.replace("/", "--") / commit
        if folder.exists():
            return folder
        names = [MANIFEST, *read_manifest(manifest).files]
        snapshot = Path(hub.snapshot_download(name, revision=commit, allow_patterns=names))
    try:
        with new_folder(folder) as temporary:
            for file in names:
                if not (snapshot / file).is_file():
                    raise UserError(f"{address} lacks {file}, which its manifest lists; it must be uploaded again")
                shutil.copyfile(snapshot / file, temporary / file)
            read_bundle(temporary)
    except UserError:
        if not folder.exists():  # else another process was faster
            raise
    return folder


def upload(bundle: Bundle, name: str, private: bool = False, message: str = "Upload a textrnn model") -> str:
    """Upload a bundle with its card, as one commit; the model is created if it does not exist.

    Args:
        bundle: the bundle.
        name: ``user/model``.
        private: whether a new model is private.
        message: message of the commit.

    Returns:
        the address of the model, for `download`.

    Raises:
        UserError: the name is invalid, no token, no access, no network, or the extra is not installed.
    """
    found = _NAME.fullmatch(name.removeprefix(SCHEME))
    if not found or found[2]:
        raise UserError(f"a model on the hub has a name of the form USER/MODEL, was: {name}")
    name = found[1]
    hub = _huggingface_hub()
    with tempfile.TemporaryDirectory() as temporary, _explained(SCHEME + name, name):
        for file in (MANIFEST, *bundle.manifest.files):
            shutil.copyfile(bundle.path(file), Path(temporary) / file)
        (Path(temporary) / CARD).write_text(card_of(bundle.manifest, SCHEME + name), encoding="utf-8")
        api = hub.HfApi()
        api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=temporary, commit_message=message)
    return SCHEME + name


def _answers(hub: Any, name: str, revision: str | None) -> bool:
    """Return whether the hub responds and knows the model; downloads would try it for half a minute."""
    try:
        hub.HfApi().model_info(name, revision=revision, timeout=SECONDS)
    except hub.errors.HfHubHTTPError as error:
        if getattr(error.response, "status_code", 500) < 500:
            raise
        return False
    except hub.errors.HFValidationError:
        raise
    except Exception:  # of the network, or none is wanted; the client has changed its library for it before
        return False
    return True


def _huggingface_hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError(
            "models of the hub need the package huggingface_hub, it is not installed; pip install 'textrnn[hub]'"
        ) from error
    return huggingface_hub


@contextmanager
def _explained(address: str, name: str) -> Iterator[None]:
    """Raise errors of the hub as UserErrors, and silence its log, which says them too."""
    from huggingface_hub import errors
    from huggingface_hub.utils import logging as log

    before = log.get_verbosity()
    log.set_verbosity(logging.ERROR)
    try:
        yield
    except UserError:
        raise
    except errors.HFValidationError as error:
        raise UserError(f"a model on the hub has a name of the form USER/MODEL, was: {name}") from error
    except errors.RevisionNotFoundError as error:
        raise UserError(f"{address} must name a branch, tag or commit of the model, it has no such one") from error
    except errors.LocalTokenNotFoundError as error:
        raise _no_access(address) from error
    except errors.LocalEntryNotFoundError as error:
        raise UserError(
            f"the hub did not respond, and {address} was not downloaded before; try again with a network"
        ) from error
    except errors.RemoteEntryNotFoundError as error:
        raise UserError(f"{address} must be a bundle of textrnn, it has no {MANIFEST}; check the name") from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if isinstance(error, errors.RepositoryNotFoundError) and not isinstance(error, errors.GatedRepoError):
            raise UserError(
                f"{address} was not found on the hub; check the name, or if it is private: hf auth login"
            ) from error
        if status in (401, 403):
            raise _no_access(address) from error
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the hub refused {address}: {reason}; try again later") from error
    except Exception as error:  # of the network; the hub's client has changed its library for it before
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{address} could not be reached on the hub: {reason}; check the network") from error
    finally:
        log.set_verbosity(before)


def _no_access(address: str) -> UserError:
    return UserError(f"{address} needs a token with access to it; log in with hf auth login, or set HF_TOKEN")
