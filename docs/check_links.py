"""See that every link and picture of the built site leads to something that is there: `python docs/check_links.py out/site`.

Addresses on the network are not asked. Exit code 1 if a link is broken.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Links(HTMLParser):
    """The addresses and the anchors of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list) -> None:
        attributes = dict(attrs)
        self.anchors |= {attributes[name] for name in ("id", "name") if attributes.get(name)}
        self.addresses += [attributes[name] for name in ("href", "src") if attributes.get(name)]


def broken_links(site: Path) -> list[str]:
    """All broken links, each with its page. The theme's templates and the pages of traces have none of their own."""
    files = [path for path in sorted(site.resolve().rglob("*.html")) if not {"_static", "traces"} & {*path.parts}]
    pages = {path: Links(path) for path in files}
    found = []
    for path, links in pages.items():
        for address in links.addresses:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchors = pages[target].anchors if target in pages else {unquote(parts.fragment)}
            if not target.exists() or parts.fragment and unquote(parts.fragment) not in anchors:
                found.append(f"{path.relative_to(site.resolve())}: {address}")
    return found


if __name__ == "__main__":
    broken = broken_links(Path(sys.argv[1]))
    print("\n".join(broken) or "All links lead somewhere.")
    sys.exit(1 if broken else 0)
