"""The page in headless Chromium, by clicks: chat, stop, edit, regenerate, conversations, reload, export and import, what must
not be run, both colour schemes and a phone's width. Skipped (exit 77) with a reason where Chromium or selenium are absent.

    tests/page_test.py BUILD [--shots FOLDER]
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

try:
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait
except ImportError:
    print("skipped: python3 has no selenium")
    sys.exit(77)

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if not CHROMIUM or not DRIVER:
    print("skipped: there is no chromium with its chromedriver")
    sys.exit(77)

build = sys.argv[1]
shots = sys.argv[sys.argv.index("--shots") + 1] if "--shots" in sys.argv else None
scratch = tempfile.mkdtemp()


class Server:
    """sluice serve of the demo model, on the same port when it is started again."""

    def __init__(self):
        self.port, self.process = 0, None

    def start(self, *more, model="tests/data/demo-model"):
        self.process = subprocess.Popen(
            [f"{build}/sluice", "serve", model, "--port", str(self.port), "--heartbeat", "1", *more],
            stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            found = re.search(r"listening on http://127\.0\.0\.1:(\d+)", line)
            if found:
                self.port = int(found[1])
                return
        sys.exit("the server did not start")

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        self.process.stderr.close()


def browser():
    o = Options()
    o.binary_location = CHROMIUM
    for a in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={scratch}/profile"):
        o.add_argument(a)
    o.add_experimental_option("prefs", {"download.default_directory": scratch})
    o.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    b = webdriver.Chrome(options=o, service=Service(DRIVER))
    b.set_window_size(1200, 900)
    return b


server = Server()
server.start()
page = browser()


def find(css):
    return page.find_element(By.CSS_SELECTOR, css)


def all_of(css):
    return page.find_elements(By.CSS_SELECTOR, css)


def wait(what, until, seconds=20):
    try:
        return WebDriverWait(page, seconds, 0.05, [StaleElementReferenceException]).until(lambda _: until())
    except Exception:
        shot("failed")
        sys.exit(f"waited in vain for {what}: {find('#log').text[-500:]}")


def check(fine, what):
    if not fine:
        shot("failed")
        sys.exit(f"not so: {what}")


def shot(name):
    if shots:
        os.makedirs(shots, exist_ok=True)
        page.save_screenshot(f"{shots}/{name}.png")


def idle():
    return find("#send").is_displayed()


def say(text):
    box = find("#input")
    box.send_keys(text)
    box.send_keys(Keys.ENTER)


def set_field(name, value):
    if not find("#settings").is_displayed():
        find("#tune").click()
    field = find("#" + name)
    field.clear()
    field.send_keys(value + Keys.TAB)


def answers():
    return [e.text for e in all_of(".message.assistant .text")]


def click(label, where=page):
    buttons = [b for b in where.find_elements(By.TAG_NAME, "button") if b.text == label]
    check(buttons, f"there is a button {label}")
    buttons[-1].click()


def put(conversations):
    """Other conversations into the browser, and the page anew."""
    page.execute_script("localStorage.setItem('sluice.conversations', arguments[0]); localStorage.setItem('sluice.current', '\"x1\"')",
                        json.dumps(conversations))
    page.refresh()
    wait("the page", lambda: find("#model").text == "demo-model")


def chat():
    page.get(f"http://127.0.0.1:{server.port}/")
    wait("the model's name", lambda: find("#model").text == "demo-model")
    set_field("temperature", "0")
    set_field("max_tokens", "60")
    find("#tune").click()
    say("Please tell me about Karl and the bell.")
    wait("an answer", lambda: answers() and len(answers()[-1]) > 20)
    wait("its end", idle)
    check(re.search(r"\d+ tokens", find(".message.assistant .acts").text), "the tokens are told")
    check("context" in find(".message.assistant .acts").text, "the context is told")
    first = answers()[-1]
    click("Regenerate")
    wait("the answer again", lambda: idle() and answers()[-1] == first)
    wait("a sweep's news", lambda: "idle" in find("#sweep-text").text)
    click("Edit", find(".message.user"))
    area = find(".message.user textarea")
    area.clear()
    area.send_keys("Please tell me about Anna.")
    click("Send", find(".message.user"))
    wait("another answer", lambda: idle() and answers() and answers()[-1] and answers()[-1] != first)
    check(len(all_of(".message")) == 2, "what followed the edited message is gone")


def reload_loses_nothing():
    set_field("max_tokens", "900")
    find("#tune").click()
    say("Tell me a long story, please.")
    wait("its beginning", lambda: answers() and answers()[-1])
    page.refresh()
    wait("the page", lambda: find("#model").text == "demo-model")
    wait("the rest", idle)
    check(len(all_of(".message")) == 4 and len(answers()[-1]) > 10, "the answer is there after a reload")
    check(not all_of(".fault"), "without an error")


def stops():
    # a connection that is slow to read nothing: the answer is stopped while it goes on
    page.execute_script("""window.realFetch = window.fetch; window.deleted = 0;
        window.fetch = (u, o) => { if (o && o.method === 'DELETE') window.deleted++;
          if (u === '/v1/chat/completions') return new Promise((go, no) => o.signal.addEventListener('abort', () => no(new Error('aborted'))));
          return window.realFetch(u, o); };""")
    say("And now?")
    wait("the button to stop", lambda: find("#stop").is_displayed())
    wait("the wait's words", lambda: " s" in find(".wait .say").text)
    shot("waiting")
    find("#stop").click()
    wait("the end", idle)
    check(page.execute_script("return window.deleted") == 1, "the server was told")
    page.execute_script("window.fetch = window.realFetch")


def conversations():
    before = len(all_of("#list .item"))
    find("#new").click()
    check(len(all_of("#list .item")) == before + 1 and not all_of(".message"), "a new conversation is empty")
    all_of("#list .name")[1].click()
    check(len(all_of(".message")) >= 4, "the old one is there")
    find("#export").click()
    path = scratch + "/conversations.json"
    wait("the file", lambda: os.path.exists(path))
    time.sleep(0.2)
    data = json.load(open(path))
    check(data["format"] == "sluice-conversations" and len(data["conversations"]) == before + 1, "all is exported")
    page.execute_script("window.confirm = () => true")
    for _ in range(before + 1):
        all_of("#list .item button:last-child")[0].click()
    check(not all_of(".message"), "all are deleted")
    find("#file").send_keys(path)
    wait("the import", lambda: len(all_of("#list .item")) == before + 2)
    bad = scratch + "/bad.json"
    open(bad, "w").write('{"conversations": 3}')
    page.execute_script("window.said = ''; window.alert = t => { window.said = t; }")
    find("#file").send_keys(bad)
    wait("a refusal", lambda: "not imported" in page.execute_script("return window.said"))


MARKDOWN = """# Head <script>window.hurt = 1</script>

