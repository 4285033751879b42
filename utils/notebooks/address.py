"""The repository's public address, which stands once, in pyproject.toml, and all links made from it."""

import re
from pathlib import Path

from utils.notebooks.errors import CourseError

BRANCH = "main"
ADDRESS = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+?")
COLAB = "https://colab.research.google.com/github"
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
LINKS = re.compile(  # the last: a workflow's badge
    r"(colab\.research\.google\.com/github/|git clone https://github\.com/|https://github\.com/(?=[\w.-]+/[\w.-]+/actions/))"
    r"[\w.-]+/[\w.-]+"
)
SITE = re.compile(r"\(https://[\w-]+\.github\.io/[\w.-]+/(?=\)|gallery/\))")  # links to its first page or its gallery


def repository(root: Path) -> str:
    """`[tool.course] repository` of pyproject.toml, such as `https://github.com/OWNER/REPO`. Raises CourseError."""
    path = root / "pyproject.toml"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    table = ""
    for number, line in enumerate(lines, start=1):
        if line.startswith("["):
            table = line.strip()
        setting = re.match(r"repository\s*=\s*(.*?)\s*(#.*)?$", line)
        if table == "[tool.course]" and setting:
            address = setting[1].strip("\"'")
            if ADDRESS.fullmatch(address) and not address.endswith(".git"):
                return address
            raise CourseError(
                path, number, '`repository` must be like "https://github.com/OWNER/REPO", for Colab\'s sake.'
            )
    raise CourseError(path, 1, "there is no `repository = ...` under `[tool.course]`.")


def badge(address: str, notebook: str) -> str:
    """The Markdown of an *Open in Colab* badge; `notebook` is a path below the repository's root."""
    owner_and_name = address.removeprefix("https://github.com/")
    return f"[![Open in Colab]({BADGE})]({COLAB}/{owner_and_name}/blob/{BRANCH}/{notebook})"


def point_links(text: str, address: str) -> str:
    """The text with all links to Colab, to workflows and to the site, and all `git clone` lines, pointed at this address."""
    owner_and_name = address.removeprefix("https://github.com/")
    text = SITE.sub(lambda _: f"({site(address)}", text)
    return LINKS.sub(lambda link: link[1] + owner_and_name, text)


def site(address: str) -> str:
    """Where GitHub Pages shows the site of a repository."""
    owner, name = address.removeprefix("https://github.com/").split("/")
    return f"https://{owner.lower()}.github.io/{name}/"
