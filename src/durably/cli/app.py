"""The command group: which module holds which command, and what all of them share (`--store`)."""

from __future__ import annotations

from importlib import import_module

import click

COMMANDS: dict[str, tuple[str, str]] = {
    "ls": ("listing:ls", "executions, newest first"),
    "show": ("show:show", "one execution: attempts and steps"),
    "tail": ("tail:tail", "what executions do, as it happens"),
    "cost": ("cost:cost", "what an execution has cost so far, and would elsewhere"),
    "replay": ("replay:replay", "run a handler here, answered from a real journal"),
    "redrive": ("redrive:redrive", "run a failed execution again from its stored event"),
    "fork": ("actions:fork", "a new execution that keeps the outcomes before a step"),
    "resolve": ("actions:resolve", "settle an interrupted step by hand"),
    "cancel": ("actions:cancel", "stop an execution"),
    "purge": ("keeping:purge", "delete old executions"),
    "export": ("keeping:export", "executions as JSON lines"),
    "import": ("keeping:import_", "executions from JSON lines"),
    "doctor": ("doctor:doctor", "check table, keys, TTL, index, permissions and clock"),
    "table": ("table:table", "make the table, or print it as CloudFormation, Terraform, CDK or IAM"),
    "web": ("web:web", "the web page of executions"),
    "invoke": ("invoke:invoke", "run a handler once as Lambda does"),
    "dev": ("dev:dev", "a local Lambda that stays up"),
}
"""Command → (module and object in this package, what it does in a line)."""


class LazyGroup(click.Group):
    """Loads a command's module only when it is run: `durably ls` must not wait for a web server's import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name][0].partition(":")
        command: click.Command = getattr(import_module(f".{module}", __package__), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, told) for name, (_, told) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="durably")
def durably() -> None:
    """Executions of durably: see them, and take them in hand."""
