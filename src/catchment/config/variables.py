"""`${NAME}` and `${file:PATH}` in the project file, and the `.env` beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from catchment.config.mistakes import Mistake
from catchment.secret import Secret, remember

_REFERENCE = re.compile(r"(?P<escaped>\$\$\{)|\$\{(?P<name>[^{}]*)\}?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?(?P<name>[^\s=]+)\s*=[^\S\n]*")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}


class Unresolved(Exception):
    """A reference that leads nowhere; never holds a value."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Variables:
    """Where `${…}` finds its values: the environment first, then `.env`, or a file named in it."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._env_file = folder / ".env"
        self._from_file, self.mistakes = read_env_file(self._env_file)

    def resolve(self, text: str) -> str:
        """The text with its references replaced, as a `Secret` if it had any; `$${` stands for `${` itself.

        Raises `Unresolved`.
        """
        if "${" not in text:
            return text
        has_secret = False

        def replace(match: re.Match[str]) -> str:
            nonlocal has_secret
            if match["escaped"]:
                return "${"
            has_secret = True
            return self._value(match)

        resolved = _REFERENCE.sub(replace, text)
        return Secret(resolved, text) if has_secret else resolved

    def _value(self, match: re.Match[str]) -> str:
        name = match["name"]
        if match[0].endswith("}") and name.startswith("file:"):
            value = self._content(name.removeprefix("file:").strip())
        elif match[0].endswith("}") and _NAME.match(name):
            value = self._variable(name)
        else:
            raise Unresolved(
                f"{match[0]} is no reference", "${NAME}, ${file:PATH}, or $${ for the characters themselves"
            )
        remember(value)
        return value

    def _variable(self, name: str) -> str:
        for place in (self._environment, self._from_file):
            if name in place:
                return place[name]
        env_file = f"{self._env_file}" + ("" if self._env_file.exists() else " (no such file)")
        nearest = get_close_matches(name, {*self._from_file, *self._environment}, n=1, cutoff=0.8)
        hint = f"a line {name}=… in .env, or export {name}=…"
        raise Unresolved(
            f"the variable {name} is set nowhere; looked in the environment and in {env_file}",
            f"{hint}; {nearest[0]} is set" if nearest else hint,
        )

    def _content(self, path: str) -> str:
        file = self._folder / Path(path).expanduser()
        try:
            return file.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
        except OSError as error:
            raise Unresolved(f"{file} cannot be read: {error.strerror}", f"ls -l {file}") from None
        except UnicodeDecodeError:
            raise Unresolved(f"{file} is not UTF-8", "a file that holds nothing but the text") from None


def read_env_file(file: Path) -> tuple[dict[str, str], list[Mistake]]:
    """The variables of a `.env` file, empty if there is none, and what is wrong with it.

    A line is `NAME=value` or `export NAME=value`; what follows ` #` is a comment. A value in single quotes is
    taken as it stands, one in double quotes knows \\n, \\r, \\t, \\" and \\\\; both may span lines.
    Mistakes name lines, never their content.
    """
    try:
        text = file.read_text(encoding="utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError:
        return {}, []
    except OSError as error:
        return {}, [Mistake(file.name, 0, "", f"cannot be read: {error.strerror}", f"ls -l {file}")]
    except UnicodeDecodeError:
        return {}, [Mistake(file.name, 0, "", "is not UTF-8", "save the file as UTF-8")]
    variables: dict[str, str] = {}
    mistakes: list[Mistake] = []
    position = 0
    while position < len(text):
        start = position
        try:
            position = _read_line(text, position, variables)
        except ValueError as error:
            mistakes.append(Mistake(file.name, text.count("\n", 0, start) + 1, "", *error.args))
            position = _end_of_line(text, start) + 1
    return variables, mistakes


def _read_line(text: str, position: int, variables: dict[str, str]) -> int:
    """Read what begins at `position` into `variables`; where the next line begins.

    Raises ValueError(message, hint).
    """
    end = _end_of_line(text, position)
    line = text[position:end].strip()
    if not line or line.startswith("#"):
        return end + 1
    assignment = _ASSIGNMENT.match(text, position, end)
    if assignment is None:
        raise ValueError("is no NAME=value", "NAME=value, with quotes around a value of several lines")
    name = assignment["name"]
    if not _NAME.match(name):
        raise ValueError("a name has letters, digits and _ only", "NAME=value")
    value, end = _read_value(text, assignment.end(), end)
    variables[name] = value
    return end + 1


def _read_value(text: str, start: int, end: int) -> tuple[str, int]:
    """The value that begins at `start`, and the end of its last line."""
    quote = text[start : start + 1]
    if quote not in {"'", '"'} or start == end:
        return re.split(r"(?:^|\s+)#", text[start:end], maxsplit=1)[0].strip(), end
    body = r"[^']*" if quote == "'" else r'(?:[^"\\]|\\.)*'
    quoted = re.compile(f"{quote}({body}){quote}", re.DOTALL).match(text, start)
    if quoted is None:
        raise ValueError("a quote is opened and never closed", f"a {quote} at the end of the value")
    end = _end_of_line(text, quoted.end())
    rest = text[quoted.end() : end].strip()
    if rest and not rest.startswith("#"):
        raise ValueError("something follows the closing quote", "the whole value within the quotes")
    if quote == "'":
        return quoted[1], end
    return _ESCAPED.sub(lambda match: _ESCAPES.get(match[1], match[0]), quoted[1]), end


def _end_of_line(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end
