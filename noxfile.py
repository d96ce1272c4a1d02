"""Sessions beside `check.sh`, each in an environment of its own: `nox -s docs`, `nox -s cluster`, `nox -s lowest`."""

from __future__ import annotations

import nox

nox.options.sessions = ["docs"]
INSTALL = ("-c", "constraints.txt")  # not editable: the site looks for the packages under their names


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation site into build/site."""
    session.install(*INSTALL, ".[docs]")
    session.run("mkdocs", "build", "--strict")


@nox.session
def cluster(session: nox.Session) -> None:
    """The examples with WebDataset and a local Ray. A large download, which is why CI does without."""
    session.install(*INSTALL, ".[cluster]", "pytest>=8")
    session.run("pytest", "tests/docs/test_cluster.py", *session.posargs)


@nox.session(python="3.11", venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """The tests with the lowest versions that pyproject.toml allows: `nox -s lowest -- tests/cli`. A large download."""
    session.install("--resolution", "lowest-direct", ".[dev]")
    session.run("pytest", "-n", "auto", "--dist", "loadfile", *session.posargs)
