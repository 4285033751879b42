"""Models and dictionaries from the Hugging Face hub, or from its cache on this machine."""

from __future__ import annotations

import difflib
import fnmatch
import re
import socket
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import torch

from utils import ROOT
from utils.models.errors import hub_errors, local_errors
from utils.models.folder import ln2_weight, load_folder_model, n_layers_of
from utils.models.layers import LoadedModel, boot, load_layers, load_stored
from utils.models.layouts import (
    BEFORE_WEIGHT,
    Get,
    layer_files,
    read_clt,
    read_config,
    read_transcoder,
    reads_before_weight,
)
from utils.models.packaged import packaged_folder
from utils.models.placement import dtype_name
from utils.models.registry import FLOAT32_LIMIT_GB, MODELS, ModelSpec, clt_place, dictionary_name

if TYPE_CHECKING:
    from sae_lens import SAE
    from sae_lens.saes.transcoder import Transcoder
    from transformer_lens.model_bridge import TransformerBridge

    from utils.engine.cross_layer import CrossLayerWeights
    from utils.engine.stored import Place

CONNECT_SECONDS = 4
# For SAELens' loaders of the dictionaries used here: the file, its names of encoder and decoder, whether the encoder is
# transposed in it.
STORED_BY = {
    "mwhanna_transcoder": ("{folder}", ("W_enc", "W_dec"), True),
    "gemma_3": ("{folder}/params.safetensors", ("w_enc", "w_dec"), False),
}


def load_hub(spec: ModelSpec, device: str, dtype: torch.dtype, offload: bool = False) -> LoadedModel:
    """Download (or take from the cache) a model and its dictionaries, by SAELens' own loaders."""
    require_token(spec)
    if not offload:
        require_memory(spec, device, dtype)
    model = load_hub_model(spec, device, dtype)
    if not spec.has_dictionary:
        return LoadedModel(model, {})

    with no_retries_offline():
        if spec.sae_id is None:
            load_layer = _set_loader(spec, model, device, dtype, offload)
        else:
            load_layer = _release_loader(spec, model, device, dtype, offload)
        return LoadedModel(model, load_layers(load_layer, model, dictionary_name(spec.name)))


def _release_loader(
    spec: ModelSpec, model: TransformerBridge, device: str, dtype: torch.dtype, offload: bool
) -> Callable[[int], Transcoder]:
    """The function that loads a layer's transcoder of a release of SAELens, by SAELens' own loaders."""
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
    from sae_lens.saes.transcoder import Transcoder

    directory = get_pretrained_saes_directory()  # parsed and cached before the threads need it
    if spec.release not in directory:
        close = difflib.get_close_matches(spec.release, directory, n=2)
        hint = f": did you mean {' or '.join(close)}?" if close else "."
        raise ValueError(f"SAELens has no release {spec.release!r}{hint}")
    release = directory[spec.release]

    def load_layer(layer: int) -> Transcoder:
        sae_id = one_of(release.saes_map, spec.sae_id.format(layer=layer), spec.release)

        def load_as(device: str, dtype: torch.dtype) -> Transcoder:
            return Transcoder.from_pretrained(spec.release, sae_id, device=device, dtype=dtype_name(dtype))

        with hub_errors(spec, release.repo_id):
            if offload:
                return load_stored(load_as, stored_places(spec.release, sae_id), device, dtype)
            transcoder = load_as(device, dtype)
        if transcoder.cfg.metadata.hook_name.endswith(BEFORE_WEIGHT):
            with torch.no_grad():
                transcoder.W_enc.div_(ln2_weight(model, layer).to(transcoder.W_enc)[:, None])
        return transcoder

    return load_layer


def one_of(names: Iterable[str], pattern: str, release: str) -> str:
    """The one name that fits a pattern, in which * stands for any text.

    Raises:
        ValueError: there is none, or there are several.
    """
    found = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise ValueError(f"SAELens' release {release} has no {pattern}: it has {next(iter(names))} and others.")
    raise ValueError(f"SAELens' release {release} has {len(found)} that fit {pattern}: choose one, such as {found[0]}.")


