"""The manual page, made from the commands themselves."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version

import click


def page(command: click.Group, name: str) -> str:
    """The page `name(1)` in the man macros of troff. Its date is today's, or that of `$SOURCE_DATE_EPOCH`."""
    now = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH") or time.time()), UTC)
    context = click.Context(command, info_name=name)
    lines = [f'.TH {name.upper()} 1 "{now:%Y-%m-%d}" "{name} {version(name)}" "User Commands"', ".SH NAME"]
    lines += [f"{name} \\- {_plain(command.get_short_help_str(200)).rstrip('.')}", ".SH SYNOPSIS"]
    lines += [f".B {name}", "COMMAND [OPTION]... [ARGUMENT]...", ".SH COMMANDS"]
    for key in command.list_commands(context):
        lines += _command(command.commands[key], key, context)
    lines += [".SH EXIT STATUS", "0 done; 1 an input failed, with a line on stderr; 2 wrong usage."]
    return "\n".join(lines) + "\n"


def _command(command: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent)
    arguments = " ".join(command.collect_usage_pieces(context))
    yield from (".SS", f"{context.command_path} {_plain(arguments)}")
    for paragraph in (command.help or "").split("\n\n"):
        yield from (".PP", _plain(" ".join(paragraph.split())))
    if isinstance(command, click.Group):
        for key in command.list_commands(context):
            yield from _command(command.commands[key], key, context)
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if isinstance(parameter, click.Option) and record:
            yield from (".TP", f"\\fB{_plain(record[0])}\\fR", _plain(record[1]))


def _plain(text: str) -> str:
    """Text without what troff takes for its own."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text
