"""Functions of the project: found in its folder `listen/`, looked at without running them, and called."""

from __future__ import annotations

import ast
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from catchment.errors import Malformed, UsageError
from catchment.listen.row import Row
from catchment.sources import Heard

FOLDER = "listen"
_MAX_TRACEBACK_CHARACTERS = 4_000

Function = Callable[[Any, Heard], Iterator[Row]]
"""Takes a message's data and the message; its rows. Raises `Malformed`."""


def fault_of(name: str, root: Path) -> tuple[str, str] | None:
    """What is wrong with a function's name or file, and how to fix it: told from the text alone, nothing is run."""
    path, function = _file(name, root)
    where = path.relative_to(root)
    try:
        tree = ast.parse(path.read_bytes(), str(where))
    except FileNotFoundError:
        known = [each.stem for each in path.parent.glob("*.py")] if path.parent.is_dir() else []
        nearest = get_close_matches(path.stem, known, n=1)
        return f"there is no {where}", f'"{nearest[0]}:{function}"' if nearest else f"def {function}(data, message): …"
    except (SyntaxError, ValueError) as error:
        return f"{where} is no Python: {error}", "python -m py_compile tells the same"
    except OSError as error:
        return f"{where} cannot be read: {error.strerror}", f"ls -l {where}"
    known = list(_names(tree))
    if function in known:
        return None
    nearest = get_close_matches(function, known, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"def {function}(data, message): …"
    return f"there is no {function} in {where}", hint


def _file(name: str, root: Path) -> tuple[Path, str]:
    module, _, function = name.partition(":")
    return (root / FOLDER).joinpath(*module.split(".")).with_suffix(".py"), function


def _names(tree: ast.Module) -> Iterator[str]:
    """What a module's text defines at its top."""
    for node in tree.body:
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                yield node.name
            case ast.Assign(targets=targets):
                yield from (target.id for target in targets if isinstance(target, ast.Name))
            case ast.ImportFrom(names=names) | ast.Import(names=names):
                yield from (alias.asname or alias.name for alias in names)


def load_function(name: str, root: Path) -> Function:
    """The function, ready to be called. Raises `UsageError`, with where in the file, if it cannot be had."""
    fault = fault_of(name, root)
    if fault is not None:
        raise UsageError(*fault)
    path, attribute = _file(name, root)
    folder = str(root / FOLDER)
    if folder not in sys.path:
        sys.path.append(folder)  # behind all else: no module of theirs takes the name of another
    unique = f"catchment_listen_{abs(hash(folder))}_{name.partition(':')[0].replace('.', '_')}"
    spec = importlib.util.spec_from_file_location(unique, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module
    try:
        spec.loader.exec_module(module)
        found = getattr(module, attribute)
    except Exception as error:
        raise UsageError(
            f"{path.relative_to(root)} cannot be imported: {_last_line(error)}", _place(error, path) or "run it alone"
        ) from error
    if not callable(found):
        raise UsageError(
            f"{attribute} in {path.relative_to(root)} is no function", f"def {attribute}(data, message): …"
        )
    called: Callable[[Any, Heard], Any] = found

    def rows(data: Any, heard: Heard) -> Iterator[Row]:
        try:
            yield from _rows(called(data, heard), attribute)
        except Malformed:
            raise
        except (Exception, SystemExit) as error:  # sys.exit would end all other listeners, and again at each start
            raise Malformed("function-failed", _traceback(error)) from error

    return rows


def _rows(returned: Any, name: str) -> Iterator[Row]:
    """What a function may return: a row, several, or nothing."""
    if returned is None:
        return
    if isinstance(returned, Row):
        yield returned
    elif isinstance(returned, Mapping):
        yield Row(returned)
    elif isinstance(returned, str | bytes) or not hasattr(returned, "__iter__"):
        said = f"{name} returned {type(returned).__name__}: it may return a dict, several, or None"
        raise Malformed("function-failed", said)
    else:
        for each in returned:
            if isinstance(each, str | bytes) or not isinstance(each, Row | Mapping):
                raise Malformed("function-failed", f"{name} returned {type(each).__name__} among its rows")
            yield each if isinstance(each, Row) else Row(each)


def _traceback(error: BaseException) -> str:
    """What went wrong, and where in the project's own files: the last lines, where there are too many."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if frame.filename != __file__]
    lines = [*traceback.format_list(theirs), *traceback.format_exception_only(error)]
    return "".join(lines).strip()[-_MAX_TRACEBACK_CHARACTERS:].replace("\x00", "\ufffd")


def _last_line(error: Exception) -> str:
    return traceback.format_exception_only(error)[-1].strip()


def _place(error: Exception, path: Path) -> str:
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename == str(path):
            return f"line {frame.lineno}: {frame.line}"
    return ""
