"""`gptjax completion`: the shell completes commands and options."""

import importlib
import keyword
import os
import typing
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gptjax.errors import UserError
from gptjax.files import make_folder
from gptjax.help import option_names

SHELLS: Mapping[str, str] = {  # where each looks for what completes a command
    "bash": "~/.local/share/bash-completion/completions/gptjax",
    "zsh": "~/.zfunc/_gptjax",
    "fish": "~/.config/fish/completions/gptjax.fish",
}
ZSH_NOTE = "zsh: put `fpath+=~/.zfunc; autoload -Uz compinit; compinit` into ~/.zshrc"


@dataclass(frozen=True)
class CompletionConfig:
    """Let the shell complete commands, options and paths: writes a file that the shell reads."""

    shell: Literal["bash", "zsh", "fish"] | None = None
    """Which shell. Absent: the one of $SHELL."""
    show: bool = False
    """Print the file instead of writing it."""


def run(config: CompletionConfig) -> None:
    """Write the file of a shell, or print it."""
    shell = config.shell or Path(os.environ.get("SHELL", "")).name
    if shell not in SHELLS:
        raise UserError(f"`shell={shell}`: choose one of {', '.join(SHELLS)}")
    script = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](_options())
    if config.show:
        print(script, end="")
        return
    path = Path(SHELLS[shell]).expanduser()
    make_folder(path.parent)
    path.write_text(script, encoding="utf-8")
    print(f"{path}: written; a new shell completes gptjax")
    if shell == "zsh":
        print(ZSH_NOTE)


def _options() -> dict[str, list[str]]:
    """The options of every command; of one whose extra is not installed its help alone."""
    found: dict[str, list[str]] = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem.startswith("_") or "\ndef run(config" not in path.read_text(encoding="utf-8"):
            continue
        stem = path.stem.rstrip("_")
        name = (stem if keyword.iskeyword(stem) else path.stem).replace("_", "-")
        found[name] = ["--help"]
        with suppress(UserError):
            module = importlib.import_module(f"gptjax.commands.{path.stem}")
            kind = typing.get_type_hints(module.run)["config"]
            found[name] += [] if kind == list[str] else option_names(kind)
    return found


def _bash(options: Mapping[str, list[str]]) -> str:
    cases = "\n".join(
        f'        {name}) words="{" ".join(own)}" ;;' for name, own in options.items()
    )
    return f"""# Completion of gptjax for bash.
_gptjax() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" words=""
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "{" ".join(options)}" -- "$current"))
        return
    fi
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
    if [[ "$current" == -* ]]; then
        COMPREPLY=($(compgen -W "$words" -- "$current"))
    fi
}}
complete -o default -F _gptjax gptjax
"""


def _zsh(options: Mapping[str, list[str]]) -> str:
    cases = "\n".join(
        f"        {name}) options=({' '.join(own)}) ;;" for name, own in options.items()
    )
    return f"""#compdef gptjax
# Completion of gptjax for zsh.
_gptjax() {{
    local -a commands=({" ".join(options)}) options=()
    if (( CURRENT == 2 )); then
        compadd -a commands
        return
    fi
    case "${{words[2]}}" in
{cases}
    esac
    if [[ "$PREFIX" == -* ]]; then
        compadd -a options
    else
        _files
    fi
}}
_gptjax "$@"
"""


def _fish(options: Mapping[str, list[str]]) -> str:
    lines = ["# Completion of gptjax for fish."]
    for name, own in options.items():
        lines.append(f"complete -c gptjax -n __fish_use_subcommand -f -a {name}")
        lines += [
            f"complete -c gptjax -n '__fish_seen_subcommand_from {name}' -l {option[2:]}"
            for option in own
        ]
    return "\n".join(lines) + "\n"
