"""Sessions beside `check.sh`, each in an environment of its own: `nox -s docs`, `nox -s cluster`."""

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
