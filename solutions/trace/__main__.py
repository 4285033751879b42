"""The command ``python -m solutions.trace``. What can go wrong through its input ends in one sentence and exit code 2."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from solutions.trace.arguments import parse_arguments
from solutions.trace.output import SomeFailed, staged

BAR = "{desc:<24}|{bar:32}| {percentage:3.0f} %  {elapsed}"
# For consoles that lack the summary's signs.
ASCII = {"→": "->", "⊣": "-|", "−": "-", "…": "..."}
INTERRUPTED, TERMINATED = 130, 143


def run(arguments: argparse.Namespace) -> str:
    """Do what the command line asks for and return the summary.

    Raises:
        ValueError, OSError, MemoryError, ImportError: with one sentence for the user.
    """
    if arguments.release is not None:
        from solutions.trace.tracing import register

        register(arguments)
    if arguments.result is None and arguments.scheduler is None:
        from utils.models import require

        require(arguments.model)
    if arguments.prompts is not None:
        from solutions.trace.many import trace_many

        return trace_many(arguments)
    if arguments.result is not None:
        from solutions.trace.again import draw_again

        return draw_again(arguments)
    from utils.models import default_dictionary

    arguments.dictionary = arguments.dictionary or default_dictionary(arguments.model)
    folder = arguments.out or default_folder(arguments)
    with staged(folder) as temporary:
        return _trace_into(temporary, folder, arguments)


def default_folder(arguments: argparse.Namespace) -> Path:
    """Where a prompt is written to if nobody says: ``out/<model>-<dictionary>-<prompt>``."""
    from utils.dashboard import slugify

    which = "" if arguments.dictionary == "transcoders" else f"-{arguments.dictionary}"
    which += "-chat" if arguments.chat else ""
    return Path("out") / f"{slugify(Path(arguments.model).name)}{which}-{slugify(arguments.prompt)}"


def _trace_into(temporary: Path, folder: Path, arguments: argparse.Namespace) -> str:
    """Load, trace, write everything into ``temporary``, and say in the summary that it is in ``folder``."""
    from tqdm import tqdm

    # disable=None: no bar where stderr is not a terminal
    with tqdm(total=1, desc="loading the model", bar_format=BAR, leave=False, disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total, bar.n = total, done
            bar.set_description_str("tracing the prompt")

        _say_what_it_takes()
        from solutions.trace.files import write_files
        from solutions.trace.summary import summarize
        from solutions.trace.tracing import Tracer, left_out

        tracer = Tracer(arguments)
        result, question = tracer.trace(arguments.prompt, progress)
        bar.set_description_str(_last_step(arguments))
        written = write_files(result, arguments, tracer, temporary, folder)
        files = [folder / name for name in written.files]
        summary = summarize(
            result, question.top_tokens, written.paths, written.names, files, question.notes, written.ablations
        )
        return "\n".join(filter(None, [summary, left_out(arguments)]))


def _last_step(arguments: argparse.Namespace) -> str:
    """What the progress bar says after the trace."""
    if arguments.ablate:
        return "ablating the boxes"
    return "looking into heads" if arguments.attention else "writing the files"


def _say_what_it_takes() -> None:
    """Let the line that says how many nodes a graph has, and what memory they take, appear on stderr before the work."""
    import logging

    from tqdm import tqdm

    from utils.engine.memory import log

    class Beside(logging.Handler):
        """Above the progress bar, not into it."""

        def emit(self, record: logging.LogRecord) -> None:
            tqdm.write(record.getMessage(), file=sys.stderr)

    log.handlers, log.propagate = [Beside()], False
    log.setLevel(logging.INFO)


def for_console(text: str, encoding: str | None) -> str:
    """The text with plain signs in the place of those that the console's encoding lacks."""
    try:
        text.encode(encoding or "utf-8")
        return text
    except UnicodeEncodeError:
        for sign, plain in ASCII.items():
            text = text.replace(sign, plain)
        return text


class Terminated(KeyboardInterrupt):
    """SIGTERM."""


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM, which a batch system sends at the time limit, tidy up as Ctrl-C does."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _complain(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 2 after one sentence on stderr."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        with ended_like_ctrl_c():
            print(for_console(run(parse_arguments(argv)), sys.stdout.encoding), flush=True)
    except BrokenPipeError:  # the reader of the summary had enough; the files are written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError, MemoryError, ImportError) as error:
        _complain(" ".join(str(error).split()) or type(error).__name__)
        return 2
    except SomeFailed as failed:
        print(for_console(str(failed), sys.stdout.encoding), flush=True)
        return 1
    except KeyboardInterrupt as stop:
        _complain(str(stop) or "Stopped; nothing was written.")
        return TERMINATED if isinstance(stop.__cause__ or stop, Terminated) else INTERRUPTED
    return 0


if __name__ == "__main__":
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # progress bars are for people
    sys.exit(main())
