"""Checks JSON texts against schemas with Python's jsonschema. The file of the first argument has a line for each schema:
{"draft": "draft7", "schema": …, "texts": […]}. Prints what does not fit; the exit code says whether there was any."""

import json
import sys

import jsonschema

VALIDATORS = {"draft4": jsonschema.Draft4Validator, "draft6": jsonschema.Draft6Validator,
              "draft7": jsonschema.Draft7Validator}

# Its "time" is draft 3's.
FORMATS = jsonschema.FormatChecker(set(jsonschema.FormatChecker.checkers) - {"time"})

wrong = 0
with open(sys.argv[1], encoding="utf-8") as lines:
    for line in lines:
        entry = json.loads(line)
        validator = VALIDATORS[entry["draft"]](entry["schema"], format_checker=FORMATS)
        for text in entry["texts"]:
            try:
                problem = next(validator.iter_errors(json.loads(text)), None)
            except json.JSONDecodeError as error:
                problem = error
            if problem is not None:
                wrong += 1
                if wrong <= 20:
                    print(f"{entry['name']}\n  schema {json.dumps(entry['schema'])}\n  text {text}\n  "
                          f"{getattr(problem, 'message', problem)}")
sys.exit(wrong > 0)
