"""What tests of pages ask a browser."""

import json
import time


def requests(browser):
    """Return the addresses that the browser has asked for since the last call."""
    messages = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]


def wait_for(condition):
    end = time.monotonic() + 20
    while not (found := condition()):
        assert time.monotonic() < end, "nothing came in 20 s"
        time.sleep(0.05)
    return found


def find(browser, css):
    return browser.find_element("css selector", css)
