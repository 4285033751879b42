"""A folder of graphs in the browser, for this machine only.

The server listens on 127.0.0.1, answers GET and HEAD, and only to a browser that asks for that address (a name that someone
else's page made point here is refused). It gives out graph files and pages below its folder, and nothing else: no hidden file,
no link that leads out of the folder.
"""

from __future__ import annotations

import html
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from utils.dashboard.read_graph import read_graph
from utils.dashboard.render import render_page
from utils.engine.json_input import MAX_BYTES, GraphFormatError, need

HOST = "127.0.0.1"
SHOWN = (".html", ".json")
MAX_LISTED = 1000
STYLE = "body{font:15px/1.6 system-ui,sans-serif;margin:2em auto;max-width:50em;padding:0 1em;color-scheme:light dark}"
# A page below the folder may be of anyone's making: it may run its own script, and ask for nothing.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; form-action 'none'"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folder: Path, port: int):
        self.folder = folder
        super().__init__((HOST, port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server_version = "graphs"
    sys_version = ""
    server: _Server

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self, with_body: bool) -> None:
        status, kind, text = self._page()
        body = text.encode("utf-8", "replace")
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _page(self) -> tuple[HTTPStatus, str, str]:
        host = (self.headers.get("Host") or "").rsplit(":", 1)[0]
        if host not in (HOST, "localhost"):
            return HTTPStatus.FORBIDDEN, "text/plain", "This server is for this machine only."
        path = unquote(urlsplit(self.path).path)
        if path == "/":
            return HTTPStatus.OK, "text/html", listing(self.server.folder)
        view = path.startswith("/view/")
        file = inside(self.server.folder, path.removeprefix("/view/") if view else path.lstrip("/"))
        if file is None:
            return HTTPStatus.NOT_FOUND, "text/plain", "There is no such file here."
        try:
            if view:
                return HTTPStatus.OK, "text/html", render_page(read_graph(file))
            kind = "text/html" if file.suffix.lower() == ".html" else "application/json"
            return HTTPStatus.OK, kind, file.read_text(encoding="utf-8", errors="replace")
        except GraphFormatError as error:
            return HTTPStatus.UNPROCESSABLE_ENTITY, "text/plain", str(error)
        except OSError:
            return HTTPStatus.NOT_FOUND, "text/plain", "This file cannot be read."


def inside(folder: Path, name: str) -> Path | None:
    """The file of this name below `folder`, if there is one that may be shown, wherever links lead."""
    try:
        path = (folder / name).resolve()
        shown = path.is_file() and path.suffix.lower() in SHOWN and path.is_relative_to(folder)
    except (OSError, ValueError):  # a name too long, or with a null byte
        return None
    hidden = shown and any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path if shown and not hidden else None


def is_shown(path: Path | None) -> bool:
    """Whether a file is worth listing: a page, or JSON that looks like a graph."""
    if path is None or path.suffix.lower() != ".json":
        return path is not None
    try:
        text = path.read_bytes() if path.stat().st_size <= MAX_BYTES else b""
    except OSError:
        return False
    return b'"prompt_tokens"' in text and b'"links"' in text


def listing(folder: Path) -> str:
    """A page that lists the folder's graphs and pages."""
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.suffix.lower() in SHOWN]
    names = [name for name in names if is_shown(inside(folder, name))][:MAX_LISTED]
    rows = []
    for name in names:
        prefix = "view/" if name.lower().endswith(".json") else ""
        rows.append(f'<li><a href="/{prefix}{quote(name, errors="replace")}">{html.escape(name)}</a></li>')
    found = f"<ul>{''.join(rows)}</ul>" if rows else "<p>There are no graphs and no pages here yet.</p>"
    return f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Graphs</title><style>{STYLE}</style><h1>Graphs</h1>{found}'


def make_server(folder: str | Path, port: int = 0) -> ThreadingHTTPServer:
    """A server of `folder` on 127.0.0.1, not yet running; port 0 takes a free one.

    Raises:
        GraphFormatError: `folder` is not a folder.
        OSError: the port is taken.
    """
    root = Path(folder).resolve()
    need(root.is_dir(), f"{folder} is not a folder.")
    return _Server(root, port)


def serve(folder: str | Path, port: int) -> None:
    """Serve `folder` until the command is interrupted."""
    try:
        server = make_server(folder, port)
    except OSError as error:
        raise OSError(f"Port {port} cannot be used ({error.strerror}): choose another --port.") from None
    print(f"Showing {folder} at http://{HOST}:{server.server_port}/ (stop with Ctrl+C).", flush=True)
    with server:
        server.serve_forever()