Some *emphasis*, **strong**, `code <b>`, a [link](https://example.org/x) and a [trap](javascript:window.hurt=1).
<img src=x onerror="window.hurt=1">

1. one
2. two
   - inner

> quoted

| a | b |
|---|---|
| 1 | 2 |

```c
int main(void) { return 0; } /* <i> */
```
"""


def nothing_is_run():
    put([{"id": "x1", "title": "<b>t</b>", "messages": [
        {"role": "user", "content": "<img src=x onerror='window.hurt=1'>", "done": True},
        {"role": "assistant", "content": MARKDOWN, "reasoning": "Thinking <b>hard</b>", "done": True, "stats": {"tokens": 7, "seconds": 2, "first": 75.5, "used": 100}}]}])
    text = find(".message.assistant .text")
    check(page.execute_script("return window.hurt === undefined"), "no text is run")
    check(not all_of("#log img") and not all_of("#log script"), "no text becomes a tag")
    check([e.tag_name for e in text.find_elements(By.CSS_SELECTOR, "h3,ol,ul,blockquote,table,pre")] == ["h3", "ol", "ul", "blockquote", "table", "pre"], "markdown is shown")
    check([a.get_attribute("href") for a in text.find_elements(By.TAG_NAME, "a")] == ["https://example.org/x"], "only links to the web")
    check("javascript:" in text.text and "<script>" in text.text, "the rest is text")
    fold = find(".message.assistant details")
    check(not fold.get_attribute("open"), "the reasoning is folded")
    check("first after 1:15 min" in find(".message.assistant .acts").text, "the time to the first token is told")


def looks():
    for scheme in ("light", "dark"):
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        for width, height in ((1200, 900), (360, 740)):
            page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700})
            find("#log").click()
            time.sleep(0.1)
            wide = page.execute_script("return document.documentElement.scrollWidth")
            check(wide <= width, f"nothing is wider than {width}: {wide}")
            back = page.execute_script("return getComputedStyle(document.body).backgroundColor")
            check((sum(map(int, re.findall(r"\d+", back)[:3])) < 200) == (scheme == "dark"), f"{scheme} is {back}")
            shot(f"{scheme}-{width}")
            if width == 360:
                check(not find("#side").is_displayed() or find("#side").rect["x"] < -100, "the list is hidden")
                find("#menu").click()
                time.sleep(0.1)
                check(find("#side").rect["x"] >= 0 and find("#new").is_displayed(), "and comes by a click")
                shot(f"{scheme}-{width}-list")
                ActionChains(page).move_to_element_with_offset(find("#log"), 160, 0).click().perform()
                wait("the list's end", lambda: find("#side").rect["x"] < -100 or not find("#side").is_displayed())
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def keys_and_death():
    server.stop()
    say("Is anybody there?")
    wait("the end of trying or its words", lambda: "trying again" in find("#log").text or all_of(".fault"))
    server.start("--api-key", "secret")
    wait("an error", lambda: idle() and all_of(".fault"), 30)
    page.refresh()
    wait("the refusal", lambda: "key" in find("#model").text)
    set_field("key", "secret")
    wait("the model's name", lambda: find("#model").text == "demo-model")
    find("#new").click()
    say("Please tell me about Karl.")
    wait("an answer with the key", lambda: idle() and answers() and len(answers()[-1]) > 5)


def without_a_template():
    server.stop()
    folder = scratch + "/plain"
    shutil.copytree("tests/data/demo-model", folder)
    config = json.load(open(folder + "/tokenizer_config.json"))
    config.pop("chat_template")
    json.dump(config, open(folder + "/tokenizer_config.json", "w"))
    server.start(model=folder)
    page.refresh()
    wait("the model's name", lambda: find("#model").text == "plain")
    find("#new").click()
    say("Once upon a time there was a")
    wait("the text goes on", lambda: idle() and answers() and len(answers()[-1]) > 5)
    check(not all_of(".fault"), "without an error")


try:
    for part in (chat, reload_loses_nothing, stops, conversations, nothing_is_run, looks, keys_and_death,
                 without_a_template):
        part()
    errors = [e["message"] for e in page.get_log("browser") if e["level"] == "SEVERE" and "Failed to load resource" not in e["message"]
              and "net::ERR" not in e["message"]]
    check(not errors, f"no errors in the browser: {errors}")
    print("the page: all as it should be")
finally:
    page.quit()
    server.process.kill()
    shutil.rmtree(scratch, ignore_errors=True)
