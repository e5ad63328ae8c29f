"""``nnn completion``: a script by which a shell completes commands, flags and their values."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.commands._parser import Built, Parser, building

_SHELLS = ("bash", "zsh")

#: COMP_WORDS holds the line; what stands before the first flag names the command. Where nothing is offered the shell
#: completes names of files.
_SCRIPT = """\
_nnn() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}" command="" word offered=""
    for word in "${{COMP_WORDS[@]:1:$((COMP_CWORD-1))}}"; do
        [[ $word == -* ]] && break
        case "$command $word" in
            {paths}) command="$command $word" ;;
        esac
    done
    case "$command:$previous" in
{values}
        *) if [[ $current == -* || $previous != -* ]]; then
            case "$command" in
{words}
            esac
            [[ $current == -* ]] || offered="${{offered%% --*}}"
        fi ;;
    esac
    COMPREPLY=($(compgen -W "$offered" -- "$current"))
}}
complete -o default -F _nnn nnn
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse flags, print the script."""
    parser = Parser(
        prog="nnn completion",
        description="Print a script that completes commands, flags and values. Load it with: "
        "source <(nnn completion bash), in ~/.bashrc or ~/.zshrc.",
    )
    parser.add_argument("shell", choices=_SHELLS, help="your shell")
    args = parser.parse_args(argv)
    script = _render(dict(_parsers()))
    print("autoload -U +X bashcompinit && bashcompinit\n" + script if args.shell == "zsh" else script, end="")


def _render(parsers: Mapping[str, argparse.ArgumentParser]) -> str:
    """The script, for bash.

    Args:
        parsers: of each command, and of each command of a command such as ``table list``, by its words.
    """
    paths = [*parsers]
    children = {
        path: [other.rpartition(" ")[2] for other in paths if other.rpartition(" ")[0] == path] for path in paths
    }
    words = [f'            "") offered={shlex.quote(" ".join(path for path in paths if " " not in path))} ;;']
    values = []
    for path, parser in parsers.items():
        flags = [flag for action in _actions(parser) for flag in action.option_strings if flag.startswith("--")]
        words.append(f'            " {path}") offered={shlex.quote(" ".join([*children[path], "", *flags]))} ;;')
        for action in _actions(parser):
            if action.choices and action.option_strings:
                keys = "|".join(f'" {path}:{flag}"' for flag in action.option_strings)
                values.append(f"        {keys}) offered={shlex.quote(' '.join(map(str, action.choices)))} ;;")
    names = "|".join(f'" {path}"' for path in paths)
    return _SCRIPT.format(paths=names, values="\n".join(values), words="\n".join(words))


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [each for each in parser._actions if not isinstance(each, argparse._SubParsersAction)]


def _parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """The parsers of all commands, as they build them."""
    from pipelines.commands import cli

    for name in cli._COMMANDS:
        module = cli._load(cli._COMMANDS[name][0])
        parser = _built(module, [])
        yield name, parser
        for child in _children(parser):
            # A command of a command adds its flags only where it is called.
            yield f"{name} {child}", _children(_built(module, [child]))[child]


def _built(module: Any, argv: Sequence[str]) -> Parser:
    try:
        with building():
            module.main(argv)
    except Built as built:
        return built.parser
    raise AssertionError(f"{module.__name__} parses no flags")


def _children(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found = [each.choices for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    return dict(found[0]) if found else {}
