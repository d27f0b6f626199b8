"""The JSON Schema of `experiments.yaml`, for editors."""

from typing import Any, get_args

from orchestrator.config.models import DIMENSIONS, ExecutionMode, Experiment

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Build the JSON Schema of the file: `defaults` and `experiments`, in which nothing is required.

    What an entry leaves out comes from its base, the defaults or the program.
    """
    schema = Experiment.model_json_schema()
    definitions: dict[str, Any] = schema.pop("$defs")
    for definition in definitions.values():
        definition.pop("required", None)
    parts = {key: value for key, value in schema["properties"].items() if key != "name"}
    # it has a short form
    parts["execution"] = {"anyOf": [parts["execution"], {"enum": list(get_args(ExecutionMode))}]}
    search = definitions["SearchConfig"]["properties"]
    for name in DIMENSIONS:
        whole = search[name]["anyOf"][0]["$ref"].rpartition("/")[2]
        properties = definitions[whole]["properties"]
        short = [_without_default(properties[key]) for key in ("choices", "range") if key in properties]
        search[name]["anyOf"] = [*search[name]["anyOf"], *(each for either in short for each in either)]
    extends = {"type": "string", "description": "Experiment whose values this one starts from."}
    definitions["Defaults"] = _closed("What every experiment starts from.", parts)
    definitions["Entry"] = _closed("An experiment.", {"extends": extends, **parts})
    experiments = {
        "type": "object",
        "description": "The experiments by name.",
        "additionalProperties": {"$ref": "#/$defs/Entry"},
        "propertyNames": {"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$"},
    }
    return {
        "$schema": _DIALECT,
        "title": "experiments.yaml",
        **_closed(
            "Experiments of the sweep orchestrator.",
            {"defaults": {"$ref": "#/$defs/Defaults"}, "experiments": experiments},
        ),
        "required": ["experiments"],
        "$defs": definitions,
    }


def _without_default(part: dict[str, Any]) -> list[dict[str, Any]]:
    """List what a property may be, without null."""
    either = part.get("anyOf", [{key: value for key, value in part.items() if key in {"type", "items", "minItems"}}])
    return [each for each in either if each != {"type": "null"}]


def _closed(description: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "description": description, "additionalProperties": False, "properties": properties}
