"""Python functions as steps: their source, arguments and result travel through the artifact store.

`function_step` makes the spec on the engine's side, ``python -m stackgraft.steps`` runs it inside the image, and
`result` finds what it returned. The image needs stackgraft's core (``BuildSpec.step_runtime``) and whatever the
function imports.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import dis
import hashlib
import inspect
import json
import os
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import CodeType, SimpleNamespace
from typing import TYPE_CHECKING, Any, get_type_hints

from stackgraft.artifacts import ArtifactRef, open_store
from stackgraft.artifacts.ref import is_ref
from stackgraft.artifacts.serializers import check_annotation
from stackgraft.errors import SpecError
from stackgraft.specs import StepSpec, host_python

if TYPE_CHECKING:
    from stackgraft.components import ArtifactStore

_JSON_ATOMS = (type(None), bool, int, float, str)


def function_step(
    function: Callable[..., Any],
    arguments: Sequence[Any],
    keywords: Mapping[str, Any],
    *,
    store: ArtifactStore,
    artifact: str,
    image: str,
    **settings: Any,
) -> StepSpec:
    """Return the spec that runs a function in an image.

    Args:
        function: A function that imports what it needs inside its body.
        arguments: Its positional arguments: values, or references to artifacts, which arrive as values.
        keywords: Its keyword arguments, likewise.
        store: Where the call and its result are kept.
        artifact: The name of the artifact that the function's result becomes.
        image: The image, by digest.
        settings: More fields of `StepSpec`.

    Raises:
        SpecError: The function leans on names outside of its body, or its source cannot be found.
        ArtifactError: No serializer takes an argument.
    """
    call = {
        "function": function.__name__,
        "source": portable_source(function),
        "arguments": [pack(value, store, f"{artifact}.arg{index}") for index, value in enumerate(arguments)],
        "keywords": {key: pack(value, store, f"{artifact}.{key}") for key, value in keywords.items()},
        "artifact": artifact,
    }
    reference = store.save(f"{artifact}.call", call)
    label = f"call-{_digest(call)}"  # a version would differ when the pipeline runs again after a crash, and its job not be found
    store.tag(reference, label)
    command = ("python", "-m", "stackgraft.steps", json.dumps(store.claim(), sort_keys=True), f"{reference.name}@{label}")
    return StepSpec(**{"step": function.__name__, "python": host_python(), **settings, "image": image, "command": command})


def result(store: ArtifactStore, artifact: str, job: str) -> ArtifactRef:
    """Return the reference to what the job's function returned.

    Raises:
        ArtifactNotFoundError: The job has not written it.
    """
    return store.resolve(f"{artifact}@{job}")


def check_function(function: Callable[..., Any]) -> None:
    """Refuse, before anything starts, a function that cannot be a step.

    Raises:
        SpecError: It leans on names outside of its body, or its source cannot be found.
        ArtifactError: No serializer takes what it is annotated to return.
    """
    portable_source(function)
    annotated = SimpleNamespace(__annotations__={"return": function.__annotations__.get("return", Any)})
    with contextlib.suppress(NameError):  # a type that is only known inside the image
        check_annotation(get_type_hints(annotated, function.__globals__)["return"])


def portable_source(function: Callable[..., Any]) -> str:
    """Return the function's source without decorators, once it is known to stand alone.

    Raises:
        SpecError: It uses names outside of its body, or its source cannot be found.
    """
    definition = _definition(function)
    outside = function.__globals__
    names = {*function.__code__.co_freevars, *(name for name in _loaded(function.__code__) if name in outside)}
    # A default is evaluated where the function is defined, so that all it loads is there: only built-in names are in the image too.
    names |= {name for name in _loaded_by_defaults(definition) if name in outside or not hasattr(builtins, name)}
    if names:
        raise SpecError(
            f"The step {function.__name__!r} leans on names outside of its body",
            where=f"{', '.join(sorted(names))} in {inspect.getsourcefile(function)}",
            why="only the function's own source travels to the image",
            next_step="import or define them inside the function, or pass them as arguments",
        )
    definition.decorator_list = []
    return "from __future__ import annotations\n" + ast.unparse(definition)


def _definition(function: Callable[..., Any]) -> ast.FunctionDef:
    try:
        definition = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, SyntaxError) as hidden:
        raise SpecError(
            f"The source of the step {function.__name__!r} cannot be read",
            why=str(hidden),
            next_step="define it with def, in a file",
        ) from hidden
    if not isinstance(definition, ast.FunctionDef):
        raise SpecError("A step is a plain function", where=function.__name__, next_step="define it with def, not async def or lambda")
    return definition


def _loaded_by_defaults(definition: ast.FunctionDef) -> Iterator[str]:
    for default in filter(None, [*definition.args.defaults, *definition.args.kw_defaults]):
        yield from _loaded(compile(ast.Expression(default), "<default>", "eval"))


def _loaded(code: CodeType) -> Iterator[str]:
    """Yield the names that the code loads from outside, in inner functions too; attributes and imports do not count."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in {"LOAD_GLOBAL", "LOAD_NAME"}:
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _loaded(constant)


def pack(value: object, store: ArtifactStore, name: str) -> Any:
    """Return a value as JSON: references and small JSON stay, whatever else becomes an artifact.

    Raises:
        ArtifactError: No serializer takes it.
    """
    if isinstance(value, ArtifactRef):
        return value.to_json()
    if isinstance(value, _JSON_ATOMS) or is_ref(value):
        return value
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: pack(item, store, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [pack(item, store, f"{name}.{index}") for index, item in enumerate(value)]
    return store.save(name, value).to_json()


def _digest(call: Mapping[str, Any]) -> str:
    """Return a hash of what decides the call's result: an artifact among its arguments counts by content, not by version."""
    by_content = json.loads(json.dumps(call), object_hook=lambda item: item["digest"] if is_ref(item) else item)
    return hashlib.sha256(json.dumps(by_content, sort_keys=True).encode()).hexdigest()[:20]


def unpack(value: Any, store: ArtifactStore) -> Any:
    """Return what `pack` took, with every reference replaced by its value."""
    if is_ref(value):
        return store.load(ArtifactRef.from_json(value))
    if isinstance(value, Mapping):
        return {key: unpack(item, store) for key, item in value.items()}
    if isinstance(value, list):
        return [unpack(item, store) for item in value]
    return value


def main(store_claim: str, reference: str) -> None:
    """Run a call inside the image: load it, call the function, save and tag its result by the job's name."""
    store = open_store(json.loads(store_claim))
    call = store.load(reference)
    namespace: dict[str, Any] = {"__name__": "__step__"}
    exec(compile(call["source"], f"<step {call['function']}>", "exec"), namespace)  # noqa: S102 - the point of a step
    returned = namespace[call["function"]](*unpack(call["arguments"], store), **unpack(call["keywords"], store))
    store.tag(store.save(call["artifact"], returned), os.environ["STACKGRAFT_JOB"])


if __name__ == "__main__":
    main(*sys.argv[1:])