def _set_loader(
    spec: ModelSpec, model: TransformerBridge, device: str, dtype: torch.dtype, offload: bool
) -> Callable[[int], Transcoder]:
    """The function that loads a layer's transcoder of a repository in circuit-tracer's form."""
    if offload:
        raise ValueError("Only transcoders of SAELens' releases can stay on disk: leave offload out.")
    get = files_on_hub(spec.release)
    with hub_errors(spec, repository(spec.release)[0]):
        config = read_config(get)
        if config.get("model_kind") == "cross_layer_transcoder":
            raise ValueError(f"{spec.release} is a cross-layer transcoder: use load_clt (--dictionary clt).")
        before_weight = reads_before_weight(config)
        files = layer_files(get, config, model.cfg.n_layers)

    def load_layer(layer: int) -> Transcoder:
        with local_errors(files[layer]):
            return read_transcoder(files[layer], device, dtype, ln2_weight(model, layer) if before_weight else None)

    return load_layer


def hub_clt(spec: ModelSpec, device: str, dtype: torch.dtype | None) -> CrossLayerWeights:
    """A cross-layer transcoder from the hub, in circuit-tracer's or GemmaScope 2's form."""
    place = clt_place(spec)
    if place is None:
        raise ValueError(
            f"There is no cross-layer transcoder of {spec.name} here: use 'atlas', which is bundled, or train one (chapter 5)."
        )
    require_token(spec)
    if dtype is None:
        dtype = torch.float32 if spec.clt_params * 4 <= FLOAT32_LIMIT_GB else torch.bfloat16
    with hub_errors(spec, repository(place)[0]), no_retries_offline():
        return read_clt(files_on_hub(place), n_layers_of(spec.hub_id), device, dtype)


def repository(place: str) -> tuple[str, str, str | None]:
    """``owner/name/folder@revision`` as repository, folder and revision."""
    path, _, revision = place.partition("@")
    owner, name, *folders = path.split("/")
    return f"{owner}/{name}", "/".join(folders), revision or None


def files_on_hub(place: str) -> Get:
    """The files of a folder of the hub, by name; `hf://owner/name/file` is a file elsewhere."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    def get(name: str) -> Path | None:
        if name.startswith("hf://"):
            repo_id, file, revision = repository(name.removeprefix("hf://").replace("?revision=", "@"))
        else:
            repo_id, folder, revision = repository(place)
            file = f"{folder}/{name}".lstrip("/")
        try:
            return Path(hf_hub_download(repo_id, file, revision=revision))
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError:
            return None

    return get


def stored_places(release: str, sae_id: str) -> dict[str, Place]:
    """Where a dictionary's file, downloaded if it is not here, has the large matrices. SAELens' loaders read the same."""
    from huggingface_hub import hf_hub_download
    from sae_lens.loading.pretrained_sae_loaders import get_conversion_loader_name
    from sae_lens.loading.pretrained_saes_directory import get_repo_id_and_folder_name

    from utils.engine.stored import Place

    repo_id, folder = get_repo_id_and_folder_name(release, sae_id)
    loader = get_conversion_loader_name(release)
    if loader not in STORED_BY:
        raise ValueError(f"The dictionaries of {release} cannot stay on disk: leave offload out.")
    file, names, is_transposed = STORED_BY[loader]
    path = Path(hf_hub_download(repo_id, file.format(folder=folder)))
    return {"W_enc": Place(path, names[0], is_transposed), "W_dec": Place(path, names[1])}


def load_hub_model(spec: ModelSpec, device: str, dtype: torch.dtype) -> TransformerBridge:
    """Download (or take from the cache) a model alone. Where a package brings its weights, nothing is downloaded."""
    if (folder := packaged_folder(spec)) is not None:
        return load_folder_model(folder, spec.name, device, dtype)
    require_hub(spec)
    with hub_errors(spec, spec.hub_id), no_retries_offline():
        model = boot(spec.hub_id, device, dtype)
    if spec.bos_token is not None:
        _begin_with(model, spec.bos_token)
    return model


def require_hub(spec: ModelSpec) -> None:
    """Say early, before other libraries are imported for seconds, what keeps a model from being loaded: no token, no network.

    Raises:
        PermissionError, ConnectionError, OSError: as in `load`.
    """
    from huggingface_hub import hf_hub_download

    require_token(spec)
    with hub_errors(spec, spec.hub_id), no_retries_offline():
        hf_hub_download(spec.hub_id, "config.json")


def _begin_with(model: TransformerBridge, bos_token: str) -> None:
    """Put another token in front of prompts than the tokenizer's own."""
    from transformer_lens.model_bridge.sources import detect_tokenizer_bos_eos

    model.tokenizer.bos_token = bos_token
    model.tokenizer.add_bos_token = True  # setting it renews what the tokenizer puts in front
    model.cfg.tokenizer_prepends_bos, _ = detect_tokenizer_bos_eos(model.tokenizer)


