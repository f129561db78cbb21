"""The openai client from PyPI against a server of the demo model: python3 tests/openai_client.py PORT. Says "ok" at its end."""
import concurrent.futures
import sys
import time

import openai
from pydantic import BaseModel

client = openai.OpenAI(base_url=f"http://127.0.0.1:{sys.argv[1]}/v1", api_key="none", max_retries=0)
question = [{"role": "user", "content": "Please tell me about Karl and the bell."}]


def ask(**more):
    return client.chat.completions.create(model="demo-model", messages=question, **{"max_tokens": 60, **more})


def refused(kind, **more):
    try:
        ask(**more)
    except kind as e:
        return e
    raise SystemExit(f"{more} was not refused")


assert [m.id for m in client.models.list()] == ["demo-model"]
assert client.models.retrieve("demo-model").id == "demo-model"

# whole, streamed, several choices
whole = ask(seed=3, n=2, logprobs=True, top_logprobs=2)
assert len(whole.choices) == 2 and whole.usage.completion_tokens <= 120
assert whole.choices[0].message.role == "assistant" and whole.choices[0].finish_reason in ("stop", "length")
assert "".join(t.token for t in whole.choices[0].logprobs.content) == whole.choices[0].message.content
assert all(len(t.top_logprobs) == 2 for t in whole.choices[0].logprobs.content)
text, usage = "", None
for chunk in ask(seed=3, stream=True, stream_options={"include_usage": True}):
    usage = chunk.usage or usage
    text += "".join(c.delta.content or "" for c in chunk.choices)
assert text == whole.choices[0].message.content and usage.prompt_tokens == whole.usage.prompt_tokens

legacy = client.completions.create(model="demo-model", prompt="Once", max_tokens=5, logprobs=2, echo=True, temperature=0)
assert legacy.choices[0].text.startswith("Once") and len(legacy.choices[0].logprobs.tokens) == 9
stopped = client.completions.create(model="demo-model", prompt="Once upon a time", max_tokens=50, stop=" named", temperature=0)
assert stopped.choices[0].finish_reason == "stop" and " named" not in stopped.choices[0].text


class Animal(BaseModel):
    name: str
    age: int


parsed = client.chat.completions.parse(
    model="demo-model", messages=question, response_format=Animal, max_tokens=800, temperature=0.7, seed=5
)
assert isinstance(parsed.choices[0].message.parsed, Animal)

# the newer API, without a state
answer = client.responses.create(model="demo-model", input=question, max_output_tokens=400, temperature=0)
assert answer.status == "completed" and answer.output_text and answer.usage.input_tokens == 16
with client.responses.stream(model="demo-model", input=question[0]["content"], max_output_tokens=400, temperature=0) as s:
    said = "".join(e.delta for e in s if e.type == "response.output_text.delta")
    assert said == s.get_final_response().output_text == answer.output_text
structured = client.responses.parse(model="demo-model", input=question, text_format=Animal, max_output_tokens=800)
assert isinstance(structured.output_parsed, Animal)

# refusals come as the client's own errors, with the parameter's name
assert refused(openai.NotFoundError, extra_body={"model": "gpt-4"}).code == "model_not_found"
assert refused(openai.BadRequestError, extra_body={"odd": 1}).param == "odd"
assert refused(openai.BadRequestError, temperature=9).param == "temperature"
assert refused(openai.BadRequestError, extra_body={"messages": []}).param == "messages"

# a client that leaves, and 64 at once
stream = ask(seed=1, stream=True, max_tokens=900, extra_body={"ignore_eos": True})
next(iter(stream))
stream.close()
with concurrent.futures.ThreadPoolExecutor(64) as pool:
    many = list(pool.map(lambda seed: ask(seed=seed).choices[0].message.content, range(64)))
assert many[3] == whole.choices[0].message.content
end = time.time() + 10
while client.get("/../slots", cast_to=object) and time.time() < end:
    if not any(s["is_processing"] for s in client.get("/../slots", cast_to=object)):
        break
    time.sleep(0.05)
else:
    raise SystemExit("what was left goes on")
print("ok")
