"""The attribution graph as data: its nodes, its result, and how a result is kept on disk.

A graph has four kinds of nodes, always in this order: embeddings, then for every layer its latents and MLP errors, then
logits. `adjacency_matrix[target, source]` is the direct effect of the source on the target. Because information only flows
from earlier to later layers, the matrix is strictly lower triangular.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

FORMAT = "attribution-graph"
VERSION = 2
READ_VERSIONS = (1, 2)  # in version 1, nodes had no weights of their own
TENSORS_FILE = "tensors.safetensors"
JSON_FILE = "result.json"


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision is for the model's own computation; sums over many nodes need more."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class NodeType(Enum):
    """What a node stands for."""

    EMBEDDING = "embedding"
    LATENT = "latent"
    MLP_ERROR = "mlp_error"
    LOGIT = "logit"


@dataclass
class NodeInfo:
    """One node of the graph.

    Attributes:
        node_type: embedding, latent, MLP error or logit.
        layer: "E" for an embedding, the layer's index for a latent or an error, "L" for a logit.
        ctx_idx: position in the prompt, counted from 0 (a beginning-of-sequence token counts).
        feature: token id (embedding, logit; a target that is not one token has a number behind the last id), index of the latent in its transcoder (latent), 0 (error).
        activation: activation of the latent on this prompt; 0 for other nodes.
        token_prob: probability of the token (logit); 0 for other nodes.
        str_token: text of the token (embedding, logit).
        label: a name for people, when one is known.
        weight: how much of the influence starts at an output node; None stands for `token_prob`.
    """

    node_type: NodeType
    layer: int | str
    ctx_idx: int
    feature: int
    activation: float = 0.0
    token_prob: float = 0.0
    str_token: str = ""
    label: str = ""
    weight: float | None = None

    @property
    def node_id(self) -> str:
        """A name that no other node of the graph has. An error's middle part is a word, so it never equals a latent's."""
        middle = "error" if self.node_type is NodeType.MLP_ERROR else self.feature
        return f"{self.layer}_{middle}_{self.ctx_idx}"


@dataclass
class GraphNodes:
    """All nodes of a graph with the vectors by which they write to and read from the residual stream.

    Attributes:
        nodes: the nodes in order: embeddings, layer 0, layer 1, ..., logits.
        writing_vecs: (n_nodes, d_model); zero for logits.
        reading_vecs: (n_nodes, d_model); zero for embeddings and errors.
        node_range_dict: "E", each layer's index and "L" -> (first, one past the last) index into `nodes`.
        seq_len: number of positions in the prompt.
        n_layers: number of layers of the model.
        start_posn: positions before this one are hidden from the pruned graph (they still count as sources).
        reading_bias: (n_nodes,) constant inside a node's reading: `b_enc` of a latent, 0 elsewhere.
    """

    nodes: list[NodeInfo] = field(default_factory=list)
    writing_vecs: Float[Tensor, "n_nodes d_model"] | None = None
    reading_vecs: Float[Tensor, "n_nodes d_model"] | None = None
    node_range_dict: dict[int | str, tuple[int, int]] = field(default_factory=dict)
    seq_len: int = 0
    n_layers: int = 0
    start_posn: int = 0
    reading_bias: Float[Tensor, " n_nodes"] | None = None

    def __len__(self) -> int:
        return len(self.nodes)

    def indices(self, *node_types: NodeType) -> list[int]:
        """Indices of the nodes that are of one of these types, in order."""
        return [i for i, node in enumerate(self.nodes) if node.node_type in node_types]

    def mask(self, *node_types: NodeType) -> Bool[Tensor, " n_nodes"]:
        """True for the nodes that are of one of these types."""
        return self._where(node.node_type in node_types for node in self.nodes)

    @property
    def hidden(self) -> Bool[Tensor, " n_nodes"]:
        """True for the nodes at positions before `start_posn`."""
        return self._where(node.ctx_idx < self.start_posn for node in self.nodes)

    @property
    def logit_weights(self) -> Float[Tensor, " n_logits"]:
        """How much of the influence starts at each output node: its weight, or its probability where it has none."""
        logits = [self.nodes[i] for i in self.indices(NodeType.LOGIT)]
        weights = [node.token_prob if node.weight is None else node.weight for node in logits]
        return torch.tensor(weights, dtype=torch.double)

    def _where(self, flags: Iterable[bool]) -> Bool[Tensor, " n_nodes"]:
        return torch.tensor(list(flags), dtype=torch.bool, device=self.writing_vecs.device)


@dataclass
class AttributionResult:
    """Everything `attribute` found out about one prompt.

    Attributes:
        graph: the nodes.
        adjacency_matrix: (n, n) direct effects, [target, source], before pruning.
        bias: (n,) what a target reads when every source is silent: `b_enc` and all additive constants of the model.
        values: (n,) what each target reads on this prompt (pre-activation or demeaned logit); 0 for nodes that do not read.
            `adjacency_matrix.sum(1) + bias` equals it.
        influence: (n,) share of the output that passes through each node, from the unpruned matrix.
        kept_indices: (n_kept,) nodes that survived pruning, ascending, into `graph.nodes`.
        pruned_matrix: (n_kept, n_kept) their edges; a pruned edge is 0.
        prompt, str_tokens: the text and its tokens, one string a position.
        node_threshold, edge_threshold: the thresholds used, each in [0, 1].
        model_name, dictionary_name: what was traced, and with which dictionaries.
        scores: "replacement", "completeness" (both in [0, 1], of the unpruned graph) and "completeness_gap" (largest
            relative error of the identity above).
    """

    graph: GraphNodes
    adjacency_matrix: Float[Tensor, "n_nodes n_nodes"]
    bias: Float[Tensor, " n_nodes"]
    values: Float[Tensor, " n_nodes"]
    influence: Float[Tensor, " n_nodes"]
    kept_indices: Int[Tensor, " n_kept"]
    pruned_matrix: Float[Tensor, "n_kept n_kept"]
    prompt: str
    str_tokens: list[str]
    node_threshold: float
    edge_threshold: float
    model_name: str = ""
    dictionary_name: str = ""
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def kept_nodes(self) -> list[NodeInfo]:
        """The nodes of the pruned graph, in the order of `pruned_matrix`."""
        return [self.graph.nodes[i] for i in self.kept_indices.tolist()]

    @property
    def logit_weights(self) -> Float[Tensor, " n_logits"]:
        """Weights of the logit nodes, in their order: probabilities, unless a person has chosen the targets."""
        return self.graph.logit_weights.to(self.influence)

    def to(self, device: str | torch.device) -> "AttributionResult":
        """The same result with its tensors on another device."""
        moved = {name: x.to(device) for name, x in self._named_tensors().items()}
        vectors = {name: moved.pop(name) for name in ("writing_vecs", "reading_vecs", "reading_bias") if name in moved}
        return replace(self, graph=replace(self.graph, **vectors), **moved)

    def save(self, folder: str | Path) -> Path:
        """Write the result into `folder`: `result.json` and `tensors.safetensors`, no pickle.

        The folder is written beside its final place and then renamed, so that a half-written one is never seen. An earlier
        result in the same place is replaced.

        Raises:
            ValueError: `folder` is a file, or holds files that are not a saved result.
            OSError: the place cannot be written.
        """
        folder = Path(folder).absolute()
        _refuse_foreign_folder(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            new, old = temporary / "new", temporary / "old"
            new.mkdir()
            with _as_os_error(folder):
                save_file(self._tensors(), new / TENSORS_FILE)
            content = self._content()
            header = {
                "format": FORMAT,
                "version": VERSION,
                "tensors_sha256": _file_hash(new / TENSORS_FILE),
                "content_sha256": _content_hash(content),
                "content": content,
            }
            text = json.dumps(header, ensure_ascii=False, indent=1, allow_nan=False)
            (new / JSON_FILE).write_text(text, encoding="utf-8")
            shutil.copymode(new / JSON_FILE, new / TENSORS_FILE)  # safetensors' own files are their owner's alone
            if folder.exists():
                folder.rename(old)
            try:
                new.rename(folder)
            except OSError:
                if old.exists():
                    old.rename(folder)
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return folder

    @classmethod
    def load(cls, folder: str | Path, device: str | torch.device = "cpu") -> "AttributionResult":
        """Read a result that `save` wrote.

        Raises:
            ValueError: there is no result in `folder`, or it is damaged or of another version.
        """
        folder = Path(folder)
        content = _read_content(folder)
        tensors = _read_tensors(folder, device)
        try:
            result = cls._assemble(content, tensors)
            _check_shapes(result)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise ValueError(f"The saved result in {folder} is damaged: {error}. Trace the prompt again.") from error
        return result

    def _tensors(self) -> dict[str, Tensor]:
        # one copy of each, no more: safetensors refuses tensors that share memory
        found = {name: x.detach().cpu() for name, x in self._named_tensors().items()}
        return {name: x.clone() if x.is_contiguous() else x.contiguous() for name, x in found.items()}

    def _named_tensors(self) -> dict[str, Tensor]:
        tensors = {
            "adjacency_matrix": self.adjacency_matrix,
            "bias": self.bias,
            "values": self.values,
            "influence": self.influence,
            "kept_indices": self.kept_indices,
            "pruned_matrix": self.pruned_matrix,
            "writing_vecs": self.graph.writing_vecs,
            "reading_vecs": self.graph.reading_vecs,
            "reading_bias": self.graph.reading_bias,
        }
        return {name: x for name, x in tensors.items() if x is not None}

    def _content(self) -> dict:
        nodes = [asdict(node) | {"node_type": node.node_type.value} for node in self.graph.nodes]
        ranges = [[key, *bounds] for key, bounds in self.graph.node_range_dict.items()]
        graph = {name: getattr(self.graph, name) for name in ("seq_len", "n_layers", "start_posn")}
        names = ("prompt", "str_tokens", "node_threshold", "edge_threshold", "model_name", "dictionary_name", "scores")
        return {name: getattr(self, name) for name in names} | {
            "graph": graph | {"nodes": nodes, "node_range_dict": ranges}
        }

    @classmethod
    def _assemble(cls, content: dict, tensors: dict[str, Tensor]) -> "AttributionResult":
        graph_content = dict(content.pop("graph"))
        nodes = [NodeInfo(**(node | {"node_type": NodeType(node["node_type"])})) for node in graph_content.pop("nodes")]
        ranges = {key: (start, end) for key, start, end in graph_content.pop("node_range_dict")}
        vectors = {name: tensors.pop(name, None) for name in ("writing_vecs", "reading_vecs", "reading_bias")}
        graph = GraphNodes(nodes=nodes, node_range_dict=ranges, **vectors, **graph_content)
        return cls(graph=graph, **tensors, **content)


GAP_LIMIT = 1e-2


def warn_of_gap(gap: float) -> None:
    """Say that the edges do not add up as they must: rounding has grown too large."""
    if not gap <= GAP_LIMIT:
        warnings.warn(
            f"Edges and biases miss the nodes' values by up to {gap:.1%}: half precision is too coarse for this graph; load "
            "the model in float32.",
            stacklevel=3,
        )


@contextmanager
def _as_os_error(folder: Path) -> Iterator[None]:
    """safetensors says in an error of its own that a disk is full."""
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(folder)) from None


def _refuse_foreign_folder(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ValueError(f"Cannot save a result to {folder}: it is not a folder. Choose another path.")
    if folder.is_dir() and not {path.name for path in folder.iterdir()} <= {TENSORS_FILE, JSON_FILE}:
        raise ValueError(f"Cannot save a result to {folder}: it holds other files. Choose a new or empty folder.")


def _file_hash(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        # some at a time: the tensors of a large graph take gigabytes
        while block := file.read(1 << 24):
            found.update(block)
    return found.hexdigest()


def _content_hash(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, ensure_ascii=True, sort_keys=True).encode()).hexdigest()


def _read_content(folder: Path) -> dict:
    """The JSON part of a saved result, checked against both of its hashes."""
    path, tensors_path = folder / JSON_FILE, folder / TENSORS_FILE
    if not path.is_file() or not tensors_path.is_file():
        raise ValueError(f"There is no saved result in {folder}: it needs {JSON_FILE} and {TENSORS_FILE}.")
    damaged = f"The saved result in {folder} is damaged: {{}}. Trace the prompt again."
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(damaged.format(f"{JSON_FILE} is not valid JSON")) from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"{path} was not written by this course: it has no format {FORMAT!r}.")
    if header.get("version") not in READ_VERSIONS:
        raise ValueError(f"{path} has version {header.get('version')!r}, this code reads up to version {VERSION}.")
    content = header.get("content")
    if not isinstance(content, dict) or _content_hash(content) != header.get("content_sha256"):
        raise ValueError(damaged.format(f"{JSON_FILE} was changed after it was written"))
    if _file_hash(tensors_path) != header.get("tensors_sha256"):
        raise ValueError(damaged.format(f"{TENSORS_FILE} was changed after it was written"))
    return content


def _read_tensors(folder: Path, device: str | torch.device) -> dict[str, Tensor]:
    try:
        return load_file(folder / TENSORS_FILE, device=str(device))
    except SafetensorError as error:
        raise ValueError(f"The saved result in {folder} is damaged: {error}. Trace the prompt again.") from error


def _check_shapes(result: AttributionResult) -> None:
    """Refuse parts that do not fit together."""
    n, n_kept = len(result.graph.nodes), len(result.kept_indices)
    expected = {
        "adjacency_matrix": (n, n),
        "bias": (n,),
        "values": (n,),
        "influence": (n,),
        "pruned_matrix": (n_kept, n_kept),
    }
    for name, shape in expected.items():
        if tuple(getattr(result, name).shape) != shape:
            raise ValueError(f"{name} has shape {tuple(getattr(result, name).shape)} instead of {shape}")
    kept = result.kept_indices
    if kept.is_floating_point() or (n_kept and (int(kept.min()) < 0 or int(kept.max()) >= n)):
        raise ValueError("kept_indices does not name nodes of the graph")
    for name in ("writing_vecs", "reading_vecs"):
        vectors = getattr(result.graph, name)
        if vectors is None or vectors.ndim != 2 or vectors.shape[0] != n:
            raise ValueError(f"{name} does not have one row a node")