def hub_saes(spec: ModelSpec, device: str, dtype: str) -> tuple[list[int], Callable[[int], SAE]]:
    """The layers that have an SAE on the hub, and the function that loads one."""
    from sae_lens import SAE
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    if spec.residual_release is None:
        others = ", ".join(repr(other.name) for other in MODELS.values() if other.residual_release)
        raise ValueError(
            f"There are no SAEs on the residual stream of {spec.name}: use 'atlas', which is bundled, or one of {others}."
        )
    require_token(spec)
    release = get_pretrained_saes_directory()[spec.residual_release]
    pattern = re.compile(re.escape(spec.residual_id).replace(re.escape("{layer}"), r"(\d+)"))
    available = sorted(int(found[1]) for sae_id in release.saes_map if (found := pattern.fullmatch(sae_id)))

    def load_layer(layer: int) -> SAE:
        with hub_errors(spec, release.repo_id), no_retries_offline():
            return SAE.from_pretrained(
                spec.residual_release, spec.residual_id.format(layer=layer), device=device, dtype=dtype
            )

    return available, load_layer


@contextmanager
def no_retries_offline() -> Iterator[None]:
    """Where the hub cannot be reached, take only what is on the disk, instead of trying again for minutes."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not can_connect(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def can_connect(address: str) -> bool:
    """Whether somebody listens at a web address, or at the proxy that leads there, within `CONNECT_SECONDS`."""
    target = urlsplit(address)
    proxy = urllib.request.getproxies().get(target.scheme)
    if proxy and not urllib.request.proxy_bypass(target.hostname):
        target = urlsplit(proxy)
    port = target.port or (443 if target.scheme == "https" else 80)
    try:
        with socket.create_connection((target.hostname, port), timeout=CONNECT_SECONDS):
            return True
    except OSError:
        return False


def require_token(spec: ModelSpec) -> None:
    """Make the token of `.env` known to every library, and say so early when there is none.

    A token set in the environment, `hf auth login` and Colab's secrets count as well; the first wins over `.env`.
    """
    from dotenv import load_dotenv
    from huggingface_hub import get_token

    load_dotenv(ROOT / ".env")
    if spec.needs_token and not get_token():
        raise PermissionError(
            f"{spec.name} needs a Hugging Face token: accept the licence at https://huggingface.co/{spec.hub_id},"
            " create a token at https://huggingface.co/settings/tokens, copy .env.example to .env and write it there as"
            " HF_TOKEN=… (or use load('atlas'), which needs none)."
        )


def require_memory(spec: ModelSpec, device: str, dtype: torch.dtype) -> None:
    """Refuse before a long download what cannot fit on the GPU.

    Not on a CPU: there SAELens maps the dictionaries' files into memory where `dtype` is the files' own, and the system
    may drop and read again what does not fit.
    """
    if torch.device(device).type != "cuda":
        return
    free = torch.cuda.mem_get_info(device)[0] / 1e9
    if free < spec.memory_gb(dtype):
        fitting = ", ".join(repr(other.name) for other in MODELS.values() if other.memory_gb() < free)
        raise MemoryError(
            f"{spec.name} takes {spec.memory_gb(dtype):.1f} GB in {dtype_name(dtype)} and {device} has {free:.1f} GB"
            f" free: use a smaller model ({fitting} would fit), close what else is on the GPU, or pass device='cpu' (slow)."
        )
