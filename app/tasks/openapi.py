"""The description of the JSON API, as OpenAPI 3.1 has it. Each example is a path of its own, with its arguments."""

from functools import cache
from typing import Any

from celery import states

from . import registry, service
from .examples import CHAPTERS
from .orders import MAX_QUANTITY
from .views import MEDIA_TYPES

ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string", "description": "for programs"},
                "message": {"type": "string", "description": "for people"},
                "id": {"type": "string", "description": "of what may have been accepted nevertheless"},
                "url": {"type": "string"},
            },
        }
    },
}
ANY: dict[str, Any] = {}
TEXT = {"type": "string"}
TEXT_OR_NULL = {"type": ["string", "null"]}
TIME = {"type": "string", "format": "date-time"}
TIME_OR_NULL = {"type": ["string", "null"], "format": "date-time"}
UUID = {"type": "string", "format": "uuid"}
ACCEPTED = {"type": "object", "required": ["id", "url"], "properties": {"id": UUID, "url": TEXT}}
TERMINATE = {"type": "boolean", "default": False, "description": "end it, if it runs already"}
REVOKE = {"type": "object", "properties": {"terminate": TERMINATE}}
NOTHING = {"type": "object"}
WHY = {
    400: "The body is not JSON",
    401: "A login is required",
    404: "There is none",
    409: "The id is that of another order",
    413: "The body is too large",
    415: "The content type is wrong",
    422: "The body is wrong; the message says what",
    503: "The broker, the results or the database do not answer in time",
    507: "There are too many files",
}
BODY = (400, 413, 415, 422)


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _list(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": of}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _answers(status: int, schema: dict[str, Any], *errors: int) -> dict[str, Any]:
    """Return the answers of an operation: the good one, and the errors that it has."""
    good = {str(status): {"description": "As asked", "content": _json(schema)}}
    error = _json({"$ref": "#/components/schemas/Error"})
    return good | {str(code): {"description": WHY[code], "content": error} for code in (401, *errors)}


def _get(summary: str, schema: dict[str, Any], *errors: int, tag: str = "tasks") -> dict[str, Any]:
    return {"get": {"summary": summary, "tags": [tag], "responses": _answers(200, schema, *errors)}}


def _post(summary: str, body: dict[str, Any], *errors: int, tag: str = "tasks") -> dict[str, Any]:
    content = {"required": True, "content": _json(body | {"additionalProperties": False})}
    responses = _answers(202, ACCEPTED, *BODY, *errors)
    return {"post": {"summary": summary, "tags": [tag], "requestBody": content, "responses": responses}}


def _with_id(operations: dict[str, Any]) -> dict[str, Any]:
    return {"parameters": [{"name": "id", "in": "path", "required": True, "schema": UUID}], **operations}


def _task() -> dict[str, Any]:
    return _object(
        id=UUID,
        task=TEXT_OR_NULL,
        args=ANY,
        kwargs=ANY,
        created=TIME_OR_NULL,
        state={"type": "string", "description": f"one of {', '.join(sorted(states.ALL_STATES))}, or the task's own"},
        ready={"type": "boolean"},
        progress={"type": ["object", "null"]},
        result=ANY,
        error={"type": ["object", "null"], "properties": {"type": TEXT, "message": TEXT}},
        retries={"type": "integer"},
        worker=TEXT_OR_NULL,
        date_done=TIME_OR_NULL,
    )


def _run() -> dict[str, Any]:
    tasks = _list({"$ref": "#/components/schemas/Task"})
    return _object(
        id=UUID,
        example=TEXT,
        arguments={"type": "object"},
        created=TIME,
        state=TEXT,
        ready={"type": "boolean"},
        result=ANY,
        error=TEXT_OR_NULL,
        tasks=tasks,
    )


def _event() -> dict[str, Any]:
    kinds = ["sent", "received", "started", "progress", "retry", "succeeded", "failed", "revoked", "ended", "log"]
    texts = dict.fromkeys(("task_id", "task", "root_id", "parent_id", "worker", "queue"), TEXT)
    return _object(kind={"enum": kinds}, time=TIME, detail={"type": "object"}, **texts)


def _submit() -> dict[str, Any]:
    wanted = {
        "type": "object",
        "required": ["task"],
        "properties": {
            "task": {"enum": [name for short in service.EXAMPLES for name in (short, f"tasks.{short}")]},
            "args": {"type": "array"},
            "kwargs": {"type": "object"},
        },
    }
    return _post("Submit a task", wanted, 503)


def _order() -> dict[str, Any]:
    wanted = {
        "type": "object",
        "required": ["product", "quantity"],
        "properties": {
            "product": {"type": "string", "minLength": 1, "maxLength": 50, "description": "printable"},
            "quantity": {"type": "integer", "minimum": 1, "maximum": MAX_QUANTITY},
            "id": {**UUID, "description": "of your own, to place the order again without placing it twice"},
        },
    }
    return _post("Place an order", wanted, 409, 503, tag="orders")


def _file() -> dict[str, Any]:
    raw = {media: {"schema": {"type": "string", "contentMediaType": media}} for media in MEDIA_TYPES}
    described = _object(id=UUID, kind=TEXT, name=TEXT, size={"type": "integer"})
    name = {"name": "name", "in": "query", "schema": TEXT}
    responses = _answers(201, described, 413, 415, 422, 503, 507)
    post = {"summary": "Send a file", "tags": ["files"], "parameters": [name], "responses": responses}
    return {"post": {**post, "requestBody": {"required": True, "content": raw}}}


def _example(example: registry.Example) -> dict[str, Any]:
    arguments = {**example.schema, "title": example.title}
    wanted = {"type": "object", "properties": {"arguments": arguments}}
    described = {"$ref": "#/components/schemas/Example"}
    get = _get(f"Describe: {example.title}", described, tag=example.chapter)
    return get | _post(example.title, wanted, 503, tag=example.chapter)


@cache
def document() -> dict[str, Any]:
    """Return the whole description."""
    order = _object(
        id=UUID, product=TEXT, quantity={"type": "integer"}, placed=TIME, state=TEXT, confirmed=TIME_OR_NULL
    )
    texts = dict.fromkeys(("name", "title", "about", "chapter", "source", "url"), TEXT)
    example = _object(arguments={"type": "object"}, tasks={"type": "object"}, **texts)
    task, run, event = ({"$ref": f"#/components/schemas/{name}"} for name in ("Task", "Run", "Event"))
    listed = _object(examples=_list({"$ref": "#/components/schemas/Example"}))
    paths = {
        "/api/tasks": _get("List the newest tasks", _object(tasks=_list(task)), 503) | _submit(),
        "/api/tasks/{id}": _with_id(_get("Describe a task", task, 404, 503)),
        "/api/tasks/{id}/revoke": _with_id(_post("Revoke a task", REVOKE, 404, 503)),
        "/api/examples": _get("List the examples", listed, tag="examples"),
        "/api/runs/{id}": _with_id(_get("Describe a run", run, 404, 503, tag="examples")),
        "/api/runs/{id}/events": _with_id(
            _get("List what happened to the tasks of a run", _object(events=_list(event)), 404, 503, tag="examples")
        ),
        "/api/runs/{id}/revoke": _with_id(
            _post("Revoke the tasks of a run that have not ended", REVOKE, 404, 503, tag="examples")
        ),
        "/api/runs/{id}/again": _with_id(
            _post("Run an example again, with the same arguments", NOTHING, 404, 503, tag="examples")
        ),
        "/api/files": _file(),
        "/api/orders": _order(),
        "/api/orders/{id}": _with_id(_get("Describe an order", order, 404, 503, tag="orders")),
    }
    paths |= {f"/api/examples/{name}": _example(one) for name, one in registry.load().items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tasks", "version": "1", "description": "Celery by example."},
        "tags": [{"name": key, "description": title} for key, title in CHAPTERS.items()],
        "paths": paths,
        "components": {
            "schemas": {"Error": ERROR, "Task": _task(), "Run": _run(), "Event": _event(), "Example": example},
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
        },
        "security": [{}, {"basic": []}],
    }
