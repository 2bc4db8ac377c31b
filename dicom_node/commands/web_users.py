"""Commands for those who use the pages and the API: `user` and `token`."""

from __future__ import annotations

import getpass
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from dicom_node.commands.console import ConfigOption, stderr, stdout
from dicom_node.errors import ConfigurationError, UnknownNameError

if TYPE_CHECKING:
    from dicom_node.settings.web import Web
    from dicom_node.web.accounts.roles import Role

users = typer.Typer(no_args_is_help=True, help="The users of the web pages.")
tokens = typer.Typer(no_args_is_help=True, help="The tokens of programs that use the API.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME")]


class GivenRole(StrEnum):
    """What a user may do: look, or look and order."""

    VIEWER = "viewer"
    OPERATOR = "operator"

    @property
    def role(self) -> Role:
        """The role itself."""
        from dicom_node.web.accounts.roles import Role

        return Role(self.value)


RoleOption = Annotated[GivenRole, typer.Option("--role", help="Look, or look and order.")]
FileOption = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        help="The file whose first line is the password; asked on the terminal without it.",
    ),
]


@users.command("add")
def add_user(
    name: NameArgument,
    role: RoleOption,
    config: ConfigOption = None,
    password_file: FileOption = None,
) -> None:
    """Enter a user; a running node lets them in at once."""
    from dicom_node.web.accounts import users as accounts

    web = _web(config)
    accounts.add_user(web.users, name, role.role, _password(password_file))
    _tell(config, f"user {name} entered as {role.value}")
    stdout.print(f"{name} is {role.value} now", highlight=False)


@users.command("remove")
def remove_user(name: NameArgument, config: ConfigOption = None) -> None:
    """Take a user out; what they have open ends at once."""
    from dicom_node.web.accounts import users as accounts

    accounts.remove_user(_web(config).users, name)
    _tell(config, f"user {name} removed")
    stdout.print(f"{name} is no user any more", highlight=False)


@users.command("role")
def set_role(name: NameArgument, role: RoleOption, config: ConfigOption = None) -> None:
    """Give a user another role; they have to log in again."""
    from dicom_node.web.accounts import users as accounts

    accounts.set_role(_web(config).users, name, role.role)
    _tell(config, f"user {name} is {role.value}")
    stdout.print(f"{name} is {role.value} now", highlight=False)


@users.command("password")
def set_password(
    name: NameArgument, config: ConfigOption = None, password_file: FileOption = None
) -> None:
    """Give a user another password; they have to log in again."""
    from dicom_node.web.accounts import users as accounts

    accounts.set_password(_web(config).users, name, _password(password_file))
    _tell(config, f"user {name} has another password")
    stdout.print(f"{name} has another password now", highlight=False)


@users.command("list")
def list_users(config: ConfigOption = None) -> None:
    """Show the users and their roles."""
    from dicom_node.web.accounts.users import read_users

    table = Table("user", "role")
    for name, account in sorted(read_users(_web(config).users).items()):
        table.add_row(name, account.user.role.value)
    stdout.print(table)


@tokens.command("add")
def add_token(
    name: NameArgument,
    role: RoleOption,
    config: ConfigOption = None,
    days: Annotated[int, typer.Option(help="How long it lasts.")] = 90,
    user: Annotated[
        str, typer.Option(help="The user it belongs to, and goes with; nobody without it.")
    ] = "",
) -> None:
    """Make a token and show it, this once."""
    from datetime import UTC, datetime

    from dicom_node.web.accounts.tokens import Token, ends_after
    from dicom_node.web.accounts.tokens import add_token as add
    from dicom_node.web.accounts.users import read_users

    web = _web(config)
    if user and user not in read_users(web.users):
        raise UnknownNameError(f"{web.users}: there is no user {user}")
    token = Token(name, role.role, ends_after(days, datetime.now(UTC)), user)
    secret = add(web.tokens, token)
    _tell(config, f"token {name} made for {role.value}")
    stderr.print(f"until {token.expires_at:%Y-%m-%d}; it is not shown again", highlight=False)
    typer.echo(secret)


@tokens.command("remove")
def remove_token(name: NameArgument, config: ConfigOption = None) -> None:
    """Take a token back; it ends at once."""
    from dicom_node.web.accounts import tokens as accounts

    accounts.remove_token(_web(config).tokens, name)
    _tell(config, f"token {name} taken back")
    stdout.print(f"the token {name} has ended", highlight=False)


@tokens.command("list")
def list_tokens(config: ConfigOption = None) -> None:
    """Show the tokens, not their text."""
    from dicom_node.web.accounts.tokens import read_tokens

    table = Table("token", "role", "user", "until")
    found = read_tokens(_web(config).tokens).values()
    for token in sorted(found, key=lambda each: each.name):
        until = f"{token.expires_at:%Y-%m-%d %H:%M} UTC"
        table.add_row(token.name, token.role.value, token.owner, until)
    stdout.print(table)


def _web(config: Path | None) -> Web:
    """The table of the web in the settings."""
    from dicom_node.settings.loading import load_config

    settings = load_config(config)
    if settings.web is None:
        raise ConfigurationError("web: there is no such table, so nobody can log in anywhere")
    return settings.web


def _tell(config: Path | None, words: str) -> None:
    """Tell the audit trail what was changed, and by whom on this machine."""
    from dicom_node.monitoring.audit import AuditEvent, AuditKind, open_trail
    from dicom_node.settings.loading import load_config

    trail = open_trail(load_config(config), "user")
    trail.record(
        AuditEvent(AuditKind.CONFIGURATION_CHANGED, user=getpass.getuser(), words=words)
    )
    trail.close()


def _password(file: Path | None) -> str:
    """A password from a file or from the terminal, never from the command line."""
    if file is not None:
        return file.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
    if not sys.stdin.isatty():
        raise typer.BadParameter("no terminal to ask at: give --password-file")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise typer.BadParameter("that was another one")
    return password
