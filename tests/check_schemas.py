"""Reads lines of {"schema": ..., "text": "..."}: each text must be JSON that is valid by its schema. Says how many were."""
import json
import sys

import jsonschema

count = 0
for line in sys.stdin:
    case = json.loads(line)
    try:
        jsonschema.Draft202012Validator(case["schema"]).validate(json.loads(case["text"]))
    except Exception as fault:  # whatever it is, the text and its schema are what helps
        sys.exit(f"{json.dumps(case['schema'])}\n{case['text']}\n{str(fault)[:300]}")
    count += 1
print(count)
