"""Running an answer notebook, and taking out of its outputs what differs from run to run."""

import ast
import os
import re
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from tqdm import tqdm

from utils.notebooks.errors import CourseError, CourseErrors
from utils.notebooks.numbers import Number, as_written

SECONDS_FOR_A_CELL = 300
ENVIRONMENT = {
    "PLOTLY_RENDERER": "plotly_mimetype",  # figures as JSON; `pictures` puts a picture beside it
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "OMP_NUM_THREADS": "1",  # sums in another order have other last digits
}
UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
MEMORY = re.compile(r"\bat 0x[0-9a-f]+")


Numbers = Mapping[str, Sequence[Number]]  # after which cell (its id) which numbers of the page are there
Values = dict[str, dict[str, str]]  # for each of those cells: the expression, and what the page should say


def execute(
    notebook: NotebookNode,
    folder: Path,
    path: Path,
    lines: Mapping[str, int],
    numbers: Numbers | None = None,
    seconds: int = SECONDS_FOR_A_CELL,
) -> Values:
    """Run all cells in place, in a new kernel of this Python that starts in `folder`; a bar shows how far it is.

    A cell has `seconds`. Returns the values of the page's numbers. Raises CourseError at the line of the page (`path`, `lines`) whose cell fails, or
    whose numbers do.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    with tempfile.TemporaryDirectory() as settings, tqdm(total=len(code), unit="cell", desc=path.stem) as bar:
        client = Client(
            notebook,
            km=AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[])),
            timeout=seconds,
            extra_arguments=["--IPKernelApp.log_level=40"],  # errors only
            coalesce_streams=True,
            record_timing=False,
            shutdown_kernel="immediate",
            resources={"metadata": {"path": str(folder)}},
            on_cell_executed=lambda **_: bar.update(),
        )
        client.numbers, client.values, client.failures = numbers or {}, {}, []
        try:
            client.execute(cleanup_kc=True, env={**os.environ, **ENVIRONMENT, "IPYTHONDIR": settings})
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            failed = next((cell for cell in code if failure(cell)), None) or code[min(bar.n, len(code) - 1)]
            raise CourseError(
                path, lines[failed.id], f"the cell made from here fails: {failure(failed) or error}"
            ) from error
    if client.failures:
        raise CourseErrors([CourseError(path, number.line, sentence) for number, sentence in client.failures])
    make_repeatable(notebook, folder)
    return client.values


class Client(NotebookClient):
    """Runs a notebook, and asks the kernel for the values of numbers on the way."""

    async def async_execute_cell(self, cell: NotebookNode, cell_index: int, *args, **options) -> NotebookNode:
        """Run a cell, then evaluate what the text below it takes from there."""
        cell = await super().async_execute_cell(cell, cell_index, *args, **options)
        if numbers := self.numbers.get(cell.id):
            expressions = {number.expression: number.program for number in numbers}
            reply = await self.kc.execute_interactive(
                "", silent=True, user_expressions=expressions, timeout=SECONDS_FOR_A_CELL, output_hook=lambda _: None
            )
            given = reply["content"]["user_expressions"]
            self.values[cell.id] = {key: value_of(given[key]) for key in expressions if given[key]["status"] == "ok"}
            self.failures += [
                (number, f"`{number.expression}` fails: {error['ename']}: {error['evalue']}")
                for number in numbers
                if (error := given[number.expression])["status"] != "ok"
            ]
        return cell


def value_of(answer: dict) -> str:
    """The text that an expression of the kernel gave."""
    return as_written(ast.literal_eval(answer["data"]["text/plain"]))


def failure(cell: NotebookNode) -> str:
    """The error that a cell shows, in one line, if any."""
    errors = [output for output in cell.outputs if output.output_type == "error"]
    return " ".join(f"{errors[0].ename}: {errors[0].evalue}".split()) if errors else ""


def make_repeatable(notebook: NotebookNode, root: Path) -> None:
    """Take out what differs from run to run or machine to machine: versions, ids, addresses in memory, paths, warnings."""
    notebook.metadata.language_info = {"name": "python"}
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.metadata.pop("execution", None)
        # libraries warn here, with paths of this machine
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        replace = Replacer(cell.id, root)
        cell.outputs = [replace.everywhere(output) for output in cell.outputs]


class Replacer:
    """Replaces, in all text of a cell's outputs, what differs: the n-th identifier by one made from the cell and n."""

    def __init__(self, cell: str, root: Path) -> None:
        self.cell = cell
        self.folders = {str(root.resolve()): "course", str(root): "course", sys.prefix: "python", str(Path.home()): "~"}
        self.identifiers: dict[str, str] = {}

    def everywhere(self, value):
        """The value with all strings in it replaced."""
        if isinstance(value, dict):
            return NotebookNode({self.everywhere(key): self.everywhere(item) for key, item in value.items()})
        if isinstance(value, list):
            return [self.everywhere(item) for item in value]
        return self.text(value) if isinstance(value, str) else value

    def text(self, text: str) -> str:
        """One string, replaced."""
        for folder, name in self.folders.items():
            if len(folder) > 1:
                text = text.replace(folder, name)
        return MEMORY.sub("at 0x…", UUID.sub(self.identifier, text))

    def identifier(self, match: re.Match) -> str:
        """The replacement for an identifier, the same each time it comes."""
        number = len(self.identifiers)
        return self.identifiers.setdefault(match[0], str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.cell}/{number}")))
