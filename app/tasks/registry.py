"""The examples: functions that call tasks as one would write it, found by name, with arguments that are checked."""

import dis
import inspect
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from types import CodeType, FunctionType
from typing import Annotated, Any, TypeVar

from celery import Task
from kombu.utils.imports import symbol_by_name
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from .celery import app

# What an argument may be, for all examples alike.
Number = Annotated[float, Field(ge=-1e9, le=1e9)]
Numbers = Annotated[list[Number], Field(min_length=1, max_length=20)]
Seconds = Annotated[int, Field(ge=1, le=60)]
Text = Annotated[str, Field(max_length=200)]


def upload(kind: str) -> Any:
    """Mark an argument as a file: `Annotated[str, upload("image")]`. It is the id of an upload, or `sample`.

    Args:
        kind: of `files.py`. Its own existence is for the example to check, when it needs the file.
    """
    from . import files

    extra: dict[str, Any] = {"upload": kind, "contentMediaType": files.ACCEPT[kind]}
    return Field(pattern=r"^(sample|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$", json_schema_extra=extra)


Function = TypeVar("Function", bound=Callable[..., Any])


class BadArguments(ValueError):
    """Arguments that an example does not take; the message says which, and why."""


class UnknownExample(LookupError):
    """There is no example of this name."""


@dataclass(frozen=True)
class Example:
    """A function that makes the call. It returns the result's handle, or a value if it has made no task."""

    function: Callable[..., Any]
    waits: bool
    raises: tuple[type[Exception], ...]

    @property
    def name(self) -> str:
        """The function's, such as `countdown`."""
        return self.function.__name__

    @property
    def chapter(self) -> str:
        """The module's, such as `calling`."""
        return self.function.__module__.rpartition(".")[2]

    @property
    def title(self) -> str:
        """The first line of the docstring, without its full stop."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0].rstrip(".")

    @property
    def about(self) -> str:
        """The rest of the docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[2].strip()

    @cached_property
    def model(self) -> type[BaseModel]:
        """What it takes, made of its signature; the defaults are what the page suggests."""
        parameters = inspect.signature(self.function).parameters.values()
        fields: dict[str, Any] = {
            p.name: (p.annotation, ... if p.default is p.empty else p.default) for p in parameters
        }
        return create_model(self.name, __config__=ConfigDict(extra="forbid", allow_inf_nan=False), **fields)

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The arguments as a JSON schema."""
        return self.model.model_json_schema()

    @cached_property
    def uploads(self) -> dict[str, str]:
        """The arguments that are files, and of which kind."""
        return {name: of["upload"] for name, of in self.schema.get("properties", {}).items() if "upload" in of}

    @cached_property
    def source(self) -> str:
        """The code of the function, without its decorator."""
        lines = inspect.getsource(self.function)
        return lines[lines.index("def ") :]

    @cached_property
    def tasks(self) -> dict[str, str]:
        """The code of each task that the function calls, and of what the chapter has for them, by name."""
        found: dict[str, str] = {}
        waiting: list[Any] = [self.function]
        for one in waiting:
            for part in _used_by(one):
                name = part.name if isinstance(part, Task) else part.__qualname__
                if name not in found and part is not self.function:
                    found[name] = inspect.getsource(part.run if isinstance(part, Task) else part)
                    waiting.append(part)
        return found

    def check(self, arguments: Any, strict: bool = True) -> dict[str, Any]:
        """Return the arguments with which to call the function.

        Args:
            arguments: by name; those that are left out have their defaults.
            strict: take `"3"` for a string. A form and a shell have nothing but strings.

        Raises:
            BadArguments: one is missing, unknown or not what it has to be.
        """
        if not isinstance(arguments, dict):
            raise BadArguments("arguments must be an object")
        try:
            return dict(self.model.model_validate(arguments, strict=strict))
        except ValidationError as error:
            raise BadArguments(_words(error)) from None

    def read(self, texts: dict[str, str]) -> dict[str, Any]:
        """Return what a person has typed as the values it means, checked; a list is typed with commas.

        Raises:
            BadArguments: as `check`.
        """
        kinds = {name: of.get("type") for name, of in self.schema.get("properties", {}).items()}
        return self.check({name: _read(text, kinds.get(name)) for name, text in texts.items()}, strict=False)


EXAMPLES: dict[str, Example] = {}


def example(
    *, waits: bool = False, raises: type[Exception] | tuple[type[Exception], ...] = ()
) -> Callable[[Function], Function]:
    """Offer a function on the page, by the API and in the shell.

    Its parameters have types that pydantic checks, and defaults, which the page suggests. The first line of its
    docstring is its title, its module its chapter.

    Args:
        waits: it calls `get` on a result: seconds at most, for somebody waits for the page.
        raises: errors that it is there to show.
    """

    def register(function: Function) -> Function:
        errors = raises if isinstance(raises, tuple) else (raises,)
        made = Example(function, waits, errors)
        if EXAMPLES.setdefault(made.name, made) is not made:
            raise ValueError(f"there are two examples named {made.name}")
        return function

    return register


@cache
def load() -> dict[str, Example]:
    """Return all examples by name, those of a chapter together."""
    from .examples import CHAPTERS

    app.loader.import_default_modules()
    chapters = list(CHAPTERS)
    return dict(sorted(EXAMPLES.items(), key=lambda item: chapters.index(item[1].chapter)))


def find(name: str) -> Example:
    """Return an example.

    Raises:
        UnknownExample: there is none of this name.
    """
    try:
        return load()[name]
    except KeyError:
        raise UnknownExample(f"there is no example {name!r}") from None


def _names(code: CodeType) -> set[str]:
    """Return the global names that code uses, in comprehensions and lambdas too."""
    own = {step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}
    return own.union(*(_names(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


def _used_by(one: Any) -> Iterator[Any]:
    """Yield the tasks that something names, and the functions and classes of the chapters: bases and arguments, too."""
    used: list[Any] = []
    if isinstance(one, Task):
        used = [*one.__class__.__mro__[1:], symbol_by_name(one.Request)]
        one = one.run
    if not isinstance(one, type):
        function = inspect.unwrap(one)
        used += [function.__globals__.get(name) for name in sorted(_names(function.__code__))]
        used += inspect.get_annotations(function).values()
    for part in used:
        chapter = getattr(part, "__module__", None) or ""
        ours = isinstance(part, type | FunctionType) and chapter.startswith(f"{__package__}.examples.")
        if isinstance(part, Task) or ours:
            yield part


def _read(text: str, kind: Any) -> Any:
    if kind == "array":
        text = f"[{text.strip().strip('[]')}]"
        try:
            return json.loads(text)
        except ValueError:
            return [item.strip() for item in text.strip("[]").split(",")]
    return text


def _words(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, one['loc']))}: {one['msg'][:1].lower()}{one['msg'][1:]}" if one["loc"] else one["msg"]
        for one in error.errors(include_url=False, include_input=False)
    )
